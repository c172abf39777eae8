"""dvc.yaml names the code that each stage runs, and nothing that may differ between machines."""

from pathlib import Path

import pytest

from tests.graph import load_stages

STAGES = {stage.name: stage for stage in load_stages()}


@pytest.mark.parametrize("name", sorted(STAGES.keys() - {"code"}))
def test_every_stage_depends_on_the_code_of_its_module(name):
    found = {dep for dep in STAGES[name].deps if dep.startswith("data/code/") or dep.endswith(".py")}
    assert found == {f"data/code/{STAGES[name].module.removeprefix('stages.')}.json"}


def test_the_code_stage_covers_all_modules():
    modules = {path.stem for path in Path("stages").glob("*.py")} - {"__init__", "code"}
    assert STAGES["code"].outs == {f"data/code/{module}.json" for module in modules}
    assert {"lib", "stages"} == STAGES["code"].deps


def test_launcher_device_and_processes_are_no_part_of_a_result():
    """DVC locks the command line, so whatever may differ between machines must not be in it."""
    for stage in STAGES.values():
        assert stage.command.startswith(("python -m stages.", "${LAUNCH:-python} -m stages.train "))
        assert not any(word in stage.command for word in ("torchrun", "cuda", "--nproc", "cpu"))
