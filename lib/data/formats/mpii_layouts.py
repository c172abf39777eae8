"""The three published forms of MPII's annotations, each read to a list of people.

The benchmark's own MATLAB file (Andriluka et al., CVPR 2014); the JSON files of SimpleBaselines and HRNet; the HDF5
files of Newell et al., ECCV 2016. The validation people of the last two are those of Tompson et al., CVPR 2015.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from lib.data.formats import matlab, raw
from lib.errors import InputError
from lib.isolation import isolated

HEAD_SHARE = 0.6  # of the head box's diagonal: the benchmark's head size
SAME = 1.0  # px within which two files speak of the same point: Newell et al. cut coordinates to whole pixels


@dataclass(frozen=True)
class Person:
    """One annotated person in MPII's own units: px whose first is 1.

    joints (16, 3): x, y and COCO's v (0 no label, 1 occluded, 2 visible). centre x, y and scale, the height / 200 px,
    are None where the annotators left them out. head_box x1, y1, x2, y2 and head_size in px where known.
    """

    image: str
    centre: tuple[float, float] | None
    scale: float | None
    joints: np.ndarray
    head_box: tuple[float, float, float, float] | None = None
    head_size: float | None = None

    @property
    def placed(self) -> bool:
        """Whether there is a person box."""
        return self.centre is not None and self.scale is not None


def head_size(box: Iterable[float]) -> float:
    """0.6 times the diagonal of a head box x1, y1, x2, y2."""
    x1, y1, x2, y2 = box
    return HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def read_mat(path: Path) -> list[Person]:
    """People of the training images in mpii_human_pose_v1_u12_1.mat, in its order.

    Any field may be missing or empty, a single struct is a scalar, and is_visible is a number, a character or empty;
    empty means visible. Raises InputError where the file is unreadable or of another benchmark.
    """
    return isolated(_mat_people, path)


def _mat_people(path: Path) -> list[Person]:
    remedy = "extract mpii_human_pose_v1_u12_2.zip again"
    # Squeezed, scalars become Python's numbers and strings: a third of the memory that arrays of one element need.
    release = matlab.load(path, remedy, squeeze_me=True, variable_names=["RELEASE"]).get("RELEASE")
    fields = _structs(release)[0].dtype.names if _structs(release) else ()
    if not {"annolist", "img_train"} <= set(fields):
        found = f"RELEASE with {', '.join(fields)}" if fields else _variables(path)
        raise InputError(f"{path} holds {found}; expected MPII's RELEASE with annolist and img_train: {remedy}")
    record = _structs(release)[0]
    people, number = [], 0
    try:
        flags = np.atleast_1d(record["img_train"])
        for image, train in zip(_structs(record["annolist"]), flags, strict=True):
            number += 1
            if train == 1:
                name = str(_structs(image["image"])[0]["name"])
                people += [_person(name, rectangle) for rectangle in _structs(_field(image, "annorect"))]
    except Exception as error:  # whatever other structs and types raise
        detail = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: RELEASE is not nested as MPII's at image {number}: {detail}; {remedy}") from None
    return people


def _variables(path: Path) -> str:
    try:
        return ", ".join(name for name, *_ in scipy.io.whosmat(str(path))) or "nothing"
    except Exception:  # damage that reading the one variable has passed by
        return "no RELEASE"


def _structs(value: object) -> list[np.void]:
    """The structs of a field: none, one or several."""
    return list(np.atleast_1d(value)) if getattr(value, "dtype", None) is not None and value.dtype.names else []


def _field(struct: np.void, name: str) -> object:
    return struct[name] if name in struct.dtype.names else None


def _number(struct: np.void, name: str) -> float | None:
    value = _field(struct, name)
    return None if value is None or not np.size(value) or value == "" else float(np.ravel(value)[0])


def _numbers(struct: np.void, names: tuple[str, ...]) -> tuple[float, ...] | None:
    values = tuple(_number(struct, name) for name in names)
    return None if None in values else values


def _person(image: str, rectangle: np.void) -> Person:
    joints = np.zeros((16, 3))
    for annopoints in _structs(_field(rectangle, "annopoints")):
        for point in _structs(_field(annopoints, "point")):
            joint, seen = int(point["id"]), _number(point, "is_visible")
            if not 0 <= joint < 16:
                raise ValueError(f"joint {joint} of 0 to 15")
            joints[joint] = float(point["x"]), float(point["y"]), 1 if seen == 0 else 2
    places = [_numbers(place, ("x", "y")) for place in _structs(_field(rectangle, "objpos"))]
    box = _numbers(rectangle, ("x1", "y1", "x2", "y2"))
    size = None if box is None else head_size(box)
    return Person(image, places[0] if places else None, _number(rectangle, "scale"), joints, box, size)


def read_json(path: Path) -> list[Person]:
    """People of one split in the rows' order; occluded joints count as visible, for joints_vis only says labelled.

    A centre of -1, -1 means that there is none. Raises InputError where a row is not as described.
    """
    remedy = "take MPII's train.json or valid.json as HRNet's and SimpleBaselines' authors offer them"
    rows = raw.read_json(path, remedy)
    fields = ("image", "center", "scale", "joints", "joints_vis")
    people = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        if not isinstance(row, dict) or not set(fields) <= row.keys():
            raise InputError(f"{path}: row {number} lacks one of {', '.join(fields)}; {remedy}")
        try:
            xy, labelled = np.array(row["joints"], float).reshape(16, 2), np.array(row["joints_vis"], float) > 0
            joints = np.where(labelled[:, None], np.column_stack((xy, np.full(16, 2))), 0)
            (x, y), scale = map(float, row["center"]), float(row["scale"])
        except (IndexError, TypeError, ValueError, OverflowError):
            expected = "16 joints, joints_vis, center x, y and scale, all of them numbers"
            raise InputError(f"{path}: row {number} has not {expected}; {remedy}") from None
        placed = (x, y) != (-1, -1)
        people.append(Person(str(row["image"]), (x, y) if placed else None, scale if placed else None, joints))
    return people


def read_ground_truth(path: Path, people: list[Person]) -> list[Person]:
    """The people of valid.json with head boxes and labels of gt_valid.mat, against which HRNet's evaluation scores.

    Raises InputError where the file is missing, or its rows are other people than valid.json's.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: it holds the head boxes of valid.json; it comes with the JSON files")
    remedy = "take it from where the JSON files come from"
    content = matlab.read_mat(path, remedy)
    try:
        boxes, missing, xy = (content[name] for name in ("headboxes_src", "jnt_missing", "pos_gt_src"))
    except KeyError as error:
        expected = "headboxes_src, jnt_missing, pos_gt_src"
        raise InputError(f"{path} has no variable {error}; expected {expected}: {remedy}") from None
    if any(array.dtype.kind not in "biuf" for array in (boxes, missing, xy)):
        kinds = ", ".join(str(array.dtype) for array in (boxes, missing, xy))
        raise InputError(f"{path}: headboxes_src, jnt_missing, pos_gt_src are {kinds}; expected numbers: {remedy}")
    count = len(people)
    if (boxes.shape, missing.shape, xy.shape) != ((2, 2, count), (16, count), (16, 2, count)):
        raise InputError(f"{path} is for {boxes.shape[-1]} people but valid.json has {count}; take both from one place")
    xy, labelled = xy.transpose(2, 0, 1).astype(float), missing.T == 0
    both = labelled & (np.array([person.joints[:, 2] for person in people]).reshape(count, 16) > 0)
    distance = np.abs(xy - np.array([person.joints[:, :2] for person in people]).reshape(count, 16, 2)).max(-1)
    other = np.flatnonzero((both & ~(distance <= SAME)).any(1))
    if len(other):
        where = f"{len(other)} of {count} rows have other joints than valid.json, first row {other[0]}"
        raise InputError(f"{path}: {where} ({people[other[0]].image}); take both from one place")
    joints = np.where(labelled[..., None], np.concatenate((xy, np.full((count, 16, 1), 2)), axis=-1), 0)
    heads = [tuple(box) for box in boxes.astype(float).transpose(2, 0, 1).reshape(count, 4).tolist()]
    return [
        replace(person, joints=labels, head_box=box, head_size=head_size(box))
        for person, labels, box in zip(people, joints, heads, strict=True)
    ]


