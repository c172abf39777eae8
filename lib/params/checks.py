"""What a schema cannot say: names that point to something, and settings that fit each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lib.errors import InputError
from lib.named import suggestion
from lib.params.data import Data
from lib.params.papers import GROUPS, PARTNERS, BaseRun, Paper
from lib.params.reading import describe
from lib.params.scales import FULL, SIDE_UNIT

if TYPE_CHECKING:
    from lib.params import Params

MOST_SHOWN = 20  # names in a message
SYNTHETIC = "mano"  # the crops that the stage synthesize makes


def known(key: str, name: str, names: Iterable[str]) -> None:
    """Refuse a value that is none of the names it has to be among."""
    names = list(names)
    if name not in names:
        shown = names if len(names) <= MOST_SHOWN else [*names[:MOST_SHOWN], f"and {len(names) - MOST_SHOWN} more"]
        raise InputError(f"{key} is {name!r}{suggestion(name, names)}; known: {', '.join(shown)}")


def check_sections(params: Params, path: Path | str) -> None:
    """Refuse names that point to nothing, names used twice and sizes that the networks cannot take."""
    common = params.common
    chosen = {"benchmarks": common.benchmarks}
    chosen |= {f"profiles.{name}.benchmarks": one.choice.benchmarks or () for name, one in params.profiles.items()}
    for key, values in {"seeds": common.seeds, **chosen}.items():
        if len(set(values)) < len(values):
            raise InputError(f"{path}: {key} is {list(values)}; every one once")
    for key, names in chosen.items():
        for name in names:
            known(f"{path}: an entry of {key}", name, Data.model_fields)
    complexity = common.complexity
    known(f"{path}: complexity.reference", complexity.reference, complexity.networks)
    for part in ("networks", "training"):
        for name, entry in getattr(complexity, part).items():
            known(f"{path}: complexity.{part}.{name}.model", entry.model, params.models)
    for name, entry in complexity.training.items():
        try:
            params.models[entry.model].branches(entry.auxiliary, entry.shared)
        except ValueError as error:
            raise InputError(f"{path}: complexity.training.{name}: {error}") from None
    near, far = common.synthesis.distance
    if near > far:
        raise InputError(f"{path}: synthesis.distance is [{near:g}, {far:g}]; the smaller number first")
    for name, crops in common.crops.items():
        if name == SYNTHETIC:
            raise InputError(f"{path}: crops.{name}: the name {name} is that of the rendered hands; choose another")
        known(f"{path}: crops.{name}.dataset", crops.dataset, Data.model_fields)
        for side in crops.input:
            if side % SIDE_UNIT:
                raise InputError(f"{path}: crops.{name}.input has {side} px; hourglasses take multiples of {SIDE_UNIT}")
    for name, profile in params.profiles.items():
        for paper, scale in profile.papers.items():
            if scale.resolution > profile.crops.resolution:
                raise InputError(
                    f"{path}: profiles.{name}.{paper}.resolution is above that of the crops, "
                    f"{profile.crops.resolution:g}: raise profiles.{name}.crops.resolution"
                )
            for network in scale.rates:
                found = {model.name for model in params.models.values()}
                known(f"{path}: a key of profiles.{name}.{paper}.rates", network, sorted(found))


def check_paper(params: Params, paper: str, path: Path | str) -> None:
    """Refuse runs of a paper that point to nothing or do not fit what they point to."""
    settings = params.papers[paper]
    seen: set[str] = set()
    for group, runs in settings.groups.items():
        for name, run in runs.items():
            key = f"{path}: {paper}.{group}.{name}"
            if name in seen:
                raise InputError(f"{key}: the name {name} is taken by another run of {paper}")
            seen.add(name)
            check_names(params, key, group, run, settings)
    for name, run in settings.runs.items():
        key = f"{path}: {paper}.{next(group for group, runs in settings.groups.items() if name in runs)}.{name}"
        check_partners(params, paper, key, run)
        check_method(params, f"{paper}/{name}", key, run)
    for dataset, augmentation in settings.augmentation.items():
        low, high = augmentation.scale
        if low > high:
            key = f"{paper}.augmentation.{dataset}.scale"
            raise InputError(f"{path}: {key} is [{low:g}, {high:g}]; the smaller number first")
    if settings.scales() != (1,):
        check_scales(params, paper, path)


def check_scales(params: Params, paper: str, path: Path | str) -> None:
    """Refuse sizes that are there twice, and any for networks whose outputs are no maps to be averaged."""
    settings = params.papers[paper]
    key = f"{path}: {paper}.decoding.scales is {list(settings.scales())}"
    if len(set(settings.scales())) < len(settings.scales()):
        raise InputError(f"{key}; every one once")
    for name, run in settings.runs.items():
        output = params.models[run.model].output
        if output != "heatmap":
            raise InputError(f"{key}; only heatmaps are averaged over sizes, and {name} tells {output}: set it to [1]")


def check_names(params: Params, key: str, group: str, run: BaseRun, settings: Paper[Any]) -> None:
    """Refuse crops, models and partners that are not there or do not fit, and inputs that the network cannot take."""
    known(f"{key}.crops", run.crops, params.common.crops)
    known(f"the benchmark of {key}.crops", params.common.crops[run.crops].dataset, sorted(settings.benchmarks))
    known(f"{key}.model", run.model, params.models)
    network = params.models[run.model]
    known(f"the output of {key}.model", network.output, settings.outputs)
    if run.input and run.input % network.unit:
        raise InputError(
            f"{key}.input is {run.input} px; a network named {network.name} takes multiples of {network.unit}"
        )
    for role in (*PARTNERS, "synthetic"):
        named = getattr(run, role) is not None
        if named != (role in GROUPS[group]):
            fits = [other for other, roles in GROUPS.items() if set(roles) == named_roles(run)]
            needed = " and ".join(GROUPS[group]) or "no other run"
            raise InputError(
                f"{key} {'names' if named else 'lacks'} {role}; runs of this group name {needed}"
                + (f": move it to {fits[0]}" if fits else "")
            )
    if run.synthetic is not None:
        known(f"{key}.synthetic", run.synthetic, (SYNTHETIC,))


def named_roles(run: BaseRun) -> set[str]:
    """Which partners a run names."""
    return {role for role in (*PARTNERS, "synthetic") if getattr(run, role) is not None}


def check_partners(params: Params, paper: str, key: str, run: BaseRun) -> None:
    """Refuse partners that are not there, of other crops, and of another kind than the method takes."""
    references = [f"{name}/{other}" for name, settings in params.papers.items() for other in settings.runs]
    for role in PARTNERS:
        reference = getattr(run, role)
        if reference is None:
            continue
        known(f"{key}.{role}", reference, references)
        other = params.settings(reference)
        if role != "prior" and other.crops != run.crops:
            raise InputError(f"{key}.{role} is {reference}, a network for {other.crops}, not {run.crops}")
        if role != "prior" and (other.teacher or other.init):
            raise InputError(
                f"{key}.{role} is {reference}, which starts or learns from another run; expected one of alone"
            )
        if role == "init" and other.model != run.model:
            raise InputError(f"{key}.model differs from that of {reference}, whose weights it starts from")
        if role == "teacher":
            check_teacher(params, key, run, other)
        try:
            params.papers[paper].partner(role, run, other)
        except ValueError as error:
            raise InputError(f"{key}.{role} is {reference}: {error}") from None


def check_teacher(params: Params, key: str, run: BaseRun, teacher: BaseRun) -> None:
    """Refuse a teacher whose outputs cannot be compared with the student's."""
    student, other = params.models[run.model], params.models[teacher.model]
    if student.learns_from != other.output:
        raise InputError(f"{key}.teacher is {run.teacher}, of output {other.output}, not {student.learns_from}")
    crops = params.common.crops[run.crops].input
    small, large = run.size(crops), teacher.size(crops)
    if any(bigger % side for side, bigger in zip(small, large, strict=True)):
        raise InputError(f"{key}.input is {list(small)} and the teacher's {list(large)} px; expected a multiple")


def check_method(params: Params, reference: str, key: str, run: BaseRun) -> None:
    """Refuse settings that the run's method does not have, and those that do not fit each other."""
    paper = params.papers[reference.partition("/")[0]]
    try:
        resolved = params.run(reference, FULL)
    except ValidationError as error:  # the paper has no value for what the run does not name
        raise InputError(describe(error.errors()[0], None, key)) from None
    except ValueError as error:
        raise InputError(f"{key}: {error}") from None
    used = {*BaseRun.model_fields, *resolved.settings, *paper.own_keys(run)}
    for name in run.model_fields_set - used:
        settings = ", ".join(resolved.settings) or "none"
        raise InputError(f"{key}.{name}: the method {resolved.method} has no such setting; it has: {settings}")
