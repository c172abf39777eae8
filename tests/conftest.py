"""Fixtures of the whole suite."""

import os
import shutil
from pathlib import Path

# Two pytest workers on two cores: threads of their own would only wait for each other. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.projects import OKDHP, RUNS, coco, write_predictions, write_project


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark data beside the checkout; tests that want them skip where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data in ../shared/data")
    return folder


ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project with two seeds of some students on each benchmark, and no teacher."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_project("fpd", RUNS, people={"lsp": 20, "mpii": 30})
    return tmp_path


@pytest.fixture
def full_tree(tmp_path, monkeypatch):
    """A project with runs of OKDHP at the paper's scale on each benchmark, one of which keeps all branches."""
    monkeypatch.chdir(tmp_path)
    settings = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace("profile: mini ", "profile: paper "))
    write_project("okdhp", OKDHP, people={"lsp": 20, "mpii": 30, "coco": 40})
    for number, missed in ((2, 3), (3, 4)):
        write_predictions(Path(f"models/okdhp/mpii_hg4_unbalanced/seed0/branch_{number}"), coco(10, "mpii"), missed)
    return tmp_path
