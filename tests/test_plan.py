"""`python -m stages.plan`: what a change re-runs, told without running it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GRAPH = """
stages:
  specs:
    cmd: python -m stages.specs
    deps: [lib, stages, params.yaml]
    outs: [data/specs]
  fetch:
    foreach: [lsp]
    do:
      cmd: python -m stages.fetch ${item}
      deps: ["data/specs/fetch/${item}.json"]
      outs: ["data/raw/${item}"]
  convert:
    foreach: [lsp]
    do:
      cmd: python -m stages.convert ${item}
      deps: ["data/specs/convert/${item}.json", "data/raw/${item}"]
      outs: ["data/annotations/${item}"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A graph of three stages that has run."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("lib", "stages"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    few = text.replace("{lsp: 200, lspet: 140, seed: 0}", "{lsp: 4, lspet: 2, seed: 0}")
    assert few != text
    (folder / "params.yaml").write_text(few, encoding="utf-8")
    (folder / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    call(folder, "dvc", "init", "--no-scm", "-q")
    call(folder, "dvc", "repro", "-q")
    return folder


def call(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def changed(folder: Path, file: str, old: str, new: str, *targets: str) -> str:
    """What the plan says while a file is changed; nothing is run."""
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    try:
        return call(folder, "stages.plan", *targets)
    finally:
        (folder / file).write_text(text, encoding="utf-8")


def test_nothing_to_do(project):
    assert call(project, "stages.plan") == "Everything is up to date.\n"


def test_a_comment_costs_nothing(project):
    said = changed(project, "lib/data/formats/lsp.py", "\nimport", "\n# a comment\nimport")
    assert said == "Everything is up to date.\n"


def test_a_reader_costs_its_benchmark_and_is_named(project):
    said = changed(project, "lib/data/formats/lsp.py", "\ndef convert(", "\nNEW = 1\n\n\ndef convert(").splitlines()
    stages = {line.split()[1]: line for line in said[1:-1]}
    assert set(stages) == {"fetch@lsp", "convert@lsp"}
    assert all(line.startswith("runs") and line.endswith("lib/data/formats/lsp.py") for line in stages.values())
    assert " s " in stages["fetch@lsp"]  # the time that it took
    assert said[-1].startswith("2 run, 0 may follow")


def test_a_setting_is_told_with_its_values_and_what_may_follow(project):
    said = changed(project, "params.yaml", "{lsp: 4, lspet: 2, seed: 0}", "{lsp: 6, lspet: 2, seed: 0}").splitlines()
    assert [line.split()[:1] for line in said[1:-1]] == [["runs"], ["may"]]
    assert said[1].endswith("synthetic.lsp: 4 → 6") and said[2].endswith("after fetch@lsp")


def test_targets_limit_what_is_looked_at(project):
    said = changed(project, "params.yaml", "{lsp: 4, lspet: 2, seed: 0}", "{lsp: 6, lspet: 2, seed: 0}", "fetch@lsp")
    assert "fetch@lsp" in said and "convert@lsp" not in said


def test_an_output_that_was_touched_is_named(project):
    shutil.move(project / "data/annotations/lsp/val.json", project / "val.json")
    try:
        assert "convert@lsp" in call(project, "stages.plan")
    finally:
        shutil.move(project / "val.json", project / "data/annotations/lsp/val.json")
