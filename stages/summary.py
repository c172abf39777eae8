"""Write reports/README.md, the index of the papers' reports: `python -m stages.summary`."""

import json
from pathlib import Path

from lib.files import atomic
from lib.papers import load_paper, paper_keys
from lib.params import load_params
from lib.reporting import load_results
from lib.reporting.provenance import environments, seeds_of
from lib.reporting.tables import NOT_RUN, markdown, with_spread
from stages import run

REPORTS = Path("reports")


def main() -> None:
    """One line per paper from its metrics and runs, then links to the published results in reports/published/."""
    params = load_params()
    header = ["paper", "mean over the joints, %", "profile", "data", "seeds", "revision", "hardware"]
    rows = [paper_row(key, params.runs(key), params.profile) for key in paper_keys()]
    text = ["# Reports", markdown(header, rows, len(header))]
    published = published_links(REPORTS / "published")
    if published:
        text += ["## Published results", "\n".join(published)]
    with atomic(REPORTS / "README.md") as part:
        part.write_text("\n\n".join(text) + "\n")


def paper_row(key: str, runs: tuple[str, ...], profile: str) -> list[str]:
    """The link to a report, its headline numbers, and what they come from."""
    paper = load_paper(key)
    metrics = json.loads((REPORTS / "metrics" / f"{key}.json").read_text())
    results = load_results(Path("models") / key, runs)
    headline = [f"{role} {headline_number(metrics.get(name))}" for role, name in paper.roles.items()]
    return [
        f"[{paper.title}]({key}.md)",
        "<br>".join(headline),
        f"`{profile}`",
        f"{paper.dataset}, {environments(results, 'dataset_source')}",
        ", ".join(map(str, seeds_of(results))),
        environments(results, "revision"),
        environments(results, "hardware"),
    ]


def headline_number(metrics: dict | None) -> str:
    """The mean of a run with its spread."""
    return with_spread(metrics["mean"], metrics.get("std", {}).get("mean")) if metrics else NOT_RUN


def published_links(folder: Path) -> list[str]:
    """A link to every report below the folder, with its title line."""
    paths = sorted(folder.glob("*/*.md"))
    return [f"* [{title(path)}]({path.relative_to(REPORTS).as_posix()}) – {path.parent.name}" for path in paths]


def title(path: Path) -> str:
    """The first line of a markdown file without its heading marks."""
    return path.read_text().split("\n", 1)[0].lstrip("# ")


if __name__ == "__main__":
    run(main)
