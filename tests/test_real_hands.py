"""Real pieces of RHD, STB and FreiHAND through their converters."""

import json
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from lib.data.formats import freihand, rhd, stb
from lib.hands.joints import projected, scale_of
from tests.hand_sides import thumb_before_palm


def load(path: Path) -> list[tuple[dict, dict]]:
    """Images with their annotations."""
    content = json.loads(path.read_text())
    images = {image["id"]: image for image in content["images"]}
    return [(images[annotation["image_id"]], annotation) for annotation in content["annotations"]]


def link(folder: Path, *files: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def rhd_raw(sample: Path, raw: Path) -> dict:
    """The 24 evaluation frames that are there, 16 of them for training, and their labels by picture."""
    official = scipy.io.loadmat(sample / "anno_evaluation.mat")
    official = {key: value for key, value in official.items() if key.startswith("frame")}
    truth, names = {}, sorted(path.name for path in (sample / "color").iterdir())
    for name, half in (("training", names[:16]), ("evaluation", names[16:])):
        for kind in ("color", "mask"):
            link(raw / name / kind, *(sample / kind / file for file in half))
        (raw / name / "depth").mkdir()
        for file in half:  # the maps are not among the samples; convert wants them to be there
            cv2.imwrite(str(raw / name / "depth" / file), np.zeros((320, 320, 3), np.uint8))
        frames = {f"frame{int(Path(file).stem)}": official[f"frame{int(Path(file).stem)}"] for file in half}
        scipy.io.savemat(raw / name / f"anno_{name}.mat", frames)
        truth |= {f"{name}/color/{file}": official[f"frame{int(Path(file).stem)}"]["uv_vis"][0, 0] for file in half}
    return truth


def test_rhd_joints_are_where_they_were_annotated(shared_data: Path, tmp_path: Path):
    truth = rhd_raw(shared_data / "samples/rhd/evaluation", tmp_path / "raw")
    counts = rhd.convert(tmp_path / "raw", tmp_path / "out")
    assert counts["hands"] == 24 and counts["dropped"] == 0 and 0 < counts["left"] < 24
    on_hand = []
    for image, annotation in load(tmp_path / "out/train.json") + load(tmp_path / "out/val.json"):
        u, v, flag = np.reshape(annotation["keypoints"], (21, 3)).T
        hand = truth[image["file_name"]].reshape(2, 21, 3)[int(annotation["side"] == "right")]
        from_palm = [0, *(4 * finger + part for finger in range(5) for part in (4, 3, 2, 1))]
        assert np.hypot(u - hand[from_palm, 0], v - hand[from_palm, 1]).max() < 1
        np.testing.assert_array_equal(flag, hand[from_palm, 2] + 1)
        mask = cv2.imread(str(tmp_path / "raw" / image["file_name"].replace("color", "mask")), cv2.IMREAD_GRAYSCALE)
        first = {"left": 2, "right": 18}[annotation["side"]]
        ours = cv2.dilate(((mask >= first) & (mask < first + 16)).astype(np.uint8), np.ones((5, 5)))
        seen = (flag == 2) & (u > 0) & (u < 319) & (v > 0) & (v < 319)
        on_hand += ours[v[seen].round().astype(int), u[seen].round().astype(int)].tolist()
        assert 15 < scale_of(np.array(annotation["xyz"])) < 45  # mm
    assert len(on_hand) > 400 and np.mean(on_hand) > 0.95


def test_all_rhd_labels_are_read(shared_data: Path):
    folder = shared_data / "samples/rhd/evaluation"
    frames, errors = rhd.read_frames(folder), []
    assert sorted(frames) == list(range(2728))
    truth = scipy.io.loadmat(folder / "anno_evaluation.mat")
    for number, frame in frames.items():
        annotated = truth[f"frame{number}"]["uv_vis"][0, 0].reshape(2, 21, 3)
        for side, joints in zip(("left", "right"), annotated, strict=True):
            assert thumb_before_palm(frame.xyz[side]) == (side == "right")
            front = frame.xyz[side][:, 2] > 0
            uv = projected(frame.xyz[side], frame.camera)[front & frame.visible[side]]
            errors += np.abs(uv - joints[list(rhd.ORDER), :2][front & frame.visible[side]]).ravel().tolist()
    assert len(errors) > 50_000 and max(errors) < 1


def test_stb_joints_lie_on_the_hand(shared_data: Path, tmp_path: Path):
    sample, raw = shared_data / "samples/stb", tmp_path / "raw"
    labels = scipy.io.loadmat(sample / "labels/B1Counting_BB.mat")["handPara"]
    (raw / "labels").mkdir(parents=True)
    for sequence in ("B1Counting", "B2Counting"):  # there are pictures of one sequence, and of its first frame alone
        link(raw / "images" / sequence, *(sample / "images/B1Counting").iterdir())
        scipy.io.savemat(raw / f"labels/{sequence}_BB.mat", {"handPara": labels[..., :1]})
    assert stb.convert(raw, tmp_path / "out") == {"hands": 4, "sequences": 2}
    pairs = load(tmp_path / "out/val.json")
    assert [image["subset"] for image, _ in pairs] == ["BB_left", "BB_right"]
    for image, annotation in pairs:
        colour = cv2.GaussianBlur(cv2.imread(str(raw / image["file_name"])), (9, 9), 0)
        cr, cb = cv2.split(cv2.cvtColor(colour, cv2.COLOR_BGR2YCrCb))[1:]
        u, v = np.reshape(annotation["keypoints"], (21, 3))[:, :2].round().astype(int).T
        skin = (cr[v, u] > 138) & (cb[v, u] < 122)
        assert skin[0] and skin.sum() >= 18  # the wrist, and nearly all: the labels of the thumb are not that exact
        red, blue = np.median(colour[v[skin], u[skin]], axis=0)[[2, 0]]
        assert red > 1.3 * blue


def test_stb_labels_are_of_one_hand(shared_data: Path):
    joints = stb.with_wrist(stb.read_labels(shared_data / "samples/stb/labels/B1Counting_BB.mat"))
    assert joints.shape == (1500, 21, 3) and not thumb_before_palm(joints).any()
    np.testing.assert_allclose(scale_of(joints), 40, atol=0.01)  # mm
    assert joints[..., 2].min() > 300 and joints[..., 2].max() < 900


def test_freihand_evaluation_without_joints(shared_data: Path, tmp_path: Path):
    sample, raw = shared_data / "samples/freihand", tmp_path / "raw"
    pictures = sorted((sample / "evaluation/rgb").iterdir())
    link(raw / "evaluation/rgb", *pictures)
    link(raw, sample / "evaluation_K.json", sample / "evaluation_scale.json")
    link(raw / "training/rgb", *pictures[:8])  # there is nothing of the training set: these stand in for its pictures
    cameras = json.loads((sample / "evaluation_K.json").read_text())
    (raw / "training_K.json").write_text(json.dumps(cameras[:2]))
    (raw / "training_xyz.json").write_text(json.dumps([[[0.01 * (joint % 4), 0, 0.7] for joint in range(21)]] * 2))
    assert freihand.convert(raw, tmp_path / "out") == {"hands": 8, "samples": 2, "evaluation": 200}
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert content["annotations"] == [] and len(content["images"]) == 200
    for image, camera in zip(content["images"], cameras, strict=True):
        assert (image["width"], image["height"]) == (224, 224)
        np.testing.assert_allclose(image["camera"], camera, atol=1e-6)
        assert 15 < image["scale"] < 45  # mm
