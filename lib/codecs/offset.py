"""Heatmaps with offsets: the pixel of a joint, and where in it the joint is."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from lib.codecs.heatmap import HeatmapCodec


@dataclass(frozen=True)
class OffsetCodec:
    """A narrow Gaussian on the pixel nearest to a joint, and from every pixel the way to the joint (CAL).

    input_size is (height, width) in input pixels; the maps are `stride` times coarser, and both grids cover the same
    area. sigma is in heatmap pixels; offsets are in units of `unit` heatmap pixels. The defaults are those of the
    authors' public configuration for 64 x 48 px.
    """

    input_size: tuple[int, int]
    _: KW_ONLY
    sigma: float = 0.3
    unit: float = 1.5
    stride: int = 4

    def encode(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps (B, K, h, w) and offsets (B, K, 2, h, w), x first, of keypoints (B, K, 2), input px; float32."""
        gaussians = HeatmapCodec(
            self.input_size, sigma=self.sigma, scaling="peak", centre="pixel", stride=self.stride
        ).encode(keypoints)
        rows, columns = (torch.arange(n, device=keypoints.device) for n in gaussians.shape[-2:])
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w)
        return gaussians, (self._on_map(keypoints)[..., None, None] - pixels) / self.unit

    def pixels(self, keypoints: Tensor) -> Tensor:
        """The pixels (B, K, 2) of the maps that are nearest to keypoints (B, K, 2), input px, as whole numbers."""
        return (self._on_map(keypoints) + 0.5).floor()

    def inside(self, keypoints: Tensor) -> Tensor:
        """Say which of keypoints (B, K, 2), input px, are within the view: (B, K) bool. No other has a pixel."""
        height, width = self.input_size
        x, y = (keypoints.float() + 0.5).unbind(-1)
        return (x >= 0) & (x < width) & (y >= 0) & (y < height)

    def decode(self, heatmaps: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Read keypoints (B, K, 2), input px, and scores (B, K) from heatmaps (B, K, h, w) and offsets (B, K, 2, h, w).

        A position is the pixel of the maximum (the first of equal ones) and its offset; a score is the maximum.
        """
        width = heatmaps.shape[-1]
        maxima, place = heatmaps.float().flatten(-2).max(dim=-1)
        pixel = torch.stack((place % width, place // width), dim=-1)
        chosen = place[..., None, None].expand(-1, -1, 2, 1)
        offset = offsets.float().flatten(-2).gather(-1, chosen).squeeze(-1) * self.unit
        return (pixel + offset + 0.5) * self.stride - 0.5, maxima

    def _on_map(self, keypoints: Tensor) -> Tensor:
        """Keypoints (B, K, 2), input px, in heatmap pixels."""
        return (keypoints.float() + 0.5) / self.stride - 0.5
