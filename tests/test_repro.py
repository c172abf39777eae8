"""The graph side by side does what `dvc repro` does, and what it did is what it records."""

import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.graph import view
from lib.graph.records import Records
from lib.graph.walk import by_urgency
from lib.graph.workers import Machine, visible_gpus
from lib.training import progress
from stages.repro import main
from tests.small_project import (
    clear,
    contents,
    dvc,
    environment,
    repro,
    stage,
    trained,
    wait_for,
    weights,
    write_graph,
    write_project,
)

RUNS = {"alone", "baseline", "student", "student_half", "teacher"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The folder of one project after the other, so that the trainings of all share a server."""
    root = tmp_path_factory.mktemp("place") / "a project"
    root.mkdir()
    return root


@pytest.fixture(scope="module")
def serial(place, tmp_path_factory) -> Path:
    """A project that `dvc repro` has run."""
    clear(place)
    write_project(place)
    dvc(place, "repro")
    return shutil.copytree(place, tmp_path_factory.mktemp("serial"), symlinks=True, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def done(place, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The same project, run side by side, and what that printed."""
    clear(place)
    write_project(place)
    process = repro(place, "--jobs", "2")
    return shutil.copytree(place, tmp_path_factory.mktemp("beside"), symlinks=True, dirs_exist_ok=True), process


@pytest.fixture
def project(done, place) -> Path:
    """A copy of the finished project, free to change."""
    wait_for(lambda: not training(place))
    clear(place)
    shutil.copytree(done[0], place, symlinks=True, dirs_exist_ok=True)
    trained(place)
    return place


def change(root: Path, **runs: dict) -> None:
    """Other settings for some runs."""
    (root / "runs.json").write_text(json.dumps(contents(**runs), indent=1))


def start(root: Path, *arguments: str) -> subprocess.Popen:
    """A run side by side that is left to itself."""
    command = [sys.executable, "-m", "stages.repro", *arguments]
    return subprocess.Popen(command, cwd=root, env=environment(), stderr=subprocess.PIPE, text=True)


def training(root: Path) -> bool:
    """Whether a run is being trained."""
    for path in root.glob(".cache/training/*/lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def test_weights_metrics_and_lock_are_those_of_a_serial_run(serial, done):
    root, process = done
    assert process.returncode == 0, process.stderr
    assert weights(root) == weights(serial) and weights(root).keys() == RUNS
    assert (root / "scores.json").read_text() == (serial / "scores.json").read_text()
    assert (root / "dvc.lock").read_bytes() == (serial / "dvc.lock").read_bytes()


def test_nothing_is_left_for_dvc_nor_for_a_second_time(project):
    assert dvc(project, "status").strip() == "Data and pipelines are up to date."
    before = (project / "dvc.lock").read_bytes()
    assert repro(project).returncode == 0
    assert trained(project) == set() and (project / "dvc.lock").read_bytes() == before


def test_targets_are_those_of_dvc(project):
    change(project, baseline={"epochs": 2}, student={"epochs": 3})
    assert repro(project, "student").returncode == 0
    assert trained(project) == {"specs", "student"}


def test_what_dvc_has_is_not_trained_again(project):
    shutil.rmtree(project / "models")
    (project / "dvc.lock").unlink()
    assert repro(project).returncode == 0
    assert trained(project) & RUNS == set() and weights(project).keys() == RUNS
    assert dvc(project, "status").strip() == "Data and pipelines are up to date."


def test_a_failure_stops_what_needs_it_and_nothing_else(project):
    change(project, teacher={"epochs": 1, "init": "fpd/nobody"}, baseline={"epochs": 2})
    process = repro(project)
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-2:]
    assert last[0].startswith("teacher failed: exit status 1, .cache/logs/teacher.log: error: ") and "nobody" in last[0]
    assert last[1] == "not run, because they need it: student, student_half, score"
    assert trained(project) == {"specs", "teacher", "baseline"}
    change(project, baseline={"epochs": 2})
    assert repro(project).returncode == 0
    assert trained(project) & RUNS == set()  # the old teacher is in the run cache


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_end_ends_the_trainings_and_the_same_command_continues(project, number, status):
    change(project, baseline={"epochs": 2000}, alone={"epochs": 1})
    process = start(project)
    said = []
    while not said or not said[-1].startswith("alone: "):  # recorded
        said.append(process.stderr.readline())
        assert said[-1], said
    wait_for(lambda: training(project))
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    wait_for(lambda: not training(project), 10)
    change(project, baseline={"epochs": 1}, alone={"epochs": 1})
    trained(project)
    assert repro(project).returncode == 0
    assert trained(project) & RUNS == {"baseline"}


def test_a_kill_while_dvc_lists_the_files_in_use_stops_nobody(project):
    (project / ".dvc/tmp/rwlock").write_text('{"write": {"')
    change(project, baseline={"epochs": 1})
    process = repro(project)
    assert process.returncode == 0, process.stderr


def test_a_stage_edited_meanwhile_is_not_recorded_as_done(project):
    change(project, baseline={"epochs": 2000}, alone={"epochs": 1})
    process = start(project)
    wait_for(lambda: training(project))
    change(project, baseline={"epochs": 1}, alone={"epochs": 1})
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0 and "Files have changed" in text
    spec = json.loads((project / "models/fpd/baseline/spec.json").read_text())
    assert spec["epochs"] == 1
    assert dvc(project, "status").strip() == "Data and pipelines are up to date."


def test_inputs_that_change_between_start_and_end_are_not_recorded(project, monkeypatch):
    monkeypatch.chdir(project)
    change(project, baseline={"epochs": 1})
    dvc(project, "repro", "specs")
    records = Records(["baseline"])
    baseline = records.plan[-1]
    before = records.begin(baseline)
    shutil.copytree("models/fpd/alone", "models/fpd/baseline")
    assert not records.stale(baseline, before)
    spec = Path("data/specs/fpd/baseline.json")
    spec.unlink()  # a link into the cache
    spec.write_text("{}")
    assert records.stale(baseline, before) and not records.end(baseline, before)
    lock = Path("dvc.lock").read_bytes()
    records.write()
    assert Path("dvc.lock").read_bytes() == lock


def test_a_second_one_in_a_folder_says_who_is_at_it(project):
    change(project, baseline={"epochs": 2000})
    first = start(project)
    wait_for(lambda: training(project))
    second = repro(project)
    first.terminate()
    first.communicate(timeout=30)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: The graph of this folder is being done by process {first.pid} on ")


def test_dvc_beside_it_is_kept_from_its_files(project):
    change(project, baseline={"epochs": 2000})
    first = start(project, "baseline")
    wait_for(lambda: training(project))
    command = ["dvc", "repro", "-s", "baseline"]
    second = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True)
    first.terminate()
    first.communicate(timeout=30)
    assert second.returncode != 0 and f"(PID {first.pid})" in second.stderr


