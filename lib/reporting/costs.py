"""Costs of networks: counts beside the printed ones, and the speed measured on this machine's CPU."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import floor
from typing import Any

from lib.papers import Row, Table
from lib.reporting.markdown import decimals_of, folded, markdown, number, signed
from lib.reporting.names import pixels

UNITS = {"params_m": "M", "gflops": "G", "gsummary": "G", "gimacs": "G"}


def cost_cell(printed: str, metric: str, counted: Sequence[Mapping[str, float]], truncated: bool) -> tuple[str, bool]:
    """The sum over a row's networks beside a printed cost such as 26M, 0.95M or 14, and whether the two agree.

    They do where the count rounds to the printed number, or is cut to it where that is `truncated`; a difference stands
    in brackets. Without a printed number there is nothing to disagree with.
    """
    unit = UNITS[metric]
    value = sum(network[metric] for network in counted)
    text = printed.removesuffix(unit)
    if not number(text):
        return cost_text(value) + unit, True
    decimals = decimals_of(text)
    shown = floor(value * 10**decimals) / 10**decimals if truncated else value
    if f"{shown:.{decimals}f}" == text:
        return cost_text(value) + unit, True
    return f"{cost_text(value)}{unit} ({signed(value - float(text), max(2, decimals))}{unit})", False


def cost_text(value: float) -> str:
    """A cost to four significant digits."""
    return f"{value:#.4g}"


def cost_table(table: Table, costs: Mapping[str, Mapping[str, float]]) -> str:
    """The cost columns of a printed table, folded: printed and counted; empty where the paper prints no costs."""
    if not table.cost:
        return ""
    header = [*table.labels.values()]
    for heading in table.cost.values():
        header += [heading, "counted"]
    rows, agreeing, compared = [], 0, 0
    for row in table.rows:
        texts = printed_costs(table, row)
        if not row.own or not (row.networks or any(texts)):
            continue
        line = list(row.labels)
        for metric, printed in zip(table.cost, texts, strict=True):
            if not row.networks:
                line += [printed, ""]
                continue
            found, agrees = cost_cell(printed, metric, [costs[name] for name in row.networks], table.truncated)
            line += [printed, f"**{found}**"]
            if printed not in ("", "-"):
                compared, agreeing = compared + 1, agreeing + agrees
        rows.append(line)
    summary = f"Costs at full size: {agreeing} of {compared} printed ones agree with the count"
    return folded(summary, markdown(header, rows, len(table.labels)))


def printed_costs(table: Table, row: Row) -> Sequence[str]:
    """What a row prints in the cost columns."""
    return row.printed[len(table.accuracy) :] or ("",) * len(table.cost)


def speed(
    named: Collection[str],
    complexity: Mapping[str, Any],
    counted: Mapping[str, Any],
    machine: Mapping[str, Any],
    latency: Mapping[str, Any],
) -> list[str]:
    """The measured speed of some full-size networks, those that a paper's tables name, and of the reference, folded.

    complexity: what was asked for; counted: what came out; machine: on what; latency: what `stages.latency` measured.
    """
    timed = {name: counted[name] for name in complexity["networks"] if name in named or name == complexity["reference"]}
    inputs = {name: complexity["networks"][name]["input"] for name in timed}
    text = (
        f"Images per second of full-size networks, {machine['hardware']}, threads: {machine['threads']}, PyTorch "
        f"{machine['torch']}; ×: relative to `{complexity['reference']}`"
    )
    if len(set(map(tuple, inputs.values()))) > 1:
        text += " at its own input, so that a smaller image is a part of the factor"
    table = speed_table(timed, inputs, complexity["batch_sizes"], complexity["reference"])
    return [folded("Measured speed", f"{text}.", table, *latencies(latency, inputs))]


def latencies(found: Mapping[str, Any], inputs: Mapping[str, Sequence[int]]) -> list[str]:
    """What `python -m stages.latency` has measured of these networks, if anything: words and a table.

    inputs: height and width in px of each network's image.
    """
    networks = {name: times for name, times in found["networks"].items() if name in inputs}
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


def speed_table(
    costs: Mapping[str, Mapping[str, float]],
    inputs: Mapping[str, Sequence[int]],
    batch_sizes: Iterable[int],
    reference: str,
) -> str:
    """Images per second of each network, and how many times those of a reference these are, by batch size.

    inputs: height and width in px of each network's image.
    """
    sizes = list(batch_sizes)
    header = ["network", "input, px"]
    for size in sizes:
        header += [f"images/s, batch {size}", f"× `{reference}`"]
    rows = []
    for name, cost in costs.items():
        row = [f"`{name}`", pixels(inputs[name])]
        for size in sizes:
            row += [f"{cost[f'throughput_b{size}']:.2f}", f"{cost[f'speedup_b{size}']:.1f}"]
        rows.append(row)
    return markdown(header, rows, 2)
