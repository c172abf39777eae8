"""Where commands run on this machine: as many as there are cores, trainings one on each GPU where there are any."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lib import launch
from lib.environment import cores

TRAINING = "python -m lib.launch -m stages.train "


class Process(Protocol):
    """What runs: a subprocess, a launch, a task of a cluster."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


class Slots:
    """A number of places, each for one thread or one GPU."""

    def __init__(self, total: int):
        self.total = self.free = total


class Machine:
    """This machine's cores and GPUs."""

    def __init__(self, jobs: int | None = None):
        """jobs: trainings at once; None: one on each GPU, or without GPUs as many as the cores have threads for.

        With LAUNCH a training has the machine to itself unless `jobs` says more.
        """
        gpus = [] if os.environ.get("LAUNCH") else visible_gpus()
        own = 1 if os.environ.get("LAUNCH") else len(gpus)
        total = jobs or own or cores()
        self.alike = bool(jobs or own)
        self.trainings = Slots(total)
        self.commands = Slots(min(cores(), total))  # of their own: a new look at the graph waits for no training
        self.devices = [gpus[number % len(gpus)] for number in range(total)] if gpus else []
        self.threads = str(max(1, cores() // total)) if gpus else None

    def places(self, threads: int | None) -> int:
        """The places of a training with so many threads (None: one per core)."""
        return 1 if self.alike else min(threads or cores(), self.trainings.total)

    def start(self, words: list[str], threads: int | None, log: Path) -> tuple[Process, str]:
        """Start a training, words: its run, or that and a seed; return it and the GPU that it has, "" without GPUs."""
        environment = dict(os.environ)
        device = self.devices[0] if self.devices else ""
        if device:
            environment |= {"CUDA_VISIBLE_DEVICES": device}
            environment.setdefault("OMP_NUM_THREADS", self.threads)
        with log.open("wb") as output:
            process = launch.start(["-m", "stages.train", *words], environment, output.fileno())
        del self.devices[:1]  # a GPU is taken by what has started
        return process, device

    def release(self, device: str) -> None:
        """Take back the GPU of a training that has ended."""
        if device:
            self.devices.append(device)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA GPUs that this process may use, by what CUDA_VISIBLE_DEVICES calls them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    done = subprocess.run([command, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    found = done.stdout.split() if done.returncode == 0 else []
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    return found if chosen is None else [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
