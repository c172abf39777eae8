"""Two revisions of this repository side by side: settings, trainings, and which results differ by more than noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean
from typing import Any

from tabulate import tabulate

from lib.metrics.scores import HEADLINE, unit_of
from lib.reporting import seed_scores
from lib.reporting.markdown import folded, markdown, signed
from lib.reporting.noise import NORMAL, interval

LIMIT = 60_000  # characters: a comment may have 65,536
PICTURES = 12  # pairs that are shown
ABSENT = "–"


@dataclass(frozen=True)
class Revision:
    """What a revision holds.

    name: as it was asked for; params: params.yaml; trainings: of dvc.lock, digests of what each run depends on, by run
    and path; details: of reports/metrics/<paper>.details.json, by run, both with the paper before the run's name;
    figures: digests of reports/figures.
    """

    name: str
    params: Mapping[str, Any]
    trainings: Mapping[str, Mapping[str, str]]
    details: Mapping[str, Mapping[str, Any]]
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """The name, of a commit the first twelve digits."""
        return self.name[:12] if len(self.name) == 40 else self.name


@dataclass(frozen=True)
class Section:
    """A part of a comparison: a sentence and a table; folded where a page can fold it."""

    text: str
    header: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    folded: bool = False


@dataclass(frozen=True)
class Change:
    """One run's headline number in two revisions: means, their difference, and its 95 % noise.

    seeds: how many pair, one or none where the noise is that of the evaluated joints, persons or hands.
    """

    run: str
    metric: str
    before: float
    after: float
    difference: float
    noise: float
    seeds: int

    @property
    def beyond(self) -> bool:
        """Whether the difference is larger than its noise."""
        return abs(self.difference) > self.noise

    def cells(self) -> tuple[str, ...]:
        """Texts of a table's line."""
        unit = unit_of(self.metric)
        decimals = max(2, unit.decimals)
        basis = f"{self.seeds} seeds" if self.seeds > 1 else "1 seed"
        values = (f"{self.before:.{decimals}f}", f"{self.after:.{decimals}f}", signed(self.difference, decimals))
        return f"`{self.run}`", f"{self.metric}, {unit.symbol}", *values, f"± {self.noise:.{decimals}f} ({basis})"


