"""Printed tables in markdown: what the paper prints, what others measured and what we did, a line each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lib.metrics.scores import EXPLODING, HEADLINE, SECOND, unit_of
from lib.papers import Benchmark, Row, Table, operands
from lib.reporting import MEAN_POSE, Study, paired_differences, searched, summarise
from lib.reporting.claims import NOT_RUN
from lib.reporting.markdown import bullets, decimals_of, folded, grouped, markdown, number, signed, with_spread

OURS, ELSEWHERE, NOBODY = "**ours**", "*elsewhere*", "nobody"
KINDS = ("", OURS, ELSEWHERE, "Δ")  # of the lines of a row; "": as printed; Δ: ours − printed
LEGEND = """\
Tables are the paper's, in its order. Plain numbers are printed in it, and a plain “ours” means its authors; *slanted*
ones were measured elsewhere, letters say by whom; **bold** ones are ours: mean ± sample standard deviation over the
seeds, of single joints the mean alone. A row without a line of ours was not run; “nobody” stands where there was nobody
to measure a number on. Δ, ours − paper, stands only where data and scale are the paper's."""
LETTERS = "abcdefgh"
WIDE = 6  # accuracy columns beyond which labels share a column, and single joints have no spread
Scores = Mapping[str, Mapping[int, Mapping[str, float]]]


def measured(column: str, row: Row, scores: Scores) -> dict[str, Any] | None:
    """The summary under the column's metric: of one of the row's runs, or of the paired difference of two.

    None where these were not run.
    """
    names, (metric, *_) = zip(*operands(column), strict=True)
    runs = [row.runs.get(name) for name in names]
    if not set(runs) <= set(scores):
        return None
    if len(runs) == 1:
        return summarise(scores[runs[0]])
    differences = paired_differences(*(scores[run] for run in runs), metric)
    return summarise({seed: {metric: value} for seed, value in differences.items()}) if differences else None


def our_cells(table: Table, row: Row, scores: Scores) -> list[tuple[str, str]]:
    """Our number in each accuracy column, and its difference to the printed one; empty where there is none."""
    cells = []
    for column, printed in zip(table.accuracy, printed_accuracy(table, row), strict=True):
        (_, metric), *_ = operands(column)
        found = measured(column, row, scores)
        if found is None:
            cells.append(("", ""))
        elif metric not in found:
            cells.append((NOBODY, ""))
        else:
            decimals = max(unit_of(metric).decimals, decimals_of(printed))
            spread = found.get("std", {}).get(metric) if shows_spread(table, metric) else None
            ours = f"**{with_spread(found[metric], spread, decimals)}**"
            difference = signed(found[metric] - float(printed), decimals) if number(printed) else ""
            cells.append((ours, difference))
    return cells


def shows_spread(table: Table, metric: str) -> bool:
    """In a wide table only the benchmark's own numbers have one, not single joints."""
    return len(table.accuracy) <= WIDE or metric in {*HEADLINE.values(), *SECOND.values()}


def printed_accuracy(table: Table, row: Row) -> Sequence[str]:
    """What a row prints in the accuracy columns."""
    return row.printed[: len(table.accuracy)] or ("",) * len(table.accuracy)


def lines(
    table: Table, row: Row, scores: Scores, letters: Mapping[str, str], alike: bool
) -> list[tuple[str, list[str]]]:
    """The lines that a row needs, each with its label; empty is that of the line with the row's own.

    letters: of the sources; alike: data and scale are the paper's, so that there are differences.
    """
    cells = our_cells(table, row, scores)
    printed, ours = list(printed_accuracy(table, row)), [ours for ours, _ in cells]
    if not any(map(all, zip(printed, ours, strict=True))):  # in no column both: one line holds them
        printed, ours = [a or b for a, b in zip(printed, ours, strict=True)], []
    kinds = {"": printed, OURS: ours}
    kinds[ELSEWHERE] = [
        " ".join(
            f"*{values[column]}*<sup>{letters[name]}</sup>"
            for name, values in row.elsewhere.items()
            if column in values
        )
        for column in table.accuracy
    ]
    kinds["Δ"] = [difference if alike else "" for _, difference in cells]
    found = [(kind, kinds[kind]) for kind in KINDS if any(kinds[kind])]
    return found if row.printed or not found else [("", found[0][1]), *found[1:]]


