"""What makes a training step of a small hourglass faster, on noise: images per CPU second, in turns in one run.

    python -m tests.benchmarks.hourglass_step [--stacks 1] [--channels 32] [--batch 16] [--rounds 9] [--compile]

Forward, backward and Adam of a network at 64 px with the published four halvings in float32, then with two, with
bfloat16, and with batches twice as large; --compile: also through torch.compile, whose own seconds are printed. One
thread. The last column is relative to the first line.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.tasks.heatmap import Supervised
from lib.training.loop import build_optimizer
from tests import toy

SIDE = 64
JOINTS = len(toy.JOINTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"stacks": 1, "channels": 32, "batch": 16, "rounds": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = {"stacks": options.stacks, "channels": options.channels, "stem": "pytorch-pose"}
    kinds = {
        "4 halvings, float32": (4, False, 1, False),
        "2 halvings, float32": (2, False, 1, False),
        "2 halvings, bfloat16": (2, True, 1, False),
        "float32, twice the batch": (2, False, 2, False),
        "bfloat16, twice the batch": (2, True, 2, False),
    }
    if options.compile:
        kinds |= {"float32, compiled": (2, False, 1, True), "bfloat16, compiled": (2, True, 1, True)}
    steps, people = {}, {}
    for name, (halvings, narrow, times, compiled) in kinds.items():
        people[name] = times * options.batch
        steps[name] = step(model | {"halvings": halvings}, people[name], narrow, compiled)
        began = time.process_time()
        steps[name]()
        if compiled:
            print(f"{name}: the first step took {time.process_time() - began:.0f} CPU seconds")
    seconds = measure(steps, options.rounds)
    rates = {name: people[name] / seconds[name] for name in steps}
    first = next(iter(rates.values()))
    print(f"{options.stacks} x {options.channels}, batches of {options.batch}, images per CPU second:")
    for name, rate in rates.items():
        print(f"  {name:26s} {rate:8.1f}  {rate / first:5.2f}")


def step(model: dict, people: int, narrow: bool, compiled: bool) -> Callable[[], None]:
    """A training step as lib/training/loop.py has it; narrow: in bfloat16."""
    torch.manual_seed(0)
    network = build_model({"name": "hourglass", "joints": JOINTS, **model})
    task = Supervised(network, HeatmapCodec((SIDE, SIDE), sigma=1.0, scaling="peak"), toy.FLIP_PAIRS)
    task.to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(list(task.parameters()), toy.ADAM)
    images = torch.randn(people, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    visible = torch.ones(people, JOINTS, dtype=torch.bool)
    batch = Batch({"student": images}, SIDE * torch.rand(people, JOINTS, 2), visible, np.arange(people))
    if compiled:
        task.compile()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, narrow):
            loss = sum(task(batch).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return run


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each over rounds of all of them, after two to warm up."""
    times = np.empty((2 + rounds, len(steps)))
    for row in times:
        for number, run in enumerate(steps.values()):
            began = time.process_time()
            run()
            row[number] = time.process_time() - began
    return dict(zip(steps, np.median(times[2:], axis=0).tolist(), strict=True))


if __name__ == "__main__":
    main()
