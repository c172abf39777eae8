"""Online distillation: branches of one network learn from their own ensemble (Li et al., OKDHP, ICCV 2021)."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models.multibranch import MultiBranch, Outputs, build_branches
from lib.runs import Run
from lib.tasks.heatmap import Supervised, mse, released_mse

EDGE = 0.01  # how near to 0 and 1 a pixel's probability may be, where the logarithms of Eq. 7 have no end
RAMP = 0.4  # share of the training over which the released code raises the distillation loss: 60 of 150 epochs


def pixelwise_kl(maps: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of each joint's map from the target's, summed over joints, mean over the batch.

    maps (a branch), target (the ensemble): (B, K, H, W). A softmax over the pixels of map / temperature makes the
    distributions; KL(target || maps) is summed over the pixels (OKDHP Eq. 7 without its 1 / (W' H'), see
    OnlineDistillation).
    """
    log_maps, log_target = ((x.float().flatten(2) / temperature).log_softmax(2) for x in (maps, target))
    return F.kl_div(log_maps, log_target, reduction="sum", log_target=True) / len(maps)


def binary_kl(maps: Tensor, target: Tensor) -> Tensor:
    """The divergence of each pixel's probability that the joint is there, summed over all, mean over the batch.

    maps, target: (B, K, H, W), whose values are these probabilities, cut to [EDGE, 1 - EDGE]: another reading of OKDHP
    Eq. 7, in whose words the values of the pixels indicate probabilities.
    """
    maps, target = (x.float().clamp(EDGE, 1 - EDGE) for x in (maps, target))
    cross, own = (F.binary_cross_entropy(x, target, reduction="sum") for x in (maps, target))
    return (cross - own) / len(maps)


class OnlineDistillation(Supervised):
    """alpha * L_mse + beta * L_kl on all branches at once (OKDHP Eq. 8); the student is the first branch.

    L_mse (Eq. 3): every heatmap, those of shared stacks once, against the labels; and the ensemble: the sums of Eqs. 3
    and 7 start at t = 0 while branches start at 1, so the 0th is taken to be the target heatmaps themselves. That
    trains the aggregation, the target being detached in L_kl. `loss` "mse" replaces the divergence by Eq. 3's distance
    (Table 6), "binary_kl" by that of single pixels.
    L_kl (Eq. 7): every heatmap of the stacks that a branch does not share (Fig. 2) against the ensemble of the last
    ones, over all joints, labelled or not. Eq. 3 prints a sum over pixels and Eq. 7 a mean: here both are sums, or
    L_kl would be H' W' times weaker and beta without effect.
    variant "released" follows the authors' public code: means over pixels, L_mse halved, a target that is not detached,
    L_kl on shared stacks too, maps of joints that are unlabelled or off the map set to 0, and beta rising over the
    first RAMP of the training.
    """

    def __init__(
        self,
        network: MultiBranch,
        codec: HeatmapCodec,
        flip_pairs: Sequence[tuple[int, int]],
        *,
        alpha: float,
        beta: float,
        temperature: float = 1.0,
        loss: str = "kl",
        variant: str = "paper",
    ):
        super().__init__(network.networks[0], codec, flip_pairs)
        self.network = network
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.loss, self.released = loss, variant == "released"

    @property
    def networks(self) -> list[nn.Module]:
        """The branches, each a plain network; the student is the first."""
        return list(self.network.networks)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        labels, visible = self.codec.encode(batch.keypoints), batch.visible
        if self.released:
            visible = visible & self.codec.reaches(batch.keypoints)
        outputs = self.network(batch.images["student"])
        ensemble = outputs.ensemble().float()
        own = [maps for branch in outputs.branches for maps in branch]
        supervised = sum(self.error(maps, labels, visible) for maps in (*outputs.shared, *own))
        losses = {
            "mse": self.alpha * supervised,
            "ensemble": self.alpha * self.error(ensemble, labels, visible),
        }
        return losses | {"distillation": self.beta * self.divergence(outputs, ensemble, visible)}

    def error(self, maps: Tensor, labels: Tensor, visible: Tensor) -> Tensor:
        """Distance of one stack's maps to the labels'."""
        return (released_mse if self.released else mse)(maps, labels, visible)

    def divergence(self, outputs: Outputs, ensemble: Tensor, visible: Tensor) -> Tensor:
        """L_kl, or what is in its place."""
        taught = [maps for branch in outputs.branches for maps in branch]
        if not self.released:
            return sum(self.distance(maps, ensemble.detach()) for maps in taught)
        labelled = visible[..., None, None]
        distances = [self.distance(maps * labelled, ensemble * labelled) for maps in (*outputs.shared, *taught)]
        rise = torch.exp(-5 * (1 - (self.progress / RAMP).clamp(max=1)) ** 2)
        return rise * sum(distances) / ensemble[0, 0].numel()

    def distance(self, maps: Tensor, target: Tensor) -> Tensor:
        """Distance of one stack's maps to the ensemble's."""
        if self.loss == "kl":
            return pixelwise_kl(maps, target, self.temperature)
        return {"mse": mse, "binary_kl": binary_kl}[self.loss](maps, target)


def build(run: Run, labels: Supervised, teacher: nn.Module | None, prior: Path | None) -> OnlineDistillation:
    """The task of a run with this method: the branches beside its own network start at random."""
    settings, student = dict(run.settings), labels.student
    others = [{**branch, "joints": student.joints} for branch in settings.pop("branches")]
    network = build_branches(student, others, settings.pop("shared"), settings.pop("aggregation"), settings["variant"])
    return OnlineDistillation(network, labels.codec, labels.flip_pairs, **settings)
