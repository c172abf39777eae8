"""Training on several processes, started by torchrun or anything that sets the same environment variables."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function


@dataclass(frozen=True)
class Process:
    """This process among `world` of them, and the device it owns."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (devices are immutable)


@contextmanager
def connect() -> Iterator[Process]:
    """Join the other processes (nccl on GPUs, gloo on CPUs), if there are any; leave when all have finished."""
    rank, local = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
    world = int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        # The first process predicts and writes alone while the others wait for it.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    yield Process(rank, world, device)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all processes, in place; with one process it is returned as it is."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def first_says(value: bool, process: Process) -> bool:
    """What the first process says; the others wait for it."""
    if process.world == 1:
        return value
    told = torch.tensor([value], dtype=torch.uint8, device=process.device)
    dist.broadcast(told, 0)
    return bool(told)


class SumOverProcesses(Function):
    """Sum of a tensor over all processes; the gradient, of any order, is summed over them as well."""

    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return SumOverProcesses.apply(gradient)


def mean_gradients(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Average tensors over all processes in one go, differentiably; with one process they are returned as they are."""
    if not dist.is_initialized():
        return list(gradients)
    mean = SumOverProcesses.apply(torch.cat([gradient.flatten() for gradient in gradients])) / dist.get_world_size()
    parts = mean.split([gradient.numel() for gradient in gradients])
    return [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, on any device (torch's own refuses CPU tensors).

    Weights, running statistics and evaluation are those of nn.BatchNorm2d.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        # Means and mean squares meet in float64: their difference, the variance, would lose float32's few digits.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        mean, variance = mean.double(), variance.double()
        count = torch.full_like(mean[:1], x.numel() / x.shape[1])
        total = SumOverProcesses.apply(torch.cat((count * mean, count * (variance + mean**2), count)))
        count = total[-1]
        mean, square = (total[:-1] / count).chunk(2)
        variance = square - mean**2
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        scale, shift = (values.to(wide.dtype).view(1, -1, 1, 1) for values in (scale, shift))
        return torch.addcmul(shift, wide, scale).to(x.dtype)


def synchronize(module: nn.Module) -> None:
    """Replace every nn.BatchNorm2d inside a module by one that spans all processes, weights and statistics kept."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SynchronizedBatchNorm2d(child.num_features, child.eps, child.momentum).to(child.weight)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            synchronize(child)
