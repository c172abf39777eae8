"""Trainings as tasks of a Ray cluster whose machines share this folder; all else runs on the machine of the walk."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from lib import launch
from lib.environment import cores
from lib.errors import InputError
from lib.graph.workers import Slots

RETRIES = 3  # of a training whose machine or worker is lost; it continues where its state on the shared disk is
LOST = 1
CONNECT_SECONDS = 10.0


class Cluster:
    """The trainings' places on a Ray cluster, each with a share of a GPU or, where there are none, with cores.

    A walk hands a task out when its teacher's outputs are recorded, not before: whether a student has to be trained at
    all, its teacher's weights say.
    """

    def __init__(self, address: str, gpus: float | None = None, jobs: int | None = None):
        """address: of the cluster, "auto" for the one that this machine belongs to; gpus: of a training, 1 where there
        are any; jobs: trainings at once, as many as there are places without. Raises InputError where there is no Ray.
        """
        try:
            import ray
        except ImportError:
            raise InputError("--ray needs Ray: pip install -r requirements-cluster.txt") from None
        if os.environ.get("LAUNCH"):
            raise InputError("LAUNCH and --ray both say where trainings run: choose one")
        self.ray = ray
        try:
            if ":" in address:  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"no Ray cluster at {address}: {error}") from None
        resources = ray.cluster_resources()
        self.gpus = gpus or float("GPU" in resources)
        kind = "GPU" if self.gpus else "CPU"
        has, takes = resources.get(kind, 0), self.gpus or 1
        places = jobs or int(has / takes)
        if places < 1:
            raise InputError(
                f"the Ray cluster at {address} has no place for a training: it has {has:g} {kind}s, one takes {takes:g}"
            )
        self.alike = bool(jobs or self.gpus)
        self.trainings, self.commands = Slots(places), Slots(cores())
        self.task = ray.remote(train)

    def places(self, threads: int | None) -> int:
        """The places of a training with so many threads (None: one per core of this machine)."""
        return 1 if self.alike else min(threads or cores(), self.trainings.total)

    def start(self, words: list[str], threads: int | None, log: Path) -> tuple["Task", str]:
        """Hand a training, its run, or that and a seed, to the cluster; its log says where it is and what it prints."""
        log.write_text("", encoding="utf-8")
        needs = {"num_gpus": self.gpus, "num_cpus": 0} if self.gpus else {"num_cpus": threads or cores()}
        options = self.task.options(max_retries=RETRIES, name=" ".join(words), **needs)
        return Task(self.ray, options.remote(os.getcwd(), words, str(log)), log), ""

    def release(self, device: str) -> None:
        """Nothing: Ray keeps the GPUs."""


class Task:
    """A task of Ray with the methods of subprocess.Popen."""

    def __init__(self, ray, reference, log: Path):
        self.ray, self.reference, self.log = ray, reference, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status of the training; LOST, and the reason in its log, where it was lost too often."""
        if self.returncode is None and self.ray.wait([self.reference], timeout=0)[0]:
            try:
                self.returncode = self.ray.get(self.reference)
            except self.ray.exceptions.RayError as error:
                with self.log.open("a") as log:
                    print(error, file=log)
                self.returncode = LOST
        return self.returncode

    def terminate(self) -> None:
        """End the worker, and with it the training."""
        with suppress(self.ray.exceptions.RayError):
            self.ray.cancel(self.reference, force=True)


def train(folder: str, words: list[str], log: str) -> int:
    """What a worker does: train in the shared folder as a launch that ends with the worker; return its exit status."""
    import ray

    os.chdir(folder)
    node, device = ray.get_runtime_context().get_node_id()[:8], os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with open(log, "ab", buffering=0) as output:
        place = f"node {node} on {socket.gethostname()}, process {os.getpid()}, GPU {device or 'none'}"
        output.write(f"{' '.join(words)}: {place}\n".encode())
        process = launch.start(["-m", "stages.train", *words], os.environ, output.fileno())
        while process.poll() is None:
            time.sleep(0.1)
    return process.returncode
