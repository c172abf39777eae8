"""Synthetic left hands in STB's layout, seen by its three cameras."""

import io
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from numpy.typing import NDArray

from lib.data.formats import stb
from lib.data.formats.hands_synthetic import model, moved, save
from lib.data.scenes import background
from lib.hands.scenes import compose, draw_hand, mirrored

# From the model's axes to the camera's: fingers up, the palm to the camera; and how far a hand turns from there.
UPRIGHT = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
TILT = 0.7  # rad about each axis
DISTANCE = (0.42, 0.62)  # m
SIZE = (480, 640)
# Places of the cameras in the frame of the left one, mm; the RealSense stands between the Bumblebee's two.
PLACES = {"BB_left": np.zeros(3), "BB_right": stb.BASELINE, "SK_color": np.array([60.0, 0, 0])}
REALSENSE = ("B1Counting", "B2Counting")  # sequences with its pictures too
WALL = 1.2  # m from the cameras to the background
OVERLAP = 240  # px of the left picture's width that the right camera does not see at the smallest distance


def wall(seed: int, sequence: str) -> NDArray[np.uint8]:
    """The background of a sequence's number, wide enough for all cameras."""
    return background(np.random.default_rng((seed, len(stb.SEQUENCES) + int(sequence[1]))), SIZE[0], SIZE[1] + 100)


def draw(key: tuple[int, ...], scene: NDArray[np.uint8], views: tuple[str, ...]) -> dict[str, tuple[NDArray, NDArray]]:
    """By view, the picture of one frame, before the wall `scene`, and joints (21, 3) as its label file has them."""
    rng = np.random.default_rng(key)
    # Both of the Bumblebee's cameras see the right part of the left one's picture.
    part = stb.BUMBLEBEE - np.array([[0, 0, OVERLAP], [0, 0, 0], [0, 0, 0]])
    turn = cv2.Rodrigues(cv2.Rodrigues(rng.uniform(-TILT, TILT, 3))[0] @ UPRIGHT)[0][:, 0]
    hand = mirrored(draw_hand(model(), rng, part, (SIZE[0], SIZE[1] - OVERLAP), DISTANCE, rotation=turn))
    light, drawn = rng.integers(2**32), {}
    for view in views:
        camera, place = stb.CAMERAS[view], PLACES[view]
        column = round(camera[0, 0] * place[0] / 1000 / WALL)
        behind, seen = scene[:, column : column + SIZE[1]], moved(hand, -place)
        picture = compose(np.random.default_rng(light), [seen], camera, SIZE, behind)
        joints = seen.xyz.copy()
        joints[0] = joints[stb.RING_MCP] + (joints[0] - joints[stb.RING_MCP]) / stb.EXTENSION
        drawn[view] = picture.image, stb.labelled_from(view, joints)
    return drawn


def write(out: Path, frames: int, seed: int) -> None:
    """Write so many frames of every sequence into the folder `out`."""
    (out / "labels").mkdir(parents=True)
    for index, sequence in enumerate(stb.SEQUENCES):
        folder, scene = out / "images" / sequence, wall(seed, sequence)
        folder.mkdir(parents=True)
        views = stb.VIEWS if sequence in REALSENSE else stb.VIEWS[:2]
        labels = {view[:2]: np.zeros((frames, 21, 3)) for view in views}
        for frame in range(frames):
            for view, (picture, joints) in draw((seed, index, frame), scene, views).items():
                save(folder / f"{view}_{frame}.png", picture)
                labels[view[:2]][frame, list(stb.ORDER)] = joints
        for device, joints in labels.items():
            file = io.BytesIO()
            scipy.io.savemat(file, {"handPara": joints.transpose(2, 1, 0)})
            # The header's 116 bytes of free text hold the time of day, which would make every writing another one.
            header = b"MATLAB 5.0 MAT-file, synthetic hands".ljust(116)
            (out / "labels" / f"{sequence}_{device}.mat").write_bytes(header + file.getvalue()[116:])
