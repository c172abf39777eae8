"""params.yaml as frozen objects: whatever is misspelt, of the wrong type or out of range is refused with one line."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from lib.errors import InputError
from lib.params.fpd import Fpd
from lib.params.sections import (
    Archive,
    Complexity,
    Data,
    Dataset,
    Model,
    Name,
    Optimizer,
    PackScale,
    PackSpec,
    PaperScale,
    Section,
    Size,
    Training,
    TrainSpec,
)

__all__ = ["PARAMS", "Archive", "Model", "Optimizer", "PackSpec", "Params", "TrainSpec", "load_params"]

PARAMS = Path("params.yaml")
SIDE_UNIT = 64  # px; an hourglass takes multiples of it


class Profile(Section):
    """One scale of the whole pipeline."""

    packs: PackScale
    fpd: PaperScale


class Params(Section):
    """The whole of params.yaml."""

    profile: str
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    profiles: dict[Name, Profile]
    data: Data
    packs: dict[Name, PackSpec]
    training: Training
    fpd: Fpd
    complexity: Complexity

    def dataset(self, name: str) -> Dataset:
        """The settings of a benchmark; InputError where there is none of that name."""
        require("dataset", name, Data.model_fields)
        return getattr(self.data, name)

    def pack_spec(self, name: str) -> PackSpec:
        """The crops `name` at the profile's resolution; InputError where there are none of that name."""
        require("pack", name, self.packs)
        pack = self.packs[name]
        return pack.model_copy(update={"input": self.input_size(name)})

    def input_size(self, pack: str) -> Size:
        """Height and width in px of a network that sees these crops: the profile's share, in steps of SIDE_UNIT."""
        share = self.profiles[self.profile].packs.resolution
        return tuple(max(1, round(side * share / SIDE_UNIT)) * SIDE_UNIT for side in self.packs[pack].input)

    def runs(self, paper: str) -> tuple[str, ...]:
        """Names of all runs of a paper, in the order of params.yaml; InputError for an unknown paper."""
        require("paper", paper, ["fpd"])
        return tuple(name for group in self.fpd.groups.values() for name in group)

    def train_spec(self, paper: str, run: str) -> TrainSpec:
        """What a run of a paper trains, at the profile's scale; InputError where there is none of that name."""
        require(f"run of {paper}", run, self.runs(paper))
        size = self.input_size(self.fpd.run(run).dataset)
        return self.fpd.train_spec(run, size, self.profiles[self.profile].fpd, self.training)


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

    def known(key: str, name: str, names: Iterable[str]) -> None:
        if name not in names:
            raise InputError(f"{path}: {key} is {name!r}{suggestion(name, names)}; known: {', '.join(names)}")

    known("profile", params.profile, params.profiles)
    known("complexity.reference", params.complexity.reference, params.complexity.networks)
    if len(set(params.seeds)) < len(params.seeds):
        raise InputError(f"{path}: seeds is {list(params.seeds)}; every seed once")
    for name, pack in params.packs.items():
        known(f"packs.{name}.dataset", pack.dataset, Data.model_fields)
        for side in pack.input:
            if side % SIDE_UNIT:
                raise InputError(f"{path}: packs.{name}.input has {side} px; hourglasses take multiples of {SIDE_UNIT}")
    names: list[str] = []
    for group, runs in params.fpd.groups.items():
        for name, run in runs.items():
            key = f"fpd.{group}.{name}"
            if name in names:
                raise InputError(f"{path}: {key}: the name {name} is taken by another run of fpd")
            names.append(name)
            known(f"{key}.dataset", run.dataset, params.packs)
            known(f"{key}.dataset", run.dataset, params.fpd.epochs)
            for role in {"teacher", "init"} & set(type(run).model_fields):
                other = getattr(run, role)
                known(f"{key}.{role}", other, params.fpd.supervised)
                source = params.fpd.supervised[other]
                if source.dataset != run.dataset:
                    raise InputError(
                        f"{path}: {key}.{role} is {other}, a network for {source.dataset}, not {run.dataset}"
                    )
                if role == "init" and source.model != run.model:
                    raise InputError(f"{path}: {key}.model differs from that of {other}, whose weights it starts from")
    low, high = params.fpd.augmentation.scale
    if low > high:
        raise InputError(f"{path}: fpd.augmentation.scale is [{low:g}, {high:g}]; the smaller number first")


def require(kind: str, name: str, names: Iterable[str]) -> None:
    """Refuse a name that params.yaml does not have."""
    if name not in names:
        raise InputError(f"{PARAMS} has no {kind} {name}{suggestion(name, names)}; known: {', '.join(names)}")


def describe(error: dict[str, Any]) -> str:
    """One validation error of pydantic as one line."""
    location = [part for part in error["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in location) or "the file"
    if error["type"] == "extra_forbidden":
        siblings = keys_of(Params, location[:-1])
        return f"unknown key {path}{suggestion(str(location[-1]), siblings)}; known here: {', '.join(siblings)}"
    if error["type"] == "missing":
        return f"missing key {path}"
    value = error["input"]
    shown = "a mapping" if isinstance(value, dict) else repr(value)
    message = error["msg"].replace("tuple", "list").replace("array", "list").replace("an object", "a mapping")
    return f"{path} is {shown}: {message[0].lower()}{message[1:]}"


def keys_of(model: Any, location: list[str | int]) -> list[str]:
    """The keys allowed at a place of params.yaml."""
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:
            model = get_args(model)[-1] if isinstance(part, str) else get_args(model)[0]
    return list(model.model_fields)


def suggestion(name: str, names: Iterable[str]) -> str:
    """` (did you mean ...?)` where a known name is near, else nothing."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
