"""params.yaml as frozen objects: whatever is misspelt, of the wrong type or out of range is refused with one line."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from lib.errors import InputError
from lib.params.cdkd import Cdkd, Distilled
from lib.params.cmkg import Cmkg, Control, Plain, Target, Tested
from lib.params.cmkg import Distilled as CrossModal
from lib.params.fpd import Fpd
from lib.params.okdhp import Branched, Okdhp, auxiliary_models
from lib.params.papers import SIDE_UNIT, Paper, Supervised, TrainSpec, built, input_size, scaled_size
from lib.params.sections import (
    Archive,
    Complexity,
    Data,
    Dataset,
    MobilePoseModel,
    Model,
    Name,
    Optimizer,
    PackScale,
    PackSpec,
    PaperScale,
    Section,
    StackedModel,
    SynthesisSpec,
    Training,
    TrainingNetwork,
)

__all__ = [
    "PARAMS",
    "Archive",
    "Model",
    "Optimizer",
    "PackSpec",
    "Params",
    "SynthesisSpec",
    "TrainSpec",
    "auxiliary_models",
    "built",
    "load_params",
]

PARAMS = Path("params.yaml")
PAPERS = ("fpd", "okdhp", "cdkd", "cmkg")
SYNTHETIC = "mano"  # the crops that the stage synthesize makes
STRIDE = 32  # px; HRNet and ResNets take multiples of it
FULL = PaperScale(
    **dict.fromkeys(("resolution", "depth", "width", "epochs"), 1.0),
    **dict.fromkeys(("stem", "train_samples", "val_samples", "optimizer", "lr", "batch_size", "threads")),
)


class Profile(Section):
    """One scale of the whole pipeline."""

    packs: PackScale
    fpd: PaperScale
    okdhp: PaperScale
    cdkd: PaperScale
    cmkg: PaperScale


class Params(Section):
    """The whole of params.yaml."""

    profile: str
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    profiles: dict[Name, Profile]
    data: Data
    packs: dict[Name, PackSpec]
    synthesis: SynthesisSpec
    training: Training
    fpd: Fpd
    okdhp: Okdhp
    cdkd: Cdkd
    cmkg: Cmkg
    complexity: Complexity

    def dataset(self, name: str) -> Dataset:
        """The settings of a benchmark; InputError where there is none of that name."""
        require("dataset", name, Data.model_fields)
        return getattr(self.data, name)

    def pack_spec(self, name: str) -> PackSpec:
        """The crops `name` at the profile's resolution; InputError where there are none of that name."""
        require("pack", name, self.packs)
        pack = self.packs[name]
        return pack.model_copy(update={"input": scaled_size(pack.input, self.profiles[self.profile].packs.resolution)})

    def synthesis_spec(self) -> SynthesisSpec:
        """The rendered hands at the profile's resolution and number."""
        scale = self.profiles[self.profile].packs
        count, size = scale.synthetic or self.synthesis.count, scaled_size(self.synthesis.size, scale.resolution)
        return self.synthesis.model_copy(update={"count": count, "size": size})

    def paper(self, name: str) -> Paper:
        """The settings of a paper; InputError where there is none of that name."""
        require("paper", name, PAPERS)
        return getattr(self, name)

    def runs(self, paper: str) -> tuple[str, ...]:
        """Names of all runs of a paper, in the order of params.yaml; InputError for an unknown paper."""
        return tuple(name for group in self.paper(paper).groups.values() for name in group)

    def train_spec(self, paper: str, run: str) -> TrainSpec:
        """What a run of a paper trains, at the profile's scale; InputError where there is none of that name."""
        return self.spec(paper, run, getattr(self.profiles[self.profile], paper))

    def paper_spec(self, paper: str, run: str) -> TrainSpec:
        """What a run trains at the paper's own scale; InputError where there is none of that name."""
        return self.spec(paper, run, FULL)

    def spec(self, paper: str, run: str, scale: PaperScale) -> TrainSpec:
        """What a run trains at a scale of network and schedule."""
        require(f"run of {paper}", run, self.runs(paper))
        return self.paper(paper).train_spec(paper, run, self.packs, scale, self.training)


def load_params(path: Path | str = PARAMS) -> Params:
    """Read and check params.yaml (YAML 1.2, so 1e-3 is a number as it is for DVC).

    Raises InputError: one line with the key path, the value, what is allowed and the nearest known key.
    """
    try:
        content = YAML(typ="safe").load(Path(path))
    except FileNotFoundError:
        raise InputError(f"{path} not found: run in the repository's root") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem}") from None
    try:
        params = Params.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error.errors()[0])}") from None
    check(params, path)
    return params


