"""Batches: augmentation and resizing in one affine warp per person and view, as a function of seed and epoch only."""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lib.data.crops import Crops
from lib.data.depth import LEVELS
from lib.data.prefetch import prefetch
from lib.data.warp import invert, middle, sample, transform, view_to_crop
from lib.environment import cores
from lib.errors import InputError

# ImageNet, which the networks of this field are pre-trained on; grey levels 0 to 255.
MEAN = 255 * np.array([0.485, 0.456, 0.406])
STD = 255 * np.array([0.229, 0.224, 0.225])
_NORMALISED = ((np.arange(256)[:, None] - MEAN) / STD).astype(np.float32)[:, None]  # (256, 1, 3)
ROTATED = 0.6  # share of the people that a normal distribution turns (HRNet's and SimCC's public code)
HALF_BODY_JOINTS = 8  # more of them must be visible for half a body to be shown (HRNet's public code)
Views = Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class Augmentation:
    """Random flip with probability 1/2, scale in [low, high] and rotation of r degrees.

    distribution: "uniform", rotation in [-r, r]; or "normal", as in the public codes of HRNet and SimCC, of a deviation
    of half the scale's range, clipped to it, and of r, clipped to [-2 r, 2 r], rotation in ROTATED of the draws.
    The scale multiplies the person's size in the view. The rotation is about the centre of the person box. half_body is
    the probability with which that box is first replaced by one about half of the body, see `half_boxes`.
    """

    flip: bool
    scale: tuple[float, float]
    rotation: float
    half_body: float = 0.0
    distribution: Literal["uniform", "normal"] = "uniform"


@dataclass(frozen=True)
class Batch:
    """One batch on the device that trains.

    images holds views of the same augmented person, each (B, 3, h, w) float32, normalised, channels_last; a view of
    depth has three equal channels from -1 (near) to 1. keypoints (B, K, 2) float32 are px of the view "student" and may
    lie outside it; of hands, (B, K, 3), they are relative to the root and in units of the hand's scale. visible (B, K)
    bool says which have a usable label. rows (B,) int64 are the people's rows in the crops.
    """

    images: dict[str, Tensor]
    keypoints: Tensor
    visible: Tensor
    rows: np.ndarray


