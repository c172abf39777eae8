"""What all papers' sections of params.yaml share: settings, runs in groups, and what a run trains."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lib.params.sections import (
    Aggregation,
    Augmentation,
    Count,
    Decoding,
    Fraction,
    Heatmap,
    Model,
    Name,
    Optimizer,
    PackSpec,
    PaperScale,
    Positive,
    Schedule,
    Section,
    Shared,
    Simcc,
    Size,
    Training,
    Variant,
    Weight,
)

SIDE_UNIT = 64  # px; an hourglass takes multiples of it
FastLoss = Literal["mse", "cross_entropy"]
OnlineLoss = Literal["kl", "mse"]
FeatureAlignment = Literal["none", "sape", "convolution", "fully_connected"]
ClassAlignment = Literal["none", "cca", "same", "fully_connected"]
Kernels = tuple[Literal[1, 3, 5, 7, 9, 11], ...]
Temperature = Annotated[float, Field(gt=1, lt=21)]  # within the range that ETHT may reach
Learned = tuple[Literal["tau", "alpha", "beta"], ...]
Norm = Literal["l1", "l2"]
Modality = Literal["rgb", "depth"]


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


class CrossDomain(Section):
    """CDKD Eq. 8: weights, how features and classes of the two networks are aligned, and what ETHT learns.

    kernels: of the SAU's convolutions, none: no SAU; tau: the temperature, with ETHT the first one.
    """

    alpha: Weight
    beta: Weight
    features: FeatureAlignment
    projectors: Count
    kernels: Kernels
    logits: ClassAlignment
    tau: Temperature
    learned: Learned
    variant: Variant


class CrossDomainDistillation(CrossDomain):
    """CDKD as one run's method."""

    method: Literal["cdkd"] = "cdkd"


class CrossModalDistillation(Section):
    """CMKD Eq. 4 as one run's method: weights of the activation and the attention loss."""

    method: Literal["cmkd"] = "cmkd"
    activation: Weight
    attention: Weight


class MetaTraining(CrossModalDistillation):
    """CMKG Algorithm 1: the norm of the regulariser, the steps before it is judged, their rate and its own."""

    method: Literal["cmkg"] = "cmkg"
    norm: Norm
    inner_steps: Count
    inner_lr: Positive
    meta_lr: Positive


class Regularisation(Section):
    """CMKG Eq. 9: a norm of the weights times sigma; null: times the weights that meta-training has learned."""

    method: Literal["regulariser"] = "regulariser"
    norm: Norm
    sigma: Weight | None


Distillation = Annotated[
    FastDistillation
    | OnlineDistillation
    | CrossDomainDistillation
    | CrossModalDistillation
    | MetaTraining
    | Regularisation,
    Field(discriminator="method"),
]


class TrainSpec(Section):
    """Everything that one training depends on besides its seed, at the profile's scale.

    crops: folder of data/crops; synthetic: another one, whose training rows are added. input, modality: of the student.
    heatmap, decoding: of networks that see joints in the image. pretrained: whether the backbone starts from ImageNet's
    weights. prior: the run that learned the regulariser. exports: the models of the networks that are kept, `model`
    first.
    """

    paper: str
    run: str
    dataset: str
    crops: str
    synthetic: str | None
    input: Size
    modality: Modality
    model: Model
    heatmap: Heatmap | None
    simcc: Simcc | None
    augmentation: Augmentation
    antialias: bool
    optimizer: Optimizer
    epochs: Count
    batch_size: Count
    train_samples: Count | None
    val_samples: Count | None
    threads: Count | None
    precision: str
    compile: bool
    validations: Count
    decoding: Decoding | None
    pretrained: bool
    teacher: str | None
    teacher_input: Size | None
    teacher_modality: Modality | None
    init: str | None
    prior: str | None
    distillation: Distillation | None
    exports: tuple[Model, ...]

    def network(self, model: Model, joints: int) -> dict[str, Any]:
        """What build_model takes for a model at this training's input."""
        return built(model, joints, self.input)


def built(model: Model, joints: int, input_size: Size) -> dict[str, Any]:
    """What build_model takes for a model; a SimCC head has one size of input."""
    spec = {**model.model_dump(mode="json"), "joints": joints}
    return {**spec, "input_size": list(input_size)} if spec.get("head") == "simcc" else spec


class Supervised(Section):
    """A run: labels alone, random weights. crops: one of packs; input: height and width in px, null: the crops'."""

    crops: Name
    input: Size | None = None
    model: Model


