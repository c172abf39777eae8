"""Pictures are looked at before they are decoded: what a header declares costs neither time nor memory."""

import io
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.images import LARGEST, image_size, read_image
from lib.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A grey picture that declares a size, whatever pixels it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels, 1)) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """A picture whose frame header declares another size than it has."""
    content = bytearray(encoded("JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "JPEG", "WEBP"])
def test_size_and_pixels(tmp_path: Path, form: str):
    path = tmp_path / "picture"
    path.write_bytes(encoded(form))
    assert image_size(path) == (30, 20)
    image = read_image(path, cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(image, NOISE) if form in ("PNG", "BMP") else image.shape == NOISE.shape


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (png(65_535, 65_535), "65535 x 65535"),
        (jpeg(65_535, 65_535), "65535 x 65535"),
        (png(16_000, 16_000, bytes(16_000 * 16_001)), "16000 x 16000"),
        (png(2**31 - 1, 2**31 - 1), "2147483647 x 2147483647"),
        (png(LARGEST + 1, 1), f"{LARGEST + 1} x 1"),
    ],
    ids=["PNG", "JPEG", "zeros", "most that PNG can declare", "one pixel more"],
)
@pytest.mark.parametrize("read", [image_size, lambda path: read_image(path, cv2.IMREAD_UNCHANGED)])
@pytest.mark.filterwarnings("error")
def test_declared_size_is_refused_before_decoding(tmp_path: Path, content: bytes, size: str, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(InputError, match=f"bomb.png declares {size} px; expected at most 67,108,864 px in all: scale"):
        read(path)
    assert time.perf_counter() - start < 1 and tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"<html>", png(0, 5), png(40, 40), None, encoded("JPEG")[:-300]])
def test_unreadable(tmp_path: Path, content: bytes | None):
    path = tmp_path / "picture.jpg"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"picture\.jpg is not a readable image; throw it away$"):
        read_image(path, cv2.IMREAD_COLOR_RGB, "throw it away")


@pytest.mark.parametrize("form", ["PNG", "BMP", "JPEG", "WEBP"])
def test_damaged_ones_are_read_or_named(tmp_path: Path, form: str):
    draw, whole, path = random.Random(form), encoded(form), tmp_path / "picture"
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 3, 10))):
            content[draw.randrange(min(len(content), draw.choice((64, 4000))))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice((None, draw.randrange(len(content))))])
        try:
            image = read_image(path, cv2.IMREAD_COLOR_RGB)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert image.dtype == np.uint8 and image.shape[2] == 3 and image[..., 0].size <= LARGEST
