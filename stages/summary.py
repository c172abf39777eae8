"""Write reports/README.md, what the studies say about each paper's claims: `python -m stages.summary`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.files import atomic, read_csv
from lib.metrics.scores import HEADLINE, unit_of
from lib.papers import load_paper, paper_keys
from lib.reporting import claims, headline, load_details
from lib.reporting.markdown import bullets, markdown, with_spread
from lib.reporting.provenance import CHECK, CHECKED
from stages import load_spec, run

REPORTS = Path("reports")
ARCHIVE = "archive"  # studies made by hand; what a published one answers, they no longer do
OLDER = {ARCHIVE: ", an older study, put together by hand"}
STUDIES = ("published", ARCHIVE)  # folders; made by `python -m stages.publish`


def main() -> None:
    """The claims by published study, those on the benchmarks' own images first; then this working copy's reports."""
    text = ["# Did it work?", *published(), "## This working copy", *here()]
    with atomic(REPORTS / "README.md") as part:
        part.write_text("\n\n".join(block for block in text if block) + "\n", encoding="utf-8")


def published() -> list[str]:
    """A line per claim that a published study has tried, and a link to each study."""
    found = {path.parent: read_csv(path) for name in STUDIES for path in sorted((REPORTS / name).glob("*/claims.csv"))}
    if not found:
        return ["No study has been published: `python -m stages.publish` does it."]
    order = sorted(found, key=lambda folder: found[folder][0]["images"] == claims.DRAWN)
    links = {folder: f"{folder.relative_to(REPORTS).as_posix()}/README.md" for folder in order}
    rows, answered = [], set()
    for folder in order:
        entries = [entry for entry in found[folder] if entry["headline"]]
        if folder.parent.name == ARCHIVE:
            entries = [entry for entry in entries if asked(entry) not in answered]
        answered |= {asked(entry) for entry in entries}
        rows += [[f"[{entry['paper'].upper()}]({links[folder]})", *line(entry)] for entry in entries]
    header = ["paper", "claim", "on", "paper's gain", "elsewhere", "our gain", "verdict"]
    return [
        markdown(header, rows, len(header)),
        "A line is a claim that a study of ours has tried; its link leads to the study. A verdict holds for the data "
        "and the scale that the study names, and for no others.",
        claims.RULE,
        "## Studies",
        bullets(
            f"[{title(folder / 'README.md')}]({links[folder]}){OLDER.get(folder.parent.name, '')}" for folder in order
        ),
    ]


def asked(entry: Mapping[str, str]) -> tuple[str, ...]:
    """What a claim is, whoever tried it."""
    return entry["paper"], entry["claim"], entry["on"], entry["images"]


def line(entry: Mapping[str, str]) -> list[str]:
    """The cells of a claim without its paper."""
    on = f"{entry['on']}, {entry['images']}" if entry["images"] == claims.DRAWN else entry["on"]
    shown = (entry["claim"], on, claims.printed(entry), entry["elsewhere"], claims.measured(entry))
    return [*shown, f"**{entry['verdict']}**"]


def here() -> list[str]:
    """The reports of this working copy: a sentence where their profile checks only, else the roles' numbers."""
    evaluated = [key for key in paper_keys() if (REPORTS / "metrics" / f"{key}.details.json").is_file()]
    checked = {key for key in evaluated if load_spec(key)["profile"] == CHECK}
    text = [CHECKED.partition(";")[0] + "."] if checked else []
    text.append(bullets(f"[{load_paper(key).title}]({key}.md)" for key in evaluated))
    rows = [row for key in evaluated if key not in checked for row in numbers(key)]
    return [*text, markdown(["paper", "benchmark", "role", "result"], rows, 4) if rows else ""]


def numbers(key: str) -> Iterable[list[str]]:
    """The one number of each role that was trained, with its spread."""
    details = load_details(key)
    for name, benchmark in load_paper(key).benchmarks.items():
        unit = unit_of(HEADLINE[name])
        for role, trained in benchmark.roles.items():
            if trained in details:
                value = with_spread(*headline(details[trained]), unit.decimals)
                yield [f"[{key.upper()}]({key}.md)", benchmark.name, role, f"{benchmark.metric} {value} {unit.symbol}"]


def title(path: Path) -> str:
    """The first line of a markdown file without its heading marks."""
    return path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")


if __name__ == "__main__":
    run(main)
