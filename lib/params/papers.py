"""What all papers' sections of params.yaml share: settings, runs in groups by what they need, and what a run trains."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import Field

from lib.params.networks import Network
from lib.params.scales import Scale, scaled_size
from lib.params.sections import (
    Augmentation,
    Batch,
    Decoding,
    Duration,
    Heatmap,
    Modality,
    Name,
    Optimizer,
    Reference,
    Schedule,
    Section,
    Side,
    Size,
)

# What the runs of a group name besides crops and model; a group's stage in dvc.yaml depends on it.
GROUPS: dict[str, tuple[str, ...]] = {
    "alone": (),
    "alone_synthetic": ("synthetic",),
    "continued": ("init",),
    "continued_synthetic": ("init", "synthetic"),
    "taught": ("teacher",),
    "taught_continued": ("init", "teacher"),
    "taught_continued_synthetic": ("init", "teacher", "synthetic"),
    "regularised": ("prior",),
}
PARTNERS = ("init", "teacher", "prior")  # runs that others name


class BaseRun(Section):
    """A run: crops of a benchmark, and a network of `models`.

    input: side in px, null: the crops' height and width. init: the run whose weights it starts from; teacher: the run
    that it learns from; prior: the run that learned its regulariser. synthetic: crops whose training rows are added.
    """

    crops: Name
    model: Name
    input: Side | None = None
    init: Reference | None = None
    teacher: Reference | None = None
    prior: Reference | None = None
    synthetic: Name | None = None
    modality: Modality = "rgb"

    def size(self, crops: Size) -> Size:
        """Height and width in px of what the network sees at full size."""
        return (self.input, self.input) if self.input else crops


RunType = TypeVar("RunType", bound=BaseRun)


@dataclass(frozen=True)
class Sizes:
    """A run's network and input at full size, and what a profile makes of them."""

    network: Network
    full: Size
    scale: Scale
    crops: Size

    @property
    def input(self) -> Size:
        """Height and width in px of what the network sees: at most the profile's share of the crops'."""
        return tuple(map(min, self.full, scaled_size(self.crops, self.scale.resolution)))

    def scaled(self, network: Network) -> Network:
        """A network at the profile's scale."""
        return network.scaled(self.scale, self.input[1] / self.full[1])

    def spec(self, network: Network) -> dict[str, Any]:
        """What build_model takes for a network of full size, at the profile's scale, but for the joints."""
        return self.scaled(network).spec(self.input)


@dataclass(frozen=True)
class Method:
    """A module of lib/tasks and its settings; branches: specs of the networks that it trains beside the run's."""

    name: str
    settings: dict[str, Any]
    branches: tuple[dict[str, Any], ...] = ()


class Paper(Section, Generic[RunType]):
    """Settings that all runs of a paper share, by benchmark where they differ, and the runs in groups.

    Each module of lib/papers has a subclass named Settings. It may have `antialias`, whether views smaller than the
    crops are averaged, and `pretrained`, whether backbones of published size start from ImageNet's weights. outputs:
    of networks that its settings cover.
    """

    outputs: ClassVar[tuple[str, ...]] = ("heatmap",)

    augmentation: dict[Name, Augmentation]
    alone: dict[Name, RunType] = Field(default_factory=dict)
    alone_synthetic: dict[Name, RunType] = Field(default_factory=dict)
    continued: dict[Name, RunType] = Field(default_factory=dict)
    continued_synthetic: dict[Name, RunType] = Field(default_factory=dict)
    taught: dict[Name, RunType] = Field(default_factory=dict)
    taught_continued: dict[Name, RunType] = Field(default_factory=dict)
    taught_continued_synthetic: dict[Name, RunType] = Field(default_factory=dict)
    regularised: dict[Name, RunType] = Field(default_factory=dict)

    @property
    def groups(self) -> dict[str, dict[str, RunType]]:
        """Runs by name, by group."""
        return {group: getattr(self, group) for group in GROUPS if getattr(self, group)}

    @property
    def runs(self) -> dict[str, RunType]:
        """All runs by name."""
        return {name: run for group in self.groups.values() for name, run in group.items()}

    @property
    def benchmarks(self) -> set[str]:
        """Those that the settings by benchmark cover."""
        return set(self.augmentation)

    @abstractmethod
    def schedule(self, run: RunType, network: Network, dataset: str) -> Schedule:
        """How a run is trained on a benchmark."""

    @abstractmethod
    def method(self, run: RunType, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        """What a run learns from besides labels. Raises ValueError for settings that do not fit each other."""

    def codec(self, run: RunType, network: Network, dataset: str, size: Size) -> dict[str, Any]:
        """Settings of the codec of a run's network at the profile's scale, for inputs of a size."""
        return network.codec()

    def flip_test(self) -> bool:
        """Whether predictions are averaged with those of the mirrored image."""
        return False

    def scales(self) -> tuple[float, ...]:
        """Sizes at which people are shown for a second prediction; (1,): there is none."""
        return (1.0,)

    def own_keys(self, run: RunType) -> set[str]:
        """Names of a run's settings that are read though no method has them."""
        return set()

    def partner(self, role: str, run: RunType, other: BaseRun) -> None:
        """Refuse, by a ValueError, a partner of another kind than this paper's method takes."""

    def chosen(self, kind: type[Section], run: RunType) -> dict[str, Any]:
        """Settings of a kind: what a run names replaces the paper's setting of that name."""
        own = {name: getattr(run, name, None) for name in kind.model_fields}
        values = {name: getattr(self, name, None) if value is None else value for name, value in own.items()}
        return kind(**values).model_dump(mode="json")


class BodyPaper(Paper[RunType], Generic[RunType]):
    """A paper whose networks tell where a person's joints are in the image."""

    heatmap: Heatmap
    decoding: Decoding

    def codec(self, run: RunType, network: Network, dataset: str, size: Size) -> dict[str, Any]:
        if network.output != "heatmap":
            return network.codec()
        return self.heatmap.model_dump() | {"refinement": self.decoding.refinement}

    def flip_test(self) -> bool:
        return self.decoding.flip_test

    def scales(self) -> tuple[float, ...]:
        return self.decoding.scales


class SingleSchedule(BodyPaper[RunType], Generic[RunType]):
    """A paper that trains all its networks alike; epochs by benchmark."""

    optimizer: Optimizer
    batch_size: Batch
    epochs: dict[Name, Duration]

    @property
    def benchmarks(self) -> set[str]:
        return super().benchmarks & set(self.epochs)

    def schedule(self, run: RunType, network: Network, dataset: str) -> Schedule:
        return Schedule(optimizer=self.optimizer, batch_size=self.batch_size, epochs=self.epochs[dataset])


def scaled_optimizer(schedule: Schedule, sizes: Sizes) -> Optimizer:
    """A run's optimiser with the profile's replacements and factors; milestones move with the epochs."""
    optimizer, scale = schedule.optimizer, sizes.scale
    milestones = optimizer.milestones if scale.decay is None else [share * schedule.epochs for share in scale.decay]
    return Optimizer(
        name=scale.optimizer or optimizer.name,
        lr=scale.rates.get(sizes.network.name, 1) * (scale.lr or optimizer.lr),
        weight_decay=optimizer.weight_decay,
        milestones=tuple(max(1, round(epoch * scale.epochs)) for epoch in milestones),
        gamma=optimizer.gamma,
    )
