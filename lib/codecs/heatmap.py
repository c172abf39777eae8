"""Gaussian heatmaps: one confidence map per joint."""

import math
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 1e-10  # of a map whose maximum is 1, under its logarithm; as in DARK's public code


@dataclass(frozen=True)
class HeatmapCodec:
    """A Gaussian around each joint on a map `stride` times coarser than the network's input (FPD Eq. 2).

    input_size is (height, width) in input pixels, sigma is in heatmap pixels. Both grids cover the same area, so
    heatmap x = (input x + 0.5) / stride - 0.5. The Gaussian's maximum is 1 / (2 pi sigma^2) with scaling "density"
    (Eq. 2 as printed) and 1 with "peak". Its centre is the joint's own position ("subpixel") or that of the nearest
    heatmap pixel ("pixel", as in SimpleBaselines' and HRNet's public code). `refinement` is how `decode` goes beyond
    the whole pixel.
    """

    input_size: tuple[int, int]
    _: KW_ONLY
    sigma: float
    scaling: Literal["density", "peak"] = "density"
    refinement: Literal["none", "quarter", "dark"] = "quarter"
    centre: Literal["subpixel", "pixel"] = "subpixel"
    stride: int = 4

    @property
    def peak(self) -> float:
        """Maximum of the Gaussian."""
        return 1 / (2 * math.pi * self.sigma**2) if self.scaling == "density" else 1.0

    def encode(self, keypoints: Tensor) -> Tensor:
        """Draw keypoints (B, K, 2), input px, as heatmaps (B, K, height / stride, width / stride), float32.

        The Gaussian is not truncated; a joint off the map leaves its tail.
        """
        height, width = self._size
        x, y = self._centre(keypoints).unbind(-1)
        # A Gaussian is separable: K * (H + W) exponentials instead of K * H * W.
        rows, columns = self._profile(y, height), self._profile(x, width)
        return (self.peak * rows).unsqueeze(-1) * columns.unsqueeze(-2)

    def reaches(self, keypoints: Tensor) -> Tensor:
        """Say of keypoints (B, K, 2), input px, whose square of 3 sigma about the Gaussian is on the map: (B, K) bool.

        HRNet's public code, and with it FPD's and OKDHP's, leaves the others out of the loss. As there, the square ends
        a pixel later to the right and at the bottom.
        """
        (x, y), (height, width) = self._centre(keypoints).unbind(-1), self._size
        reach = 3 * self.sigma
        along_x, along_y = ((at - reach < side) & (at + reach + 1 >= 0) for at, side in ((x, width), (y, height)))
        return along_x & along_y

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Read keypoints (B, K, 2), input px, and scores (B, K) from heatmaps (B, K, h, w).

        A score is the map's maximum relative to the Gaussian's, so that thresholds mean the same with every scaling.
        The position is that of the maximum (the first in row-major order of equal ones), moved by the refinement:

        none: not at all.
        quarter: a quarter of a heatmap pixel along each axis towards the higher of the two neighbours, as stacked
            hourglasses are evaluated since Newell et al. (2016); not along an axis on whose border the maximum lies.
        dark: to where the map as a Gaussian has its maximum, `_taylor_step` (Zhang et al., CVPR 2020).

        Of a map that `encode` drew about a sub-pixel centre, in heatmap pixels: with n the integer nearest to the
        coordinate, the error of none is the distance to n, at most 0.5; that of quarter is at most 0.25, and 0 at n,
        n - 0.25 and n + 0.25, and where n is on the border it is that of none; that of dark is below 1e-3 where the
        Gaussian is on the map for 4 sigma, and nowhere above 0.5 for sigma from 0.7 to 2.
        """
        heatmaps = heatmaps.float()
        width = heatmaps.shape[-1]
        maxima, place = heatmaps.flatten(-2).max(dim=-1)
        pixel = torch.stack((place % width, place // width), dim=-1)
        step = 0
        if self.refinement == "quarter":
            value = partial(_value, heatmaps, pixel)
            slope = torch.stack((value(1, 0) - value(-1, 0), value(0, 1) - value(0, -1)), dim=-1)
            step = 0.25 * slope.sign() * _interior(heatmaps, pixel, 1)
        elif self.refinement == "dark":
            step = self._taylor_step(heatmaps, pixel)
        return (pixel + step + 0.5) * self.stride - 0.5, maxima / self.peak

    def _taylor_step(self, heatmaps: Tensor, pixel: Tensor) -> Tensor:
        """The step (B, K, 2) from the maximum's pixel to that of the second-order Taylor expansion of the logarithm.

        The map is first modulated by the training's Gaussian, which leaves one smooth peak. The Gaussian is cut only
        where it is below the floor, at 6.8 sigma: a noise-free map then gives its centre to 1e-3 px, with a Gaussian
        cut at 2.5 sigma to 2e-2. Off the map is 0: two pixels from the border a map with sigma 1 then gives its centre
        to 0.01 px, with its border repeated or mirrored to 0.08 or 0.25. DARK scales the result back to the map's
        maximum, which adds a constant to the logarithm; it is scaled to 1 here, so that the floor means the same for
        every map.

        Only where the expansion has a maximum (a negative definite Hessian) and all differences are taken on the map,
        two pixels from its border; elsewhere the step is 0. DARK's public code asks for an invertible Hessian only,
        whose saddles throw joints far off.
        """
        height, width = heatmaps.shape[-2:]
        rows, columns = (self._profile(torch.arange(n, device=heatmaps.device), n) for n in (height, width))
        # What is left below the floor would be multiplied as subnormal numbers, ten times as slowly.
        modulated = F.threshold(rows, FLOOR, 0) @ heatmaps @ F.threshold(columns, FLOOR, 0)
        modulated = modulated / modulated.amax((-2, -1), keepdim=True).clamp_min(FLOOR)
        value = partial(_value, modulated.clamp_min(FLOOR).log(), pixel)
        x, y = (value(1, 0) - value(-1, 0)) / 2, (value(0, 1) - value(0, -1)) / 2
        xx = (value(2, 0) - 2 * value(0, 0) + value(-2, 0)) / 4
        yy = (value(0, 2) - 2 * value(0, 0) + value(0, -2)) / 4
        xy = (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)) / 4
        determinant = xx * yy - xy**2
        step = torch.stack((xy * y - yy * x, xy * x - xx * y), dim=-1) / determinant.unsqueeze(-1)
        peaked = (xx < 0) & (determinant > 0) & _interior(heatmaps, pixel, 2).all(-1)
        return torch.where(peaked.unsqueeze(-1), step, 0)

    @property
    def _size(self) -> tuple[int, int]:
        """Height and width of the map."""
        height, width = self.input_size
        return height // self.stride, width // self.stride

    def _centre(self, keypoints: Tensor) -> Tensor:
        """The Gaussian's centre in heatmap pixels."""
        centre = (keypoints.float() + 0.5) / self.stride - 0.5
        return (centre + 0.5).floor() if self.centre == "pixel" else centre

    def _profile(self, centre: Tensor, length: int) -> Tensor:
        """Sample the 1-D Gaussian with maximum 1 around centre (...) at 0 .. length - 1: (..., length)."""
        distance = torch.arange(length, device=centre.device) - centre.unsqueeze(-1)
        return torch.exp(-0.5 * (distance / self.sigma) ** 2)


def _value(maps: Tensor, pixel: Tensor, right: int, down: int) -> Tensor:
    """Values (B, K) of maps (B, K, h, w) so far right of and below pixel (B, K, 2); beyond the border, those on it."""
    height, width = maps.shape[-2:]
    x, y = (pixel[..., 0] + right).clamp(0, width - 1), (pixel[..., 1] + down).clamp(0, height - 1)
    return maps.flatten(-2).gather(-1, (y * width + x).unsqueeze(-1)).squeeze(-1)


def _interior(maps: Tensor, pixel: Tensor, margin: int) -> Tensor:
    """Say for each axis whether pixel (B, K, 2) is at least `margin` pixels from the border: (B, K, 2) bool."""
    (x, y), (height, width) = pixel.unbind(-1), maps.shape[-2:]
    return torch.stack([(at >= margin) & (at < length - margin) for at, length in ((x, width), (y, height))], dim=-1)
