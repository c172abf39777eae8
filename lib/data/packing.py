"""Crops are cut from the images once, by this; trainings only read them."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lib.data.boxes import middle
from lib.data.crops import ANNOTATIONS, HANDS, WIDE
from lib.data.depth import LEVELS, encode_depth
from lib.data.images import read_image
from lib.data.prefetch import prefetch
from lib.data.warp import invert, sample, transform
from lib.environment import cores
from lib.errors import InputError
from lib.files import atomic
from lib.hands.joints import normalised


def pack(
    annotations: Path,
    images: Path,
    out: Path,
    *,
    input: tuple[int, int],
    padding: float,
    margin: float,
    boxes: Literal["annotations", "detections"] = "annotations",
    subset: str | None = None,
    smallest: float = 1.0,
    read_depth: Callable[[Path], np.ndarray] | None = None,
) -> None:
    """Cut every person, or hand, of a dataset out of its images.

    Memory is what reading a split's annotations takes, about 2 kB per person (0.4 GB at COCO's 150,000); crops are
    written as they are made, and a few images per core are held at a time.

    Args:
        annotations: folder with train.json and val.json, COCO keypoints. People without a labelled joint and crowds
            are left out; the others keep their order, grouped by image.
        images: folder that the annotations' file names refer to.
        out: folder to write: meta.json, val.json and heldout.json (the annotations of the validation images and of the
            training images that `set_aside` names, for scores) and, per split, the arrays of `Crops`. It appears
            complete or not at all.
        input: (height, width) in px at which a network sees the person box. The box is the annotation's bbox, widened
            about its centre to this aspect, then `padding` times as large.
        margin: side of a training crop relative to the box, room for rotation and zooming out. A validation crop is
            the box.
        smallest: size, relative to that in the box, at which a validation person will be shown. Where it is below 1
            there are crops of them as wide as that needs, too, in a folder of their own: those of all others stay.
        boxes: whose boxes are validated on: the annotations' or, all of them and as they are, those of a detector in
            detections.json. People found by a detector have no visible joint.
        subset: only images of this subset; None: all.
        read_depth: what reads the depth (H, W) in mm of images that are annotated with one; 0 where there is none.

    Raises:
        InputError: an image is missing, cannot be read or has another size than annotated; a bbox is empty or outside
            its image; a split has no person; there is no detections.json, or no image of the subset.
        OSError: the disk is full.
    """
    sources = {"train": annotations / "train.json", "val": annotations / "val.json"}
    if boxes == "detections":
        sources["val"] = annotations / "detections.json"
        if not sources["val"].is_file():
            raise InputError(
                f"{sources['val']} is missing: there was no detector's result file; put it into "
                f"data/downloads/{images.name}, or into person_detection_results/ of the folder of yours that "
                f"data.{images.name}.source names, then dvc repro -f fetch@{images.name}; or set "
                f"crops.{out.name}.boxes: annotations"
            )
    margins = {"train": margin, "val": 1.0}
    splits = [(split, source, margins[split]) for split, source in sources.items()]
    splits += [(WIDE, sources["val"], 1 / smallest)] if smallest < 1 else []
    with atomic(out) as folder:
        for split, source, around in splits:
            size = tuple(round(side * around) for side in input)
            sizes = {"input": input, "padding": padding, "size": size}
            info, category = _pack_split(_load(source, subset), source, images, folder / split, read_depth, **sizes)
        meta = {
            "joints": category["keypoints"],
            "flip_pairs": category["flip_pairs"],
            "upper_body": category["upper_body"],
            "input": input,
            "padding": padding,
            "margin": margins,
            "boxes": boxes,
            "subset": subset,
            "dataset": info,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        judges = {"test": _load(annotations / "val.json", subset)}
        judges["heldout"] = set_aside(_load(annotations / "train.json", subset))
        for validation, document in judges.items():
            (folder / ANNOTATIONS[validation]).write_text(json.dumps(document), encoding="utf-8")


def set_aside(document: dict) -> dict:
    """The annotations of a tenth of the images: in their order, the last tenth of each of ten equal parts.

    Neighbours in a benchmark may be frames of one video, and it may be composed of parts. Fewer than a hundred images
    are ten to a part.
    """
    images = document["images"]
    parts = np.array_split(np.arange(len(images)), max(1, min(10, len(images) // 10)))
    return _of_images(document, [images[i] for part in parts for i in part[len(part) - (len(part) + 9) // 10 :]])


def _load(source: Path, subset: str | None) -> dict:
    """The annotations of one split: all, or those of a subset of the images."""
    document = json.loads(source.read_text(encoding="utf-8"))
    if subset is None:
        return document
    images = [image for image in document["images"] if image.get("subset") == subset]
    if not images:
        known = ", ".join(dict.fromkeys(str(image.get("subset")) for image in document["images"]))
        raise InputError(f"{source} has no image of the subset {subset}; subsets there: {known}")
    return _of_images(document, images)


def _of_images(document: dict, images: list[dict]) -> dict:
    """The annotations of some images."""
    ids = {image["id"] for image in images}
    annotations = [annotation for annotation in document["annotations"] if annotation["image_id"] in ids]
    return document | {"images": images, "annotations": annotations}


def _pack_split(
    document: dict,
    source: Path,
    images: Path,
    folder: Path,
    read_depth: Callable[[Path], np.ndarray] | None,
    *,
    input: tuple[int, int],
    padding: float,
    size: tuple[int, int],
) -> tuple[dict, dict]:
    """Write the arrays of one split; return info and category of its annotations."""
    info, category, records, people = _people(document, source)
    missing = [record["file_name"] for record in records if not (images / record["file_name"]).is_file()]
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of {len(records)} annotated images are not in {images}: {names}")

    labels, count = people.pop("labels"), len(people["ids"])
    to_image = people["to_image"] = crop_to_image(people.pop("bboxes"), input, padding, size, people.pop("mirrored"))
    visible = people["visible"] = labels[..., 2] > 0
    keypoints = np.where(visible[..., None], transform(invert(to_image), labels[..., :2]), 0)
    people["keypoints"] = keypoints.astype(np.float32)
    folder.mkdir(parents=True)
    for name, values in people.items():
        np.save(folder / f"{name}.npy", values)

    starts = np.flatnonzero(np.diff(people["image_ids"])) + 1
    tasks = list(zip(records, np.split(to_image, starts), strict=True))
    cut_image, kinds = partial(_cut_image, images, size), {"images": ("|u1", (count, *size, 3))}
    if read_depth:
        given = np.split(np.c_[people["root"][:, 2], people["scale"]], starts)
        tasks = [(*task, part) for task, part in zip(tasks, given, strict=True)]
        cut_image, kinds = partial(_cut_both, images, size, read_depth), kinds | {"depth": ("<u2", (count, *size))}
    began, done, path = time.perf_counter(), 0, folder
    try:
        # Plain writes report a full disk; touching the pages of a sparse memory map would kill the process.
        with ExitStack() as stack:
            files = []
            for name, (kind, shape) in kinds.items():
                path = folder / f"{name}.npy"
                files.append(stack.enter_context(path.open("wb")))
                header = {"descr": kind, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(files[-1], header)
            for number, cuts in enumerate(prefetch(cut_image, tasks, cores()), 1):
                for file, crops in zip(files, cuts, strict=True):
                    file.writelines(crops)
                done += len(cuts[0])
                if number % 500 == 0 or number == len(tasks):
                    rate = number / (time.perf_counter() - began)
                    print(f"{folder.name}: {done}/{count} people, {rate:.0f} images/s", flush=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    return info, category


def _people(document: dict, source: Path) -> tuple[dict, dict, list[dict], dict[str, np.ndarray]]:
    """Info, category, the images that show people, and the people's values, a row each, grouped by image."""
    category, order = document["categories"][0], {image["id"]: index for index, image in enumerate(document["images"])}
    # A detection has a score and no labels.
    entries = [e for e in document["annotations"] if "score" in e or (e["num_keypoints"] and not e["iscrowd"])]
    if not entries:
        raise InputError(f"no person in {source}; expected a labelled joint of at least one")
    entries.sort(key=lambda entry: order[entry["image_id"]])
    unlabelled = [0] * 3 * len(category["keypoints"])
    people = {
        "ids": np.array([entry["id"] for entry in entries], np.int64),
        "image_ids": np.array([entry["image_id"] for entry in entries], np.int64),
        "box_scores": np.array([entry.get("score", 1) for entry in entries], np.float32),
        "bboxes": np.array([entry["bbox"] for entry in entries], np.float64),
        "labels": np.array([unlabelled if "score" in entry else entry["keypoints"] for entry in entries], np.float64),
    }
    people["labels"] = people["labels"].reshape(len(entries), -1, 3)
    people["mirrored"] = np.array([entry.get("side") == "left" for entry in entries])
    if "xyz" in entries[0]:
        people |= _hands(np.array([entry["xyz"] for entry in entries], np.float64), people["mirrored"])
    shown = [document["images"][order[entry["image_id"]]] for entry in entries]
    _check_boxes(source, people, np.array([(image["width"], image["height"]) for image in shown]))
    return document["info"], category, list({image["id"]: image for image in shown}.values()), people


