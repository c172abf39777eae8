"""Count the cost of the networks of params.complexity, and time those that are deployed on this machine's CPU."""

import json
import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import nn

from lib.environment import cpu, describe
from lib.files import atomic
from lib.metrics.complexity import cost, count
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.runs import Size
from stages import load_spec, run

METRICS = "reports/metrics/complexity.json"
ENVIRONMENT = "reports/metrics/complexity.environment.json"
PERIOD = 0.25  # seconds that a timing lasts at least, so that one of a small network spans several passes


def training_network(entry: dict) -> nn.Module:
    """Build a network of the spec's `training` with its further branches."""
    target = build_model(entry["model"])
    return build_branches(target, entry["branches"], entry["shared"], entry["aggregation"], entry["variant"])


def timed_passes(model: nn.Module, images: torch.Tensor) -> list[float]:
    """Return the seconds of each of the passes, one or more, that fill PERIOD."""
    seconds = []
    while sum(seconds) < PERIOD:
        start = time.perf_counter()
        model(images)
        seconds.append(time.perf_counter() - start)
    return seconds


@torch.no_grad()
def latencies(
    models: dict[str, nn.Module], inputs: dict[str, Size], batch_sizes: Sequence[int], repeats: int
) -> dict[tuple[str, int], float]:
    """Return the median seconds of one pass per (network, batch size); inputs: of each network, (height, width) px.

    One untimed pass at the smallest batch warms each network up; what a larger batch then has to set up itself takes
    milliseconds of a pass of seconds. Networks take turns in each repeat, so a slow phase of the machine hits all.
    """
    batches = {
        (input_size, size): torch.rand(size, 3, *input_size).to(memory_format=torch.channels_last)
        for input_size in set(inputs.values())
        for size in batch_sizes
    }
    for name, model in models.items():
        model(batches[inputs[name], min(batch_sizes)])
    seconds = {(name, size): [] for name in models for size in batch_sizes}
    for _ in range(repeats):
        for (name, size), passes in seconds.items():
            passes += timed_passes(models[name], batches[inputs[name], size])
    return {key: median(passes) for key, passes in seconds.items()}


def main() -> None:
    settings = load_spec("complexity")
    inputs = {name: tuple(entry["input"]) for name, entry in settings["networks"].items()}
    models = {name: build_model(entry["model"]) for name, entry in settings["networks"].items()}
    models = {name: model.eval().to(memory_format=torch.channels_last) for name, model in models.items()}
    batch_sizes, reference = settings["batch_sizes"], settings["reference"]
    seconds = latencies(models, inputs, batch_sizes, settings["repeats"])

    metrics = {}
    for name, model in models.items():
        metrics[name] = cost(count(model, inputs[name]))
        for size in batch_sizes:
            metrics[name] |= {
                f"latency_ms_b{size}": round(1e3 * seconds[name, size], 2),
                f"throughput_b{size}": round(size / seconds[name, size], 3),
                f"speedup_b{size}": round(seconds[reference, size] / seconds[name, size], 3),
            }
    for name, entry in settings["training"].items():
        metrics[name] = cost(count(training_network(entry), tuple(entry["input"])))
    for path, content in ((ENVIRONMENT, describe() | {"hardware": cpu()}), (METRICS, metrics)):
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
