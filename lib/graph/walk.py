"""The order in which stages run side by side, each as soon as what it reads is there and it has a place."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.stage import Stage
from dvc.stage.run import _make_cmd, get_executable, prepare_kwargs

from lib.graph.cluster import Cluster
from lib.graph.records import Hashes, Records
from lib.graph.view import View, last_line
from lib.graph.workers import TRAINING, Machine, Process, Slots

LOGS = Path(".cache/logs")
WRITE_SECONDS = 60.0
POLL_SECONDS = 0.05
WAITING, DONE, FAILED, SKIPPED = "waiting", "done", "failed", "skipped"


class OutdatedError(Exception):
    """Files changed that the graph was made of: what is to run has to be found anew."""


@dataclass
class Job:
    """A stage's command under way."""

    name: str
    alone: bool
    before: Hashes
    slots: Slots
    places: int
    seeds: list[int]  # that it trains, one after the other
    log: Path
    held: ExitStack
    process: Process
    device: str
    look: int  # the one that found its inputs to be the present ones
    began: float = field(default_factory=time.monotonic)


class Walk:
    """Runs what the targets need and records it. Jobs outlive a new look at the graph, if it still wants them."""

    def __init__(self, records: Records, machine: Machine | Cluster, spec: Callable[[str], dict[str, Any]], view: View):
        """spec: of a training, by the name of its run; asked when the stages before it are done."""
        self.records, self.machine, self.spec, self.view = records, machine, spec, view
        self.state: dict[Stage, str] = {}
        self.jobs: dict[str, Job] = {}
        self.failures: dict[str, str] = {}
        self.looks, self.written = 0, time.monotonic()
        self.interrupted = False

    def interrupt(self, *_) -> None:
        """End at the next moment at which DVC writes nothing: a handler for signals. A second call ends at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def run(self) -> bool:
        """Whether all that the targets need is done. Raises KeyboardInterrupt after an interruption."""
        try:
            while True:
                try:
                    self.look()
                    return not self.failures
                except OutdatedError:
                    self.view.say("Files have changed: looking at the graph again.")
                    self.records.load()
        finally:
            for job in list(self.jobs.values()):
                self.drop(job)
            self.records.write()
            self.view.clear()

    def look(self) -> None:
        """Run until every stage is done, has failed or needs one that has. Raises OutdatedError."""
        self.looks += 1
        self.failures.clear()
        plan = by_urgency(self.records)
        self.state = dict.fromkeys(plan, WAITING)
        for name in self.jobs.keys() - {stage.addressing for stage in plan}:
            self.drop(self.jobs[name])
        while waiting := [stage for stage in plan if self.state[stage] == WAITING]:
            ready = [stage for stage in waiting if all(self.state[one] == DONE for one in self.records.upstream(stage))]
            ended = [self.attend(stage) for stage in ready if stage.addressing in self.jobs]
            if not any(ended) and not self.start_one(ready):
                time.sleep(POLL_SECONDS)
            if time.monotonic() - self.written > WRITE_SECONDS:
                self.records.write()
                self.written = time.monotonic()
            self.view.show(list(self.state.values()), list(self.jobs.values()))
            if self.interrupted:
                raise KeyboardInterrupt

    def attend(self, stage: Stage) -> bool:
        """Record a job that has ended, as of the inputs that it had: whether it has. Raises OutdatedError."""
        job = self.jobs[stage.addressing]
        status = job.process.poll()
        if status:
            self.fail(stage, f"exit status {status}, {job.log}: {last_line(job.log)}")
        elif status == 0:
            self.check()
            self.drop(job)
            try:
                if not self.records.end(stage, job.before):
                    raise OutdatedError
            except (DvcException, OSError) as error:
                self.fail(stage, f"{error}, {job.log}")
                return True
            self.state[stage] = DONE
            self.view.say(f"{stage.addressing}: {time.monotonic() - job.began:.0f} s")
        elif job.look < self.looks:
            job.look = self.looks
            if self.records.stale(stage, job.before):
                self.drop(job)
                raise OutdatedError
        return status is not None

    def start_one(self, ready: list[Stage]) -> bool:
        """Start one more job, or find that a stage has nothing to do: whether there was one. Raises OutdatedError."""
        if any(job.alone for job in self.jobs.values()):
            return False
        for stage in ready:
            if stage.addressing not in self.jobs and self.begin(stage):
                return True
            if alone(stage):
                return False
        return False

    def begin(self, stage: Stage) -> bool:
        """Start a stage, if it has a place, or find that it has nothing to do: whether that is so."""
        run = stage.cmd.removeprefix(TRAINING) if str(stage.cmd).startswith(TRAINING) else None
        spec = self.spec(run) if run else {}
        threads = spec.get("run", {}).get("threads", 1)  # None: one per core; what params.yaml leaves out needs one
        slots = self.machine.trainings if run else self.machine.commands
        places = self.machine.places(threads) if run else 1
        if slots.free < places or (alone(stage) and self.jobs):
            return False
        self.check()
        with ExitStack() as held:
            try:
                before = self.records.begin(stage)
                if before is None:
                    self.state[stage] = DONE
                    return True
                held.enter_context(self.records.held(stage))
                log = LOGS / f"{stage.addressing.replace('/', '.')}.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                process, device = self.machine.start(run, threads, log) if run else (command(stage, log), "")
            except (DvcException, OSError) as error:
                self.fail(stage, str(error))
                return True
            common = (stage.addressing, alone(stage), before, slots, places, spec.get("seeds", []), log, held.pop_all())
        self.jobs[stage.addressing] = Job(*common, process, device, self.looks)
        slots.free -= places
        return True

    def check(self) -> None:
        """Raise OutdatedError where the graph, or what its first stages read, is no longer what was looked at."""
        if self.records.outdated():
            raise OutdatedError

    def fail(self, stage: Stage, reason: str) -> None:
        """Note a failure, and leave out all that would read the stage's outputs."""
        if stage.addressing in self.jobs:
            self.drop(self.jobs[stage.addressing])
        self.failures[stage.addressing] = reason
        self.state[stage] = FAILED
        self.state |= dict.fromkeys(self.records.downstream(stage) & self.state.keys(), SKIPPED)
        self.view.say(f"{stage.addressing}: failed ({reason})")

    def drop(self, job: Job) -> None:
        """Give back what a job has, and end it if it still runs."""
        if job.process.poll() is None:
            job.process.terminate()
        job.held.close()
        job.slots.free += job.places
        self.machine.release(job.device)
        del self.jobs[job.name]


def alone(stage: Stage) -> bool:
    """Whether nothing may run beside a stage: `meta: {alone: true}` in dvc.yaml, for one that measures time."""
    return bool((stage.meta or {}).get("alone"))


def command(stage: Stage, log: Path) -> subprocess.Popen:
    """Start a stage's command as DVC does, with the same shell, folder and environment."""
    line = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
    with log.open("wb") as output, open(os.devnull) as nothing:
        return subprocess.Popen(
            _make_cmd(get_executable(), line), stdin=nothing, stdout=output, stderr=output, **prepare_kwargs(stage)
        )


def by_urgency(records: Records) -> list[Stage]:
    """The plan: first what nothing may run beside, then what the longest row of trainings waits for."""
    rows: dict[Stage, int] = {}
    for stage in reversed(records.plan):
        after = max((rows[one] for one in records.graph.predecessors(stage) if one in rows), default=0)
        rows[stage] = after + str(stage.cmd).startswith(TRAINING)
    return sorted(records.plan, key=lambda stage: (not alone(stage), -rows[stage]))
