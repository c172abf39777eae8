"""Tables of a report in markdown: the paper's number, ours and the difference, each in its line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from tabulate import tabulate

from lib.metrics.scores import unit_of
from lib.papers import Benchmark, Paper, Row, Table, operands
from lib.reporting import paired_differences, summarise

NOT_RUN, NOBODY = "not run", "nobody"
LEGEND = """\
Each row of a printed table that the paper measured itself has up to three lines here: **paper**, the number as printed;
**ours**, mean ± sample standard deviation over the seeds (no ± with one seed); **Δ**, ours − paper. Behind the name of
a run stands the network that was trained, where a profile made it smaller than the paper's, so that two rows may show
the same one: stacks × channels of hourglasses, encoder × channels of the decoder of MobilePose, width of HRNets and
depth of ResNets with what else was made smaller, and where several branches were trained together how many these were;
and its input, where that is not the paper's. *Quoted* lines are numbers of other authors that the paper prints; neither
the paper nor this project ran them. *not run* means that no training here fills the cell, *nobody* that none of the
evaluated persons counts there. Accuracies are those of the networks and schedules listed above. Cost columns always
belong to the full-size network, counted here; their Δ is “=” where the count rounds to the printed number, or is cut to
it in a table that prints cut numbers."""
COSTS = {
    "params_m": ("# Param", "M"),
    "gflops": ("operations", "G"),
    "gsummary": ("FLOPs of HRNet's summary", "G"),
    "gimacs": ("multiply-accumulates", "G"),
}
Scores = Mapping[str, Mapping[int, Mapping[str, float]]]
CONVOLUTIONS = {"basic": 2, "bottleneck": 3}  # of a ResNet's block
HRNET = {"blocks": 4, "modules": [1, 4, 3], "stem": 64}  # of every published one
RESNET = {"width": 64, "channels": 256}  # SimpleBaseline's


@dataclass(frozen=True)
class Cell:
    """One cell: as printed, as found here, and the difference; empty where there is nothing to say."""

    paper: str = ""
    ours: str = ""
    difference: str = ""


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A pipe table whose first columns are text and whose others are numbers, all shown as they are."""
    align = ["left" if column < text_columns else "right" for column in range(len(header))]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(cells, header, tablefmt="pipe", disable_numparse=True, colalign=align)


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus; no sign where it rounds to zero."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def with_spread(value: float, spread: float | None, decimals: int = 1) -> str:
    """`43.2 ± 0.4`, or `43.2` where no spread is known; held together by no-break spaces."""
    text = f"{value:.{decimals}f}".replace("-", "−")
    return text if spread is None else f"{text}\u00a0±\u00a0{spread:.{decimals}f}"


def accuracy_cell(printed: str, metric: str, measured: Mapping[str, Any] | None) -> Cell:
    """A printed number beside the metrics of the run that fills its cell (None: not run)."""
    if measured is None:
        return Cell(printed, NOT_RUN)
    if metric not in measured:
        return Cell(printed, NOBODY)
    decimals = max(unit_of(metric).decimals, decimals_of(printed))
    ours = with_spread(measured[metric], measured.get("std", {}).get(metric), decimals)
    return Cell(printed, ours, signed(measured[metric] - float(printed), decimals) if number(printed) else "")


def cost_cell(printed: str, metric: str, counted: Sequence[Mapping[str, float]], truncated: bool = False) -> Cell:
    """A printed cost such as 26M, 0.95M or 14 beside the sum over the row's networks; nothing where it has none."""
    if not counted:
        return Cell(printed)
    unit = COSTS[metric][1]
    value = sum(network[metric] for network in counted)
    ours = cost_text(value) + unit
    text = printed.removesuffix(unit)
    if not number(text):
        return Cell(printed, ours)
    decimals = decimals_of(text)
    shown = floor(value * 10**decimals) / 10**decimals if truncated else value
    agrees = f"{shown:.{decimals}f}" == text
    return Cell(printed, ours, "=" if agrees else f"{signed(value - float(text), max(2, decimals))}{unit}")


def cost_text(value: float) -> str:
    """A cost to four significant digits."""
    return f"{value:#.4g}"


def number(text: str) -> bool:
    """Whether a printed cell holds a number."""
    return text.replace(".", "", 1).isdigit()


def decimals_of(text: str) -> int:
    """How many decimals a printed cell shows."""
    return len(text.partition(".")[2])


def column_cell(printed: str, column: str, row: Row, metrics: Mapping[str, Any], scores: Scores) -> Cell:
    """The cell of an accuracy column: a metric of one of the row's runs, or the paired difference of two.

    Blank but for what is printed where the row has runs and the column is about others.
    """
    names, (metric, *_) = zip(*operands(column), strict=True)
    runs = [row.runs.get(name) for name in names]
    if row.runs and None in runs:
        return Cell(printed)
    if len(runs) == 1:
        return accuracy_cell(printed, metric, metrics.get(runs[0]))
    differences = paired_differences(*(scores.get(run, {}) for run in runs), metric)
    by_seed = {seed: {metric: difference} for seed, difference in differences.items()}
    return accuracy_cell(printed, metric, summarise(by_seed) if by_seed else None)


