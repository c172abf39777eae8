"""Synthetic people in two of MPII's raw layouts, with the oddities of the originals."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import h5py
import numpy as np
import scipy.io

from lib.data import people
from lib.data.formats.mpii_layouts import Person, head_size
from lib.files import atomic

# In MPII's order, as rows of people.POINTS: right leg, left leg, pelvis, thorax, upper neck, head top, arms.
POINTS = (*range(6), 14, 15, 12, 13, *range(6, 12))
HEAD = (12, 13, 16, 17, 18, 19, 20)  # rows of people.POINTS around the head
SHORT = ("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head")
SHORT += ("rwri", "relb", "rsho", "lsho", "lelb", "lwri")
OTHERS = 4  # images that nothing is learnt from: two of the test set, two of the training set without labels
EMPTY = np.zeros((0, 0))


@dataclass(frozen=True)
class Scene:
    """One image's name and people; `unlisted` of the last ones are in the MATLAB file only."""

    name: str
    people: list[Person]
    unlisted: int = 0


def write_synthetic(out: Path, *, train: int, val: int, layout: Literal["mat", "json"], seed: int) -> None:
    """Write synthetic people in the MATLAB or the JSON layout; replaces `out` as a whole.

    Every picture is a function of (seed, set, number) alone, and both layouts show the same people. Every fifth image
    holds two; of two in a validation image, one may be no validation person, as in the original, and of two in a
    training image, one may lack labels. Neck and head top never count as occluded, and joints outside the image have no
    label. Scale is the head size / 25, as in MPII.

    Args:
        out: folder that will hold `images/`, `annot/` and, for "mat", the MATLAB file.
        train: number of training images with a labelled person.
        val: number of validation images.
        layout: the MATLAB file with annot/valid.h5 as the list, or annot/{train,valid}.json and gt_valid.mat.
        seed: of all pictures.
    """
    with atomic(out) as folder:
        (folder / "images").mkdir(parents=True)
        (folder / "annot").mkdir()
        sets = [
            [_scene(folder / "images", (seed, index, row)) for row in range(count)]
            for index, count in enumerate((train, val, OTHERS))
        ]
        val_people = _listed(sets[1])
        if layout == "mat":
            _write_mat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": _release(*sets, seed)})
            _write_h5(folder / "annot/valid.h5", val_people)
        else:
            _write_json(folder / "annot/train.json", _listed(sets[0]))
            _write_json(folder / "annot/valid.json", val_people)
            _write_mat(folder / "annot/gt_valid.mat", _ground_truth(val_people))


def _listed(scenes: list[Scene]) -> list[Person]:
    return [person for scene in scenes for person in scene.people[: len(scene.people) - scene.unlisted]]


def _scene(folder: Path, key: tuple[int, int, int]) -> Scene:
    """Draw one image, one or two pictures side by side, into `folder`."""
    rng = np.random.default_rng(key)
    name = f"{key[1]}{key[2] + 1:08d}.jpg"
    pictures = [people.picture(rng, cut=0.06) for _ in range(2 if rng.random() < 0.2 else 1)]
    height = max(picture.image.shape[0] for picture in pictures)
    left, panels, figures = 0, [], []
    for picture in pictures:
        below = height - picture.image.shape[0]
        panels.append(cv2.copyMakeBorder(picture.image, 0, below, 0, 0, cv2.BORDER_REFLECT_101))
        figures.append(_person(name, picture, left))
        left += picture.image.shape[1]
    bgr = cv2.cvtColor(np.concatenate(panels, axis=1), cv2.COLOR_RGB2BGR)
    quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96)))
    (folder / name).write_bytes(cv2.imencode(".jpg", bgr, quality)[1].tobytes())
    return Scene(name, figures, int(len(figures) == 2 and rng.random() < 0.5))


def _person(name: str, picture: people.Picture, left: int) -> Person:
    """Labels of a picture that begins at column `left`, 1-based and rounded as the JSON files are."""
    xy, size = picture.points[list(POINTS)], picture.image.shape[1::-1]
    inside = ((xy > -0.5) & (xy < np.array(size) - 0.5)).all(1)
    v = np.where(inside, 1 + picture.visible[list(POINTS)], 0)
    v[8:10] = 2 * inside[8:10]
    shift = np.array((left + 1, 1))
    joints = np.column_stack(((xy + shift).round(4), v)) * inside[:, None]
    low, high = picture.points[:14].min(0).clip(0), picture.points[:14].max(0).clip(None, np.array(size) - 1)
    centre = np.rint((low + high) / 2 + shift)
    head = picture.points[list(HEAD)] + shift
    box = (*np.floor(head.min(0)).tolist(), *np.ceil(head.max(0)).tolist())
    scale = round(head_size(box) / 25, 6)
    return Person(name, tuple(centre.tolist()), scale, joints, box, head_size(box))


def _structs(records: list[dict]) -> np.ndarray:
    """(1, N) struct array, as savemat wants it."""
    array = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for row, record in enumerate(records):
        array[0, row] = tuple(record.values())
    return array


