"""The order in which stages run side by side, each as soon as what it reads is there and it has a place."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.stage import Stage
from dvc.stage.run import _make_cmd, get_executable, prepare_kwargs

from lib.errors import InputError, with_cause
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
class Part:
    """A process of a job: the stage's command, or one seed of a training."""

    name: str
    seeds: list[int]  # that it trains, one after the other
    log: Path
    process: Process
    device: str
    began: float = field(default_factory=time.monotonic)


@dataclass
class Job:
    """A stage under way. Seeds have processes of their own where there are places for two; the command then finds them.

    waiting: what has no process yet, a seed each, None for the command, which is the last.
    """

    stage: Stage
    run: str | None  # of a training
    threads: int | None
    before: Hashes
    slots: Slots
    places: int  # of a process
    seeds: list[int]
    waiting: list[int | None]
    held: ExitStack
    look: int  # the one that found its inputs to be the present ones
    parts: list[Part] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def next(self) -> bool:
        """Whether its next process may start: the command follows the seeds."""
        return bool(self.waiting) and (self.waiting[0] is not None or not self.parts)


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
            if not (any(ended) or self.start_one(ready) or self.make_room(ready)):
                time.sleep(POLL_SECONDS)
            if time.monotonic() - self.written > WRITE_SECONDS:
                self.records.write()
                self.written = time.monotonic()
            parts = [part for job in self.jobs.values() for part in job.parts]
            self.view.show(list(self.state.values()), len(self.jobs), parts)
            if self.interrupted:
                raise KeyboardInterrupt

    def attend(self, stage: Stage) -> bool:
        """Note what has ended of a job, and record one that has, as of the inputs that it had: whether anything has.

        Raises OutdatedError.
        """
        job = self.jobs[stage.addressing]
        job.stage = stage  # as dvc.yaml has it now
        ended = [part for part in job.parts if part.process.poll() is not None]
        failed = next((part for part in ended if part.process.poll()), None)
        if failed and job.look == self.looks:
            self.check()
            self.fail(stage, f"exit status {failed.process.poll()}, {failed.log}: {last_line(failed.log)}")
            return True
        for part in ended:
            self.end(job, part)
        if not (failed or job.parts or job.waiting):  # now, or when a look at the graph was cut short
            self.finish(job)
            return True
        if job.look < self.looks:
            job.look = self.looks
            if failed or self.records.stale(stage, job.before):  # it may have read what was being written
                self.drop(job)
                raise OutdatedError
        return bool(ended)

    def finish(self, job: Job) -> None:
        """Record a job that has ended. Raises OutdatedError."""
        self.check()
        self.drop(job)
        try:
            if not self.records.end(job.stage, job.before):
                raise OutdatedError
        except (DvcException, OSError) as error:
            self.fail(job.stage, with_cause(error))
            return
        self.state[job.stage] = DONE
        self.view.say(f"{job.stage.addressing}: {time.monotonic() - job.began:.0f} s")

    def start_one(self, ready: list[Stage]) -> bool:
        """Start a process more, or find that a stage has nothing to do: whether there was one. Raises OutdatedError."""
        closed = any(alone(job.stage) for job in self.jobs.values())  # to stages; one that is under way goes on
        for stage in ready:
            job = self.jobs.get(stage.addressing)
            if job:
                if job.next and job.slots.free >= job.places:
                    self.start(job)
                    return True
            elif not closed:
                if self.begin(stage):
                    return True
                closed = alone(stage)
        return False

    def make_room(self, ready: list[Stage]) -> bool:
        """Look at a training that waits, after a new look, for the place of those that need it: whether there is one.

        Nobody attends to these before it is done. They go on where it has nothing to do, else they are of old inputs.
        """
        names = {stage.addressing for stage in ready}
        stranded = [job for name, job in self.jobs.items() if name not in names]
        for stage in ready if stranded else ():
            needing = [job for job in stranded if job.run and job.stage in self.records.downstream(stage)]
            if stage.addressing in self.jobs or not needing or not str(stage.cmd).startswith(TRAINING):
                continue
            try:
                if self.records.due(stage):
                    for job in needing:
                        self.drop(job)
                else:
                    self.state[stage] = DONE
            except (DvcException, OSError) as error:
                self.fail(stage, with_cause(error))
            return True
        return False

    def begin(self, stage: Stage) -> bool:
        """Start a stage, if it has a place, or find that it has nothing to do: whether that is so."""
        run = stage.cmd.removeprefix(TRAINING) if str(stage.cmd).startswith(TRAINING) else None
        slots = self.machine.trainings if run else self.machine.commands
        if not slots.free:  # this is asked many times a second of all that wait: no file is read for it
            return False
        try:
            spec = self.spec(run) if run else {}
        except InputError as error:
            self.fail(stage, str(error))
            return True
        threads = spec.get("run", {}).get("threads", 1)  # None: one per core; what params.yaml leaves out needs one
        places = self.machine.places(threads) if run else 1
        if slots.free < places or (alone(stage) and self.jobs):
            return False
        self.check()
        seeds = spec.get("seeds", [])
        apart = seeds if len(seeds) > 1 and slots.total >= 2 * places else []
        with ExitStack() as held:
            try:
                before = self.records.begin(stage)
                if before is None:
                    self.state[stage] = DONE
                    return True
                held.enter_context(self.records.held(stage))
            except (DvcException, OSError) as error:
                self.fail(stage, with_cause(error))
                return True
            common = (stage, run, threads, before, slots, places, seeds, [*apart, None], held.pop_all(), self.looks)
        self.jobs[stage.addressing] = Job(*common)
        self.start(self.jobs[stage.addressing])
        return True

    def start(self, job: Job) -> None:
        """Start the next process of a job."""
        seed = job.waiting.pop(0)
        apart = seed is not None
        name = f"{job.stage.addressing} seed {seed}" if apart else job.stage.addressing
        log = LOGS / f"{name.replace('/', '.').replace(' ', '.')}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            if job.run:
                words = [job.run, str(seed)] if apart else [job.run]
                process, device = self.machine.start(words, job.threads, log)
            else:
                process, device = Command(job.stage, log), ""
        except OSError as error:
            self.fail(job.stage, str(error))
            return
        job.parts.append(Part(name, [seed] if apart else job.seeds, log, process, device))
        job.slots.free -= job.places

    def check(self) -> None:
        """Raise OutdatedError where the graph, or what its first stages read, is no longer what was looked at."""
        if self.records.outdated():
            raise OutdatedError

    def fail(self, stage: Stage, reason: str) -> None:
        """Note a failure, and leave out all that would read the stage's outputs."""
        skipped = self.records.downstream(stage) & self.state.keys()
        for name in {one.addressing for one in (stage, *skipped)} & self.jobs.keys():
            self.drop(self.jobs[name])
        self.failures[stage.addressing] = reason
        self.state[stage] = FAILED
        self.state |= dict.fromkeys(skipped, SKIPPED)
        self.view.say(f"{stage.addressing}: failed ({reason})")

    def end(self, job: Job, part: Part) -> None:
        """Give back what a process of a job has, and end it if it still runs."""
        if part.process.poll() is None:
            part.process.terminate()
        job.parts.remove(part)
        job.slots.free += job.places
        self.machine.release(part.device)

    def drop(self, job: Job) -> None:
        """Give back what a job has, and end what of it still runs."""
        for part in list(job.parts):
            self.end(job, part)
        job.held.close()
        del self.jobs[job.stage.addressing]


