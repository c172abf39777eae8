"""Synthetic people in COCO's layout: several to an image, crowds, outlines, and what a detector may find."""

import json
from pathlib import Path

import cv2
import numpy as np

from lib.data import people
from lib.data.formats.coco_layout import CATEGORY, JOINTS
from lib.data.scenes import background, photograph
from lib.files import atomic

# Synthetic people that are shorter have no labelled joint, and of whom less is seen no annotation.
_MIN_HEIGHT = 40  # px
_MIN_AREA = 12  # px^2


def _runs(mask: np.ndarray) -> dict:
    """Uncompressed run-length code of a mask (H, W): down the columns, beginning with what is outside."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"counts": np.diff([0, *changes, flat.size]).tolist(), "size": list(mask.shape)}


def _polygons(mask: np.ndarray) -> list[list[float]]:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(outline.ravel() + 0.5).tolist() for outline in outlines if len(outline) > 2]


def _annotation(image: int, number: int, mask: np.ndarray, keypoints: np.ndarray, outline: list | dict) -> dict:
    """Annotation of what is seen, mask (H, W), of a person with keypoints (17, 3) and polygons, or of a crowd."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return {
        "segmentation": outline,
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "area": float(mask.sum()),
        "iscrowd": int(isinstance(outline, dict)),
        "keypoints": [number for x, y, v in keypoints.tolist() for number in (round(x, 1), round(y, 1), int(v))],
        "image_id": image,
        "bbox": [float(side) for side in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)],
        "category_id": CATEGORY["id"],
        "id": 100 * image + number,
    }


def _draw(rng: np.random.Generator, key: int) -> tuple[np.ndarray, list[dict]]:
    """Draw and annotate image `key`, (H, W, 3) uint8 RGB: nobody or up to 4 people, sometimes before a crowd."""
    size = rng.integers(200, 321, 2)  # width, height
    count, throng = rng.integers(1, 5) * (rng.random() < 0.92), rng.integers(6, 11) * (rng.random() < 0.08)
    tiny = rng.random(count) < 0.12
    heights = np.where(tiny, rng.uniform(14, 36, count), np.exp(rng.uniform(*np.log((70, 340)), count)))
    heights.sort()  # the nearest person is drawn last
    whole = rng.random((count, 1)) < 0.75  # the border may cut the others
    room = np.minimum(heights[:, None] * (0.25, 0.5), size / 2) * whole
    places = rng.uniform(room, size - room)
    middle, spread = rng.uniform((0.2, 0.3), (0.8, 0.7)) * size, (0.35 * size[0], 6)
    places = np.concatenate((middle + rng.uniform(-1, 1, (throng, 2)) * spread, places))
    heights = np.append(rng.uniform(28, 46, throng), heights)
    image = background(rng, *size[::-1])
    group = people.group(rng, image, places, heights)

    annotations, order = [], [people.POINTS.index(joint) for joint in JOINTS]
    for person in range(throng, throng + count):
        points, visible, mask = group.points[person, order], group.visible[person, order], group.masks[person]
        polygons = _polygons(mask)
        if mask.sum() < _MIN_AREA or not polygons:
            continue
        inside = ((points > -0.5) & (points < size - 0.5)).all(1)
        v = np.where(visible, 2, inside) * (heights[person] >= _MIN_HEIGHT and visible.any())
        keypoints = np.where(v[:, None] > 0, np.column_stack((points, v)), 0)
        annotations.append(_annotation(key, len(annotations), mask, keypoints, polygons))
    crowd = group.masks[:throng].any(0)
    if crowd.sum() >= _MIN_AREA:
        annotations.append(_annotation(key, len(annotations), crowd, np.zeros((17, 3)), _runs(crowd)))
    return photograph(rng, image), annotations


def _detect(rng: np.random.Generator, key: int, size: np.ndarray, annotations: list[dict]) -> list[dict]:
    """What a detector may find in image `key` of `size` (width, height), best first."""
    found = []  # corners x1, y1, x2, y2 and a score
    for annotation in annotations:
        x, y, w, h = annotation["bbox"]
        if annotation["iscrowd"] or rng.random() < (0.4 if annotation["area"] < 600 else 0.04):
            continue
        for again in range(1 + (rng.random() < 0.15)):
            corners = np.array((x, y, x + w, y + h)) + rng.normal(0, 0.03 + 0.04 * again, 4) * (w, h, w, h)
            found.append((corners, rng.uniform(0.05, 0.6) if again else 1 - 0.4 * rng.random() ** 2))
    for _ in range(rng.poisson(1.5)):  # where nobody is
        centre, extent = rng.uniform(0, size), rng.uniform(0.05, 0.6, 2) * size
        found.append((np.concatenate((centre - extent / 2, centre + extent / 2)), 0.3 * rng.random() ** 2))
    detections = []
    for corners, score in sorted(found, key=lambda pair: -pair[1]):
        low, high = corners.reshape(2, 2).clip(0, size).round(2)
        bbox = [*low.tolist(), *(high - low).round(2).tolist()]
        detections.append({"image_id": key, "category_id": 1, "bbox": bbox, "score": round(score, 4)})
    return detections


def write_synthetic(out: Path, *, train: int, val: int, seed: int) -> None:
    """Write synthetic people in COCO's layout, with a detector's result file for val2017; replaces `out` as a whole.

    Every picture and its labels are a function of (seed, split, number) alone. Joints hidden by something are labelled
    1, as COCO does, people too small to label have none, and boxes, areas and outlines are those of what is seen.

    Args:
        out: folder that will hold `annotations/`, `train2017/`, `val2017/` and `person_detection_results/`.
        train: number of images in train2017.
        val: number of images in val2017.
        seed: of all pictures.
    """
    with atomic(out) as folder:
        for name in ("annotations", "person_detection_results"):
            (folder / name).mkdir(parents=True)
        for index, (split, count) in enumerate((("train", train), ("val", val))):
            images, annotations, detections = [], [], []
            (folder / f"{split}2017").mkdir()
            for key in range(500_000 * index + 1, 500_000 * index + 1 + count):
                rng = np.random.default_rng((seed, key))
                image, labels = _draw(rng, key)
                height, width = image.shape[:2]
                images.append({"id": key, "file_name": f"{key:012d}.jpg", "width": width, "height": height})
                annotations += labels
                detections += _detect(rng, key, np.array((width, height)), labels)
                quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96)))
                data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
                (folder / f"{split}2017" / images[-1]["file_name"]).write_bytes(data.tobytes())
            content = {"info": {"description": "synthetic people"}, "images": images, "annotations": annotations}
            path = folder / "annotations" / f"person_keypoints_{split}2017.json"
            path.write_text(json.dumps(content | {"categories": [CATEGORY]}), encoding="utf-8")
        path = folder / "person_detection_results" / "COCO_val2017_detections_synthetic_person.json"
        path.write_text(json.dumps(detections), encoding="utf-8")
