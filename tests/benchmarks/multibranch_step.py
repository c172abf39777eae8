"""What a training step of OKDHP costs beside the sum of its parts, on noise.

    python -m tests.benchmarks.multibranch_step [--input 64] [--stacks 4] [--shared 2] [--branches 3] [--channels 32]

Times, in turns and with the same modules, forward and backward of the shared trunk, of each branch, of the FAU, and of
the whole step without the optimiser. Prints the medians, the sum of the parts and the ratio of the whole to it, which
should stay below 1.15: nothing shared may run twice, and the losses should cost little. Their own time, on heatmaps
that are ready, is printed as well; it is no part of the sum.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.models.multibranch import MultiBranch, Outputs, build_branches
from lib.tasks.okdhp import OnlineDistillation
from tests import toy

WARM_UP = 3
GOAL = 1.15


class Ready(nn.Module):
    """Stands in for a network whose heatmaps and weights are known; their gradients end here."""

    def __init__(self, outputs: Outputs):
        super().__init__()
        self.outputs = Outputs(
            shared=[leaf(maps) for maps in outputs.shared],
            branches=[[leaf(maps) for maps in branch] for branch in outputs.branches],
            weights=leaf(outputs.weights),
        )

    def forward(self, images: Tensor) -> Outputs:
        return self.outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"input": 64, "stacks": 4, "shared": 2, "branches": 3, "channels": 32, "batch": 8, "rounds": 20}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = {"name": "hourglass", "stacks": options.stacks, "channels": options.channels, "stem": "pytorch-pose"}
    model["joints"] = len(toy.JOINTS)
    network = build_branches(build_model(model), [model] * (options.branches - 1), options.shared, "fau")
    network.to(device, memory_format=torch.channels_last).train()
    batch = noise(options.batch, options.input, device)
    seconds = measure(network, steps(network, batch, options.input), options.rounds, device)
    whole, losses = seconds.pop("whole step"), seconds.pop("losses")
    total = sum(seconds.values())
    print(f"{options.batch / whole:.0f} images/s with {torch.get_num_threads()} thread(s)")
    for name, value in [*seconds.items(), ("sum of parts", total), ("whole step", whole), ("losses alone", losses)]:
        print(f"  {name:12s} {1e3 * value:8.2f} ms  {100 * value / whole:5.1f} % of the whole step")
    print(f"  whole step / sum of parts: {whole / total:.3f} (goal: {GOAL} at most)")


def steps(network: MultiBranch, batch: Batch, side: int) -> dict[str, Callable[[], None]]:
    """What is timed: each part from inputs that are ready, with its gradients, then the losses and everything."""
    first, images, shared = network.networks[0], batch.images["student"], network.shared
    with torch.no_grad():
        outputs = network(images)
        stem = first.stem(images)
        x = first.trunk(stem, shared)[0]
    stem, x = leaf(stem), leaf(x)

    def trunk() -> list[Tensor]:
        features = first.stem(images)
        x, heatmaps = first.trunk(features, shared)
        return [features, x, *heatmaps]

    def step(part: Callable[[], list[Tensor]]) -> Callable[[], None]:
        gradients = [torch.randn_like(output) for output in part()]
        return lambda: torch.autograd.backward(part(), gradients)

    codec = HeatmapCodec((side, side), sigma=1.0)
    whole, losses = (
        OnlineDistillation(network, codec, toy.FLIP_PAIRS, alpha=1.0, beta=2.0).to(images.device) for _ in range(2)
    )
    losses.network = Ready(outputs)
    parts = {"trunk": step(trunk)}
    for number, branch in enumerate(network.networks, start=1):
        parts[f"branch {number}"] = step(lambda branch=branch: branch.branch(x, shared))
    parts["FAU"] = step(lambda: [network.aggregation(stem)])
    parts["losses"] = lambda: sum(losses(batch).values()).backward()
    parts["whole step"] = lambda: sum(whole(batch).values()).backward()
    return parts


def measure(
    network: nn.Module, steps: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each step over rounds of all of them, after the warm-up; GPUs are waited for."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    times = np.empty((WARM_UP + rounds, len(steps)))
    for row in times:
        for number, step in enumerate(steps.values()):
            network.zero_grad(set_to_none=True)
            began = now()
            step()
            row[number] = now() - began
    return dict(zip(steps, np.median(times[WARM_UP:], axis=0).tolist(), strict=True))


def leaf(x: Tensor) -> Tensor:
    """The same values, without what made them, as an input whose gradient is wanted."""
    return x.detach().clone().requires_grad_()


def noise(people: int, side: int, device: torch.device) -> Batch:
    """Images of noise with joints anywhere."""
    joints = len(toy.JOINTS)
    return Batch(
        images={"student": torch.randn(people, 3, side, side, device=device).to(memory_format=torch.channels_last)},
        keypoints=side * torch.rand(people, joints, 2, device=device),
        visible=torch.ones(people, joints, dtype=torch.bool, device=device),
        rows=np.arange(people),
    )


if __name__ == "__main__":
    main()
