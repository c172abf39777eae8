"""params.yaml as frozen objects: whatever is misspelt, of the wrong type or out of range is refused with one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from lib.errors import InputError
from lib.named import find, names, suggestion
from lib.params.checks import check_paper, check_sections, known
from lib.params.data import CropsSpec, Data, Dataset, OfficialFile, SynthesisSpec
from lib.params.limits import check_limits, check_official
from lib.params.networks import Network
from lib.params.papers import BaseRun, Paper, Sizes, scaled_optimizer
from lib.params.reading import read_yaml, validated
from lib.params.scales import FULL, Choice, CropsScale, Scale, scaled_size
from lib.params.sections import Benchmarks, Complexity, Name, Rows, Section, Seed, Training
from lib.runs import Run

PARAMS = Path("params.yaml")
PAPERS = "lib.papers"
NETWORKS = "lib.params.networks"
OFFICIAL = Path(__file__).parents[1] / "data/official.yaml"


class Common(Section):
    """What no paper owns. benchmarks: those whose runs are trained; rows: all, or those of a paper's main claims."""

    profile: Name
    seeds: tuple[Seed, ...] = Field(min_length=1)
    benchmarks: Benchmarks
    rows: Rows
    data: Data
    crops: dict[Name, CropsSpec]
    synthesis: SynthesisSpec
    training: Training
    complexity: Complexity


@dataclass(frozen=True)
class Profile:
    """One scale of the whole pipeline; a paper that it does not name keeps its own.

    choice: in place of what params.yaml asks for; drawn: in place of a benchmark's `synthetic`.
    """

    crops: CropsScale
    papers: dict[str, Scale]
    choice: Choice
    drawn: dict[str, Section]


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml: `papers` by their names, `models` with the networks that runs name."""

    common: Common
    profiles: dict[str, Profile]
    models: dict[str, Network]
    papers: dict[str, Paper]
    official: dict[str, list[dict[str, Any]]]

    @property
    def profile(self) -> Profile:
        """The chosen one."""
        return self.profiles[self.common.profile]

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Those whose runs are trained."""
        return self.profile.choice.benchmarks or self.common.benchmarks

    @property
    def rows(self) -> str:
        """Which of their runs: all or headline."""
        return self.profile.choice.rows or self.common.rows

    def data(self, benchmark: str) -> Dataset:
        """Where a benchmark comes from, and what is drawn of it at the profile's scale."""
        dataset = getattr(self.common.data, benchmark)
        drawn = self.profile.drawn.get(benchmark, dataset.synthetic)
        return dataset.model_copy(update={"synthetic": drawn})

    @property
    def labels(self) -> list[str]:
        """All runs, <paper>/<name>."""
        return [f"{paper}/{name}" for paper, settings in self.papers.items() for name in settings.runs]

    def crops(self, name: str) -> CropsSpec:
        """The crops of a name at the profile's resolution."""
        crops = self.common.crops[name]
        return crops.model_copy(update={"input": scaled_size(crops.input, self.profile.crops.resolution)})

    def synthesis(self) -> SynthesisSpec:
        """The rendered hands at the profile's resolution and number."""
        scale, full = self.profile.crops, self.common.synthesis
        count, size = scale.synthetic or full.count, scaled_size(full.size, scale.resolution)
        return full.model_copy(update={"count": count, "size": size})

    def settings(self, reference: str) -> BaseRun:
        """The entry of params.yaml of the run <paper>/<name>."""
        paper, _, name = reference.partition("/")
        return self.papers[paper].runs[name]

    def sizes(self, reference: str, scale: Scale | None = None) -> Sizes:
        """Network and input of a run at a scale, by default the profile's."""
        run = self.settings(reference)
        scale = scale or self.profile.papers[reference.partition("/")[0]]
        crops = self.common.crops[run.crops].input
        return Sizes(self.models[run.model], run.size(crops), scale, crops)

    def run(self, reference: str, scale: Scale | None = None) -> Run:
        """What the run <paper>/<name> trains at a scale, by default the profile's."""
        key, _, name = reference.partition("/")
        paper, run = self.papers[key], self.settings(reference)
        dataset = self.common.crops[run.crops].dataset
        sizes = self.sizes(reference, scale)
        network = sizes.scaled(sizes.network)
        schedule = paper.schedule(run, sizes.network, dataset)
        optimizer = scaled_optimizer(schedule, sizes)
        method = paper.method(run, sizes, optimizer)
        model, training = sizes.spec(sizes.network), self.common.training
        teacher = self.settings(run.teacher) if run.teacher else None
        return Run(
            paper=key,
            name=name,
            dataset=dataset,
            crops=run.crops,
            synthetic=run.synthetic,
            input=sizes.input,
            modality=run.modality,
            model=model,
            output=network.output,
            exports=(model, *(method.branches if method else ())),
            codec=paper.codec(run, network, dataset, sizes.input),
            flip_test=paper.flip_test(),
            scales=paper.scales(),
            augmentation=paper.augmentation[dataset].model_dump(),
            antialias=getattr(paper, "antialias", False),
            optimizer=optimizer.model_dump(),
            epochs=max(1, round(schedule.epochs * sizes.scale.epochs)),
            batch_size=sizes.scale.batch_size or schedule.batch_size,
            train_samples=sizes.scale.train_samples,
            val_samples=sizes.scale.val_samples,
            threads=sizes.scale.threads,
            precision=training.precision,
            compile=training.compile,
            validation=training.validation,
            validations=training.validations,
            pretrained=getattr(paper, "pretrained", False) and network.published and network == sizes.network,
            method=method.name if method else network.output,
            settings=method.settings if method else {},
            teacher=run.teacher,
            teacher_input=self.sizes(run.teacher, self.partner_scale(run.teacher, scale)).input if teacher else None,
            teacher_modality=teacher.modality if teacher else None,
            init=run.init,
            prior=run.prior,
        )

    def partner_scale(self, reference: str, scale: Scale | None) -> Scale:
        """The scale of another run, which may be of another paper."""
        return FULL if scale is FULL else self.profile.papers[reference.partition("/")[0]]