def _cell(values: list) -> np.ndarray:
    cell = np.empty((1, len(values)), object)
    cell[0, :] = values
    return cell


def _release(train: list[Scene], val: list[Scene], others: list[Scene], seed: int) -> np.ndarray:
    """RELEASE of the MATLAB file: the test images and those without labels stand among the others."""
    rng = np.random.default_rng(seed)
    entries = []
    for scene in train:
        unlabelled = len(scene.people) - scene.unlisted
        rectangles = [_rectangle(person, rng, row < unlabelled) for row, person in enumerate(scene.people)]
        entries.append((scene.name, _structs(rectangles), 1))
    entries += [(scene.name, _structs([_rectangle(person, rng, True) for person in scene.people]), 1) for scene in val]
    place, crowd, nobody, head = others
    entries.append((place.name, _structs([_place(place.people[0])]), 0))
    entries.append((crowd.name, _structs([_place(crowd.people[0])] * 2 + [{"scale": EMPTY, "objpos": EMPTY}]), 0))
    entries.append((nobody.name, EMPTY, 1))
    entries.append((head.name, _structs([_head(head.people[0])]), 1))
    entries = [entries[row] for row in rng.permutation(len(entries))]
    annolist = [
        {"image": _structs([{"name": name}]), "annorect": rectangles, "frame_sec": EMPTY, "vididx": EMPTY}
        for name, rectangles, _ in entries
    ]
    act = {"cat_name": EMPTY, "act_name": EMPTY, "act_id": -1.0}
    record = {"annolist": _structs(annolist), "img_train": np.array([[flag for *_, flag in entries]], np.uint8)}
    record |= {"version": "12", "single_person": _cell([np.array([[1.0]])] * len(entries))}
    record |= {"act": _structs([act] * len(entries)), "video_list": _cell(["synthetic"])}
    return _structs([record])


def _head(person: Person) -> dict:
    return dict(zip(("x1", "y1", "x2", "y2"), person.head_box, strict=True))


def _place(person: Person) -> dict:
    x, y = person.centre
    return {"scale": person.scale, "objpos": _structs([{"x": x, "y": y}])}


def _rectangle(person: Person, rng: np.random.Generator, labelled: bool) -> dict:
    """annorect of one person; is_visible is a number, a character, or missing where all joints are visible."""
    seen: Callable[[float], object] = float if rng.random() < 0.5 else lambda flag: str(int(flag))
    points = []
    for joint in rng.permutation(np.flatnonzero(person.joints[:, 2])).tolist():
        x, y, v = person.joints[joint].tolist()
        flag = EMPTY if joint in (8, 9) else seen(v - 1)
        points.append({"x": x, "y": y, "id": float(joint), "is_visible": flag})
    if (person.joints[:, 2] != 1).all():
        points = [{name: point[name] for name in ("x", "y", "id")} for point in points]
    annopoints = _structs([{"point": _structs(points)}]) if labelled and points else EMPTY
    return _head(person) | {"annopoints": annopoints} | _place(person)


def _write_mat(path: Path, content: dict) -> None:
    file = io.BytesIO()
    scipy.io.savemat(file, content)
    # The header's 116 bytes of free text hold the time of day, which would make every writing another one.
    path.write_bytes(b"MATLAB 5.0 MAT-file, synthetic people".ljust(116) + file.getvalue()[116:])


def _write_h5(path: Path, listed: list[Person]) -> None:
    """Newell et al.'s validation list: the centre 15 scale lower, scale 1.25 times as large, whole pixels."""
    joints = np.array([person.joints for person in listed])
    scale = np.array([person.scale for person in listed])
    columns = {
        "imgname": np.array([person.image for person in listed], "S13"),
        "center": np.array([person.centre for person in listed]) + np.column_stack((0 * scale, 15 * scale)),
        "scale": 1.25 * scale,
        "part": np.trunc(joints[..., :2]),
        "visible": (joints[..., 2] == 2).astype(float),
        "normalize": np.array([person.head_size for person in listed]),
    }
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, track_times=False)


def _write_json(path: Path, listed: list[Person]) -> None:
    rows = []
    for person in listed:
        labelled = person.joints[:, 2] > 0
        joints = np.where(labelled[:, None], person.joints[:, :2], -1).tolist()
        row = {"joints_vis": labelled.astype(int).tolist(), "joints": joints}
        rows.append(row | {"image": person.image, "scale": person.scale, "center": person.centre})
    path.write_text(json.dumps(rows), encoding="utf-8")


def _ground_truth(listed: list[Person]) -> dict:
    """gt_valid.mat, rows as in valid.json."""
    joints = np.array([person.joints for person in listed])
    boxes = np.array([person.head_box for person in listed]).reshape(-1, 2, 2)
    labelled = joints[..., 2] > 0
    return {
        "dataset_joints": _cell(list(SHORT)),
        "headboxes_src": boxes.transpose(1, 2, 0),
        "jnt_missing": (~labelled).T.astype(float),
        "pos_gt_src": np.where(labelled[..., None], joints[..., :2], -1).transpose(1, 2, 0),
    }
