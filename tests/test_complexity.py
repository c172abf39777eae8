"""Counting reproduces the printed columns of the papers, and a count by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.metrics.complexity import cost, count, fpd_gflops
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.params import load_params
from stages import complexity, specs

ROOT = Path(__file__).resolve().parents[1]


def hourglass(stacks: int, channels: int, stem: str = "newell", joints: int = 16) -> nn.Module:
    with torch.device("meta"):
        return build_model(
            {"name": "hourglass", "joints": joints, "stacks": stacks, "channels": channels, "stem": stem}
        )


@pytest.mark.parametrize(
    "stacks, channels, joints, params_m, gflops, printed",
    [
        (8, 256, 16, 25.434, 55.05, 55),
        (4, 256, 16, 12.858, 29.50, 30),
        (2, 256, 16, 6.570, 16.73, 17),
        (1, 256, 16, 3.426, 10.34, 10),
        (4, 128, 16, 3.332, 9.40, 9),
        (4, 64, 16, 0.950, 4.45, 4.5),
        (4, 32, 16, 0.340, 3.14, 3.1),
        (4, 128, 14, 3.330, 9.38, 9),  # Table 3, LSP
    ],
)
def test_fpd_columns(stacks, channels, joints, params_m, gflops, printed):
    counts = count(hourglass(stacks, channels, joints=joints), (256, 256))
    assert round(counts["params"] / 1e6, 3) == params_m
    assert round(fpd_gflops(counts), 2) == gflops
    assert round(fpd_gflops(counts), 1 if isinstance(printed, float) else None) == printed


@pytest.mark.parametrize(
    "stacks, params_m, gi_macs",
    [(2, 6.731, 8.372), (4, 13.019, 14.303), (8, 25.595, 26.165)],
)
def test_okdhp_plain_hourglasses(stacks, params_m, gi_macs):
    counts = count(hourglass(stacks, 256, "pytorch-pose"), (256, 256))
    assert round(counts["params"] / 1e6, 3) == params_m
    assert round(counts["macs"] / 2**30, 3) == gi_macs


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return specs.complexity(load_params(ROOT / "params.yaml"))


# params_m and gimacs of the networks of training that OKDHP's Tables 3, 7 and 8 name, and what is printed.
OKDHP = {
    "okdhp_s2_b2": (15.513, 32.572),  # Table 7: 15.5M
    "okdhp_s2_b3": (18.588, 35.272),  # 18.6M
    "okdhp_s2_b4": (21.663, 37.971),  # 21.7M
    "okdhp_s2_b5": (24.738, 40.672),  # 24.7M
    "okdhp_s4_i1": (24.876, 41.203),  # Table 8: 41G
    "okdhp_s4_i2": (31.164, 47.134),  # 47G; 47 in Table 3
    "okdhp_s4_i3": (37.452, 53.065),  # 53G
    "okdhp_s4_i4": (43.740, 58.996),  # 59G
    "okdhp_s4_unbalanced": (50.027, 64.927),  # 64 in Table 3
}


@pytest.mark.parametrize("name", OKDHP)
def test_okdhp_columns(settings, name):
    entry = settings["training"][name]
    with torch.device("meta"):
        model = complexity.training_network(entry)
    assert entry["input"] == [256, 256]
    counted = cost(count(model, (256, 256)))
    assert (round(counted["params_m"], 3), round(counted["gimacs"], 3)) == OKDHP[name]


# params_m, gsummary and gimacs of the networks of CDKD's Tables I and II, and what is printed of the first two.
CDKD = {
    "simbase_r152_32": (68.635, 0.3284, 0.2464, (68.6, 0.328)),
    "simbase_r50_32": (33.999, 0.1873, 0.1053, (34.0, 0.187)),
    "simbase_r152_64": (68.635, 1.3137, 0.9855, (68.6, 1.314)),
    "hrnet_w32_32": (28.536, 0.1483, 0.1483, (28.5, 0.148)),
    "hrnet_w32_64": (28.536, 0.5933, 0.5933, (28.5, 0.593)),
    "hrnet_w48_64": (63.596, 1.2178, 1.2178, (63.6, 1.218)),
    "simcc_w32_32": (28.544, 0.1484, 0.1485, (28.5, 0.148)),
    "simcc_w32_64": (28.602, 0.5934, 0.5943, (28.6, 0.593)),
    "simcc_w48_64": (63.661, 1.2179, 1.2188, (63.7, 1.218)),
    "simcc_w48_64_k3": (63.694, 1.2179, 1.2193, (63.7, 1.218)),
    "okdhp_s4_released_64": (30.916, 2.8990, 2.8990, (30.9, 2.899)),  # the whole network of training
}


@pytest.mark.parametrize("name", CDKD)
def test_cdkd_columns(settings, name):
    branched = name in settings["training"]
    entry = settings["training" if branched else "networks"][name]
    with torch.device("meta"):
        model = complexity.training_network(entry) if branched else build_model(entry["model"])
    counted = cost(count(model, tuple(entry["input"])))
    *exact, printed = CDKD[name]
    assert [round(counted["params_m"], 3), counted["gsummary"], counted["gimacs"]] == exact
    assert (round(counted["params_m"], 1), round(counted["gsummary"], 3)) == printed


def test_costs_in_the_units_of_the_papers():
    counts = {"params": 2_500_000, "macs": 3 * 2**30, "bias_adds": 10**9, "summary_macs": 5 * 2**28}
    assert cost(counts) == {"params_m": 2.5, "gflops": 8.4425, "gmacs": 3.2212, "gimacs": 3.0, "gsummary": 1.25}


def test_shared_stacks_count_once():
    model = {"name": "hourglass", "stacks": 3, "channels": 8, "stem": "pytorch-pose", "joints": 5}
    plain, stack = (count(build_model(model | {"stacks": stacks}), (64, 64))["params"] for stacks in (3, 2))
    stack = plain - stack  # with the merge before it
    twins = count(build_branches(build_model(model), [model], 2, "mean"), (64, 64))
    # The second branch adds its own third stack; the merge into it is shared with the second stack.
    assert plain < twins["params"] < plain + stack
    single = count(build_model(model), (64, 64))["macs"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build_branches(build_model(model), [model], 2, "mean").eval()(torch.zeros(1, 3, 64, 64))
    assert 2 * twins["macs"] == counter.get_total_flops() and single < twins["macs"] < 2 * single


def test_hand_count():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3),  # 8x12 -> 4x6
        nn.BatchNorm2d(6),
        nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1, groups=2, bias=False),  # 4x6 -> 8x12
        nn.ReLU(),
        nn.Flatten(2),
        nn.Linear(96, 5),  # one per channel
    )
    counts = count(model, (8, 12))
    assert counts["params"] == (6 * 1 * 9 + 6) + (6 + 6) + 6 * 2 * 16 + (96 * 5 + 5)
    assert counts["macs"] == 4 * 6 * 6 * 9 + 4 * 6 * 6 * 2 * 16 + 4 * 96 * 5
    assert counts["bias_adds"] == 4 * 6 * 6 + 4 * 5
    # The summary counts the deconvolution's weights at 8 x 12 outputs, and a linear layer's outputs with 4 channels.
    assert counts["summary_macs"] == 4 * 6 * 6 * 9 + 8 * 12 * 6 * 2 * 16 + 4 * 5 * 4


def test_the_summary_is_right_where_linear_layers_see_features_only():
    counts = count(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)), (8, 8))
    assert counts["macs"] == counts["summary_macs"] == 36 * 4 * 27 + 4 * 7


def test_agrees_with_the_operator_level_counter():
    model = build_model({"name": "hourglass", "joints": 5, "stacks": 2, "channels": 8}).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 128))
    assert 2 * count(model, (64, 128))["macs"] == counter.get_total_flops()


def test_layer_used_twice_counts_twice_and_is_stored_once():
    layer = nn.Conv2d(3, 3, 1, bias=False)
    once, twice = count(nn.Sequential(layer), (4, 4)), count(nn.Sequential(layer, layer), (4, 4))
    assert twice == {"params": once["params"], "macs": 2 * 144, "bias_adds": 0, "summary_macs": 2 * 144}


def test_cost_grows_with_the_area_and_parameters_do_not():
    small, large = (count(hourglass(1, 8), size) for size in ((64, 64), (128, 192)))
    assert large == {name: small[name] * (1 if name == "params" else 6) for name in small}


def test_model_is_left_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count(model, (4, 4))["params"] == 8 + 4  # frozen parameters are parameters
    assert model.training and not any(layer._forward_hooks for layer in model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_stage_writes_numbers_for_every_network(tmp_path, monkeypatch):
    small, large, larger = (
        {"name": "hourglass", "stacks": stacks, "channels": 8, "stem": "pytorch-pose", "joints": 3}
        for stacks in (1, 3, 4)
    )
    simcc = {"name": "hrnet", "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8, "joints": 3}
    simcc |= {"head": "simcc", "input_size": [32, 64]}
    networks = {
        "small": {"input": [64, 64], "model": small},
        "large": {"input": [64, 64], "model": large},
        "low": {"input": [32, 64], "model": simcc},
    }
    branched = networks["large"] | {"branches": [larger], "shared": 2, "aggregation": "fau", "variant": "paper"}
    released = branched | {"input": [128, 64], "variant": "released"}
    settings = {"code": {}, "batch_sizes": [1, 2], "repeats": 2, "reference": "large", "networks": networks}
    settings["training"] = {"branched": branched, "released": released}
    (tmp_path / "data/specs").mkdir(parents=True)
    (tmp_path / "data/specs/complexity.json").write_text(json.dumps(settings))
    monkeypatch.setattr(complexity, "PERIOD", 0.02)
    monkeypatch.chdir(tmp_path)
    complexity.main()

    metrics = json.loads((tmp_path / complexity.METRICS).read_text())
    assert list(metrics) == ["small", "large", "low", "branched", "released"]
    rows = {name: metrics.pop(name) for name in ("branched", "released")}
    assert rows["branched"].keys() == {"params_m", "gflops", "gmacs", "gimacs", "gsummary"}  # counted, not timed
    assert rows["branched"]["params_m"] > rows["released"]["params_m"] > metrics["large"]["params_m"]
    assert rows["released"]["gmacs"] > 1.7 * rows["branched"]["gmacs"]  # twice the image, but a smaller aggregation
    with torch.device("meta"):
        low = count(build_model(simcc), (32, 64))
    assert metrics["low"]["params_m"] == low["params"] / 1e6
    assert metrics["low"]["gmacs"] == round(low["macs"] / 1e9, 4)
    for row in metrics.values():
        assert all(isinstance(value, float) and math.isfinite(value) and value > 0 for value in row.values())
        for size in (1, 2):
            assert row[f"throughput_b{size}"] == pytest.approx(1e3 * size / row[f"latency_ms_b{size}"], rel=0.01)
            ratio = row[f"throughput_b{size}"] / metrics["large"][f"throughput_b{size}"]
            assert row[f"speedup_b{size}"] == pytest.approx(ratio, rel=0.01)
    assert metrics["small"]["speedup_b1"] > metrics["large"]["speedup_b1"] == 1
    assert {"hardware", "threads", "torch"} <= set(json.loads((tmp_path / complexity.ENVIRONMENT).read_text()))
