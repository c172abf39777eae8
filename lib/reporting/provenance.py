"""Where the numbers of a report come from: the scale of the trainings beside the paper's, data, seeds, revision."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.crops import open_crops
from lib.metrics.scores import evaluated
from lib.reporting import Result, Study, named
from lib.reporting.claims import NOT_RUN
from lib.reporting.markdown import bullets, folded, markdown
from lib.reporting.names import network, pixels

CHECK = "mini"  # the profile that checks that everything runs
CHECKED = (
    f"Profile `{CHECK}`: tiny networks and a few hundred images check that everything runs. Its numbers say nothing "
    "about a method, so there are no verdicts here; [published studies](README.md) have them."
)
NAMES = {
    "data": "data",
    "input": "network input, px",
    "networks": "network",
    "epochs": "epochs",
    "optimizer": "optimiser, learning rate, batch",
    "train": "training {}",
    "evaluated": "evaluated {}",
    "seeds": "seeds",
    "hardware": "hardware",
}

HELD_OUT = {"test": "", "heldout": ", held-out training persons"}
SCALE = ("input", "teacher_input", "model", "method", "settings", "epochs", "train_samples")  # entries of a spec


def scale(study: Study, people: Mapping[str, int], full: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What was really trained, under the keys of NAMES; settings are those of the last role that was run.

    people: number of training persons or hands that there are, by crops; full: the specs by run at the paper's scale.
    """
    results, roles = study.results, study.benchmark.roles
    last = next((run for run in reversed(roles.values()) if run in results), next(iter(results)))
    spec, optimizer = results[last].spec, results[last].spec["optimizer"]
    predictions = next(iter(results[last].predictions.values()))
    there = people[spec["crops"]] + (people[spec["synthetic"]] if spec["synthetic"] else 0)

    printed = study.benchmark.scale

    def by_role(key: str, text: Callable[[str], str]) -> dict[str, str]:
        return {role: text(roles[role]) if roles[role] in results else NOT_RUN for role in printed[key]}

    def seen(run: str) -> str:
        return pixels(results[run].spec["input"])

    def epochs(run: str) -> str:
        init, own = named(results[run].spec["init"]), results[run].spec["epochs"]
        return f"{results[init].spec['epochs']} + {own}" if init in results else str(own)

    def trained(run: str) -> str:
        model, published = results[run].spec["model"], full[run]["model"]
        keys = ("stem", "halvings") if "stacks" in model else ()
        return ", ".join([network(model), *(f"{model[key]} {key}" for key in keys if model[key] != published[key])])

    return {
        "data": study.annotations["info"]["source"],
        "input": by_role("input", seen) if isinstance(printed["input"], dict) else pixels(spec["input"]),
        "networks": by_role("networks", trained),
        "epochs": by_role("epochs", epochs) if isinstance(printed["epochs"], dict) else str(spec["epochs"]),
        "optimizer": f"{optimizer['name']}, {optimizer['lr']:g}, batches of {spec['batch_size']}",
        "train": f"{min(spec['train_samples'] or there, there):,}",
        "evaluated": f"{len(evaluated(study.annotations, predictions['images'])):,}{HELD_OUT[spec['validation']]}",
        "seeds": ", ".join(map(str, seeds_of(results))),
    }


def scale_table(study: Study, here: Mapping[str, Any]) -> str:
    """The scale of a benchmark's trainings beside the paper's, alike roles in one line; here: of `scale`."""
    rows, paper = [], study.benchmark.scale
    for key, text in NAMES.items():
        name, values = text.format(study.benchmark.noun), (paper[key], here.get(key, "see above"))
        if not isinstance(values[0], dict):
            rows.append([name, *values])
            continue
        groups: dict[tuple[str, str], list[str]] = {}
        for role in paper[key]:
            groups.setdefault((paper[key][role], here[key][role]), []).append(role)
        for texts, roles in groups.items():
            rows.append([f"{name}: {'; '.join(roles)}" if len(groups) > 1 else name, *texts])
    return markdown([study.benchmark.name, "paper", "here"], rows, 3)


def origin(studies: Sequence[Study]) -> str:
    """Revision, hardware and PyTorch of the trainings of a report."""
    results = {run: result for study in studies for run, result in study.results.items()}
    revision, hardware, torch = (environments(results, key) for key in ("revision", "hardware", "torch"))
    edited = " (-dirty: with changes of code or settings that the commit lacks)" if "-dirty" in revision else ""
    return f"Trained at revision {revision}{edited} with PyTorch {torch} on {hardware}."


