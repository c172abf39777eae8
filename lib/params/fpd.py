"""The section `fpd` of params.yaml: Fast Human Pose Estimation (Zhang, Zhu, Ye; CVPR 2019)."""

from typing import Literal

from lib.params.sections import (
    Augmentation,
    Count,
    Decoding,
    Distillation,
    Fraction,
    Heatmap,
    Loss,
    Model,
    Name,
    Optimizer,
    PaperScale,
    Section,
    Size,
    Training,
    TrainSpec,
)


class Supervised(Section):
    """Labels alone, random weights."""

    dataset: Name
    model: Model


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
    loss: Loss


Run = Supervised | Control | Distilled | Initialised | Ablation


class Fpd(Section):
    """Settings that all runs share, and the runs in five groups by what they start from and learn from."""

    alpha: Fraction
    loss: Loss
    variant: Literal["paper", "released"]
    heatmap: Heatmap
    augmentation: Augmentation
    optimizer: Optimizer
    batch_size: Count
    epochs: dict[Name, Count]
    decoding: Decoding
    supervised: dict[Name, Supervised]
    control: dict[Name, Control]
    runs: dict[Name, Distilled]
    initialised: dict[Name, Initialised]
    ablations: dict[Name, Ablation]

    @property
    def groups(self) -> dict[str, dict[str, Run]]:
        """Runs by name, by group."""
        return {
            "supervised": self.supervised,
            "control": self.control,
            "runs": self.runs,
            "initialised": self.initialised,
            "ablations": self.ablations,
        }

    def run(self, name: str) -> Run:
        """The run of a name."""
        return next(group[name] for group in self.groups.values() if name in group)

    def train_spec(self, name: str, input_size: Size, scale: PaperScale, training: Training) -> TrainSpec:
        """What the run `name` trains at a profile's scale."""
        run = self.run(name)
        distillation = None
        if isinstance(run, Distilled):
            own = run if isinstance(run, Ablation) else self
            distillation = Distillation(alpha=own.alpha, loss=own.loss, variant=self.variant)
        return TrainSpec(
            paper="fpd",
            run=name,
            method="fpd" if distillation else "supervised",
            dataset=run.dataset,
            input=input_size,
            model=scaled_model(run.model, scale),
            heatmap=self.heatmap,
            augmentation=self.augmentation,
            optimizer=scaled_optimizer(self.optimizer, scale),
            epochs=max(1, round(self.epochs[run.dataset] * scale.epochs)),
            batch_size=scale.batch_size or self.batch_size,
            train_samples=scale.train_samples,
            val_samples=scale.val_samples,
            threads=scale.threads,
            precision=training.precision,
            compile=training.compile,
            validations=training.validations,
            decoding=self.decoding,
            teacher=getattr(run, "teacher", None),
            init=getattr(run, "init", None),
            distillation=distillation,
        )


def scaled_model(model: Model, scale: PaperScale) -> Model:
    """The model with a profile's stem and share of stacks and channels, at least one stack and four channels."""
    stacks = max(1, round(model.stacks * scale.stacks))
    channels = max(4, 4 * round(model.channels * scale.width / 4))
    return model.model_copy(update={"stacks": stacks, "channels": channels, "stem": scale.stem or model.stem})


def scaled_optimizer(optimizer: Optimizer, scale: PaperScale) -> Optimizer:
    """The optimiser with a profile's replacements and its milestones moved with the number of epochs."""
    return Optimizer(
        name=scale.optimizer or optimizer.name,
        lr=scale.lr or optimizer.lr,
        weight_decay=optimizer.weight_decay,
        milestones=tuple(max(1, round(epoch * scale.epochs)) for epoch in optimizer.milestones),
        gamma=optimizer.gamma,
    )
