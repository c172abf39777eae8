"""Write reports/README.md, the index of the papers' reports: `python -m stages.summary`."""

import json
from pathlib import Path
from typing import Any

from lib.files import atomic
from lib.metrics.scores import HEADLINE, unit_of
from lib.papers import load_paper, paper_keys
from lib.reporting import load_results, on_benchmark
from lib.reporting.provenance import environments, seeds_of
from lib.reporting.tables import NOT_RUN, markdown, with_spread
from stages import load_spec, run

REPORTS = Path("reports")


def main() -> None:
    """A row per evaluated paper and benchmark from metrics and runs, then links to the published results."""
    header = ["paper", "benchmark", "result", "profile", "data", "seeds", "revision", "hardware"]
    evaluated = [key for key in paper_keys() if (REPORTS / "metrics" / f"{key}.json").is_file()]
    rows = [row for key in evaluated for row in paper_rows(key)]
    text = ["# Reports", markdown(header, rows, len(header))]
    published = published_links(REPORTS / "published")
    if published:
        text += ["## Published results", "\n".join(published)]
    with atomic(REPORTS / "README.md") as part:
        part.write_text("\n\n".join(text) + "\n")


def paper_rows(key: str) -> list[list[str]]:
    """Per benchmark: the link to the report, the one number of each role, and what these come from."""
    paper = load_paper(key)
    metrics = json.loads((REPORTS / "metrics" / f"{key}.json").read_text())
    trained = load_results(Path("models") / key, metrics)
    rows = []
    for name, benchmark in paper.benchmarks.items():
        results = on_benchmark(trained, name)
        numbers = [f"{role} {headline(metrics.get(run), name)}" for role, run in benchmark.roles.items()]
        rows.append(
            [
                f"[{paper.title}]({key}.md)",
                benchmark.name,
                "<br>".join([f"{benchmark.metric}, {unit_of(HEADLINE[name]).symbol}:", *numbers]),
                f"`{load_spec(key)['profile']}`",
                data_source(name) if results else NOT_RUN,
                ", ".join(map(str, seeds_of(results))),
                environments(results, "revision"),
                environments(results, "hardware"),
            ]
        )
    return rows


def data_source(benchmark: str) -> str:
    """Where the images of an evaluated benchmark come from."""
    annotations = json.loads((Path("data/annotations") / benchmark / "val.json").read_text())
    return annotations["info"]["source"]


def headline(metrics: dict[str, Any] | None, benchmark: str) -> str:
    """The benchmark's one number of a run, with its spread."""
    if metrics is None:
        return NOT_RUN
    name = HEADLINE[benchmark]
    return with_spread(metrics[name], metrics.get("std", {}).get(name), unit_of(name).decimals)


def published_links(folder: Path) -> list[str]:
    """A link to every report below the folder, with its title line."""
    paths = sorted(folder.glob("*/*.md"))
    return [f"* [{title(path)}]({path.relative_to(REPORTS).as_posix()}) – {path.parent.name}" for path in paths]


def title(path: Path) -> str:
    """The first line of a markdown file without its heading marks."""
    return path.read_text().split("\n", 1)[0].lstrip("# ")


if __name__ == "__main__":
    run(main)