def scales(
    studies: Sequence[Study], shown: Sequence[Mapping[str, Any]], full: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What was trained, beside the paper's scale, on which data, where and by which revision; shown: of the roles."""
    crops = {study.crops.name for study in studies}
    crops |= {spec[part] for spec in shown for part in ("crops", "synthetic") if spec[part]}
    people = {name: len(open_crops(Path("data/crops") / name, "train").ids) for name in crops}
    compared = [scale_table(study, scale(study, people, full)) for study in studies]
    return [origin(studies), notes(studies, people), teachers(studies), folded("Scale of the trainings", *compared)]


def warning(studies: Sequence[Study], full: Mapping[str, Mapping[str, Any]]) -> str:
    """What the numbers of this report are: a plain statement for all benchmarks of the same source and scale.

    full: the specs by run at the paper's scale.
    """
    groups: dict[tuple[str, bool], list[str]] = {}
    for study in studies:
        same = all(at_full_scale(result.spec, full[run]) for run, result in study.results.items())
        groups.setdefault((study.annotations["info"]["source"], same), []).append(study.benchmark.name)
    return "\n\n".join(statement(listed(names), *group) for group, names in groups.items())


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence: A, B and C."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def statement(names: str, source: str, full: bool) -> str:
    """What the numbers on these benchmarks are; source: of their images, full: at the paper's scale."""
    scaled = "at the paper's scale" if full else "on a smaller scale than the paper's"
    images = "drawn by this project" if source == "synthetic" else f"the benchmark's ({source} copy)"
    if full and source != "synthetic":
        return f"{names}: images are {images}, networks trained {scaled}."
    return (
        f"**No reproduction of the numbers on {names}**: images are {images}, networks trained {scaled}. Our numbers "
        "can be compared with each other, not with printed ones."
    )


def alike(studies: Sequence[Study], full: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Those runs whose images are the benchmark's and whose scale is the paper's."""
    return {
        run
        for study in studies
        if study.annotations["info"]["source"] != "synthetic"
        for run, result in study.results.items()
        if at_full_scale(result.spec, full[run])
    }


def at_full_scale(spec: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """Whether what was trained is what the paper trains; full: its spec at the paper's scale."""
    return all(spec[key] == full[key] for key in SCALE)


def notes(studies: Sequence[Study], people: Mapping[str, int]) -> str:
    """What the data of each benchmark, and the rendered ones among them, are, as they say themselves.

    people: number of training persons or hands, by crops.
    """
    lines = [f"{study.benchmark.name} here: {study.annotations['info']['note']}." for study in studies]
    for study in studies:
        for crops in dict.fromkeys(result.spec["synthetic"] for result in study.results.values()):
            if crops:
                meta = json.loads((Path("data/crops") / crops / "meta.json").read_text(encoding="utf-8"))
                added = f"{people[crops]:,} rendered {study.benchmark.noun} added to its training"
                lines.append(f"{study.benchmark.name}, {added}: {meta['dataset']['note']}.")
    return bullets(lines)


def teachers(studies: Sequence[Study]) -> str:
    """How far each teacher's outputs were from the labels, on training crops and in the mode in which it taught."""
    lines = {}
    for result in (result for study in studies for result in study.results.values()):
        seen = [record["teacher"] for record in result.record.values() if "teacher" in record]
        if seen and result.spec["teacher"] not in lines:
            middle, mean, zero, above = (
                sum(one[key] for one in seen) / len(seen) for key in ("median", "mean", "empty", "above_empty")
            )
            errors = (middle, mean, max(one["worst"] for one in seen), zero)
            texts = [*(f"{error:.3g}" for error in errors), f"{100 * above:.1f} %"]
            lines[result.spec["teacher"]] = [f"`{result.spec['teacher']}`", *texts]
    if not lines:
        return ""
    noun = studies[0].benchmark.noun
    header = ["teacher", "median error", "mean", "worst", "empty output", f"{noun} above it"]
    return (
        f"How good each teacher was when it taught: the distance of its outputs from the labels of training {noun}, in "
        "a unit of their kind (maps, classes, poses). One that is no better than an empty output has nothing to teach."
        f"\n\n{markdown(header, lines.values())}"
    )


def seeds_of(results: Mapping[str, Result]) -> list[int]:
    """All seeds that occur, ascending."""
    return sorted({seed for result in results.values() for seed in result.predictions})


def environments(results: Mapping[str, Result], key: str) -> str:
    """The different values of an entry of the runs' records, in order of appearance."""
    records = [record for result in results.values() for record in result.record.values()]
    return ", ".join(dict.fromkeys(str(record[key]) for record in records)) or "not recorded on this machine"
