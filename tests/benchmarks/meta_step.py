"""What a step of meta-training costs beside the same step unrolled from its start, on noise.

    python -m tests.benchmarks.meta_step [--input 128] [--batch 32] [--width 64] [--rounds 2]

A step of a ResNet-18: the teacher, the losses and gradients of student and prior; no optimisers. "unrolled" is
Algorithm 1 as it reads: the inner step keeps its own derivatives, the loss after it is differentiated all the way down,
what that leaves in the student's gradients is thrown away, and the student's own step starts anew. "phi alone" asks the
same graph for no other gradient than phi's, which spares the second derivatives but not their graph.
Prints the medians of alternating rounds; then the memory, each form in a process of its own: the peak of its resident
set over two steps, less what was resident before them (networks, batch and libraries), with an allocator that gives
large blocks back at once; and the ratios. The forms differ in the activations that they keep: at 64 px no more than the
gradients, which all forms have; with the image their share grows.
"""

import argparse
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data.batches import Batch
from lib.models import build_model
from lib.tasks.cmkg import MetaTraining, inner_step

WARM_UP = 1
JOINTS = 21
SPEED, MEMORY = 1.4, 0.75  # goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"input": 128, "batch": 32, "width": 64, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    size = (options.input, options.batch, options.width)
    task, batch = problem(*size)
    times = np.empty((WARM_UP + options.rounds, len(STEPS)))
    for row in times:
        for number, step in enumerate(STEPS.values()):
            task.zero_grad(set_to_none=True)
            began = time.perf_counter()
            step(task, batch)
            row[number] = time.perf_counter() - began
    seconds = dict(zip(STEPS, np.median(times[WARM_UP:], axis=0), strict=True))
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)  # read by glibc when a process starts
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = {name: pool.apply(peak, (name, *size)) for name in STEPS}
    ours = "closed form"
    print(f"{torch.get_num_threads()} thread(s), {options.batch} images of {options.input} px")
    for name in STEPS:
        ratios = f"{seconds[name] / seconds[ours]:.2f} x as fast, {peaks[ours] / peaks[name]:.0%} of the memory"
        print(f"  {name:12s} {seconds[name]:7.2f} s {peaks[name] / 1024:7.0f} MiB; {ours}: {ratios}")
    print(f"  goal beside unrolled: {SPEED} x as fast or more, {MEMORY:.0%} of the memory or less")


def problem(side: int, people: int, width: int) -> tuple[MetaTraining, Batch]:
    """Meta-training between two networks of random weights, and images of noise with joints anywhere."""
    torch.manual_seed(0)
    model = {"name": "resnet", "joints": JOINTS, "block": "basic", "blocks": [2, 2, 2, 2], "width": width}
    student, teacher = (build_model(model).to(memory_format=torch.channels_last) for _ in range(2))
    settings = {"activation": 1.0, "attention": 1000.0, "norm": "l2", "inner_steps": 1, "inner_lr": 2.5e-4}
    task = MetaTraining(student, teacher, **settings, meta_lr=1e-3).to(memory_format=torch.channels_last).train()
    images = {name: torch.randn(people, 3, side, side) for name in ("student", "teacher")}
    images = {name: view.to(memory_format=torch.channels_last) for name, view in images.items()}
    visible = torch.ones(people, JOINTS, dtype=torch.bool)
    return task, Batch(images, torch.randn(people, JOINTS, 3), visible, np.arange(people))


def unrolled(task: MetaTraining, batch: Batch) -> Tensor:
    """G after the inner steps (Algorithm 1, lines 4 to 9), which keep their derivatives from the first on."""
    targets, theta = task.base.targets(batch), list(task.student.parameters())
    for _ in range(task.inner_steps):
        loss = task.losses_at(theta, batch, targets)["regression"]
        gradient = torch.autograd.grad(loss, theta, create_graph=True)
        theta = inner_step(theta, gradient, task.phi, task.norm, task.inner_lr)
    return sum(task.losses_at(theta, batch, targets).values())


def step(task: MetaTraining, batch: Batch) -> None:
    sum(task(batch).values()).backward()


def step_unrolled(task: MetaTraining, batch: Batch) -> None:
    unrolled(task, batch).backward()
    task.student.zero_grad(set_to_none=True)
    sum(task.base(batch).values()).backward()


def step_phi_alone(task: MetaTraining, batch: Batch) -> None:
    unrolled(task, batch).backward(inputs=list(task.phi))
    sum(task.base(batch).values()).backward()


STEPS: dict[str, Callable[[MetaTraining, Batch], None]] = {
    "closed form": step,
    "unrolled": step_unrolled,
    "phi alone": step_phi_alone,
}


def peak(name: str, *size: int) -> int:
    """KiB that two steps add to the resident set at their worst."""
    task, batch = problem(*size)
    before = resident("VmRSS")
    for _ in range(2):
        task.zero_grad(set_to_none=True)
        STEPS[name](task, batch)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """The resident set of this process in KiB: VmRSS as it is, VmHWM at its largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