def read_h5(path: Path) -> list[Person]:
    """People of one split in the rows' order.

    The file has the enlarged box of the training crops, y + 15 scale and 1.25 scale; this takes both back. Joints that
    are not labelled are 0, 0 or, in people without any, -1, -1; visible is 1, 0 for occluded. Raises InputError where a
    data set is missing.
    """
    return isolated(_h5_people, path)


def _h5_people(path: Path) -> list[Person]:
    shapes = {"imgname": (), "center": (2,), "scale": (), "part": (16, 2), "visible": (16,), "normalize": ()}
    remedy = "take Newell et al.'s train.h5 or valid.h5"
    try:
        with h5py.File(path) as file:
            columns = {name: np.asarray(file[name][()]) for name in shapes}
        if columns["imgname"].dtype.kind == "O":  # texts of any length
            columns["imgname"] = columns["imgname"].astype("S")
    except KeyError as error:
        detail = str(error).strip("\"'")
        raise InputError(f"{path}: {detail}; expected {', '.join(shapes)}: {remedy}") from None
    except MemoryError:
        raise
    except Exception as error:  # HDF5 raises whatever its parser stumbles over
        raise InputError(f"{path} is not a readable HDF5 file: {' '.join(str(error).split())}; {remedy}") from None
    count = columns["part"].shape[:1]
    for name, shape in shapes.items():
        array, codes = columns[name], name == "imgname" and columns[name].ndim == 2
        right = array.dtype.kind in ("S" if name == "imgname" and not codes else "biuf")
        if not right or not count or (array.shape[:1] if codes else array.shape) != (*count, *shape):
            kinds = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in columns.items())
            raise InputError(f"{path}: {kinds} do not fit together; {remedy}")
    names, centre, scale, xy, visible, heads = columns.values()
    if names.ndim == 2:  # character codes, padded with 0
        names = names.astype(np.uint8).view(f"S{names.shape[1]}")[:, 0]
    labelled = (xy != 0).any(-1) & (visible >= 0)
    joints = np.where(labelled[..., None], np.concatenate((xy, 1 + (visible[..., None] > 0)), axis=-1), 0)
    size = scale / 1.25
    centre = centre - np.column_stack((np.zeros_like(size), 15 * size))
    rows = zip(names, centre.tolist(), size.tolist(), joints, heads.tolist(), strict=True)
    return [
        Person(name.decode("latin1"), (x, y), size, labels, head_size=head if head > 0 else None)
        for name, (x, y), size, labels, head in rows
    ]
