"""The section `cdkd` of params.yaml: Cross-Domain Knowledge Distillation for Low-Resolution HPE (Gu et al., 2024)."""

from typing import Any

from lib.params.okdhp import Ablation, auxiliary_models, scaled_shared
from lib.params.papers import (
    BodyPaper,
    ClassAlignment,
    CrossDomain,
    CrossDomainDistillation,
    FeatureAlignment,
    Kernels,
    Learned,
    OnlineDistillation,
    Supervised,
    Temperature,
    scaled_model,
)
from lib.params.sections import (
    Count,
    HeadModel,
    Name,
    PaperScale,
    Positive,
    Schedule,
    Section,
    Simcc,
    StackedModel,
    Variant,
    Weight,
)


class Baseline(Supervised):
    """Labels alone; dark: heatmaps drawn and read as DARK does."""

    model: HeadModel
    dark: bool = False


class Competitor(Ablation):
    """OKDHP, with all of its settings."""

    model: StackedModel
    alpha: Weight
    temperature: Positive
    variant: Variant


class Distilled(Supervised):
    """Labels and a teacher; what a run names replaces the paper's setting of that name."""

    model: HeadModel
    teacher: Name
    alpha: Weight | None = None
    beta: Weight | None = None
    features: FeatureAlignment | None = None
    projectors: Count | None = None
    kernels: Kernels | None = None
    logits: ClassAlignment | None = None
    tau: Temperature | None = None
    learned: Learned | None = None
    variant: Variant | None = None


class Schedules(Section):
    """How long and with what the networks are trained, by their name."""

    hrnet: Schedule
    simplebaseline: Schedule
    hourglass: Schedule


Run = Baseline | Competitor | Distilled


class Cdkd(BodyPaper, CrossDomain):
    """Settings that all runs share, schedules by architecture, and the runs in three groups by what they learn from."""

    pretrained: bool
    antialias: bool
    simcc: dict[Name, Simcc]
    schedules: Schedules
    supervised: dict[Name, Baseline]
    okdhp: dict[Name, Competitor]
    runs: dict[Name, Distilled]

    @property
    def groups(self) -> dict[str, dict[str, Run]]:
        return {**super().groups, "okdhp": self.okdhp, "runs": self.runs}

    @property
    def benchmarks(self) -> set[str]:
        return super().benchmarks & set(self.simcc)

    def schedule(self, run: Run, dataset: str) -> Schedule:
        return getattr(self.schedules, run.model.name)

    def distillation(self, run: Run, scale: PaperScale) -> CrossDomainDistillation | OnlineDistillation | None:
        if isinstance(run, Competitor):
            branches = tuple(scaled_model(branch, scale) for branch in auxiliary_models(run.model, run.auxiliary))
            shared = scaled_shared(run.shared, (scaled_model(run.model, scale), *branches), scale)
            names = ("alpha", "beta", "temperature", "loss", "aggregation", "variant")
            return OnlineDistillation(**{name: getattr(run, name) for name in names}, shared=shared, branches=branches)
        if not isinstance(run, Distilled):
            return None
        names = CrossDomain.model_fields
        own = {name: getattr(run, name) for name in names if getattr(run, name) is not None}
        return CrossDomainDistillation(**{name: getattr(self, name) for name in names} | own)

    def own(self, run: Run, dataset: str, full_size: bool) -> dict[str, Any]:
        settings = super().own(run, dataset, full_size) | {
            "simcc": self.simcc[dataset],
            "pretrained": self.pretrained and full_size and run.model.name != "hourglass",
            "antialias": self.antialias,
        }
        if getattr(run, "dark", False):
            settings["heatmap"] = self.heatmap.model_copy(update={"centre": "subpixel"})
            settings["decoding"] = self.decoding.model_copy(update={"refinement": "dark"})
        return settings
