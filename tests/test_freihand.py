"""FreiHAND: a sample's labels go to its four versions, and neighbours stay on one side of the split."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.formats import freihand
from lib.errors import InputError
from lib.hands.joints import scale_of
from tests.hand_sides import thumb_before_palm

CAMERA = [[480.0, 0, 112], [0, 481.5, 112], [0, 0, 1]]


def joints(count: int) -> np.ndarray:
    """(count, 21, 3) m: every joint of every sample is elsewhere, all in front of the camera."""
    number, sample = np.arange(21), np.arange(count)[:, None]
    x, y = 0.01 * (number % 5) + 0.001 * sample, 0.004 * number - 0.03 + 0 * sample
    return np.stack((x, y, 0.6 + 0.002 * number + 0.01 * sample), -1)


def write_raw(raw: Path, samples: int, evaluation: int = 0) -> Path:
    for name, count, pictures in (("training", samples, 4 * samples), ("evaluation", evaluation, evaluation)):
        if count:
            (raw / name / "rgb").mkdir(parents=True)
            xyz = joints(count)
            content = {"K": [CAMERA] * count, "xyz": xyz.tolist()}
            content["scale"] = np.linalg.norm(xyz[:, 10] - xyz[:, 9], axis=-1).tolist()
            for field, values in content.items():
                (raw / f"{name}_{field}.json").write_text(json.dumps(values))
            for number in range(pictures):
                Image.new("RGB", (224, 224)).save(raw / name / "rgb" / f"{number:08d}.jpg")
    return raw


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", 12, 3)


def load(folder: Path, *names: str) -> list[dict]:
    return [json.loads((folder / f"{name}.json").read_text()) for name in names or ("train", "val")]


def test_versions_and_split_follow_the_file_numbers(small: Path, tmp_path: Path):
    assert freihand.convert(small, tmp_path / "out") == {"hands": 48, "samples": 12, "evaluation": 3}
    train, val = load(tmp_path / "out")
    assert len(train["images"]) == 44 and {image["subset"] for image in train["images"]} == set("ghsa")
    assert [image["file_name"] for image in val["images"]] == [
        f"training/rgb/{number:08d}.jpg" for number in (11, 23, 35, 47)
    ]
    assert [image["subset"] for image in val["images"]] == ["g", "h", "s", "a"]
    for image in train["images"] + val["images"]:
        assert image["id"] == int(Path(image["file_name"]).stem) + 1
        assert image["subset"] == "ghsa"[(image["id"] - 1) // 12] and image["camera"] == CAMERA


@pytest.mark.parametrize("samples, held_out", [(2, 1), (19, 1), (20, 2), (35, 3)])
def test_validation_is_the_last_tenth_of_the_samples(tmp_path: Path, samples: int, held_out: int):
    freihand.convert(write_raw(tmp_path / "raw", samples), tmp_path / "out")
    train, val = load(tmp_path / "out")
    numbers = [{(image["id"] - 1) % samples for image in split["images"]} for split in (train, val)]
    assert numbers == [set(range(samples - held_out)), set(range(samples - held_out, samples))]


def test_labels_are_the_samples_own_in_mm(small: Path, tmp_path: Path):
    freihand.convert(small, tmp_path / "out")
    for split in load(tmp_path / "out"):
        for annotation in split["annotations"]:
            xyz = 1000 * joints(12)[(annotation["image_id"] - 1) % 12]
            np.testing.assert_allclose(annotation["xyz"], xyz, atol=1e-4)
            u, v, flag = np.reshape(annotation["keypoints"], (21, 3)).T
            x, y, z = xyz.T
            np.testing.assert_allclose((u, v), (480 * x / z + 112, 481.5 * y / z + 112), atol=1e-3)
            assert annotation["side"] == "right" and set(flag) == {2}


def test_evaluation_has_labels_where_they_are_public(small: Path, tmp_path: Path):
    freihand.convert(small, tmp_path / "with")
    (small / "evaluation_xyz.json").unlink()
    freihand.convert(small, tmp_path / "without")
    (labelled,), (bare,) = (load(tmp_path / name, "evaluation") for name in ("with", "without"))
    assert [image["file_name"] for image in bare["images"]] == [
        f"evaluation/rgb/{number:08d}.jpg" for number in range(3)
    ]
    assert bare["images"] == labelled["images"] and bare["annotations"] == []
    assert [image["id"] for image in bare["images"]] == [200_001, 200_002, 200_003]
    for image, annotation in zip(labelled["images"], labelled["annotations"], strict=True):
        assert annotation["image_id"] == image["id"] and image["camera"] == CAMERA
        bone = np.subtract(annotation["xyz"][10], annotation["xyz"][9])
        assert image["scale"] == pytest.approx(np.linalg.norm(bone), abs=1e-3)


def test_training_alone_is_enough(tmp_path: Path):
    counts = freihand.convert(write_raw(tmp_path / "raw", 10), tmp_path / "out")
    assert counts["evaluation"] == 0 and not (tmp_path / "out/evaluation.json").exists()


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no K", r"training_K.json is missing; extract FreiHAND_pub_v2.zip again"),
        ("no scale", r"evaluation_scale.json is missing; extract FreiHAND_pub_v2.zip again"),
        ("no json", r"training_xyz.json is not a readable JSON file"),
        ("ragged", r"training_xyz.json is not a JSON list of numbers"),
        ("shape", r"training_xyz.json holds \(12, 20, 3\).*expected numbers \(N, 21, 3\)"),
        ("nan", r"training_xyz.json holds \(12, 21, 3\), some of it perhaps not finite"),
        ("fewer", r"the training files have K of 11, xyz of 12 samples; take them all from one archive"),
        ("behind", r"training/rgb/00000000.jpg: a joint is not finite or not in front of the camera"),
        ("camera", r"training/rgb/00000003.jpg: .* is no camera; expected rows fx 0 cx, 0 fy cy, 0 0 1"),
        ("no image", r"training/rgb lacks 1 of the 48 annotated images: 00000047.jpg"),
        ("no picture", r"00000005.jpg is not a readable image"),
        ("one", r"training_xyz.json holds 1 samples; expected 2 at least"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(small: Path, tmp_path: Path, damage: str, message: str):
    xyz, cameras, rgb = small / "training_xyz.json", small / "training_K.json", small / "training/rgb"
    values = joints(12)
    match damage:
        case "no K":
            cameras.unlink()
        case "no scale":
            (small / "evaluation_scale.json").unlink()
        case "no json":
            xyz.write_text("xyz")
        case "ragged":
            xyz.write_text(json.dumps([*values.tolist()[1:], [[0, 0, 1]]]))
        case "shape":
            xyz.write_text(json.dumps(values[:, 1:].tolist()))
        case "nan":
            xyz.write_text(json.dumps(np.where(values == values[4, 2, 0], np.nan, values).tolist()))
        case "fewer":
            cameras.write_text(json.dumps([CAMERA] * 11))
        case "behind":
            xyz.write_text(json.dumps((-values).tolist()))
        case "camera":
            cameras.write_text(json.dumps([CAMERA] * 3 + [np.eye(3)[::-1].tolist()] + [CAMERA] * 8))
        case "no image":
            (rgb / "00000047.jpg").unlink()
        case "no picture":
            (rgb / "00000005.jpg").write_bytes(b"picture")
        case "one":
            xyz.write_text(json.dumps(values[:1].tolist()))
            cameras.write_text(json.dumps([CAMERA]))
    with pytest.raises(InputError, match=message) as caught:
        freihand.convert(small, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("freihand") / "raw"
    freihand.write_synthetic(raw, train=10, evaluation=4, seed=3)
    return raw


def rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float)


def test_synthetic_labels_come_back_as_written(synthetic: Path, tmp_path: Path):
    assert freihand.convert(synthetic, tmp_path / "out") == {"hands": 40, "samples": 10, "evaluation": 4}
    written = {name: json.loads((synthetic / f"training_{name}.json").read_text()) for name in ("K", "xyz", "scale")}
    for split in load(tmp_path / "out"):
        images = {image["id"]: image for image in split["images"]}
        for annotation in split["annotations"]:
            sample, xyz = (annotation["image_id"] - 1) % 10, np.array(annotation["xyz"])
            np.testing.assert_allclose(xyz, 1000 * np.array(written["xyz"][sample]), atol=1e-3)
            np.testing.assert_allclose(images[annotation["image_id"]]["camera"], written["K"][sample], atol=1e-5)
            assert 1000 * written["scale"][sample] == pytest.approx(np.linalg.norm(xyz[10] - xyz[9]), abs=1e-3)
            assert thumb_before_palm(xyz)
    (evaluation,) = load(tmp_path / "out", "evaluation")
    for image, annotation in zip(evaluation["images"], evaluation["annotations"], strict=True):
        assert image["scale"] == pytest.approx(scale_of(np.array(annotation["xyz"])), abs=1e-3)


def test_synthetic_versions_show_one_hand_before_four_backgrounds(synthetic: Path, tmp_path: Path):
    freihand.convert(synthetic, tmp_path / "out")
    on_hand, alike = [], []
    for annotation in load(tmp_path / "out")[0]["annotations"][:9]:
        number = annotation["image_id"] - 1
        screen, *others = (rgb(synthetic / f"training/rgb/{number + 10 * version:08d}.jpg") for version in range(4))
        assert screen.shape == (224, 224, 3)
        hand = screen[..., 0] > 0.8 * screen[..., 1]
        assert 0.03 < hand.mean() < 0.6
        u, v = np.reshape(annotation["keypoints"], (21, 3))[:, :2].round().astype(int).T
        on_hand += cv2.dilate(hand.astype(np.uint8), np.ones((3, 3)))[v, u].tolist()
        inside = cv2.erode(hand.astype(np.uint8), np.ones((5, 5))) > 0
        for other in others:
            assert np.abs(other - screen)[~hand].mean() > 20
            alike.append(np.corrcoef(other[inside].mean(-1), screen[inside].mean(-1))[0, 1])
        assert len({tuple(picture[inside].mean(0).round()) for picture in (screen, *others)}) == 4  # recoloured
    assert np.mean(on_hand) > 0.97 and np.median(alike) > 0.9


def test_synthetic_samples_depend_on_seed_and_number_only(synthetic: Path, tmp_path: Path):
    freihand.write_synthetic(tmp_path / "a", train=3, evaluation=1, seed=3)
    freihand.write_synthetic(tmp_path / "b", train=1, evaluation=1, seed=4)
    for version in range(4):
        for sample in range(3):
            ten, three = (f"training/rgb/{version * count + sample:08d}.jpg" for count in (10, 3))
            assert (synthetic / ten).read_bytes() == (tmp_path / "a" / three).read_bytes()
    first = "rgb/00000000.jpg"
    assert (synthetic / "evaluation" / first).read_bytes() == (tmp_path / "a/evaluation" / first).read_bytes()
    folders = (synthetic / "training", synthetic / "evaluation", tmp_path / "b/training", tmp_path / "b/evaluation")
    assert len({(folder / first).read_bytes() for folder in folders}) == 4
    xyz = [json.loads((raw / "training_xyz.json").read_text())[2] for raw in (synthetic, tmp_path / "a")]
    assert xyz[0] == xyz[1]
