"""What COCO's keypoint annotation files and a detector's result file hold, read and checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.data.formats.raw import FARTHEST, finite, read_json, shown, whole
from lib.errors import InputError

_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ["nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right"))]
FLIP_PAIRS = [(left, left + 1) for left in range(1, 17, 2)]
UPPER_BODY = list(range(11))  # face and arms: how HRNet's half-body transform divides the joints
SKELETON = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)
CATEGORY = {"supercategory": "person", "id": 1, "name": "person", "keypoints": JOINTS, "skeleton": SKELETON}
ARCHIVE = "annotations_trainval2017.zip"


def _list_of(count: int) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and len(values) == count and all(map(finite, values))


# What is read, by training, by pycocotools' keypoint evaluation and here, and what it has to be.
_ID = (lambda value: whole(value, 0), "a whole number from 0")
_CATEGORY_ID = (lambda value: whole(value, 0), "a whole number from 0, the id of one of the file's categories")
_BBOX = (_list_of(4), "4 finite numbers: x, y, width, height")
_IMAGE = {
    "id": _ID,
    "file_name": (lambda value: isinstance(value, str) and value != "", "the name of a file"),
    **dict.fromkeys(("width", "height"), (lambda value: whole(value, 1, 65_535), "px from 1 to 65535")),
}
_ANNOTATION = {
    # COCOeval marks "not matched" by id 0.
    "id": (lambda value: whole(value, 1), "a whole number from 1"),
    "image_id": _ID,
    "category_id": _CATEGORY_ID,
    "keypoints": (
        lambda value: _list_of(51)(value) and set(value[2::3]) <= {0, 1, 2},
        "17 times finite x, y and v, which is 0, 1 or 2",
    ),
    "num_keypoints": (lambda value: whole(value, 0, 17), "the number of labelled joints, 0 to 17"),
    "bbox": _BBOX,
    "area": (lambda value: finite(value, FARTHEST**2), "a finite number of px"),
    "iscrowd": (lambda value: whole(value, 0, 1), "0 or 1"),
}
_DETECTION = {
    "image_id": _ID,
    "category_id": _CATEGORY_ID,
    "bbox": (lambda value: _list_of(4)(value) and min(value[2:]) > 0, f"{_BBOX[1]}, the last two above 0"),
    "score": (finite, "a finite number"),
}
_READ = {"images", "annotations", "categories", "name", *_IMAGE, *_ANNOTATION, *_DETECTION}


def _parse(path: Path) -> Any:
    """Parse JSON, dropping what nothing reads object by object: the polygons of train2017 would take gigabytes."""
    remedy = f"extract {ARCHIVE} into {path.parents[1]}"
    return read_json(path, remedy, lambda record: {k: v for k, v in record.items() if k in _READ})


def _check_fields(path: Path, noun: str, records: list, fields: dict[str, tuple[Callable[[Any], bool], str]]) -> None:
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise InputError(f"{path}: {noun} number {number} is {shown(record)}; expected {', '.join(fields)}")
        for field, (right, expected) in fields.items():
            if field not in record or not right(record[field]):
                known = field != "id" and "id" in fields and "id" in record
                which = f"{noun} {record['id'] if known else f'number {number}'}"
                if field not in record:
                    raise InputError(f"{path}: {which} has no {field}; expected {', '.join(fields)}")
                value = shown(record[field])
                raise InputError(
                    f"{path}: {which} has the {field} {value}; expected {expected}: mend it or take it out"
                )


def _check_ids(path: Path, noun: str, records: list[dict]) -> None:
    known = set()
    for record in records:
        if record["id"] in known:
            raise InputError(f"{path}: two {noun}s have the id {record['id']}; expected every id once")
        known.add(record["id"])


def _check_images(path: Path, noun: str, records: list[dict], images: dict[int, dict]) -> None:
    unknown = [record["image_id"] for record in records if record["image_id"] not in images]
    if unknown:
        text = f"{len(unknown)} of {len(records)} {noun}s are for unknown images, the first for image {unknown[0]}"
        raise InputError(
            f"{path}: {text}; expected ids of the {len(images)} images in the split's person_keypoints file"
        )


def check_inside(where: str, bbox: list[float], image: dict) -> None:
    """Raise InputError where a bbox with an area has none in its image; `where` names it."""
    x, y, w, h = bbox
    if not (-w < x < image["width"] and -h < y < image["height"]):
        size = f"{image['width']} x {image['height']} px"
        raise InputError(f"{where} has the bbox {bbox}, outside its image of {size}; expected x, y, width, height")


def _person(path: Path, categories: list) -> int:
    """The id of the category with COCO's joints."""
    categories = [category for category in categories if isinstance(category, dict)]
    ids = [category.get("id") for category in categories if category.get("keypoints") == JOINTS]
    if not ids:
        raise InputError(f"{path} has no keypoints, or other ones than COCO's 17; expected {path.name} from {ARCHIVE}")
    if len(ids) > 1 or not _CATEGORY_ID[0](ids[0]):
        raise InputError(
            f"{path} has categories with COCO's 17 keypoints of the ids {', '.join(map(shown, ids))}; expected one, "
            "whose id is a whole number from 0: rename or take out the others"
        )
    return ids[0]


