"""Students on photographs: the pipeline's own predictions, pictures of all kinds, boxes, and what is refused."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.crops import open_crops
from lib.deployment import photos, pictures
from lib.deployment.students import locate, open_student
from lib.errors import InputError
from lib.hands.joints import ROOT
from lib.labels import label_weights, read_label
from stages import predict, run
from tests import students
from tests.test_competitors import RUNS as COMPETITORS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with students on drawn people: of heatmaps, of SimCC, and each of CDKD's competitors."""
    folder = tmp_path_factory.mktemp("people")
    students.train_people(folder)
    students.train_people(folder, name="simcc", **students.SIMCC)
    for name, (model, output, method) in COMPETITORS.items():
        settings = {"name": name, "model": model, "output": output, "method": method}
        settings |= {"teacher": "fpd/tokenpose"} if name == "distilpose" else {}
        students.train_people(folder, **settings, **({} if output == "heatmap" else {"codec": {}}))
    return folder


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    return students.train_hands(tmp_path_factory.mktemp("hands"))


def people_and_photos(folder, dataset):
    """The validation annotations and the paths of their images, in order."""
    path = folder / "data/annotations" / dataset / "val.json"
    images = json.loads(path.read_text())["images"]
    return path, [str(folder / "data/raw" / dataset / image["file_name"]) for image in images]


@pytest.mark.parametrize("name", ["student", "simcc", *COMPETITORS])
def test_people_are_predicted_as_validation_predicted_them(project, tmp_path, name):
    boxes, files = people_and_photos(project, "lsp")
    predict.main(str(project / "models/fpd" / name), *files, "--boxes", str(boxes), "-o", str(tmp_path))
    found = {one["image_id"]: one for one in json.loads((tmp_path / "keypoints.json").read_text())}
    expected = np.load(project / "models/fpd" / name / "seed0/predictions.npz")
    assert found.keys() == set(expected["image_ids"].tolist()) and len(found) == 6
    for number, points, scores in zip(*(expected[key] for key in ("image_ids", "keypoints", "scores")), strict=True):
        joints = np.reshape(found[number]["keypoints"], (14, 3))
        np.testing.assert_allclose(joints[:, :2], points, atol=2e-3)
        np.testing.assert_allclose(joints[:, 2], scores, atol=1e-4)
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == [
        f"im{number:04d}_pose.jpg" for number in sorted(found)
    ]


def test_hands_are_predicted_as_validation_predicted_them_but_for_their_true_size(hands, tmp_path):
    project = hands.parents[2]
    boxes, files = people_and_photos(project, "rhd")
    predict.main(str(hands), *files, "--boxes", str(boxes), "-o", str(tmp_path))
    found = {one["image_id"]: one for one in json.loads((tmp_path / "keypoints.json").read_text())}
    expected, crops = np.load(hands / "seed0/predictions.npz"), open_crops(project / "data/crops/rhd", "val")
    assert {entry["side"] for entry in json.loads(boxes.read_text())["annotations"]} == {"left", "right"}
    mean = float(np.load(project / "data/crops/rhd/train/scale.npy").mean())
    for row, number in enumerate(crops.image_ids.tolist()):
        at = expected["image_ids"].tolist().index(number)
        xyz = (expected["keypoints"][at] - expected["keypoints"][at, ROOT]) / crops.scale[row] * mean
        np.testing.assert_allclose(found[number]["xyz"], xyz, atol=0.05)


def test_a_hand_of_no_known_camera_fills_its_box():
    xyz = np.zeros((21, 3))
    xyz[1], xyz[2] = [40, 20, 5], [-40, 0, 9]  # 80 mm wide, 20 mm high
    points = pictures.placed(xyz, np.array([10.0, 30.0, 161.0, 21.0]))
    assert points[1].tolist() == [90 + 80.5, 40 + 20.125] and points[2].tolist() == [90 - 80.5, 40 - 20.125]


def test_without_boxes_the_whole_photograph_is_one(project, tmp_path, capsys):
    _, (file, *_) = people_and_photos(project, "lsp")
    predict.main(str(project / "models/fpd/student"), file, "-o", str(tmp_path))
    (one,) = json.loads((tmp_path / "keypoints.json").read_text())
    height, width = photos.read(Path(file)).shape[:2]
    assert one["bbox"] == [0, 0, width, height] and "taken as one box" in capsys.readouterr().err


def four_colours():
    """A photograph with four colours in its corners, larger than a block of JPEG, and its pixels."""
    image = np.zeros((48, 32, 3), np.uint8)
    image[:24, :16], image[:24, 16:], image[24:, :16], image[24:, 16:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (200,) * 3,
    )
    return image


@pytest.mark.parametrize(("orientation", "stored"), [(1, lambda x: x), (6, np.rot90), (3, lambda x: x[::-1, ::-1])])
def test_photographs_are_upright(tmp_path, orientation, stored):
    image, path = four_colours(), tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored(image))).save(path, quality=95, exif=exif)
    assert np.abs(photos.read(path).astype(int) - image)[4:-4, 4:-4].max(2)[[4, 4, -8, -8], [4, -8, 4, -8]].max() < 12


