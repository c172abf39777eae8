"""Classification of coordinates (SimCC, Li et al., ECCV 2022) from labels alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised, labelled_mean, swapped

Axes = tuple[Tensor, Tensor]  # one of x (B, K, nx), one of y (B, K, ny)


def simcc_kl(outputs: Axes, targets: Axes, labelled: Tensor) -> Tensor:
    """KL(target || softmax(logits)) summed over bins, x and y added, averaged over joints and batch.

    outputs: logits of x (B, K, nx) and y (B, K, ny); targets: distributions, the same shapes; labelled: (B, K) bool. A
    joint without a label contributes nothing, but the divisor stays B * K, as in `lib.tasks.heatmap.mse`.
    """
    return (divergences(outputs, targets) * labelled).mean()


def divergences(outputs: Axes, targets: Axes) -> Tensor:
    """The same of each joint, (B, K)."""
    return sum(
        F.kl_div(logits.float().log_softmax(2), target, reduction="none").sum(2)
        for logits, target in zip(outputs, targets, strict=True)
    )


class SimccSupervised(Supervised):
    """The divergence of both axes from the labels; joints outside the view are in no class and have no loss."""

    codec: SimccCodec

    def losses(self, outputs: Axes, batch: Batch) -> dict[str, Tensor]:
        labelled = batch.visible & self.codec.inside(batch.keypoints)
        return {"simcc": simcc_kl(outputs, self.codec.encode(batch.keypoints), labelled)}

    def errors(self, outputs: Axes, batch: Batch) -> Tensor:
        """The divergence, of joints inside the view."""
        labelled = batch.visible & self.codec.inside(batch.keypoints)
        return labelled_mean(divergences(outputs, self.codec.encode(batch.keypoints)), labelled)

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        x, y = self.student(images)
        if flip_test:
            order = swapped(x.shape[1], self.flip_pairs)
            mirrored_x, mirrored_y = self.student(images.flip(3))
            x, y = (x + mirrored_x[:, order].flip(2)) / 2, (y + mirrored_y[:, order]) / 2
        return self.codec.decode(x.float().softmax(2), y.float().softmax(2))


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> SimccSupervised:
    """The task of a run whose network ends in SimCC's classes."""
    return SimccSupervised(student, SimccCodec(run.input, **run.codec), flip_pairs)
