"""Papers: what each one prints, and which of our runs fills which row of its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.errors import InputError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of a paper.

    metric: its one number in words; persons: who is evaluated. roles: the runs that the paper is about, in words of its
    own, the method's last; a "teacher" is drawn dashed and compared with the labels. curves: the runs of the line
    figures. scale: the paper's own, in its words; its "networks" are by role, and so are its "input" and "epochs" where
    the roles' differ. length: what tolerated errors are measured in, empty where there is no PCK. gain: the two runs
    between whose curves an area is drawn, the method's last.
    """

    name: str
    metric: str
    persons: str
    roles: dict[str, str]
    curves: tuple[str, ...]
    scale: dict[str, Any]
    length: str = ""
    gain: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """What is evaluated, in one word: persons or hands."""
        return self.persons.rpartition(" ")[2]


@dataclass(frozen=True)
class Row:
    """One row of a printed table, or one of ours below it.

    labels: texts of the label columns. printed: the numbers as printed, in the order of the accuracy and then the cost
    columns; "-" where the paper prints a dash, empty where it prints nothing; no entries in a row of ours. runs fill
    the accuracy columns (reports/metrics/<paper>.json), "" the columns of no name, any other those of its name; a row
    without runs is not run. The sum over networks fills the cost columns (reports/metrics/complexity.json).
    """

    labels: tuple[str, ...]
    printed: tuple[str, ...]
    own: bool
    runs: dict[str, str]
    networks: tuple[str, ...]

    @property
    def run(self) -> str | None:
        """The run of the columns of no name."""
        return self.runs.get("")


@dataclass(frozen=True)
class Table:
    """One printed table: columns and their headings, rows in order.

    accuracy: a column is a `metric`, a `name.metric` of the row's run of that name, or a difference `a - b` of two
    such, paired by seed. settings: by name, the dotted keys of a run's spec.json that stand behind the name of each
    run. transposed: rows are printed as columns. truncated: costs are printed cut, not rounded.
    """

    number: int
    title: str
    note: str
    labels: dict[str, str]
    settings: dict[str, str]
    accuracy: dict[str, str]
    cost: dict[str, str]
    rows: tuple[Row, ...]
    transposed: bool
    truncated: bool


def operands(column: str) -> list[tuple[str, str]]:
    """Names of a row's runs and metrics that an accuracy column shows: one, or the two of a difference."""
    parts = [part.rpartition(".") for part in column.split(" - ")]
    return [(name, metric) for name, _, metric in parts]


@dataclass(frozen=True)
class Paper:
    """A paper as its report needs it; see lib/papers/*.yaml for the meaning of the parts."""

    key: str
    title: str
    venue: str
    benchmarks: dict[str, Benchmark]
    counting: str
    tables: tuple[Table, ...]
    effects: tuple[dict[str, str], ...]
    decisions: tuple[dict[str, Any], ...]
    contradictions: tuple[str, ...]


def paper_keys() -> tuple[str, ...]:
    """Keys of all papers, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_paper(key: str) -> Paper:
    """Read lib/papers/<key>.yaml. Every scalar is text, so that a printed 93.0 stays 93.0.

    Raises InputError for an unknown paper.
    """
    path = FOLDER / f"{key}.yaml"
    if not path.is_file():
        raise InputError(f"which paper? {key!r} is none; known: {', '.join(paper_keys())}")
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    parts: dict[str, Any] = {name: tuple(content[name]) for name in ("effects", "decisions", "contradictions")}
    parts["benchmarks"] = {
        name: Benchmark(**entry | {key: tuple(entry[key]) for key in ("curves", "gain") if key in entry})
        for name, entry in content["benchmarks"].items()
    }
    parts["tables"] = tuple(load_table(table) for table in content["tables"])
    return Paper(**content | parts)


def load_table(content: dict[str, Any]) -> Table:
    """One table of a paper's YAML: `rows` as printed, then `ours`."""
    labels = content["labels"]

    def row(entry: dict[str, Any]) -> Row:
        texts = tuple(entry[name] for name in labels)
        own = entry.get("quoted") != "true"
        network = entry.get("network", [])
        networks = (network,) if isinstance(network, str) else tuple(network)
        runs = ({"": entry["run"]} if "run" in entry else {}) | entry.get("runs", {})
        return Row(texts, tuple(entry.get("printed", ())), own, runs, networks)

    return Table(
        number=int(content["number"]),
        title=content["title"],
        note=content.get("note", ""),
        labels=labels,
        settings=content.get("settings", {}),
        accuracy=content.get("accuracy", {}),
        cost=content.get("cost", {}),
        rows=tuple(row(entry) for entry in [*content["rows"], *content.get("ours", [])]),
        transposed=content.get("transposed") == "true",
        truncated=content.get("truncated") == "true",
    )
