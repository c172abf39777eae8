"""COCO keypoints: converted annotations evaluate as COCO's own do, and boxes are HRNet's."""

import contextlib
import io
import json
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lib.data import formats
from lib.data.formats import coco
from lib.errors import InputError
from tests import samples

IMAGE = {"id": 7, "file_name": "000000000007.jpg", "width": 100, "height": 80}
FIELDS = ("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd")


def person(id: int, **changes: object) -> dict:
    """An annotation of image 7 with a visible nose at (30, 20) and an occluded right ankle at (35, 60.5)."""
    annotation = {"segmentation": [[20, 10, 50, 10, 50, 70, 20, 70]], "num_keypoints": 2, "area": 900.5, "iscrowd": 0}
    annotation |= {"keypoints": [30, 20, 2, *[0] * 45, 35, 60.5, 1], "image_id": 7, "bbox": [20.0, 10.0, 30.5, 60.0]}
    return annotation | {"category_id": 1, "id": id} | changes


def unlabelled(id: int, **changes: object) -> dict:
    return person(id, keypoints=[0] * 51, num_keypoints=0, **changes)


def write_raw(raw: Path, train: list, val: list, detections: list | None = None) -> Path:
    """COCO's layout by hand: image 7 and the empty image 8 in both splits."""
    images = [IMAGE | {"license": 4, "flickr_url": "http://"}, IMAGE | {"id": 8, "file_name": "000000000008.jpg"}]
    (raw / "annotations").mkdir(parents=True)
    for split, annotations in (("train", train), ("val", val)):
        (raw / f"{split}2017").mkdir()
        for image in images:
            (raw / f"{split}2017" / image["file_name"]).touch()
        document = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
        write_json(raw / f"annotations/person_keypoints_{split}2017.json", document | {"categories": [coco.CATEGORY]})
    if detections is not None:
        (raw / "person_detection_results").mkdir()
        write_json(raw / "person_detection_results/result.json", detections)
    return raw


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def load(folder: Path, *names: str) -> list[dict]:
    return [json.loads((folder / f"{name}.json").read_text()) for name in names or ("train", "val")]


def test_literal_annotations_give_exactly_this_json(tmp_path: Path):
    crowd = unlabelled(4, iscrowd=1, segmentation={"counts": [8000], "size": [80, 100]}, bbox=[0, 0, 120, 90])
    box = {"image_id": 7, "category_id": 1, "bbox": [-1.5, 3, 40, 50], "score": 0.75}
    detections = [box | {"category_id": 3}, box, box | {"image_id": 8, "score": 0.5}]
    raw = write_raw(tmp_path / "raw", [person(1), unlabelled(2), crowd], [person(3), unlabelled(5), crowd], detections)
    counts = coco.convert(raw, tmp_path / "out")
    assert counts == {"persons": 2, "images": 3, "joints": 4, "unusable": 0, "detections": 2}
    train, val, detected = load(tmp_path / "out", "train", "val", "detections")
    assert train["images"] == [IMAGE | {"file_name": "train2017/000000000007.jpg"}]
    names = {7: "val2017/000000000007.jpg", 8: "val2017/000000000008.jpg"}
    assert val["images"] == detected["images"] == [IMAGE | {"id": k, "file_name": name} for k, name in names.items()]
    without_polygons = [{field: a[field] for field in FIELDS} for a in (person(3), unlabelled(5), crowd)]
    assert val["annotations"] == without_polygons
    assert train["annotations"] == [without_polygons[0] | {"id": 1}]
    assert detected["annotations"] == [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [-1.5, 3, 40, 50], "score": 0.75},
        {"id": 2, "image_id": 8, "category_id": 1, "bbox": [-1.5, 3, 40, 50], "score": 0.5},
    ]
    assert train["info"] == val["info"] == {"dataset": "coco", "source": "local", "note": coco.PROTOCOL}
    (category,) = train["categories"]
    assert category["flip_pairs"] == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16]]
    assert [category["keypoints"][k] for k in category["upper_body"]] == category["keypoints"][:11]
    assert category["keypoints"][10] == "right_wrist"


