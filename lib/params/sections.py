"""Sections of params.yaml that no single paper owns."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# Bounds are far beyond what any paper has: what exceeds them is a slip, and would end hours later or fill the memory.
Positive = Annotated[float, Field(gt=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Parts = Annotated[int, Field(ge=1, le=64)]  # stacks, modules and blocks of a network
Side = Annotated[int, Field(ge=1, le=4096)]  # px
Batch = Annotated[int, Field(ge=1, le=65_536)]
Duration = Annotated[int, Field(ge=1, le=100_000)]  # epochs
Rate = Annotated[float, Field(gt=0, le=10)]  # of learning
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Size = tuple[Side, Side]
Rows = Literal["all", "headline"]
Benchmarks = Annotated[tuple[Name, ...], Field(min_length=1)]
Zoom = Annotated[float, Field(ge=0.5, le=2)]  # of a person at test time
Weight = Annotated[float, Field(ge=0, le=1e6)]
Shared = Annotated[int, Field(ge=0, le=64)]
Variant = Literal["paper", "released"]
Modality = Literal["rgb", "depth"]
Reference = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]  # a run: <paper>/<name>
Aggregation = Literal["mean", "gate", "fau"]  # of the maps of OKDHP's branches


class Section(BaseModel):
    """A mapping of params.yaml with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(Section):
    """Settings of the training loop that no paper owns; validation: who are predicted and scored."""

    precision: Literal["float32", "bfloat16"]
    compile: bool
    validation: Literal["test", "heldout"]
    validations: Count


class CountedNetwork(Section):
    """A network of `models` with its number of joints; input: side of its image in px, where not that of all."""

    model: Name
    joints: Count
    input: Side | None = None


class CountedBranches(CountedNetwork):
    """The same with further branches of so many stacks each, the shared ones included, and their aggregation."""

    shared: Shared
    auxiliary: tuple[Parts, ...] = Field(min_length=1)
    aggregation: Aggregation
    variant: Variant = "paper"


class Complexity(Section):
    """Which networks are counted and timed, and how; those of `training` are never deployed and only counted."""

    input: Side
    batch_sizes: tuple[Batch, ...] = Field(min_length=1)
    repeats: Count
    reference: Name
    networks: dict[Name, CountedNetwork]
    training: dict[Name, CountedBranches]


class Heatmap(Section):
    """Gaussian targets: sigma in heatmap pixels; peak value 1/(2 pi sigma^2) (density) or 1 (peak).

    centre: at the joint, or at the heatmap pixel nearest to it.
    """

    sigma: Positive
    scaling: Literal["density", "peak"]
    centre: Literal["subpixel", "pixel"]


class Augmentation(Section):
    """Random flip, scale range, rotation range in degrees, and how often only half of a body is shown.

    distribution: of scale and rotation, see lib/data/batches.py.
    """

    flip: bool
    scale: tuple[Positive, Positive]
    rotation: Annotated[float, Field(ge=0, le=180)]
    half_body: Fraction
    distribution: Literal["uniform", "normal"] = "uniform"


class Optimizer(Section):
    """Optimiser and schedule: the learning rate is multiplied by gamma after each epoch of milestones."""

    name: Literal["rmsprop", "adam"]
    lr: Rate
    weight_decay: Fraction
    milestones: tuple[Duration, ...]
    gamma: Share


class Schedule(Section):
    """How long and with what a network is trained."""

    optimizer: Optimizer
    batch_size: Batch
    epochs: Duration

    def lasting(self, epochs: int) -> Self:
        """The same over other epochs: the learning rate falls after the same shares of them."""
        milestones = tuple(max(1, round(one * epochs / self.epochs)) for one in self.optimizer.milestones)
        optimizer = self.optimizer.model_copy(update={"milestones": milestones})
        return self.model_copy(update={"optimizer": optimizer, "epochs": epochs})


class Decoding(Section):
    """How outputs become coordinates at test time; refinement: of a heatmap's maximum (lib/codecs/heatmap.py).

    scales: sizes at which each person is shown for a second prediction, of the mean of the maps; [1]: there is none.
    """

    flip_test: bool
    refinement: Literal["none", "quarter", "dark"]
    scales: tuple[Zoom, ...] = Field(default=(1.0,), min_length=1)