def read_annotations(path: Path) -> tuple[dict[int, dict], list[dict], int]:
    """Read a person_keypoints file: its images by id, its annotations, and the id that its category "person" has.

    The annotations' own category is CATEGORY, whatever number the file gives it.

    Raises:
        InputError: the file is missing or not of this kind, ids are given twice or name an unknown image or another
            category, a field is not what pycocotools can score, or a person has other labelled joints than it says.
    """
    document = _parse(path)
    parts = document if isinstance(document, dict) else {}
    images, annotations, categories = (parts.get(part) for part in ("images", "annotations", "categories"))
    if not all(isinstance(part, list) for part in (images, annotations, categories)):
        raise InputError(f"{path} is not a COCO file with images, annotations and categories; expected {ARCHIVE}'s")
    person = _person(path, categories)
    _check_fields(path, "image", images, _IMAGE)
    _check_fields(path, "annotation", annotations, _ANNOTATION)
    _check_ids(path, "image", images)
    _check_ids(path, "annotation", annotations)
    by_id = {image["id"]: image for image in images}
    _check_images(path, "annotation", annotations, by_id)
    for annotation in annotations:
        if annotation["category_id"] != person:
            other = annotation["category_id"]
            raise InputError(
                f"{path}: annotation {annotation['id']} is of category {other}; expected {person}, the people's: take "
                "the annotations of other things out"
            )
        labelled = sum(map(bool, annotation["keypoints"][2::3]))
        if annotation["num_keypoints"] != labelled:
            raise InputError(
                f"{path}: annotation {annotation['id']} has the num_keypoints {annotation['num_keypoints']} but "
                f"{labelled} joints with v above 0; expected the same number: mend one of them"
            )
        annotation["category_id"] = CATEGORY["id"]
    return by_id, annotations, person


def read_detections(raw: Path, images: dict[int, dict], person: int) -> list[dict]:
    """Read a detector's person boxes in val2017 as annotations, numbered in their order; none where there is no file.

    Args:
        raw: folder whose `person_detection_results/` may hold one JSON list of {image_id, category_id, bbox, score}.
        images: of val2017, by id.
        person: the id of people's category.

    Raises:
        InputError: several files, another content, unknown images, an empty box or one outside its image, no person.
    """
    folder = raw / "person_detection_results"
    # The usual folder also holds the detector's boxes in the test images.
    files = sorted(folder.glob("COCO_val2017_*.json")) or sorted(folder.glob("*.json"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} holds {len(files)} result files, expected one; take out all but one: {names}")
    if not files:
        return []
    (path,) = files
    detections = _parse(path)
    if not isinstance(detections, list):
        raise InputError(f"{path} is not a detector's result file; expected a list of {', '.join(_DETECTION)}")
    _check_fields(path, "detection", detections, _DETECTION)
    _check_images(path, "detection", detections, images)
    annotations = []
    for number, detection in enumerate(detections, 1):
        if detection["category_id"] == person:
            bbox, image = detection["bbox"], images[detection["image_id"]]
            check_inside(f"{path}: detection number {number}", bbox, image)
            own = {"id": len(annotations) + 1, "category_id": CATEGORY["id"]}
            annotations.append({field: detection[field] for field in _DETECTION} | own)
    if not annotations:
        others = sorted({detection["category_id"] for detection in detections})
        found = f"{len(detections)} boxes of the categories {shown(others)}" if others else "no box"
        raise InputError(
            f"{path} holds {found}; expected people, of category {person}: take the detector's result file for "
            "val2017, or none"
        )
    return annotations