def check(params: Params, path: Path | str) -> None:
    """Refuse names that point to nothing, names used twice and sizes that the networks cannot take."""

    known(f"{path}: profile", params.profile, params.profiles)
    known(f"{path}: complexity.reference", params.complexity.reference, params.complexity.networks)
    for name, network in params.complexity.training.items():
        check_branches(f"{path}: complexity.training.{name}", network)
    if len(set(params.seeds)) < len(params.seeds):
        raise InputError(f"{path}: seeds is {list(params.seeds)}; every seed once")
    near, far = params.synthesis.distance
    if near > far:
        raise InputError(f"{path}: synthesis.distance is [{near:g}, {far:g}]; the smaller number first")
    for name, pack in params.packs.items():
        if name == SYNTHETIC:
            raise InputError(f"{path}: packs.{name}: the name {name} is that of the rendered hands; choose another")
        known(f"{path}: packs.{name}.dataset", pack.dataset, Data.model_fields)
        for side in pack.input:
            if side % SIDE_UNIT:
                raise InputError(f"{path}: packs.{name}.input has {side} px; hourglasses take multiples of {SIDE_UNIT}")
    for name, profile in params.profiles.items():
        for paper in PAPERS:
            if getattr(profile, paper).resolution > profile.packs.resolution:
                raise InputError(
                    f"{path}: profiles.{name}.{paper}.resolution is above that of the crops, "
                    f"{profile.packs.resolution:g}: raise profiles.{name}.packs.resolution"
                )
    for paper in PAPERS:
        check_paper(params, paper, path)


def check_paper(params: Params, paper: str, path: Path | str) -> None:
    """Refuse runs of a paper that point to nothing or do not fit what they point to."""
    settings = params.paper(paper)
    names: list[str] = []
    for group, runs in settings.groups.items():
        for name, run in runs.items():
            key = f"{paper}.{group}.{name}"
            if name in names:
                raise InputError(f"{path}: {key}: the name {name} is taken by another run of {paper}")
            names.append(name)
            known(f"{path}: {key}.crops", run.crops, params.packs)
            known(f"{path}: the benchmark of {key}.crops", params.packs[run.crops].dataset, sorted(settings.benchmarks))
            check_input(f"{path}: {key}", run)
            for role in {"teacher", "init"} & set(type(run).model_fields):
                other = getattr(run, role)
                known(f"{path}: {key}.{role}", other, settings.sources)
                source = settings.sources[other]
                if source.crops != run.crops:
                    raise InputError(f"{path}: {key}.{role} is {other}, a network for {source.crops}, not {run.crops}")
                if role == "init" and source.model != run.model:
                    raise InputError(f"{path}: {key}.model differs from that of {other}, whose weights it starts from")
            if isinstance(run, Branched):
                check_branches(f"{path}: {key}", run)
            if isinstance(run, Distilled):
                check_domains(f"{path}: {key}", run, settings, params)
            if isinstance(settings, Cmkg):
                check_hands(f"{path}: {key}", group, run, settings)
    for dataset, augmentation in settings.augmentation.items():
        low, high = augmentation.scale
        if low > high:
            key = f"{paper}.augmentation.{dataset}.scale"
            raise InputError(f"{path}: {key} is [{low:g}, {high:g}]; the smaller number first")


def check_input(key: str, run: Supervised) -> None:
    """Refuse an input that the network cannot take."""
    unit = SIDE_UNIT if isinstance(run.model, StackedModel) else STRIDE
    for side in run.input or ():
        if side % unit:
            raise InputError(f"{key}.input has {side} px; a network named {run.model.name} takes multiples of {unit}")


def check_domains(key: str, run: Distilled, settings: Cdkd, params: Params) -> None:
    """Refuse a teacher whose maps or classes cannot be aligned with the student's."""
    teacher = settings.supervised[run.teacher]
    if teacher.model.head != run.model.head:
        raise InputError(f"{key}.teacher is {run.teacher}, of head {teacher.model.head}, not {run.model.head}")
    if settings.distillation(run, FULL).logits != "none" and run.model.head != "simcc":
        raise InputError(f"{key} has a head for heatmaps, whose classes cannot be aligned: logits: none")
    sides = [input_size(one, params.packs, FULL) for one in (run, teacher)]
    if any(large % small for small, large in zip(*sides, strict=True)):
        raise InputError(f"{key}.input is {list(sides[0])} and the teacher's {list(sides[1])} px; expected a multiple")


