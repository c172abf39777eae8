"""Leeds Sports Pose and its extended training set: raw archives to annotations, and synthetic raw data.

Johnson and Everingham, BMVC 2010 (LSP) and CVPR 2011 (LSP Extended). Each archive holds `images/*.jpg`, one person per
image, and `joints.mat` with 14 person-centric joints:

    lsp    (3, 14, N)   x, y, 1 where the joint is occluded; the first half is for training, the second is the test set
    lspet  (14, 3, N)   x, y, 1 where the joint is visible; otherwise there is no position
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from lib.data import people
from lib.data.boxes import box_of
from lib.data.formats.matlab import read_mat
from lib.data.formats.raw import FARTHEST, require_images, source
from lib.data.images import image_size
from lib.errors import InputError
from lib.files import atomic

JOINTS = people.POINTS[:14]
FLIP_PAIRS = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9))
UPPER_BODY = (6, 7, 8, 9, 10, 11, 12, 13)  # arms, neck and head top
SKELETON = (
    (1, 2),
    (2, 3),
    (3, 13),
    (4, 13),
    (4, 5),
    (5, 6),
    (7, 8),
    (8, 9),
    (9, 13),
    (10, 13),
    (10, 11),
    (11, 12),
    (13, 14),
)
PROTOCOL = (
    "train is the first half of LSP and all of LSP Extended; val is the second half of LSP, its official test set"
)

# The smallest side of a person box, as a share of the image's longer side. People nearly fill the benchmark's images:
# the joints' longer extent is at least half of it, even where only 4 are labelled, so no box needs a fallback. Only
# figures in a straight line (44 boxes of 12,000), and the single joints that a local copy may have, are widened.
MIN_SIDE = 0.1


@dataclass(frozen=True)
class Subset:
    """How one of the two archives is laid out: axes of joints.mat, digits of a file name, first image id."""

    name: str
    axes: tuple[int, int, int]  # that bring joints.mat to (N, 14, 3)
    shape: str
    digits: int
    first_id: int


LSP = Subset("lsp", (2, 1, 0), "(3, 14, N)", 4, 1)
LSPET = Subset("lspet", (2, 0, 1), "(14, 3, N)", 5, 100_001)


def _read_joints(raw: Path, subset: Subset) -> np.ndarray:
    """(N, 14, 3) float64: x, y in px and COCO's v (0 no label, 1 occluded, 2 visible)."""
    path = raw / subset.name / "joints.mat"
    remedy = f"extract {subset.name}_dataset.zip into {path.parent}"
    joints = read_mat(path, remedy).get("joints")
    if joints is None:
        raise InputError(f"{path} has no variable 'joints' of shape {subset.shape}; {remedy}")
    transposed = joints.transpose(subset.axes) if joints.ndim == 3 else joints
    if transposed.shape[1:] != (14, 3) or joints.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: 'joints' is {joints.dtype} {joints.shape}, expected numbers {subset.shape}; {remedy}"
        )
    xy, flag = transposed[..., :2].astype(np.float64), transposed[..., 2]
    if not np.isin(flag, (0, 1)).all():
        raise InputError(f"{path}: flags must be 0 or 1, found {flag[~np.isin(flag, (0, 1))][0]:g}; {remedy}")
    v = np.where(flag == 1, 1, 2) if subset is LSP else np.where(flag == 1, 2, 0)
    near = (np.abs(xy) <= FARTHEST).all(-1)  # of what is not finite, too
    if not near[v > 0].all():
        person = np.flatnonzero((~near & (v > 0)).any(1))[0]
        where = f"whose position is not finite or beyond {FARTHEST:,.0f} px"
        raise InputError(f"{path}: person {person + 1} has a labelled joint {where}; {remedy}")
    return np.concatenate((np.where(v[..., None] > 0, xy, 0), v[..., None]), axis=-1)


def _box(xy: np.ndarray, size: tuple[int, int]) -> list[float]:
    """Tight box x, y, w, h of the joints (M, 2) inside an image of `size`, no side below MIN_SIDE.

    Labels stay as annotated, but a joint far outside the image (LSP Extended has one) must not blow up the box.
    """
    limit = np.array(size, np.float64) - 1
    low, high = xy.min(0).clip(0, limit), xy.max(0).clip(0, limit)
    grow = np.maximum(MIN_SIDE * max(size) - (high - low + 1), 0) / 2
    return box_of((low - grow).clip(0, limit), (high + grow).clip(0, limit)).tolist()


