"""Write a paper's report: `python -m stages.report fpd` → reports/fpd.md and reports/figures/fpd/*.png."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.crops import open_crops
from lib.files import atomic
from lib.metrics.scores import HANDS
from lib.papers import Paper, load_paper
from lib.reporting import Study, exported, hands, load_specs, load_studies, provenance, seed_scores
from lib.reporting import tables as make
from lib.reporting.effects import effects
from lib.reporting.illustrations import illustrate
from stages import leave_out, load_spec, run


def main(key: str = "") -> None:
    """Read models, metrics, plots, annotations and crops of a paper; write its report and figures."""
    paper = load_paper(key)
    full: dict[str, dict[str, Any]] = {}
    for name, spec in load_specs(key).items():
        full |= exported(name, spec)
    studies = load_studies(paper)
    if not studies:
        return leave_out_report(paper)
    specs = {name: result.spec for study in studies for name, result in study.results.items()}
    shown = [specs[run] for study in studies for run in study.benchmark.roles.values() if run in specs]
    crops = {study.crops.name for study in studies}
    crops |= {spec[part] for spec in shown for part in ("crops", "synthetic") if spec[part]}
    people = {name: len(open_crops(Path("data/crops") / name, "train").ids) for name in crops}
    here = {study.key: provenance.scale(study, people, full) for study in studies}
    text = [
        f"# {paper.title} ({paper.venue})",
        provenance.warning(studies, full),
        provenance.scale_table(studies, here, load_spec(key)["profile"]),
        provenance.notes(studies, people),
        provenance.teachers(studies),
        make.LEGEND,
        paper.counting,
        *tables(paper, studies, specs, full),
        *speed(paper, load_spec("complexity")),
        "## Effects",
        *effects(paper, studies),
        "## Figures",
    ]
    with atomic(Path("reports/figures") / key) as folder:
        folder.mkdir()
        for study in studies:
            text += (hands.illustrate if study.key in HANDS else illustrate)(key, study, folder)
    text += ["## Decisions", make.decision_table(paper, [spec for spec in shown if spec["settings"]])]
    text += ["## Contradictions in the paper", "\n".join(f"* {sentence}" for sentence in paper.contradictions)]
    with atomic(Path("reports") / f"{key}.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n")


def leave_out_report(paper: Paper) -> None:
    """The report of a paper of which params.yaml asks for no run."""
    leave_out(Path("reports/figures") / paper.key)
    with atomic(Path("reports") / f"{paper.key}.md") as part:
        part.write_text(f"# {paper.title} ({paper.venue})\n\nNot run: left out by benchmarks or rows of params.yaml.\n")


def tables(
    paper: Paper,
    studies: Sequence[Study],
    specs: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The printed tables, filled, and one for each benchmark that none of them is about; specs: of all trained runs."""
    metrics, costs = load(paper.key), load("complexity")
    differing = [table for table in paper.tables if any(" - " in column for column in table.accuracy)]
    compared = {run for table in differing for row in table.rows for run in row.runs.values()}
    scores = {
        run: seed_scores(study.annotations, study.results[run])
        for study in studies
        for run in compared & study.results.keys()
    }
    text, printed = [], set()
    for table in paper.tables:
        runs = [run for row in table.rows for run in row.runs.values()]
        printed.update(runs)
        names = make.run_names(runs, specs, full, table.settings)
        filled = make.printed_table(table, metrics, costs, names, scores)
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


def speed(paper: Paper, complexity: Mapping[str, Any]) -> list[str]:
    """The measured speed of those full-size networks that the paper's tables name, and of the reference."""
    named = {network for table in paper.tables for row in table.rows for network in row.networks}
    if not named:
        return []
    costs, machine = load("complexity"), load("complexity.environment")
    timed = {name: costs[name] for name in complexity["networks"] if name in named or name == complexity["reference"]}
    inputs = {name: complexity["networks"][name]["input"] for name in timed}
    columns = [name for name in make.COSTS if any(name in table.cost for table in paper.tables)]
    text = (
        f"Full-size networks, {machine['hardware']}, threads: {machine['threads']}, PyTorch {machine['torch']}. "
        f"× `{complexity['reference']}`: images/s relative to that network"
    )
    if len(set(map(tuple, inputs.values()))) > 1:
        text += " at its own input, so that a smaller image is a part of the factor"
    return [
        "## Measured speed",
        f"{text}.",
        make.speed_table(timed, inputs, columns, complexity["batch_sizes"], complexity["reference"]),
        *(make.latencies(load("latency"), inputs) if (Path("reports/metrics") / "latency.json").is_file() else ()),
    ]


def load(name: str) -> dict[str, Any]:
    """The content of reports/metrics/<name>.json."""
    return json.loads((Path("reports/metrics") / f"{name}.json").read_text())


if __name__ == "__main__":
    run(main)
