"""Tasks: what is optimised, one file per method."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.params import TrainSpec


class Task(nn.Module, ABC):
    """A student and the losses that train it; the loop never knows which method it trains.

    `student` is what is saved, exported and deployed. Losses that have weights of their own keep them as submodules of
    the task: they are trained with the student. A frozen teacher is no submodule, so that neither the optimiser nor the
    saved state nor train() reaches it.
    """

    student: nn.Module

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return named, already weighted losses: scalars, means over the batch; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        """Return keypoints (B, K, 2), input px, and scores (B, K) of images (B, 3, H, W).

        With `flip_test` the network also sees the mirrored image and both outputs are averaged.
        """


def build_task(
    spec: TrainSpec, student: nn.Module, flip_pairs: Sequence[tuple[int, int]], teacher: nn.Module | None = None
) -> Task:
    """Build the task of a training: `spec.method` around a student and, for a distillation, its trained teacher."""
    from lib.tasks.fpd import FastPoseDistillation
    from lib.tasks.supervised import Supervised

    codec = HeatmapCodec(
        spec.input,
        sigma=spec.heatmap.sigma,
        scaling=spec.heatmap.scaling,
        quarter_offset=spec.decoding.quarter_offset,
    )
    if spec.method == "supervised":
        return Supervised(student, codec, flip_pairs)
    distillation = spec.distillation
    return FastPoseDistillation(
        student, codec, flip_pairs, teacher, distillation.alpha, distillation.loss, distillation.variant
    )