def test_photographs_of_every_kind_are_three_channels_of_eight_bits(tmp_path):
    image = four_colours()
    grey = np.tile(np.arange(32, dtype=np.uint8) * 8, (48, 1))
    cases = {
        "grey.png": (Image.fromarray(grey), np.repeat(grey[..., None], 3, 2)),
        "alpha.png": (Image.fromarray(np.dstack([image, np.full((48, 32), 255, np.uint8)])), image),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 256 + 7), np.repeat(grey[..., None], 3, 2)),
        "palette.png": (Image.fromarray(image).quantize(8), image),
        "photo.webp": (Image.fromarray(image), image),
    }
    for name, (picture, expected) in cases.items():
        picture.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        assert np.abs(photos.read(tmp_path / name).astype(int) - expected).max() <= 1, name
    Image.fromarray(image).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    corners = photos.read(tmp_path / "cmyk.jpg")[[8, 8, -8, -8], [8, -8, 8, -8]]
    assert corners.argmax(1)[:3].tolist() == [0, 1, 2] and np.ptp(corners[3].astype(int)) < 8


def test_unreadable_photographs_are_named_and_skipped(project, tmp_path, capsys, monkeypatch):
    _, (file, *_) = people_and_photos(project, "lsp")
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(file, folder / "b.jpg")
    (folder / "a.jpg").write_bytes((folder / "b.jpg").read_bytes()[:300])
    (folder / "c.txt").write_text("no picture")
    monkeypatch.setattr(sys, "argv", ["predict", str(project / "models/fpd/student"), str(folder), "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        run(predict.main)
    assert "2 of 3 photographs could not be read" in stopped.value.code and "a.jpg" in stopped.value.code
    assert len(json.loads((tmp_path / "keypoints.json").read_text())) == 1 and (tmp_path / "b_pose.jpg").is_file()
    assert "skipped" in capsys.readouterr().err


@pytest.mark.parametrize("box", ["5,5,0,9", "900,5,20,20", "nan,5,20,20", "0,0,1e9,20"])
def test_boxes_that_show_nobody_are_refused(project, tmp_path, box):
    _, (file, *_) = people_and_photos(project, "lsp")
    with pytest.raises(InputError, match="is not one of a person"):
        predict.main(str(project / "models/fpd/student"), file, "--box", box, "-o", str(tmp_path))


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '[{"image_id": 1}]', '{"images": [], "annotations": [{}]}', '[{"image_id": Infinity}]']
)
def test_files_without_boxes_are_refused(tmp_path, content):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(InputError, match="holds no boxes"):
        photos.listed(tmp_path / "boxes.json", [tmp_path / "1.jpg"])


def test_detections_find_their_photograph_by_its_number(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 785, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}]))
    found = photos.listed(path, [tmp_path / "000000000785.jpg", tmp_path / "other.jpg"])
    first, second = found.values()
    assert first.boxes.tolist() == [[1, 2, 3, 4]] and first.scores.tolist() == [0.5] and not len(second.boxes)
    with pytest.raises(InputError, match="a box for none"):
        photos.listed(path, [tmp_path / "786.jpg"])


def test_a_student_is_found_in_its_folders(project, tmp_path):
    weights = project / "models/fpd/student/seed0/weights.safetensors"
    assert {locate(place) for place in (weights, weights.parent, weights.parents[1])} == {weights}
    label = open_student(weights).label
    assert (label.run, label.seed, label.input, label.crop, label.padding) == ("student", 0, (64, 64), (96, 96), 1.25)
    assert label.joints[13] == "head_top" and (12, 13) in label.skeleton and (0, 5) in label.flip_pairs
    with pytest.raises(InputError, match="not found: expected the folder of a run"):
        open_student(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no seed of a run"):
        open_student(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="is no student"):
        open_student(tmp_path / "photo.jpg")


@pytest.mark.parametrize("codec", [{"sigma": "wide"}, {"sigma": 0.0}, {"spread": 1.0}, {"sigma": [1.0]}])
def test_a_label_that_does_not_fit_its_network_is_refused(project, tmp_path, codec):
    path = tmp_path / "weights.safetensors"
    shutil.copy(project / "models/fpd/student/seed0/weights.safetensors", path)
    label_weights(path, read_label(path).model_copy(update={"codec": codec}))
    with pytest.raises(InputError, match="cannot be used") as error:
        open_student(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_skeleton_is_drawn_where_the_joints_are():
    image = np.zeros((320, 640, 3), np.uint8)
    picture = pictures.draw_people(
        image, np.array([[[100.0, 50.0], [500.0, 50.0]]]), [(0, 1)], ["left_hip", "left_knee"]
    )
    painted = np.argwhere(picture.any(2))
    assert painted[:, 0].min() > 30 and painted[:, 0].max() < 70
    assert painted[:, 1].min() > 80 and painted[:, 1].max() < 520
    assert picture[50, 300].tolist() == [0x56, 0xB4, 0xE9] and cv2.countNonZero(picture[..., 0]) > 1000
