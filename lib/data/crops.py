"""Crops of persons or hands: cut from the images once, then read as one memory-mapped array."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.errors import InputError

WIDE = "wide"  # the split of validation persons with what is around their boxes
HANDS = ("pose", "root", "scale")  # arrays that crops of hands have, too
ANNOTATIONS = {"test": "val.json", "heldout": "heldout.json"}  # of those whom a training may be judged by
ARRAYS = ("keypoints", "visible", "to_image", "ids", "image_ids", "box_scores")  # of Crops, besides the images


@dataclass(frozen=True)
class Crops:
    """The people, or the hands, of one split, a row each.

    images (N, H, W, 3) uint8 RGB, read from disk on access; keypoints (N, K, 2) float32 in crop px, (0, 0) where not
    visible; visible (N, K) bool, the joint has a usable label; to_image (N, 2, 3) float64, crop px to original px;
    ids (N,) int64, of the annotations or detections; image_ids (N,) int64; box_scores (N,) float32, the detector's, 1
    for annotated people. joints are K names, flip_pairs the indices of left-right pairs, upper_body the indices of the
    joints above the hips. input is (height, width) of the person box in crop px; H and W are that or, with a margin,
    more.

    Hands are right ones: left ones are mirrored, and their to_image has a negative first entry. pose (N, K, 3) float32
    are their joints, relative to the root and in units of their scale; root (N, 3) float32, mm in the camera of the
    original image; scale (N,) float32, mm. depth (N, H, W) uint16, of `encode_depth`, where the benchmark has depth.
    """

    images: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    to_image: np.ndarray
    ids: np.ndarray
    image_ids: np.ndarray
    box_scores: np.ndarray
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    upper_body: tuple[int, ...]
    input: tuple[int, int]
    pose: np.ndarray | None = None
    root: np.ndarray | None = None
    scale: np.ndarray | None = None
    depth: np.ndarray | None = None


def open_crops(folder: Path, split: str) -> Crops:
    """Open the split "train", "val" or WIDE of a folder that `pack` wrote."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    there = [name for name in (*ARRAYS, *HANDS) if name in ARRAYS or (folder / split / f"{name}.npy").exists()]
    maps = [name for name in ("images", "depth") if name == "images" or (folder / split / f"{name}.npy").exists()]
    return Crops(
        **{name: np.load(folder / split / f"{name}.npy", mmap_mode="r") for name in maps},
        **{name: np.load(folder / split / f"{name}.npy") for name in there},
        joints=tuple(meta["joints"]),
        flip_pairs=tuple(map(tuple, meta["flip_pairs"])),
        upper_body=tuple(meta["upper_body"]),
        input=tuple(meta["input"]),
    )


class Chain:
    """Arrays one after the other, read row by row as one, without a copy."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = [np.asarray(array) for array in arrays]
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape = int(self.ends[-1]), *arrays[0].shape[1:]

    def __getitem__(self, row: int) -> np.ndarray:
        part = int(np.searchsorted(self.ends, row, side="right"))
        return self.arrays[part][row - self.ends[part]]


def join(crops: Crops, more: Crops) -> Crops:
    """The rows of two crops, one after the other. Raises InputError where they are of different sizes."""
    if crops.images.shape[1:] != more.images.shape[1:] or crops.input != more.input:
        sizes = [" x ".join(map(str, part.images.shape[1:3])) for part in (crops, more)]
        raise InputError(f"crops of {sizes[0]} px do not fit rendered ones of {sizes[1]} px: set synthesis.size")
    both = {name: np.concatenate([getattr(crops, name), getattr(more, name)]) for name in (*ARRAYS, *HANDS)}
    maps = {name: Chain([getattr(crops, name), getattr(more, name)]) for name in ("images", "depth")}
    return replace(crops, **both, **maps)
