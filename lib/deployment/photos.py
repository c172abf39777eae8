"""Photographs of any origin, and the boxes of the people or hands in them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.data.images import read_image
from lib.errors import InputError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is named once, by who reads it
LARGEST = 4  # sides of its image that a box may be long


@dataclass(frozen=True)
class People:
    """The people, or hands, of one photograph: its id, boxes (N, 4) of x, y, width, height in px, scores (N,).

    left (N,) bool: which hands are left ones.
    """

    image_id: int
    boxes: NDArray
    scores: NDArray
    left: NDArray


def find(places: Iterable[Path]) -> list[Path]:
    """The files named, and those in the folders named, in order. Raises InputError where there are none."""
    photos = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place} not found: expected a photograph or a folder of them")
        photos += sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    if not photos:
        raise InputError("no photograph there: name files, or a folder of them")
    return photos


def read(path: Path) -> NDArray:
    """Decode a photograph to (H, W, 3) uint8 RGB, upright as its EXIF orientation tells.

    The decoder is that of the crops, so that equal files give equal pixels. Grey becomes three equal channels, alpha is
    dropped, of 16 bits the upper 8 are kept, CMYK is converted. Raises InputError where nothing can be decoded.
    """
    return read_image(path, cv2.IMREAD_COLOR_RGB, "show it to another program first")


def people(image_id: int, boxes: Sequence[Sequence[float]], left: bool = False) -> People:
    """People at boxes that somebody typed, all hands of one side."""
    return People(image_id, np.array(boxes, np.float64), np.ones(len(boxes), np.float32), np.full(len(boxes), left))


def listed(path: Path, photos: Sequence[Path], left: bool = False) -> dict[Path, People]:
    """People of the photographs by a JSON file: annotations of COCO, or a detector's results as COCO has them.

    Annotations name their images' files; of results, image_id is the number in the photograph's name. Photographs
    without an entry have nobody. Raises InputError where the file is neither, or has an entry for none of them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["annotations"] if isinstance(content, dict) else content
        images = content["images"] if isinstance(content, dict) else []
        ids = {Path(image["file_name"]).name: int(image["id"]) for image in images}
        by_image: dict[int, list[dict[str, Any]]] = {}
        for entry in entries:
            by_image.setdefault(int(entry["image_id"]), []).append(entry)
        found = {}
        for number, photo in enumerate(photos, start=1):
            key = ids.get(photo.name, int(photo.stem) if photo.stem.isdecimal() else -1)
            own = by_image.get(key, [])
            boxes = np.array([entry["bbox"] for entry in own], np.float64).reshape(-1, 4)
            scores = np.array([entry.get("score", 1) for entry in own], np.float32)
            sides = np.array([entry.get("side", "left" if left else "right") == "left" for entry in own], bool)
            found[photo] = People(key if own else number, boxes, scores, sides)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(
            f"{path} holds no boxes: expected COCO annotations or a list of image_id, bbox: [x, y, width, height]"
        ) from None
    if not any(len(one.boxes) for one in found.values()):
        raise InputError(f"{path} has a box for none of the photographs: it knows them by file name or number")
    return found


def check(photo: Path, image: NDArray, boxes: NDArray) -> None:
    """Refuse a box (N, 4) without extent, much larger than its image (H, W, 3) or without a pixel in it."""
    size = np.array(image.shape[1::-1])
    corner, extent = boxes[:, :2], boxes[:, 2:]
    right = np.isfinite(boxes).all(1) & (extent > 0).all(1) & (extent <= LARGEST * size.max()).all(1)
    right &= ((corner < size) & (corner + extent > 0)).all(1)
    if not right.all():
        x, y, width, height = boxes[right.argmin()]
        raise InputError(
            f"{photo}: the box {x:g},{y:g},{width:g},{height:g} is not one of a person in {size[0]} x {size[1]} px; "
            "expected x,y,width,height with a pixel in the image"
        )
