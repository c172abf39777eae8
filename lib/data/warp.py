"""Affine maps between original image, crop and network view, and the bilinear sampling along them.

Pixel centres are integers, x right, y down. A resize by s maps x to (x + 0.5) * s - 0.5, so that both images cover the
same area. Maps are (..., 2, 3) float64 arrays.
"""

import cv2
import numpy as np

# Images are spread over Python threads (OpenCV lets go of the interpreter lock); its own threads would only compete.
cv2.setNumThreads(1)


def view_to_crop(
    centre: np.ndarray, box: tuple[int, int], view: tuple[int, int], scale: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Map pixels of views to pixels of the crops that they show.

    The view shows the box about `centre`, with the person turned by `angle` and `scale` times as large.

    Args:
        centre: (B, 2) or (2,), px of the crop.
        box, view: (height, width) in px; box is in the crop's pixels.
        scale, angle: (B,); angle in degrees, positive is clockwise as seen on the screen.

    Returns:
        (B, 2, 3) maps.
    """
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    zoom = np.array([box[1] / view[1], box[0] / view[0]])
    linear = np.stack([cos, sin, -sin, cos], axis=-1).reshape(-1, 2, 2) * zoom
    return np.concatenate([linear, (centre - linear @ middle(view))[..., None]], axis=-1)


def middle(size: tuple[int, int]) -> np.ndarray:
    """Return the (x, y) of the centre of an image of `size` (height, width)."""
    return (np.array(size[::-1]) - 1) / 2


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply maps (B, 2, 3) to points (B, K, 2)."""
    return points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """Return the maps in the opposite direction."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def sample(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    out: np.ndarray | None = None,
    outside: int = 0,
) -> np.ndarray:
    """Sample an image (H, W[, C]) of integers bilinearly where the map sends the pixels of a (height, width) output.

    The value outside the image is blended in at its border. Accurate to the rounding to integers: OpenCV's approximate
    kernel would quantise the weights to 1/32.
    """
    return cv2.warpAffine(
        image,
        matrix,
        size[::-1],
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=outside,
        hint=cv2.ALGO_HINT_ACCURATE,
    )
