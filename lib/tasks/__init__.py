"""Tasks: what is optimised, one file per method."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.params import TrainSpec


class Task(nn.Module, ABC):
    """A student and the losses that train it; the loop never knows which method it trains.

    `student` is what is saved, exported and deployed. Losses that have weights of their own keep them as submodules of
    the task: they are trained with the student. A frozen teacher is no submodule, so that neither the optimiser nor the
    saved state nor train() reaches it. `progress` is the share of the training's epochs that are done, for losses that
    change over it; the loop sets it.
    """

    student: nn.Module
    progress: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    @property
    def networks(self) -> list[nn.Module]:
        """All networks that this training can deploy, the student first."""
        return [self.student]

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
    """Build the task of a training: its method around a student and, where one is fixed beforehand, a teacher."""
    from lib.models.multibranch import build_branches
    from lib.tasks.fpd import FastPoseDistillation
    from lib.tasks.okdhp import OnlineDistillation
    from lib.tasks.supervised import Supervised

    codec = HeatmapCodec(
        spec.input,
        sigma=spec.heatmap.sigma,
        scaling=spec.heatmap.scaling,
        quarter_offset=spec.decoding.quarter_offset,
    )
    method = spec.distillation
    if method is None:
        return Supervised(student, codec, flip_pairs)
    if method.method == "fpd":
        return FastPoseDistillation(student, codec, flip_pairs, teacher, method.alpha, method.loss, method.variant)
    others = [{**branch.model_dump(), "joints": student.joints} for branch in method.branches]
    return OnlineDistillation(
        build_branches(student, others, method.shared, method.aggregation, method.variant),
        codec,
        flip_pairs,
        alpha=method.alpha,
        beta=method.beta,
        temperature=method.temperature,
        loss=method.loss,
        variant=method.variant,
    )
