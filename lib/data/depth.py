"""Depth of a hand as a network sees it: from its root on, in units of its scale, both given (CMKG Sect. 5.2)."""

import numpy as np
from numpy.typing import NDArray

REACH = 5.0  # hand scales before and behind the wrist; a stretched hand is about four long
LEVELS = 65535


def encode_depth(z: NDArray, root_z: float, scale: float) -> NDArray[np.uint16]:
    """Levels (H, W) of a depth map: 0 is REACH scales before the root, LEVELS as much or more behind it.

    z: depth in the unit of root_z and scale; 0, where nothing was measured, becomes the far end.
    """
    relative = np.where(z > 0, (z - root_z) / scale, REACH).clip(-REACH, REACH)
    return np.round((relative + REACH) / (2 * REACH) * LEVELS).astype(np.uint16)
