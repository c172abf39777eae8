"""Rendered Hand Pose Dataset: frames of persons with two hands to annotations of one hand, and synthetic raw data.

Zimmermann and Brox, ICCV 2017. `training/` and `evaluation/` each hold

    color/, mask/, depth/<5 digits>.png    320 x 320; mask: 1 person, 2-17 left hand, 18-33 right hand
    anno_<set>.pickle                      frame number -> {xyz (42, 3) m, uv_vis (42, 3), K (3, 3)}
    anno_<set>.mat                         the same as frame0, frame1, ...; read where there is no pickle

The left hand's joints come first; each hand has the wrist, then thumb to little finger, each from the tip to the palm.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.data.formats import hands
from lib.data.formats.matlab import read_mat
from lib.data.formats.raw import require_images, shown, source
from lib.data.images import image_size, read_image
from lib.errors import InputError
from lib.files import atomic
from lib.pickles import load_pickle

SETS = {"train": "training", "val": "evaluation"}
SIDES = ("left", "right")
ORDER = (0, *(row for last in range(4, 21, 4) for row in range(last, last - 4, -1)))  # rows of a hand in our order
SHAPES = {"xyz": (42, 3), "uv_vis": (42, 3), "K": (3, 3)}
FIRST_PART = {"left": 2, "right": 18}  # 16 per hand: thumb to little finger, each three from the tip to the palm; palm
PARTS = 16
FRAMES = 100_000  # numbers of five digits
FAR = 5000  # mm: the greatest depth that a file can hold
ARCHIVE = "RHD_v1-1.zip"
PROTOCOL = (
    "train is training, val is evaluation; of a frame's two hands the one with more pixels in the mask; bbox: of all "
    "its joints, hidden ones included"
)


@dataclass(frozen=True)
class Frame:
    """Labels of one picture: per side joints in our order, mm in the camera's frame, and whether each is visible."""

    xyz: dict[str, NDArray[np.float64]]  # (21, 3)
    visible: dict[str, NDArray[np.bool_]]  # (21,)
    camera: NDArray[np.float64]  # (3, 3)


