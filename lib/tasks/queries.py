"""Queries that claim and place joints (PRTR, Li et al., CVPR 2021) from labels alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.queries import QueriesCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised, labelled_mean, swapped

NONE_WEIGHT = 0.1  # of a query that is no joint, beside that of one that is
PLACE_WEIGHT = 5


class QueriesSupervised(Supervised):
    """After each decoder layer: which query is which joint, and where, summed over the layers.

    "class": the cross-entropy of the queries, those without a joint counting NONE_WEIGHT, divided by the sum of the
    weights. "place": PLACE_WEIGHT times the absolute error of the joints' fractions, summed over joints, mean over both
    axes and batch. Which query stands for a joint is decided for each layer by its own outputs. Weights are those of
    the authors' public code. A joint without a label within the view has no place to learn, but still a query.
    """

    codec: QueriesCodec

    def losses(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        truth = self.codec.encode(batch.keypoints)
        labelled = batch.visible & self.codec.inside(batch.keypoints)
        total = {"class": 0.0, "place": 0.0}
        for logits, fractions in zip(*(output.float() for output in outputs), strict=True):
            chosen = self.codec.match(logits.detach().softmax(-1)[..., :-1], fractions.detach(), truth, labelled)
            none = logits.shape[-1] - 1
            classes = torch.full(logits.shape[:2], none, device=logits.device)
            classes = classes.scatter(1, chosen, torch.arange(none, device=logits.device).expand_as(chosen))
            weights = torch.ones(none + 1, device=logits.device)
            weights[none] = NONE_WEIGHT
            total["class"] += F.cross_entropy(logits.transpose(1, 2), classes, weights)
            errors = (fractions.gather(1, chosen[..., None].expand(-1, -1, 2)) - truth).abs().mean(-1)
            total["place"] += PLACE_WEIGHT * torch.where(labelled, errors, 0).sum(1).mean()
        return total

    def errors(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """The distance in px after the last layer, of joints inside the view."""
        found = self.codec.decode(self.codec.read(*(output[-1] for output in outputs))[0])
        distances = torch.linalg.vector_norm(found - batch.keypoints, dim=2)
        return labelled_mean(distances, batch.visible & self.codec.inside(batch.keypoints))

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        fractions, scores = self.codec.read(*(output[-1] for output in self.student(images)))
        if flip_test:
            order = swapped(scores.shape[1], self.flip_pairs)
            mirrored, their_scores = self.codec.read(*(output[-1] for output in self.student(images.flip(3))))
            across, down = mirrored[:, order].unbind(-1)
            fractions = (fractions + torch.stack((1 - across, down), dim=-1)) / 2
            scores = (scores + their_scores[:, order]) / 2
        return self.codec.decode(fractions), scores


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> QueriesSupervised:
    """The task of a run whose network ends in queries."""
    return QueriesSupervised(student, QueriesCodec(run.input), flip_pairs)
