"""What the annotations of the hand benchmarks have in common: one hand per image, its camera and its joints in 3D."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.data.boxes import box_of
from lib.data.formats.raw import FARTHEST
from lib.errors import InputError
from lib.hands.joints import BONES, JOINTS, projected

EXTENT = 10, 1000  # mm between the joints of a hand along an axis, at least and at most

CATEGORY = {
    **{"id": 1, "name": "hand", "supercategory": "hand", "keypoints": JOINTS},
    **{"skeleton": [(parent + 1, child + 1) for parent, child in BONES], "flip_pairs": [], "upper_body": []},
}


def image(key: int, file_name: str, size: tuple[int, int], camera: ArrayLike, **extra: object) -> dict:
    """COCO image of `size` (width, height) with its camera (3, 3)."""
    record = {"id": key, "file_name": file_name, "width": size[0], "height": size[1]}
    return record | {"camera": np.asarray(camera, float).round(6).tolist()} | extra


def annotation(key: int, xyz: NDArray, camera: NDArray, side: str, visible: NDArray | bool = True) -> dict:
    """COCO annotation of the hand in image `key`, its bbox the tight one of its joints wherever they are.

    Joints are rounded to 0.1 um and 0.001 px, which halves the files.

    Args:
        key: of the image, and of the annotation.
        xyz: (21, 3) mm in the camera's frame, in front of it.
        camera: (3, 3).
        side: "left" or "right".
        visible: (21,); all, where the benchmark does not say.
    """
    uv = projected(xyz, camera)
    box = box_of(uv.min(0), uv.max(0))
    v = np.broadcast_to(np.where(visible, 2, 1), len(JOINTS))
    keypoints = [value for (x, y), flag in zip(uv.round(3).tolist(), v.tolist(), strict=True) for value in (x, y, flag)]
    record = {"id": key, "image_id": key, "category_id": 1, "iscrowd": 0, "side": side, "keypoints": keypoints}
    record |= {"num_keypoints": len(JOINTS), "xyz": xyz.round(4).tolist()}
    return record | {"bbox": box.round(3).tolist(), "area": float(box[2:].prod().round(3))}


def check(where: str, xyz: NDArray, camera: NDArray) -> None:
    """Raise InputError, which begins with `where`, unless joints (21, 3), mm, are a hand before a camera (3, 3).

    Files in another unit are a thousand times as large, or as small.
    """
    if not (np.isfinite(xyz).all() and (xyz[:, 2] > 0).all()):
        problem = "a joint is not finite or not in front of the camera"
        raise InputError(f"{where}: {problem}; expected depths above 0: mend or fetch the file")
    check_camera(where, camera)
    least, most = EXTENT
    extent = float(np.ptp(xyz, axis=0).max())
    if not least <= extent <= most:
        problem = f"the hand is {extent:.3g} mm long; expected {least} to {most}"
        raise InputError(f"{where}: {problem}: take the owner's file, or bring yours to its unit")
    if not (np.abs(projected(xyz, camera)) <= FARTHEST).all():
        problem = f"a joint is seen beyond {FARTHEST:,.0f} px; expected joints and camera of the same picture"
        raise InputError(f"{where}: {problem}: mend or fetch the file")


def check_camera(where: str, camera: NDArray) -> None:
    """Raise InputError, which begins with `where`, unless this is a camera (3, 3)."""
    if not np.isfinite(camera).all() or camera[2].tolist() != [0, 0, 1] or camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise InputError(f"{where}: {camera.tolist()} is no camera; expected rows fx 0 cx, 0 fy cy, 0 0 1: mend it")


def write(path: Path, info: dict, images: list[dict], annotations: list[dict]) -> None:
    """Write one split as COCO keypoints."""
    content = {"info": info, "images": images, "annotations": annotations, "categories": [CATEGORY]}
    path.write_text(json.dumps(content), encoding="utf-8")
