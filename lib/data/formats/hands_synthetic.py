"""What the writers of synthetic hands share: the hand model, hands in other places, and pictures as files.

Only to be imported where hands are drawn: the model needs PyTorch, which takes seconds to load.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lib.hands.mano import Mano
from lib.hands.procedural import procedural_hand
from lib.hands.scenes import Hand


@cache
def model() -> Mano:
    """The right hand that all synthetic benchmarks show."""
    return Mano(procedural_hand())


def moved(hand: Hand, shift: NDArray) -> Hand:
    """The hand shifted by (3,) mm."""
    return Hand(replace(hand.mesh, vertices=hand.mesh.vertices + shift / 1000), hand.xyz + shift)


def save(path: Path, image: NDArray[np.uint8], quality: int = 90) -> None:
    """Write a picture, RGB or grey, as its name says: PNG, fast rather than small, or JPEG of a quality."""
    image = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    fast = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    parameters = fast if path.suffix == ".png" else (cv2.IMWRITE_JPEG_QUALITY, quality)
    path.write_bytes(cv2.imencode(path.suffix, image, parameters)[1].tobytes())