def _read_subset(raw: Path, subset: Subset) -> list[tuple[dict, dict | None]]:
    """COCO image and annotation of every person; None in place of the annotation where no joint is labelled."""
    joints = _read_joints(raw, subset)
    folder = raw / subset.name / "images"
    names = [f"im{number:0{subset.digits}d}.jpg" for number in range(1, len(joints) + 1)]
    require_images(folder, names)
    records = []
    for row, (name, person) in enumerate(zip(names, joints, strict=True)):
        width, height = size = image_size(folder / name)
        key, labelled = subset.first_id + row, person[:, 2] > 0
        image = {"id": key, "file_name": f"{subset.name}/images/{name}", "width": width, "height": height}
        annotation = None
        if labelled.any():
            box = _box(person[labelled, :2], size)
            keypoints = [number for x, y, v in person.tolist() for number in (x, y, int(v))]
            annotation = {"id": key, "image_id": key, "category_id": 1, "keypoints": keypoints, "bbox": box}
            annotation |= {"num_keypoints": int(labelled.sum()), "area": box[2] * box[3], "iscrowd": 0}
        records.append((image, annotation))
    return records


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write `{train,val}.json` of the protocol of FPD, Table 3 (COCO keypoints) from the two extracted archives.

    Image and annotation ids are the numbers in the file names, LSP Extended's plus 100,000. Labels are kept as
    annotated, wrong ones included; persons without any are left out.

    Args:
        raw: folder with `lsp/` and `lspet/`, and SOURCE.json where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: persons, images, joints (labelled), dropped (persons without a labelled joint).

    Raises:
        InputError: a file is missing or unreadable, or joints.mat is not what its archive holds.
    """
    lsp, lspet = (_read_subset(raw, subset) for subset in (LSP, LSPET))
    half = len(lsp) // 2
    info = {"dataset": "lsp", "source": source(raw), "note": PROTOCOL}
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": JOINTS}
    category |= {"skeleton": SKELETON, "flip_pairs": FLIP_PAIRS, "upper_body": UPPER_BODY}
    counts = dict.fromkeys(("persons", "images", "joints", "dropped"), 0)
    with atomic(out) as folder:
        folder.mkdir()
        for split, records in (("train", lsp[:half] + lspet), ("val", lsp[half:])):
            images = [image for image, annotation in records if annotation]
            annotations = [annotation for _, annotation in records if annotation]
            content = {"info": info, "images": images, "annotations": annotations}
            (folder / f"{split}.json").write_text(json.dumps(content | {"categories": [category]}), encoding="utf-8")
            counts["persons"] += len(annotations)
            counts["images"] += len(images)
            counts["joints"] += sum(annotation["num_keypoints"] for annotation in annotations)
            counts["dropped"] += len(records) - len(annotations)
    return counts


def write_synthetic(out: Path, *, lsp: int, lspet: int, seed: int) -> None:
    """Write synthetic people in the layout of the two extracted archives; replaces `out` as a whole.

    Every picture is a function of (seed, archive, number) alone. Labels are exact; as in the originals, LSP gives the
    position of occluded joints too and LSP Extended does not, and only its persons may be cut by the border.

    Args:
        out: folder that will hold `lsp/` and `lspet/`.
        lsp: number of LSP images, of which the first half is for training.
        lspet: number of LSP Extended images.
        seed: of all pictures.
    """
    with atomic(out) as folder:
        for index, (subset, count) in enumerate(((LSP, lsp), (LSPET, lspet))):
            images = folder / subset.name / "images"
            images.mkdir(parents=True)
            joints = np.zeros((count, 14, 3))
            for row in range(count):
                rng = np.random.default_rng((seed, index, row))
                picture = people.picture(rng, cut=0.0 if subset is LSP else 0.06)
                visible = picture.visible[:14, None]
                joints[row, :, :2] = picture.points[:14] if subset is LSP else np.where(visible, picture.points[:14], 0)
                joints[row, :, 2:] = ~visible if subset is LSP else visible
                bgr = cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR)
                quality = int(rng.integers(60, 96))
                path = images / f"im{row + 1:0{subset.digits}d}.jpg"
                path.write_bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes())
            layout = joints.transpose(np.argsort(subset.axes))
            file = io.BytesIO()
            scipy.io.savemat(file, {"joints": layout})
            # The header's 116 bytes of free text hold the time of day, which would make every writing another one.
            header = b"MATLAB 5.0 MAT-file, synthetic people".ljust(116)
            (folder / subset.name / "joints.mat").write_bytes(header + file.getvalue()[116:])
