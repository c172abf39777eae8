"""Write a paper's report: `python -m stages.report fpd` → reports/fpd.md and reports/figures/fpd/*.png."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.data.crops import Crops, open_crops
from lib.files import atomic
from lib.papers import Paper, load_paper
from lib.params import load_params
from lib.reporting import Result, load_results, paired_differences, provenance, read_csv, seed_scores
from lib.reporting import figures as draw
from lib.reporting import tables as make
from lib.reporting.examples import person_panels, transfer_examples
from stages import run


def main(key: str = "fpd") -> None:
    """Read models, metrics, plots, annotations and crops of a paper; write its report and figures."""
    params, paper = load_params(), load_paper(key)
    results = load_results(Path("models") / key, params.runs(key))
    metrics, costs, machine = (
        json.loads((Path("reports/metrics") / f"{name}.json").read_text())
        for name in (key, "complexity", "complexity.environment")
    )
    annotations = json.loads((Path("data/annotations") / paper.dataset / "val.json").read_text())
    crops = open_crops(Path("data/crops") / paper.dataset, "train")

    spec = results[paper.roles["distilled"]].spec if paper.roles["distilled"] in results else None
    limit = next(iter(results.values())).spec["train_samples"] or len(crops.ids)
    persons = {"train": min(limit, len(crops.ids)), "test": next(iter(metrics.values()))["persons"]}
    here = provenance.scale(paper, results, annotations["info"], persons)

    text = [
        f"# {paper.title} ({paper.venue})",
        provenance.warning(paper, here, annotations["info"]["source"]),
        provenance.scale_table(paper, here, params.profile, results),
        make.LEGEND,
        paper.counting,
    ]
    for table in paper.tables:
        text += [f"## Table {table.number} – {table.title}", make.printed_table(table, metrics, costs), table.note]
    complexity = params.complexity
    text += [
        "## Measured speed",
        f"Full-size networks, {' × '.join(map(str, complexity.input))} px, {machine['hardware']}, "
        f"threads: {machine['threads']}, PyTorch {machine['torch']}.",
        make.speed_table(costs, complexity.batch_sizes, complexity.reference),
    ]
    text += ["## Effect of the distillation", *effects(paper, results, annotations)]
    with atomic(Path("reports/figures") / key) as folder:
        folder.mkdir()
        text += ["## Figures", *illustrate(folder, paper, results, annotations, crops)]
    text += ["## Decisions", make.decision_table(paper, spec)]
    text += ["## Contradictions in the paper", "\n".join(f"* {sentence}" for sentence in paper.contradictions)]
    with atomic(Path("reports") / f"{key}.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n")


def effects(paper: Paper, results: Mapping[str, Result], annotations: Mapping[str, Any]) -> list[str]:
    """Paired differences of the runs that differ by the teacher alone, each with a verdict."""
    text = []
    for effect in paper.effects:
        treated, control = effect["treated"], effect["control"]
        text += [f"### {effect['question']}", f"`{treated}` against `{control}`: {effect['note']}."]
        if not (treated in results and control in results):
            text.append("Not run.")
            continue
        scores = [seed_scores(annotations, results[name]) for name in (treated, control)]
        differences = {metric: paired_differences(*scores, metric) for metric in ("mean", "auc")}
        text += [make.effect_table(treated, control, differences), make.verdict(list(differences["mean"].values()))]
        text.append(f"The paper reports {effect['printed']}.")
    return text


def illustrate(
    folder: Path, paper: Paper, results: Mapping[str, Result], annotations: Mapping[str, Any], crops: Crops
) -> list[str]:
    """Draw the figures into a folder; return their markdown."""
    plots, images = Path("reports/plots") / paper.key, Path("data/raw") / paper.dataset
    runs = [name for name in paper.curves if name in results]
    draw.curves({name: read_csv(plots / "pck" / f"{name}.csv") for name in runs}, folder / "pck.png")
    histories = {name: [read_csv(path) for path in results[name].histories.values()] for name in runs}
    draw.histories(histories, folder / "history.png")
    text = [
        figure(paper, "pck", "PCK on the test persons over the tolerated error; means over the seeds."),
        figure(paper, "history", "PCK during training, thin lines: single seeds. The last checkpoint is reported."),
    ]
    shown = {role: results[name] for role, name in paper.roles.items() if name in results}
    seed = provenance.seeds_of(results)[0]
    if images.is_dir():
        category = annotations["categories"][0]
        skeleton = [(a - 1, b - 1) for a, b in category["skeleton"]]
        predictions = {role: result.predictions[seed] for role, result in shown.items()}
        draw.people(
            *person_panels(annotations, predictions, images), skeleton, category["keypoints"], folder / "people.png"
        )
        caption = (
            "Evenly spaced test persons, seed %d; joints within 0.2 torso. Blue: the person's left, orange: right."
        )
        text.append(figure(paper, "people", caption % seed))
    if "teacher" in shown:
        weights = Path("models") / paper.key / paper.roles["teacher"] / f"seed{seed}" / "weights.safetensors"
        draw.transfer(transfer_examples(crops, weights, shown["teacher"].spec), folder / "transfer.png")
        caption = (
            "Training crops chosen by rule, after Fig. 3. Circle: label, cross: teacher's maximum; either may be wrong."
        )
        text.append(figure(paper, "transfer", caption))
    return text


def figure(paper: Paper, name: str, caption: str) -> str:
    """A figure of the report with its caption."""
    return f"![{caption}](figures/{paper.key}/{name}.png)\n\n*{caption}*"


if __name__ == "__main__":
    run(main)
