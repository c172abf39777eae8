"""Left or right, told from the joints alone."""

import numpy as np


def thumb_before_palm(xyz: np.ndarray) -> np.ndarray:
    """Whether the thumb's tip is on that side of the palm (..., 21, 3) from which index to little MCP run clockwise.

    A thumb can hardly go behind the palm's plane: true of right hands, false of left ones.
    """
    wrist, index, little, tip = (xyz[..., joint, :] for joint in (0, 5, 17, 4))
    return (np.cross(index - wrist, little - wrist) * (tip - wrist)).sum(-1) > 0