def alone(stage: Stage) -> bool:
    """Whether nothing may run beside a stage: `meta: {alone: true}` in dvc.yaml, for one that measures time."""
    return bool((stage.meta or {}).get("alone"))


class Command(subprocess.Popen):
    """A stage's command, started as DVC does, with the same shell, folder and environment."""

    def __init__(self, stage: Stage, log: Path):
        line = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
        words, nothing = _make_cmd(get_executable(), line), subprocess.DEVNULL
        with log.open("wb") as output:
            streams = {"stdin": nothing, "stdout": output, "stderr": output}
            super().__init__(words, process_group=0, **streams, **prepare_kwargs(stage))

    def terminate(self) -> None:
        """End the shell and what it runs: not every shell gives its place to its last command."""
        with suppress(OSError):  # it has ended just now
            os.killpg(self.pid, signal.SIGTERM)


def by_urgency(records: Records) -> list[Stage]:
    """The plan: first what nothing may run beside, then what the longest row of trainings waits for."""
    rows: dict[Stage, int] = {}
    for stage in reversed(records.plan):
        after = max((rows[one] for one in records.graph.predecessors(stage) if one in rows), default=0)
        rows[stage] = after + str(stage.cmd).startswith(TRAINING)
    return sorted(records.plan, key=lambda stage: (not alone(stage), -rows[stage]))