def test_a_change_of_a_key_that_is_not_there_names_it(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("beta: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="Could not override 'bta': Key 'bta' is not in struct"):
        main("-S", "bta=2")
    assert (tmp_path / "params.yaml").read_text() == "beta: 1\n"


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_jobs_are_one_or_more(jobs, capsys):
    """None would wait for ever."""
    with pytest.raises(SystemExit):
        main("--jobs", jobs)
    assert jobs in capsys.readouterr().err


def clock(name: str, seconds: float) -> str:
    """A command that writes when it ran."""
    code = f"import time; a = time.time(); time.sleep({seconds}); open('{name}', 'w').write(f'{{a}} {{time.time()}}')"
    return f'{sys.executable} -c "{code}"'


def spans(root: Path, names: str) -> dict[str, tuple[float, float]]:
    """When the commands ran."""
    return {name: tuple(map(float, (root / name).read_text().split())) for name in names}


def test_as_many_run_at_once_as_there_are_jobs_and_one_that_measures_time_alone(tmp_path):
    (tmp_path / "in").write_text("")
    stages = {name: stage(clock(name, 0.4), ["in"], [name]) for name in "abcdef"}
    stages["d"]["meta"] = {"alone": True}
    write_graph(tmp_path, stages)
    process = repro(tmp_path, "--jobs", "2")
    assert process.returncode == 0, process.stderr
    times = spans(tmp_path, "abcdef")
    beside = {
        name: {o for o in times if times[o][0] < times[name][1] and times[name][0] < times[o][1]} for name in times
    }
    assert beside["d"] == {"d"}
    starts = [start for start, _ in times.values()]
    running = [sum(start <= moment < end for start, end in times.values()) for moment in starts]
    assert max(running) == 2


def test_seeds_of_a_training_run_side_by_side_where_there_are_places(project, tmp_path):
    shutil.copytree(project, tmp_path / "serial", symlinks=True)
    for root, jobs, logs in (
        (project, "2", {"teacher.seed.0", "teacher.seed.1", "teacher.seed.2", "teacher"}),
        (tmp_path / "serial", "1", {"teacher"}),
    ):
        runs = contents()
        runs["teacher"]["seeds"] = [0, 1, 2]
        (root / "runs.json").write_text(json.dumps(runs, indent=1))
        process = repro(root, "--jobs", jobs, "teacher")
        assert process.returncode == 0, process.stderr
        assert trained(root) == {"specs"} | logs
    assert weights(project, "*") == weights(tmp_path / "serial", "*")
    assert (project / "dvc.lock").read_bytes() == (tmp_path / "serial/dvc.lock").read_bytes()
    assert len({path.read_bytes() for path in project.glob("models/fpd/teacher/seed*/weights.safetensors")}) == 3


def test_a_seed_that_fails_is_named_with_its_log(project):
    runs = contents(teacher={"epochs": 1, "init": "fpd/nobody"})
    runs["teacher"]["seeds"] = [4, 5]
    (project / "runs.json").write_text(json.dumps(runs, indent=1))
    process = repro(project, "--jobs", "2", "teacher")
    assert process.returncode == 1
    assert re.search(
        r"teacher failed: exit status 1, \.cache/logs/teacher\.seed\.[45]\.log: error: .*nobody", process.stderr
    )


def test_what_a_row_of_trainings_waits_for_goes_first(done, monkeypatch):
    monkeypatch.chdir(done[0])
    order = [one.addressing for one in by_urgency(Records([]))]
    assert order[:2] == ["specs", "teacher"] and order[-1] == "score"


def test_each_training_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    listing = tmp_path / "nvidia-smi"
    listing.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'")
    listing.chmod(0o755)
    (tmp_path / "lib").symlink_to(Path(__file__).resolve().parents[1] / "lib")
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/train.py").write_text("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    monkeypatch.delenv("LAUNCH", raising=False)
    monkeypatch.chdir(tmp_path)
    assert visible_gpus({}) == ["0", "1", "2"] and visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    machine = Machine()
    assert machine.trainings.total == 2 and machine.places(None) == 1
    logs = [tmp_path / name for name in ("first", "second")]
    started = [machine.start(["any"], None, log) for log in logs]
    wait_for(lambda: all(process.poll() is not None for process, _ in started), 120)
    assert [log.read_text().strip() for log in logs] == [device for _, device in started] == ["2", "GPU-5"]
    assert [Machine(3).devices, Machine(1).devices] == [["2", "GPU-5", "2"], ["2"]]


def test_a_training_that_could_not_start_leaves_its_gpu_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("LAUNCH", "no-such-launcher")
    machine = Machine(2)
    machine.devices, machine.threads = ["0", "1"], "1"
    for _ in range(3):
        with pytest.raises(OSError, match="no-such-launcher"):
            machine.start(["any"], None, tmp_path / "log")
    assert machine.devices == ["0", "1"]


def test_with_a_launcher_a_training_has_the_machine_to_itself(monkeypatch):
    monkeypatch.setenv("LAUNCH", "torchrun --nproc-per-node=4")
    assert Machine().trainings.total == 1 and Machine(3).trainings.total == 3


def test_the_line_about_all_stages():
    states = Counter(done=10, waiting=7, failed=1, skipped=2)
    expected = "10 of 20 stages done, 2 running, 5 waiting, 1 failed, 2 skipped; 1:01:40 so far"
    assert view.summary(states, 2, 3700.0, []) == view.summary(states, 2, 3700.0, [0.0]) == expected
    assert view.summary(states, 2, 3700.0, [0.0, 1450.0, 60.0]) == f"{expected}, at least 0:24:10 left"


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("fpd/a seed 0: epoch 4/20, mse 4.6, 167 images/s, 18:00 of 24:00 left", 18 * 60 + 2 * 24 * 60),
        ("fpd/a seed 5: epoch 4/20, mse 4.6, 167 images/s, 18:00 of 24:00 left", 18 * 60 + 24 * 60),
        ("fpd/a seed 7: epoch 4/20, mse 4.6, 167 images/s, 1:59:30 of 40:00:00 left", 7170),
        ("fpd/a seed 7: epoch 20/20, mse 4.6, 167 images/s, 00:00 of 24:00 left", 0),
        ("fpd/a: node 5 on host, process 4, GPU 0", 0),
        ("", 0),
    ],
)
def test_the_time_left_is_that_of_the_present_seed_and_of_those_after_it(line, seconds):
    assert view.left(line, [0, 5, 7]) == seconds


