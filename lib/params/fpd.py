"""The section `fpd` of params.yaml: Fast Human Pose Estimation (Zhang, Zhu, Ye; CVPR 2019)."""

from lib.params.papers import FastDistillation, FastLoss, SingleSchedule, Supervised
from lib.params.sections import Fraction, Name, PaperScale, Variant


class Control(Supervised):
    """Labels alone, from the weights of another run."""

    init: Name


class Distilled(Supervised):
    """Labels and a teacher, random weights."""

    teacher: Name


class Initialised(Distilled):
    """Labels and a teacher, from the weights of another run."""

    init: Name


class Ablation(Distilled):
    """Labels and a teacher, random weights, weighted and compared in a way of its own."""

    alpha: Fraction
    loss: FastLoss


Run = Supervised | Control | Distilled | Initialised | Ablation


class Fpd(SingleSchedule):
    """Settings that all runs share, and the runs in five groups by what they start from and learn from."""

    alpha: Fraction
    loss: FastLoss
    variant: Variant
    control: dict[Name, Control]
    runs: dict[Name, Distilled]
    initialised: dict[Name, Initialised]
    ablations: dict[Name, Ablation]

    @property
    def groups(self) -> dict[str, dict[str, Run]]:
        return {
            **super().groups,
            "control": self.control,
            "runs": self.runs,
            "initialised": self.initialised,
            "ablations": self.ablations,
        }

    def distillation(self, run: Run, scale: PaperScale) -> FastDistillation | None:
        if not isinstance(run, Distilled):
            return None
        own = run if isinstance(run, Ablation) else self
        return FastDistillation(alpha=own.alpha, loss=own.loss, variant=self.variant)