def row_cells(
    table: Table, row: Row, metrics: Mapping[str, Any], costs: Mapping[str, Any], scores: Scores
) -> list[Cell]:
    """The cells of one row, accuracy columns first."""
    names = [*table.accuracy, *table.cost]
    printed = row.printed or ("",) * len(names)
    if not row.own:
        return [Cell(text) for text in printed]
    cells = []
    for name, text in zip(names, printed, strict=True):
        if name in table.accuracy:
            cells.append(column_cell(text, name, row, metrics, scores))
        else:
            cells.append(cost_cell(text, name, [costs[network] for network in row.networks], table.truncated))
    return cells


def shown_runs(table: Table, row: Row) -> list[str]:
    """The runs of a row whose own numbers stand in it, in the order of the columns; of a row of costs its one run."""
    named = dict.fromkeys(name for column in table.accuracy if " - " not in column for name, _ in operands(column))
    return [row.runs[name] for name in named or row.runs if name in row.runs]


def printed_table(
    table: Table,
    metrics: Mapping[str, Any],
    costs: Mapping[str, Any],
    names: Mapping[str, str],
    scores: Scores,
) -> str:
    """A table in the paper's layout, filled from reports/metrics/<paper>.json and reports/metrics/complexity.json.

    names: what to call each run, from `run_names`; scores: by run and seed, of the runs in columns of differences.
    """
    headings = [*table.accuracy.values(), *table.cost.values()]
    if not headings:
        return markdown([*table.labels.values()], [row.labels for row in table.rows], len(table.labels))
    cells = [row_cells(table, row, metrics, costs, scores) for row in table.rows]
    runs = [" / ".join(names.get(run, f"`{run}`") for run in shown_runs(table, row)) for row in table.rows]
    if table.transposed:
        (label,) = table.labels.values()
        body = [["", "run", *runs]]
        for heading, column in zip(headings, zip(*cells, strict=True), strict=True):
            body += lines([heading], column, printed=True)
        return markdown(["", label, *(row.labels[0] for row in table.rows)], body, 2)
    body = []
    for row, found, run in zip(table.rows, cells, runs, strict=True):
        if row.own:
            body += lines(row.labels, found, bool(row.printed), run)
        else:
            body.append(["*quoted*", *row.labels, *(cell.paper for cell in found)])
    return markdown(["", *table.labels.values(), *headings], body, 1 + len(table.labels))


def lines(labels: Sequence[str], cells: Sequence[Cell], printed: bool, run: str = "") -> list[list[str]]:
    """The lines that one group of cells needs: paper, ours and Δ as far as they say something."""
    blank = [""] * len(labels)
    found = [["paper", *labels, *(cell.paper for cell in cells)]] if printed else []
    found.append([f"**ours** {run}".rstrip(), *(blank if printed else labels), *(bold(cell.ours) for cell in cells)])
    if any(cell.difference for cell in cells):
        found.append(["Δ", *blank, *(cell.difference for cell in cells)])
    return found


def run_names(
    runs: Iterable[str],
    specs: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, str],
) -> dict[str, str]:
    """Names of those runs that were trained; in brackets network and input where not the paper's, and the settings.

    specs: spec.json by trained run; full: the same at the paper's scale; settings: as in a Table.
    """
    names = {}
    for run in runs:
        if run not in specs:
            continue
        spec = specs[run]
        shown = ((trained_network(one), f"{pixels(one['input'])} px") for one in (spec, full[run]))
        details = [here for here, there in zip(*shown, strict=True) if here != there]
        if spec["settings"]:
            details += [f"{name} {setting(spec, key)}" for name, key in settings.items()]
        names[run] = f"`{run}` ({', '.join(details)})" if details else f"`{run}`"
    return names


def network(model: Mapping[str, Any]) -> str:
    """A model in a few words: stacks × channels, encoder × channels of the decoder, HRNet-W<width> or ResNet-<depth>.

    Then follows what an HRNet or a ResNet has other than the published ones, and a splitting factor other than 2.
    """
    if "modules" in model:
        name, own = f"HRNet-W{model['width']}", HRNET
    elif "blocks" in model:
        layers = CONVOLUTIONS[model.get("block", "bottleneck")] * sum(model["blocks"]) + 2  # and first and last layer
        name, own = f"ResNet-{layers}", RESNET
    else:
        return f"{model['stacks'] if 'stacks' in model else model['encoder']} × {model['channels']}"
    published = {**own, "split": 2}
    others = {key: model[key] for key, value in published.items() if model.get(key, value) != value}
    return ", ".join([name, *(f"{key} {text_of(value)}" for key, value in others.items())])


