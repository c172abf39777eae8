"""The section `okdhp` of params.yaml: Online Knowledge Distillation for Efficient Pose Estimation (Li et al., 2021)."""

from typing import Any, Literal

from pydantic import Field

from lib.papers import fpd
from lib.params.papers import BaseRun, Method, SingleSchedule, Sizes
from lib.params.scales import Scale
from lib.params.sections import Aggregation, Optimizer, Parts, Positive, Section, Shared, Variant, Weight

Loss = Literal["kl", "binary_kl", "mse"]


class Distillation(Section):
    """OKDHP Eq. 8: weights, the loss of Eq. 7 or Table 6, and what makes the ensemble of the branches."""

    alpha: Weight
    beta: Weight
    temperature: Positive
    loss: Loss
    aggregation: Aggregation
    variant: Variant


class BranchedRun(BaseRun):
    """With `auxiliary`: labels and the ensemble of the branches; what a run names replaces the paper's setting.

    The branches share their stem and the first stacks (`shared`); `model` is the one that is deployed, `auxiliary`
    holds the number of stacks of each other one, shared ones included (of a MobilePose 1: its decoder). export: whether
    these are kept, too.
    """

    shared: Shared | None = None
    auxiliary: tuple[Parts, ...] = Field(default=(), min_length=1)
    export: Literal["target", "all"] = "target"
    alpha: Weight | None = None
    beta: Weight | None = None
    temperature: Positive | None = None
    loss: Loss | None = None
    aggregation: Aggregation | None = None
    variant: Variant | None = None


class Run(BranchedRun):
    """With a teacher: FPD by this paper's recipe, with alpha and loss of its own (Table 3)."""

    loss: Loss | fpd.Loss | None = None


class Settings(SingleSchedule[Run], Distillation):
    """Settings that all runs share, and the runs."""

    def method(self, run: Run, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        if run.teacher:
            return Method("fpd", fpd.Distillation(alpha=run.alpha, loss=run.loss, variant="paper").model_dump())
        return branched(run, sizes, self.chosen(Distillation, run)) if run.auxiliary else None

    def own_keys(self, run: Run) -> set[str]:
        return {"auxiliary", "shared", "export"} if run.auxiliary else set()


def branched(run: BranchedRun, sizes: Sizes, settings: dict[str, Any]) -> Method:
    """OKDHP with the branches that a run names. Raises ValueError where one has no part of its own."""
    shared = run.shared or 0
    networks = [sizes.network, *sizes.network.branches(run.auxiliary, shared)]
    shared = scaled_shared(shared, [sizes.scaled(one) for one in networks], sizes.scale)
    branches = tuple(sizes.spec(one) for one in networks[1:])
    return Method("okdhp", settings | {"shared": shared, "branches": branches}, branches if run.export == "all" else ())


def scaled_shared(shared: int, networks: list[Any], scale: Scale) -> int:
    """A profile's share of the shared stacks, so that every branch keeps one of its own."""
    return min(round(shared * scale.depth), min(one.stacks for one in networks) - 1) if shared else 0
