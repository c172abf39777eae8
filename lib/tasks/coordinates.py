"""Regression of coordinates from labels alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised, labelled_mean, swapped

Outputs = tuple[Tensor, Tensor, Tensor]  # fractions and deviations (B, K, 2), scores (B, K)


class CoordinatesSupervised(Supervised):
    """The smooth absolute error of the joints' fractions of the view, mean over coordinates, joints and batch.

    It is DistilPose's loss of labels, and what its student is compared with. Joints outside the view have no loss.
    Networks of coordinates give fractions and deviations (B, K, 2), and scores (B, K).
    """

    codec: CoordinatesCodec

    def labelled(self, batch: Batch) -> Tensor:
        """Which joints (B, K) have a label within the view."""
        return batch.visible & self.codec.inside(batch.keypoints)

    def regression(self, fractions: Tensor, batch: Batch) -> Tensor:
        """The loss of fractions (B, K, 2)."""
        errors = F.smooth_l1_loss(fractions.float(), self.codec.encode(batch.keypoints), reduction="none")
        return torch.where(self.labelled(batch)[..., None], errors, 0).mean()

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"regression": self.regression(outputs[0], batch)}

    def errors(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The distance in px, of joints inside the view."""
        distances = torch.linalg.vector_norm(self.codec.decode(outputs[0]) - batch.keypoints, dim=2)
        return labelled_mean(distances, self.labelled(batch))

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        fractions, _, scores = self.student(images)
        if flip_test:
            order = swapped(scores.shape[1], self.flip_pairs)
            mirrored, _, their_scores = self.student(images.flip(3))
            across, down = mirrored[:, order].unbind(-1)
            fractions = (fractions + torch.stack((1 - across, down), dim=-1)) / 2
            scores = (scores + their_scores[:, order]) / 2
        return self.codec.decode(fractions), scores.float()


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> CoordinatesSupervised:
    """The task of a run whose network ends in coordinates."""
    return CoordinatesSupervised(student, CoordinatesCodec(run.input), flip_pairs)
