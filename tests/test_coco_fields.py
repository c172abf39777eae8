"""COCO's files: what pycocotools cannot score is refused by name when they are converted, not after a training."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.data.formats import coco
from lib.errors import InputError
from tests.test_coco import average_precision, guesses, load, person, write_json, write_raw

ODD = [None, "3", "", True, 1.5, float("nan"), float("inf"), 1e308, 10**400, [3], {}, -1]
WHOLE = ("id", "image_id", "category_id", "num_keypoints", "iscrowd")


@pytest.mark.parametrize("field", [*WHOLE, "keypoints", "bbox", "area", "image id", "file_name", "width", "height"])
def test_what_cannot_be_scored_is_refused_by_name(tmp_path: Path, field: str):
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3)])
    path = raw / "annotations/person_keypoints_val2017.json"
    document = json.loads(path.read_text())
    noun, (record, *_) = "annotation", document["annotations"]
    if field in ("image id", "file_name", "width", "height"):
        noun, field, (record, *_) = "image", field.split()[-1], document["images"]
    odd = [value for value in ODD if field != "file_name" or not value or not isinstance(value, str)]
    odd = [value for value in odd if field != "area" or value not in (1.5, -1)]
    right = record[field]
    if isinstance(right, list):
        odd = [[*right[:-1], value] for value in (*ODD[:4], *ODD[5:-1])] + [right[:-1], {}, "x" * len(right), None]
    for value in [*odd, *([0] if field == "id" and noun == "annotation" else [])]:
        write_json(path, document | {f"{noun}s": [record | {field: value}, *document[f"{noun}s"][1:]]})
        with pytest.raises(InputError) as caught:
            coco.convert(raw, tmp_path / "out")
        which = f"{noun} {'number 1' if field == 'id' else record['id']}"
        assert f"{path}: {which} has the {field} " in str(caught.value), value
        assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(path)) + 250
        assert not (tmp_path / "out").exists()


def test_labelled_joints_are_as_many_as_it_says(tmp_path: Path):
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3, num_keypoints=0)])
    with pytest.raises(InputError, match="annotation 3 has the num_keypoints 0 but 2 joints with v above 0"):
        coco.convert(raw, tmp_path / "out")


def test_people_may_have_another_category_id(tmp_path: Path):
    box = {"image_id": 7, "category_id": 0, "bbox": [1, 3, 40, 50], "score": 0.75}
    people = [[person(1, category_id=0)], [person(3, category_id=0)]]
    raw = write_raw(tmp_path / "raw", *people, [box, box | {"category_id": 1}])
    for split in ("train", "val"):
        path = raw / f"annotations/person_keypoints_{split}2017.json"
        document = json.loads(path.read_text())
        document["categories"] = [{"id": 1, "name": "dog"}, coco.CATEGORY | {"id": 0}]
        write_json(path, document)
    assert coco.convert(raw, tmp_path / "out")["detections"] == 1
    for document in load(tmp_path / "out", "train", "val", "detections"):
        assert [category["id"] for category in document["categories"]] == [1]
        assert [annotation["category_id"] for annotation in document["annotations"]] == [1]
    write_json(path, json.loads(path.read_text()) | {"annotations": [person(3, category_id=1)]})
    with pytest.raises(InputError, match=r"val2017.json: annotation 3 is of category 1; expected 0, the people's"):
        coco.convert(raw, tmp_path / "out")


def test_two_categories_of_people_are_refused(tmp_path: Path):
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3)])
    path = raw / "annotations/person_keypoints_val2017.json"
    write_json(path, json.loads(path.read_text()) | {"categories": [coco.CATEGORY, coco.CATEGORY | {"id": 2}, 5]})
    with pytest.raises(InputError, match=r"val2017.json has categories .* of the ids 1, 2; expected one"):
        coco.convert(raw, tmp_path / "out")


def test_images_may_be_numbered_from_0(tmp_path: Path):
    """pycocotools scores them as any other, unlike annotations of id 0."""
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3), person(4, bbox=[0, 0, 9, 9])])
    path = raw / "annotations/person_keypoints_val2017.json"
    scores = []
    for first in (7, 0):
        path.write_text(path.read_text().replace('"id": 7', f'"id": {first}').replace('_id": 7', f'_id": {first}'))
        coco.convert(raw, tmp_path / "out")
        scores.append(average_precision(tmp_path / "out/val.json", guesses([person(3, image_id=first)], 0)))
    np.testing.assert_array_equal(*scores)
    assert 0 < scores[0][0] < 1


@pytest.mark.parametrize(
    "detections, found",
    [([], "no box"), ([{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}], r"1 boxes .*\[3\]")],
)
def test_a_result_file_without_people_is_named(tmp_path: Path, detections: list, found: str):
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3)], detections)
    with pytest.raises(InputError, match=rf"result.json holds {found}; expected people, of category 1: take"):
        coco.convert(raw, tmp_path / "out")
