"""Cross-Modal Knowledge Distillation: a network learns from one of a better modality (CMKG, CVPR 2020, Sect. 3)."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.errors import InputError
from lib.runs import Run
from lib.tasks.pose import PoseRegression, squared_distance, widened


def attention_map(maps: Tensor) -> Tensor:
    """Attention (B, H W) of maps (B, C, H, W): squares summed over channels, of l2 norm 1 over the pixels."""
    return F.normalize(widened(maps).square().sum(1).flatten(1))


def attention_loss(maps: list[Tensor], target: list[Tensor]) -> Tensor:
    """Squared distance of two networks' attentions, summed over their stages (Eq. 3)."""
    return sum(squared_distance(attention_map(x), attention_map(y)) for x, y in zip(maps, target, strict=True))


class CrossModalDistillation(PoseRegression):
    """L_REG + activation * L_ACT + attention * L_ATT (Eqs. 1-4, 8); `attention` is the paper's lambda.

    L_ACT (Eq. 2) compares the maps after the last stage, L_ATT (Eq. 3) those after each of the four. The teacher sees
    the view "teacher". InputError where its last maps have another number of channels than the student's.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, activation: float, attention: float):
        super().__init__(student)
        if teacher.channels != student.channels:
            raise InputError(
                f"the teacher's last maps have {teacher.channels} channels, the student's {student.channels}: "
                "the activation loss compares equals, choose a teacher with the student's blocks and width"
            )
        self.learn_from(teacher)
        self.activation, self.attention = activation, attention

    def targets(self, batch: Batch) -> list[Tensor]:
        """The teacher's maps of a batch."""
        with self.teaching(batch) as images:
            return self.teacher.activations(images)[1]

    def forward(self, batch: Batch, targets: list[Tensor] | None = None) -> dict[str, Tensor]:
        """The losses of a batch; targets: the teacher's maps, where they are known."""
        if targets is None:
            targets = self.targets(batch)
        pose, maps = self.student.activations(batch.images["student"])
        return {
            "regression": squared_distance(pose, batch.keypoints),
            "activation": self.activation * squared_distance(maps[-1], targets[-1]),
            "attention": self.attention * attention_loss(maps, targets),
        }


def build(run: Run, labels: PoseRegression, teacher: nn.Module, prior: Path | None) -> CrossModalDistillation:
    """The task of a run with this method."""
    return CrossModalDistillation(labels.student, teacher, **run.settings)
