"""Leeds Sports Pose: what the two archives say must arrive in the annotations, unchanged and complete."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools.coco import COCO

from lib.data import formats
from lib.data.formats import lsp
from lib.errors import InputError
from stages import convert


def write_raw(raw: Path, lsp_joints: np.ndarray, lspet_joints: np.ndarray, size: tuple[int, int] = (60, 40)) -> Path:
    """Both archives from arrays (N, 14, 3), laid out by hand."""
    for name, digits, joints, axes in (("lsp", 4, lsp_joints, (2, 1, 0)), ("lspet", 5, lspet_joints, (1, 2, 0))):
        images = raw / name / "images"
        images.mkdir(parents=True)
        scipy.io.savemat(raw / name / "joints.mat", {"joints": joints.transpose(axes)})
        for number in range(1, len(joints) + 1):
            Image.new("RGB", size).save(images / f"im{number:0{digits}d}.jpg")
    return raw


def person(**labels: tuple[float, float, float]) -> np.ndarray:
    """(14, 3) of zeros but for the named joints."""
    joints = np.zeros((14, 3))
    for name, label in labels.items():
        joints[lsp.JOINTS.index(name)] = label
    return joints


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two LSP and two LSPET persons; LSP's first has every x = 2k + 10, y = k + 5 and an occluded right ankle."""
    first = np.stack((2.0 * np.arange(14) + 10, np.arange(14) + 5.0, np.arange(14) == 0), axis=-1)
    ankle = person(right_ankle=(7.25, 30.5, 1), head_top=(20.5, 3.25, 1))
    return write_raw(
        tmp_path / "raw", np.stack((first, first + (1, 0, 0) * np.ones((14, 3)))), np.stack((ankle, person()))
    )