def printed_table(
    table: Table,
    scores: Scores,
    names: Mapping[str, tuple[str, str]],
    alike: Collection[str],
    sources: Mapping[str, str],
) -> list[str]:
    """A table in the paper's layout and what unfolds below it.

    scores: by run and seed; names: of `run_names`; alike: runs whose data and scale are the paper's.
    """
    if not table.accuracy and not table.cost:
        return [markdown([*table.labels.values()], [row.labels for row in table.rows], len(table.labels))]
    used = dict.fromkeys(source for row in table.rows for source in row.elsewhere)
    letters = dict(zip(used, LETTERS, strict=False))
    own = [row for row in table.rows if row.own]
    groups = [(row, lines(table, row, scores, letters, set(row.runs.values()) <= set(alike))) for row in own]
    shown = (transposed if table.transposed else upright)(table, groups)
    footnotes = [f"*{letter}*: {sources[source]}" for source, letter in letters.items()]
    return [shown, bullets(footnotes), quoted(table), run_list(own, table, names)]


def upright(table: Table, groups: Sequence[tuple[Row, list[tuple[str, list[str]]]]]) -> str:
    """Rows below each other."""
    one = len(table.labels) > 1 and len(table.accuracy) > WIDE
    headings = [", ".join(table.labels.values())] if one else [*table.labels.values()]
    body = []
    for row, found in groups:
        for label, cells in found:
            texts = [", ".join(row.labels)] if one else [*row.labels]
            body.append([*([label, *[""] * (len(texts) - 1)] if label else texts), *cells])
    return markdown([*headings, *table.accuracy.values()], body, len(headings))


def transposed(table: Table, groups: Sequence[tuple[Row, list[tuple[str, list[str]]]]]) -> str:
    """Rows beside each other, a group of lines per accuracy column."""
    (label,) = table.labels.values()
    body = []
    for number_of_column, heading in enumerate(table.accuracy.values()):
        for kind in KINDS:
            cells = [dict(found).get(kind, [""] * len(table.accuracy))[number_of_column] for _, found in groups]
            if any(cells):
                body.append([kind or heading, *cells])
    return markdown([label, *(row.labels[0] for row, _ in groups)], body, 1)


def quoted(table: Table) -> str:
    """The rows of other authors that the paper prints, folded; empty where there are none."""
    rows = [
        [", ".join(row.labels), *printed_accuracy(table, row), *costs_in_one(row.printed[len(table.accuracy) :])]
        for row in table.rows
        if not row.own
    ]
    if not rows:
        return ""
    costs = costs_in_one(list(table.cost.values()))
    header = [", ".join(table.labels.values()), *table.accuracy.values(), *costs]
    return folded(f"{len(rows)} rows that the paper quotes from others", markdown(header, rows))


def costs_in_one(texts: Sequence[str]) -> list[str]:
    """Texts of the cost columns as one column, none where the table has no costs."""
    return [", ".join(texts)] if texts else []


