"""Synthetic hands in RHD's layout: a left and a right one to a frame, one or both of them in the picture."""

import pickle
from pathlib import Path

import numpy as np

from lib.data.formats.hands_synthetic import model, moved, save
from lib.data.formats.rhd import FAR, FIRST_PART, ORDER, SIDES
from lib.data.scenes import background
from lib.hands.joints import projected
from lib.hands.scenes import compose, draw_hand, mirrored

SIZE = (320, 320)
DISTANCE = (0.4, 0.9)  # m
APART = 60  # mm between the joints of two hands, so that their surfaces do not meet
ASIDE = np.array([1500.0, 0, 0])  # mm: takes a hand out of every picture
# The mask's number of each of the model's joints, 0 for the tip of the thumb; the fingers are index, middle, little,
# ring, thumb there.
PART = np.array([15, *(3 * finger + part for finger in (1, 2, 4, 3, 0) for part in (2, 1, 0))])


def draw(key: tuple[int, ...]) -> tuple[dict, dict]:
    """Pictures "color", "mask" and "depth" and labels "xyz", "uv_vis" and "K" of one frame."""
    rng = np.random.default_rng(key)
    focal = rng.uniform(250, 300)
    camera = np.array([[focal, 0, 160], [0, focal, 160], [0, 0, 1]]).astype(np.float32).astype(float)
    while True:
        left, right = (draw_hand(model(), rng, camera, SIZE, DISTANCE) for _ in SIDES)
        hands = [mirrored(left), right]
        if np.linalg.norm(hands[0].xyz[:, None] - hands[1].xyz, axis=-1).min() > APART:
            break
    shown = [0, 1]
    if rng.random() < 0.6:
        hidden = shown.pop(rng.integers(2))
        hands[hidden] = moved(hands[hidden], ASIDE * rng.choice((-1, 1)))
    picture = compose(rng, [hands[side] for side in shown], camera, SIZE, background(rng, *SIZE))

    seen, face = picture.rendering.mesh, picture.rendering.face
    part = PART[model().parts.numpy()[hands[0].mesh.faces[face, 0]]]  # both hands have the same faces
    first = np.array([FIRST_PART[SIDES[side]] for side in shown])
    mask = np.where(seen < 0, 0, first[seen] + part).astype(np.uint8)
    level = np.where(seen < 0, 65535, np.rint(picture.depth / FAR * 65535)).astype(np.uint16)
    depth = np.stack((level >> 8, level & 255, 0 * level), -1).astype(np.uint8)
    order = list(ORDER)  # reversed fingers: it is its own inverse
    xyz = np.concatenate([hand.xyz[order] for hand in hands])
    visible = np.zeros((2, 21), bool)
    visible[shown] = picture.visible[:, order]
    uv_vis = np.concatenate((projected(xyz, camera), visible.reshape(42, 1)), 1)
    labels = {"xyz": xyz / 1000, "uv_vis": uv_vis, "K": camera}
    pictures = {"color": picture.image, "mask": mask, "depth": depth}
    return pictures, {name: values.astype(np.float32) for name, values in labels.items()}


def write(out: Path, count: dict[str, int], seed: int) -> None:
    """Write so many frames of "training" and "evaluation" into the folder `out`."""
    for index, (name, frames) in enumerate(count.items()):
        for kind in ("color", "mask", "depth"):
            (out / name / kind).mkdir(parents=True)
        labels = {}
        for number in range(frames):
            pictures, labels[number] = draw((seed, index, number))
            for kind, picture in pictures.items():
                save(out / name / kind / f"{number:05d}.png", picture)
        (out / name / f"anno_{name}.pickle").write_bytes(pickle.dumps(labels, protocol=2))
