"""Person crops: cut from the images once, then read as one memory-mapped array."""

import json
import os
import time
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from lib.data.prefetch import prefetch
from lib.data.warp import invert, sample, transform
from lib.errors import InputError
from lib.files import atomic

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Crops:
    """The people of one split, a row each.

    images (N, H, W, 3) uint8 RGB, read from disk on access; keypoints (N, K, 2) float32 in crop px, (0, 0) where not
    visible; visible (N, K) bool, the joint has a usable label; to_image (N, 2, 3) float64, crop px to original px;
    ids (N,) int64, the annotations' ids. joints are K names, flip_pairs the indices of left-right pairs. input is
    (height, width) of the person box in crop px, H and W are `margin` times that.
    """

    images: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    to_image: np.ndarray
    ids: np.ndarray
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    input: tuple[int, int]
    margin: float


def open_crops(folder: Path, split: str) -> Crops:
    """Open the split "train" or "val" of a folder that `pack` wrote."""
    meta = json.loads((folder / "meta.json").read_text())
    arrays = {name: np.load(folder / split / f"{name}.npy") for name in ("keypoints", "visible", "to_image", "ids")}
    return Crops(
        images=np.load(folder / split / "images.npy", mmap_mode="r"),
        **arrays,
        joints=tuple(meta["joints"]),
        flip_pairs=tuple(map(tuple, meta["flip_pairs"])),
        input=tuple(meta["input"]),
        margin=meta["margin"],
    )


def pack(annotations: Path, images: Path, out: Path, *, input: tuple[int, int], padding: float, margin: float) -> None:
    """Cut every person of a dataset out of its images.

    Args:
        annotations: folder with train.json and val.json, COCO keypoints. People without a labelled joint and crowds
            are left out; the others keep their order, grouped by image.
        images: folder that the annotations' file names refer to.
        out: folder to write: meta.json and, per split, the arrays of `Crops`. It appears complete or not at all.
        input: (height, width) in px at which a network sees the person box. The box is the annotation's bbox, widened
            about its centre to this aspect, then `padding` times as large.
        margin: side of the crop relative to the box, room for rotation and zooming out.

    Raises:
        InputError: an image is missing, cannot be read or has another size than annotated; a bbox or split is empty.
        OSError: the disk is full.
    """
    with atomic(out) as folder:
        for split in SPLITS:
            document = json.loads((annotations / f"{split}.json").read_text())
            (folder / split).mkdir(parents=True)
            _pack_split(document, images, folder / split, input, padding, margin)
        category = document["categories"][0]
        meta = {
            "joints": category["keypoints"],
            "flip_pairs": category["flip_pairs"],
            "input": input,
            "padding": padding,
            "margin": margin,
            "dataset": document["info"],
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _pack_split(
    document: dict, images: Path, folder: Path, input: tuple[int, int], padding: float, margin: float
) -> None:
    order = {image["id"]: index for index, image in enumerate(document["images"])}
    people = [person for person in document["annotations"] if person["num_keypoints"] and not person["iscrowd"]]
    people.sort(key=lambda person: order[person["image_id"]])
    if not people:
        raise InputError(f"no person with a labelled joint among the {folder.name} annotations of {images}")
    groups = [list(group) for _, group in groupby(people, key=lambda person: person["image_id"])]
    records = [document["images"][order[group[0]["image_id"]]] for group in groups]
    missing = [record["file_name"] for record in records if not (images / record["file_name"]).is_file()]
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of {len(records)} annotated images are not in {images}: {names}")

    size = tuple(round(side * margin) for side in input)
    ids = np.array([person["id"] for person in people], np.int64)
    to_image = crop_to_image(np.array([person["bbox"] for person in people], np.float64), ids, input, padding, size)
    labels = np.array([person["keypoints"] for person in people], np.float64).reshape(len(people), -1, 3)
    visible = labels[..., 2] > 0
    keypoints = np.where(visible[..., None], transform(invert(to_image), labels[..., :2]), 0).astype(np.float32)
    for name, array in (("keypoints", keypoints), ("visible", visible), ("to_image", to_image), ("ids", ids)):
        np.save(folder / f"{name}.npy", array)

    tasks = list(zip(records, np.split(to_image, np.cumsum([len(group) for group in groups])[:-1]), strict=True))
    began, done, path = time.perf_counter(), 0, folder / "images.npy"
    try:
        # Plain writes report a full disk; touching the pages of a sparse memory map would kill the process.
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(people), *size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for number, crops in enumerate(prefetch(partial(_cut_image, images, size), tasks, os.cpu_count()), 1):
                file.writelines(crops)
                done += len(crops)
                if number % 500 == 0 or number == len(tasks):
                    rate = number / (time.perf_counter() - began)
                    print(f"{folder.name}: {done}/{len(people)} people, {rate:.0f} images/s", flush=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error


def crop_to_image(
    bboxes: np.ndarray, ids: np.ndarray, input: tuple[int, int], padding: float, size: tuple[int, int]
) -> np.ndarray:
    """Map pixels of crops of `size` (height, width) to pixels of the original images, (N, 2, 3).

    A bbox (x, y, w, h) covers w * h pixels from pixel (x, y) on: its centre is x + (w - 1) / 2.
    """
    corner, extent = bboxes[:, :2], bboxes[:, 2:]
    step = (extent / input[::-1]).max(axis=1) * padding  # original px per crop px
    if not (step > 0).all():
        raise InputError(f"annotation {ids[step.argmin()]} has an empty bbox; expected a width or height above 0 px")
    matrix = np.zeros((len(bboxes), 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = step
    matrix[:, :, 2] = corner + (extent - 1) / 2 - step[:, None] * (np.array(size[::-1]) - 1) / 2
    return matrix


def _cut_image(images: Path, size: tuple[int, int], task: tuple[dict, np.ndarray]) -> list[np.ndarray]:
    record, to_image = task
    image = _read(images / record["file_name"])
    height, width = image.shape[:2]
    if (height, width) != (record["height"], record["width"]):
        expected = f"annotated as {record['width']} x {record['height']}"
        raise InputError(f"{images / record['file_name']} is {width} x {height} px but {expected}")
    return [_cut(image, matrix, size) for matrix in to_image]


def _cut(image: np.ndarray, to_image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sample one crop; where it shrinks the image, average n * n samples per pixel, so that nothing aliases.

    n is the shrinking factor, rounded: neighbouring samples are at most 1.5 px of the image apart.
    """
    n = max(1, round(to_image[0, 0]))
    matrix = to_image @ [[1 / n, 0, 0.5 / n - 0.5], [0, 1 / n, 0.5 / n - 0.5], [0, 0, 1]]
    fine = sample(image, matrix, (size[0] * n, size[1] * n))
    return cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA) if n > 1 else fine


def _read(path: Path) -> np.ndarray:
    """Decode an image to (H, W, 3) uint8 RGB, as stored: annotations ignore the orientation tag."""
    data = path.read_bytes()
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    # From memory, because imread fills what a truncated JPEG lacks with grey where imdecode returns nothing.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise InputError(f"{path} cannot be read as an image; fetch it again or take it out of the annotations")
    return image
