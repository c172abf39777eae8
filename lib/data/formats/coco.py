"""COCO keypoints 2017: raw annotations and a detector's boxes to annotations, and synthetic raw data.

Lin et al., ECCV 2014. The raw folder holds what COCO's archives do, `annotations/person_keypoints_{train,val}2017.json`
and `{train,val}2017/*.jpg`, and may hold the boxes of a person detector for val2017: one JSON list of {image_id,
category_id, bbox, score} in `person_detection_results/`.
"""

import json
from pathlib import Path

from lib.data.formats.coco_layout import (
    CATEGORY,
    FLIP_PAIRS,
    JOINTS,
    SKELETON,
    UPPER_BODY,
    check_inside,
    read_annotations,
    read_detections,
)
from lib.data.formats.coco_synthetic import write_synthetic
from lib.data.formats.raw import require_images, source
from lib.files import atomic

__all__ = ["FLIP_PAIRS", "JOINTS", "SKELETON", "UPPER_BODY", "convert", "write_synthetic"]

PROTOCOL = (
    "train is the people of train2017 that have a labelled joint and are no crowd; val is all of val2017; boxes of "
    "people with labelled joints are clipped to the image"
)


def _clip(where: str, annotation: dict, image: dict) -> list[float] | None:
    """Clip a bbox to its image as HRNet does, or return None where that leaves nothing to crop.

    HRNet keeps the pixels from (x1, y1) = max(0, (x, y)) to min(size - 1, (x1 + w - 1, y1 + h - 1)), so that a box
    that begins outside is moved, not cut, and drops people without area. Here the result is a bbox again: one that lies
    inside the image stays as it is.
    """
    x, y, w, h = annotation["bbox"]
    if min(annotation["area"], w, h) <= 0:
        return None
    check_inside(where, annotation["bbox"], image)
    x, y, right, bottom = max(0, x), max(0, y), image["width"], image["height"]
    return [x, y, min(w, right - x), min(h, bottom - y)] if x <= right - 1 and y <= bottom - 1 else None


def _convert_split(raw: Path, split: str) -> tuple[list[dict], list[dict], int, dict[str, int]]:
    """Images and annotations to write, the source's id of people's category, and counts of one split."""
    path, folder = raw / "annotations" / f"person_keypoints_{split}2017.json", raw / f"{split}2017"
    images, annotations, category = read_annotations(path)
    people, unusable = [], 0
    for annotation in annotations:
        bbox = _clip(f"{path}: annotation {annotation['id']}", annotation, images[annotation["image_id"]])
        # OKS reads the bbox of crowds and of people without labelled joints: theirs stay as annotated.
        if annotation["iscrowd"] or not annotation["num_keypoints"]:
            continue
        if bbox:
            annotation["bbox"] = bbox
            people.append(annotation)
        else:
            unusable += 1
    if split == "train":
        annotations, shown = people, {person["image_id"] for person in people}
        images = {key: image for key, image in images.items() if key in shown}

    require_images(folder, [image["file_name"] for image in images.values()])
    records = [image | {"file_name": f"{split}2017/{image['file_name']}"} for image in images.values()]
    joints = sum(person["num_keypoints"] for person in people)
    counts = {"persons": len(people), "images": len(images), "joints": joints, "unusable": unusable}
    return records, annotations, category, counts


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write train.json, val.json and, of a detector's result file, detections.json (COCO keypoints).

    Ids stay COCO's, the category's apart, which is 1 whatever it was; detections are numbered from 1, keep their boxes
    and leave other things than people out. val.json evaluates as its source does. Boxes are clipped to the image as
    HRNet does (Sun et al., CVPR 2019, released code); a person with labelled joints whose box or area is empty is left
    out of train.json and stays in val.json as annotated.

    Args:
        raw: folder with `annotations/`, `train2017/`, `val2017/`, perhaps `person_detection_results/`, and SOURCE.json
            where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: persons (with labelled joints and a box), images (of train.json and val.json), joints (labelled, of
        these persons), unusable (persons with labelled joints but an empty box), detections.

    Raises:
        InputError: a file or an image is missing, a file is not what its archive holds, ids are given twice or name an
            unknown image, a number is not finite, or a box is outside its image.
    """
    info = {"dataset": "coco", "source": source(raw), "note": PROTOCOL}
    categories = [CATEGORY | {"flip_pairs": FLIP_PAIRS, "upper_body": UPPER_BODY}]
    totals = dict.fromkeys(("persons", "images", "joints", "unusable", "detections"), 0)
    with atomic(out) as folder:
        folder.mkdir()

        def write(name: str, images: list[dict], annotations: list[dict]) -> None:
            content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

        for split in ("train", "val"):
            images, annotations, category, counts = _convert_split(raw, split)
            write(split, images, annotations)
            totals |= {noun: totals[noun] + count for noun, count in counts.items()}
        detections = read_detections(raw, {image["id"]: image for image in images}, category)
        if detections:
            write("detections", images, detections)
            totals["detections"] = len(detections)
    return totals
