"""Count the cost of the networks of params.complexity, and time those that are deployed on this machine's CPU."""

import json
import time
from statistics import median

import torch
from torch import nn

from lib.environment import cpu, describe
from lib.files import atomic
from lib.metrics.complexity import cost, count
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.params import auxiliary_models, load_params
from lib.params.sections import Network, TrainingNetwork
from stages import run

METRICS = "reports/metrics/complexity.json"
ENVIRONMENT = "reports/metrics/complexity.environment.json"
PERIOD = 0.25  # seconds that a timing lasts at least, so that one of a small network spans several passes


def network(spec: Network) -> nn.Module:
    """Build a network of params.complexity."""
    return build_model(spec.model.model_dump() | {"joints": spec.joints})


def training_network(spec: TrainingNetwork) -> nn.Module:
    """Build a network of params.complexity with its further branches."""
    models = auxiliary_models(spec.model, spec.auxiliary)
    others = [model.model_dump() | {"joints": spec.joints} for model in models]
    return build_branches(network(spec), others, spec.shared, spec.aggregation)


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
    models: dict[str, nn.Module], batches: dict[int, torch.Tensor], repeats: int
) -> dict[tuple[str, int], float]:
    """Return the median seconds of one pass per (network, batch size).

    One untimed pass at the smallest batch warms each network up; what a larger batch then has to set up itself takes
    milliseconds of a pass of seconds. Networks take turns in each repeat, so a slow phase of the machine hits all.
    """
    warm_up = batches[min(batches)]
    for model in models.values():
        model(warm_up)
    seconds = {(name, size): [] for name in models for size in batches}
    for _ in range(repeats):
        for (name, size), passes in seconds.items():
            passes += timed_passes(models[name], batches[size])
    return {key: median(passes) for key, passes in seconds.items()}


def main() -> None:
    settings = load_params().complexity
    models = {name: network(spec) for name, spec in settings.networks.items()}
    models = {name: model.eval().to(memory_format=torch.channels_last) for name, model in models.items()}
    batches = {
        size: torch.rand(size, 3, *settings.input).to(memory_format=torch.channels_last)
        for size in settings.batch_sizes
    }
    seconds = latencies(models, batches, settings.repeats)

    metrics = {}
    for name, model in models.items():
        metrics[name] = cost(count(model, settings.input))
        for size in batches:
            metrics[name] |= {
                f"latency_ms_b{size}": round(1e3 * seconds[name, size], 2),
                f"throughput_b{size}": round(size / seconds[name, size], 3),
                f"speedup_b{size}": round(seconds[settings.reference, size] / seconds[name, size], 3),
            }
    for name, spec in settings.training.items():
        metrics[name] = cost(count(training_network(spec), settings.input))
    for path, content in ((ENVIRONMENT, describe() | {"hardware": cpu()}), (METRICS, metrics)):
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
