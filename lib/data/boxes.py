"""Boxes (x, y, width, height) in px, of people, hands and detectors: width * height pixels from pixel (x, y) on.

Pixels are counted by their centres, so the last one is x + width - 1 and the middle x + (width - 1) / 2, as in HRNet.
"""

import numpy as np
from numpy.typing import NDArray


def box_of(low: NDArray, high: NDArray) -> NDArray[np.float64]:
    """Boxes (..., 4) from the first pixel to the last one, each (..., 2)."""
    return np.concatenate((low, high - low + 1), axis=-1)


def middle(boxes: NDArray) -> NDArray[np.float64]:
    """Centres (..., 2) of boxes (..., 4)."""
    return boxes[..., :2] + (boxes[..., 2:] - 1) / 2
