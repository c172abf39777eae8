"""Synthetic right hands in FreiHAND's layout: before a green screen, and recoloured before other backgrounds."""

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.data.formats.hands_synthetic import model, save
from lib.data.scenes import SKIN, background
from lib.hands.joints import scale_of
from lib.hands.scenes import compose, draw_hand

SIZE = (224, 224)
FILLING = (0.9, 1.3)  # m to the hand at a focal length of 1,000 px


def _screen(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A green screen (224, 224, 3), unevenly lit."""
    light = 1 + cv2.resize(rng.uniform(-0.2, 0.2, (3, 3)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    colour = rng.uniform((40, 140, 60), (80, 190, 110))
    return (light[..., None] * colour).clip(0, 255).astype(np.uint8)


def _recoloured(rng: np.random.Generator, image: NDArray, hand: NDArray, behind: NDArray, version: str) -> NDArray:
    """The hand (mask) of an image before what is `behind`, float32 RGB, in the manner of a version.

    h: its tone goes some way to the background's. s: it has the colour of another skin, as varied as before. a: its
    colour is guessed from the brightness: paler, and smeared.
    """
    if version == "h":
        towards = behind.mean((0, 1)) / image[hand].mean(0).clip(1)
        return image * towards ** rng.uniform(0.15, 0.35)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    mean = lab[hand, 1:].mean(0)
    if version == "s":
        skin = cv2.cvtColor(SKIN[rng.integers(len(SKIN))].astype(np.uint8)[None, None], cv2.COLOR_RGB2LAB)[0, 0, 1:]
        lab[..., 1:] = skin + rng.uniform(0.7, 1.1) * (lab[..., 1:] - mean)
    else:
        smeared = cv2.GaussianBlur(lab[..., 1:], (0, 0), 6)
        lab[..., 1:] = 128 + rng.uniform(0.5, 0.9) * (0.5 * (smeared + mean) - 128)
    return cv2.cvtColor(lab.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB).astype(np.float32)


def draw(key: tuple[int, ...], versions: str) -> tuple[list[NDArray], NDArray, NDArray]:
    """Pictures of one sample in each version, of g, h, s and a, its camera (3, 3) and its joints (21, 3) in m.

    Without versions it is one picture with a background of its own.
    """
    rng = np.random.default_rng(key)
    focal = rng.uniform(380, 580)
    camera = np.array([[focal, 0, 112], [0, focal * rng.uniform(0.998, 1.002), 112], [0, 0, 1]])
    hand = draw_hand(model(), rng, camera, SIZE, tuple(focal / 1000 * np.array(FILLING)))
    first = _screen(rng) if versions else background(rng, *SIZE)
    picture = compose(rng, [hand], camera, SIZE, first)
    pictures, mask = [picture.image], picture.rendering.mesh >= 0
    alpha = cv2.GaussianBlur(cv2.erode(mask.astype(np.float32), np.ones((3, 3))), (3, 3), 0)[..., None]
    for version in versions[1:]:
        behind = background(rng, *SIZE).astype(np.float32)
        image = _recoloured(rng, picture.image, mask, behind, version)
        pictures.append((behind + alpha * (image - behind)).clip(0, 255).astype(np.uint8))
    return pictures, camera, hand.xyz / 1000


def write(out: Path, count: dict[str, int], seed: int) -> None:
    """Write so many samples of "training", in four versions, and of "evaluation" into the folder `out`."""
    for index, (name, samples) in enumerate(count.items()):
        (out / name / "rgb").mkdir(parents=True)
        content = {"K": [], "xyz": [], "scale": []}
        for number in range(samples):
            pictures, camera, xyz = draw((seed, index, number), "ghsa" if name == "training" else "")
            for version, picture in enumerate(pictures):
                save(out / name / "rgb" / f"{version * samples + number:08d}.jpg", picture)
            for field, values in (("K", camera), ("xyz", xyz), ("scale", scale_of(xyz))):
                content[field].append(values.tolist())
        for field, values in content.items():
            (out / f"{name}_{field}.json").write_text(json.dumps(values), encoding="utf-8")