def test_without_a_result_file_there_are_no_detections(tmp_path: Path):
    raw = write_raw(tmp_path / "raw", [person(1)], [person(2)])
    (raw / "SOURCE.json").write_text('{"source": "official"}')
    assert coco.convert(raw, tmp_path / "out")["detections"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.json", "val.json"]
    assert load(tmp_path / "out")[0]["info"]["source"] == "official"


def test_names_skeleton_and_mirror_pairs_agree():
    mirror = list(range(17))
    for a, b in coco.FLIP_PAIRS:
        mirror[a], mirror[b] = mirror[b], mirror[a]
    swap = {"right": "left", "left": "right"}
    for joint, other in zip(coco.JOINTS, (coco.JOINTS[k] for k in mirror), strict=True):
        side, _, rest = joint.partition("_")
        assert other == (f"{swap[side]}_{rest}" if side in swap else joint)
    bones = {frozenset((a - 1, b - 1)) for a, b in coco.SKELETON}
    assert {frozenset(mirror[k] for k in bone) for bone in bones} == bones and len(bones) == 19


@pytest.mark.parametrize(
    "bbox, clipped",
    [
        ([20.25, 10, 30.5, 60], [20.25, 10, 30.5, 60]),  # inside: as it is
        ([0, 0, 100, 80], [0, 0, 100, 80]),  # the whole image
        ([90, 70, 30, 30], [90, 70, 10, 10]),  # over the right and lower border: cut
        ([-5, -10, 30, 20], [0, 0, 30, 20]),  # over the left and upper border: HRNet moves it
        ([-50, 20, 200, 20], [0, 20, 100, 20]),
    ],
)
def test_boxes_of_labelled_people_are_clipped(tmp_path: Path, bbox: list, clipped: list):
    raw = write_raw(tmp_path / "raw", [person(1, bbox=bbox)], [person(1, bbox=bbox), unlabelled(2, bbox=bbox)])
    coco.convert(raw, tmp_path / "out")
    train, val = load(tmp_path / "out")
    assert train["annotations"][0]["bbox"] == val["annotations"][0]["bbox"] == clipped
    assert val["annotations"][1]["bbox"] == bbox  # OKS ignores what lies in it: it stays as annotated


offset, extent = st.floats(-60, 140), st.floats(1, 150)


@given(x=offset, y=offset, w=extent, h=extent)
@example(x=99.5, y=10, w=5, h=5)  # less than a pixel of the image
@example(x=10, y=79.5, w=5, h=5)
@example(x=99, y=79, w=5, h=5)  # one pixel
def test_clipped_boxes_have_hrnets_centre(x: float, y: float, w: float, h: float):
    """HRNet's rule, in its own terms: first and last pixel, centre (first + last) / 2."""
    assume(-w < x < 100 and -h < y < 80)
    clipped = coco._clip("", {"bbox": [x, y, w, h], "area": 1}, IMAGE)
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(100 - 1, x1 + max(0, w - 1)), min(80 - 1, y1 + max(0, h - 1))
    if x2 < x1 or y2 < y1:
        assert clipped is None
    else:
        left, top, width, height = clipped
        np.testing.assert_allclose((left + (width - 1) / 2, top + (height - 1) / 2), ((x1 + x2) / 2, (y1 + y2) / 2))
        np.testing.assert_allclose((width - 1, height - 1), (x2 - x1, y2 - y1), atol=1e-9)


@pytest.mark.parametrize("empty", [{"area": 0}, {"bbox": [20, 10, 0, 60]}, {"bbox": [20, 80, 9, 0], "area": 0}])
def test_labelled_people_without_area_are_evaluated_but_not_trained_on(tmp_path: Path, empty: dict):
    raw = write_raw(tmp_path / "raw", [person(1, **empty), person(2)], [person(3, **empty), unlabelled(4, **empty)])
    counts = coco.convert(raw, tmp_path / "out")
    assert (counts["persons"], counts["unusable"]) == (1, 2)
    train, val = load(tmp_path / "out")
    assert [annotation["id"] for annotation in train["annotations"]] == [2]
    assert val["annotations"][0] == {field: person(3, **empty)[field] for field in FIELDS}
    assert [annotation["id"] for annotation in val["annotations"]] == [3, 4]


def average_precision(annotations: Path, results: list[dict]) -> np.ndarray:
    """pycocotools' ten numbers."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def guesses(annotations: list[dict], seed: int) -> list[dict]:
    """Jittered keypoints of labelled people, and random ones about the others' boxes, which OKS may ignore."""
    rng = np.random.default_rng(seed)
    results = []
    for annotation in annotations:
        x, y, w, h = annotation["bbox"]
        labelled = annotation["num_keypoints"] > 0
        xy = np.reshape(annotation["keypoints"], (17, 3))[:, :2] + rng.normal(
            0, 0.05 * annotation["area"] ** 0.5, (17, 2)
        )
        xy = xy if labelled else rng.uniform((x - w, y - h), (x + 2 * w, y + 2 * h), (17, 2))
        keypoints = np.column_stack((xy, np.ones(17))).ravel().tolist()
        results.append(
            {"image_id": annotation["image_id"], "category_id": 1, "keypoints": keypoints, "score": rng.random()}
        )
    return results


@pytest.mark.parametrize("real", [True, False])
def test_converted_annotations_evaluate_as_their_source(tmp_path: Path, request: pytest.FixtureRequest, real: bool):
    raw = tmp_path / "raw"
    if real:
        source = request.getfixturevalue("shared_data") / "samples/coco/annotations/person_keypoints_val2017.json"
        raw = write_raw(raw, [person(1)], [])
        document = json.loads(source.read_text())
        write_json(raw / "annotations/person_keypoints_val2017.json", document)
        for image in document["images"]:
            (raw / "val2017" / image["file_name"]).touch()
    else:
        coco.write_synthetic(raw, train=3, val=60, seed=5)
        document = json.loads((raw / "annotations/person_keypoints_val2017.json").read_text())
        for annotation in document["annotations"][::3]:  # over the border
            annotation["bbox"] = [annotation["bbox"][0] - 9, *annotation["bbox"][1:3], annotation["bbox"][3] + 200]
        write_json(raw / "annotations/person_keypoints_val2017.json", document)
    coco.convert(raw, tmp_path / "out")
    results = guesses(document["annotations"], seed=1)
    expected = average_precision(raw / "annotations/person_keypoints_val2017.json", results)
    np.testing.assert_array_equal(average_precision(tmp_path / "out/val.json", results), expected)
    assert 0.3 < expected[0] < 0.95
    truth = [annotation | {"score": 1} for annotation in document["annotations"] if annotation["num_keypoints"]]
    # Among the medium and the large people alone, one of the other size may be matched to a neighbour: not all are 1.
    perfect = average_precision(tmp_path / "out/val.json", truth)
    np.testing.assert_array_equal(perfect[[0, 1, 2, 5, 6, 7]], np.ones(6))


def test_boxes_of_the_test_images_may_lie_beside(tmp_path: Path):
    detection = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3)], [detection])
    (result,) = (raw / "person_detection_results").iterdir()
    result.rename(result.with_name("COCO_val2017_detections_AP_H_56_person.json"))
    write_json(result.with_name("COCO_test-dev2017_detections_AP_H_609_person.json"), [detection | {"image_id": 99}])
    coco.convert(raw, tmp_path / "out")
    (detected,) = load(tmp_path / "out", "detections")
    assert [box["bbox"] for box in detected["annotations"]] == [[1, 2, 30, 40]]


