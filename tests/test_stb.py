"""STB: every frame of every view gets its labels, in the frame of the camera that has taken it."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from PIL import Image

from lib.data.formats import stb, stb_synthetic
from lib.errors import InputError
from lib.hands.joints import JOINTS, projected
from tests.hand_sides import thumb_before_palm

ROWS = ["palm"] + [f"{finger}{part}" for finger in ("little", "ring", "middle", "index", "thumb") for part in "1234"]


def labels(frames: int) -> np.ndarray:
    """handPara (3, 21, frames) of an open hand half a metre away; every joint of every frame is elsewhere."""
    number = np.arange(21)
    hand = np.stack((8.0 * (number % 7) - 30, 60 - 5.0 * number, 500.0 + 3 * (number % 4)))
    return hand[:, :, None] + np.arange(frames) * np.array([2, 1, -4])[:, None, None]


def write_raw(raw: Path, sequences: dict[str, int], views: tuple[str, ...] = ("BB_left", "BB_right")) -> Path:
    (raw / "labels").mkdir(parents=True)
    for sequence, frames in sequences.items():
        (raw / "images" / sequence).mkdir(parents=True)
        for view in views:
            scipy.io.savemat(raw / f"labels/{sequence}_{view[:2]}.mat", {"handPara": labels(frames)})
            for frame in range(frames):
                Image.new("RGB", (640, 480)).save(raw / f"images/{sequence}/{view}_{frame}.png")
    return raw


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", {"B1Random": 2, "B3Counting": 3, "B6Random": 1}, stb.VIEWS)


def load(folder: Path) -> tuple[dict, dict]:
    return tuple(json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val"))


def joints_of(split: dict, name: str) -> np.ndarray:
    (key,) = (image["id"] for image in split["images"] if image["file_name"] == f"images/{name}.png")
    (annotation,) = (annotation for annotation in split["annotations"] if annotation["image_id"] == key)
    return np.array(annotation["xyz"])


def test_b1_is_for_validation_and_only_what_is_there_is_read(small: Path, tmp_path: Path):
    assert stb.convert(small, tmp_path / "out") == {"hands": 18, "sequences": 3}
    train, val = load(tmp_path / "out")
    assert [image["file_name"] for image in val["images"]] == [
        f"images/B1Random/{view}_{frame}.png" for view in stb.VIEWS for frame in (0, 1)
    ]
    assert {Path(image["file_name"]).parts[1] for image in train["images"]} == {"B3Counting", "B6Random"}
    assert val["info"]["note"].startswith("val is B1Random, train is B3Counting, B6Random; ")
    ids = [image["id"] for image in train["images"] + val["images"]]
    assert len(set(ids)) == 18 and val["images"][3]["id"] == 1 + 1 + 10_000 * (1 + 3 * 1)
    for image in train["images"] + val["images"]:
        assert image["file_name"].split("/")[2].startswith(image["subset"])
        assert (image["width"], image["height"]) == (640, 480)
    for annotation in train["annotations"] + val["annotations"]:
        assert annotation["side"] == "left" and set(annotation["keypoints"][2::3]) == {2}


def test_joints_come_in_our_order(small: Path, tmp_path: Path):
    stb.convert(small, tmp_path / "out")
    found, raw = joints_of(load(tmp_path / "out")[1], "B1Random/BB_left_1"), labels(2)[:, :, 1].T
    parts = ("1", "2", "3", "4")
    names = [f"{finger}{part}" for finger in ("thumb", "index", "middle", "ring", "little") for part in parts]
    for ours, joint in enumerate(names, 1):
        np.testing.assert_allclose(found[ours], raw[ROWS.index(joint)], atol=1e-4)
    assert JOINTS[1] == "thumb_cmc" and JOINTS[4] == "thumb_tip" and JOINTS[17] == "little_mcp"


def test_palm_is_halfway_between_wrist_and_ring_finger(small: Path, tmp_path: Path):
    stb.convert(small, tmp_path / "out")
    found, raw = joints_of(load(tmp_path / "out")[1], "B1Random/BB_left_0"), labels(1)[:, :, 0].T
    np.testing.assert_allclose((found[0] + raw[ROWS.index("ring1")]) / 2, raw[0], atol=1e-4)


def test_views_see_the_same_hand_from_their_places(small: Path, tmp_path: Path):
    stb.convert(small, tmp_path / "out")
    val = load(tmp_path / "out")[1]
    left, right, colour = (joints_of(val, f"B1Random/{view}_1") for view in stb.VIEWS)
    np.testing.assert_allclose(left - right, np.broadcast_to((120.054, 0, 0), (21, 3)), atol=1e-3)
    # A rectified pair: the same row in both pictures, the disparity is focal length times baseline by depth.
    uv = [projected(joints, stb.BUMBLEBEE) for joints in (left, right)]
    np.testing.assert_allclose(uv[0][:, 1], uv[1][:, 1], atol=1e-3)
    np.testing.assert_allclose(uv[0][:, 0] - uv[1][:, 0], 822.79041 * 120.054 / left[:, 2], atol=1e-3)
    # The owner's script takes a point of the depth camera to the colour camera by R \ (point - T).
    rotation = cv2.Rodrigues(np.array([0.00531, -0.01196, 0.00301]))[0]
    depth = np.array([np.linalg.solve(rotation, point - (-24.0381, -0.4563, -1.2326)) for point in left])
    np.testing.assert_allclose(colour, depth, atol=1e-3)
    for view in stb.VIEWS:
        np.testing.assert_allclose(stb.labelled_from(view, stb.seen_from(view, left)), left, atol=1e-9)


def test_keypoints_are_what_the_camera_sees(small: Path, tmp_path: Path):
    stb.convert(small, tmp_path / "out")
    for split in load(tmp_path / "out"):
        images = {image["id"]: image for image in split["images"]}
        for annotation in split["annotations"]:
            x, y, z = np.array(annotation["xyz"]).T
            (fx, _, cx), (_, fy, cy), _ = images[annotation["image_id"]]["camera"]
            u, v = np.array(annotation["keypoints"]).reshape(21, 3)[:, :2].T
            np.testing.assert_allclose((u, v), (fx * x / z + cx, fy * y / z + cy), atol=2e-3)
            box = (u.min(), v.min(), np.ptp(u) + 1, np.ptp(v) + 1)
            np.testing.assert_allclose(annotation["bbox"], box, atol=2e-3)
            assert annotation["area"] == pytest.approx(box[2] * box[3], rel=1e-3)


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no labels", r"labels/B3Counting_SK.mat is missing; extract labels.zip"),
        ("no mat", r"labels/B3Counting_BB.mat is not a readable MATLAB file"),
        ("no variable", r"B3Counting_BB.mat has no variable 'handPara'"),
        ("shape", r"B3Counting_BB.mat: 'handPara' is float64 \(21, 3, 3\), expected numbers \(3, 21, N\)"),
        ("behind", r"B3Counting_BB.mat: frame 0: a joint is not finite or not in front of the camera"),
        ("nan", r"B3Counting_BB.mat: frame 2: a joint is not finite"),
        ("no image", r"images/B3Counting lacks 1 of the 3 annotated images: BB_right_1.png"),
        ("no picture", r"BB_left_0.png is not a readable image"),
        ("no val", r"images has no images for val; expected one of B1Counting, B1Random"),
        ("no train", r"images has no images for train; expected one of B2Counting, "),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(small: Path, tmp_path: Path, damage: str, message: str):
    mat, joints = small / "labels/B3Counting_BB.mat", labels(3)
    match damage:
        case "no labels":
            (small / "labels/B3Counting_SK.mat").unlink()
        case "no mat":
            mat.write_bytes(b"labels")
        case "no variable":
            scipy.io.savemat(mat, {"hand": joints})
        case "shape":
            scipy.io.savemat(mat, {"handPara": joints.transpose(1, 0, 2)})
        case "behind":
            scipy.io.savemat(mat, {"handPara": -joints})
        case "nan":
            joints[1, 4, 2] = np.nan
            scipy.io.savemat(mat, {"handPara": joints})
        case "no image":
            (small / "images/B3Counting/BB_right_1.png").unlink()
        case "no picture":
            (small / "images/B3Counting/BB_left_0.png").write_bytes(b"picture")
        case "no val":
            (small / "images/B1Random").rename(small / "images/B1")
        case "no train":
            for name in ("B3Counting", "B6Random"):
                (small / "images" / name).rename(small / "images" / name[2:])
    with pytest.raises(InputError, match=message) as caught:
        stb.convert(small, tmp_path / "out")
    assert not re.search("\n", str(caught.value)) and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("stb") / "raw"
    stb.write_synthetic(raw, frames=2, seed=3)
    return raw


def test_synthetic_labels_come_back_as_written(synthetic: Path, tmp_path: Path):
    assert stb.convert(synthetic, tmp_path / "out") == {"hands": 2 * (12 * 2 + 2), "sequences": 12}
    for split, count in zip(load(tmp_path / "out"), (42, 10), strict=True):
        assert len(split["annotations"]) == count and {image["subset"] for image in split["images"]} == set(stb.VIEWS)
        for image, annotation in zip(split["images"], split["annotations"], strict=True):
            xyz, (_, sequence, name) = np.array(annotation["xyz"]), Path(image["file_name"]).parts
            assert not thumb_before_palm(xyz) and 300 < xyz[0, 2] < 750
            if image["subset"] == "BB_left":
                written = scipy.io.loadmat(synthetic / f"labels/{sequence}_BB.mat")["handPara"]
                written = written[:, :, int(name[8:-4])].T
                np.testing.assert_allclose(xyz[20], written[ROWS.index("little4")], atol=1e-3)
                ring = ROWS.index("ring1")
                np.testing.assert_allclose(xyz[0], 2 * written[0] - written[ring], atol=1e-3)


def test_synthetic_hands_are_where_each_camera_sees_them():
    """Before a green wall a hand is what is not green."""
    wall, on_hand = np.zeros((480, 740, 3), np.uint8), []
    wall[..., 1] = 200
    for frame in range(6):
        for view, (picture, joints) in stb_synthetic.draw((5, 1, frame), wall, stb.VIEWS).items():
            assert picture.shape == (480, 640, 3)
            hand = picture[..., 0] > 0.75 * picture[..., 1]
            uv = projected(stb.with_wrist(stb.seen_from(view, joints)), stb.CAMERAS[view]).round().astype(int)
            assert 0.02 < hand.mean() < 0.5 and (uv >= 0).all() and (uv < (640, 480)).all()
            on_hand += hand[uv[:, 1], uv[:, 0]].tolist()
    assert np.mean(on_hand) > 0.97


def test_synthetic_backgrounds_are_those_of_the_sequences_number():
    walls = [stb_synthetic.wall(3, sequence) for sequence in ("B1Counting", "B1Random", "B2Counting")]
    assert (walls[0] == walls[1]).all() and (walls[0] != walls[2]).any()
    assert (stb_synthetic.wall(4, "B1Counting") != walls[0]).any()


def test_synthetic_frames_depend_on_seed_and_number_only(synthetic: Path):
    number, sequence = 7, "B4Random"
    drawn = stb_synthetic.draw((3, number, 1), stb_synthetic.wall(3, sequence), stb.VIEWS[:2])
    for view, (picture, joints) in drawn.items():
        np.testing.assert_array_equal(Image.open(synthetic / f"images/{sequence}/{view}_1.png"), picture)
        labels = scipy.io.loadmat(synthetic / f"labels/{sequence}_BB.mat")["handPara"][:, :, 1].T
        np.testing.assert_allclose(labels[list(stb.ORDER)], joints, atol=1e-9)
    assert len({path.read_bytes() for path in synthetic.rglob("*.png")}) == 52
    other = stb_synthetic.draw((4, number, 1), stb_synthetic.wall(3, sequence), ("BB_left",))
    assert (other["BB_left"][1] != drawn["BB_left"][1]).any()


def test_synthetic_label_files_hold_no_time_of_writing(synthetic: Path):
    for path in (synthetic / "labels").iterdir():
        assert path.read_bytes()[:116] == b"MATLAB 5.0 MAT-file, synthetic hands".ljust(116)
