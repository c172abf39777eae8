"""The section `cdkd` of params.yaml: Cross-Domain Knowledge Distillation for Low-Resolution HPE (Gu et al., 2024)."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lib.papers import okdhp
from lib.params.networks import Network
from lib.params.papers import BodyPaper, Method, Sizes
from lib.params.sections import Duration, Name, Optimizer, Parts, Positive, Schedule, Section, Size, Variant, Weight

FeatureAlignment = Literal["none", "sape", "convolution", "fully_connected"]
ClassAlignment = Literal["none", "cca", "same", "fully_connected"]
Kernels = tuple[Literal[1, 3, 5, 7, 9, 11], ...]
Temperature = Annotated[float, Field(gt=1, lt=21)]  # within the range that ETHT may reach
Learned = tuple[Literal["tau", "alpha", "beta"], ...]


class Distillation(Section):
    """CDKD Eq. 8: weights, how features and classes of the two networks are aligned, and what ETHT learns.

    kernels: of the SAU's convolutions, none: no SAU; tau: the temperature, with ETHT the first one.
    """

    alpha: Weight
    beta: Weight
    features: FeatureAlignment
    projectors: Parts
    kernels: Kernels
    logits: ClassAlignment
    tau: Temperature
    learned: Learned
    variant: Variant


class OneHot(Section):
    """SimCC targets: the joint's class; smoothing: the share that all other classes have in equal parts."""

    target: Literal["one_hot"]
    smoothing: Annotated[float, Field(ge=0, lt=1)]


class Gaussian(Section):
    """SimCC targets: a normal distribution about the joint; sigma as a share of the view's side."""

    target: Literal["gaussian"]
    sigma: Annotated[Positive, Field(lt=1)]


Simcc = Annotated[OneHot | Gaussian, Field(discriminator="target")]


class Run(okdhp.BranchedRun):
    """With a teacher: CDKD; with `auxiliary`: OKDHP, with all of its settings; else labels alone.

    What a run names replaces the paper's setting of that name. dark: heatmaps drawn and read as DARK does.
    """

    dark: bool = False
    features: FeatureAlignment | None = None
    projectors: Parts | None = None
    kernels: Kernels | None = None
    logits: ClassAlignment | None = None
    tau: Temperature | None = None
    learned: Learned | None = None


class Settings(BodyPaper[Run], Distillation):
    """Settings that all runs share, schedules by architecture, and the runs.

    epochs: by benchmark, of all runs on it, whatever their architecture's are.
    """

    outputs: ClassVar[tuple[str, ...]] = ("heatmap", "simcc", "offset", "coordinates", "queries")

    pretrained: bool
    antialias: bool
    simcc: dict[Name, Simcc]
    schedules: dict[Name, Schedule]
    epochs: dict[Name, Duration]

    @model_validator(mode="after")
    def known_benchmarks(self) -> Self:
        if not self.epochs.keys() <= self.benchmarks:
            raise ValueError(
                f"epochs are those of {', '.join(self.epochs)}; known: {', '.join(sorted(self.benchmarks))}"
            )
        return self

    @property
    def benchmarks(self) -> set[str]:
        return super().benchmarks & set(self.simcc)

    def schedule(self, run: Run, network: Network, dataset: str) -> Schedule:
        if network.name not in self.schedules:
            raise ValueError(f"{run.model} is a network named {network.name}; schedules: {', '.join(self.schedules)}")
        schedule = self.schedules[network.name]
        return schedule.lasting(self.epochs.get(dataset, schedule.epochs))

    def method(self, run: Run, sizes: Sizes, optimizer: Optimizer) -> Method | None:
        if run.auxiliary:
            settings = {name: getattr(run, name) for name in okdhp.Distillation.model_fields}
            return okdhp.branched(run, sizes, okdhp.Distillation(**settings).model_dump())
        if sizes.network.name in ("rle", "distilpose"):  # competitors with a method of their own
            return Method(sizes.network.name, {})
        if not run.teacher:
            return None
        settings = self.chosen(Distillation, run)
        if settings["logits"] != "none" and sizes.network.output != "simcc":
            raise ValueError(f"a network of the output {sizes.network.output} has no classes to align: logits: none")
        return Method("cdkd", settings)

    def codec(self, run: Run, network: Network, dataset: str, size: Size) -> dict[str, Any]:
        if network.output == "simcc":
            target = self.simcc[dataset]
            if isinstance(target, Gaussian):
                return network.codec() | {"sigma": target.sigma * network.split * size[0]}  # in classes
            return network.codec() | {"smoothing": target.smoothing}
        codec = super().codec(run, network, dataset, size)
        return codec | {"centre": "subpixel", "refinement": "dark"} if run.dark else codec

    def own_keys(self, run: Run) -> set[str]:
        return {"auxiliary", "shared", "export"} if run.auxiliary else {"dark"}
