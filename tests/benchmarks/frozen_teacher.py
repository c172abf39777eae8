"""What a step of CDKD costs with a teacher as it was trained, and with one that only teaches, on noise.

    python -m tests.benchmarks.frozen_teacher [--width 8] [--teacher-width 32] [--batch 8] [--rounds 5] [--threads 1]

In float32 and bfloat16, in turns: the step without the optimiser, forward and backward, with the teacher's batch norms
apart, its weights in float32 and autocast around it, as straightforward code has it, and as lib/models/frozen.py makes
it. Prints the median CPU seconds of the process, the teacher's share, and ratios.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.models.frozen import frozen
from lib.tasks.cdkd import CrossDomainDistillation
from lib.tasks.simcc import SimccSupervised
from tests import toy
from tests.benchmarks.cross_domain_step import network, noise

SIDES = {"student": 64, "teacher": 256}


class Straightforward(CrossDomainDistillation):
    """The task with a teacher inside autocast."""

    @contextmanager
    def teaching(self, batch: Batch) -> Iterator[Tensor]:
        with torch.no_grad():
            yield batch.images["teacher"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"width": 8, "teacher-width": 32, "batch": 8, "rounds": 5, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, batch = torch.device("cpu"), noise(options.batch, SIDES, torch.device("cpu"))
    student = network(options.width, SIDES["student"], device)
    teacher = network(options.teacher_width, SIDES["teacher"], device).eval()
    for precision in (torch.float32, torch.bfloat16):
        before = build(Straightforward, student, copy.deepcopy(teacher), options.batch)
        after = build(CrossDomainDistillation, student, frozen(copy.deepcopy(teacher), precision), options.batch)
        tasks = {"before": before, "after": after}
        runs = {f"{when} step": lambda task=task: sum(task(batch).values()).backward() for when, task in tasks.items()}
        runs |= {f"{when} teacher": lambda task=task: teach(task, batch) for when, task in tasks.items()}
        seconds = measure(runs, options.rounds, precision)
        print(f"{precision}, batches of {options.batch}, {options.threads} thread(s):")
        for name, value in seconds.items():
            print(f"  {name:15s} {1e3 * value:9.1f} ms")
        for part in ("step", "teacher"):
            print(f"  {part}: {seconds[f'before {part}'] / seconds[f'after {part}']:.2f} times as fast")


def build(kind: type, student: torch.nn.Module, teacher: torch.nn.Module, people: int) -> CrossDomainDistillation:
    codec = SimccCodec((SIDES["student"],) * 2, split=2.0, smoothing=0.2)
    return kind(
        *(SimccSupervised(student, codec, toy.FLIP_PAIRS), teacher),
        **{f"{view}_input": (side, side) for view, side in SIDES.items()},
        **{"alpha": 1.0, "beta": 1.0, "features": "sape", "projectors": 3, "kernels": (3, 5, 7, 7)},
        **{"logits": "cca", "tau": 4.0, "learned": ("tau",), "batch_size": people},
    ).train()


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
