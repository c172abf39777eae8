"""dvc.yaml: each stage depends on its own spec and what its run needs, and on nothing that differs between machines."""

import re
from collections.abc import Iterator

import pytest

from lib.params import load_params
from lib.params.data import Data
from lib.params.papers import GROUPS, PARTNERS
from stages.specs import specs
from tests.graph import ROOT, load_stages

STAGES = {stage.name: stage for stage in load_stages()}
PARAMS = load_params(ROOT / "params.yaml")
GRAPH = sorted(STAGES.keys() - {"specs"})


@pytest.mark.parametrize("name", GRAPH)
def test_code_and_settings_of_a_stage_are_those_of_its_own_spec(name):
    stage = STAGES[name]
    assert stage.spec in stage.deps
    own = {dep for dep in stage.deps if dep.startswith(("lib", "stages", "params"))}
    assert all(re.fullmatch(r"lib/papers/[a-z]+\.yaml", dep) for dep in own)  # the tables that it prints
    shown = {"evaluate": set(), "report": {"complexity"}, "summary": set()}
    others = {dep for dep in stage.deps if dep.startswith("data/specs/")} - {stage.spec}
    papers = {f"data/specs/{paper}.json" for paper in PARAMS.papers}
    assert others <= papers | {f"data/specs/{other}.json" for other in shown.get(name.partition("@")[0], ())}


def test_specs_are_made_of_all_code_and_params_yaml_and_used(monkeypatch):
    """DVC would parse params.yaml again for every stage that named it."""
    monkeypatch.chdir(ROOT)
    assert STAGES["specs"].deps == {"lib", "stages", "params.yaml"}
    assert STAGES["specs"].outs == {"data/specs"}
    used = {dep for name in GRAPH for dep in STAGES[name].deps if dep.startswith("data/specs/")}
    assert used == {f"data/specs/{name}.json" for name in specs(PARAMS)}


def runs() -> Iterator[tuple[str, str, str]]:
    """Paper, group and name of every run."""
    for paper, settings in PARAMS.papers.items():
        for group, members in settings.groups.items():
            for name in members:
                yield paper, group, name


def test_every_run_of_every_group_is_a_stage_with_what_the_group_needs():
    """A group without its stage in dvc.yaml would never be trained."""
    trainings = {name: stage for name, stage in STAGES.items() if stage.module == "stages.train"}
    assert trainings.keys() == {f"{paper}_{group}@{name}" for paper, group, name in runs()}
    for paper, group, name in runs():
        stage, run = trainings[f"{paper}_{group}@{name}"], PARAMS.papers[paper].runs[name]
        crops = {run.crops} | ({run.synthetic} if "synthetic" in GROUPS[group] else set())
        partners = {getattr(run, role) for role in PARTNERS if role in GROUPS[group]}
        needed = {f"data/crops/{one}" for one in crops} | {f"models/{one}" for one in partners}
        assert stage.deps == needed | {stage.spec}, stage.name
        assert stage.outs == {f"models/{paper}/{name}"}
        assert stage.command == f"python -m lib.launch -m stages.train {paper}/{name}"


def test_stages_of_the_data_are_those_of_params():
    named = {f"{stage}@{name}" for stage in ("fetch", "convert") for name in Data.model_fields}
    named |= {f"pack@{name}" for name in PARAMS.common.crops}
    assert named == {name for name in STAGES if name.startswith(("fetch", "convert", "pack"))}


def test_launcher_device_and_processes_are_no_part_of_a_result():
    """DVC locks the command line, and gives it to the user's shell: plain words that all machines and shells share."""
    for stage in STAGES.values():
        assert re.fullmatch(r"python( [\w./-]+)+", stage.command)
        assert not any(word in stage.command for word in ("torchrun", "cuda", "--nproc", "cpu"))
