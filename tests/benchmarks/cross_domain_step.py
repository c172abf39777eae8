"""What a training step of CDKD costs beside the sum of its parts, on noise.

    python -m tests.benchmarks.cross_domain_step [--input 64] [--teacher-input 256] [--width 8] [--teacher-width 8]

Times, in turns and with the same modules, the teacher's forward pass, the student's step from labels alone, forward and
backward of SAPE on maps that are ready, and the whole step without the optimiser. Prints the medians, the sum of the
parts and the ratio of the whole to it, which should stay below 1.1: each network runs once, and the losses cost little.
Their own time, on outputs that are ready, is printed as well; it is no part of the sum.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.tasks.cdkd import CrossDomainDistillation, cosine_distance, cross_class_kl
from lib.tasks.simcc import SimccSupervised
from tests import toy

WARM_UP = 3
GOAL = 1.1
JOINTS = len(toy.JOINTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"input": 64, "teacher-input": 256, "width": 8, "teacher-width": 8, "batch": 8, "rounds": 20}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    sides = {"student": options.input, "teacher": options.teacher_input}
    teacher = network(options.teacher_width, sides["teacher"], device)
    codec = SimccCodec((sides["student"],) * 2, split=2.0, smoothing=0.2)
    task = CrossDomainDistillation(
        SimccSupervised(network(options.width, sides["student"], device), codec, toy.FLIP_PAIRS),
        teacher,
        student_input=(sides["student"],) * 2,
        teacher_input=(sides["teacher"],) * 2,
        batch_size=options.batch,
        **{"alpha": 1.0, "beta": 1.0, "features": "sape", "projectors": 3, "kernels": (3, 5, 7, 7)},
        **{"logits": "cca", "tau": 4.0, "learned": ("tau",)},
    )
    task.to(device, memory_format=torch.channels_last).train()
    seconds = measure(task, steps(task, noise(options.batch, sides, device)), options.rounds, device)
    whole, losses = seconds.pop("whole step"), seconds.pop("losses")
    total = sum(seconds.values())
    print(f"{options.batch / whole:.0f} images/s with {torch.get_num_threads()} thread(s)")
    for name, value in [*seconds.items(), ("sum of parts", total), ("whole step", whole), ("losses alone", losses)]:
        print(f"  {name:12s} {1e3 * value:8.2f} ms  {100 * value / whole:5.1f} % of the whole step")
    print(f"  whole step / sum of parts: {whole / total:.3f} (goal: {GOAL} at most)")


def network(width: int, side: int, device: torch.device) -> nn.Module:
    """An HRNet of the published depth with SimCC's head."""
    spec = {"name": "hrnet", "joints": JOINTS, "width": width, "head": "simcc", "input_size": [side, side]}
    return build_model(spec).to(device, memory_format=torch.channels_last)


def steps(task: CrossDomainDistillation, batch: Batch) -> dict[str, Callable[[], None]]:
    """What is timed: each part from inputs that are ready, with its gradients, then the losses and everything."""
    with torch.no_grad():
        maps, teacher_maps = task.student.maps(batch.images["student"]), task.teacher.maps(batch.images["teacher"])
        outputs, targets = task.student.classify(maps), task.teacher.classify(teacher_maps)
        features = task.projectors(maps, teacher_maps)[0]
    maps, features, outputs = leaf(maps), leaf(features), tuple(map(leaf, outputs))
    gradient = torch.randn_like(features)

    def teacher() -> None:
        with torch.no_grad():
            task.teacher(batch.images["teacher"])

    def losses() -> None:
        pairs, tau = zip(outputs, targets, strict=True), task.value("tau")
        supervised = task.base.losses(outputs, batch)["simcc"]
        (
            supervised + cosine_distance(features, teacher_maps) + sum(cross_class_kl(*pair, tau) for pair in pairs)
        ).backward()

    return {
        "teacher": teacher,
        "student": lambda: task.base(batch)["simcc"].backward(),
        "SAPE": lambda: task.projectors(maps, teacher_maps)[0].backward(gradient),
        "losses": losses,
        "whole step": lambda: sum(task(batch).values()).backward(),
    }


def measure(
    task: nn.Module, steps: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each step over rounds of all of them, after the warm-up; GPUs are waited for."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    times = np.empty((WARM_UP + rounds, len(steps)))
    for row in times:
        for number, step in enumerate(steps.values()):
            task.zero_grad(set_to_none=True)
            began = now()
            step()
            row[number] = now() - began
    return dict(zip(steps, np.median(times[WARM_UP:], axis=0).tolist(), strict=True))


def leaf(x: Tensor) -> Tensor:
    """The same values, without what made them, as an input whose gradient is wanted."""
    return x.detach().clone().requires_grad_()


def noise(people: int, sides: dict[str, int], device: torch.device) -> Batch:
    """Images of noise with joints anywhere."""
    images = {name: torch.randn(people, 3, side, side, device=device) for name, side in sides.items()}
    return Batch(
        images={name: view.to(memory_format=torch.channels_last) for name, view in images.items()},
        keypoints=sides["student"] * torch.rand(people, JOINTS, 2, device=device),
        visible=torch.ones(people, JOINTS, dtype=torch.bool, device=device),
        rows=np.arange(people),
    )


if __name__ == "__main__":
    main()