def pixels(sides: Sequence[int]) -> str:
    """An image's height × width."""
    return " × ".join(map(str, sides))


def trained_network(spec: Mapping[str, Any]) -> str:
    """What a run trains: its network, and the branches around it where there are several."""
    branches = spec["settings"].get("branches")
    if not branches:
        return network(spec["model"])
    models = [spec["model"], *branches]
    text = f"{network(spec['model'])}, {len(models)} branches"
    if "stacks" not in spec["model"]:
        return text
    stacks = [str(model["stacks"]) for model in models]
    shown = ", ".join(stacks if len(set(stacks)) > 1 else stacks[:1])
    return f"{text} of {shown} {'stack' if shown == '1' else 'stacks'}, {spec['settings']['shared']} shared"


def bold(text: str) -> str:
    """Our numbers stand out; what is empty or not run does not."""
    return f"**{text}**" if text not in ("", NOT_RUN, NOBODY) else text


def speed_table(
    costs: Mapping[str, Mapping[str, float]],
    inputs: Mapping[str, Sequence[int]],
    metrics: Iterable[str],
    batch_sizes: Sequence[int],
    reference: str,
) -> str:
    """Costs (metrics of COSTS), CPU latency and throughput of each network, the last also relative to a reference.

    inputs: height and width in px of each network's image.
    """
    counted = [(metric, *COSTS[metric]) for metric in metrics]
    header = ["network", "input, px", *(heading for _, heading, _ in counted)]
    for size in batch_sizes:
        header += [f"ms, batch {size}", f"images/s, batch {size}", f"× `{reference}`, batch {size}"]
    rows = []
    for name, cost in costs.items():
        row = [f"`{name}`", pixels(inputs[name]), *(cost_text(cost[metric]) + unit for metric, _, unit in counted)]
        for size in batch_sizes:
            measured = (cost[f"latency_ms_b{size}"], cost[f"throughput_b{size}"], cost[f"speedup_b{size}"])
            row += [f"{measured[0]:.0f}", f"{measured[1]:.2f}", f"{measured[2]:.1f}"]
        rows.append(row)
    return markdown(header, rows, 2)


def latencies(found: Mapping[str, Any], inputs: Mapping[str, Sequence[int]]) -> list[str]:
    """What `python -m stages.latency` has measured of these networks, if anything: words and a table.

    inputs: height and width in px of each network's image.
    """
    networks = {name: times for name, times in found.get("networks", {}).items() if name in inputs}
    if not networks:
        return []
    machine = found["machine"]
    text = (
        f"One image on one thread from its pixels to its joints, without a flip test, in PyTorch {machine['torch']} "
        f"and as an ONNX graph in onnxruntime {machine['onnxruntime']}: ms of processor time, {machine['hardware']}."
    )
    header = ["network", "input, px", "PyTorch", "onnxruntime", "×"]
    rows = []
    for name, times in networks.items():
        torch, onnx = times["torch_ms"], times["onnxruntime_ms"]
        rows.append([f"`{name}`", pixels(inputs[name]), f"{torch:.1f}", f"{onnx:.1f}", f"{torch / onnx:.1f}"])
    return [text, markdown(header, rows, 2)]


def benchmark_table(benchmark: Benchmark, metrics: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Runs on a benchmark that the paper has no table of, a line each: role, name and all metrics.

    names: what to call each run, in the order of the lines; one at least has metrics.
    """
    roles = {run: role for role, run in benchmark.roles.items()}
    known = next(metrics[run] for run in names if run in metrics)
    columns = [name for name in known if name not in ("std", "seeds", "persons", "heldout_persons")]
    rows = [
        [roles.get(run, ""), name, *(accuracy_cell("", column, metrics.get(run)).ours for column in columns)]
        for run, name in names.items()
    ]
    return markdown(["", "run", *columns], rows, 2)


def decision_table(paper: Paper, specs: Sequence[Mapping[str, Any]]) -> str:
    """What the paper leaves open, what is done here and why, and what the runs of these specs were trained with.

    Methods have settings of their own: a run without a setting is left out of its values.
    """
    header = ["left open by the paper", "here", "because", "trained with"]
    rows = []
    for decision in paper.decisions:
        values = {key: [setting(spec, key) for spec in specs if has(spec, key)] for key in decision.get("used", ())}
        used = [f"`{key}: {' / '.join(dict.fromkeys(found))}`" for key, found in values.items() if found]
        rows.append([decision["question"], decision["decision"], decision["reason"], "<br>".join(used)])
    return markdown(header, rows, len(header))


def has(spec: Mapping[str, Any], key: str) -> bool:
    """Whether a spec has a value at a dotted key; that of another method may not."""
    part, _, rest = key.partition(".")
    return part in spec and (not rest or has(spec[part], rest))


def setting(spec: Mapping[str, Any], key: str) -> str:
    """The value at a dotted key of a spec."""
    value: Any = spec
    for part in key.split("."):
        value = value[part]
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as params.yaml would have it."""
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
