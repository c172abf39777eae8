"""What a step of CDKD costs with a teacher as it was trained, and with one that only teaches, on noise.

    python -m tests.benchmarks.frozen_teacher [--width 8] [--teacher-width 32] [--teacher-input 256] [--batch 8]

In float32 and bfloat16, in turns: the step without the optimiser, forward and backward, with the teacher's batch norms
apart, its weights in float32, autocast around it and maps that are flattened as they come, as straightforward code has
it, and as lib/models/frozen.py and posenet.in_rows make it. Prints the median CPU seconds of the process, the teacher's
share, and ratios. Further options: --rounds 5 --threads 1.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.models import posenet, projectors
from lib.models.frozen import frozen
from lib.tasks.cdkd import CrossDomainDistillation
from lib.tasks.simcc import SimccSupervised
from tests import toy
from tests.benchmarks.cross_domain_step import network, noise

SIDE = 64


class Straightforward(CrossDomainDistillation):
    """The task with a teacher inside autocast."""

    @contextmanager
    def teaching(self, batch: Batch) -> Iterator[Tensor]:
        with torch.no_grad():
            yield batch.images["teacher"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {
        "width": 8,
        "teacher-width": 32,
        "teacher-input": 256,
        "batch": 8,
        "rounds": 5,
        "threads": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, sides = torch.device("cpu"), {"student": SIDE, "teacher": options.teacher_input}
    batch = noise(options.batch, sides, device)
    student = network(options.width, SIDE, device)
    teacher = network(options.teacher_width, options.teacher_input, device).eval()
    for precision in (torch.float32, torch.bfloat16):
        before = build(Straightforward, student, copy.deepcopy(teacher), sides, options.batch)
        taught = frozen(copy.deepcopy(teacher), precision)
        after = build(CrossDomainDistillation, student, taught, sides, options.batch)
        runs = {
            "before step": lambda task=before: as_they_come(lambda: step(task, batch)),
            "after step": lambda task=after: step(task, batch),
            "before teacher": lambda task=before: as_they_come(lambda: teach(task, batch)),
            "after teacher": lambda task=after: teach(task, batch),
        }
        seconds = measure(runs, options.rounds, precision)
        print(f"{precision}, batches of {options.batch}, {options.threads} thread(s):")
        for name, value in seconds.items():
            print(f"  {name:15s} {1e3 * value:9.1f} ms")
        for part in ("step", "teacher"):
            print(f"  {part}: {seconds[f'before {part}'] / seconds[f'after {part}']:.2f} times as fast")


def build(
    kind: type, student: torch.nn.Module, teacher: torch.nn.Module, sides: dict[str, int], people: int
) -> CrossDomainDistillation:
    codec = SimccCodec((SIDE, SIDE), split=2.0, smoothing=0.2)
    return kind(
        *(SimccSupervised(student, codec, toy.FLIP_PAIRS), teacher),
        **{f"{view}_input": (side, side) for view, side in sides.items()},
        **{"alpha": 1.0, "beta": 1.0, "features": "sape", "projectors": 3, "kernels": (3, 5, 7, 7)},
        **{"logits": "cca", "tau": 4.0, "learned": ("tau",), "batch_size": people},
    ).train()


def as_they_come(run: Callable[[], None]) -> None:
    """Run with maps whose pixels stay where a channels-last batch has them."""
    with ExitStack() as patches:
        for module in (posenet, projectors):
            patches.enter_context(mock.patch.object(module, "in_rows", lambda maps: maps.flatten(2)))
        run()


def step(task: CrossDomainDistillation, batch: Batch) -> None:
    sum(task(batch).values()).backward()


def teach(task: CrossDomainDistillation, batch: Batch) -> None:
    with task.teaching(batch) as images:
        task.teacher(images)


def measure(runs: dict[str, Callable[[], None]], rounds: int, precision: torch.dtype) -> dict[str, float]:
    """Median CPU seconds of each over rounds of all of them, after one to warm up."""
    times = np.empty((1 + rounds, len(runs)))
    for row in times:
        for number, run in enumerate(runs.values()):
            began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, precision == torch.bfloat16):
                run()
            row[number] = time.process_time() - began
    return dict(zip(runs, np.median(times[1:], axis=0).tolist(), strict=True))


if __name__ == "__main__":
    main()
