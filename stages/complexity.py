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
from lib.params import auxiliary_models, built
from lib.params.sections import Complexity, Network, Size, TrainingNetwork
from stages import load_spec, run

METRICS = "reports/metrics/complexity.json"
ENVIRONMENT = "reports/metrics/complexity.environment.json"
PERIOD = 0.25  # seconds that a timing lasts at least, so that one of a small network spans several passes


def network(spec: Network, input_size: Size) -> nn.Module:
    """Build a network of params.complexity for images of (height, width) px."""
    return build_model(built(spec.model, spec.joints, input_size))


def training_network(spec: TrainingNetwork, input_size: Size) -> nn.Module:
    """Build a network of params.complexity with its further branches for images of (height, width) px."""
    others = [built(model, spec.joints, input_size) for model in auxiliary_models(spec.model, spec.auxiliary)]
    return build_branches(network(spec, input_size), others, spec.shared, spec.aggregation, spec.variant)


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
    models: dict[str, nn.Module], inputs: dict[str, Size], batch_sizes: tuple[int, ...], repeats: int
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
    settings = Complexity.model_validate(load_spec("complexity"))
    inputs = {name: spec.input or settings.input for name, spec in settings.networks.items()}
    models = {name: network(spec, inputs[name]) for name, spec in settings.networks.items()}
    models = {name: model.eval().to(memory_format=torch.channels_last) for name, model in models.items()}
    seconds = latencies(models, inputs, settings.batch_sizes, settings.repeats)

    metrics = {}
    for name, model in models.items():
        metrics[name] = cost(count(model, inputs[name]))
        for size in settings.batch_sizes:
            metrics[name] |= {
                f"latency_ms_b{size}": round(1e3 * seconds[name, size], 2),
                f"throughput_b{size}": round(size / seconds[name, size], 3),
                f"speedup_b{size}": round(seconds[settings.reference, size] / seconds[name, size], 3),
            }
    for name, spec in settings.training.items():
        input_size = spec.input or settings.input
        metrics[name] = cost(count(training_network(spec, input_size), input_size))
    for path, content in ((ENVIRONMENT, describe() | {"hardware": cpu()}), (METRICS, metrics)):
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
