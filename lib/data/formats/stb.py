"""Stereo Hand Pose Tracking Benchmark: sequences and labels of two cameras to annotations, and synthetic raw data.

Zhang et al., ICIP 2017. Six backgrounds, each with a sequence of counting and one of random poses, all of left hands:

    images/<sequence>/<view>_<frame>.png    640 x 480; views BB_left, BB_right (Bumblebee2), SK_color (RealSense F200)
    labels/<sequence>_{BB,SK}.mat           handPara (3, 21, N), mm, one column per frame

handPara has the centre of the palm, then little, ring, middle, index finger and thumb, each from the palm to the tip,
in the frame of the Bumblebee's left camera or of the RealSense's depth camera.
"""

import os
import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.data.formats import hands
from lib.data.formats.matlab import read_mat
from lib.data.formats.raw import require_images, source
from lib.data.images import image_size
from lib.errors import InputError
from lib.files import atomic

SEQUENCES = tuple(f"B{background}{kind}" for background in range(1, 7) for kind in ("Counting", "Random"))
VAL = SEQUENCES[:2]
VIEWS = ("BB_left", "BB_right", "SK_color")
NAMED = re.compile(r"(BB_left|BB_right|SK_color)_[0-9]+\.png")
MISNAMED = re.compile(r"(bb_left|bb_right|sk_color)_[0-9]+\.(png|jpe?g)", re.IGNORECASE)
SIZE = (640, 480)

# The owner's calibration. Positions in the colour camera become ROTATION @ position + TRANSLATION in the depth camera.
BUMBLEBEE = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
REALSENSE = np.array([[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]])
CAMERAS = {"BB_left": BUMBLEBEE, "BB_right": BUMBLEBEE, "SK_color": REALSENSE}
BASELINE = np.array([120.054, 0, 0])  # mm
ROTATION = cv2.Rodrigues(np.array([0.00531, -0.01196, 0.00301]))[0]
TRANSLATION = np.array([-24.0381, -0.4563, -1.2326])  # mm

# Rows of handPara in our order, the palm in the wrist's place.
ORDER = (0, *(row for first in (17, 13, 9, 5, 1) for row in range(first, first + 4)))
RING_MCP = 13  # in our order

# The wrist lies beyond the palm's centre, as far as the ring finger's MCP lies before it: the rule of Ge et al. (CVPR
# 2019, released code), whose protocol CMKG follows (Sect. 5.2). On the real picture this is the middle of the hand's
# heel; the other published rule, 2.2 times from the middle finger's MCP, ends at the heel's edge.
EXTENSION = 2.0


def read_labels(path: Path) -> NDArray[np.float64]:
    """Joints (N, 21, 3) of a label file in our order, still with the palm's centre, in mm and the file's own frame.

    Raises InputError where the file is missing or unreadable, or handPara has another shape.
    """
    content = read_mat(path, "extract labels.zip again")
    if "handPara" not in content:
        raise InputError(f"{path} has no variable 'handPara'; expected numbers (3, 21, N): extract labels.zip again")
    labels = content["handPara"]
    if labels.ndim != 3 or labels.shape[:2] != (3, 21) or labels.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: 'handPara' is {labels.dtype} {labels.shape}, expected numbers (3, 21, N): extract it again"
        )
    return labels.transpose(2, 1, 0)[:, ORDER].astype(np.float64)


def with_wrist(joints: NDArray) -> NDArray:
    """Joints (..., 21, 3) with the wrist in the place of the palm's centre."""
    moved, ring = joints.copy(), joints[..., RING_MCP, :]
    moved[..., 0, :] = ring + EXTENSION * (joints[..., 0, :] - ring)
    return moved


def seen_from(view: str, joints: NDArray) -> NDArray:
    """Joints (..., 3) of a label file in the frame of the camera that has taken `view`."""
    match view:
        case "BB_left":
            return joints
        case "BB_right":
            return joints - BASELINE
        case "SK_color":
            return (joints - TRANSLATION) @ ROTATION  # rows: the transposed is the inverse rotation


def labelled_from(view: str, joints: NDArray) -> NDArray:
    """Joints (..., 3) in the frame of a view's camera as the label file has them: the inverse of seen_from."""
    match view:
        case "BB_left":
            return joints
        case "BB_right":
            return joints + BASELINE
        case "SK_color":
            return joints @ ROTATION.T + TRANSLATION


