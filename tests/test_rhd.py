"""RHD: of two hands the one that is seen more, with its own joints, in our order, and its depth."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from lib.data.formats import rhd
from lib.errors import InputError
from lib.hands.joints import projected
from tests.hand_sides import thumb_before_palm

CAMERA = np.array([[280, 0, 160], [0, 281, 160], [0, 0, 1]], np.float32)


def labels(shift: float) -> dict[str, np.ndarray]:
    """Labels of a frame, every joint elsewhere; every third joint is hidden."""
    row = np.arange(42)
    xyz = np.stack((0.01 * (row % 6) - 0.1 * (row < 21) + shift, 0.005 * row - 0.1, 0.5 + 0.003 * row), -1)
    uv = xyz @ CAMERA.T.astype(float)
    uv_vis = np.column_stack((uv[:, :2] / uv[:, 2:], row % 3 > 0))
    return {"xyz": xyz.astype(np.float32), "uv_vis": uv_vis.astype(np.float32), "K": CAMERA}


def write_raw(raw: Path, sets: dict[str, list[tuple[int, int]]], kind: str = "pickle") -> Path:
    """Frames with so many pixels of the left and of the right hand in their masks."""
    for name, frames in sets.items():
        for folder in ("color", "mask", "depth"):
            (raw / name / folder).mkdir(parents=True)
        for number, (left, right) in enumerate(frames):
            mask = np.ones(320 * 320, np.uint8)
            mask[:left] = 2 + np.arange(left) % 16
            mask[1000 : 1000 + right] = 18 + np.arange(right) % 16
            mask[3000:3100] = 0
            for folder, picture in (("mask", mask.reshape(320, 320)), ("color", None), ("depth", None)):
                picture = np.zeros((320, 320, 3), np.uint8) if picture is None else picture
                cv2.imwrite(str(raw / name / folder / f"{number:05d}.png"), picture)
        write_labels(raw / name, {number: labels(0.01 * number) for number in range(len(frames))}, kind)
    return raw


def write_labels(folder: Path, frames: dict, kind: str = "pickle") -> None:
    path = folder / f"anno_{folder.name}.{kind}"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(frames, protocol=2))
    else:
        scipy.io.savemat(path, {f"frame{number}": frame for number, frame in frames.items()})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_raw(
        tmp_path / "raw", {"training": [(300, 200), (0, 5), (0, 0), (40, 40)], "evaluation": [(9, 0), (7, 8)]}
    )


def load(folder: Path) -> tuple[dict, dict]:
    return tuple(json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val"))


def test_the_hand_with_more_pixels_is_kept(small: Path, tmp_path: Path):
    assert rhd.convert(small, tmp_path / "out") == {"hands": 5, "left": 2, "dropped": 1}
    train, val = load(tmp_path / "out")
    assert [annotation["side"] for annotation in train["annotations"]] == ["left", "right", "right"]
    assert [annotation["side"] for annotation in val["annotations"]] == ["left", "right"]
    assert [image["id"] for image in train["images"]] == [1, 2, 4]
    assert [image["id"] for image in val["images"]] == [100_001, 100_002]
    assert train["images"][1] == {
        **{"id": 2, "file_name": "training/color/00001.png", "depth": "training/depth/00001.png"},
        **{"width": 320, "height": 320, "camera": CAMERA.tolist()},
    }


def test_labels_are_the_hands_own_from_palm_to_tip(small: Path, tmp_path: Path):
    rhd.convert(small, tmp_path / "out")
    for split in load(tmp_path / "out"):
        for annotation in split["annotations"]:
            frame, first = labels(0.01 * ((annotation["image_id"] - 1) % 100_000)), 21 * (annotation["side"] == "right")
            for joint in range(21):
                finger, part = divmod(joint - 1, 4)
                row = first + (4 * finger + 4 - part if joint else 0)
                np.testing.assert_allclose(annotation["xyz"][joint], 1000 * frame["xyz"][row], atol=1e-3)
                u, v, flag = annotation["keypoints"][3 * joint : 3 * joint + 3]
                np.testing.assert_allclose((u, v), frame["uv_vis"][row, :2], atol=2e-3)
                assert flag == 1 + frame["uv_vis"][row, 2]


def test_both_label_files_give_the_same(small: Path, tmp_path: Path):
    rhd.convert(small, tmp_path / "pickle")
    for name, count in (("training", 4), ("evaluation", 2)):
        (small / name / f"anno_{name}.pickle").unlink()
        write_labels(small / name, {number: labels(0.01 * number) for number in range(count)}, "mat")
    rhd.convert(small, tmp_path / "mat")
    assert load(tmp_path / "pickle") == load(tmp_path / "mat")


def test_depth_is_16_bits_of_5_m_in_red_and_green(tmp_path: Path):
    rgb = np.array([[(0, 0, 0), (0, 1, 99), (1, 0, 0), (255, 255, 0), (30, 128, 7)]], np.uint8)
    cv2.imwrite(str(tmp_path / "depth.png"), rgb[..., ::-1])
    depth = rhd.read_depth(tmp_path / "depth.png")
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 5000 / 65535, 5000 * 256 / 65535, 5000, 5000 * 7808 / 65535]], rtol=1e-6)


class Elsewhere:
    """Pickles name their classes; the reader admits arrays alone."""


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no labels", r"anno_training.pickle is missing, and so is anno_training.mat; extract RHD_v1-1.zip"),
        ("class", r"anno_training.pickle .*Elsewhere"),
        ("list", r"anno_training.pickle holds no frames by number"),
        ("empty", r"anno_training.pickle holds no frames; extract"),
        ("no mat", r"anno_training.mat is not a readable MATLAB file"),
        ("field", r"anno_training.pickle: frame 1: K is missing, expected numbers \(3, 3\)"),
        ("shape", r"anno_training.pickle: frame 1: xyz is float32 \(21, 3\), expected numbers \(42, 3\)"),
        ("frame", r"anno_training.pickle: frame 1: xyz is missing, expected numbers \(42, 3\)"),
        ("behind", r"training: frame 1, right hand: a joint is not finite or not in front of the camera"),
        ("no depth", r"training/depth is missing: the depth teacher needs the maps, which RHD_v1-1.zip holds too"),
        ("no map", r"training/depth lacks 1 of the 4 annotated images: 00002.png"),
        ("no image", r"training/color lacks 1 of the 4 annotated images: 00003.png"),
        ("no mask", r"training/mask lacks 1 of the 4 annotated images: 00001.png"),
        ("colour mask", r"mask/00001.png is no readable grey picture of 8 bits"),
        ("no picture", r"color/00000.png is not a readable image"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(small: Path, tmp_path: Path, damage: str, message: str):
    folder = small / "training"
    path = folder / "anno_training.pickle"
    frames = {number: labels(0) for number in range(4)}
    match damage:
        case "no labels":
            path.unlink()
        case "class":
            path.write_bytes(pickle.dumps({0: Elsewhere()}))
        case "list":
            path.write_bytes(pickle.dumps([labels(0)]))
        case "empty":
            path.write_bytes(pickle.dumps({}))
        case "no mat":
            path.rename(folder / "anno_training.mat")
        case "field":
            del frames[1]["K"]
            write_labels(folder, frames)
        case "shape":
            frames[1]["xyz"] = frames[1]["xyz"][:21]
            write_labels(folder, frames)
        case "frame":
            write_labels(folder, frames | {1: [1, 2]})
        case "behind":
            frames[1]["xyz"] = -frames[1]["xyz"]
            write_labels(folder, frames)
        case "no depth":
            (folder / "depth").rename(folder / "depths")
        case "no map":
            (folder / "depth/00002.png").unlink()
        case "no image":
            (folder / "color/00003.png").unlink()
        case "no mask":
            (folder / "mask/00001.png").unlink()
        case "colour mask":
            cv2.imwrite(str(folder / "mask/00001.png"), np.zeros((320, 320, 3), np.uint8))
        case "no picture":
            (folder / "color/00000.png").write_bytes(b"picture")
    with pytest.raises(InputError, match=message) as caught:
        rhd.convert(small, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"depth", "grey"])
def test_unreadable_depth_is_one_line(tmp_path: Path, content: bytes | str | None):
    path = tmp_path / "00000.png"
    if content == "grey":
        cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    elif content:
        path.write_bytes(content)
    problem = "no readable colour picture of 8 bits; extract RHD" if content == "grey" else "not a readable"
    with pytest.raises(InputError, match=f"00000.png is {problem}"):
        rhd.read_depth(path)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("rhd") / "raw"
    rhd.write_synthetic(raw, train=24, val=4, seed=3)
    return raw


def test_synthetic_frames_have_two_hands_and_show_one_or_both(synthetic: Path):
    shown = []
    for name, count in (("training", 24), ("evaluation", 4)):
        frames = rhd.read_frames(synthetic / name)
        assert sorted(frames) == list(range(count))
        for number, frame in frames.items():
            mask = rhd.read_mask(synthetic / name / "mask" / f"{number:05d}.png")
            assert set(np.unique(mask)) <= {0, *range(2, 34)}
            pixels = {"left": (mask >= 2) & (mask < 18), "right": mask >= 18}
            sides = [side for side, where in pixels.items() if where.any()]
            for side in ("left", "right"):
                assert thumb_before_palm(frame.xyz[side]) == (side == "right")
                if side not in sides:
                    uv = projected(frame.xyz[side], frame.camera)
                    assert not frame.visible[side].any() and ((uv < 0) | (uv > 319)).any(1).all()
            shown.append(tuple(sides))
    assert set(shown) == {("left",), ("right",), ("left", "right")}


def test_synthetic_pictures_agree_with_the_labels(synthetic: Path, tmp_path: Path):
    rhd.convert(synthetic, tmp_path / "out")
    tips, other, before, seen = [], [], [], 0
    for split in load(tmp_path / "out"):
        images = {image["id"]: image for image in split["images"]}
        for annotation in split["annotations"]:
            image = images[annotation["image_id"]]
            colour = cv2.imread(str(synthetic / image["file_name"]))
            mask = rhd.read_mask(synthetic / image["file_name"].replace("color", "mask"))
            depth = rhd.read_depth(synthetic / image["depth"])
            assert colour.shape == (320, 320, 3) and mask.shape == depth.shape == (320, 320)
            np.testing.assert_array_equal(depth < 4999, mask > 0)
            xyz, labels = np.array(annotation["xyz"]), np.reshape(annotation["keypoints"], (21, 3))
            np.testing.assert_allclose(projected(xyz, np.array(image["camera"])), labels[:, :2], atol=1e-2)
            visible = labels[:, 2] == 2
            u, v = labels[:, :2].round().astype(int).T
            first = {"left": 2, "right": 18}[annotation["side"]]
            hand = ((mask >= first) & (mask < first + 16)).astype(np.uint8)
            beside = cv2.dilate(hand, np.ones((3, 3), np.uint8))  # a fingertip lies on the outline
            assert beside[v[visible], u[visible]].all()
            deepest = cv2.dilate(np.where(hand > 0, depth, 0), np.ones((3, 3), np.uint8))
            before += (xyz[visible, 2] - deepest[v[visible], u[visible]]).tolist()
            for finger in range(5):
                tip = 4 * finger + 4
                if visible[tip]:
                    around = mask[max(v[tip] - 1, 0) : v[tip] + 2, max(u[tip] - 1, 0) : u[tip] + 2]
                    (tips if (around == first + 3 * finger).any() else other).append(finger)
            seen += visible.sum()
    assert seen > 150 and len(tips) > 4 * len(other) and set(tips) == set(range(5))
    # mm of flesh before a joint that is seen; beside a fingertip, what is behind that may be seen
    assert max(before) < 28.1 and 2 < np.median(before) < 15 and np.mean(np.array(before) > -3) > 0.9


def test_synthetic_labels_come_back_as_written(synthetic: Path, tmp_path: Path):
    rhd.convert(synthetic, tmp_path / "out")
    written = pickle.loads((synthetic / "training/anno_training.pickle").read_bytes())
    for annotation in load(tmp_path / "out")[0]["annotations"]:
        frame, first = written[annotation["image_id"] - 1], 21 * (annotation["side"] == "right")
        tips = [first + 4 * finger + 1 for finger in range(5)]
        np.testing.assert_allclose(np.array(annotation["xyz"])[4::4], 1000 * frame["xyz"][tips], atol=1e-3)
        np.testing.assert_allclose(annotation["xyz"][0], 1000 * frame["xyz"][first], atol=1e-3)
        assert frame["xyz"].dtype == frame["uv_vis"].dtype == frame["K"].dtype == np.float32


def test_synthetic_frames_depend_on_seed_and_number_only(synthetic: Path, tmp_path: Path):
    rhd.write_synthetic(tmp_path / "a", train=2, val=5, seed=3)
    rhd.write_synthetic(tmp_path / "b", train=1, val=1, seed=4)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png")}
    assert len(files) == 21
    pairs = [[raw / file for raw in (synthetic, tmp_path / "a") if (raw / file).exists()] for file in files]
    assert sum(len({path.read_bytes() for path in pair}) == 1 for pair in pairs if len(pair) == 2) == 18
    first = Path("color/00000.png")
    pictures = {
        (folder / name / first).read_bytes()
        for folder in (synthetic, tmp_path / "b")
        for name in ("training", "evaluation")
    }
    assert len(pictures) == 4
    labels = [pickle.loads((raw / "training/anno_training.pickle").read_bytes()) for raw in (synthetic, tmp_path / "a")]
    for name in ("xyz", "uv_vis", "K"):
        np.testing.assert_array_equal(labels[0][1][name], labels[1][1][name])