def test_real_images(shared_data: Path, tmp_path: Path):
    """The 20 images of the sample, ten as train2017 and ten as val2017, with their annotations and detections."""
    raw = tmp_path / "raw"
    kept = samples.link_coco(shared_data, raw)
    document = json.loads((shared_data / "samples/coco/annotations/person_keypoints_val2017.json").read_text())
    (result,) = (raw / "person_detection_results").iterdir()
    detections = json.loads(result.read_text())

    counts = formats.get("coco").convert(raw, tmp_path / "out")
    train, val, detected = load(tmp_path / "out", "train", "val", "detections")
    source = {annotation["id"]: annotation for annotation in document["annotations"]}
    usable = [a["id"] for a in document["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    assert [a["id"] for a in train["annotations"]] == [id for id in usable if source[id]["image_id"] in kept["train"]]
    assert [a["id"] for a in val["annotations"]] == [id for id, a in source.items() if a["image_id"] in kept["val"]]
    for annotation in train["annotations"] + val["annotations"]:
        expected = {field: source[annotation["id"]][field] for field in FIELDS}
        assert annotation == expected | {"bbox": pytest.approx(expected["bbox"], abs=1e-9)}
    assert len(detected["annotations"]) == counts["detections"] == len(detections) > 100
    assert [a["score"] for a in detected["annotations"]] == [d["score"] for d in detections]
    assert document["categories"][0].items() <= val["categories"][0].items()
    for split in (train, val):
        for image in split["images"]:
            height, width = cv2.imread(str(raw / image["file_name"])).shape[:2]
            assert (image["width"], image["height"]) == (width, height)


def test_polygons_are_dropped_while_reading(tmp_path: Path):
    """Floats of polygons take 32 bytes each, so that keeping them would need over four times the file's size."""
    polygon = [np.random.default_rng(0).uniform(0, 80, 100).round(2).tolist()]
    raw = write_raw(tmp_path / "raw", [unlabelled(k, segmentation=polygon * 20) for k in range(1, 101)], [])
    size = (raw / "annotations/person_keypoints_train2017.json").stat().st_size
    tracemalloc.start()
    coco.convert(raw, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 1e6 and peak < 2.5 * size  # the text, as bytes and decoded, and little else


def corrupt(raw: Path, damage: str) -> None:
    train, val = (raw / f"annotations/person_keypoints_{split}2017.json" for split in ("train", "val"))
    result = raw / "person_detection_results/result.json"
    document, (detection,) = json.loads(val.read_text()), json.loads(result.read_text())
    first = document["annotations"][0]
    match damage:
        case "no annotations":
            train.unlink()
        case "no json":
            train.write_text(train.read_text()[:300])
        case "no coco":
            write_json(val, [first])
        case "captions":
            write_json(val, {"images": document["images"], "annotations": [{"id": 1, "image_id": 7, "caption": ""}]})
        case "instances":
            plain = {"supercategory": "person", "id": 1, "name": "person"}
            write_json(val, document | {"categories": [plain], "annotations": []})
        case "no images":
            for name in ("train2017/000000000007.jpg", "val2017/000000000007.jpg", "val2017/000000000008.jpg"):
                (raw / name).unlink()
        case "no folder":
            (raw / "val2017/000000000007.jpg").unlink()
            (raw / "val2017/000000000008.jpg").unlink()
            (raw / "val2017").rmdir()
        case "two annotations":
            write_json(val, document | {"annotations": [first, first]})
        case "two images":
            write_json(val, document | {"images": document["images"] * 2})
        case "two result files":
            write_json(result.with_name("other.json"), [])
        case "detections":
            write_json(result, {"annotations": [detection]})
        case "detection" | "score" | "box":
            changes = {"detection": {"image_id": 99}, "score": {"score": None}, "box": {"bbox": [1, 2, 0, 4]}}
            write_json(result, [detection, detection | changes[damage]])
        case "detection outside":
            write_json(result, [detection | {"bbox": [5, 80, 10, 10]}])
        case "no score":
            del detection["score"]
            write_json(result, [detection])
        case "no area":
            del first["area"]
            write_json(val, document)
        case _:
            changes = {
                "unknown": {"image_id": 99},
                "short": {"keypoints": [1, 2, 2] * 16},
                "flag": {"keypoints": [1, 2, 3] * 17},
                "nan": {"keypoints": [float("nan"), *[2] * 50]},
                "null": {"keypoints": [None, *[2] * 50]},
                "infinite": {"bbox": [0, 0, float("inf"), 5]},
                "area": {"area": float("nan")},
                "right": {"bbox": [100, 0, 5, 5]},
                "above": {"bbox": [10, -9, 5, 9]},
            }
            write_json(val, document | {"annotations": [first | changes[damage]]})


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            "no annotations",
            r"person_keypoints_train2017.json is missing; extract annotations_trainval2017.zip into .*raw$",
        ),
        ("no json", r"person_keypoints_train2017.json is not a readable JSON file"),
        ("no coco", r"val2017.json is not a COCO file with images, annotations and categories"),
        ("captions", r"val2017.json is not a COCO file with images, annotations and categories"),
        ("instances", r"val2017.json has no keypoints.*; expected person_keypoints_val2017.json"),
        ("no images", r"train2017 lacks 1 of the 1 annotated images: 000000000007.jpg; extract"),
        (
            "no folder",
            r"val2017 lacks 2 of the 2 annotated images: 000000000007.jpg, 000000000008.jpg; extract",
        ),
        ("two annotations", r"val2017.json: two annotations have the id 3"),
        ("two images", r"val2017.json: two images have the id 7"),
        ("unknown", r"val2017.json: 1 of 1 annotations are for unknown images, the first for image 99"),
        ("short", r"annotation 3 has the keypoints .*; expected 17 times finite x, y and v"),
        ("flag", r"annotation 3 has the keypoints .*v, which is 0, 1 or 2"),
        ("nan", r"annotation 3 has the keypoints \[nan, 2, .*finite"),
        ("null", r"annotation 3 has the keypoints \[None, 2, .*finite"),
        ("infinite", r"annotation 3 has the bbox \[0, 0, inf, 5\]"),
        ("area", r"annotation 3 has the area nan; expected a finite number of px: mend it"),
        ("no area", r"annotation 3 has no area"),
        ("right", r"annotation 3 has the bbox \[100, 0, 5, 5\], outside its image of 100 x 80 px"),
        ("above", r"annotation 3 has the bbox \[10, -9, 5, 9\], outside its image of 100 x 80 px"),
        ("two result files", r"person_detection_results holds 2 result files, expected one.*: other.json, result.json"),
        ("detections", r"result.json is not a detector's result file; expected a list"),
        ("detection", r"result.json: 1 of 2 detections are for unknown images, the first for image 99"),
        ("no score", r"result.json: detection number 1 has no score"),
        ("score", r"result.json: detection number 2 has the score None; expected a finite number"),
        ("box", r"result.json: detection number 2 has the bbox \[1, 2, 0, 4\].*the last two above 0"),
        ("detection outside", r"detection number 1 has the bbox \[5, 80, 10, 10\], outside its image"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, damage: str, message: str):
    detection = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}
    raw = write_raw(tmp_path / "raw", [person(1)], [person(3)], [detection])
    corrupt(raw, damage)
    with pytest.raises(InputError, match=message) as caught:
        coco.convert(raw, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
