"""Order, ends and failures of what runs side by side, in this process."""

import io
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.graph.records import Records
from lib.graph.view import View
from lib.graph.walk import Command, OutdatedError, Walk, by_urgency
from lib.graph.workers import Machine
from stages import load_spec
from tests.small_project import dvc, stage, wait_for, write_graph


@pytest.fixture
def walk_of(tmp_path, monkeypatch):
    """Makes a walk of some stages, in a folder with a file `in`; what a test leaves under way is ended."""
    walks = []

    def make(stages: dict, machine: Machine | None = None, spec: Callable = load_spec) -> Walk:
        (tmp_path / "in").write_text("")
        write_graph(tmp_path, stages)
        monkeypatch.chdir(tmp_path)
        walks.append(Walk(Records([]), machine or Machine(1), spec, View(io.StringIO())))
        return walks[-1]

    yield make
    for walk in walks:
        for job in list(walk.jobs.values()):
            walk.drop(job)


def test_a_training_that_params_yaml_does_not_have_fails_and_stops_nothing_else(walk_of, tmp_path):
    nobody = stage("python -m lib.launch -m stages.train fpd/nobody", ["in"], ["nobody"])
    walk = walk_of({"nobody": nobody, "other": stage("touch other", ["in"], ["other"])})
    assert not walk.run()
    assert walk.failures.keys() == {"nobody"} and "no such entry in params.yaml" in walk.failures["nobody"]
    assert (tmp_path / "other").exists()


def test_a_job_that_ended_is_recorded_as_the_stage_that_it_is_now(walk_of, tmp_path):
    """Its entry in dvc.yaml got another dependency while it ran."""
    walk = walk_of({"one": stage("touch out", ["in"], ["out"])})
    (one,) = walk.records.plan
    assert walk.begin(one)
    wait_for(lambda: walk.jobs["one"].parts[0].process.poll() == 0)
    graph = json.loads(Path("dvc.yaml").read_text())
    graph["stages"]["one"]["deps"].append("more")
    (tmp_path / "more").write_text("")
    Path("dvc.yaml").write_text(json.dumps(graph))
    walk.records.load()
    with pytest.raises(OutdatedError):
        walk.attend(walk.records.plan[0])
    walk.records.write()
    assert walk.run()
    assert dvc(tmp_path, "status").strip() == "Data and pipelines are up to date."


def test_a_job_that_failed_while_files_changed_is_tried_again(walk_of, tmp_path):
    """As one that reads its settings in the moment in which they are written anew."""
    walk = walk_of({"one": stage("cat settings > out", ["in"], ["out"])})
    assert walk.begin(walk.records.plan[0])
    wait_for(lambda: walk.jobs["one"].parts[0].process.poll())
    (tmp_path / "settings").write_text("there again")
    assert walk.run() and (tmp_path / "out").read_text() == "there again"
    (tmp_path / "settings").unlink()
    (tmp_path / "in").write_text("other")
    walk.records.load()
    assert not walk.run() and walk.failures.keys() == {"one"}  # once: nothing has changed since
    walk.records.load()
    one = walk.records.plan[0]
    assert walk.begin(one)
    wait_for(lambda: walk.jobs["one"].parts[0].process.poll())
    (tmp_path / "in").write_text("one more")  # and the walk has not seen it
    with pytest.raises(OutdatedError):
        walk.attend(one)


def test_what_runs_alone_waits_for_all_seeds_of_a_training_under_way(walk_of, monkeypatch):
    """After a change of code it is due again, and the first in line, while a training still has seeds to begin."""
    training = stage("python -m lib.launch -m stages.train fpd/any", ["in"], ["any"])
    stages = {"training": training, "quiet": stage("touch q", ["in"], ["q"]) | {"meta": {"alone": True}}}
    machine = Machine(2)
    monkeypatch.setattr(machine, "start", lambda words, *_: (subprocess.Popen(["touch", "any"]), ""))
    spec = {"seeds": [0, 1, 2], "run": {"threads": 1}}
    walk = walk_of(stages, machine, lambda _: spec)
    quiet, one = by_urgency(walk.records)
    assert walk.begin(one)
    assert walk.start_one([quiet, one]) and len(walk.jobs["training"].parts) == 2
    assert not walk.start_one([quiet, one])  # no place
    assert walk.run() and Path("q").exists()


def test_the_end_of_a_command_is_that_of_all_that_its_shell_runs(walk_of, tmp_path):
    walk = walk_of({"long": stage("sh -c 'echo $$ > pid; sleep 60'; true", ["in"], ["out"])})
    (long,) = walk.records.plan
    process = Command(long, tmp_path / "log")
    wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    wait_for(lambda: not Path("/proc", Path("pid").read_text().strip()).exists(), 10)
    process.terminate()  # of what has ended: nothing


def test_no_spec_is_read_while_there_is_no_place():
    class Training:
        cmd = "python -m lib.launch -m stages.train fpd/any"

    machine, asked = Machine(1), []
    walk = Walk(None, machine, asked.append, View(io.StringIO()))
    machine.trainings.free = 0
    assert not walk.begin(Training) and asked == []


def test_a_training_that_a_new_look_asks_for_gets_the_place_of_those_that_need_it(walk_of, tmp_path, monkeypatch):
    """There is one place: nobody would attend to the student, and so nobody give the place back."""
    stages = {
        name: stage(f"python -m lib.launch -m stages.train {name}", [dep], [name])
        for name, dep in (("teacher", "in"), ("student", "teacher"))
    }
    machine = Machine(1)
    code = "cp in teacher; cp teacher student"
    monkeypatch.setattr(machine, "start", lambda words, *_: (subprocess.Popen(["sh", "-c", f"{code}; sleep 0.3"]), ""))
    walk = walk_of(stages, machine, lambda _: {"seeds": [0], "run": {"threads": 1}})

    def under_way() -> None:
        """The student is trained, and the graph is looked at anew."""
        walk.records.load()
        teacher, student = walk.records.plan
        assert walk.begin(teacher)
        wait_for(lambda: walk.attend(teacher))
        assert walk.begin(student)

    under_way()
    walk.records.load()
    teacher, student = walk.records.plan
    walk.state = dict.fromkeys([teacher, student], "waiting")
    assert not walk.start_one([teacher]) and walk.make_room([teacher])
    assert walk.state[teacher] == "done" and walk.jobs.keys() == {"student"}  # which goes on
    assert walk.run() and Path("student").read_text() == ""

    Path("in").write_text("other")
    under_way()
    Path("in").write_text("one more")
    walk.records.load()
    assert not walk.start_one(walk.records.plan[:1]) and walk.make_room(walk.records.plan[:1])
    assert not walk.jobs and machine.trainings.free == 1
    assert walk.run() and Path("student").read_text() == "one more"
    assert dvc(tmp_path, "status").strip() == "Data and pipelines are up to date."
