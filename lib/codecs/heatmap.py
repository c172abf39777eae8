"""Gaussian heatmaps: one confidence map per joint."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class HeatmapCodec:
    """A Gaussian around each joint on a map `stride` times coarser than the network's input (FPD Eq. 2).

    input_size is (height, width) in input pixels, sigma is in heatmap pixels. Both grids cover the same area, so
    heatmap x = (input x + 0.5) / stride - 0.5. The Gaussian's maximum is 1 / (2 pi sigma^2) with scaling "density"
    (Eq. 2 as printed) and 1 with "peak".
    """

    input_size: tuple[int, int]
    _: KW_ONLY
    sigma: float
    scaling: Literal["density", "peak"] = "density"
    quarter_offset: bool = True
    stride: int = 4

    @property
    def peak(self) -> float:
        """Maximum of the Gaussian."""
        return 1 / (2 * math.pi * self.sigma**2) if self.scaling == "density" else 1.0

    def encode(self, keypoints: Tensor) -> Tensor:
        """Draw keypoints (B, K, 2), input px, as heatmaps (B, K, height / stride, width / stride), float32.

        The Gaussian is centred at the sub-pixel position and not truncated; a joint off the map leaves its tail.
        """
        height, width = (side // self.stride for side in self.input_size)
        x, y = ((keypoints.float() + 0.5) / self.stride - 0.5).unbind(-1)
        # A Gaussian is separable: K * (H + W) exponentials instead of K * H * W.
        rows, columns = self._profile(y, height), self._profile(x, width)
        return (self.peak * rows).unsqueeze(-1) * columns.unsqueeze(-2)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Read keypoints (B, K, 2), input px, and scores (B, K) from heatmaps (B, K, h, w).

        A score is the map's maximum relative to the Gaussian's, so that thresholds mean the same with every scaling.
        The position is that of the maximum (the first in row-major order of equal ones). With `quarter_offset` it moves
        a quarter of a heatmap pixel along each axis towards the higher of the two neighbours, as stacked hourglasses
        are evaluated since Newell et al. (2016); along an axis on whose border the maximum lies it does not move.

        Of a map that `encode` drew, in heatmap pixels: with n the integer nearest to the coordinate, the error is at
        most 0.25, and 0 at n, n - 0.25 and n + 0.25; where n is on the border, and without `quarter_offset` everywhere,
        it is the distance to n, at most 0.5.
        """
        height, width = heatmaps.shape[-2:]
        values = heatmaps.float().flatten(-2)
        maxima, place = values.max(dim=-1)
        position = []
        for index, length, step in ((place % width, width, 1), (place // width, height, width)):
            coordinate = index.float()
            if self.quarter_offset:
                # At a border the reach is 0: both "neighbours" are the maximum itself and the slope is 0.
                reach = step * ((index > 0) & (index < length - 1))
                neighbours = values.gather(-1, torch.stack((place - reach, place + reach), dim=-1))
                coordinate = coordinate + 0.25 * neighbours.diff(dim=-1).squeeze(-1).sign()
            position.append(coordinate)
        return (torch.stack(position, dim=-1) + 0.5) * self.stride - 0.5, maxima / self.peak

    def _profile(self, centre: Tensor, length: int) -> Tensor:
        """Sample the 1-D Gaussian with maximum 1 around centre (B, K) at 0 .. length - 1: (B, K, length)."""
        distance = torch.arange(length, device=centre.device) - centre.unsqueeze(-1)
        return torch.exp(-0.5 * (distance / self.sigma) ** 2)
