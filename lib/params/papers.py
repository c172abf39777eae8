"""What all papers' sections of params.yaml share: settings, runs in groups, and what a run trains."""

from typing import Annotated, Any, Literal

from pydantic import Field

from lib.params.sections import (
    Aggregation,
    Augmentation,
    Count,
    Decoding,
    Fraction,
    Heatmap,
    MobilePoseModel,
    Model,
    Name,
    Optimizer,
    PaperScale,
    Positive,
    Section,
    Shared,
    Size,
    Training,
    Variant,
    Weight,
)

FastLoss = Literal["mse", "cross_entropy"]
OnlineLoss = Literal["kl", "mse"]


class FastDistillation(Section):
    """FPD Eq. 5: weight alpha, the loss of Eq. 4 or Table 7, and whether the text or the released code is followed."""

    method: Literal["fpd"] = "fpd"
    alpha: Fraction
    loss: FastLoss
    variant: Variant


class OnlineDistillation(Section):
    """OKDHP Eq. 8: weights, the loss of Eq. 7 or Table 6, and the network around the deployed branch.

    branches: the models of the others.
    """

    method: Literal["okdhp"] = "okdhp"
    alpha: Weight
    beta: Weight
    temperature: Positive
    loss: OnlineLoss
    aggregation: Aggregation
    variant: Variant
    shared: Shared
    branches: tuple[Model, ...]


Distillation = Annotated[FastDistillation | OnlineDistillation, Field(discriminator="method")]


class TrainSpec(Section):
    """Everything that one training depends on besides its seed, at the profile's scale.

    exports: the models of the networks that are kept, `model` first.
    """

    paper: str
    run: str
    dataset: str
    input: Size
    model: Model
    heatmap: Heatmap
    augmentation: Augmentation
    optimizer: Optimizer
    epochs: Count
    batch_size: Count
    train_samples: Count | None
    val_samples: Count | None
    threads: Count | None
    precision: str
    compile: bool
    validations: Count
    decoding: Decoding
    teacher: str | None
    init: str | None
    distillation: Distillation | None
    exports: tuple[Model, ...]


class Supervised(Section):
    """A run: labels alone, random weights."""

    dataset: Name
    model: Model


class Paper(Section):
    """Settings that all runs of a paper share; augmentation and epochs by benchmark."""

    heatmap: Heatmap
    augmentation: dict[Name, Augmentation]
    optimizer: Optimizer
    batch_size: Count
    epochs: dict[Name, Count]
    decoding: Decoding
    supervised: dict[Name, Supervised]

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Runs by name, by group."""
        return {"supervised": self.supervised}

    def run(self, name: str) -> Any:
        """The run of a name."""
        return next(group[name] for group in self.groups.values() if name in group)

    def distillation(self, run: Any, scale: PaperScale) -> Distillation | None:
        """What a run learns from besides labels: nothing, unless its paper says so."""
        return None

    def train_spec(self, paper: str, name: str, input_size: Size, scale: PaperScale, training: Training) -> TrainSpec:
        """What the run `name` trains at a profile's scale."""
        run = self.run(name)
        model, distillation = scaled_model(run.model, scale), self.distillation(run, scale)
        everything = getattr(run, "export", "target") == "all"
        return TrainSpec(
            paper=paper,
            run=name,
            dataset=run.dataset,
            input=input_size,
            model=model,
            heatmap=self.heatmap,
            augmentation=self.augmentation[run.dataset],
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
            exports=(model, *distillation.branches) if everything else (model,),
        )


def scaled_model(model: Model, scale: PaperScale) -> Model:
    """The model with a profile's stem and share of stacks and channels, at least one stack and four channels.

    Of a MobilePose only the decoder's channels are scaled, to eight at least: its encoder is a published one.
    """
    if isinstance(model, MobilePoseModel):
        return model.model_copy(update={"channels": scaled(model.channels, scale.width, 8)})
    channels = scaled(model.channels, scale.width, 4)
    stacks = scaled(model.stacks, scale.stacks, 1)
    return model.model_copy(update={"stacks": stacks, "channels": channels, "stem": scale.stem or model.stem})


def scaled(count: int, share: float, unit: int) -> int:
    """The multiple of a unit, one at least, that is nearest to a share of a count."""
    return unit * max(1, round(count * share / unit))


def scaled_optimizer(optimizer: Optimizer, scale: PaperScale) -> Optimizer:
    """The optimiser with a profile's replacements and its milestones moved with the number of epochs."""
    return Optimizer(
        name=scale.optimizer or optimizer.name,
        lr=scale.lr or optimizer.lr,
        weight_decay=optimizer.weight_decay,
        milestones=tuple(max(1, round(epoch * scale.epochs)) for epoch in optimizer.milestones),
        gamma=optimizer.gamma,
    )
