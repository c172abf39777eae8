"""CDKD's competitors, trained and kept as every run is."""

from pathlib import Path

import numpy as np
import pytest

from lib.weights import load_weights
from tests import toy

SIZES = {"width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
TOKENS = {**SIZES, "depth": 3, "channels": 16, "patch": [4, 4], "input_size": [64, 64]}
# The network, its output and its method of each.
RUNS = {
    "cal": ({"name": "cal", **SIZES}, "offset", "offset"),
    "tokenpose": ({"name": "tokenpose", "kind": "base", **TOKENS}, "heatmap", "heatmap"),
    "rle": ({"name": "rle", "input_size": [64, 64], **SIZES}, "coordinates", "rle"),
    "prtr": (
        {"name": "prtr", "queries": 16, "depth": 1, "channels": 16, "hidden": 16, "features": 64, **SIZES},
        *("queries", "queries"),
    ),
    "distilpose": ({"name": "distilpose", **TOKENS}, "coordinates", "distilpose"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("competitors")
    toy.write_dataset(path, train=8, val=4)
    return path


@pytest.mark.parametrize("name", RUNS)
def test_a_competitor_is_trained_kept_and_read_again(name, folder, monkeypatch):
    """In bfloat16, which the weights of a teacher then have, too; DistilPose's is the TokenPose before it."""
    monkeypatch.chdir(folder)
    model, output, method = RUNS[name]
    codec = {"codec": {}} if output != "heatmap" else {}
    partner = {"teacher": "fpd/tokenpose"} if name == "distilpose" else {}
    one = toy.run(name=name, model=model, output=output, method=method, precision="bfloat16", **codec, **partner)
    toy.train(one, 0)
    place = Path("models/fpd") / name / "seed0"
    network = load_weights(place / "weights.safetensors")
    assert (type(network).__name__.lower(), network.joints, network.output) == (name, 14, output)
    with np.load(place / "predictions.npz") as found:
        assert found["keypoints"].shape == (4, 14, 2) and np.isfinite(found["keypoints"]).all()
        assert found["scores"].shape == (4, 14) and np.isfinite(found["scores"]).all()
        assert len(found["errors"]) == 4 and (found["errors"] > 0).all()