def check_hands(key: str, group: str, run: Plain, settings: Cmkg) -> None:
    """Refuse partners of another kind, and what a group's stage would not depend on."""
    needed = SYNTHETIC if group.endswith("synthetic") or group == "meta_train" else None
    if run.synthetic != needed:
        raise InputError(f"{key}.synthetic is {run.synthetic!r}; expected {needed!r} in this group")
    if isinstance(run, Control) and settings.sources[run.init].modality != run.modality:
        raise InputError(f"{key}.init is {run.init}, a network of other images than {run.modality}")
    if isinstance(run, CrossModal):
        teacher = settings.sources[run.teacher]
        if teacher.modality != "depth" or teacher.model != run.model:
            raise InputError(f"{key}.teacher is {run.teacher}; expected a network of depth images with the same model")
    if isinstance(run, Target) and (run.norm is None) != (run.sigma is None):
        raise InputError(f"{key}: norm is {run.norm} and sigma {run.sigma}; expected both or none")
    if isinstance(run, Tested):
        known(f"{key}.prior", run.prior, settings.meta_train)
        source = settings.meta_train[run.prior]
        if (source.model, source.norm) != (run.model, run.norm):
            raise InputError(f"{key}.prior is {run.prior}, learned for another model or norm; expected the same ones")


def check_branches(key: str, run: Branched | TrainingNetwork) -> None:
    """Refuse branches without a part of their own."""
    if isinstance(run.model, MobilePoseModel):
        if run.shared or set(run.auxiliary) != {1}:
            raise InputError(
                f"{key}: shared is {run.shared} and auxiliary {list(run.auxiliary)}; branches of a MobilePose share "
                "the encoder and have one decoder each: shared 0 and a 1 for each further branch"
            )
    elif run.shared >= min(run.model.stacks, *run.auxiliary):
        raise InputError(
            f"{key}.shared is {run.shared}, but branches have {[run.model.stacks, *run.auxiliary]} stacks, the shared "
            "ones included: each needs one of its own"
        )


def known(key: str, name: str, names: Iterable[str]) -> None:
    """Refuse a value that is none of the names it has to be among."""
    if name not in names:
        raise InputError(f"{key} is {name!r}{suggestion(name, names)}; known: {', '.join(names)}")


def require(kind: str, name: str, names: Iterable[str]) -> None:
    """Refuse a name that params.yaml does not have."""
    if name not in names:
        raise InputError(f"{PARAMS} has no {kind} {name}{suggestion(name, names)}; known: {', '.join(names)}")


def describe(error: dict[str, Any]) -> str:
    """One validation error of pydantic as one line."""
    location, section = resolve([part for part in error["loc"] if part != "[key]"])
    path = ".".join(str(part) for part in location) or "the file"
    if error["type"] == "extra_forbidden":
        siblings = list(section.model_fields)
        return f"unknown key {path}{suggestion(str(location[-1]), siblings)}; known here: {', '.join(siblings)}"
    if error["type"] == "missing":
        return f"missing key {path}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = f"{path}.{error['ctx']['discriminator'].strip(chr(39))}"
        if error["type"] == "union_tag_not_found":
            return f"missing key {key}"
        tag, known = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "")
        return f"{key} is {tag!r}{suggestion(tag, known.split(', '))}; known: {known}"
    value = error["input"]
    shown = "a mapping" if isinstance(value, dict) else repr(value)
    message = error["msg"].replace("tuple", "list").replace("array", "list").replace("an object", "a mapping")
    return f"{path} is {shown}: {message[0].lower()}{message[1:]}"


def resolve(location: list[str | int]) -> tuple[list[str | int], Any]:
    """The keys and indices of pydantic's location, and the section of the last one.

    Where a key holds one of several sections, such as `model`, pydantic adds the chosen one's name to the location.
    """
    keys, section, kind = [], Params, Params
    for part in location:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) is UnionType:
            kind = next(one for one in get_args(kind) if part in tags(one))
            continue
        keys.append(part)
        section = kind
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[part].annotation if part in kind.model_fields else None
        else:
            kind = get_args(kind)[-1] if isinstance(part, str) else get_args(kind)[0]
    return keys, section


def tags(section: type[BaseModel]) -> list[str]:
    """What the keys of a section may be that take one of several words: its name among them."""
    return [word for field in section.model_fields.values() for word in get_args(field.annotation)]


def suggestion(name: str, names: Iterable[str]) -> str:
    """` (did you mean ...?)` where a known name is near, else nothing."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
