"""Write a paper's report: `python -m stages.report fpd` → reports/fpd.md and reports/figures/fpd/*.png."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.data.crops import open_crops
from lib.files import atomic
from lib.papers import Paper, load_paper
from lib.params import Params, load_params
from lib.reporting import Study, load_studies, provenance
from lib.reporting import tables as make
from lib.reporting.effects import effects
from lib.reporting.illustrations import illustrate
from stages import run

METRICS = Path("reports/metrics")


def main(key: str = "fpd") -> None:
    """Read models, metrics, plots, annotations and crops of a paper; write its report and figures."""
    params, paper = load_params(), load_paper(key)
    studies = load_studies(paper, params.runs(key))
    crops = {study.key: open_crops(Path("data/crops") / study.key, "train") for study in studies}
    here = {study.key: provenance.scale(study, len(crops[study.key].ids)) for study in studies}
    text = [
        f"# {paper.title} ({paper.venue})",
        provenance.warning(studies, here),
        provenance.scale_table(studies, here, params.profile),
        provenance.notes(studies),
        make.LEGEND,
        paper.counting,
        *tables(paper, studies, params),
        "## Effects",
        *effects(paper, studies),
        "## Figures",
    ]
    with atomic(Path("reports/figures") / key) as folder:
        folder.mkdir()
        for study in studies:
            text += illustrate(key, study, crops[study.key], folder)
    distilled = [(study.results, study.benchmark.roles["distilled"]) for study in studies]
    specs = [results[name].spec for results, name in distilled if name in results]
    text += ["## Decisions", make.decision_table(paper, specs)]
    text += ["## Contradictions in the paper", "\n".join(f"* {sentence}" for sentence in paper.contradictions)]
    with atomic(Path("reports") / f"{key}.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n")


def tables(paper: Paper, studies: Sequence[Study], params: Params) -> list[str]:
    """The printed tables, filled, and the measured speed of the full-size networks."""
    metrics, costs, machine = (load(name) for name in (paper.key, "complexity", "complexity.environment"))
    specs = {name: result.spec for study in studies for name, result in study.results.items()}
    paper_size = {name: getattr(params, paper.key).run(name).model.model_dump() for name in specs}
    text = []
    for table in paper.tables:
        filled = make.printed_table(table, metrics, costs, make.run_names(table, specs, paper_size))
        text += [f"## Table {table.number} – {table.title}", filled, table.note]
    complexity = params.complexity
    return [
        *text,
        "## Measured speed",
        f"Full-size networks, {' × '.join(map(str, complexity.input))} px, {machine['hardware']}, "
        f"threads: {machine['threads']}, PyTorch {machine['torch']}.",
        make.speed_table(costs, complexity.batch_sizes, complexity.reference),
    ]


def load(name: str) -> dict[str, Any]:
    """The content of reports/metrics/<name>.json."""
    return json.loads((METRICS / f"{name}.json").read_text())


if __name__ == "__main__":
    run(main)
