"""Synthetic scenes: textured backgrounds with clutter, things that hide what is behind them, and a cheap camera."""

import colorsys
from functools import cache

import cv2
import numpy as np

OTHER = 255  # the label of things that are part of no figure
SKIN = np.array([[244, 208, 177], [229, 184, 143], [208, 157, 117], [172, 118, 82], [128, 83, 56], [84, 55, 41]])
# Clutter: line, branch, loose limb, ball; spread of its ends in image sizes, radius from and to in px.
_CLUTTER = np.array([[0.8, 0.02, 0.5, 1.5], [0.08, 0.3, 1, 4], [0.12, 0.12, 3, 6], [0, 0, 2, 12]])
_ARC = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)


@cache
def _textures() -> tuple[np.ndarray, ...]:
    """Grey tiles, 384 x 384 uint8: clouds, grass, leaves, bricks, fence, boards, spectators, speckle."""
    rng, n = np.random.default_rng(0), 384

    def noise(cells: int) -> np.ndarray:
        return cv2.resize(rng.standard_normal((cells, cells)).astype(np.float32), (n, n), interpolation=cv2.INTER_CUBIC)

    def grey(values: np.ndarray) -> np.ndarray:
        values = (values - values.mean()) / values.std()
        return np.clip(128 + 50 * values, 0, 255).astype(np.uint8)

    x, y = np.meshgrid(np.arange(n), np.arange(n))
    clouds = sum(noise(2**k) / 2 ** (0.8 * k) for k in range(2, 8))
    grass = cv2.GaussianBlur(noise(n), (0, 0), sigmaX=0.6, sigmaY=2.5) + 0.12 * noise(12)
    leaves = np.abs(noise(48)) + 0.7 * np.abs(noise(110)) + 0.4 * noise(8)
    bricks = 0.5 * noise(24) - 4.0 * ((y % 16 < 2) | ((x + 16 * (y // 16 % 2)) % 32 < 2))
    fence = 0.4 * noise(10) + 3.0 * (((x + y) % 22 < 2) | ((x - y) % 22 < 2))
    boards = np.repeat(rng.standard_normal((1, n // 24)), 24, axis=1) + 0.3 * noise(64) - 3.0 * (x % 24 < 2)
    crowd = noise(10).copy()
    for px, py in rng.uniform(0, n, (900, 2)):
        cv2.circle(crowd, (int(px), int(py)), int(rng.integers(4, 9)), float(rng.normal(0, 2)), -1, cv2.LINE_AA)
    return tuple(map(grey, (clouds, grass, leaves, bricks, fence, boards, crowd, noise(n))))


@cache
def _grain() -> np.ndarray:
    return np.random.default_rng(1).normal(128, 50, (1024, 1024, 3)).clip(0, 255).astype(np.uint8)


def colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    hue, *shares = rng.random(3).tolist()
    levels = (low + share * (high - low) for share, (low, high) in zip(shares, (saturation, value), strict=True))
    return 255 * np.array(colorsys.hsv_to_rgb(hue, *levels))


def fixed(outline: np.ndarray) -> np.ndarray:
    """Points in px as the 1/16 px integers that paint takes."""
    return np.rint(outline * 16).astype(np.int32)


def capsules(table: np.ndarray) -> np.ndarray:
    """Outlines (N, 14, 2), 1/16 px, of pairs of joined discs; rows are ax, ay, bx, by, radius at a, radius at b."""
    a, b, ra, rb = table[:, None, 0:2], table[:, None, 2:4], table[:, 4:5, None], table[:, 5:6, None]
    along = np.arctan2(table[:, 3] - table[:, 1], table[:, 2] - table[:, 0])[:, None] + _ARC
    unit = np.stack((np.cos(along), np.sin(along)), -1)
    return fixed(np.concatenate((a + ra * unit, b - rb * unit), axis=1))


def paint(image: np.ndarray, outlines: np.ndarray | list, colours: np.ndarray, owner=None, label: int = 0) -> None:
    """Fill convex outlines (M, 2) in 1/16 px one after the other, anti-aliased; stamp the first one's label."""
    for outline, tint in zip(outlines, colours.tolist(), strict=True):
        cv2.fillConvexPoly(image, outline, tint, cv2.LINE_AA, 4)
    if owner is not None:
        cv2.fillConvexPoly(owner, outlines[0], label, cv2.LINE_8, 4)


def _texture(rng: np.random.Generator, kind: int, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """A patch (height, width, 3) of a tile, magnified at random and coloured between two colours (2, 3)."""
    tile, zoom = _textures()[kind], rng.uniform(0.5, 1.6)
    h, w = min(int(height * zoom) + 1, 384), min(int(width * zoom) + 1, 384)
    y, x = rng.integers(0, (385 - h, 385 - w))
    patch = cv2.resize(tile[y : y + h, x : x + w], (width, height))
    ramp = np.linspace(0, 1, 256)[:, None]
    table = (colours[0] * (1 - ramp) + colours[1] * ramp).clip(0, 255).astype(np.uint8)[None]
    return cv2.LUT(cv2.merge((patch, patch, patch)), table)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a scene without its person, wall or sky above ground, with clutter; (height, width, 3) uint8 RGB."""
    image = np.empty((height, width, 3), np.uint8)
    horizon = int(height * rng.uniform(0.25, 0.95))
    wall = np.stack((colour(rng, (0.05, 0.6), (0.1, 0.5)), colour(rng, (0.0, 0.5), (0.5, 1.0))))
    image[:horizon] = _texture(rng, rng.integers(8), horizon, width, wall)
    ground = colour(rng, (0.1, 0.6), (0.15, 0.7)) * [[0.7], [1.4]]
    image[horizon:] = _texture(rng, rng.choice((0, 1, 1, 2, 5, 7)), height - horizon, width, ground)
    count = rng.integers(4, 13)
    kinds = rng.integers(len(_CLUTTER), size=count)
    reach = rng.normal(0, 1, (count, 2, 2)) * _CLUTTER[kinds, None, :2] * (width, height)
    ends = rng.uniform((0, 0.1 * height), (width, height), (count, 1, 2)) + reach
    radii = rng.uniform(_CLUTTER[kinds, 2], _CLUTTER[kinds, 3])[:, None]
    table = np.repeat(np.concatenate((ends.reshape(count, 4), radii, radii), axis=1), 2, axis=0)
    table[::2, 4:] += 0.7  # each thing has a darker rim
    tints = [SKIN[rng.integers(6)] if kind == 2 else colour(rng, (0, 0.8), (0.1, 1)) for kind in kinds]
    paint(image, capsules(table), np.repeat(tints, 2, axis=0) * np.tile([[0.65], [1]], (count, 1)))
    for (x, y), (w, h) in zip(rng.uniform(0, (width, height), (2, 2)), rng.uniform(5, 50, (2, 2)), strict=True):
        box = [fixed(cv2.boxPoints(((x, y), (w * size, h * size), 0))) for size in (1, 0.7)]
        paint(image, box, colour(rng, (0, 0.7), (0.1, 1)) * [[0.8], [1]])
    return image


def occlude(rng: np.random.Generator, image: np.ndarray, owner: np.ndarray, at: np.ndarray) -> None:
    """Put a pole, a box or a ball before whatever is at px `at` (2,)."""
    tint, kind = colour(rng, (0.1, 0.9), (0.2, 1)), rng.integers(3)
    if kind == 0:
        size, angle = rng.uniform(10, 34, 2), rng.uniform(-20, 20)
        outlines = [fixed(cv2.boxPoints((at, share * size, angle))) for share in (1, 0.8)]
    else:
        reach, radius = ((5, 45), rng.uniform(2, 5)) if kind == 1 else (0.1, rng.uniform(6, 13))
        ends = (at + rng.normal(0, reach, (2, 2))).ravel()
        outlines = capsules(np.array([[*ends, *[share * radius] * 2] for share in (1, 0.8)]))
    paint(image, outlines, tint * [[0.7], [1]], owner, OTHER)


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Give a drawn scene, of at most 1024 px a side, a random exposure and white balance, some blur and some grain."""
    tone = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.7, 1.4) * rng.uniform(0.75, 1.15) * rng.uniform(0.9, 1.1, 3)
    image = cv2.LUT(image, (255 * tone + rng.uniform(0, 25)).clip(0, 255).astype(np.uint8)[None])
    image = cv2.GaussianBlur(image, (5, 5), rng.uniform(0.3, 0.9))
    height, width = image.shape[:2]
    amount, (y, x) = rng.uniform(0.02, 0.15), rng.integers(0, (1025 - height, 1025 - width))
    return cv2.addWeighted(image, 1, _grain()[y : y + height, x : x + width], amount, -128 * amount)
