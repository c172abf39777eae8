"""Regression of 3D poses from labels, with or without a regulariser of the network's weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks import LabelsTask


def widened(x: Tensor) -> Tensor:
    """The same numbers in single precision, or in a better one that they have."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Squared l2 distance of two arrays (B, ...): summed over all numbers of an example, mean over the batch.

    CMKG's Eqs. 1, 2 and 3 do not say how they are reduced. Taken literally, a norm is a sum, and lambda and sigma have
    to fit that.
    """
    return (widened(x) - widened(y)).square().flatten(1).sum(1).mean()


class PoseRegression(LabelsTask):
    """L_REG (CMKG Eq. 1) of a network of poses, and R (Eq. 10) with a regulariser: F (Eq. 9).

    batch.keypoints: poses (B, K, 3). All joints count, seen or not: each has its place in space.
    """

    def __init__(self, student: nn.Module, regulariser: nn.Module | None = None):
        super().__init__()
        self.student, self.regulariser = student, regulariser

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = {"regression": squared_distance(self.student(batch.images["student"]), batch.keypoints)}
        if self.regulariser is not None:
            losses["regulariser"] = self.regulariser()
        return losses

    def errors(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Squared distance of the joints in space, the mean over all."""
        return (widened(outputs) - widened(batch.keypoints)).square().sum(2).mean(1)

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, None]:
        """Return poses (B, K, 3), no scores. There is no flip test: mirrored, a right hand is a left one."""
        return self.student(images), None


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> PoseRegression:
    """The task of a run whose network tells poses in space."""
    return PoseRegression(student)
