"""The figures of a report, benchmark by benchmark, and their captions."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lib.data.crops import open_crops
from lib.files import read_csv
from lib.metrics.scores import HANDS, HEADLINE, unit_of
from lib.papers import Paper, Table
from lib.reporting import Study, headline, named
from lib.reporting import figures as draw
from lib.reporting.examples import TOLERANCE, class_examples, person_panels, transfer_examples
from lib.reporting.provenance import seeds_of

LEGEND = (
    "Lines are means over the seeds, thin ones single seeds; grey is the mean pose of the training set. A run that "
    "continues another counts its own epochs. The last checkpoint is reported."
)
LEAST_AP = 1.0  # %, of a network that has learned something


def illustrate(paper: str, study: Study, details: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw <benchmark>_{pck,history,people,transfer,classes}.png into a folder; return their markdown, with captions.

    Each is drawn as far as its runs were trained: `pck` where that is the metric, and where the networks have learned,
    `people` where the images are, and where one of the roles is a teacher, `transfer` of its heatmaps or `classes` of
    it and of those who learn from it. Reads reports/plots/<paper>, data/raw/<benchmark>, crops and weights in
    models/<paper>; details: of the trained runs.
    """
    name, persons = study.benchmark.name, study.benchmark.persons
    roles = {role: run for role, run in study.benchmark.roles.items() if run in study.results}
    seed = seeds_of(study.results)[0]
    captions = line_figures(paper, study, details, folder)
    if not learned(study, details):
        return [shown(paper, f"{study.key}_{figure}", caption) for figure, caption in captions.items()]
    if (Path("data/raw") / study.key).is_dir():
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


def learned(study: Study, details: Mapping[str, Any]) -> bool:
    """Whether the last role, the method, does better than the mean pose: else its poses are scribbles.

    Where there is no mean pose, on COCO, it needs an AP of LEAST_AP.
    """
    runs = [run for run in study.benchmark.roles.values() if run in details]
    if not runs:
        return False
    metric, (found, _) = HEADLINE[study.key], headline(details[runs[-1]])
    if f"{study.key}_mean_pose" not in details:
        return found >= LEAST_AP
    chance, _ = headline(details[f"{study.key}_mean_pose"])
    return found < chance if unit_of(metric).lower_is_better else found > chance


def line_figures(paper: str, study: Study, details: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw <benchmark>_pck.png and <benchmark>_history.png as far as there are curves; return their captions."""
    benchmark, captions = study.benchmark, {}
    persons, metric = f"{benchmark.name} {benchmark.persons}", benchmark.metric
    flip_test = "" if study.key in HANDS else ", without flip test"
    dashed = ", the teacher dashed" if benchmark.roles.get("teacher") in study.results else ""
    if benchmark.length and draw_curves(paper, study, folder):
        captions["pck"] = f"The {curve_of(study)} of the {persons} over the tolerated error{dashed}."
    if draw_histories(study, details, folder):
        captions["history"] = f"The {metric} on {benchmark.name} during training{flip_test}."
    return captions


def shown(paper: str, figure: str, caption: str) -> str:
    """The markdown of a figure of a paper, with its caption."""
    return f"![{figure}](figures/{paper}/{figure}.png)\n\n*{caption}*"


def read_curves(paper: str, study: Study) -> dict[str, draw.Points]:
    """The PCK curves of a benchmark: thresholds and % by name, the mean pose among them."""
    rows = read_csv(Path("reports/plots") / paper / f"{study.key}_pck.csv")
    names = [name for name in rows[0] if name != "threshold"]
    return {name: [(float(row["threshold"]), float(row[name])) for row in rows] for name in names}


def draw_curves(paper: str, study: Study, folder: Path) -> bool:
    """The PCK curves of a benchmark; whether there are any."""
    unit = "mm" if study.key in HANDS else f"share of the {study.benchmark.length}"
    path = folder / f"{study.key}_pck.png"
    return draw.curves(read_curves(paper, study), f"error tolerated, {unit}", f"{curve_of(study)}, %", path)


def draw_systems(paper: Paper, table: Table, folder: Path) -> list[str]:
    """Accuracy against cost of all rows of a table that asks for it, as printed; the figure's markdown."""
    if not table.plot:
        return []
    x, y, group = (table.plot[name] for name in ("x", "y", "group"))
    columns, labels = [*table.accuracy, *table.cost], [*table.labels]
    systems: dict[str, dict[str, tuple[float, float]]] = {}
    for row in table.rows:
        if row.printed:
            printed, texts = dict(zip(columns, row.printed, strict=True)), dict(zip(labels, row.labels, strict=True))
            points = systems.setdefault(texts.pop(group), {})
            name, *others = (re.sub(r" \[\d+\]", "", text) for text in texts.values())
            points[", ".join([name, *others]) if name in points else name] = (float(printed[x]), float(printed[y]))
    headings = table.accuracy | table.cost
    draw.scatter(systems, headings[x], headings[y], folder / f"table_{table.number}.png")
    caption = f"{headings[y]} against {headings[x]} of all systems of Table {table.number}, as printed, after Fig. 2."
    return [shown(paper.key, f"table_{table.number}", caption)]


def curve_of(study: Study) -> str:
    """What is drawn over the tolerated error, in words."""
    return "3D PCK" if study.key in HANDS else study.benchmark.metric.partition("@")[0]


def draw_histories(study: Study, details: Mapping[str, Any], folder: Path) -> bool:
    """The validation of a benchmark's curves during training; whether there are any."""
    metric = HEADLINE[study.key]
    seeds: dict[str, list[draw.Points]] = {}
    for name, run in study.benchmark.curves.items():
        if run in study.results:
            seeds[name] = [validation(read_csv(path), metric) for path in study.results[run].histories.values()]
    means = {
        name: [(points[0][0], sum(y for _, y in points) / len(points)) for points in zip(*found, strict=False)]
        for name, found in seeds.items()
    }
    several = {name: found for name, found in seeds.items() if len(found) > 1}
    chance = details.get(f"{study.key}_mean_pose")
    level = headline(chance)[0] if chance else None
    y = f"validation {study.benchmark.metric}, {unit_of(metric).symbol}"
    return draw.curves(means, "epoch", y, folder / f"{study.key}_history.png", several, level)


def validation(rows: Sequence[Mapping[str, str]], metric: str) -> draw.Points:
    """Epochs and what was measured after them."""
    return [(int(row["epoch"]), float(row[f"val_{metric}"])) for row in rows if row[f"val_{metric}"]]


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
            runs = {"teacher": named(spec["teacher"])} | runs
            groups.append({one: weights(paper, run, seed) for one, run in runs.items()})
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
