"""A killed training, repeated, ends in the very weights of one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lib.errors import InputError
from lib.files import remove
from lib.training import loop
from stages.train import train
from tests import toy

ROOT = Path(__file__).resolve().parents[1]
CHANGES = {"epochs": 4, "batch_size": 2, "validations": 2}
HOURGLASS = {"name": "hourglass", "stacks": 2, "channels": 8, "stem": "pytorch-pose"}
ONLINE = {"method": "okdhp", "alpha": 1.0, "beta": 2.0, "temperature": 1.0, "loss": "kl", "shared": 1}
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


def uninterrupted() -> tuple[bytes, list]:
    """Weights of the training and its history without the timing column; its folder is removed."""
    train(toy.spec(**CHANGES), (0,))
    result = WEIGHTS.read_bytes(), history()
    remove(WEIGHTS.parents[1])
    return result


def history() -> list[list[str]]:
    lines = WEIGHTS.with_name("history.csv").read_text().splitlines()
    skip = lines[0].split(",").index("images_per_second")
    return [cells[:skip] + cells[skip + 1 :] for cells in (line.split(",") for line in lines)]


def states(folder: Path) -> list[Path]:
    return list(folder.glob(".cache/training/*/*/state.pt"))


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
    assert not (folder / ".cache/training/fpd.student").exists()


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
        train(toy.spec(**CHANGES), (0,))
    assert not WEIGHTS.exists()
    monkeypatch.setattr(loop, "save_state", write)
    steps = count_steps(monkeypatch)
    train(toy.spec(**CHANGES), (0,))
    assert (WEIGHTS.read_bytes(), history()) == expected
    assert len(steps) == 16 - (save - 1)  # nothing that was saved is done again


def count_steps(monkeypatch) -> list:
    steps = []
    check = loop.Trainer.check
    monkeypatch.setattr(loop.Trainer, "check", lambda self, *rest: (steps.append(1), check(self, *rest)))
    return steps


def test_finished_seeds_wait_for_the_others(folder, monkeypatch):
    import stages.train

    fit = stages.train.fit

    def second_is_killed(*arguments):
        if arguments[-1].endswith("seed 1"):
            raise Killed
        return fit(*arguments)

    spec = toy.spec(epochs=1)
    monkeypatch.setattr(stages.train, "fit", second_is_killed)
    with pytest.raises(Killed):
        train(spec, (0, 1))
    assert not Path("models/fpd/student").exists()
    monkeypatch.setattr(stages.train, "fit", fit)
    steps = count_steps(monkeypatch)
    train(spec, (0, 1))
    assert len(steps) == 2  # the two batches of seed 1
    assert {path.name for path in Path("models/fpd/student").iterdir()} >= {"seed0", "seed1"}


def interrupt(monkeypatch, spec, save: int = 3) -> Path:
    """Kill a training at its save of this number; return the state that it leaves."""
    write, saves = loop.save_state, iter(range(1, 100))

    def killed(path, state):
        if next(saves) == save:
            raise Killed
        write(path, state)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "save_state", killed)
        train(spec, (0,))
    return states(Path.cwd())[0]


@pytest.mark.parametrize("aggregation, variant", [("gate", "paper"), ("fau", "released")])
def test_online_distillation_continues_with_all_its_branches(folder, monkeypatch, aggregation, variant):
    distillation = {**ONLINE, "aggregation": aggregation, "variant": variant, "branches": (HOURGLASS,)}
    exports = (HOURGLASS, HOURGLASS)
    spec = toy.spec(batch_size=2, model=HOURGLASS, distillation=distillation, exports=exports)
    train(spec, (0,))
    expected = branches()
    interrupt(monkeypatch, spec, save=6)  # in the second of two epochs: with "released" the losses weigh more there
    steps = count_steps(monkeypatch)
    train(spec, (0,))
    assert branches() == expected
    assert len(steps) == 8 - 5


def branches() -> tuple[bytes, bytes, list]:
    """Weights of both branches and the history of the training that has ended; its folder is removed."""
    result = WEIGHTS.read_bytes(), (WEIGHTS.parent / "branch_2" / WEIGHTS.name).read_bytes(), history()
    remove(WEIGHTS.parents[1])
    return result


@pytest.mark.parametrize("change", ["spec", "data", "code"])
def test_another_spec_data_or_code_starts_from_the_beginning(folder, monkeypatch, change):
    spec = toy.spec(**CHANGES)
    interrupt(monkeypatch, spec)
    if change == "spec":
        spec = toy.spec(**{**CHANGES, "epochs": 3})
    elif change == "data":
        labels = Path("data/crops/lsp/train/visible.npy")
        labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    else:
        from lib.tasks import supervised

        copy = folder / "supervised.py"
        copy.write_text(Path(supervised.__file__).read_text() + "# changed\n")
        monkeypatch.setattr(supervised, "__file__", str(copy))
    steps = count_steps(monkeypatch)
    train(spec, (0,))
    assert len(steps) == 4 * spec.epochs


def test_a_state_that_is_damaged_or_of_another_network_is_refused(folder, monkeypatch):
    spec = toy.spec(**CHANGES)
    state = interrupt(monkeypatch, spec)
    whole = state.read_bytes()
    for damage in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        state.write_bytes(damage)
        with pytest.raises(InputError, match=r"state\.pt does not fit this training .*delete it"):
            train(spec, (0,))
    state.write_bytes(whole)
    content = torch.load(state, weights_only=True)
    content["task"].popitem()
    torch.save(content, state)
    with pytest.raises(InputError, match=r"state\.pt does not fit this training .*delete it"):
        train(spec, (0,))