def test_a_training_says_what_it_has_left_of_all(monkeypatch, capsys):
    """60 s for 400 of 4,000 images, whatever was done before an interruption: 510 s left of 600."""
    moments = iter([0.0, 0.0, 60.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    progress.Progress("fpd/a seed 5", 20, 200, done=200, silent=False).update(3, 400, {"mse": 4.5}, epoch_ended=False)
    line = capsys.readouterr().err.strip()
    assert line == "fpd/a seed 5: epoch 3/20, mse 4.5, 7 images/s, 08:30 of 10:00 left"
    assert view.left(line, [0, 5, 7]) == 510 + 600


def test_a_terminal_shows_the_last_line_of_each_log_and_a_file_does_not(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    class Part:
        name, device, began, log, seeds = "fpd@lsp_fpd", "3", time.monotonic() - 65, tmp_path / "log", [0]

    Part.log.write_text("first\n50 %\r100 %, epoch 3/10\n\n")
    monkeypatch.setattr(view, "TERMINAL_SECONDS", 0.0)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        shown = view.View(stream)
        shown.show(["done", "waiting"], 1, [Part])
        shown.say("fpd@lsp_teacher: 3 s")
    assert "fpd@lsp_fpd" in terminal.getvalue() and "0:01:05  100 %, epoch 3/10" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2F\x1b[Jfpd@lsp_teacher: 3 s\n")
    assert file.getvalue() == "fpd@lsp_teacher: 3 s\n"
