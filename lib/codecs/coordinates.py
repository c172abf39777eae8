"""Coordinates as they are: the share of the way across the view."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CoordinatesCodec:
    """x and y of a joint as fractions of the view's width and height, 0 and 1 on its edges.

    input_size is (height, width) in input pixels, whose centres are whole numbers.
    """

    input_size: tuple[int, int]

    def encode(self, keypoints: Tensor) -> Tensor:
        """Fractions (B, K, 2) of keypoints (B, K, 2), input px; float32."""
        return (keypoints.float() + 0.5) / self._extent(keypoints)

    def inside(self, keypoints: Tensor) -> Tensor:
        """Say which of keypoints (B, K, 2), input px, are within the view: (B, K) bool."""
        fractions = self.encode(keypoints)
        return ((fractions >= 0) & (fractions < 1)).all(-1)

    def decode(self, fractions: Tensor) -> Tensor:
        """Keypoints (B, K, 2), input px, of fractions (B, K, 2)."""
        return fractions.float() * self._extent(fractions) - 0.5

    def _extent(self, like: Tensor) -> Tensor:
        """Width and height of the view."""
        return torch.tensor(self.input_size[::-1], dtype=torch.float32, device=like.device)