def changed(run: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    """How a run's headline number changed, from its details in two revisions.

    With two common seeds or more the noise is half of the 95 % interval of their paired differences, else that of the
    two samples: the standard errors of both, as if their errors were independent.
    """
    metric = HEADLINE[after["benchmark"]]
    scores = [{seed: found[metric] for seed, found in seed_scores(one).items()} for one in (before, after)]
    common = [seed for seed in scores[0] if seed in scores[1]]
    old, new = ([one[seed] for seed in common] if common else [*one.values()] for one in scores)
    noise = NORMAL * sqrt(before["error"] ** 2 + after["error"] ** 2)
    if len(common) > 1:
        low, high = interval([b - a for a, b in zip(old, new, strict=True)])
        noise = (high - low) / 2
    return Change(run, metric, mean(old), mean(new), mean(new) - mean(old), noise, len(common))


def compare(base: Revision, head: Revision, pictures: str = "") -> list[Section]:
    """The sections of a comparison; pictures: the address before <revision>/<path>, empty for none."""
    return [
        *settings(base, head),
        *trainings(base, head),
        *results(base, head),
        *(figures(base, head, pictures) if pictures else ()),
    ]


def settings(base: Revision, head: Revision) -> Iterator[Section]:
    """Which entries of params.yaml changed."""
    old, new = (dict(flat(one.params)) for one in (base, head))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    rows = [(f"`{key}`", *(str(one.get(key, ABSENT)) for one in (old, new))) for key in keys]
    yield Section(f"Settings that differ: {len(rows) or 'none'}.", ("params.yaml", base.heading, head.heading), rows)


def flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted key; a list is a leaf."""
    if isinstance(node, Mapping) and node:
        for name, child in node.items():
            yield from flat(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def trainings(base: Revision, head: Revision) -> Iterator[Section]:
    """Which trainings ran again, and because of what, which are new or gone, and which could not have changed."""
    old, new = base.trainings, head.trainings
    rows = []
    for run in dict.fromkeys([*old, *new]):
        if run not in new or run not in old:
            rows.append((f"`{run}`", "gone" if run not in new else "new"))
        elif old[run] != new[run]:
            paths = [path for path in {**old[run], **new[run]} if old[run].get(path) != new[run].get(path)]
            rows.append((f"`{run}`", ", ".join(f"`{path}`" for path in sorted(paths))))
    same = sum(old[run] == new[run] for run in old.keys() & new.keys())
    kinds = [reason for _, reason in rows]
    count = len(rows) - kinds.count("new") - kinds.count("gone")
    yield Section(
        f"Trainings: {count} ran again, {kinds.count('new')} are new, {kinds.count('gone')} gone; {same} could not "
        "have changed: all that they depend on is the same.",
        ("run", "because of"),
        rows,
        folded=True,
    )


def results(base: Revision, head: Revision) -> Iterator[Section]:
    """Changes beyond noise, then all others, then runs that only one of the revisions has."""
    old, new = base.details, head.details
    both = [run for run in new if run in old and not run.endswith("_mean_pose")]
    changes = [changed(run, old[run], new[run]) for run in both if old[run]["seeds"] != new[run]["seeds"]]
    beyond = sorted((one for one in changes if one.beyond), key=lambda one: -abs(one.difference / (one.noise or 1e-9)))
    within = [one for one in changes if not one.beyond]
    header = ("run", "metric", base.heading, head.heading, "difference", "noise, 95 %")
    chance = f" Of {len(changes)} some {0.05 * len(changes):.0f} would be by chance." if len(changes) > 10 else ""
    text = f"Results: {len(beyond)} of {len(changes)} numbers that changed did so beyond noise, of {len(both)} runs."
    yield Section(text + chance, header, [one.cells() for one in beyond])
    if within:
        yield Section(f"{len(within)} changes within noise", header, [one.cells() for one in within], folded=True)
    for kind, there, other in (("new", new, old), ("gone", old, new)):
        rows = [(f"`{run}`", *only(there[run])) for run in there if run not in other and not run.endswith("_mean_pose")]
        if rows:
            yield Section(f"{len(rows)} runs are {kind}", ("run", "metric", "value"), rows, folded=True)


def only(details: Mapping[str, Any]) -> tuple[str, str]:
    """Metric and mean of a run that has nothing to be compared with."""
    metric = HEADLINE[details["benchmark"]]
    unit = unit_of(metric)
    value = mean(found[metric] for found in seed_scores(details).values())
    return f"{metric}, {unit.symbol}", f"{value:.{max(2, unit.decimals)}f}"


def figures(base: Revision, head: Revision, address: str) -> Iterator[Section]:
    """The pictures that differ, beside each other."""
    paths = [path for path in dict.fromkeys([*base.figures, *head.figures])]
    paths = [path for path in paths if base.figures.get(path) != head.figures.get(path)]

    def picture(revision: Revision, path: str) -> str:
        found = f"{address}/{revision.name}/{path}"
        return f'<img src="{found}" width="400" alt="{path}">' if path in revision.figures else ABSENT

    rows = [(picture(base, path), picture(head, path)) for path in paths[:PICTURES]]
    if rows:
        text = f"{len(paths)} figures differ" + (f", the first {PICTURES}" if len(paths) > PICTURES else "")
        yield Section(text, (base.heading, head.heading), rows, folded=True)


def as_markdown(sections: Sequence[Section]) -> str:
    """A comment of at most LIMIT characters: the longest tables lose their last rows first."""
    shown = [len(section.rows) for section in sections]
    while len(text := "\n\n".join(block(*pair) for pair in zip(sections, shown, strict=True))) >= LIMIT:
        longest = shown.index(max(shown))
        shown[longest] = shown[longest] * 3 // 4
    return text + "\n"


def block(section: Section, shown: int) -> str:
    """A section in markdown, with its first rows."""
    if not section.rows:
        return section.text
    table = markdown(section.header, section.rows[:shown], 2)
    rest = f"\n\n… and {len(section.rows) - shown} more." if shown < len(section.rows) else ""
    return folded(section.text, table + rest) if section.folded else f"{section.text}\n\n{table}{rest}"


def as_text(sections: Sequence[Section]) -> str:
    """All of it, for a terminal."""
    blocks = []
    for section in sections:
        blocks.append(section.text)
        if section.rows:
            rows = [[cell.replace("`", "") for cell in row] for row in section.rows]
            blocks.append(tabulate(rows, section.header, "plain", disable_numparse=True))
    return "\n\n".join(blocks) + "\n"
