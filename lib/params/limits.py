"""Values that have the right type and no use: places that are none, schedules that never get there, odd teachers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lib.errors import InputError
from lib.named import suggestion
from lib.params.data import OfficialFile
from lib.params.networks import Network

if TYPE_CHECKING:
    from lib.params import Params

ORIGINS = ("synthetic", "official")


def check_limits(params: Params, path: Path | str) -> None:
    """Refuse sources that are misspelt and milestones that are no schedule; warn of teachers that can teach nothing."""
    for name, dataset in params.common.data:
        check_source(f"{path}: data.{name}.source", dataset.source)
    for name, profile in params.profiles.items():
        for paper, scale in profile.papers.items():
            if scale.decay is not None:
                check_rising(f"{path}: profiles.{name}.{paper}.decay", scale.decay, 1)
    for paper in params.papers:
        check_milestones(params, paper, path)
        for warning in teacher_warnings(params, paper):
            print(f"warning: {path}: {warning}", file=sys.stderr)


def check_source(key: str, source: str) -> None:
    """Refuse a word that is neither an origin nor a place: a folder of the user's has a separator, or is there."""
    if source in ORIGINS or "/" in source or source.startswith("~") or Path(source).exists():
        return
    near = suggestion(source, ORIGINS)
    raise InputError(
        f"{key} is {source!r}{near}; expected synthetic, official or a folder or archive, but there is no "
        f"{Path(source).absolute()}"
    )


def check_rising(key: str, values: Sequence[float], end: float) -> None:
    """Refuse numbers that do not rise, or do not end before `end`."""
    if any(one >= other for one, other in pairwise(values)) or (values and values[-1] >= end):
        raise InputError(f"{key} is {list(values)}; expected rising numbers below {end:g}, each once")


def check_milestones(params: Params, paper: str, path: Path | str) -> None:
    """Refuse milestones that no run of a paper reaches, and those that do not rise."""
    settings = params.papers[paper]
    longest: dict[tuple[int, ...], int] = {}
    for run in settings.runs.values():
        schedule = settings.schedule(run, params.models[run.model], params.common.crops[run.crops].dataset)
        milestones = schedule.optimizer.milestones
        longest[milestones] = max(schedule.epochs, longest.get(milestones, 0))
    for milestones, epochs in longest.items():
        check_rising(f"{path}: {paper}: milestones of a schedule of {epochs} epochs", milestones, epochs)


def teacher_warnings(params: Params, paper: str) -> Iterable[str]:
    """A line for each run whose teacher is its own network with the same input, or a smaller one."""
    settings = params.papers[paper]
    for name, run in settings.runs.items():
        if run.teacher is None:
            continue
        teacher = params.settings(run.teacher)
        crops, place = params.common.crops[run.crops].input, f"{paper}: {name}.teacher is {run.teacher}"
        student, other = params.models[run.model], params.models[teacher.model]
        alike = (teacher.modality, teacher.size(crops)) == (run.modality, run.size(crops))
        if alike and student == other:
            yield f"{place}, the same network with the same input: there is little to learn from it"
        elif smaller(other, student):
            yield f"{place}, a smaller network than its student: name the bigger one, if this is not meant"


def smaller(one: Network, other: Network) -> bool:
    """Whether a network has less of something than another of its architecture, and more of nothing."""
    if one.name != other.name:
        return False
    sizes = [{key: value for key, value in network.model_dump().items() if key != "split"} for network in (one, other)]
    pairs = [
        pair
        for key in sizes[0]
        for pair in zip(*(size[key] if isinstance(size[key], tuple) else (size[key],) for size in sizes), strict=False)
        if all(type(value) in (int, float) for value in pair)
    ]
    return all(less <= more for less, more in pairs) and any(less < more for less, more in pairs)


def check_official(files: Sequence[OfficialFile], key: str) -> None:
    """Refuse files and folders that lead out of data/downloads or data/raw, names used twice, and odd addresses."""
    for number, file in enumerate(files):
        where = f"{key}.{number}"
        if PurePosixPath(file.file).name != file.file or file.file in ("", "..") or "\0" in file.file:
            raise InputError(f"{where}.file is {file.file!r}; expected the name of a file in data/downloads")
        folder = PurePosixPath(file.folder)
        if folder.is_absolute() or ".." in folder.parts or not file.folder or "\0" in file.folder:
            raise InputError(f"{where}.folder is {file.folder!r}; expected a folder of data/raw, or .")
        if file.file in [other.file for other in files[:number]]:
            raise InputError(f"{where}.file is {file.file!r}, as of another entry; expected every file once")
        if len(set(file.urls)) < len(file.urls):
            raise InputError(f"{where}.urls names an address twice; expected every one once")
        for url in file.urls:
            if not url.startswith(("http://", "https://")) or url != url.strip():
                raise InputError(f"{where}.urls has {url!r}; expected an address of http or https")
