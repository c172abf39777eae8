"""Figures of a report: what they show follows from annotations and predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.batches import MEAN, STD
from lib.data.crops import Crops
from lib.models import build_model
from lib.reporting.examples import class_examples, person_panels, transfer_examples
from lib.reporting.figures import (
    BYTES,
    Classes,
    Example,
    Panel,
    View,
    classes,
    curves,
    people,
    scatter,
    transfer,
)
from lib.weights import save_weights
from tests.projects import JOINTS, coco, truth_of


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with the pictures of ten persons."""
    for number in range(1, 11):
        Image.new("RGB", (120, 150), (90, 120, 90)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_figures_stay_small(tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (300, 300, 3), np.uint8)  # the hardest to compress
    panel = Panel("a", generator.uniform(0, 300, (14, 2)), np.ones(14, bool))
    people([noise] * 2, [[panel] * 3] * 2, [(0, 1)], JOINTS, tmp_path / "people.png")
    example = Example("c", noise[:64, :64], None, np.zeros(2), np.zeros((16, 16)), generator.random((16, 16)))
    transfer([example], tmp_path / "transfer.png")
    view, found = View(noise, panel, 3.0), Classes("t", {"teacher": np.full(64, 1 / 64)}, 60)
    classes([[view] * 3] * 2, [[found] * 2] * 2, [(0, 1)], JOINTS, tmp_path / "classes.png")
    chance = [(0, 1), (1, 1), (2, 1)]
    assert curves({"teacher": [(0, 0), (1, 9), (2, 10)], "mean pose": chance}, "x", "y", tmp_path / "c.png")
    scatter({"64 × 64": {"HRNet": (0.6, 75.0), "Dark": (0.6, 75.1)}}, "FLOPs", "PCKh", tmp_path / "s.png")
    for path in tmp_path.iterdir():
        assert 1000 < path.stat().st_size <= BYTES
        assert Image.open(path).size[0] > 300


def test_curves_of_two_points_are_none(tmp_path):
    """Nor is the mean pose alone a figure."""
    path = tmp_path / "c.png"
    chance = [(0, 1), (1, 1), (2, 1)]
    assert not curves({"student": [(1, 5.0), (2, 6.0)], "mean pose": chance}, "epoch", "y", path)
    assert not path.exists()


def test_person_panels_count_joints_and_move_with_the_frame(images):
    annotations = coco(10)
    truth = truth_of(annotations)
    off = truth.copy()
    off[:, 13] += [0, 21]  # torso 100 px
    common = {"ids": np.arange(1, 11), "images": np.arange(1, 11)}
    predictions = {name: common | {"keypoints": points} for name, points in (("a", truth), ("b", off))}
    shown, panels = person_panels(annotations, predictions, images, people=2)
    assert [panel.title for panel in panels[0]] == ["ground truth", "a: 14 of 14", "b: 13 of 14"]
    # bbox 10, 10, 40, 101: the frame has its centre at (30, 60.5), reaches 70.7 px and is cut at the image's border.
    assert shown[0].shape == (131, 101, 3)
    np.testing.assert_array_equal(panels[0][0].keypoints, truth[0] - [0, 0])
    np.testing.assert_array_equal(panels[1][2].keypoints[13], truth[5, 13] + [0, 21])


def test_person_panels_of_mpii_tolerate_half_a_head(images):
    annotations = coco(2, "mpii")
    near = truth_of(annotations)
    near[:, 3] += [25, 0]  # head size 50 px
    near[:, 4] += [26, 0]
    annotations["annotations"][0]["keypoints"][2::3] = [0] * 5 + [2] * 11
    predictions = {"a": {"ids": np.array([1, 2]), "images": np.array([1, 2]), "keypoints": near}}
    _, panels = person_panels(annotations, predictions, images, people=2)
    assert [row[1].title for row in panels] == ["a: 11 of 11", "a: 15 of 16"]


def test_person_panels_of_coco_show_the_most_similar_pose(images):
    annotations = coco(2, "coco")
    person = annotations["annotations"][0]
    person["keypoints"][2::3] = [2] + [0] * 16  # the nose alone: variance (2 x 0.026)^2, area 5000 px^2
    truth = truth_of(annotations)
    near, far = truth[0] + [3, 4], truth[0] + [30, 40]
    both = {"keypoints": np.array([far, near]), "image_ids": np.array([1, 1]), "ids": np.array([71, 72])}
    _, panels = person_panels(annotations, {"a": both | {"images": np.array([1, 2])}}, images, people=2)
    assert [row[1].title for row in panels] == ["a: OKS 0.40", "a: nobody found"]  # exp(-25 / (10000 * 0.052^2))
    offset = panels[0][1].keypoints - panels[0][0].keypoints
    np.testing.assert_allclose(offset, np.tile([3.0, 4], (17, 1)))
    assert panels[0][0].drawn.sum() == 1 and not panels[1][1].drawn.any()


def test_person_panels_leave_out_people_without_an_extent(images):
    annotations = coco(10)
    common = {"ids": np.arange(1, 11), "images": np.arange(1, 11)}
    predictions = {"a": common | {"keypoints": truth_of(annotations)}}
    for person in annotations["annotations"][:9]:
        person["bbox"][2:] = [0, 0]
    shown, panels = person_panels(annotations, predictions, images, people=2)
    assert len(shown) == len(panels) == 1 and min(shown[0].shape) > 0
    annotations["annotations"][9]["bbox"] = [0, 0, 0.1, 0.1]  # the corner: 16 px of it are shown
    assert person_panels(annotations, predictions, images, people=2)[0][0].shape == (16, 16, 3)


def random_crops() -> Crops:
    """Nine people in 64 px with a margin; the last joint of the fifth has no label."""
    generator = np.random.default_rng(0)
    visible = np.ones((9, 14), bool)
    visible[4, 13] = False
    return Crops(
        images=generator.integers(0, 256, (9, 96, 96, 3), np.uint8),
        keypoints=generator.uniform(20, 76, (9, 14, 2)).astype(np.float32),
        visible=visible,
        to_image=np.tile([[1.0, 0, 0], [0, 1, 0]], (9, 1, 1)),
        ids=np.arange(9),
        image_ids=np.arange(9),
        box_scores=np.ones(9, np.float32),
        joints=tuple(JOINTS),
        flip_pairs=(),
        upper_body=(),
        input=(64, 64),
    )


def test_transfer_examples_follow_their_rules(tmp_path):
    torch.manual_seed(0)
    model = {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose", "joints": 14}
    save_weights(tmp_path / "weights.safetensors", build_model(model), model)
    crops = random_crops()
    spec = {"input": [64, 64], "codec": {"sigma": 1.0, "scaling": "density"}}
    examples = {
        example.caption[:3]: example for example in transfer_examples(crops, tmp_path / "weights.safetensors", spec)
    }
    missing, apart = examples["(C)"], examples["(A)"]
    assert missing.caption.endswith("head top")
    assert missing.label is None and not missing.label_map.any()
    # The shown crop is the centre of the packed one, the margin cut off, its grey levels as stored.
    np.testing.assert_array_equal(missing.image, crops.images[4, 16:80, 16:80])
    assert np.linalg.norm(apart.label - apart.teacher) > 8
    row, column = np.unravel_index(apart.label_map.argmax(), apart.label_map.shape)
    assert np.abs((np.array([column, row]) + 0.5) * 4 - 0.5 - apart.label).max() <= 2
    everything = replace(crops, visible=np.ones_like(crops.visible))
    assert "(C)" not in {e.caption[:3] for e in transfer_examples(everything, tmp_path / "weights.safetensors", spec)}


def write_simcc(path: Path, side: int, split: float) -> torch.nn.Module:
    """The smallest SimCC network for images of this side, of random weights."""
    model = {"name": "hrnet", "joints": 14, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
    model |= {"head": "simcc", "split": split, "input_size": [side, side]}
    network = build_model(model).eval()
    save_weights(path, network, model)
    return network


@torch.no_grad()
def test_class_examples_show_what_each_network_sees_and_says(tmp_path):
    torch.manual_seed(0)
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("teacher", "alone", "distilled")}
    teacher = write_simcc(paths["teacher"], 64, 1.5)  # 96 classes: two for each of the students' 48
    for name in ("alone", "distilled"):
        write_simcc(paths[name], 32, 1.5)
    crops = random_crops()
    crops.keypoints[:, ::2] = [10.0, 40.0]  # every other joint lies beyond the edge of the view, where no class is
    views, found = class_examples(crops, [paths, paths], antialias=False, people=9)
    pixels = crops.images[:, 16:80, 16:80]
    logits, _ = teacher(torch.from_numpy((pixels - MEAN) / STD).float().permute(0, 3, 1, 2))
    pairs = logits.softmax(2).reshape(9, 14, 48, 2)
    expected = (pairs[..., 0] + pairs[..., 1]).numpy()
    for row in range(9):
        first, *small = views[row]
        np.testing.assert_array_equal(first.image, pixels[row])
        titles = [view.panel.title for view in views[row]]
        assert titles == ["teacher (64 × 64)", "distilled (32 × 32)", "distilled (32 × 32)"]
        assert {view.image.shape for view in small} == {(32, 32, 3)}
        joint = np.argsort(expected[row].max(1))[6]  # the lower one of the two in the middle of 14
        assert found[row][0].title == f"{JOINTS[joint].replace('_', ' ')}, 48 classes of x"
        said = found[row][0].probabilities
        assert list(said) == ["teacher", "alone", "distilled"]
        np.testing.assert_allclose(said["teacher"], expected[row, joint], rtol=1e-4)
        np.testing.assert_allclose([values.sum() for values in said.values()], 1, rtol=1e-5)
        assert np.abs(said["alone"] - said["distilled"]).max() > 1e-4
        x = crops.keypoints[row, joint, 0] - 16  # px of the 64-px view
        if joint % 2 == 0 or not crops.visible[row, joint]:
            assert first.label is small[0].label is found[row][0].label is None
        else:
            assert first.label == pytest.approx(x, abs=1e-4)
            assert small[0].label == pytest.approx((x + 0.5) / 2 - 0.5, abs=1e-4)
            assert found[row][0].label == int((x + 0.5) / 2 * 1.5)
    assert {type(example.label) for examples in found for example in examples} == {int, type(None)}


def test_classes_of_a_person_without_label_have_no_band(tmp_path):
    peak = np.eye(64)[3]
    panel = Panel("a", np.zeros((14, 2)), np.ones(14, bool))
    for name, label in (("with", 4), ("without", None)):
        view = View(np.zeros((8, 8, 3), np.uint8), panel, label)
        found = Classes("t", {"teacher": peak, "student": peak[::-1]}, label)
        classes([[view]], [[found]], [(0, 1)], JOINTS, tmp_path / f"{name}.png")
    grey = [
        (np.array(Image.open(tmp_path / f"{name}.png").convert("RGB")) == 0xCC).all(2).sum()
        for name in ("with", "without")
    ]
    assert grey[0] > 500 > 50 > grey[1]
