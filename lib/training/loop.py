"""The training loop: any task, any number of processes, resumable after a kill at any moment."""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.data.batches import Batches
from lib.errors import InputError
from lib.runs import Run
from lib.tasks import Task
from lib.training.checkpoint import load_state, save_state, unusable
from lib.training.distributed import Process, mean_over_processes, synchronize
from lib.training.progress import Progress

CHECK_STEPS = 10  # the losses are looked at, which waits for the device, every so many steps
CHECKPOINT_SECONDS = 30.0


@dataclass
class Position:
    """How far a training is, besides weights, optimiser and random state."""

    epoch: int = 1
    step: int = 0  # batches of this epoch that are done
    sums: dict[str, float] = field(default_factory=dict)  # of the losses over these batches
    seconds: float = 0.0  # spent on these batches
    total_seconds: float = 0.0  # spent on everything before
    history: list[dict[str, float]] = field(default_factory=list)


def make_deterministic(seed: int, device: torch.device) -> None:
    """Make everything that follows a function of the seed (on GPUs as far as their kernels allow)."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time


def build_optimizer(parameters: list[nn.Parameter], settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """RMSprop, whose defaults are the constants of Torch7's optim.rmsprop (alpha 0.99, epsilon 1e-8), or Adam."""
    common = {"lr": settings["lr"], "weight_decay": settings["weight_decay"]}
    if settings["name"] == "adam":
        return torch.optim.Adam(parameters, fused=True, **common)
    return torch.optim.RMSprop(parameters, foreach=True, **common)


def learning_rate(settings: Mapping[str, Any], epoch: int) -> float:
    """Learning rate of an epoch (1-based): multiplied by gamma after each epoch of the milestones."""
    return settings["lr"] * settings["gamma"] ** bisect_right(sorted(settings["milestones"]), epoch - 1)


def fit(
    task: Task,
    batches: Batches,
    run: Run,
    state: Path,
    process: Process = Process(),  # noqa: B008 (frozen)
    validate: Callable[[], dict[str, float]] | None = None,
    label: str = "training",
) -> tuple[list[dict[str, float]], float]:
    """Train `task` in place for run.epochs epochs; return the history and the seconds spent, validation not counted.

    batches: this process's share of the training batches. state: the file that an interrupted training continues from
    and that this one writes about every half minute (the first process does). validate: called by the first process at
    run.validations evenly spaced epochs, the last among them; what it returns goes into the history as val_<name>.
    history: one row per epoch with epoch, lr, the losses by name (means over the epoch and all processes) and loss,
    their sum.

    Raises InputError where a loss is not finite, with what led to it, and where `state` is of another training.
    """
    return Trainer(task, batches, run, state, process).train(validate, label)


