"""Regression with a learned distribution of errors (RLE, Li et al., ICCV 2021)."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.coordinates import CoordinatesSupervised, Outputs
from lib.tasks.heatmap import Supervised

COUPLINGS, HIDDEN = 6, 64
GAIN = 0.01  # of the flow's first weights: it starts as the normal distribution


class Coupling(nn.Module):
    """One step of RealNVP on pairs: one number is shifted and scaled by what the other says."""

    def __init__(self, kept: int):
        super().__init__()
        self.kept = kept
        self.scale, self.shift = (
            nn.Sequential(
                *(nn.Linear(1, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU()),
                *(nn.Linear(HIDDEN, 1), last),
            )
            for last in (nn.Tanh(), nn.Identity())
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, gain=GAIN)
                nn.init.zeros_(layer.bias)

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs (N, 2) one step nearer to the normal distribution, and the logarithm of the step's scale, (N,)."""
        kept, other = pairs[:, self.kept, None], pairs[:, 1 - self.kept, None]
        scale = self.scale(kept)
        moved = (other - self.shift(kept)) * (-scale).exp()
        return torch.cat((kept, moved) if self.kept == 0 else (moved, kept), dim=1), -scale[:, 0]


class Flow(nn.Module):
    """A density of pairs that is learned: RealNVP (Dinh et al., ICLR 2017) from the standard normal distribution.

    The networks of the authors' public code see both numbers of a pair, one of them masked; these see the other alone.
    """

    def __init__(self):
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(number % 2) for number in range(COUPLINGS))

    def forward(self, pairs: Tensor) -> Tensor:
        """The logarithm of the density at pairs (N, 2): (N,)."""
        volume = pairs.new_zeros(len(pairs))
        for coupling in self.couplings:
            pairs, change = coupling(pairs)
            volume = volume + change
        return volume - 0.5 * pairs.square().sum(1) - math.log(2 * math.pi)


class ResidualLogLikelihood(CoordinatesSupervised):
    """The negative logarithm of the likelihood of the labels, whose density is a Laplace one times a learned one.

    An error is a fraction's distance from its label in units of its deviation sigma. "flow" is minus the logarithm of
    the flow's density of a joint's error, "laplace" that of a Laplace density of each coordinate's, both as densities
    of fractions, so that log sigma stands in both, as in the authors' public code. Sect. 3.3 has it once, and a
    constant s that normalises the product, which that code leaves out: without it and with one log sigma, ever larger
    sigma would always pay. That code counts a joint's flow twice, once for each coordinate, with which they pay, too;
    here, as in the text, once. Sums over joints, means over the batch. The flow is trained with the network and then
    left. Joints outside the view have no loss.
    """

    def __init__(self, student: nn.Module, codec: CoordinatesCodec, flip_pairs: Sequence[tuple[int, int]]):
        super().__init__(student, codec, flip_pairs)
        self.flow = Flow()

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        fractions, deviations = outputs[0].float(), outputs[1].float()
        labelled = self.labelled(batch)
        errors = (fractions - torch.where(labelled[..., None], self.codec.encode(batch.keypoints), 0.5)) / deviations
        with torch.autocast(errors.device.type, enabled=False):
            density = self.flow(errors.flatten(0, 1)).view(*labelled.shape)
        sizes = deviations.log().sum(2)
        distances = errors.abs().sum(2) / math.sqrt(2) + math.log(2 * math.pi)
        losses = {"flow": sizes - density, "laplace": sizes + distances}
        return {name: torch.where(labelled, loss, 0).sum(1).mean() for name, loss in losses.items()}


def build(run: Run, labels: Supervised, teacher: nn.Module | None, prior: Path | None) -> ResidualLogLikelihood:
    """The task of a run with this method."""
    return ResidualLogLikelihood(labels.student, labels.codec, labels.flip_pairs)
