"""`dvc exp run -S` writes params.yaml with DVC's own dumper, which changes the lines that it is asked to."""

import shutil
from difflib import unified_diff
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from lib.errors import InputError
from lib.params import load_params
from stages import repro


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")


def test_the_file_is_a_fixpoint_of_dvcs_dumper(tmp_path):
    file = tmp_path / "params.yaml"
    shutil.copy("params.yaml", file)
    apply_overrides(file, ["okdhp.beta=2"])  # what it is: every list is written anew
    assert file.read_bytes() == Path("params.yaml").read_bytes()


OVERRIDES = {  # lines that go, lines that come; a list has one for each of its entries
    "okdhp.beta=3": (["beta: 2"], ["beta: 3"]),
    "fpd.alpha=0.1": (["alpha: 0.5"], ["alpha: 0.1"]),
    "profile=small": (["profile: mini"], ["profile: small"]),
    "seeds=[0,1]": ([], ["- 1"]),
    "benchmarks=[lsp]": (["- mpii", "- coco", "- rhd", "- stb", "- freihand"], []),
    "cdkd.learned=[tau,alpha]": ([], ["- alpha"]),
    "fpd.optimizer.lr=0.001": (["lr: 2.5e-4"], ["lr: 0.001"]),
    "crops.lsp.margin=2": (["lsp: {dataset: lsp, input"], ["lsp: {dataset: lsp, input"]),
}


@pytest.mark.parametrize(("override", "gone", "came"), [(key, *value) for key, value in OVERRIDES.items()])
def test_an_override_changes_its_own_lines(tmp_path, override, gone, came):
    file = tmp_path / "params.yaml"
    shutil.copy("params.yaml", file)
    apply_overrides(file, [override])
    changes = list(unified_diff(lines(Path("params.yaml")), lines(file), n=0))[2:]
    for sign, expected in (("-", gone), ("+", came)):
        found = [line[1:].strip() for line in changes if line.startswith(sign)]
        assert len(found) == len(expected)
        assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found
    load_params(file)


def test_a_key_that_is_not_there_is_named_before_anything_runs(tmp_path, monkeypatch):
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"Could not override 'okdhp\.betta': Key 'betta'"):
        repro.main("--set-param", "okdhp.betta=3")