def _read_sequence(raw: Path, sequence: str) -> tuple[list[dict], list[dict]]:
    """Images and annotations of the views of one sequence that are there."""
    folder, images, annotations = raw / "images" / sequence, [], []
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    misnamed = sorted(name for name in found if MISNAMED.fullmatch(name) and not NAMED.fullmatch(name))
    if misnamed:
        raise InputError(
            f"{folder} holds {len(misnamed)} pictures that are named otherwise than the owner's, first {misnamed[0]}; "
            "expected BB_left_<frame>.png, BB_right_<frame>.png, SK_color_<frame>.png: take the owner's files"
        )
    for view in VIEWS:
        if not any(re.fullmatch(rf"{view}_\d+\.png", name) for name in found):
            continue
        path = raw / "labels" / f"{sequence}_{view[:2]}.mat"
        joints = seen_from(view, with_wrist(read_labels(path)))
        frames = sum(name.startswith(f"{view}_") for name in found)
        if frames > len(joints):
            what = f"{frames} pictures of {view}, but {path} labels of {len(joints)}"
            raise InputError(f"{folder} holds {what}; take all of both")
        names = [f"{view}_{frame}.png" for frame in range(len(joints))]
        require_images(folder, names)
        first = 10_000 * (len(VIEWS) * SEQUENCES.index(sequence) + VIEWS.index(view)) + 1
        for frame, (name, xyz) in enumerate(zip(names, joints, strict=True)):
            hands.check(f"{path}: frame {frame}", xyz, CAMERAS[view])
            size, file_name = image_size(folder / name), f"images/{sequence}/{name}"
            images.append(hands.image(first + frame, file_name, size, CAMERAS[view], subset=view))
            annotations.append(hands.annotation(first + frame, xyz, CAMERAS[view], "left"))
    return images, annotations


def _check_folders(images: Path) -> None:
    """Refuse sequences that would be passed by: in deeper folders, or named in other letters."""
    known = {sequence.casefold(): sequence for sequence in SEQUENCES}
    for parent, folders, _ in os.walk(images, followlinks=True):
        depth = len(Path(parent).relative_to(images).parts)
        for name in folders:
            sequence = known.get(name.casefold())
            if sequence and (depth or name != sequence):
                where = f"{Path(parent) / name} is not where its pictures are looked for"
                raise InputError(f"{where}; expected {images / sequence}: move it there")
        if depth == 2:
            folders.clear()


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write {train,val}.json (COCO keypoints) of the sequences and views that are there; B1's two are for validation.

    The wrist takes the place of the palm's centre. No joint counts as hidden, for the labels do not tell. An id is 1 +
    frame + 10,000 (view + 3 sequence).

    Args:
        raw: folder with `images/` and `labels/`, and SOURCE.json where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: hands, sequences (read).

    Raises:
        InputError: a file is missing or unreadable, a label file is not what its archive holds, or no sequence is there
            for training or for validation.
    """
    _check_folders(raw / "images")
    records = {sequence: _read_sequence(raw, sequence) for sequence in SEQUENCES}
    records = {sequence: record for sequence, record in records.items() if record[0]}
    splits = {"val": [name for name in records if name in VAL], "train": [name for name in records if name not in VAL]}
    for split, wanted in (("val", VAL), ("train", SEQUENCES[2:])):
        if not splits[split]:
            raise InputError(
                f"{raw / 'images'} has no images for {split}; expected one of {', '.join(wanted)} at least"
            )
    note = (
        f"val is {' and '.join(splits['val'])}, train is {', '.join(splits['train'])}; the root is the wrist, as far "
    )
    note += "beyond the palm's centre as the ring finger's MCP is before it"
    info = {"dataset": "stb", "source": source(raw), "note": note}
    with atomic(out) as folder:
        folder.mkdir()
        for split, sequences in splits.items():
            images, annotations = ([row for name in sequences for row in records[name][part]] for part in (0, 1))
            hands.write(folder / f"{split}.json", info, images, annotations)
    return {"hands": sum(len(images) for images, _ in records.values()), "sequences": len(records)}


def write_synthetic(out: Path, *, frames: int, seed: int) -> None:
    """Write synthetic left hands in the layout that convert reads; replaces `out` as a whole.

    Every frame is a function of (seed, sequence, number) alone: a hand in a pose of its own before the background of
    the sequence's number, seen by both of the Bumblebee's cameras and, in one sequence of either split, by the
    RealSense too.

    Args:
        out: folder that will hold `images/` and `labels/`.
        frames: number per sequence.
        seed: of all frames.
    """
    from lib.data.formats import stb_synthetic  # its hand model loads PyTorch, which no conversion needs

    with atomic(out) as folder:
        stb_synthetic.write(folder, frames, seed)
