"""The section `cmkg` of params.yaml: Knowledge as Priors (Zhao, Peng, Chen, Kapadia, Metaxas; CVPR 2020)."""

from typing import Any

from lib.params.papers import (
    CrossModalDistillation,
    MetaTraining,
    Modality,
    Norm,
    Paper,
    Regularisation,
    Supervised,
    scaled_optimizer,
)
from lib.params.sections import Count, Name, Optimizer, PaperScale, Positive, ResnetModel, Schedule, Section, Weight

GROUPS = (
    *("supervised", "supervised_synthetic", "control", "control_synthetic", "cmkd", "cmkd_synthetic"),
    *("meta_train", "target", "meta_test"),
)
Method = CrossModalDistillation | MetaTraining | Regularisation


class Plain(Supervised):
    """The regression loss alone, from random weights; synthetic: crops whose training rows are added."""

    model: ResnetModel
    modality: Modality = "rgb"
    synthetic: Name | None = None


class Control(Plain):
    """The regression loss alone, from the weights of another run."""

    init: Name


class Distilled(Control):
    """A depth teacher beside the labels; what a run names replaces the paper's setting of that name."""

    teacher: Name
    activation: Weight | None = None
    attention: Weight | None = None


class Prior(Distilled):
    """The same, and a regulariser is learned that takes the teacher's place elsewhere."""

    norm: Norm


class Target(Plain):
    """Labels, and perhaps a default regulariser: sigma times the norm."""

    norm: Norm | None = None
    sigma: Weight | None = None


class Tested(Plain):
    """Labels and the regulariser that the run `prior` learned."""

    norm: Norm
    prior: Name


class Epochs(Section):
    """Of a depth teacher, of each half of an RGB student, and of a network on a target dataset."""

    teacher: Count
    half: Count
    target: Count


class Cmkg(Paper):
    """Settings that all runs share, and the runs in groups by what they start from and learn from.

    Those of a group all name the same things, which are what its stage depends on.
    """

    activation: Weight
    attention: Weight
    inner_steps: Count
    meta_lr: Positive
    optimizer: Optimizer
    batch_size: Count
    epochs: Epochs
    supervised: dict[Name, Plain]
    supervised_synthetic: dict[Name, Plain]
    control: dict[Name, Control]
    control_synthetic: dict[Name, Control]
    cmkd: dict[Name, Distilled]
    cmkd_synthetic: dict[Name, Distilled]
    meta_train: dict[Name, Prior]
    target: dict[Name, Target]
    meta_test: dict[Name, Tested]

    @property
    def groups(self) -> dict[str, dict[str, Plain]]:
        return {name: getattr(self, name) for name in GROUPS}

    @property
    def sources(self) -> dict[str, Plain]:
        return {**self.supervised, **self.supervised_synthetic}

    def schedule(self, run: Plain, dataset: str) -> Schedule:
        name = "target" if isinstance(run, Target | Tested) else "teacher" if run.modality == "depth" else "half"
        return Schedule(optimizer=self.optimizer, batch_size=self.batch_size, epochs=getattr(self.epochs, name))

    def distillation(self, run: Plain, scale: PaperScale) -> Method | None:
        if isinstance(run, Target | Tested):
            return Regularisation(norm=run.norm, sigma=getattr(run, "sigma", None)) if run.norm else None
        if not isinstance(run, Distilled):
            return None
        weights = {name: getattr(run, name) for name in ("activation", "attention")}
        weights = {name: getattr(self, name) if weight is None else weight for name, weight in weights.items()}
        if not isinstance(run, Prior):
            return CrossModalDistillation(**weights)
        rates = {"inner_lr": scaled_optimizer(self.optimizer, scale).lr, "meta_lr": self.meta_lr}
        return MetaTraining(**weights, norm=run.norm, inner_steps=self.inner_steps, **rates)

    def own(self, run: Plain, dataset: str, full_size: bool) -> dict[str, Any]:
        own = {"modality": run.modality, "synthetic": run.synthetic, "prior": getattr(run, "prior", None)}
        return super().own(run, dataset, full_size) | own | {"antialias": True}  # where a profile shrinks the input
