"""Papers: what each one prints, and which of our runs fills which row of its tables."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib.errors import InputError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One row of a printed table, or one of ours below it.

    labels: texts of the label columns. printed: the numbers as printed, in the order of the accuracy and then the cost
    columns; "-" where the paper prints a dash, empty where it prints nothing; no entries in a row of ours. runs fill
    the accuracy columns (reports/metrics/<paper>.details.json), "" the columns of no name, any other those of its name;
    a row without runs is not run. The sum over networks fills the cost columns (reports/metrics/complexity.json).
    elsewhere: what others measured, by source and column.
    """

    labels: tuple[str, ...]
    printed: tuple[str, ...]
    own: bool
    runs: dict[str, str]
    networks: tuple[str, ...]
    elsewhere: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def run(self) -> str | None:
        """The run of the columns of no name."""
        return self.runs.get("")


@dataclass(frozen=True)
class Table:
    """One printed table: columns and their headings, rows in order; number: as printed, None of one of ours.

    accuracy: a column is a `metric`, a `name.metric` of the row's run of that name, or a difference `a - b` of two
    such, paired by seed. settings: by name, the dotted keys of a run's spec.json that stand behind the name of each
    run. transposed: rows are printed as columns. truncated: costs are printed cut, not rounded. plot: columns x, y of
    a figure of all rows, and the label that groups them; empty where there is none.
    """

    number: str | None
    title: str
    note: str
    labels: dict[str, str]
    settings: dict[str, str]
    accuracy: dict[str, str]
    cost: dict[str, str]
    rows: tuple[Row, ...]
    transposed: bool
    truncated: bool
    plot: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of a paper.

    metric: its one number in words; persons: who is evaluated. roles: the runs that the paper is about, in words of its
    own, the method's last; a "teacher" is drawn dashed and compared with the labels. curves: the runs of the line
    figures, in words, the roles' own among them. scale: the paper's own, in its words; its "networks" are by role, and
    so are its "input" and "epochs" where the roles' differ. length: what tolerated errors are measured in, empty where
    there is no PCK. gain: the two curves between which an area is drawn, the method's last. table: our own, where no
    printed one is about the benchmark.
    """

    name: str
    metric: str
    persons: str
    roles: dict[str, str]
    curves: dict[str, str]
    scale: dict[str, Any]
    length: str = ""
    gain: tuple[str, ...] = ()
    table: Table | None = None

    @property
    def noun(self) -> str:
        """What is evaluated, in one word: persons or hands."""
        return self.persons.rpartition(" ")[2]


def operands(column: str) -> list[tuple[str, str]]:
    """Names of a row's runs and metrics that an accuracy column shows: one, or the two of a difference."""
    parts = [part.rpartition(".") for part in column.split(" - ")]
    return [(name, metric) for name, _, metric in parts]


@dataclass(frozen=True)
class Claim:
    """One statement of a paper: a run, `treated`, does better than another, its `control`, by some gain.

    on: where, in words. gain: the paper's own, as printed, in the benchmark's one number and positive where that is
    better; empty where it prints none; where: its table. note: what the two runs share. elsewhere: gains that others
    measured, each with its `source`, what it is `on`, and perhaps a `note`. headline: one of the few that stand for
    the paper.
    """

    claim: str
    on: str
    treated: str
    control: str
    gain: str
    where: str
    note: str
    elsewhere: tuple[dict[str, str], ...] = ()
    headline: bool = False

    @property
    def runs(self) -> tuple[str, str]:
        """Both runs, the treated one first."""
        return self.treated, self.control


@dataclass(frozen=True)
class Paper:
    """A paper as its report needs it; see lib/papers/*.yaml for the meaning of the parts."""

    key: str
    title: str
    venue: str
    benchmarks: dict[str, Benchmark]
    counting: str
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    decisions: tuple[dict[str, Any], ...]
    contradictions: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)


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
    parts: dict[str, Any] = {name: tuple(content[name]) for name in ("decisions", "contradictions")}
    parts["benchmarks"] = {name: load_benchmark(entry) for name, entry in content["benchmarks"].items()}
    parts["claims"] = tuple(
        Claim(**entry | {"headline": "headline" in entry, "elsewhere": tuple(entry.get("elsewhere", ()))})
        for entry in content["claims"]
    )
    parts["tables"] = tuple(load_table(table) for table in content["tables"])
    return Paper(**content | parts)


def load_benchmark(content: dict[str, Any]) -> Benchmark:
    """One benchmark of a paper's YAML."""
    table = {"table": load_table(content["table"])} if "table" in content else {}
    return Benchmark(**content | {"gain": tuple(content.get("gain", ()))} | table)


def load_table(content: dict[str, Any]) -> Table:
    """One table of a paper's YAML: `rows` as printed, then `ours`."""
    labels = content["labels"]

    def row(entry: dict[str, Any]) -> Row:
        texts = tuple(entry[name] for name in labels)
        own = entry.get("quoted") != "true"
        network = entry.get("network", [])
        networks = (network,) if isinstance(network, str) else tuple(network)
        runs = ({"": entry["run"]} if "run" in entry else {}) | entry.get("runs", {})
        return Row(texts, tuple(entry.get("printed", ())), own, runs, networks, entry.get("elsewhere", {}))

    return Table(
        number=content.get("number"),
        title=content["title"],
        note=content.get("note", ""),
        labels=labels,
        settings=content.get("settings", {}),
        accuracy=content.get("accuracy", {}),
        cost=content.get("cost", {}),
        rows=tuple(row(entry) for entry in [*content["rows"], *content.get("ours", [])]),
        transposed=content.get("transposed") == "true",
        truncated=content.get("truncated") == "true",
        plot=content.get("plot", {}),
    )