def _hands(xyz: np.ndarray, mirrored: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays HANDS of joints (N, K, 3), mm."""
    pose, root, scale = normalised(xyz)
    pose[mirrored, :, 0] *= -1
    return {name: values.astype(np.float32) for name, values in zip(HANDS, (pose, root, scale), strict=True)}


def _check_boxes(source: Path, people: dict[str, np.ndarray], size: np.ndarray) -> None:
    """Raise InputError for a box without extent, or without a pixel in its image of `size` (N, 2), width and height."""
    corner, extent = people["bboxes"][:, :2], people["bboxes"][:, 2:]
    empty = ~((extent >= 0).all(axis=1) & (extent > 0).any(axis=1))
    outside = ~((corner < size) & (corner + np.maximum(extent, 1) > 0)).all(axis=1)
    for wrong, what in ((empty, "an empty bbox"), (outside, "a bbox outside its image")):
        if wrong.any():
            row = wrong.argmax()
            bbox, (width, height) = people["bboxes"][row].tolist(), size[row]
            raise InputError(
                f"{source}: annotation {people['ids'][row]} has {what} ({wrong.sum()} have): {bbox} in "
                f"{width} x {height} px; expected x, y, width, height with a pixel in the image"
            )


def crop_to_image(
    bboxes: np.ndarray,
    input: tuple[int, int],
    padding: float,
    size: tuple[int, int],
    mirrored: np.ndarray | bool = False,
) -> np.ndarray:
    """Map pixels of crops of `size` (height, width), some mirrored, to pixels of the original images, (N, 2, 3).

    The middle of a crop is the middle of its bbox, as `lib.data.boxes` has it.
    """
    step = (bboxes[:, 2:] / input[::-1]).max(axis=1) * padding  # original px per crop px
    matrix = np.zeros((len(bboxes), 2, 3))
    matrix[:, 0, 0], matrix[:, 1, 1] = np.where(mirrored, -step, step), step
    matrix[:, :, 2] = middle(bboxes) - matrix[:, [0, 1], [0, 1]] * (np.array(size[::-1]) - 1) / 2
    return matrix


def _cut_image(images: Path, size: tuple[int, int], task: tuple[dict, np.ndarray]) -> list[list[np.ndarray]]:
    record, to_image = task
    path = images / record["file_name"]
    # As stored: annotations ignore the orientation tag.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = read_image(path, flags, "fetch it again or take it out of the annotations")
    height, width = image.shape[:2]
    if (height, width) != (record["height"], record["width"]):
        expected = f"annotated as {record['width']} x {record['height']}"
        raise InputError(f"{path} is {width} x {height} px but {expected}; take both from one place")
    return [[cut_out(image, matrix, size) for matrix in to_image]]


def _cut_both(
    images: Path,
    size: tuple[int, int],
    read_depth: Callable[[Path], np.ndarray],
    task: tuple[dict, np.ndarray, np.ndarray],
) -> list[list[np.ndarray]]:
    """The crops of an image and of its depth; the task's last part: depth of the root and scale of each hand."""
    *cut, given = task
    path = images / cut[0]["depth"]
    depth = read_depth(path)
    if depth.shape != (cut[0]["height"], cut[0]["width"]):
        sizes = f"{depth.shape[1]} x {depth.shape[0]} px, its image {cut[0]['width']} x {cut[0]['height']}"
        raise InputError(f"{path} is {sizes}; take both from one archive")
    levels = [
        cut_out(encode_depth(depth, *hand), matrix, size, LEVELS) for hand, matrix in zip(given, cut[1], strict=True)
    ]
    return [*_cut_image(images, size, cut), levels]


def cut_out(image: np.ndarray, to_image: np.ndarray, size: tuple[int, int], outside: int = 0) -> np.ndarray:
    """Sample one crop; where it shrinks the image, average n * n samples per pixel, so that nothing aliases.

    n is the shrinking factor, rounded: neighbouring samples are at most 1.5 px of the image apart.
    """
    n = max(1, round(to_image[1, 1]))
    matrix = to_image @ [[1 / n, 0, 0.5 / n - 0.5], [0, 1 / n, 0.5 / n - 0.5], [0, 0, 1]]
    fine = sample(image, matrix, (size[0] * n, size[1] * n), outside=outside)
    return cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA) if n > 1 else fine
