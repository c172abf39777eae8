"""SimCC: a joint's x and y as one class each."""

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SimccCodec:
    """Each axis of the view is cut into bins, and a coordinate is the class of its bin (SimCC, Li et al., ECCV 2022).

    input_size is (height, width) in input px; `split` is the splitting factor k, bins per px. Bin n is the interval
    [n / k, (n + 1) / k) of x + 0.5, the distance from the view's edge. So bin n of a view is exactly the bins m n to
    m n + m - 1 of a view m times as large, which is what summing m adjacent probabilities takes for granted (CDKD
    Eq. 6). SimCC's public code rounds k x to a bin and decodes n / k: its bins are half a bin off such a nesting.

    Without sigma the target is one-hot: 1 - smoothing on the bin and smoothing / (bins - 1) on every other. With sigma,
    in bins, it is the normal density about the joint, sampled at the bins' centres and normalised to the sum 1.
    """

    input_size: tuple[int, int]
    _: KW_ONLY
    split: float
    smoothing: float = 0.0
    sigma: float | None = None

    @property
    def bins(self) -> tuple[int, int]:
        """Number of classes of x and of y."""
        height, width = self.input_size
        return round(width * self.split), round(height * self.split)

    @property
    def peak(self) -> float:
        """Maximum of the target: for a normal distribution, of a joint at the centre of a bin far from the edges."""
        if self.sigma is None:
            return 1 - self.smoothing
        reach = max(self.bins)
        return 1 / sum(math.exp(-0.5 * (n / self.sigma) ** 2) for n in range(-reach, reach + 1))

    def encode(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Return the target distributions (B, K, bins) of x and of y of keypoints (B, K, 2), input px; float32.

        A joint outside the view has finite targets, too; `inside` tells which are to be left out of the loss.
        """
        x, y = ((keypoints.float() + 0.5) * self.split).unbind(-1)
        return self._distribution(x, self.bins[0]), self._distribution(y, self.bins[1])

    def inside(self, keypoints: Tensor) -> Tensor:
        """Say which of keypoints (B, K, 2), input px, are within the view: (B, K) bool. No other can be a class."""
        height, width = self.input_size
        x, y = (keypoints.float() + 0.5).unbind(-1)
        return (x >= 0) & (x < width) & (y >= 0) & (y < height)

    def decode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Read keypoints (B, K, 2), input px, and scores (B, K) from probabilities x and y, each (B, K, bins).

        A coordinate is the centre of its most probable bin (the first of equal ones), at most half a bin from the
        encoded one. A score is the lower of both axes' maximum probabilities relative to the target's, so that
        thresholds mean the same with every target, and the same as for heatmaps.
        """
        (best_x, column), (best_y, row) = (axis.float().max(dim=-1) for axis in (x, y))
        keypoints = (torch.stack((column, row), dim=-1) + 0.5) / self.split - 0.5
        return keypoints, torch.minimum(best_x, best_y) / self.peak

    def _distribution(self, position: Tensor, bins: int) -> Tensor:
        """The target of one axis: position (B, K) in bins from the edge to (B, K, bins)."""
        every, position = torch.arange(bins, device=position.device), position.unsqueeze(-1)
        if self.sigma is None:
            chosen = every == position.floor().clamp(0, bins - 1)
            return torch.where(chosen, 1 - self.smoothing, self.smoothing / (bins - 1))
        # Normalised as a softmax, the density of a joint far outside, of which nothing is left, does not become 0 / 0.
        return torch.softmax(-0.5 * ((every + 0.5 - position) / self.sigma) ** 2, dim=-1)
