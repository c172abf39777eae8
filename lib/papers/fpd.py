"""The section `fpd` of params.yaml: Fast Human Pose Estimation (Zhang, Zhu, Ye; CVPR 2019)."""

from typing import Literal

from lib.params.papers import BaseRun, Method, SingleSchedule, Sizes
from lib.params.sections import Fraction, Optimizer, Section, Variant

Loss = Literal["mse", "cross_entropy"]


class Distillation(Section):
    """FPD Eq. 5: weight alpha, the loss of Eq. 4 or Table 7, and whether the text or the released code is followed."""

    alpha: Fraction
    loss: Loss
    variant: Variant


class Run(BaseRun):
    """What a run with a teacher names replaces the paper's setting."""

    alpha: Fraction | None = None
    loss: Loss | None = None
    variant: Variant | None = None


class Settings(SingleSchedule[Run], Distillation):
    """Settings that all runs share, and the runs."""

    def method(self, run: Run, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        return Method("fpd", self.chosen(Distillation, run)) if run.teacher else None
