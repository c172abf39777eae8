"""Robust imitation: labels, and the l1 distance of the student's maps to a fixed teacher's."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised


class Imitation(Supervised):
    """The labels' loss and gamma times the mean absolute difference of the last maps."""

    def __init__(self, labels: Supervised, teacher: nn.Module, gamma: float):
        super().__init__(labels.student, labels.codec, labels.flip_pairs)
        self.frozen = (teacher.eval().requires_grad_(False),)
        self.gamma = gamma

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            target = self.frozen[0](batch.images.get("teacher", batch.images["student"]))[-1]
        maps = self.student(batch.images["student"])[-1]
        return super().forward(batch) | {"imitation": self.gamma * (maps - target).abs().mean()}


def build(run: Run, labels: Supervised, teacher: nn.Module, prior: Path | None) -> Imitation:
    """The task of a run with this method."""
    return Imitation(labels, teacher, **run.settings)
