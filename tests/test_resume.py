"""A killed training, repeated, ends in the weights of one that was never killed; what is trained is kept by content."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.errors import InputError
from lib.files import remove
from lib.labels import read_label
from lib.training import loop, seeds
from lib.weights import tensors
from tests import toy
from tests.toy import train

ROOT = Path(__file__).resolve().parents[1]
CHANGES = {"epochs": 4, "batch_size": 2, "validations": 2}
HOURGLASS = {**toy.HOURGLASS, "stacks": 2}
ONLINE = {"alpha": 1.0, "beta": 2.0, "temperature": 1.0, "loss": "kl", "shared": 1}
WEIGHTS = Path("models/fpd/student/seed0/weights.safetensors")


class Killed(BaseException):
    """Stands for a signal: nothing may catch it."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    toy.write_dataset(tmp_path, train=8, val=3)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(loop, "CHECK_STEPS", 1)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    yield tmp_path
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def uninterrupted() -> tuple[bytes, str]:
    """Weights and history of the training, of which nothing is left."""
    train(toy.run(**CHANGES), 0)
    result = WEIGHTS.read_bytes(), history()
    forget()
    return result


def forget() -> None:
    """Remove all that was trained."""
    remove(Path("models"))
    remove(Path(".cache/training"))


def history() -> str:
    return WEIGHTS.with_name("history.csv").read_text()


def states(folder: Path) -> list[Path]:
    return list(folder.glob(".cache/training/*/state.pt"))


def test_killed_by_the_system_at_any_moment(folder):
    expected = uninterrupted()
    command = [sys.executable, "-m", "tests.toy", str(folder), json.dumps(CHANGES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    moments = random.Random(0)
    kills = 0
    for _ in range(2):
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
            began = states(folder)[0].stat().st_mtime_ns if states(folder) else 0
            while process.poll() is None and not any(path.stat().st_mtime_ns > began for path in states(folder)):
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.3))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert kills == 2 and not WEIGHTS.exists() and states(folder)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (WEIGHTS.read_bytes(), history()) == expected
    assert not states(folder)


@pytest.mark.parametrize("save", [1, 5, 11])
def test_killed_right_after_or_during_any_save(folder, monkeypatch, save):
    expected = uninterrupted()
    write, saves = loop.save_state, iter(range(1, 100))

    def killed(path, state):
        if next(saves) == save:
            raise Killed
        write(path, state)

    monkeypatch.setattr(loop, "save_state", killed)
    with pytest.raises(Killed):
        train(toy.run(**CHANGES), 0)
    assert not WEIGHTS.exists()
    monkeypatch.setattr(loop, "save_state", write)
    steps = count_steps(monkeypatch)
    train(toy.run(**CHANGES), 0)
    assert (WEIGHTS.read_bytes(), history()) == expected
    assert len(steps) == 16 - (save - 1)  # nothing that was saved is done again


def count_steps(monkeypatch) -> list:
    steps = []
    check = loop.Trainer.check
    monkeypatch.setattr(loop.Trainer, "check", lambda self, *rest: (steps.append(1), check(self, *rest)))
    return steps


def test_finished_seeds_wait_for_the_others(folder, monkeypatch):
    fit = seeds.fit

    def second_is_killed(*arguments):
        if arguments[-1].endswith("seed 1"):
            raise Killed
        return fit(*arguments)

    run = toy.run(epochs=1)
    monkeypatch.setattr(seeds, "fit", second_is_killed)
    with pytest.raises(Killed):
        train(run, 0, 1)
    assert not Path("models/fpd/student").exists()
    monkeypatch.setattr(seeds, "fit", fit)
    steps = count_steps(monkeypatch)
    train(run, 0, 1)
    assert len(steps) == 2  # the two batches of seed 1
    assert {path.name for path in Path("models/fpd/student").iterdir()} >= {"seed0", "seed1"}


def interrupt(monkeypatch, run, save: int = 3) -> Path:
    """Kill a training at its save of this number; return the state that it leaves."""
    write, saves = loop.save_state, iter(range(1, 100))

    def killed(path, state):
        if next(saves) == save:
            raise Killed
        write(path, state)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "save_state", killed)
        train(run, 0)
    return states(Path.cwd())[0]


@pytest.mark.parametrize("aggregation, variant", [("gate", "paper"), ("fau", "released")])
def test_online_distillation_continues_with_all_its_branches(folder, monkeypatch, aggregation, variant):
    settings = {**ONLINE, "aggregation": aggregation, "variant": variant, "branches": [HOURGLASS]}
    exports = (HOURGLASS, HOURGLASS)
    run = toy.run(batch_size=2, model=HOURGLASS, method="okdhp", settings=settings, exports=exports)
    train(run, 0)
    expected = branches()
    interrupt(monkeypatch, run, save=6)  # in the second of two epochs: with "released" the losses weigh more there
    steps = count_steps(monkeypatch)
    train(run, 0)
    assert branches() == expected
    assert len(steps) == 8 - 5


