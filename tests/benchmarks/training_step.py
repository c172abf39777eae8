"""Where the time of a training step goes, on synthetic crops.

    python -m tests.benchmarks.training_step [--input 64] [--stacks 2] [--channels 32] [--batch 16] [--teacher]
    OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 -m tests.benchmarks.training_step

Prints the split of a step into data, forward, backward and optimiser, and images per second over all processes.
"""

import argparse
import time

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from lib.data.batches import Augmentation, Batches
from lib.data.crops import Crops
from lib.models import build_model
from lib.tasks import build_task
from lib.training.distributed import connect, synchronize
from lib.training.loop import build_optimizer
from tests import toy

WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("input", 64), ("stacks", 2), ("channels", 32), ("batch", 16), ("steps", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--teacher", action="store_true", help="distil from a network of twice the stacks and channels")
    options = parser.parse_args()
    with connect() as process:
        side, joints = options.input, len(toy.JOINTS)
        crops = random_crops(side, options.batch * (WARM_UP + options.steps))
        model = {"name": "hourglass", "joints": joints, "stem": "newell"}
        student = build_model({**model, "stacks": options.stacks, "channels": options.channels})
        teacher = None
        run = toy.run(input=(side, side))
        if options.teacher:
            teacher = build_model({**model, "stacks": 2 * options.stacks, "channels": 2 * options.channels})
            teacher.to(process.device, memory_format=torch.channels_last)
            settings = {"alpha": 0.5, "loss": "mse", "variant": "paper"}
            run = toy.run(input=(side, side), teacher="fpd/teacher", method="fpd", settings=settings)
        task = build_task(run, student, toy.FLIP_PAIRS, teacher)
        if process.world > 1:
            synchronize(task)
        task.to(process.device, memory_format=torch.channels_last).train()
        network = DistributedDataParallel(task) if process.world > 1 else task
        optimizer = build_optimizer(list(task.parameters()), run.optimizer)
        batches = Batches(
            *(crops, {"student": (side, side)}, options.batch),
            augmentation=Augmentation(flip=True, scale=(0.75, 1.25), rotation=30.0),
            seed=0,
            device=process.device,
            rank=process.rank,
            world=process.world,
        )
        seconds = measure(network, optimizer, batches, process.device)
        if process.rank == 0:
            total = sum(seconds.values())
            threads = torch.get_num_threads()
            print(f"{process.world} process(es) x {threads} thread(s): {options.batch / total:.0f} images/s")
            for name, value in seconds.items():
                print(f"  {name:10s} {1e3 * value:8.2f} ms  {100 * value / total:5.1f} %")


def measure(network, optimizer, batches, device: torch.device) -> dict[str, float]:
    """Mean seconds of each part of a step after the warm-up; GPUs are waited for after every part."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    parts = {"data": 0.0, "forward": 0.0, "backward": 0.0, "optimiser": 0.0}
    began = now()
    for number, batch in enumerate(batches.epoch(1)):
        times = [began, now()]
        loss = sum(network(batch).values())
        times.append(now())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        times.append(now())
        optimizer.step()
        began = now()
        times.append(began)
        if number >= WARM_UP:
            for name, seconds in zip(parts, np.diff(times), strict=True):
                parts[name] += seconds / (len(batches) - WARM_UP)
    return parts


def random_crops(side: int, people: int) -> Crops:
    """Crops of noise with joints anywhere."""
    rng = np.random.default_rng(0)
    size, joints = round(1.5 * side), len(toy.JOINTS)
    return Crops(
        images=rng.integers(0, 256, (people, size, size, 3), np.uint8),
        keypoints=rng.uniform(0, size, (people, joints, 2)).astype(np.float32),
        visible=np.ones((people, joints), bool),
        to_image=np.tile(np.eye(2, 3), (people, 1, 1)),
        ids=np.arange(people),
        image_ids=np.arange(people),
        box_scores=np.ones(people, np.float32),
        joints=toy.JOINTS,
        flip_pairs=toy.FLIP_PAIRS,
        upper_body=(),
        input=(side, side),
    )


if __name__ == "__main__":
    main()
