"""dvc.yaml names exactly the code that each stage imports."""

import pytest

from tests.graph import import_closure, load_stages

STAGES = load_stages()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_code_dependencies_are_the_import_closure(stage):
    assert stage.code == import_closure(stage.module)


def test_launcher_device_and_processes_are_no_part_of_a_result():
    """DVC locks the command line, so whatever may differ between machines must not be in it."""
    for stage in STAGES:
        assert stage.command.startswith(("python -m stages.", "${LAUNCH:-python} -m stages.train "))
        assert not any(word in stage.command for word in ("torchrun", "cuda", "--nproc", "cpu"))
