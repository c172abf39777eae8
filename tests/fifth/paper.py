"""The section `fifth` of params.yaml."""

from lib.params.papers import BaseRun, Method, SingleSchedule, Sizes
from lib.params.sections import Optimizer, Section, Weight


class Distillation(Section):
    """gamma: weight of the distance to the teacher."""

    gamma: Weight


class Run(BaseRun):
    """What a run names replaces the paper's setting."""

    gamma: Weight | None = None


class Settings(SingleSchedule[Run], Distillation):
    """Settings that all runs share, and the runs."""

    def method(self, run: Run, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        return Method("imitation", self.chosen(Distillation, run)) if run.teacher else None
