"""Two processes give the result of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.records import read_record
from lib.tasks import Task
from lib.tasks.fpd import FastPoseDistillation
from lib.tasks.okdhp import OnlineDistillation
from lib.training.distributed import Process, SynchronizedBatchNorm2d, connect, synchronize
from stages import run
from tests import toy

ROOT = Path(__file__).resolve().parents[1]
SLOW = {
    "epochs": 3,
    "optimizer": {**toy.ADAM, "lr": 1e-6},
}
METHODS = ("fpd", "okdhp_fau", "okdhp_gate")
SIDE = 128  # px; at 64 the coarsest maps have one pixel, and normalising four of them magnifies rounding errors


def build(method: str) -> Task:
    """The task of a method around two stacks, in float64."""
    torch.manual_seed(0)
    model = {"name": "hourglass", "joints": 14, "stacks": 2, "channels": 8, "stem": "pytorch-pose"}
    codec, student = HeatmapCodec((SIDE, SIDE), sigma=1.0), build_model(model)
    if method == "fpd":
        teacher = build_model({**model, "stacks": 1}).double()
        return FastPoseDistillation(student, codec, toy.FLIP_PAIRS, teacher, 0.5).double()
    network = build_branches(student, [model], 1, method.removeprefix("okdhp_"))
    return OnlineDistillation(network, codec, toy.FLIP_PAIRS, alpha=1.0, beta=2.0).double()


def steps(process: Process, method: str) -> dict[str, torch.Tensor]:
    """Three steps of plain SGD in float64 on this process's share of a batch of four; state and gradients."""
    model = task = build(method)
    if process.world > 1:
        synchronize(task)
        model = nn.parallel.DistributedDataParallel(task)
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-6)
    share = slice(4 // process.world * process.rank, 4 // process.world * (process.rank + 1))
    for _ in range(3):
        images = torch.randn(4, 3, SIDE, SIDE, dtype=torch.float64)
        keypoints, visible = (SIDE - 1) * torch.rand(4, 14, 2), torch.rand(4, 14) < 0.6
        losses = model(Batch({"student": images[share]}, keypoints[share], visible[share], np.arange(4)[share]))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in task.named_parameters()}
    return {**task.state_dict(), **gradients}


def launch(*arguments: str) -> subprocess.CompletedProcess:
    """Run this module on two processes of one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["-m", "tests.test_distributed", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_two_processes_give_the_weights_of_one(tmp_path, monkeypatch):
    toy.write_dataset(tmp_path, train=8, val=3)
    for part in ("steps", "train"):
        done = launch(part, str(tmp_path))
        assert done.returncode == 0, done.stderr

    # In float64 the two differ by rounding only: weights, running statistics and last gradients.
    two = torch.load(tmp_path / "two.pt")
    for method in METHODS:
        for name, value in steps(Process(), method).items():
            label = f"{method}, {name}"
            torch.testing.assert_close(
                two[method][name], value, rtol=1e-6, atol=1e-8, msg=lambda text, label=label: f"{label}: {text}"
            )

    # The stage in float32. Adam's first steps have the size of the learning rate however small a gradient is, so that
    # rounding grows fast; with a tiny rate the losses, means over both processes, stay comparable.
    two = (tmp_path / "models/fpd/student").rename(tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    assert read_record("fpd/student")["seed0"]["processes"] == 2
    toy.train(toy.run(**SLOW), 0)
    torch.use_deterministic_algorithms(False)
    one = tmp_path / "models/fpd/student"
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    losses = [np.genfromtxt(path / "seed0/history.csv", delimiter=",", names=True)["mse"] for path in (one, two)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_batch_that_two_processes_cannot_share_is_refused_with_one_line(tmp_path):
    toy.write_dataset(tmp_path, train=8, val=3)
    done = launch("refused", str(tmp_path))
    assert done.returncode != 0
    assert "error: batch size 3" in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_synchronized_batch_norm_is_batch_norm(alone, dtype):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=0.3).to(torch.float64 if dtype == torch.float64 else torch.float32)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    holder = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3, momentum=0.3).to(norm.weight)))
    holder[0][0].load_state_dict(norm.state_dict())
    synchronize(holder)
    ours = holder[0][0]
    assert type(ours) is SynchronizedBatchNorm2d
    x = (100 + torch.randn(4, 3, 5, 6, dtype=torch.float64)).to(dtype)  # a mean far above the deviation
    close = {"rtol": 2e-2, "atol": 0.05} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    inputs, outputs = [], []
    for module in (norm, ours):
        inputs.append(x.clone().requires_grad_())
        outputs.append(module(inputs[-1]))
        (outputs[-1] ** 3).sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0], **close)
    if dtype != torch.bfloat16:  # the cancelling sums of this gradient have no digits left in bfloat16
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(ours.weight.grad, norm.weight.grad, **close)
        torch.testing.assert_close(ours.bias.grad, norm.bias.grad, **close)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(norm.named_buffers()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(x), norm.eval()(x))


def main(part: str, folder: Path) -> None:
    """What each process of `launch` does."""
    if part == "steps":
        with connect() as process:
            states = {method: steps(process, method) for method in METHODS}
            if process.rank == 0:
                torch.save(states, folder / "two.pt")
    else:
        os.chdir(folder)
        toy.train(toy.run(**(SLOW if part == "train" else {"batch_size": 3})), 0)


if __name__ == "__main__":
    run(lambda part, folder: main(part, Path(folder)))
