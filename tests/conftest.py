"""Fixtures of the whole suite."""

import os
from pathlib import Path

# Two pytest workers on two cores: threads of their own would only wait for each other. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark data beside the checkout; tests that want them skip where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data in ../shared/data")
    return folder
