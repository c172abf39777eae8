"""Write a paper's report: `python -m stages.report fpd` → reports/fpd.md and reports/figures/fpd/*.png."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.files import atomic
from lib.metrics.scores import HANDS
from lib.papers import Paper, load_paper
from lib.reporting import (
    Study,
    claims,
    costs,
    exported,
    hands,
    load_details,
    load_specs,
    load_studies,
    provenance,
    seed_scores,
    tables,
)
from lib.reporting.illustrations import LEGEND, draw_systems, illustrate
from lib.reporting.markdown import bullets, folded
from lib.reporting.names import decision_table, run_names
from stages import leave_out, load_spec, run

METRICS = Path("reports/metrics")


def main(key: str = "") -> None:
    """Read models, metrics, plots, annotations and crops of a paper; write its report and figures."""
    paper = load_paper(key)
    full: dict[str, dict[str, Any]] = {}
    for name, spec in load_specs(key).items():
        full |= exported(name, spec)
    studies, details = load_studies(paper), load_details(key)
    if not studies:
        return leave_out_report(paper)
    specs = {name: result.spec for study in studies for name, result in study.results.items()}
    shown = [specs[run] for study in studies for run in study.benchmark.roles.values() if run in specs]
    text = [
        f"# {paper.title} ({paper.venue})",
        *answer(paper, studies, details, full),
        tables.LEGEND,
        *printed(paper, studies, details, specs, full),
        "## Figures",
        LEGEND,
    ]
    with atomic(Path("reports/figures") / key) as folder:
        folder.mkdir()
        for table in paper.tables:
            text += draw_systems(paper, table, folder)
        for study in studies:
            text += (hands.illustrate if study.key in HANDS else illustrate)(key, study, details, folder)
    left_open = decision_table(paper, [spec for spec in shown if spec["settings"]])
    text += ["## Decisions", folded(f"{len(paper.decisions)} things that the paper leaves open", left_open)]
    text += ["## Contradictions in the paper", bullets(paper.contradictions)]
    text += ["## Scale and provenance", *provenance.scales(studies, shown, full)]
    named = {network for table in paper.tables for row in table.rows for network in row.networks}
    if named:
        machine, latency = load("complexity.environment"), load("latency")
        text += costs.speed(named, load_spec("complexity"), load("complexity"), machine, latency)
    with atomic(Path("reports") / f"{key}.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n", encoding="utf-8")


def leave_out_report(paper: Paper) -> None:
    """The report of a paper of which params.yaml asks for no run."""
    leave_out(Path("reports/figures") / paper.key)
    with atomic(Path("reports") / f"{paper.key}.md") as part:
        part.write_text(
            f"# {paper.title} ({paper.venue})\n\nNot run: left out by benchmarks or rows of params.yaml.\n",
            encoding="utf-8",
        )


def answer(
    paper: Paper, studies: Sequence[Study], details: Mapping[str, Any], full: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What the paper claims and what came out here; nothing came out of a profile that checks."""
    entries = claims.records(paper, details)
    checked = load_spec(paper.key)["profile"] == provenance.CHECK
    return [
        provenance.CHECKED if checked else provenance.warning(studies, full),
        "## Claims",
        claims.claim_table(entries, judged=not checked),
        "" if checked else claims.RULE,
        folded("Runs, seeds and sources", claims.pair_list(paper, entries), claims.other_gains(paper)),
    ]


def printed(
    paper: Paper,
    studies: Sequence[Study],
    details: Mapping[str, Any],
    specs: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The printed tables, filled, and one for each benchmark that none of them is about; specs: of all trained runs."""
    scores = {run: seed_scores(found) for run, found in details.items()}
    counted, alike = load("complexity"), provenance.alike(studies, full)
    text, filled = [], set()
    for table in paper.tables:
        runs = [run for row in table.rows for run in row.runs.values()]
        filled.update(runs)
        names = run_names(runs, specs, full, table.settings)
        text.append(f"## Table {table.number} – {table.title}")
        text += tables.printed_table(table, scores, names, alike, paper.sources)
        text += [costs.cost_table(table, counted), table.note]
    text.append(folded("How it is counted", paper.counting))
    for study in studies:
        if not filled & study.results.keys():
            text += tables.unprinted(study, scores, run_names(study.results, specs, full, {}))
        text += tables.search_table(study, scores)
    return text


def load(name: str) -> dict[str, Any]:
    """The content of reports/metrics/<name>.json."""
    return json.loads((METRICS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