class Trainer:
    """The loop and what it needs from step to step."""

    def __init__(self, task: Task, batches: Batches, run: Run, state: Path, process: Process):
        self.task, self.batches, self.run, self.state, self.process = task, batches, run, state, process
        if process.world > 1:
            synchronize(task)
        task.to(process.device, memory_format=torch.channels_last)
        own = task.own_optimizers()
        theirs = {id(parameter) for one in own for group in one.param_groups for parameter in group["params"]}
        self.parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
        main = [parameter for parameter in self.parameters if id(parameter) not in theirs]
        self.optimizers = [build_optimizer(main, run.optimizer), *own]
        self.position = Position()
        if state.exists():
            self.resume()
        if run.compile:
            task.compile()
        self.model = DistributedDataParallel(task) if process.world > 1 else task
        self.saved = time.monotonic()
        self.gradient = (self.position.epoch, self.position.step, math.nan)  # norm at the last look

    def train(
        self, validate: Callable[[], dict[str, float]] | None, label: str
    ) -> tuple[list[dict[str, float]], float]:
        """All epochs that are left."""
        run, at = self.run, self.position
        last = {round(run.epochs * (part + 1) / run.validations) for part in range(run.validations)}
        images = len(self.batches) * self.batches.batch_size
        done = (at.epoch - 1) * images + at.step * self.batches.batch_size
        progress = Progress(label, run.epochs, images, done, silent=self.process.rank > 0)
        while at.epoch <= run.epochs:
            lr = learning_rate(run.optimizer, at.epoch)
            self.train_epoch(lr, progress)
            losses = {name: value / at.step for name, value in at.sums.items()}
            row = {"epoch": at.epoch, "lr": lr, **losses, "loss": sum(losses.values())}
            if validate is not None and at.epoch in last and self.process.rank == 0:
                row |= {f"val_{name}": value for name, value in validate().items()}
            at.history.append(row)
            at.epoch, at.step, at.sums, at.total_seconds = at.epoch + 1, 0, {}, at.total_seconds + at.seconds
            at.seconds = 0.0
            self.save_when_due()
        progress.close()
        return at.history, at.total_seconds

    def train_epoch(self, lr: float, progress: Progress) -> None:
        """The batches of the current epoch that are left."""
        at, steps = self.position, len(self.batches)
        for group in self.optimizers[0].param_groups:
            group["lr"] = lr
        self.task.train()
        self.task.progress.fill_((at.epoch - 1) / self.run.epochs)
        recent: list[Tensor] = []  # losses of the steps since the last look
        began = time.monotonic()
        for batch in self.batches.epoch(at.epoch, start=at.step):
            with torch.autocast(self.process.device.type, torch.bfloat16, self.run.precision == "bfloat16"):
                losses = self.model(batch)
            values = torch.stack(list(losses.values()))
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            values.sum().backward()
            for optimizer in self.optimizers:
                optimizer.step()
            recent.append(values.detach())
            at.step += 1
            if at.step % CHECK_STEPS == 0 or at.step == steps:
                self.check(list(losses), recent, lr)
                now = time.monotonic()
                at.seconds, began = at.seconds + now - began, now
                means = {name: value / at.step for name, value in at.sums.items()}
                progress.update(at.epoch, len(recent) * self.batches.batch_size, means, at.step == steps)
                recent.clear()
                if at.step < steps:
                    self.save_when_due()

    def check(self, names: list[str], recent: list[Tensor], lr: float) -> None:
        """Add the losses of the last steps, means over the processes, to the sums; stop where one is not finite."""
        at = self.position
        for back, values in zip(
            range(len(recent), 0, -1), mean_over_processes(torch.stack(recent)).tolist(), strict=True
        ):
            if not all(map(math.isfinite, values)):
                raise self.not_finite(at.step - back, dict(zip(names, values, strict=True)), lr)
            for name, value in zip(names, values, strict=True):
                at.sums[name] = at.sums.get(name, 0.0) + value
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.gradient = (at.epoch, at.step, nn.utils.get_total_norm(gradients))

    def not_finite(self, step: int, losses: dict[str, float], lr: float) -> InputError:
        """The error that names a batch (0-based) whose losses are not finite, and the numbers that led to it."""
        batch = next(iter(self.batches.epoch(self.position.epoch, start=step)))
        epoch, last, norm = self.gradient
        points = batch.keypoints[batch.visible]
        unit = "px" if points.shape[-1] == 2 else "hand scales"
        extent = f"{points.min():.4g} to {points.max():.4g} {unit}" if len(points) else "none labelled"
        return InputError(
            f"the loss is not finite at epoch {self.position.epoch}, batch {step + 1} of {len(self.batches)}, "
            f"learning rate {lr:g}: {', '.join(f'{name} {value:g}' for name, value in losses.items())}; "
            f"rows {batch.rows.tolist()} of the training crops, keypoints {extent}, "
            f"largest absolute pixel {max(view.abs().max().item() for view in batch.images.values()):.4g}, "
            f"gradient norm {float(norm):.4g} after epoch {epoch}, batch {last}: lower the rate or repair these rows"
        )

    def save_when_due(self) -> None:
        """Write the state where the last one is old enough; nothing is lost but the steps since."""
        if self.process.rank > 0 or time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return
        cuda = self.process.device.type == "cuda"
        state = {
            "task": self.task.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "position": asdict(self.position),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if cuda else None,
        }
        save_state(self.state, state)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Continue where the state file stands. Every process reads the same file: they all are in the same state."""
        state = load_state(self.state)
        try:
            self.task.load_state_dict(state["task"])
            for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(content)
            self.position = Position(**state["position"])
            torch.set_rng_state(state["random"])
            if state["cuda_random"] is not None:
                torch.cuda.set_rng_state(state["cuda_random"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise unusable(self.state, error) from None
