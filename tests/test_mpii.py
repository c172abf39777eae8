"""MPII Human Pose: what the three layouts say must arrive in the annotations, unchanged, complete and split alike."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools.coco import COCO

from lib.data import formats
from lib.data.formats import mpii
from lib.errors import InputError
from stages import convert
from tests import samples
from tests.mpii_files import EMPTY, MAT, rectangle, row, structs, write_gt, write_h5, write_mat

FIRST, SECOND, THIRD, TEST = (f"{number:09d}.jpg" for number in (7, 30, 41, 52))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """images/ with four pictures of 60 x 40 px, and annot/ without anything."""
    (tmp_path / "raw/annot").mkdir(parents=True)
    (tmp_path / "raw/images").mkdir()
    for name in (FIRST, SECOND, THIRD, TEST):
        Image.new("RGB", (60, 40)).save(tmp_path / "raw/images" / name)
    return tmp_path / "raw"


@pytest.fixture
def mat(raw: Path) -> Path:
    """The MATLAB layout: in FIRST two people of whom one is listed for validation, in SECOND two and an empty one."""
    odd = [(0, 10, 12, "0"), (9, 11.5, 3, EMPTY), (2, 20, 30, 1), (3, 21, 31, "1"), (4, 22, 32, 0)]
    full = [(5, 13, 14), (6, 15, 16)]
    write_mat(
        raw / MAT,
        (TEST, 0, {"scale": 0.1, "objpos": {"x": 30, "y": 20}}),
        (SECOND, 1, structs(rectangle(40, 20, 0.1, full), rectangle(30, 20, 0.1, odd), rectangle(9, 9, 0.1, []))),
        (THIRD, 1, EMPTY),
        (FIRST, 1, structs(rectangle(30, 20, 0.1, full), rectangle(31, 20, 0.1, full))),
    )
    write_h5(raw / "annot/valid.h5", [(FIRST, 31, 20, 0.1)])
    return raw


@pytest.fixture
def listed(raw: Path) -> Path:
    """The JSON layout: one training person and one validation person without and with a head box."""
    train, val = [row(SECOND, 30, 20, 0.1, j2=(20, 30))], [row(FIRST, 31, 20, 0.1, j5=(13, 14), j6=(15, 16))]
    (raw / "annot/train.json").write_text(json.dumps(train))
    (raw / "annot/valid.json").write_text(json.dumps(val))
    write_gt(raw / "annot/gt_valid.mat", val)
    return raw


def converted(raw: Path) -> tuple[dict, dict]:
    out = raw.parent / "out"
    mpii.convert(raw, out)
    return tuple(json.loads((out / f"{split}.json").read_text()) for split in ("train", "val"))


def test_literal_mat_gives_exactly_this_json(mat: Path, tmp_path: Path):
    counts = mpii.convert(mat, tmp_path / "out")
    train, val = (json.loads((tmp_path / f"out/{split}.json").read_text()) for split in ("train", "val"))
    assert counts == {"persons": 3, "images": 2, "joints": 9, "dropped": 1}
    assert train["images"] == [{"id": 30, "file_name": "images/000000030.jpg", "width": 60, "height": 40}]
    assert val["images"] == [{"id": 7, "file_name": "images/000000007.jpg", "width": 60, "height": 40}]
    first, second = train["annotations"]
    assert first == {
        "id": 3000,
        "image_id": 30,
        "category_id": 1,
        "keypoints": [9, 11, 1, 0, 0, 0, 19, 29, 2, 20, 30, 2, 21, 31, 1, *[0] * 12, 10.5, 2, 2, *[0] * 18],
        "num_keypoints": 5,
        "bbox": [19.5, 11, 20, 20],  # about (30 - 1, 20 - 1 + 15 * 0.1), pixels 19.5 to 38.5 and 11 to 30
        "area": 400,
        "iscrowd": 0,
        "head_size": 3,  # 0.6 * 5
        "head_box": [20, 4, 23, 8],
    }
    assert (second["id"], second["bbox"][:2]) == (3001, [29.5, 11])
    assert second["keypoints"][15:21] == [12, 13, 2, 14, 15, 2]  # without is_visible a joint is visible
    assert [annotation["id"] for annotation in val["annotations"]] == [700]  # FIRST's other person is in no split
    assert val["annotations"][0]["bbox"][0] == 20.5


def test_a_training_list_replaces_the_rule(mat: Path):
    write_h5(mat / "annot/train.h5", [(FIRST, 30, 20, 0.1), (SECOND, 40, 20, 0.1)])
    train, val = converted(mat)
    assert [annotation["id"] for annotation in train["annotations"]] == [700, 3000]
    assert [annotation["id"] for annotation in val["annotations"]] == [701]
    assert train["images"][0] == val["images"][0]


def test_a_json_list_serves_as_well(mat: Path):
    expected = [split["annotations"] for split in converted(mat)]
    (mat / "annot/valid.h5").unlink()
    (mat / "annot/valid.json").write_text(json.dumps([row(FIRST, 31, 20, 0.1, j0=(1, 1))]))
    assert [split["annotations"] for split in converted(mat)] == expected


def test_literal_json_gives_exactly_this_json(listed: Path):
    train, val = converted(listed)
    (person,) = train["annotations"]
    assert person["keypoints"] == [*[0] * 6, 19, 29, 2, *[0] * 39]
    assert person["bbox"] == [19.5, 11, 20, 20] and not {"head_size", "head_box"} & person.keys()
    (person,) = val["annotations"]
    assert person["keypoints"][15:21] == [12, 13, 2, 14, 15, 2] and person["num_keypoints"] == 2
    assert (person["head_size"], person["head_box"]) == (3, [20, 4, 23, 8])
    assert val["info"] == {"dataset": "mpii", "source": "local", "note": "train.json and valid.json"}


def test_the_evaluation_file_decides_which_joints_count(listed: Path):
    rows = json.loads((listed / "annot/valid.json").read_text())
    write_gt(listed / "annot/gt_valid.mat", rows, jnt_missing=np.arange(16)[:, None] != 6)
    (person,) = converted(listed)[1]["annotations"]
    assert person["num_keypoints"] == 1 and person["keypoints"][18:21] == [14, 15, 2]


@pytest.mark.parametrize("codes", [False, True])
def test_literal_h5_gives_exactly_this_json(raw: Path, codes: bool):
    write_h5(raw / "annot/train.h5", [(SECOND, 30, 20, 0.1)], codes, normalize=np.array([-1.0]))
    write_h5(raw / "annot/valid.h5", [(FIRST, 31, 20, 0.1)], codes)
    train, val = converted(raw)
    (person,) = train["annotations"]
    assert person["keypoints"] == [8, 9, 2, *[0] * 6, 6, 7, 1, *[0] * 36]
    np.testing.assert_allclose(person["bbox"], [19.5, 11, 20, 20])
    assert "head_size" not in person
    assert val["annotations"][0]["head_size"] == 12.5 and "head_box" not in val["annotations"][0]
    assert val["images"][0]["file_name"] == "images/000000007.jpg"


def test_mat_wins_over_json_and_json_over_h5(mat: Path, listed: Path):
    write_h5(listed / "annot/train.h5", [(THIRD, 30, 20, 0.1)])
    assert converted(mat)[0]["info"]["note"].startswith(MAT)
    (mat / MAT).unlink()
    assert converted(mat)[0]["info"]["note"] == "train.json and valid.json"
    (mat / "annot/valid.json").unlink()
    assert converted(mat)[0]["info"]["note"] == "train.h5 and valid.h5"


def test_people_without_place_or_labels_are_left_out(listed: Path, tmp_path: Path):
    rows = [row(SECOND, 30, 20, 0.1, j2=(20, 30)), row(THIRD, -1, -1, -1, j2=(20, 30)), row(THIRD, 30, 20, 0.1)]
    (listed / "annot/train.json").write_text(json.dumps(rows))
    assert mpii.convert(listed, tmp_path / "out") == {"persons": 2, "images": 2, "joints": 3, "dropped": 2}


def test_a_repeated_training_person_counts_once(listed: Path, tmp_path: Path):
    twice = row(SECOND, 30, 20, 0.1, j2=(20, 30))
    (listed / "annot/train.json").write_text(json.dumps([twice, row(THIRD, 30, 20, 0.1, j2=(20, 30)), twice]))
    assert mpii.convert(listed, tmp_path / "out") == {"persons": 3, "images": 3, "joints": 4, "dropped": 1}


def test_source_is_told(mat: Path):
    (mat / "SOURCE.json").write_text('{"source": "official"}')
    assert converted(mat)[1]["info"]["source"] == "official"


def test_names_skeleton_and_mirror_pairs_agree():
    mirror = list(range(16))
    for a, b in mpii.FLIP_PAIRS:
        mirror[a], mirror[b] = mirror[b], mirror[a]
    swap = {"right": "left", "left": "right"}
    for joint, other in zip(mpii.JOINTS, (mpii.JOINTS[k] for k in mirror), strict=True):
        side, _, rest = joint.partition("_")
        assert other == (f"{swap[side]}_{rest}" if side in swap else joint)
    bones = {frozenset((a - 1, b - 1)) for a, b in mpii.SKELETON}
    assert {frozenset(mirror[k] for k in bone) for bone in bones} == bones
    assert len(bones) == 15 and set().union(*bones) == set(range(16))  # a tree over all joints
    assert {mirror[k] for k in mpii.UPPER_BODY} == set(mpii.UPPER_BODY)


def test_pycocotools_loads_the_annotations(mat: Path):
    converted(mat)
    coco = COCO(str(mat.parent / "out/train.json"))
    (category,) = coco.loadCats(coco.getCatIds())
    assert tuple(category["keypoints"]) == mpii.JOINTS and tuple(category["upper_body"]) == mpii.UPPER_BODY
    assert coco.getAnnIds(imgIds=[30]) == [3000, 3001]


def test_stage_prints_one_line(mat: Path, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "data/raw").mkdir(parents=True)
    mat.rename(tmp_path / "data/raw/mpii")
    monkeypatch.chdir(tmp_path)
    Path("data/specs/convert").mkdir(parents=True)
    Path("data/specs/convert/mpii.json").write_text("{}")
    convert.main("mpii")
    assert capsys.readouterr().out.startswith("mpii: 3 persons, 2 images, 9 joints, 1 dropped, ")


def damage_mat(raw: Path, damage: str) -> None:
    full = [(5, 13, 14)]
    match damage:
        case "not a mat":
            (raw / MAT).write_bytes(b"RELEASE")
        case "other benchmark":
            scipy.io.savemat(raw / MAT, {"joints": np.ones((3, 14, 2)), "flags": 1})
        case "other release":
            scipy.io.savemat(raw / MAT, {"RELEASE": {"annolist_keyframes": 1}})
        case "nesting":
            write_mat(raw / MAT, (SECOND, 1, EMPTY), (FIRST, 1, structs(rectangle(31, 20, 0.1, [(16, 1, 1)]))))
        case "no list":
            (raw / "annot/valid.h5").unlink()
        case "not in the mat":
            write_h5(raw / "annot/valid.h5", [(FIRST, 31, 20, 0.1), (THIRD, 5, 6, 1), (FIRST, 31, 23, 0.1)])
        case "listed twice":
            write_h5(raw / "annot/valid.h5", [(FIRST, 31, 20, 0.1)] * 2)
        case "no image":
            (raw / "images" / SECOND).unlink()
        case "not an image":
            (raw / "images" / SECOND).write_bytes(b"picture")
        case "name":
            write_mat(raw / MAT, (FIRST, 1, rectangle(31, 20, 0.1, full)), ("a.jpg", 1, rectangle(4, 5, 1, full)))
        case "no head":
            write_mat(raw / MAT, (FIRST, 1, rectangle(31, 20, 0.1, full, (EMPTY,) * 4)))
        case "nan":
            write_mat(raw / MAT, (FIRST, 1, rectangle(31, 20, 0.1, [(5, np.nan, 14)])))


@pytest.mark.parametrize(
    "damage, message",
    [
        ("not a mat", rf"{MAT} is not a readable MATLAB file"),
        ("other benchmark", rf"{MAT} holds joints, flags; expected MPII's RELEASE with annolist and img_train"),
        ("other release", r"holds RELEASE with annolist_keyframes; expected"),
        ("nesting", r"RELEASE is not nested as MPII's at image 2: joint 16 of 0 to 15"),
        ("no list", r"annot has no valid.json or valid.h5: .* does not say who the validation people are"),
        ("not in the mat", r"2 of the 3 people of .*valid are not in .*, first 000000041.jpg at \(5, 6\)"),
        ("listed twice", r"the validation person at \(31, 20\) in 000000007.jpg is there twice"),
        ("no image", r"images lacks 1 of the 2 annotated images: 000000030.jpg"),
        ("not an image", r"000000030.jpg is not a readable image"),
        ("name", r"1 image names are not nine digits and .jpg as MPII's, first 'a.jpg'"),
        ("no head", r"val: the person at \(31, 20\) in 000000007.jpg has no head size"),
        ("nan", r"val: the person at \(31, 20\) in 000000007.jpg has a number that is not finite"),
    ],
)
def test_bad_mat_is_one_line_and_leaves_nothing(mat: Path, tmp_path: Path, damage: str, message: str):
    damage_mat(mat, damage)
    with pytest.raises(InputError, match=message) as caught:
        mpii.convert(mat, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def damage_json(raw: Path, damage: str) -> None:
    annot, val = raw / "annot", json.loads((raw / "annot/valid.json").read_text())
    match damage:
        case "nothing":
            (annot / "valid.json").unlink()
        case "no train":
            (annot / "train.json").unlink()
        case "not json":
            (annot / "train.json").write_text("{")
        case "no joints":
            (annot / "train.json").write_text('[{"image": "000000030.jpg", "center": [1, 2], "scale": 1}]')
        case "14 joints":
            val[0]["joints"] = val[0]["joints"][:14]
            (annot / "valid.json").write_text(json.dumps(val))
        case "no gt":
            (annot / "gt_valid.mat").unlink()
        case "no variable":
            scipy.io.savemat(annot / "gt_valid.mat", {"jnt_missing": 1})
        case "other count":
            write_gt(annot / "gt_valid.mat", val * 3)
        case "other people":
            write_gt(annot / "gt_valid.mat", [row(FIRST, 31, 20, 0.1, j5=(13, 14), j6=(15, 19))])
        case "in both":
            shutil.copy(annot / "valid.json", annot / "train.json")
        case "outside":
            (annot / "train.json").write_text(json.dumps([row(SECOND, 72, 20, 0.1, j2=(1, 1))]))
        case "scale":
            (annot / "train.json").write_text(json.dumps([row(SECOND, 30, 20, 0, j2=(1, 1))]))


@pytest.mark.parametrize(
    "damage, message",
    [
        ("nothing", rf"raw has none of {MAT}, annot/valid.json, annot/valid.h5"),
        ("no train", r"train.json is missing beside valid.json"),
        ("not json", r"train.json is not a readable JSON file"),
        ("no joints", r"train.json: row 0 lacks one of image, center, scale, joints, joints_vis"),
        ("14 joints", r"valid.json: row 0 has not 16 joints"),
        ("no gt", r"gt_valid.mat is missing: it holds the head boxes of valid.json"),
        ("no variable", r"gt_valid.mat has no variable 'headboxes_src'"),
        ("other count", r"gt_valid.mat is for 3 people but valid.json has 1"),
        ("other people", r"1 of 1 rows have other joints than valid.json, first row 0 \(000000007.jpg\)"),
        ("in both", r"the validation person at \(31, 20\) in 000000007.jpg is there twice"),
        ("outside", r"train: the person at \(72, 20\) in 000000030.jpg has a box wholly outside the image of 60 x 40"),
        ("scale", r"train: the person at \(30, 20\) in 000000030.jpg has scale 0; expected"),
    ],
)
def test_bad_json_is_one_line_and_leaves_nothing(listed: Path, tmp_path: Path, damage: str, message: str):
    damage_json(listed, damage)
    with pytest.raises(InputError, match=message) as caught:
        mpii.convert(listed, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("x, inside", [(70, True), (70.5, False), (-9, True), (-9.5, False)])
def test_a_box_needs_a_part_of_the_image(listed: Path, x: float, inside: bool):
    """A box of 20 px reaches from x - 1 - 10 to x - 1 + 10, the image from -0.5 to 59.5."""
    rows = [row(SECOND, x, 20, 0.1, j2=(1, 1))]
    (listed / "annot/train.json").write_text(json.dumps(rows))
    if inside:
        converted(listed)
    else:
        with pytest.raises(InputError, match="wholly outside"):
            converted(listed)


def test_bad_h5_is_one_line(raw: Path):
    write_h5(raw / "annot/train.h5", [(SECOND, 30, 20, 0.1)])
    (raw / "annot/valid.h5").write_bytes(b"h5")
    with pytest.raises(InputError, match=r"valid.h5 is not a readable HDF5 file"):
        converted(raw)
    with h5py.File(raw / "annot/valid.h5", "w") as file:
        file["imgname"] = [1]
    with pytest.raises(InputError, match=r"valid.h5: .*center.*; expected imgname, center"):
        converted(raw)
    write_h5(raw / "annot/valid.h5", [(FIRST, 31, 20, 0.1)], visible=np.ones((1, 14)))
    with pytest.raises(InputError, match=r"valid.h5: .*visible float64 \(1, 14\), .* do not fit together"):
        converted(raw)


@pytest.fixture
def real(shared_data: Path) -> dict[str, np.ndarray]:
    with h5py.File(shared_data / "samples/mpii/annot/valid.h5") as file:
        return {name: file[name][()] for name in file}


def test_real_list_has_the_enlarged_box(real: dict[str, np.ndarray]):
    """Taken back, centres are whole pixels, as annotators click them, and scale is the head size / 25."""
    raw = real["scale"] / 1.25
    y = real["center"][:, 1] - 15 * raw
    np.testing.assert_allclose(y, np.rint(y), atol=1e-9)
    np.testing.assert_allclose(real["normalize"], 25 * raw)
    assert (len(raw), real["imgname"][0], np.rint(y[0])) == (2958, b"005808361.jpg", 340)
    np.testing.assert_allclose(raw[0], 4.718488, atol=1e-6)  # the same row of valid.json


def test_real_people(shared_data: Path, real: dict[str, np.ndarray], tmp_path: Path):
    """The 40 sample images, half of them as training images: every number against the file, read by itself."""
    raw = tmp_path / "raw"
    halves = samples.link_mpii(shared_data, raw)
    for split, document in zip(halves, converted(raw), strict=True):
        assert [image["file_name"] for image in document["images"]] == [f"images/{name}" for name in halves[split]]
        rows = np.flatnonzero(np.isin(real["imgname"], np.array(halves[split], "S13")))
        assert len(rows) == len(document["annotations"])
        for person in document["annotations"]:
            x, y, width, height = person["bbox"]
            name = f"{person['image_id']:09d}.jpg".encode()
            centre = np.array((x + (width - 1) / 2 + 1, y + (height - 1) / 2 + 1))
            (row,) = [r for r in rows if real["imgname"][r] == name and np.abs(real["center"][r] - centre).max() < 1e-6]
            np.testing.assert_allclose((width, 1.25 * width), (height, 200 * real["scale"][row]))
            keypoints = np.reshape(person["keypoints"], (16, 3))
            labelled = real["part"][row].any(1)
            np.testing.assert_array_equal(keypoints[:, :2], np.where(labelled[:, None], real["part"][row] - 1, 0))
            np.testing.assert_array_equal(keypoints[:, 2], np.where(labelled, 1 + real["visible"][row], 0))
            assert person["head_size"] == real["normalize"][row]
    coco = COCO(str(tmp_path / "out/val.json"))
    assert len(coco.getAnnIds()) == len(rows) and len(coco.getImgIds()) == 20
    keypoints = np.array([person["keypoints"] for person in coco.anns.values()]).reshape(-1, 16, 3)
    upright = keypoints[(keypoints[:, [9, 0], 2] > 0).all(1)]
    assert (upright[:, 9, 1] < upright[:, 0, 1]).mean() > 0.8  # head tops above ankles


def test_the_keyframes_of_mpii_are_not_its_annotations(shared_data: Path, mat: Path):
    shutil.copy(shared_data / "samples/mpii/mpii_human_pose_v1_sequences_keyframes.mat", mat / MAT)
    with pytest.raises(InputError, match=r"holds annolist_keyframes; expected MPII's RELEASE"):
        converted(mat)


def test_mpii_is_known_by_name():
    assert formats.get("mpii") is mpii