def run_list(rows: Iterable[Row], table: Table, names: Mapping[str, tuple[str, str]]) -> str:
    """Which run stands in which rows, below what was trained, folded; empty where there is none."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for run in shown_runs(table, row):
            found.setdefault(run, {})[", ".join(row.labels)] = None
    if not found:
        return ""
    lines = []
    for run, labels in found.items():
        trained, name = names.get(run, (NOT_RUN, f"`{run}`"))
        lines.append((trained, f"{name}: {'; '.join(labels)}"))
    return folded(f"Runs of this table: {len(found.keys() & names.keys())} of {len(found)}", grouped(lines))


def shown_runs(table: Table, row: Row) -> list[str]:
    """The runs of a row whose own numbers stand in it, in the order of the columns; of a row of costs its one run.

    A mean pose is none.
    """
    named = dict.fromkeys(name for column in table.accuracy if " - " not in column for name, _ in operands(column))
    runs = [row.runs[name] for name in named or row.runs if name in row.runs]
    return [run for run in runs if not run.endswith("_mean_pose")]


def unprinted(study: Study, scores: Scores, names: Mapping[str, tuple[str, str]]) -> list[str]:
    """A heading and tables of a benchmark that no printed table is about; names: of `run_names`."""
    runs = dict.fromkeys([*study.benchmark.roles.values(), *study.results, f"{study.key}_mean_pose"])
    text, own = [f"## {study.benchmark.name}: not in the paper"], study.benchmark.table
    if own:
        text += [f"### {own.title}", *printed_table(own, scores, names, (), {}), own.note, "### All runs"]
    text += [benchmark_table(study.key, study.benchmark, scores, runs), explained(study, scores)]
    return [*text, folded("Runs of this table", grouped(names.values()))]


def explained(study: Study, scores: Scores) -> str:
    """What those columns of a benchmark's table are whose names do not say it."""
    metric, noun = HEADLINE[study.key], study.benchmark.noun
    text = f"*{metric}* is the benchmark's number, {study.benchmark.metric} in {unit_of(metric).symbol}."
    if any("exploding" in found for run in study.results for found in scores[run].values()):
        text += (
            f" *exploding*: of how many {noun}, in %, the network's outputs are more than {EXPLODING} times as "
            "far from the labels as empty outputs, which is to say of another size."
        )
    return text


def search_table(study: Study, scores: Scores) -> list[str]:
    """A heading and the benchmark's one number of each run whose people were shown at several sizes, and at one."""
    metric, rows, sizes = HEADLINE[study.key], [], []
    decimals = unit_of(metric).decimals
    for run, result in study.results.items():
        if result.searched:
            both = [summarise(scores[name]) for name in (run, searched(run))]
            texts = [f"**{with_spread(one[metric], one.get('std', {}).get(metric), decimals)}**" for one in both]
            rows.append([f"`{run}`", *texts, signed(both[1][metric] - both[0][metric], decimals)])
            sizes = result.spec["scales"]
    if not rows:
        return []
    shown = ", ".join(f"{size:g}" for size in sizes)
    return [
        f"## {study.benchmark.name}: search over scales",
        f"{study.benchmark.metric} of the mean of the maps of each person at {shown} times its size "
        "(`decoding.scales`). All other numbers are of one size.",
        markdown(["", "one size", "search", "difference"], rows),
    ]


def benchmark_table(key: str, benchmark: Benchmark, scores: Scores, runs: Iterable[str]) -> str:
    """Runs on a benchmark that the paper has no table of, a line each: role or name, and all metrics.

    key: the benchmark's; runs: in the order of the lines.
    """
    roles = {run: role for part in (benchmark.curves, benchmark.roles) for role, run in part.items()}
    roles[f"{key}_mean_pose"] = f"{MEAN_POSE}, no image seen"
    found = {run: summarise(scores[run]) for run in runs if run in scores}
    columns = [name for name in next(iter(found.values())) if name != "std"]
    own = {HEADLINE[key], SECOND[key]}
    rows = []
    for run, values in found.items():
        row = [roles.get(run, f"`{run}`")]
        for column in columns:
            spread = values.get("std", {}).get(column) if column in own else None
            value = values.get(column)
            row.append(NOBODY if value is None else f"**{with_spread(value, spread, unit_of(column).decimals)}**")
        rows.append(row)
    return markdown(["", *columns], rows)