class Paper(Section):
    """Settings that all runs of a paper share; augmentation by benchmark."""

    augmentation: dict[Name, Augmentation]
    supervised: dict[Name, Supervised]

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Runs by name, by group."""
        return {"supervised": self.supervised}

    @property
    def sources(self) -> dict[str, Supervised]:
        """The runs whose weights others may start from or learn from."""
        return self.supervised

    @property
    def benchmarks(self) -> set[str]:
        """Those that the settings by benchmark cover."""
        return set(self.augmentation)

    def run(self, name: str) -> Any:
        """The run of a name."""
        return next(group[name] for group in self.groups.values() if name in group)

    def schedule(self, run: Any, dataset: str) -> Schedule:
        """How a run is trained on a benchmark."""
        raise NotImplementedError

    def distillation(self, run: Any, scale: PaperScale) -> Distillation | None:
        """What a run learns from besides labels: nothing, unless its paper says so."""
        return None

    def own(self, run: Any, dataset: str, full_size: bool) -> dict[str, Any]:
        """Entries of a run's TrainSpec that not all papers have; full_size: whether its network is the paper's."""
        return {
            **dict.fromkeys(("heatmap", "simcc", "decoding", "synthetic", "prior")),
            **{"modality": "rgb", "pretrained": False, "antialias": False},
        }

    def train_spec(
        self, paper: str, name: str, packs: Mapping[str, PackSpec], scale: PaperScale, training: Training
    ) -> TrainSpec:
        """What the run `name` trains at a profile's scale; packs: at full size."""
        run = self.run(name)
        dataset = packs[run.crops].dataset
        schedule = self.schedule(run, dataset)
        size = input_size(run, packs, scale)
        model, distillation = scaled_model(run.model, scale), self.distillation(run, scale)
        full_size = model == run.model
        if hasattr(model, "split"):  # SimCC's classes stay as many as the paper's where its input shrinks
            share = size[1] / (run.input or packs[run.crops].input)[1]
            model = model.model_copy(update={"split": model.split / share})
        everything = getattr(run, "export", "target") == "all"
        teacher = getattr(run, "teacher", None)
        settings = {
            "paper": paper,
            "run": name,
            "dataset": dataset,
            "crops": run.crops,
            "input": size,
            "model": model,
            "augmentation": self.augmentation[dataset],
            "optimizer": scaled_optimizer(schedule.optimizer, scale),
            "epochs": max(1, round(schedule.epochs * scale.epochs)),
            "batch_size": scale.batch_size or schedule.batch_size,
            "train_samples": scale.train_samples,
            "val_samples": scale.val_samples,
            "threads": scale.threads,
            "precision": training.precision,
            "compile": training.compile,
            "validations": training.validations,
            "teacher": teacher,
            "teacher_input": input_size(self.run(teacher), packs, scale) if teacher else None,
            "teacher_modality": getattr(self.run(teacher), "modality", "rgb") if teacher else None,
            "init": getattr(run, "init", None),
            "distillation": distillation,
            "exports": (model, *distillation.branches) if everything else (model,),
        }
        return TrainSpec(**settings | self.own(run, dataset, full_size))


class BodyPaper(Paper):
    """A paper whose networks tell where a person's joints are in the image."""

    heatmap: Heatmap
    decoding: Decoding

    def own(self, run: Any, dataset: str, full_size: bool) -> dict[str, Any]:
        return super().own(run, dataset, full_size) | {"heatmap": self.heatmap, "decoding": self.decoding}


class SingleSchedule(BodyPaper):
    """A paper that trains all its networks alike; epochs by benchmark."""

    optimizer: Optimizer
    batch_size: Count
    epochs: dict[Name, Count]

    @property
    def benchmarks(self) -> set[str]:
        return super().benchmarks & set(self.epochs)

    def schedule(self, run: Any, dataset: str) -> Schedule:
        return Schedule(optimizer=self.optimizer, batch_size=self.batch_size, epochs=self.epochs[dataset])


def input_size(run: Supervised, packs: Mapping[str, PackSpec], scale: PaperScale) -> Size:
    """Height and width in px of what a run's network sees: its own or the crops', at most the profile's largest."""
    full = packs[run.crops].input
    return tuple(map(min, run.input or full, scaled_size(full, scale.resolution)))


def scaled_size(size: Size, share: float) -> Size:
    """A share of an input's height and width in px, in steps of SIDE_UNIT."""
    return tuple(scaled(side, share, SIDE_UNIT) for side in size)


def scaled_model(model: Model, scale: PaperScale) -> Model:
    """The model at a profile's share of depth and width, each at least the least that the network can have.

    Of a MobilePose only the decoder's channels are scaled: its encoder is a published one.
    """

    def deep(counts: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(scaled(count, scale.depth, 1) for count in counts)

    def wide(name: str, unit: int) -> dict[str, int]:
        return {name: scaled(getattr(model, name), scale.width, unit)}

    match model.name:
        case "mobilepose":
            update = wide("channels", 8)
        case "hrnet":
            (blocks,) = deep((model.blocks,))
            update = {"blocks": blocks, "modules": deep(model.modules), **wide("width", 4), **wide("stem", 8)}
        case "resnet":
            update = {"blocks": deep(model.blocks), **wide("width", 4)}
        case "simplebaseline":
            update = {"blocks": deep(model.blocks), **wide("width", 4), **wide("channels", 8)}
        case _:
            (stacks,) = deep((model.stacks,))
            update = {"stacks": stacks, "stem": scale.stem or model.stem, **wide("channels", 4)}
    return model.model_copy(update=update)


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