class Batches:
    """Epochs of batches from packed crops.

    With an augmentation an epoch is a permutation of the people and one draw of half, scale, angle and flip for each, a
    pure function of (seed, epoch); every process takes its slice of each global batch, so that neither a resumed run
    nor another number of processes changes any of them; the last incomplete batch is dropped. Without one, an epoch is
    all people in their order, in every process.

    Args:
        crops: from `open_crops`.
        sizes: (height, width) in px of each view; "student" is the one that keypoints refer to.
        batch_size: people per batch over all processes; at most all people.
        augmentation: for training; None for evaluation.
        zoom: of evaluation; the views show everybody so many times as large, about the middle of the box.
        rows: int64 rows of the crops to use, in this order; None: all.
        path: "cv2" warps in threads on the CPU, "grid_sample" on the device; None: by the device.
        depth: names of the views that show depth in place of the image.
        antialias: each pixel of a view is the mean of n x n bilinear samples of its area, n being the unaugmented
            distance of two pixels in crop px, rounded up, so that no part of the crop is skipped; without it, one
            sample. Where things are is the same.

    Raises:
        InputError: there are no rows, the crops have no depth, or the processes cannot share a batch evenly.
    """

    def __init__(
        self,
        crops: Crops,
        sizes: dict[str, tuple[int, int]],
        batch_size: int,
        *,
        augmentation: Augmentation | None,
        seed: int,
        zoom: float = 1.0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        rows: NDArray[np.int64] | None = None,
        path: Literal["cv2", "grid_sample"] | None = None,
        antialias: bool = False,
        depth: Collection[str] = (),
    ) -> None:
        if depth and crops.depth is None:
            raise InputError("the crops have no depth, which a network here sees: train it on a dataset with depth")
        self.rows = np.arange(len(crops.ids)) if rows is None else rows
        count = len(self.rows)
        if not count:
            raise InputError(f"no person to use among {len(crops.ids)} crops; choose more persons or images")
        self.batch_size = min(batch_size, count)
        if augmentation and self.batch_size % world:
            raise InputError(
                f"batch size {self.batch_size} (of {count} people) on {world} processes; expected a multiple of {world}"
            )
        self.crops, self.sizes, self.augmentation, self.seed, self.depth = crops, sizes, augmentation, seed, depth
        self.zoom = zoom
        self.rank, self.world = (rank, world) if augmentation else (0, 1)
        self.device = torch.device(device)
        path = path or ("grid_sample" if self.device.type == "cuda" else "cv2")
        self._views = self._warped if path == "cv2" else self._gathered
        sources = {view: crops.depth if view in depth else crops.images for view in sizes}
        # Slices of a memmap cost microseconds.
        self._sources = {view: np.asarray(s) if isinstance(s, np.ndarray) else s for view, s in sources.items()}
        self._samples = {  # along each axis of a view's pixel
            view: max(math.ceil(box / side) for box, side in zip(crops.input, size, strict=True)) if antialias else 1
            for view, size in sizes.items()
        }
        self._middle = middle(crops.images.shape[1:3])
        self._threads = max(1, min(4, cores() // world))  # four outrun the training of any network
        self._swap = np.arange(len(crops.joints))
        for left, right in crops.flip_pairs:
            self._swap[[left, right]] = right, left

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole if self.augmentation else whole + (rest > 0)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the epoch's batches from number `start` on; the next ones are prepared meanwhile."""
        prepare = partial(self._prepare, self._draw(epoch))
        for rows, keypoints, visible, images in prefetch(prepare, range(start, len(self)), self._threads):
            yield Batch(images(), keypoints.to(self.device), visible.to(self.device), rows)

    def to_image(self, keypoints: Tensor, rows: np.ndarray) -> np.ndarray:
        """Map keypoints (B, K, 2), px of an unaugmented student view at zoom 1, to original px, (B, K, 2) float64."""
        points = torch.as_tensor(keypoints, dtype=torch.float64, device="cpu").numpy()
        one = np.ones(len(rows))
        maps = view_to_crop(self._middle, self.crops.input, self.sizes["student"], one, 0 * one)
        return transform(self.crops.to_image[rows], transform(maps, points))

    def _draw(self, epoch: int) -> tuple[np.ndarray, ...]:
        """Return rows, centres, scales, angles and flips of all people in the order of the epoch."""
        count = len(self.rows)
        centre = np.tile(self._middle, (count, 1))
        if not self.augmentation:
            return self.rows, centre, np.full(count, self.zoom), np.zeros(count), np.zeros(count, bool)
        rng = np.random.default_rng([self.seed, epoch])
        rows = self.rows[rng.permutation(count)]
        scale, angle = drawn(self.augmentation, rng, count)
        mirrored = (rng.random(count) < 0.5) & self.augmentation.flip
        halved = rng.random(count) < self.augmentation.half_body
        halved &= self.crops.visible[rows].sum(1) > HALF_BODY_JOINTS
        upper = rng.standard_normal(count) < 0.5  # normal, as in HRNet's code: the upper body in 69 % of the draws
        centre[halved], size = half_boxes(self.crops, rows[halved], upper[halved])
        scale[halved] /= size
        return rows, centre, scale, angle, mirrored

    def _prepare(self, draws: tuple[np.ndarray, ...], number: int) -> tuple[np.ndarray, Tensor, Tensor, Views]:
        """Do the host's part of one batch, in a thread; the views are what is left to do on the device."""
        share = self.batch_size // self.world
        begin = number * self.batch_size + self.rank * share
        rows, centre, scale, angle, mirrored = (values[begin : begin + share] for values in draws)
        box, student = self.crops.input, self.sizes["student"]
        visible, last = self.crops.visible[rows], student[1] - 1
        if self.crops.pose is None:
            keypoints = transform(invert(view_to_crop(centre, box, student, scale, angle)), self.crops.keypoints[rows])
        else:
            keypoints, last = turned(self.crops.pose[rows], angle), 0
        # The flip mirrors the finished view, so that it is exact to the bit.
        keypoints[mirrored] = keypoints[mirrored][:, self._swap]
        keypoints[mirrored, :, 0] = last - keypoints[mirrored, :, 0]
        visible[mirrored] = visible[mirrored][:, self._swap]
        maps = {view: view_to_crop(centre, box, self._fine(view), scale, angle) for view in self.sizes}
        views = self._views(rows, maps, mirrored)
        return rows, torch.from_numpy(keypoints.astype(np.float32)), torch.from_numpy(visible), views

    def _fine(self, view: str) -> tuple[int, int]:
        """Height and width of the grid on which a view is sampled."""
        height, width = self.sizes[view]
        return height * self._samples[view], width * self._samples[view]

    def _warped(self, rows: np.ndarray, maps: dict[str, np.ndarray], mirrored: np.ndarray) -> Views:
        """Sample, mirror and normalise all views with OpenCV."""
        views = {}
        for name, size in self.sizes.items():
            views[name] = np.empty((len(rows), *size, 3), np.float32)
            warp = self._warp_depth if name in self.depth else self._warp_images
            warp(name, rows, maps[name], mirrored, views[name])
        return lambda: {name: torch.from_numpy(v).permute(0, 3, 1, 2).to(self.device) for name, v in views.items()}

    def _warp_images(
        self, name: str, rows: np.ndarray, maps: np.ndarray, mirrored: np.ndarray, out: np.ndarray
    ) -> None:
        """Fill a view of the images."""
        source, size = self._sources[name], self.sizes[name]
        # OpenCV samples four channels at half the cost of three.
        crop = np.empty((*source.shape[1:3], 4), np.uint8)
        fine, three = np.empty((*self._fine(name), 4), np.uint8), np.empty((*size, 3), np.uint8)
        four = np.empty((*size, 4), np.uint8) if self._samples[name] > 1 else fine
        for row, matrix, mirror, view in zip(rows, maps, mirrored, out, strict=True):
            cv2.cvtColor(source[row], cv2.COLOR_RGB2RGBA, dst=crop)
            sample(crop, matrix, self._fine(name), out=fine)
            if four is not fine:
                cv2.resize(fine, size[::-1], dst=four, interpolation=cv2.INTER_AREA)
            cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=three)
            cv2.LUT(cv2.flip(three, 1) if mirror else three, _NORMALISED, dst=view)

    def _warp_depth(self, name: str, rows: np.ndarray, maps: np.ndarray, mirrored: np.ndarray, out: np.ndarray) -> None:
        """Fill a view of the depth."""
        for row, matrix, mirror, view in zip(rows, maps, mirrored, out, strict=True):
            levels = sample(self._sources[name][row], matrix, self._fine(name), outside=LEVELS)
            if self._samples[name] > 1:
                levels = cv2.resize(levels, self.sizes[name][::-1], interpolation=cv2.INTER_AREA)
            view[:] = (levels[:, ::-1] if mirror else levels)[..., None] * np.float32(2 / LEVELS) - 1

    def _gathered(self, rows: np.ndarray, maps: dict[str, np.ndarray], mirrored: np.ndarray) -> Views:
        """Copy the crops to where the device fetches them by itself; it samples all views."""
        crops = {}
        for depth in {name in self.depth for name in self.sizes}:
            source = next(s for name, s in self._sources.items() if (name in self.depth) == depth)
            kind = torch.uint16 if depth else torch.uint8
            shape = len(rows), *source.shape[1:]
            crops[depth] = torch.empty(shape, dtype=kind, pin_memory=self.device.type == "cuda")
            for crop, row in zip(crops[depth].numpy(), rows, strict=True):
                crop[:] = source[row]

        def views() -> dict[str, Tensor]:
            on_device = {depth: part.to(self.device, non_blocking=True) for depth, part in crops.items()}
            flips = torch.from_numpy(mirrored).to(self.device)
            return {
                name: grid_sample(on_device[name in self.depth], maps[name], size, flips, self._samples[name])
                for name, size in self.sizes.items()
            }

        return views


def drawn(augmentation: Augmentation, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales (N,) and angles (N,) in degrees."""
    (low, high), rotation = augmentation.scale, augmentation.rotation
    if augmentation.distribution == "uniform":
        return rng.uniform(low, high, count), rotation * rng.uniform(-1, 1, count)
    scale = np.clip(rng.normal((low + high) / 2, (high - low) / 2, count), low, high)
    angle = np.clip(rng.normal(0, rotation, count), -2 * rotation, 2 * rotation)
    return scale, np.where(rng.random(count) <= ROTATED, angle, 0)


def turned(pose: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn poses (B, K, 3) about the viewing direction as a view is turned: clockwise, angle (B,) in degrees."""
    cos, sin = np.cos(np.radians(angle))[:, None], np.sin(np.radians(angle))[:, None]
    x, y, z = np.moveaxis(pose.astype(np.float64), -1, 0)
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)


def evenly_spaced(count: int | None, total: int) -> NDArray[np.int64]:
    """Return `count` evenly spaced indices of `total` things; all for None or where there are no more."""
    count = min(count or total, total)
    return np.arange(count) * total // count


def half_boxes(crops: Crops, rows: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, of boxes about one half of each body, the centre (B, 2), crop px, and the size (B,), 1 = person box.

    The half-body transform of HRNet's public code: the upper body where `upper` (B,) asks for it, else the lower one,
    and the other where a half has no more than two visible joints. The box is centred at the mean of the joints; it
    has the aspect of the person box and 1.5 times the joints' extent (the person box's size where they coincide).
    It is sampled from the crop, at the crop's resolution; that code samples the image.
    """
    visible = crops.visible[rows]
    above = visible & np.isin(np.arange(visible.shape[1]), crops.upper_body)
    below = visible & ~above
    upper = (above.sum(1) > 2) & (upper | (below.sum(1) <= 2))
    chosen = np.where(upper[:, None], above, below)[..., None]
    points = crops.keypoints[rows].astype(np.float64)
    extent = np.max(points, 1, where=chosen, initial=-np.inf) - np.min(points, 1, where=chosen, initial=np.inf)
    size = 1.5 * (extent / crops.input[::-1]).max(1)
    return points.mean(1, where=chosen), np.where(size > 0, size, 1)


def grid_sample(crops: Tensor, maps: np.ndarray, size: tuple[int, int], mirrored: Tensor, samples: int = 1) -> Tensor:
    """Sample crops (B, H, W, 3) uint8, or depth (B, H, W) uint16, at the maps' (B, 2, 3) positions, on their device.

    The maps are those of a view `samples` times as large; its blocks of samples x samples pixels are averaged.

    Returns:
        (B, 3, *size) float32, mirrored where `mirrored` (B,) says so, normalised, channels_last.
    """
    depth = crops.ndim == 3
    device, extent = crops.device, np.array([crops.shape[2], crops.shape[1]])[:, None]
    # grid_sample counts in half extents from the centre: pixel x of n is at (2 x + 1) / n - 1 (align_corners=False).
    maps = torch.from_numpy((2 * maps + [0, 0, 1]) / extent - [0, 0, 1]).float()[:, None, None]  # (B, 1, 1, 2, 3)
    along_x, along_y, origin = maps.to(device, non_blocking=True).unbind(-1)
    y, x = (torch.arange(side * samples, dtype=torch.float32, device=device) for side in size)
    grid = x[:, None] * along_x + y[:, None, None] * along_y + origin
    # Outside is 0: black, and of depth the far end.
    values = crops[:, None].float() - LEVELS if depth else crops.permute(0, 3, 1, 2).float()
    pixels = F.grid_sample(values, grid, padding_mode="zeros", align_corners=False)
    pixels = F.avg_pool2d(pixels, samples)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if depth:
        return (1 + pixels * (2 / LEVELS)).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    offset, factor = _normalisation(device)
    return torch.addcmul(offset, pixels, factor).contiguous(memory_format=torch.channels_last)


def grey_levels(images: Tensor) -> NDArray[np.uint8]:
    """Normalised images (..., 3, H, W) as they were, (..., H, W, 3) uint8."""
    return np.clip(np.rint(images.movedim(-3, -1).cpu().numpy() * STD + MEAN), 0, 255).astype(np.uint8)


@cache
def _normalisation(device: torch.device) -> tuple[Tensor, Tensor]:
    """Offset and factor (3, 1, 1) that turn grey levels into normalised values."""
    return tuple(torch.tensor(v, dtype=torch.float32, device=device)[:, None, None] for v in (-MEAN / STD, 1 / STD))
