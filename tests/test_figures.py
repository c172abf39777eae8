"""Figures of a report: what they show follows from annotations and predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.crops import Crops
from lib.models import build_model
from lib.reporting.examples import person_panels, transfer_examples
from lib.reporting.figures import BYTES, Example, Panel, curves, histories, people, transfer
from lib.training.checkpoint import save_weights
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
    curves({"a": [{"threshold": "0", "pck": "0"}, {"threshold": "1", "pck": "9"}]}, "a", "x", "y", tmp_path / "c.png")
    histories({"a": [[{"epoch": "1", "val_ap": "9"}]]}, "val_ap", "b", "y", tmp_path / "h.png")
    for path in tmp_path.iterdir():
        assert 1000 < path.stat().st_size <= BYTES
        assert Image.open(path).size[0] > 300


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


def test_transfer_examples_follow_their_rules(tmp_path):
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    model = {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose", "joints": 14}
    save_weights(tmp_path / "weights.safetensors", build_model(model), model)
    visible = np.ones((9, 14), bool)
    visible[4, 13] = False
    crops = Crops(
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
    spec = {"input": [64, 64], "heatmap": {"sigma": 1.0, "scaling": "density"}}
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
    everything = replace(crops, visible=np.ones_like(visible))
    assert "(C)" not in {e.caption[:3] for e in transfer_examples(everything, tmp_path / "weights.safetensors", spec)}
