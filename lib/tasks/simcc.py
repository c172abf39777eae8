"""Classification of coordinates (SimCC, Li et al., ECCV 2022) from labels alone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.tasks import Task
from lib.tasks.supervised import swapped

Axes = tuple[Tensor, Tensor]  # one of x (B, K, nx), one of y (B, K, ny)


def simcc_kl(outputs: Axes, targets: Axes, labelled: Tensor) -> Tensor:
    """KL(target || softmax(logits)) summed over bins, x and y added, averaged over joints and batch.

    outputs: logits of x (B, K, nx) and y (B, K, ny); targets: distributions, the same shapes; labelled: (B, K) bool. A
    joint without a label contributes nothing, but the divisor stays B * K, as in `lib.tasks.supervised.mse`.
    """
    divergences = sum(
        F.kl_div(logits.float().log_softmax(2), target, reduction="none").sum(2)
        for logits, target in zip(outputs, targets, strict=True)
    )
    return (divergences * labelled).mean()


class SimccSupervised(Task):
    """The divergence of both axes from the labels; joints outside the view are in no class and have no loss."""

    def __init__(self, student: nn.Module, codec: SimccCodec, flip_pairs: Sequence[tuple[int, int]]):
        super().__init__()
        self.student = student
        self.codec = codec
        self.flip_pairs = flip_pairs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.losses(self.student(batch.images["student"]), batch)

    def losses(self, outputs: Axes, batch: Batch) -> dict[str, Tensor]:
        """The losses of the student's outputs on a batch."""
        labelled = batch.visible & self.codec.inside(batch.keypoints)
        return {"simcc": simcc_kl(outputs, self.codec.encode(batch.keypoints), labelled)}

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        x, y = self.student(images)
        if flip_test:
            order = swapped(x.shape[1], self.flip_pairs)
            mirrored_x, mirrored_y = self.student(images.flip(3))
            x, y = (x + mirrored_x[:, order].flip(2)) / 2, (y + mirrored_y[:, order]) / 2
        return self.codec.decode(x.float().softmax(2), y.float().softmax(2))
