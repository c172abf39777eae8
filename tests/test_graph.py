"""dvc.yaml names the code that each stage runs, and nothing that may differ between machines."""

from pathlib import Path

import pytest

from tests.graph import load_stages

STAGES = {stage.name: stage for stage in load_stages()}


@pytest.mark.parametrize("name", sorted(STAGES.keys() - {"code"}))
def test_every_stage_depends_on_the_code_of_its_module(name):
    stage = STAGES[name]
    module = stage.module.removeprefix("stages.")
    found = {dep for dep in stage.deps if dep.startswith(("data/code/", "lib/", "stages/")) and dep[-5:] != ".yaml"}
    if module == "train":  # by its run's spec, which holds the digest
        run = stage.command.split()[-1].replace(".", "/")
        assert found == set() and f"data/specs/{run}.json" in stage.deps
    else:
        assert found == {f"data/code/{module}.json"} | ({"data/code/train.json"} if module == "specs" else set())


def test_only_specs_reads_params():
    """DVC would parse params.yaml again for every stage that does."""
    assert {name for name, stage in STAGES.items() if "params.yaml" in stage.deps} == {"specs"}


def test_the_code_stage_covers_all_modules():
    modules = {path.stem for path in Path("stages").glob("*.py")} - {"__init__", "code"}
    assert STAGES["code"].outs == {f"data/code/{module}.json" for module in modules}
    assert {"lib", "stages"} == STAGES["code"].deps


def test_launcher_device_and_processes_are_no_part_of_a_result():
    """DVC locks the command line, so whatever may differ between machines must not be in it."""
    for stage in STAGES.values():
        assert stage.command.startswith(("python -m stages.", "${LAUNCH:-python -m lib.launch} -m stages.train "))
        assert not any(word in stage.command for word in ("torchrun", "cuda", "--nproc", "cpu"))
