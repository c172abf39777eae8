"""Stages as they are called by hand: what each takes, and how it ends where it cannot go on."""

import subprocess
import sys

import pytest
import torch

from lib.errors import InputError
from lib.runs import as_json
from lib.training import seeds
from stages import train
from tests import toy


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["stages.convert"], 1, "missing a required argument: 'dataset'; expected python -m stages.convert <dataset>"),
        (["stages.convert", "a", "b"], 1, "too many positional arguments; expected python -m stages.convert <dataset>"),
        (["stages.convert", "--help"], 0, "Convert a benchmark's raw files"),
        (["stages.specs", "-h"], 0, "Resolve params.yaml"),
    ],
)
def test_words_that_a_stage_does_not_take_get_a_line(words, status, told):
    ended = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert ended.returncode == status and told in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_full_memory_gets_a_line(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nGPU 0 has a total capacity …")

    monkeypatch.setattr(train, "load_spec", lambda _: {"seeds": [0], "code": {}, "run": as_json(toy.run())})
    monkeypatch.setattr(train, "check_code", lambda *_: None)
    monkeypatch.setattr(seeds, "trained_seed", full)
    with pytest.raises(InputError) as caught:
        train.main("fpd/lsp_student")
    told = "fpd/lsp_student: the device's memory is too small: CUDA out of memory. Tried to allocate 20 MiB; bfloat16"
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)