def branches() -> tuple[bytes, bytes, str]:
    """Weights of both branches and the history of the training that has ended, of which nothing is left."""
    result = WEIGHTS.read_bytes(), (WEIGHTS.parent / "branch_2" / WEIGHTS.name).read_bytes(), history()
    forget()
    return result


@pytest.mark.parametrize("change", ["settings", "labels", "pixels", "code", "first weights"])
def test_what_has_changed_since_a_kill_starts_from_the_beginning(folder, monkeypatch, change):
    train(toy.run(name="base", epochs=1), 0)
    run, code = toy.run(**CHANGES, init="fpd/base"), ""
    interrupt(monkeypatch, run)
    if change == "settings":
        run = toy.run(**{**CHANGES, "epochs": 3}, init="fpd/base")
    elif change == "code":
        code = "changed"
    elif change == "first weights":
        base = Path("models/fpd/base/seed0/weights.safetensors")
        values = {name: 2 * value for name, value in load_file(base).items()}
        save_file(values, base, {"model": json.dumps({**toy.HOURGLASS, "joints": 14})})
    else:
        array = Path("data/crops/lsp/train", {"labels": "visible.npy", "pixels": "images.npy"}[change])
        content = array.read_bytes()
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of equal size
    steps = count_steps(monkeypatch)
    train(run, 0, code=code)
    assert len(steps) == 4 * run.epochs


def test_another_seed_adds_its_own_training_only(folder, monkeypatch):
    run = toy.run(epochs=1)
    train(run, 0)
    first, steps = WEIGHTS.read_bytes(), count_steps(monkeypatch)
    train(run, 0, 1)
    assert len(steps) == 2 and WEIGHTS.read_bytes() == first
    train(run, 1)
    assert len(steps) == 2 and [path.name for path in sorted(Path("models/fpd/student").iterdir())] == [
        "seed1",
        "spec.json",
    ]


def test_equal_trainings_of_other_names_are_one(folder, monkeypatch):
    train(toy.run(epochs=1), 0)
    shutil.copytree("data/crops/lsp", "data/crops/other")
    steps = count_steps(monkeypatch)
    train(toy.run(epochs=1, paper="cdkd", name="twin", crops="other"), 0)
    twin = Path("models/cdkd/twin/seed0/weights.safetensors")
    assert not steps and tensors(twin) == tensors(WEIGHTS)
    assert (read_label(twin).paper, read_label(twin).run) == ("cdkd", "twin") and read_label(WEIGHTS).run == "student"
    assert json.loads(Path("models/cdkd/twin/spec.json").read_text())["name"] == "twin"


@pytest.mark.parametrize("role", ["teacher", "init"])
def test_of_other_runs_only_the_tensors_count(folder, monkeypatch, role):
    train(toy.run(name="base", epochs=1), 0)
    method = {"method": "fpd", "settings": {"alpha": 0.5, "loss": "mse", "variant": "paper"}}
    run = toy.run(**{role: "fpd/base"}, epochs=1, **(method if role == "teacher" else {}))
    train(run, 0)
    expected, steps = WEIGHTS.read_bytes(), count_steps(monkeypatch)
    base = Path("models/fpd/base/seed0/weights.safetensors")
    before, values, model = base.read_bytes(), load_file(base), {"model": json.dumps({**toy.HOURGLASS, "joints": 14})}
    save_file(values, base, {**model, "note": "trained again"})
    assert base.read_bytes() != before
    train(run, 0)
    assert not steps and WEIGHTS.read_bytes() == expected
    save_file({name: 2 * value for name, value in values.items()}, base, model)
    train(run, 0)
    assert len(steps) == 2 and WEIGHTS.read_bytes() != expected


def test_who_wants_the_same_seed_waits_for_it(folder, monkeypatch):
    fit, others, said = seeds.fit, [], folder / "said"

    def fit_beside_another(*arguments):
        """Start another process that wants the same, and go on when it waits."""
        command = [sys.executable, "-m", "tests.toy", str(folder), json.dumps({"name": "twin", **CHANGES})]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with said.open("w") as stream:
            others.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stream))
        while "waiting" not in said.read_text() and others[0].poll() is None:
            time.sleep(0.01)
        assert others[0].poll() is None
        return fit(*arguments)

    monkeypatch.setattr(seeds, "fit", fit_beside_another)
    train(toy.run(**CHANGES), 0)
    assert others[0].wait(timeout=120) == 0
    assert "epoch" not in said.read_text() and "waiting" in said.read_text()
    assert tensors(Path("models/fpd/twin/seed0/weights.safetensors")) == tensors(WEIGHTS)


def test_a_state_that_is_damaged_or_of_another_network_is_refused(folder, monkeypatch):
    run = toy.run(**CHANGES)
    state = interrupt(monkeypatch, run)
    whole = state.read_bytes()
    for damage in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        state.write_bytes(damage)
        with pytest.raises(InputError, match=r"state\.pt does not fit this training .*delete it"):
            train(run, 0)
    state.write_bytes(whole)
    content = torch.load(state, weights_only=True)
    content["task"].popitem()
    torch.save(content, state)
    with pytest.raises(InputError, match=r"state\.pt does not fit this training .*delete it"):
        train(run, 0)