def _frame(where: str, record: Any) -> Frame:
    found = {name: record.get(name) if isinstance(record, dict) else None for name in SHAPES}
    for name, shape in SHAPES.items():
        array = found[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in "iuf":
            known = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
            kind = "missing" if array is None else known
            raise InputError(f"{where}: {name} is {kind}, expected numbers {shape}; extract {ARCHIVE} again")
    if not np.isfinite(found["uv_vis"][:, 2]).all():
        raise InputError(f"{where}: uv_vis has a joint that is neither visible nor hidden; extract {ARCHIVE} again")
    xyz, seen = (1000 * found["xyz"].astype(np.float64)).reshape(2, 21, 3), found["uv_vis"][:, 2].reshape(2, 21) > 0
    return Frame(
        {side: xyz[number, ORDER] for number, side in enumerate(SIDES)},
        {side: seen[number, ORDER] for number, side in enumerate(SIDES)},
        found["K"].astype(np.float64),
    )


def read_frames(folder: Path) -> dict[int, Frame]:
    """Frames of `training/` or `evaluation/` by their number, from the pickle or, where there is none, the .mat file.

    Raises InputError where both are missing, the one that is there is unreadable or a frame's arrays are not the known
    ones.
    """
    path, twin = folder / f"anno_{folder.name}.pickle", folder / f"anno_{folder.name}.mat"
    if path.exists():
        records = load_pickle(path)
        if not isinstance(records, dict):
            raise InputError(f"{path} holds no frames by number; extract {ARCHIVE} again")
    elif twin.exists():
        path, content = twin, read_mat(twin, f"extract {ARCHIVE} again")
        structs = {name: struct for name, struct in content.items() if re.fullmatch(r"frame[0-9]{1,5}", name)}
        records = {
            int(name[5:]): {field: struct[field].flat[0] for field in struct.dtype.names or () if struct.size}
            for name, struct in structs.items()
        }
    else:
        raise InputError(f"{path} is missing, and so is {twin.name}; extract {ARCHIVE} again")
    if not records:
        raise InputError(f"{path} holds no frames; extract {ARCHIVE} again")
    odd = [number for number in records if not isinstance(number, int | np.integer) or not 0 <= number < FRAMES]
    if odd:
        raise InputError(
            f"{path} has a frame {shown(odd[0])}; expected numbers below {FRAMES}: extract {ARCHIVE} again"
        )
    return {int(number): _frame(f"{path}: frame {number}", records[number]) for number in sorted(records)}


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Part numbers (H, W) of a mask; InputError where it is missing or no picture of one channel."""
    mask = read_image(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(f"{path} is no readable grey picture of 8 bits; extract {ARCHIVE} again")
    return mask


def read_depth(path: Path) -> NDArray[np.float32]:
    """Depth (H, W) in mm: 5 m times a number of 16 bits, its high byte in red and its low one in green.

    Raises InputError where the file is missing or no colour picture of 8 bits.
    """
    bgr = read_image(path, cv2.IMREAD_UNCHANGED)
    if bgr.ndim != 3 or bgr.dtype != np.uint8:
        raise InputError(f"{path} is no readable colour picture of 8 bits; extract {ARCHIVE} again")
    return (256 * bgr[..., 2].astype(np.float32) + bgr[..., 1]) * np.float32(FAR / 65535)


def dominant(mask: NDArray[np.uint8]) -> str | None:
    """The side of the hand with more pixels in a mask, right where they are equal, None where no hand is seen."""
    pixels = np.bincount(mask.ravel(), minlength=256)
    count = {side: pixels[first : first + PARTS].sum() for side, first in FIRST_PART.items()}
    return None if not any(count.values()) else "left" if count["left"] > count["right"] else "right"


def _read_set(raw: Path, name: str, first: int) -> tuple[list[tuple[dict, dict]], int]:
    """COCO image and annotation of every frame with a hand in it, ids from `first`, and the number of frames."""
    folder = raw / name
    frames = read_frames(folder)
    if not (folder / "depth").is_dir():
        raise InputError(f"{folder / 'depth'} is missing: the depth teacher needs the maps, which {ARCHIVE} holds too")
    files = {number: f"{number:05d}.png" for number in frames}
    for kind in ("color", "mask", "depth"):
        require_images(folder / kind, files.values())
    records = []
    for number, frame in frames.items():
        colour, mask = f"{name}/color/{files[number]}", read_mask(folder / "mask" / files[number])
        size = image_size(raw / colour)
        if size != mask.shape[::-1]:
            sizes = [" x ".join(map(str, one)) for one in (size, mask.shape[::-1])]
            raise InputError(f"{raw / colour} has {sizes[0]} px, its mask {sizes[1]}; extract {ARCHIVE} again")
        side = dominant(mask)
        if side is None:
            continue
        xyz = frame.xyz[side]
        hands.check(f"{folder}: frame {number}, {side} hand", xyz, frame.camera)
        image = hands.image(first + number, colour, size, frame.camera)
        image |= {"depth": f"{name}/depth/{files[number]}"}
        records.append((image, hands.annotation(first + number, xyz, frame.camera, side, frame.visible[side])))
    return records, len(frames)


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write {train,val}.json (COCO keypoints) with the dominant hand of every frame.

    An id is the number of the frame + 1, + 100,001 in val.json. A frame in whose mask no hand is seen is left out.

    Args:
        raw: folder with `training/` and `evaluation/`, and SOURCE.json where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: hands, left (of these), dropped (frames without a hand).

    Raises:
        InputError: a file is missing or unreadable, or labels are not what the archive holds.
    """
    info = {"dataset": "rhd", "source": source(raw), "note": PROTOCOL}
    counts = dict.fromkeys(("hands", "left", "dropped"), 0)
    with atomic(out) as folder:
        folder.mkdir()
        for (split, name), first in zip(SETS.items(), (1, 100_001), strict=True):
            records, frames = _read_set(raw, name, first)
            images, annotations = [image for image, _ in records], [annotation for _, annotation in records]
            hands.write(folder / f"{split}.json", info, images, annotations)
            counts["hands"] += len(records)
            counts["left"] += sum(annotation["side"] == "left" for annotation in annotations)
            counts["dropped"] += frames - len(records)
    return counts


def write_synthetic(out: Path, *, train: int, val: int, seed: int) -> None:
    """Write synthetic hands in the layout that convert reads; replaces `out` as a whole.

    Every frame is a function of (seed, set, number) alone. As in the original both hands have joints; one or both are
    in the picture, before an empty background at 5 m.

    Args:
        out: folder that will hold `training/` and `evaluation/`.
        train: number of training frames.
        val: number of evaluation frames.
        seed: of all frames.
    """
    from lib.data.formats import rhd_synthetic  # its hand model loads PyTorch, which no conversion needs

    with atomic(out) as folder:
        rhd_synthetic.write(folder, {"training": train, "evaluation": val}, seed)
