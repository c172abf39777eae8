"""Tables of a report in markdown: the paper's number, ours and the difference, each in its line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from scipy.stats import t
from tabulate import tabulate

from lib.papers import Paper, Row, Table

NOT_RUN = "not run"
LEGEND = """\
Each row of a printed table that the paper measured itself has up to three lines here: **paper**, the number as printed;
**ours**, mean ± sample standard deviation over the seeds (no ± with one seed); **Δ**, ours − paper. *Quoted* lines are
numbers of other authors that the paper prints; neither the paper nor this project ran them. *not run* means that no
training here fills the cell. Accuracies are those of the scaled-down networks and schedules listed above. Cost columns
always belong to the full-size network, counted here; their Δ is “=” where the count rounds to the printed number."""


@dataclass(frozen=True)
class Cell:
    """One cell: as printed, as found here, and the difference; empty where there is nothing to say."""

    paper: str = ""
    ours: str = ""
    difference: str = ""


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A pipe table whose first columns are text and whose others are numbers, all shown as they are."""
    align = ["left" if column < text_columns else "right" for column in range(len(header))]
    return tabulate(list(rows), header, tablefmt="pipe", disable_numparse=True, colalign=align)


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus; no sign where it rounds to zero."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def with_spread(value: float, spread: float | None, decimals: int = 1) -> str:
    """`43.2 ± 0.4`, or `43.2` where no spread is known; held together by no-break spaces."""
    text = f"{value:.{decimals}f}".replace("-", "−")
    return text if spread is None else f"{text}\u00a0±\u00a0{spread:.{decimals}f}"


def accuracy_cell(printed: str, metric: str, measured: Mapping[str, Any] | None) -> Cell:
    """A printed percentage beside the metrics of the run that fills its row (None: not run)."""
    if measured is None or metric not in measured:
        return Cell(printed, NOT_RUN)
    ours = with_spread(measured[metric], measured.get("std", {}).get(metric))
    return Cell(printed, ours, signed(measured[metric] - float(printed)) if number(printed) else "")


def cost_cell(printed: str, metric: str, counted: Mapping[str, float] | None) -> Cell:
    """A printed cost such as 26M or 0.95M beside the counts of its network (None: no network belongs to the row)."""
    if counted is None:
        return Cell(printed)
    unit = {"params_m": "M", "gflops": "G"}[metric]
    value = counted[metric]
    ours = f"{value:.2f}{unit}"
    if not number(printed.removesuffix(unit)):
        return Cell(printed, ours)
    text = printed.removesuffix(unit)
    decimals = len(text.partition(".")[2])
    agrees = f"{value:.{decimals}f}" == text
    return Cell(printed, ours, "=" if agrees else f"{signed(value - float(text), 2)}{unit}")


def number(text: str) -> bool:
    """Whether a printed cell holds a number."""
    return text.replace(".", "", 1).isdigit()


def row_cells(table: Table, row: Row, metrics: Mapping[str, Any], costs: Mapping[str, Any]) -> list[Cell]:
    """The cells of one row, accuracy columns first."""
    names = [*table.accuracy, *table.cost]
    printed = row.printed or ("",) * len(names)
    if not row.own:
        return [Cell(text) for text in printed]
    cells = []
    for name, text in zip(names, printed, strict=True):
        if name in table.accuracy:
            cells.append(accuracy_cell(text, name, metrics.get(row.run)))
        else:
            cells.append(cost_cell(text, name, costs[row.network] if row.network else None))
    return cells


def printed_table(table: Table, metrics: Mapping[str, Any], costs: Mapping[str, Any]) -> str:
    """A table in the paper's layout, filled from reports/metrics/<paper>.json and reports/metrics/complexity.json."""
    headings = [*table.accuracy.values(), *table.cost.values()]
    if not headings:
        return markdown([*table.labels.values()], [row.labels for row in table.rows], len(table.labels))
    cells = [row_cells(table, row, metrics, costs) for row in table.rows]
    if table.transposed:
        (label,) = table.labels.values()
        body = [
            line
            for heading, column in zip(headings, zip(*cells, strict=True), strict=True)
            for line in lines([heading], column, table.rows[0])
        ]
        return markdown(["", label, *(row.labels[0] for row in table.rows)], body, 2)
    body = [line for row, found in zip(table.rows, cells, strict=True) for line in lines(row.labels, found, row)]
    return markdown(["", *table.labels.values(), *headings], body, 1 + len(table.labels))


