"""The figures of a report, benchmark by benchmark, and their captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from numpy.typing import NDArray

from lib.data.crops import open_crops
from lib.files import read_csv
from lib.metrics.scores import HEADLINE, unit_of
from lib.reporting import Study, named
from lib.reporting import figures as draw
from lib.reporting.examples import TOLERANCE, class_examples, person_panels, transfer_examples
from lib.reporting.provenance import seeds_of


def illustrate(paper: str, study: Study, folder: Path) -> list[str]:
    """Draw <benchmark>_{pck,history,people,transfer,classes}.png into a folder; return their markdown, with captions.

    Each is drawn as far as its runs were trained: `pck` where that is the metric, `people` where the images are, and
    where one of the roles is a teacher, `transfer` of its heatmaps or `classes` of it and of those who learn from it.
    Reads reports/plots/<paper>, data/raw/<benchmark>, crops and weights in models/<paper>.
    """
    name, persons, metric = study.benchmark.name, study.benchmark.persons, study.benchmark.metric
    roles = {role: run for role, run in study.benchmark.roles.items() if run in study.results}
    seed = seeds_of(study.results)[0]
    captions = {}
    lines = [run for run in study.benchmark.curves if run in study.results]
    dashed = ", the teacher dashed" if "teacher" in study.benchmark.roles else ""
    if lines and study.benchmark.length:
        draw_curves(paper, study, lines, folder)
        captions["pck"] = (
            f"The {metric.partition('@')[0]} of the {name} {persons} over the tolerated error; means over the "
            f"seeds{dashed}."
        )
    if lines:
        draw_histories(study, lines, folder)
        captions["history"] = (
            f"The {metric} on {name} during training, thin lines: single seeds. The last checkpoint is reported."
        )
    if roles and (Path("data/raw") / study.key).is_dir():
        draw_people(study, {role: study.results[run].predictions[seed] for role, run in roles.items()}, folder)
        found = (
            f"joints within {TOLERANCE[study.key]} {study.benchmark.length}"
            if study.benchmark.length
            else "each method's pose that is most similar to the labels, and its OKS"
        )
        captions["people"] = (
            f"Evenly spaced {name} {persons}, seed {seed}; {found}. Blue: the person's left, orange: right."
        )
    teacher = roles.get("teacher")
    if teacher and study.results[teacher].spec["output"] == "simcc":
        if draw_classes(paper, study, seed, folder):
            captions["classes"] = (
                f"What the networks see of evenly spaced {name} {persons}, pixel by pixel, and what they say about the "
                f"x of one joint, seed {seed}: probabilities of its classes, the teacher's merged to as many as the "
                "student's, without temperature; half of the view's width about the teacher's maximum. Grey, and "
                "dotted in the images: the label. The joint is the one of which the teacher is as certain as of the "
                "median joint."
            )
    elif teacher:
        crops = open_crops(study.crops, "train")
        examples = transfer_examples(crops, weights(paper, teacher, seed), study.results[teacher].spec)
        draw.transfer(examples, folder / f"{study.key}_transfer.png")
        captions["transfer"] = (
            f"{name} training crops chosen by rule, after Fig. 3. Circle: label, cross: teacher's maximum; "
            "either may be wrong."
        )
    return [shown(paper, f"{study.key}_{figure}", caption) for figure, caption in captions.items()]


def shown(paper: str, figure: str, caption: str) -> str:
    """The markdown of a figure of a paper, with its caption."""
    return f"![{caption}](figures/{paper}/{figure}.png)\n\n*{caption}*"


def draw_curves(paper: str, study: Study, runs: Sequence[str], folder: Path) -> None:
    """The PCK curves of some runs."""
    plots = {run: read_csv(Path("reports/plots") / paper / "pck" / f"{run}.csv") for run in runs}
    x, y = f"error tolerated, share of the {study.benchmark.length}", f"{study.benchmark.metric.partition('@')[0]}, %"
    draw.curves(plots, study.benchmark.roles.get("teacher"), x, y, folder / f"{study.key}_pck.png")


def draw_histories(study: Study, runs: Sequence[str], folder: Path, note: str = " (no flip test)") -> None:
    """The validation curves of some runs; note: behind the name of their metric."""
    histories = {run: [read_csv(path) for path in study.results[run].histories.values()] for run in runs}
    metric = HEADLINE[study.key]
    column, y = f"val_{metric}", f"validation {study.benchmark.metric}, {unit_of(metric).symbol}{note}"
    draw.histories(histories, column, study.benchmark.roles.get("teacher"), y, folder / f"{study.key}_history.png")


def draw_people(study: Study, predictions: Mapping[str, Mapping[str, NDArray]], folder: Path) -> None:
    """Predictions, by the role of their run, over images."""
    images, panels = person_panels(study.annotations, predictions, Path("data/raw") / study.key)
    draw.people(images, panels, *skeleton_of(study), folder / f"{study.key}_people.png")


def draw_classes(paper: str, study: Study, seed: int, folder: Path) -> bool:
    """Views and classes of those roles that learn from a teacher, beside those of their size that do not; any there?"""
    specs = {role: study.results[run].spec for role, run in study.benchmark.roles.items() if run in study.results}
    groups = []
    for role, spec in specs.items():
        if spec["teacher"] and named(spec["teacher"]) in study.results:
            alone = [one for one, other in specs.items() if not other["teacher"] and other["input"] == spec["input"]]
            runs = {one: specs[one]["name"] for one in (*alone, role) if one != "teacher"}
            groups.append(
                {one: weights(paper, run, seed) for one, run in {"teacher": named(spec["teacher"]), **runs}.items()}
            )
    if groups:
        antialias = next(iter(specs.values()))["antialias"]
        views, classes = class_examples(open_crops(study.crops, study.split), groups, antialias)
        draw.classes(views, classes, *skeleton_of(study), folder / f"{study.key}_classes.png")
    return bool(groups)


def skeleton_of(study: Study) -> tuple[list[tuple[int, int]], list[str]]:
    """Pairs of joints that a limb connects, and the joints' names."""
    category = study.annotations["categories"][0]
    return [(a - 1, b - 1) for a, b in category["skeleton"]], category["keypoints"]


def weights(paper: str, run: str, seed: int) -> Path:
    """The weights of a trained run."""
    return Path("models") / paper / run / f"seed{seed}" / "weights.safetensors"
