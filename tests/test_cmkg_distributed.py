"""Two processes learn the prior of one, both the same to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.training.distributed import Process, connect, synchronize
from tests.test_cmkg import batch, task_of

ROOT = Path(__file__).resolve().parents[1]


def steps(process: Process, inner_steps: int) -> dict[str, Tensor]:
    """Three steps on this process's share of batches of four; the states of student and prior, and all gradients."""
    model = task = task_of(inner_steps=inner_steps)
    if process.world > 1:
        synchronize(task)
        model = nn.parallel.DistributedDataParallel(task)
    optimizers = [torch.optim.SGD(task.student.parameters(), lr=1e-4), torch.optim.SGD(task.phi, lr=1.0)]
    share = slice(4 // process.world * process.rank, 4 // process.world * (process.rank + 1))
    for number in range(3):
        data = batch(seed=number)
        images = {name: view[share] for name, view in data.images.items()}
        losses = model(Batch(images, data.keypoints[share], data.visible[share], data.rows[share]))
        task.zero_grad()
        sum(losses.values()).backward()
        for optimizer in optimizers:
            optimizer.step()
    return task.state_dict() | {f"gradient of {name}": value.grad for name, value in task.named_parameters()}


def test_two_processes_learn_the_prior_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["-m", "tests.test_cmkg_distributed", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for inner_steps in (1, 2):
        for name, value in steps(Process(), inner_steps).items():
            found = first[inner_steps][name]
            assert torch.equal(found, second[inner_steps][name]), name
            torch.testing.assert_close(
                found, value, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


if __name__ == "__main__":
    with connect() as process:
        torch.save({count: steps(process, count) for count in (1, 2)}, Path(sys.argv[1], f"{process.rank}.pt"))