def lines(labels: Sequence[str], cells: Sequence[Cell], row: Row) -> list[list[str]]:
    """The lines that one group of cells needs: quoted, or paper, ours and Δ as far as they say something."""
    if not row.own:
        return [["*quoted*", *labels, *(cell.paper for cell in cells)]]
    blank = [""] * len(labels)
    run = f" `{row.run}`" if row.run else ""
    found = [["paper", *labels, *(cell.paper for cell in cells)]] if row.printed else []
    found.append([f"**ours**{run}", *(blank if row.printed else labels), *(bold(cell.ours) for cell in cells)])
    if any(cell.difference for cell in cells):
        found.append(["Δ", *blank, *(cell.difference for cell in cells)])
    return found


def bold(text: str) -> str:
    """Our numbers stand out; what is empty or not run does not."""
    return f"**{text}**" if text and text != NOT_RUN else text


def speed_table(costs: Mapping[str, Mapping[str, float]], batch_sizes: Sequence[int], reference: str) -> str:
    """Measured CPU latency and throughput of each network, and throughput relative to the reference network's."""
    header = ["network", "# Param", "operations"]
    for size in batch_sizes:
        header += [f"ms, batch {size}", f"images/s, batch {size}", f"× `{reference}`, batch {size}"]
    rows = []
    for name, cost in costs.items():
        row = [f"`{name}`", f"{cost['params_m']:.2f}M", f"{cost['gflops']:.2f}G"]
        for size in batch_sizes:
            measured = (cost[f"latency_ms_b{size}"], cost[f"throughput_b{size}"], cost[f"speedup_b{size}"])
            row += [f"{measured[0]:.0f}", f"{measured[1]:.2f}", f"{measured[2]:.1f}"]
        rows.append(row)
    return markdown(header, rows)


def effect_table(treated: str, control: str, differences: Mapping[str, Mapping[int, float]]) -> str:
    """Paired differences treated − control: a line per metric, a column per seed, then their mean ± spread."""
    seeds = list(next(iter(differences.values())))
    header = [f"`{treated}` − `{control}`", *(f"seed {seed}" for seed in seeds), "mean ± std"]
    rows = []
    for metric, by_seed in differences.items():
        values = list(by_seed.values())
        spread = f"\u00a0±\u00a0{stdev(values):.2f}" if len(values) > 1 else " (one seed)"
        rows.append([metric, *(signed(value, 2) for value in values), signed(mean(values), 2) + spread])
    return markdown(header, rows)


def verdict(differences: Sequence[float]) -> str:
    """What paired differences of the mean PCK allow to say: their mean, and its 95 % interval by Student's t."""
    effect, seeds = mean(differences), len(differences)
    if seeds == 1:
        return f"One seed: a difference of {signed(effect, 2)} points of mean PCK without a spread, so no conclusion."
    reach = float(t.ppf(0.975, seeds - 1)) * stdev(differences) / seeds**0.5
    found = (
        f"Over {seeds} seeds: a difference of {signed(effect, 2)} points of mean PCK, 95 % interval "
        f"{signed(effect - reach, 2)} to {signed(effect + reach, 2)} (paired t)"
    )
    if abs(effect) <= reach:
        return f"{found}. Zero lies within the spread of the seeds, so no conclusion."
    direction = "raises" if effect > 0 else "lowers"
    return f"{found}. At this scale and on these data the teacher's term {direction} the mean PCK."


def decision_table(paper: Paper, spec: Mapping[str, Any] | None) -> str:
    """What the paper leaves open, what is done here and why, and what the run of this spec was trained with."""
    header = ["left open by the paper", "here", "because", "trained with"]
    rows = []
    for decision in paper.decisions:
        used = [f"`{key}: {setting(spec, key)}`" for key in decision.get("used", ())] if spec else []
        rows.append([decision["question"], decision["decision"], decision["reason"], "<br>".join(used)])
    return markdown(header, rows, len(header))


def setting(spec: Mapping[str, Any], key: str) -> str:
    """The value at a dotted key of a spec."""
    value: Any = spec
    for part in key.split("."):
        value = value[part]
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
