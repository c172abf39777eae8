"""DVC's graph and what DVC records of it, through the calls that `dvc repro` makes for one stage after the other.

`Stage.run` of DVC removes outputs, runs the command, hashes, keeps and writes down. Here that is cut in two, before and
after the command, so that other stages run meanwhile, with two differences: a stage whose dependencies changed while it
ran is not recorded (DVC records the changed ones), and dvc.lock, which DVC parses and writes for every stage, is
written for many at once. What is not in it yet when this process is killed is in DVC's run cache.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import networkx
from dvc.dvcfile import PROJECT_FILE
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, rwlock
from dvc.stage import Stage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import modify_yaml

from lib.files import atomic

Hashes = dict[str, str]


class Records:
    """The stages that targets need, in DVC's order, and their records."""

    def __init__(self, targets: Iterable[str]):
        self.repo, self.targets = Repo(_wait_for_lock=True), list(targets)
        self.hardlink = self.repo.config["core"].get("hardlink_lock", False)
        mend(self.repo, self.hardlink)
        self.unwritten: list[Stage] = []
        self.order: dict[Path, list[str]] = {}  # of the stages that a lock file had before
        self.load()

    def load(self) -> None:
        """Read dvc.yaml and dvc.lock. Raises DvcException where they, or the targets, are not valid."""
        self.write()
        self.repo._reset()
        stages = collect_stages(self.repo, self.targets or [PROJECT_FILE])
        self.graph = get_active_graph(self.repo.index.graph)
        self.plan = plan_repro(self.graph, stages)
        self.files = self.sources()
        self.seen = signature(self.files)

    def sources(self) -> list[Path]:
        """What the stages read and none of them writes, dvc.yaml included."""
        outs = {out.fs_path for stage in self.graph for out in stage.outs}
        parents = {str(parent) for out in outs for parent in Path(out).parents}
        deps = {dep.fs_path for stage in self.plan for dep in stage.deps} - outs - parents
        read = {path for path in deps if not outs.intersection(map(str, Path(path).parents))}
        return [Path(path) for path in sorted(read | {stage.path for stage in self.plan})]

    def outdated(self) -> bool:
        """Whether the sources have changed since they were loaded: another look at the graph is due."""
        return signature(self.files) != self.seen

    def upstream(self, stage: Stage) -> list[Stage]:
        """The stages whose outputs a stage reads."""
        return list(self.graph.successors(stage))

    def downstream(self, stage: Stage) -> set[Stage]:
        """All stages that read what comes from a stage."""
        return networkx.ancestors(self.graph, stage)

    def due(self, stage: Stage) -> bool:
        """Whether a stage's command, dependencies or outputs are not those that are recorded."""
        with self.repo.lock:
            return stage.changed(upstream=self.upstream(stage))

    def begin(self, stage: Stage) -> Hashes | None:
        """Make way for a stage's command, or do without it: None where nothing changed or DVC has the result.

        Returns what `end` wants to see again. Raises DvcException where a dependency is absent or another process of
        DVC uses the same files.
        """
        with self.repo.lock:
            if not stage.cmd or stage.frozen:
                if stage.reproduce():
                    stage.dump(update_pipeline=False)
                return None
            if not stage.changed(upstream=self.upstream(stage)):
                return None
            stage.remove_outs()
            try:
                self.repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                stage.save_deps()
                return hashes(stage)
            self.keep(stage)
            return None

    def end(self, stage: Stage, before: Hashes) -> bool:
        """Record a stage whose command has run; False where its command or dependencies are not those from `before`.

        Raises DvcException where an output is absent.
        """
        with self.repo.lock:
            return self.keep(stage, before)

    def stale(self, stage: Stage, before: Hashes) -> bool:
        """Whether a stage's command or dependencies are no longer those from `before`."""
        with self.repo.lock:
            stage.save_deps()
        return hashes(stage) != before

    def keep(self, stage: Stage, before: Hashes | None = None) -> bool:
        """Hash dependencies and outputs, and keep the outputs in DVC's cache."""
        with self.repo.scm_context(quiet=True):
            stage.save(run_cache=False)
            if before is not None and hashes(stage) != before:
                return False
            if all(out.use_cache or out.is_metric or out.is_plot for out in stage.outs):
                self.repo.stage_cache.save(stage)
            stage.commit()
        self.unwritten.append(stage)
        return True

    @contextmanager
    def held(self, stage: Stage) -> Iterator[None]:
        """Keep other processes of DVC from what a stage reads and writes."""
        deps, outs = ([one.fs_path for one in several] for several in (stage.deps, stage.outs))
        with rwlock(self.repo.tmp_dir, self.repo.fs, " ".join(sys.argv), deps, outs, self.hardlink):
            yield

    def write(self) -> None:
        """Write dvc.lock: new stages in the order of the graph, where serial runs leave them."""
        if not self.unwritten:
            return
        plan = [stage.addressing for stage in self.plan]
        with self.repo.lock:
            for path, several in groupby(sorted(self.unwritten, key=attrgetter("path")), attrgetter("path")):
                lock = Path(path).with_suffix(".lock")
                with atomic(lock) as part, modified(lock, part) as content:
                    stages = content.setdefault("schema", "2.0") and content.setdefault("stages", {})
                    order = self.order.setdefault(lock, list(stages))
                    for stage in several:
                        stages.update(to_lockfile(stage))
                    if len(stages) > len(order):
                        rank = {name: place for place, name in enumerate(dict.fromkeys([*order, *plan]))}
                        for name in sorted(stages, key=lambda name: rank.get(name, len(rank))):
                            stages[name] = stages.pop(name)
        self.unwritten.clear()


@contextmanager
def modified(lock: Path, part: Path) -> Iterator[dict]:
    """The content of a lock file, written to `part` when it has been changed."""
    if lock.exists():
        shutil.copyfile(lock, part)
    with modify_yaml(part) as content:
        yield content


def mend(repo: Repo, hardlink: bool) -> None:
    """Remove DVC's list of files in use where a process was killed while it wrote it: no process of DVC can read it."""
    path = Path(repo.tmp_dir, RWLOCK_FILE)
    with make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            path.unlink()


def hashes(stage: Stage) -> Hashes:
    """What identifies a stage's work: its command and the hashes of its dependencies."""
    return {"cmd": str(stage.cmd)} | {dep.def_path: str(dep.hash_info.value) for dep in stage.deps}


def signature(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Times and sizes of files, those in folders included; bytecode does not count."""
    found = []
    for path in paths:
        files = [path]
        if path.is_dir():
            walk = (entry for entry in os.walk(path) if os.path.basename(entry[0]) != "__pycache__")
            files = sorted(Path(folder, name) for folder, _, names in walk for name in names)
        for file in files:
            if file.exists():
                status = file.stat()
                found.append((str(file), status.st_mtime_ns, status.st_size))
    return found
