"""MPII's three layouts written by hand, field by field, for tests."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io

MAT = "mpii_human_pose_v1_u12_1.mat"
EMPTY = np.zeros((0, 0))


def structs(*records: dict) -> np.ndarray:
    """A MATLAB struct array."""
    array = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for column, record in enumerate(records):
        array[0, column] = tuple(record.values())
    return array


def rectangle(x: float, y: float, scale: float, points: list[tuple], head: tuple = (21, 5, 24, 9)) -> dict:
    """annorect of a person whose points are (id, x, y) or (id, x, y, is_visible)."""
    names = ("id", "x", "y", "is_visible")
    point = structs(*[dict(zip(names, point, strict=False)) for point in points]) if points else EMPTY
    record = dict(zip(("x1", "y1", "x2", "y2"), head, strict=True))
    record |= {"annopoints": {"point": point} if points else EMPTY, "scale": scale}
    return record | {"objpos": {"x": x, "y": y} if x else EMPTY}


def write_mat(path: Path, *images: tuple[str, int, np.ndarray]) -> None:
    annolist = structs(*[{"image": {"name": name}, "annorect": people} for name, _, people in images])
    flags = np.array([flag for _, flag, _ in images], np.uint8)
    scipy.io.savemat(path, {"RELEASE": {"annolist": annolist, "img_train": flags}})


def write_h5(path: Path, people: list[tuple[str, float, float, float]], codes: bool = False, **columns) -> None:
    """Newell et al.'s file of (image, x, y, scale), enlarged as theirs; joint 3 at (7, 8) is occluded, 0 is visible."""
    names, x, y, scale = zip(*people, strict=True)
    scale = np.array(scale)
    part, visible = np.zeros((len(people), 16, 2)), np.zeros((len(people), 16))
    part[:, 3], part[:, 0], visible[:, 0] = (7, 8), (9, 10), 1
    content = {"imgname": np.array(names, "S13"), "scale": 1.25 * scale, "part": part, "visible": visible}
    if codes:
        content["imgname"] = np.array([[*map(ord, name), 0, 0, 0] for name in names], float)
    content |= {"center": np.column_stack((x, y + 15 * scale)), "normalize": np.full(len(people), 12.5)}
    with h5py.File(path, "w") as file:
        for name, column in (content | columns).items():
            file[name] = column


def row(image: str, x: float, y: float, scale: float, **joints: tuple[float, float]) -> dict:
    """A row of train.json or valid.json; joints are named j0 to j15."""
    xy = [list(joints.get(f"j{joint}", (-1, -1))) for joint in range(16)]
    vis = [int(f"j{joint}" in joints) for joint in range(16)]
    return {"image": image, "center": [x, y], "scale": scale, "joints": xy, "joints_vis": vis}


def write_gt(path: Path, rows: list[dict], head: tuple = (21, 5, 24, 9), **variables) -> None:
    xy = np.array([row["joints"] for row in rows], float).transpose(1, 2, 0)
    missing = 1 - np.array([row["joints_vis"] for row in rows], float).T
    boxes = np.tile(np.reshape(head, (2, 2, 1)), (1, 1, len(rows)))
    scipy.io.savemat(path, {"pos_gt_src": xy, "jnt_missing": missing, "headboxes_src": boxes} | variables)
