"""Write a paper's report: `python -m stages.report fpd` → reports/fpd.md and reports/figures/fpd/*.png."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.crops import open_crops
from lib.files import atomic
from lib.papers import Paper, load_paper
from lib.params.sections import Complexity
from lib.reporting import Study, exported, load_specs, load_studies, provenance
from lib.reporting import tables as make
from lib.reporting.effects import effects
from lib.reporting.illustrations import illustrate
from stages import load_spec, run

METRICS = Path("reports/metrics")


def main(key: str = "") -> None:
    """Read models, metrics, plots, annotations and crops of a paper; write its report and figures."""
    paper = load_paper(key)
    full: dict[str, dict[str, Any]] = {}
    for name, spec in load_specs(key).items():
        full |= exported(name, spec)
    studies = load_studies(paper)
    crops = {study.key: open_crops(study.crops, "train") for study in studies}
    here = {study.key: provenance.scale(study, len(crops[study.key].ids), full) for study in studies}
    text = [
        f"# {paper.title} ({paper.venue})",
        provenance.warning(studies, full),
        provenance.scale_table(studies, here, load_spec(key)["profile"]),
        provenance.notes(studies),
        make.LEGEND,
        paper.counting,
        *tables(paper, studies, full),
        *speed(paper, Complexity.model_validate(load_spec("complexity"))),
        "## Effects",
        *effects(paper, studies),
        "## Figures",
    ]
    with atomic(Path("reports/figures") / key) as folder:
        folder.mkdir()
        for study in studies:
            text += illustrate(key, study, crops[study.key], folder)
    shown = [study.results.get(run) for study in studies for run in study.benchmark.roles.values()]
    specs = [result.spec for result in shown if result and result.spec["distillation"]]
    text += ["## Decisions", make.decision_table(paper, specs)]
    text += ["## Contradictions in the paper", "\n".join(f"* {sentence}" for sentence in paper.contradictions)]
    with atomic(Path("reports") / f"{key}.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n")


def tables(paper: Paper, studies: Sequence[Study], full: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The printed tables, filled, and one for each benchmark that none of them is about; full: specs of all runs."""
    metrics, costs = load(paper.key), load("complexity")
    specs = {name: result.spec for study in studies for name, result in study.results.items()}
    text, printed = [], set()
    for table in paper.tables:
        runs = [row.run for row in table.rows if row.run]
        printed.update(runs)
        filled = make.printed_table(table, metrics, costs, make.run_names(runs, specs, full, table.settings))
        text += [f"## Table {table.number} – {table.title}", filled, table.note]
    for study in studies:
        if not printed & study.results.keys():
            names = {run: f"`{run}`" for run in study.benchmark.roles.values()}
            names |= make.run_names(study.results, specs, full, {})
            if study.benchmark.length:
                names[f"{study.key}_mean_pose"] = "mean pose of the training set, no image seen"
            text += [
                f"## {study.benchmark.name}: not in the paper",
                make.benchmark_table(study.benchmark, metrics, names),
                f"All metrics of `reports/metrics/{paper.key}.json`, in %.",
            ]
    return text


def speed(paper: Paper, complexity: Complexity) -> list[str]:
    """The measured speed of those full-size networks that the paper's tables name, and of the reference."""
    costs, machine = load("complexity"), load("complexity.environment")
    named = {network for table in paper.tables for row in table.rows for network in row.networks}
    timed = {name: costs[name] for name in complexity.networks if name in named or name == complexity.reference}
    inputs = {name: complexity.networks[name].input or complexity.input for name in timed}
    columns = [name for name in make.COSTS if any(name in table.cost for table in paper.tables)]
    text = (
        f"Full-size networks, {machine['hardware']}, threads: {machine['threads']}, PyTorch {machine['torch']}. "
        f"× `{complexity.reference}`: images/s relative to that network"
    )
    if len(set(inputs.values())) > 1:
        text += " at its own input, so that a smaller image is a part of the factor"
    return [
        "## Measured speed",
        f"{text}.",
        make.speed_table(timed, inputs, columns, complexity.batch_sizes, complexity.reference),
    ]


def load(name: str) -> dict[str, Any]:
    """The content of reports/metrics/<name>.json."""
    return json.loads((METRICS / f"{name}.json").read_text())


if __name__ == "__main__":
    run(main)
