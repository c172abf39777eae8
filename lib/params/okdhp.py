"""The section `okdhp` of params.yaml: Online Knowledge Distillation for Efficient Pose Estimation (Li et al., 2021)."""

from typing import Literal

from pydantic import Field

from lib.params.fpd import Ablation as Competitor
from lib.params.papers import FastDistillation, OnlineDistillation, OnlineLoss, SingleSchedule, Supervised, scaled_model
from lib.params.sections import (
    Aggregation,
    BranchModel,
    Count,
    MobilePoseModel,
    Model,
    Name,
    PaperScale,
    Positive,
    Shared,
    Variant,
    Weight,
)


class Branched(Supervised):
    """Labels and the ensemble of the branches.

    The branches share their stem and the first stacks (`shared`); `model` is the one that is deployed, `auxiliary`
    holds the number of stacks of each other one, shared ones included (of a MobilePose 1: its decoder). export: whether
    these are kept, too.
    """

    model: BranchModel
    shared: Shared
    auxiliary: tuple[Count, ...] = Field(min_length=1)
    export: Literal["target", "all"] = "target"


class Ablation(Branched):
    """The same, weighted, compared and aggregated in a way of its own."""

    beta: Weight
    loss: OnlineLoss
    aggregation: Aggregation


Run = Supervised | Competitor | Branched | Ablation


class Okdhp(SingleSchedule):
    """Settings that all runs share, and the runs in four groups by what they learn from."""

    alpha: Weight
    beta: Weight
    temperature: Positive
    loss: OnlineLoss
    aggregation: Aggregation
    variant: Variant
    fpd: dict[Name, Competitor]
    runs: dict[Name, Branched]
    ablations: dict[Name, Ablation]

    @property
    def groups(self) -> dict[str, dict[str, Run]]:
        return {**super().groups, "fpd": self.fpd, "runs": self.runs, "ablations": self.ablations}

    def distillation(self, run: Run, scale: PaperScale) -> FastDistillation | OnlineDistillation | None:
        if isinstance(run, Competitor):
            return FastDistillation(alpha=run.alpha, loss=run.loss, variant="paper")
        if not isinstance(run, Branched):
            return None
        own = run if isinstance(run, Ablation) else self
        branches = tuple(scaled_model(branch, scale) for branch in auxiliary_models(run.model, run.auxiliary))
        return OnlineDistillation(
            alpha=self.alpha,
            beta=own.beta,
            temperature=self.temperature,
            loss=own.loss,
            aggregation=own.aggregation,
            variant=self.variant,
            shared=scaled_shared(run.shared, (scaled_model(run.model, scale), *branches), scale),
            branches=branches,
        )


def auxiliary_models(model: Model, auxiliary: tuple[int, ...]) -> tuple[Model, ...]:
    """The models of the further branches: like the first one, but each with its own number of stacks."""
    if isinstance(model, MobilePoseModel):
        return (model,) * len(auxiliary)
    return tuple(model.model_copy(update={"stacks": stacks}) for stacks in auxiliary)


def scaled_shared(shared: int, models: tuple[Model, ...], scale: PaperScale) -> int:
    """A profile's share of the shared stacks, so that every branch keeps one of its own."""
    if shared == 0:
        return 0
    return min(round(shared * scale.depth), min(model.stacks for model in models) - 1)
