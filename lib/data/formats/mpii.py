"""MPII Human Pose (Andriluka et al., CVPR 2014): raw files to annotations, and synthetic raw data.

`images/*.jpg` and the annotations in one of three layouts; where several are present, the first wins:

    mpii_human_pose_v1_u12_1.mat    with annot/valid.json or annot/valid.h5 as the list of validation people, and
                                    annot/train.json or annot/train.h5 where the training people shall be a list too
    annot/{train,valid}.json        with annot/gt_valid.mat
    annot/{train,valid}.h5

The MATLAB file knows most: which joints are occluded, and every head box. Without a training list, training people are
all labelled ones of the training images in which no validation person is: the rule of the JSON files (22,246 people).
Newell et al.'s train.h5 also lists the other people of those images.

The person box is the square of side 200 scale about (x, y + 15 scale), 15 scale lower than the annotators' centre so
that feet are not cut off; the networks of the field see it 1.25 times as large, which is a pack's padding.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from lib.data.formats.mpii_layouts import SAME, Person, read_ground_truth, read_h5, read_json, read_mat
from lib.data.formats.mpii_synthetic import write_synthetic
from lib.data.formats.raw import FARTHEST, require_images, shown, source
from lib.data.images import image_size
from lib.errors import InputError
from lib.files import atomic

__all__ = ["FLIP_PAIRS", "JOINTS", "SKELETON", "UPPER_BODY", "convert", "write_synthetic"]

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
FLIP_PAIRS = ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))
UPPER_BODY = tuple(range(7, 16))
SKELETON = (
    *((1, 2), (2, 3), (3, 7), (4, 7), (4, 5), (5, 6), (7, 8), (8, 9), (9, 10)),
    *((9, 13), (12, 13), (11, 12), (9, 14), (14, 15), (15, 16)),
)
CATEGORY = {"id": 1, "name": "person", "supercategory": "person", "keypoints": JOINTS, "skeleton": SKELETON}
CATEGORY |= {"flip_pairs": FLIP_PAIRS, "upper_body": UPPER_BODY}
MAT = "mpii_human_pose_v1_u12_1.mat"


def _read(raw: Path) -> tuple[list[Person], list[Person], str]:
    """Training people, validation people, and a note on where both come from."""
    annot = raw / "annot"
    if (raw / MAT).is_file():
        people, val = read_mat(raw / MAT), _read_list(annot, "valid")
        if val is None:
            raise InputError(f"{annot} has no valid.json or valid.h5: {MAT} does not say who the validation people are")
        train = _read_list(annot, "train")
        images = {person.image for person in val}
        val = _find(val, people, annot / "valid", raw / MAT)
        if train is None:
            note = "every labelled person of the training images in which no validation person is"
            return [person for person in people if person.image not in images], val, f"{MAT}; train is {note}"
        return _find(train, people, annot / "train", raw / MAT), val, f"{MAT}; train and val as listed in annot"
    for suffix, read in ((".json", read_json), (".h5", read_h5)):
        if (annot / f"valid{suffix}").is_file():
            paths = [annot / f"{split}{suffix}" for split in ("train", "valid")]
            if not paths[0].is_file():
                raise InputError(f"{paths[0]} is missing beside {paths[1].name}; training people come from it")
            train, val = map(read, paths)
            if suffix == ".json":
                val = read_ground_truth(annot / "gt_valid.mat", val)
            return train, val, f"train{suffix} and valid{suffix}"
    raise InputError(f"{raw} has none of {MAT}, annot/valid.json, annot/valid.h5; see data.mpii in params.yaml")


def _read_list(annot: Path, split: str) -> list[Person] | None:
    for suffix, read in ((".json", read_json), (".h5", read_h5)):
        if (annot / f"{split}{suffix}").is_file():
            return [person for person in read(annot / f"{split}{suffix}") if person.placed]
    return None


def _find(listed: list[Person], people: list[Person], source: Path, mat: Path) -> list[Person]:
    """The people of the MATLAB file that a list names by image and centre."""
    candidates = defaultdict(list)
    for person in people:
        if person.placed:
            candidates[person.image].append(person)
    found, lost = [], []
    for person in listed:
        at = np.array((*person.centre, 200 * person.scale))
        near = [(np.abs(at - (*other.centre, 200 * other.scale)).max(), other) for other in candidates[person.image]]
        distance, nearest = min(near, key=lambda pair: pair[0], default=(np.inf, None))
        (found if distance <= SAME else lost).append(nearest if distance <= SAME else person)
    if lost:
        x, y = lost[0].centre
        first = f"{lost[0].image} at ({x:g}, {y:g})"
        raise InputError(f"{len(lost)} of the {len(listed)} people of {source} are not in {mat}, first {first}")
    return found


def _image_sizes(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(width, height) of every image from its header."""
    names = sorted(names)
    odd = [name for name in names if not re.fullmatch(r"[0-9]{9}\.jpg", name)]
    if odd:
        what = f"{len(odd)} image names are not nine digits and .jpg as MPII's, first {shown(odd[0])}"
        raise InputError(f"{folder.parent}: {what}; take the annotations of MPII")
    require_images(folder, names)
    return {name: image_size(folder / name) for name in names}


