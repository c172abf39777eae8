"""What COCO's keypoint annotation files and a detector's result file hold, read and checked."""

import json
import math
from pathlib import Path

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

# What is read: by training, by pycocotools' keypoint evaluation and here.
_IMAGE = ("id", "file_name", "width", "height")
_ANNOTATION = ("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd")
_DETECTION = ("image_id", "category_id", "bbox", "score")
_READ = {"images", "annotations", "categories", *_IMAGE, *_ANNOTATION, *_DETECTION}


def _parse(path: Path) -> object:
    """Parse JSON, dropping what nothing reads object by object: the polygons of train2017 would take gigabytes."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_hook=lambda record: {k: v for k, v in record.items() if k in _READ})
    except FileNotFoundError:
        raise InputError(f"{path} is missing; extract {ARCHIVE} into {path.parents[1]}") from None
    except ValueError as error:
        raise InputError(f"{path} is not a readable JSON file: {error}; fetch it again") from None


def _numbers(values: object, count: int) -> bool:
    """Whether `values` are `count` finite numbers."""
    try:
        return len(values) == count and all(map(math.isfinite, values))
    except TypeError:
        return False


def _check_fields(path: Path, noun: str, records: list[dict], fields: tuple[str, ...]) -> None:
    for number, record in enumerate(records, 1):
        for field in fields:
            if not isinstance(record, dict) or field not in record:
                which = record["id"] if isinstance(record, dict) and "id" in record else f"number {number}"
                raise InputError(f"{path}: {noun} {which} has no {field}; expected {', '.join(fields)}")


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


def read_annotations(path: Path) -> tuple[dict[int, dict], list[dict]]:
    """Read a person_keypoints file: its images by id and its annotations.

    Raises:
        InputError: the file is missing or not of this kind, ids are given twice or name an unknown image, or numbers
            are too few, too many or not finite.
    """
    document = _parse(path)
    parts = document if isinstance(document, dict) else {}
    images, annotations, categories = (parts.get(part) for part in ("images", "annotations", "categories"))
    if not all(isinstance(part, list) for part in (images, annotations, categories)):
        raise InputError(f"{path} is not a COCO file with images, annotations and categories; expected {ARCHIVE}'s")
    if not any(category.get("keypoints") == JOINTS for category in categories):
        raise InputError(f"{path} has no keypoints, or other ones than COCO's 17; expected {path.name} from {ARCHIVE}")
    _check_fields(path, "image", images, _IMAGE)
    _check_fields(path, "annotation", annotations, _ANNOTATION)
    _check_ids(path, "image", images)
    _check_ids(path, "annotation", annotations)
    by_id = {image["id"]: image for image in images}
    _check_images(path, "annotation", annotations, by_id)
    for annotation in annotations:
        keypoints, bbox = annotation["keypoints"], annotation["bbox"]
        if not _numbers(keypoints, 51) or not set(keypoints[2::3]) <= {0, 1, 2}:
            problem = f"the keypoints {keypoints}; expected 17 times finite x, y and v, which is 0, 1 or 2"
        elif not _numbers(bbox, 4) or not _numbers([annotation["area"]], 1):
            problem = f"the bbox {bbox} and the area {annotation['area']}; expected 4 finite numbers and 1"
        else:
            continue
        raise InputError(f"{path}: annotation {annotation['id']} has {problem}")
    return by_id, annotations


def read_detections(raw: Path, images: dict[int, dict]) -> list[dict]:
    """Read a detector's person boxes in val2017 as annotations, numbered in their order; none where there is no file.

    Args:
        raw: folder whose `person_detection_results/` may hold one JSON list of {image_id, category_id, bbox, score}.
        images: of val2017, by id.

    Raises:
        InputError: several files, another content, unknown images, an empty box or one outside its image.
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
        if detection["category_id"] != CATEGORY["id"]:
            continue
        bbox, score, where = detection["bbox"], detection["score"], f"{path}: detection number {number}"
        if not _numbers([score], 1) or not _numbers(bbox, 4) or min(bbox[2:]) <= 0:
            raise InputError(f"{where} has bbox {bbox}, score {score}; expected finite numbers and an extent above 0")
        check_inside(where, bbox, images[detection["image_id"]])
        annotations.append({"id": len(annotations) + 1} | {field: detection[field] for field in _DETECTION})
    return annotations
