"""Photographs with what was predicted drawn on them."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.hands.joints import BONES
from lib.reporting.figures import side

SIDE = 640  # px that the longer side of a picture has at least, so that limbs of small ones stay apart
FINGERS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7")  # thumb to little finger
FRACTION = 4  # bits of a pixel in OpenCV's coordinates


def draw_people(
    image: NDArray, keypoints: NDArray, skeleton: Sequence[tuple[int, int]], joints: Sequence[str]
) -> NDArray:
    """Skeletons (N, K, 2), px, over an image (H, W, 3) uint8 RGB, a small one enlarged; blue: left, orange: right."""
    colours = [side(joints[a], joints[b]) for a, b in skeleton]
    picture, zoom = enlarged(image)
    for points in keypoints:
        draw(picture, (points + 0.5) * zoom - 0.5, skeleton, colours)
    return picture


def draw_hands(image: NDArray, boxes: NDArray, xyz: NDArray) -> NDArray:
    """Hands on their image (H, W, 3) and, below it, each of them as the camera sees it and from its right side.

    boxes (N, 4); xyz (N, 21, 3) mm from the wrist. The views of a hand have one scale, the bar is 50 mm long.
    """
    colours = [FINGERS[number // 4] for number in range(len(BONES))]
    picture, zoom = enlarged(image)
    views = []
    for box, joints in zip(boxes, xyz, strict=True):
        draw(picture, (placed(joints, box) + 0.5) * zoom - 0.5, BONES, colours)
        reach = 0.6 * np.ptp(joints, axis=0).max()
        middle = (joints.max(0) + joints.min(0)) / 2
        for axes in ([0, 1], [2, 1]):
            view = np.full((SIDE // 2, SIDE // 2, 3), 255, np.uint8)
            scale = len(view) / (2 * reach)
            draw(view, (joints - middle)[:, axes] * scale + len(view) / 2, BONES, colours)
            cv2.line(view, (8, len(view) - 8), (8 + round(50 * scale), len(view) - 8), (0, 0, 0), 2)
            views.append(view)
    columns = max(1, picture.shape[1] // (SIDE // 2))
    views += [np.full_like(views[0], 255)] * (-len(views) % columns)
    rows = [np.concatenate(views[start : start + columns], 1) for start in range(0, len(views), columns)]
    wide = max(picture.shape[1], rows[0].shape[1])
    parts = [
        cv2.copyMakeBorder(p, 0, 0, 0, wide - p.shape[1], cv2.BORDER_CONSTANT, value=[255] * 3)
        for p in (picture, *rows)
    ]
    return np.concatenate(parts)


def placed(xyz: NDArray, box: NDArray) -> NDArray:
    """Pixels (21, 2) of a hand's joints (21, 3) seen from afar, as large as its box (x, y, width, height) is.

    Where a camera is not known this is where they are in the picture, if the box is the tight one of the joints.
    """
    flat, extent = xyz[:, :2], np.ptp(xyz[:, :2], axis=0)
    zoom = box[2:].max() / extent.max()
    return (flat - (flat.max(0) + flat.min(0)) / 2) * zoom + box[:2] + (box[2:] - 1) / 2


def enlarged(image: NDArray) -> tuple[NDArray, int]:
    """An image to draw on, and the whole number of times that it is as large."""
    zoom = -(-SIDE // max(image.shape[:2]))
    return np.ascontiguousarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)), zoom


def draw(picture: NDArray, points: NDArray, limbs: Sequence[tuple[int, int]], colours: Sequence[str]) -> None:
    """Limbs between points (K, 2), dark-rimmed and as thick as the figure's size asks for, and the points."""
    thick = max(2, round(float(np.ptp(points, axis=0).max()) / 90))
    ends = np.rint(points * 2**FRACTION).astype(int).tolist()
    for (a, b), colour in zip(limbs, colours, strict=True):
        for width, tint in ((thick + 2, (0, 0, 0)), (thick, tuple(bytes.fromhex(colour[1:])))):
            cv2.line(picture, ends[a], ends[b], tint, width, cv2.LINE_AA, FRACTION)
    for end in ends:
        for radius, tint in ((thick + 1, (0, 0, 0)), (thick, (255, 255, 255))):
            cv2.circle(picture, end, radius << FRACTION, tint, -1, cv2.LINE_AA, FRACTION)