def _annotation(person: Person, key: int, size: tuple[int, int], split: str) -> dict:
    """COCO annotation, 0-based; InputError where a number makes no sense."""
    (x, y), joints = person.centre, person.joints
    known = [number for number in (*(person.head_box or ()), person.head_size) if number is not None]
    who = f"{split}: the person at ({x:g}, {y:g}) in {person.image}"
    if not (np.abs([x, y, 200 * person.scale, *known, *joints.ravel()]) <= FARTHEST).all():
        where = f"a number that is not finite or beyond {FARTHEST:,.0f} px"
        raise InputError(f"{who} has {where}; repair or fetch the annotations again")
    if person.scale <= 0:
        raise InputError(f"{who} has scale {person.scale:g}; expected the person's height / 200 px, above 0")
    if split == "val" and not (person.head_size or 0) > 0:
        raise InputError(f"{who} has no head size, without which PCKh cannot be computed")
    side, (width, height) = 200 * person.scale, size
    left, top = x - 1 - (side - 1) / 2, y - 1 + 15 * person.scale - (side - 1) / 2
    if left >= width or top >= height or min(left, top) + side <= 0:
        raise InputError(f"{who} has a box wholly outside the image of {width} x {height} px; expected 1-based pixels")
    labelled = joints[:, 2] > 0
    keypoints = np.where(labelled[:, None], joints - (1, 1, 0), 0).tolist()
    annotation = {"id": key, "image_id": int(person.image[:9]), "category_id": 1}
    annotation |= {"keypoints": [number for px, py, v in keypoints for number in (px, py, int(v))]}
    annotation |= {"num_keypoints": int(labelled.sum()), "bbox": [left, top, side, side]}
    annotation |= {"area": side * side, "iscrowd": 0}
    if person.head_size is not None:
        annotation["head_size"] = person.head_size
    if person.head_box is not None:
        annotation["head_box"] = [number - 1 for number in person.head_box]
    return annotation


def _distinct(raw: Path, people: list[tuple[str, Person]]) -> list[tuple[str, Person]]:
    """Sorted people of both splits without repeated training people; InputError where one of validation is repeated."""
    found = people[:1]
    for (split, a), (other, b) in pairwise(people):
        if (a.image, a.centre, a.scale) != (b.image, b.centre, b.scale) or not np.array_equal(a.joints, b.joints):
            found.append((other, b))
        elif "val" in (split, other):
            x, y = a.centre
            raise InputError(f"{raw}: the validation person at ({x:g}, {y:g}) in {a.image} is there twice")
    return found


def convert(raw: Path, out: Path) -> dict[str, int]:
    """Write `{train,val}.json` (COCO keypoints) of Tompson et al.'s split from one of the three layouts.

    An image's id is the number in its name; a person's is 100 times that plus the place among the image's people from
    left to right. Images are in the order of their names. People without a labelled joint, a centre or a scale and
    repeated training people are left out. `head_size`, 0.6 times the head box's diagonal, and `head_box` (x1, y1, x2,
    y2; not in HDF5) are given where the source has them: for training people not in JSON.

    Args:
        raw: folder with `images/` and the annotations, and SOURCE.json where the data were fetched.
        out: folder to write; replaced as a whole.

    Returns:
        Counts: persons, images, joints (labelled), dropped (persons left out).

    Raises:
        InputError: a file is missing, unreadable, of another benchmark or contradicts another one; a validation
            person is there twice, or a person makes no sense; images are missing.
    """
    *read, note = _read(raw)
    splits = {
        split: [person for person in people if person.placed and person.joints[:, 2].any()]
        for split, people in zip(("train", "val"), read, strict=True)
    }
    together = [(split, person) for split, people in splits.items() for person in people]
    together.sort(key=lambda pair: (pair[1].image, pair[1].centre, pair[1].scale, pair[1].joints.tobytes()))
    together = _distinct(raw, together)
    sizes = _image_sizes(raw / "images", {person.image for _, person in together})
    info = {"dataset": "mpii", "source": source(raw), "note": note}
    documents = {split: {"info": info, "images": [], "annotations": []} for split in splits}
    for name, group in groupby(together, key=lambda pair: pair[1].image):
        width, height = sizes[name]
        record = {"id": int(name[:9]), "file_name": f"images/{name}", "width": width, "height": height}
        for rank, (split, person) in enumerate(group):
            images, annotations = documents[split]["images"], documents[split]["annotations"]
            images.extend([record] if images[-1:] != [record] else [])
            annotations.append(_annotation(person, 100 * record["id"] + rank, sizes[name], split))
    counts = {"persons": len(together), "images": len(sizes)}
    counts["joints"] = int(sum((person.joints[:, 2] > 0).sum() for _, person in together))
    counts["dropped"] = sum(map(len, read)) - len(together)
    with atomic(out) as folder:
        folder.mkdir()
        for split, document in documents.items():
            (folder / f"{split}.json").write_text(json.dumps(document | {"categories": [CATEGORY]}), encoding="utf-8")
    return counts
