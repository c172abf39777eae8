"""Pictures of users' data: their size is read from the header before any pixel is decoded."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.errors import InputError

LARGEST = 1 << 26  # px; a header of a few bytes can declare gigabytes of zeros
FETCH = "extract its archive again"

Image.MAX_IMAGE_PIXELS = None  # LARGEST takes the place of Pillow's own limit, which warns first


def image_size(path: Path, remedy: str = FETCH) -> tuple[int, int]:
    """Width and height in px from an image's header.

    Raises InputError, which ends with `remedy`, where it is not readable or declares more than LARGEST pixels.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception:  # Pillow raises whatever its parsers stumble over
        raise InputError(f"{path} is not a readable image; {remedy}") from None
    if width * height > LARGEST:
        raise InputError(
            f"{path} declares {width} x {height} px; expected at most {LARGEST:,} px in all: scale it down, or {remedy}"
        )
    return width, height


def read_image(path: Path, flags: int, remedy: str = FETCH) -> NDArray:
    """Decode an image as OpenCV does with `flags`; InputError, which ends with `remedy`, as of `image_size`."""
    image_size(path, remedy)
    try:
        # From memory, because imread fills what a truncated JPEG lacks with grey where imdecode returns nothing.
        image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path} is not a readable image; {remedy}")
    return image