def load(folder: Path) -> tuple[dict, dict]:
    return tuple(json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val"))


def test_literal_arrays_give_exactly_this_json(small: Path, tmp_path: Path):
    counts = lsp.convert(small, tmp_path / "out")
    train, val = load(tmp_path / "out")
    assert counts == {"persons": 3, "images": 3, "joints": 30, "dropped": 1}
    assert train["images"] == [
        {"id": 1, "file_name": "lsp/images/im0001.jpg", "width": 60, "height": 40},
        {"id": 100_001, "file_name": "lspet/images/im00001.jpg", "width": 60, "height": 40},
    ]
    assert [image["file_name"] for image in val["images"]] == ["lsp/images/im0002.jpg"]
    first, second = train["annotations"]
    assert first["keypoints"][:6] == [10, 5, 1, 12, 6, 2]  # LSP's flag 1 is occluded, 0 visible
    assert first["num_keypoints"] == 14
    assert first["bbox"] == [10, 5, 27, 14] and first["area"] == 27 * 14
    assert second["keypoints"] == [7.25, 30.5, 2, *[0] * 36, 20.5, 3.25, 2]  # LSPET's flag 1 is visible, 0 no label
    assert second["num_keypoints"] == 2
    assert second["bbox"] == [7.25, 3.25, 14.25, 28.25]
    assert (second["id"], second["image_id"], second["category_id"], second["iscrowd"]) == (100_001, 100_001, 1, 0)
    assert train["info"] == {"dataset": "lsp", "source": "local", "note": lsp.PROTOCOL}


def test_source_is_told(small: Path, tmp_path: Path):
    (small / "SOURCE.json").write_text('{"source": "official"}')
    lsp.convert(small, tmp_path / "out")
    assert load(tmp_path / "out")[1]["info"]["source"] == "official"


@pytest.mark.parametrize(
    "labels, box",
    [
        ({"neck": (30, 20, 1)}, [27.5, 17.5, 6, 6]),  # one joint: a tenth of the longer side
        ({"neck": (30, 10, 1), "head_top": (30, 30, 1)}, [27.5, 10, 6, 21]),  # a straight line
        ({"neck": (10, 10, 1), "head_top": (300, 30, 1)}, [10, 10, 50, 21]),  # a label far outside the image
        ({"neck": (0, 0, 1)}, [0, 0, 3.5, 3.5]),  # in the corner
    ],
)
def test_box_of_few_or_stray_joints_stays_usable(tmp_path: Path, labels: dict, box: list):
    raw = write_raw(tmp_path / "raw", np.ones((2, 14, 3)), person(**labels)[None])
    lsp.convert(raw, tmp_path / "out")
    annotation = load(tmp_path / "out")[0]["annotations"][1]
    assert annotation["bbox"] == box
    assert max(annotation["keypoints"][::3]) == max(x for x, _, _ in labels.values())  # labels are never moved


def test_names_skeleton_and_mirror_pairs_agree():
    mirror = list(range(14))
    for a, b in lsp.FLIP_PAIRS:
        mirror[a], mirror[b] = mirror[b], mirror[a]
    swap = {"right": "left", "left": "right"}
    for joint, other in zip(lsp.JOINTS, (lsp.JOINTS[k] for k in mirror), strict=True):
        side, _, rest = joint.partition("_")
        assert other == (f"{swap[side]}_{rest}" if side in swap else joint)
    bones = {frozenset((a - 1, b - 1)) for a, b in lsp.SKELETON}
    assert {frozenset(mirror[k] for k in bone) for bone in bones} == bones
    assert len(bones) == 13 and set().union(*bones) == set(range(14))  # a tree over all joints
    legs = {k for k, joint in enumerate(lsp.JOINTS) if joint.endswith(("hip", "knee", "ankle"))}
    assert sorted({*lsp.UPPER_BODY} | legs) == list(range(14)) and not legs & {*lsp.UPPER_BODY}


def test_synthetic_data_come_back_as_written(tmp_path: Path):
    lsp.write_synthetic(tmp_path / "raw", lsp=5, lspet=24, seed=3)
    lsp.convert(tmp_path / "raw", tmp_path / "out")
    train, val = load(tmp_path / "out")
    assert (len(train["annotations"]), len(val["annotations"])) == (2 + 24, 3)
    full = scipy.io.loadmat(tmp_path / "raw/lsp/joints.mat")["joints"]
    extended = scipy.io.loadmat(tmp_path / "raw/lspet/joints.mat")["joints"]
    assert full.shape == (3, 14, 5) and extended.shape == (14, 3, 24)
    assert full.dtype == extended.dtype == np.float64
    for annotation in train["annotations"] + val["annotations"]:
        x, y, v = np.reshape(annotation["keypoints"], (14, 3)).T
        if annotation["id"] <= 5:
            expected = full[:, :, annotation["id"] - 1]
            np.testing.assert_array_equal(v, 2 - expected[2])
        else:
            expected = extended[:, :, annotation["id"] - 100_001].T
            np.testing.assert_array_equal(v, 2 * expected[2])
            assert not expected[:2, expected[2] == 0].any()
        np.testing.assert_array_equal((x, y), expected[:2])
    v = np.array([annotation["keypoints"][2::3] for annotation in train["annotations"]])
    assert (v[:2] > 0).all() and 0.02 < (v[2:] == 0).mean() < 0.4


def test_synthetic_pictures_depend_on_seed_and_number_only(tmp_path: Path):
    for name, sizes in (("a", (3, 2, 0)), ("b", (1, 4, 0)), ("c", (1, 2, 1))):
        lsp.write_synthetic(tmp_path / name, lsp=sizes[0], lspet=sizes[1], seed=sizes[2])
    files = {name: {p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.jpg")} for name in "abc"}
    assert files["a"].keys() & files["b"].keys() == {"im0001.jpg", "im00001.jpg", "im00002.jpg"}
    assert all(files["a"][name] == files["b"][name] for name in files["a"].keys() & files["b"].keys())
    assert all(files["b"][name] != files["c"][name] for name in files["c"])
    assert files["a"]["im0001.jpg"] != files["a"]["im00001.jpg"]  # the archives differ
    joints = [scipy.io.loadmat(tmp_path / name / "lspet/joints.mat")["joints"][..., :2] for name in "ab"]
    np.testing.assert_array_equal(*joints)


def test_pycocotools_loads_the_annotations(small: Path, tmp_path: Path):
    lsp.convert(small, tmp_path / "out")
    coco = COCO(str(tmp_path / "out/train.json"))
    (category,) = coco.loadCats(coco.getCatIds())
    assert tuple(category["keypoints"]) == lsp.JOINTS
    assert tuple(category["upper_body"]) == lsp.UPPER_BODY
    assert coco.getAnnIds(imgIds=[100_001]) == [100_001]


def test_stage_prints_one_line(small: Path, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "data/raw").mkdir(parents=True)
    small.rename(tmp_path / "data/raw/lsp")
    monkeypatch.chdir(tmp_path)
    Path("data/specs/convert").mkdir(parents=True)
    Path("data/specs/convert/lsp.json").write_text("{}")
    convert.main("lsp")
    assert capsys.readouterr().out.startswith("lsp: 3 persons, 3 images, 30 joints, 1 dropped, ")
    assert load(tmp_path / "data/annotations/lsp")


def corrupt(raw: Path, damage: str) -> None:
    mat, image = raw / "lsp/joints.mat", raw / "lspet/images/im00002.jpg"
    joints = scipy.io.loadmat(mat)["joints"]
    match damage:
        case "no mat":
            mat.unlink()
        case "not a mat":
            mat.write_bytes(b"joints")
        case "cut mat":
            mat.write_bytes(mat.read_bytes()[:300])
        case "no variable":
            scipy.io.savemat(mat, {"poses": joints})
        case "layout":
            scipy.io.savemat(mat, {"joints": joints.transpose(1, 0, 2)})
        case "flag":
            scipy.io.savemat(mat, {"joints": joints + 5})
        case "nan":
            scipy.io.savemat(mat, {"joints": np.where(joints == 10, np.nan, joints)})
        case "no image":
            image.unlink()
        case "not an image":
            image.write_bytes(b"picture")


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no mat", r"lsp/joints.mat is missing; extract lsp_dataset.zip"),
        ("not a mat", r"lsp/joints.mat is not a readable MATLAB file"),
        ("cut mat", r"lsp/joints.mat is not a readable MATLAB file"),
        ("no variable", r"lsp/joints.mat has no variable 'joints' of shape \(3, 14, N\)"),
        ("layout", r"'joints' is float64 \(14, 3, 2\), expected numbers \(3, 14, N\)"),
        ("flag", r"lsp/joints.mat: flags must be 0 or 1, found 6"),
        ("nan", r"lsp/joints.mat: person 1 has a labelled joint whose position is not finite"),
        ("no image", r"lacks 1 of the 2 annotated images: im00002.jpg"),
        ("not an image", r"im00002.jpg is not a readable image"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(small: Path, tmp_path: Path, damage: str, message: str):
    corrupt(small, damage)
    with pytest.raises(InputError, match=message) as caught:
        lsp.convert(small, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_unknown_dataset_names_the_known():
    with pytest.raises(InputError, match=r"dataset is 'lps' \(did you mean lsp\?\); known: .*lsp"):
        formats.get("lps")


def test_real_archives(shared_data: Path, tmp_path: Path):
    for name in ("lsp", "lspet"):
        with zipfile.ZipFile(shared_data / f"lsp/{name}_dataset.zip") as archive:
            for member in archive.namelist():  # of the images, the first bytes say the size
                path = tmp_path / "raw" / name / member
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as file:
                    path.write_bytes(file.read(1024 if path.suffix == ".jpg" else -1))
    counts = lsp.convert(tmp_path / "raw", tmp_path / "out")
    assert counts["persons"] == 12_000 and counts["dropped"] == 0
    splits = load(tmp_path / "out")
    assert [len(split["annotations"]) for split in splits] == [11_000, 1_000]
    assert splits[1]["images"][0]["file_name"] == "lsp/images/im1001.jpg"
    for split in splits:
        size = np.array([(image["width"], image["height"]) for image in split["images"]])
        x, y, w, h = np.array([annotation["bbox"] for annotation in split["annotations"]]).T
        assert (x >= 0).all() and (y >= 0).all() and (x + w <= size[:, 0]).all() and (y + h <= size[:, 1]).all()
        assert (np.maximum(w, h) > 0.3 * size.max(1)).all() and (np.minimum(w, h) > 3).all()
        keypoints = np.array([annotation["keypoints"] for annotation in split["annotations"]]).reshape(-1, 14, 3)
        # person-centric, mostly upright: heads above ankles; and facing the camera more often than not
        labelled = (keypoints[:, [0, 8, 9, 13], 2] > 0).all(1)
        assert (keypoints[labelled, 13, 1] < keypoints[labelled, 0, 1]).mean() > 0.7
        assert (keypoints[labelled, 8, 0] < keypoints[labelled, 9, 0]).mean() > 0.6
