"""DistilPose: a network of coordinates learns from one of heatmaps with the same tokens (Ye et al., CVPR 2023)."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.data.batches import Batch
from lib.errors import InputError
from lib.models.tokenpose import TokenPose
from lib.runs import Run
from lib.tasks.coordinates import CoordinatesSupervised
from lib.tasks.heatmap import Supervised

WEIGHTS = {"tokens": 5e-4, "heatmap": 1.0, "score": 0.01}


def simulated(fractions: Tensor, deviations: Tensor, size: tuple[int, int]) -> Tensor:
    """Gaussians of maximum 1 (B, K, h, w) at fractions (B, K, 2) of maps of `size`, of these deviations in pixels."""
    (height, width), device = size, fractions.device
    centres = fractions * torch.tensor([width, height], device=device) - 0.5
    profiles = [
        torch.exp(-0.5 * ((torch.arange(n, device=device) - centres[..., axis, None]) / spread) ** 2)
        for axis, n in ((0, width), (1, height))
        for spread in [deviations[..., axis, None] + 1e-6]
    ]
    return profiles[1].unsqueeze(-1) * profiles[0].unsqueeze(-2)


def at(heatmaps: Tensor, fractions: Tensor) -> Tensor:
    """The values (B, K) of heatmaps (B, K, h, w) in the pixels that hold fractions (B, K, 2), from 0 to 1."""
    height, width = heatmaps.shape[-2:]
    x, y = fractions.unbind(-1)
    column, row = (x * width).long().clamp(0, width - 1), (y * height).long().clamp(0, height - 1)
    return heatmaps.flatten(2).gather(2, (row * width + column).unsqueeze(2)).squeeze(2)


class TokenDistillation(CoordinatesSupervised):
    """The labels' loss and what a fixed TokenPose shows, with WEIGHTS of the authors' public configurations.

    "regression": of labels. "tokens" (distilling the encoder): the mean squared difference of the last layer's tokens,
    those of joints and those of patches. "heatmap": of the Gaussians that the student's coordinates and deviations
    draw from the teacher's heatmaps. "score": the absolute difference of a score from the teacher's heatmap at the
    student's joint, through which the coordinates learn nothing. The last two leave out joints without a label, as
    the public code does. The teacher sees the student's images and has the same tokens.
    Raises InputError for other teachers.
    """

    def __init__(
        self, student: nn.Module, codec: CoordinatesCodec, flip_pairs: Sequence[tuple[int, int]], teacher: nn.Module
    ):
        super().__init__(student, codec, flip_pairs)
        fits = isinstance(teacher, TokenPose) and teacher.positions.shape == student.positions.shape
        if not fits or len(teacher.groups) > 1 or teacher.input_size != student.input_size:
            raise InputError(
                "the teacher of a distilpose is a tokenpose of kind base with the same input, patches and channels: "
                "choose a run with such a model"
            )
        self.learn_from(teacher)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with self.teaching(batch) as images:
            theirs = self.teacher.tokens(images)
            heatmaps = self.teacher.read(theirs).float()
        ours = self.student.tokens(batch.images["student"])
        fractions, deviations, scores = self.student.read(ours)
        labelled = self.labelled(batch)
        drawn = (simulated(fractions, deviations, heatmaps.shape[-2:]) - heatmaps).square().mean((2, 3))
        pairs = zip(ours[-1], theirs[-1], strict=True)
        losses = {
            "tokens": sum(F.mse_loss(own.float(), other.float()) for own, other in pairs),
            "heatmap": (drawn * labelled).mean(),
            "score": ((scores - at(heatmaps, fractions.detach())).abs() * labelled).mean(),
        }
        losses = {name: WEIGHTS[name] * loss for name, loss in losses.items()}
        return {"regression": self.regression(fractions, batch)} | losses


def build(run: Run, labels: Supervised, teacher: nn.Module, prior: Path | None) -> TokenDistillation:
    """The task of a run with this method."""
    return TokenDistillation(labels.student, labels.codec, labels.flip_pairs, teacher)