def load_params(path: Path | str = PARAMS) -> Params:
    """Read and check params.yaml (YAML 1.2, so 1e-3 is a number as it is for DVC).

    Raises InputError: one line with the key path, the value, what is allowed and the nearest known key.
    """
    content = read_yaml(Path(path))
    papers = names(PAPERS)
    sections = [*Common.model_fields, "profiles", "models", *papers]
    for key in content:
        if key not in sections:
            raise InputError(
                f"{path}: unknown key {key}{suggestion(str(key), sections)}; known here: {', '.join(sections)}"
            )
    for key in sections:
        if key not in content:
            raise InputError(f"{path}: missing key {key}")
    common = validated(Common, {name: content[name] for name in Common.model_fields}, path)
    profiles = {
        name: profile(entry, papers, f"profiles.{name}", path) for name, entry in mapping(content, "profiles", path)
    }
    models = {name: network(entry, f"models.{name}", path) for name, entry in mapping(content, "models", path)}
    settings = {name: validated(find(PAPERS, name, str(path)).Settings, content[name], path, name) for name in papers}
    params = Params(common, profiles, models, settings, official())
    known(f"{path}: profile", common.profile, profiles)
    check_sections(params, path)
    for name in papers:
        check_paper(params, name, path)
    check_limits(params, path)
    return params


def official() -> dict[str, list[dict[str, Any]]]:
    """The files that the owner of each benchmark offers, as lib.data.fetch.Archive takes them."""
    archives = validated(dict[Name, tuple[OfficialFile, ...]], read_yaml(OFFICIAL), OFFICIAL)
    for name, files in archives.items():
        check_official(files, f"{OFFICIAL}: {name}")
    return {name: [one.model_dump(mode="json") for one in files] for name, files in archives.items()}


def mapping(content: dict[str, Any], key: str, path: Path | str) -> list[tuple[str, Any]]:
    """The entries of a section that maps names. Raises InputError where it is none."""
    entries = validated(dict[Name, Any], content[key], path, key)
    return list(entries.items())


def profile(content: Any, papers: tuple[str, ...], key: str, path: Path | str) -> Profile:
    """A profile: `crops`, scales by paper, what it trains and draws."""
    entries = validated(dict[Name, Any], content, path, key)
    choice = tuple(Choice.model_fields)
    for name in entries:
        known(f"{path}: a key of {key}", name, ("crops", *choice, "drawn", *papers))
    if "crops" not in entries:
        raise InputError(f"{path}: missing key {key}.crops")
    scales = {name: validated(Scale, entries.get(name, {}), path, f"{key}.{name}") for name in papers}
    drawn = validated(dict[Name, Any], entries.get("drawn", {}), path, f"{key}.drawn")
    for name, entry in drawn.items():
        known(f"{path}: a key of {key}.drawn", name, tuple(Data.model_fields))
        kind = Data.model_fields[name].annotation.model_fields["synthetic"].annotation
        drawn[name] = validated(kind, entry, path, f"{key}.drawn.{name}")
    return Profile(
        crops=validated(CropsScale, entries["crops"], path, f"{key}.crops"),
        papers=scales,
        choice=validated(Choice, {name: entries[name] for name in choice if name in entries}, path, key),
        drawn=drawn,
    )


def network(content: Any, key: str, path: Path | str) -> Network:
    """A network, by the name of its architecture."""
    name = content.get("name") if isinstance(content, dict) else None
    if name is None:
        raise InputError(f"{path}: missing key {key}.name")
    return validated(find(NETWORKS, name, f"{path}: {key}.name").Network, content, path, key)
