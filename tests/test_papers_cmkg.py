"""CMKG's tables: every row is filled by the runs that it describes."""

from dataclasses import replace

import pytest

from lib.hands.scenes import SCALING
from lib.hands.synthesis import CAMERA, FILLING, PICTURE
from lib.papers import load_paper
from lib.params import Params, load_params
from lib.reporting import named
from lib.reporting.names import network
from lib.runs import Run
from tests.test_papers import ROOT, labels_alone, specs, tables


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def run(params) -> dict[str, Run]:
    return specs(params, "cmkg")


def same(one: Run, other: Run, *differing: str) -> bool:
    """Whether two runs differ at most in these entries and their names."""
    return replace(one, **{key: getattr(other, key) for key in ("name", *differing)}) == other


def test_rows_of_table_1_are_what_they_say(run):
    for row in tables("cmkg")[1].rows[:4]:
        settings, backbone = row.labels
        rgb, depth, kd = (run[row.runs[name]] for name in ("rgb", "depth", ""))
        assert {network(spec.model) for spec in (rgb, depth, kd)} == {backbone}
        assert {spec.dataset for spec in (rgb, depth, kd)} == {"rhd"}
        assert {spec.synthetic for spec in (rgb, depth, kd)} == {"mano" if "𝒜" in settings else None}
        assert (rgb.modality, depth.modality, kd.modality, kd.teacher_modality) == ("rgb", "depth", "rgb", "depth")
        assert kd.teacher == depth.label and rgb.teacher is None is depth.teacher is depth.init
        assert kd.settings["activation"] == 1 and "L_ACT" in settings
        assert kd.settings["attention"] == (1000 if "L_ATT" in settings else 0)
        # The RGB network is the student's equal-budget control.
        assert same(kd, rgb, "teacher", "teacher_input", "teacher_modality", "method", "settings")
        start = run[named(kd.init)]
        assert labels_alone(start) and (start.init, start.synthetic, start.model) == (None, kd.synthetic, kd.model)
        assert depth.epochs == start.epochs + kd.epochs == 200


def test_rows_of_ours_below_table_1(run):
    rows = [row for row in tables("cmkg")[1].rows if not row.printed]
    starts = [run[row.runs["rgb"]] for row in rows[:3]]
    used = {run[row.run].init for row in tables("cmkg")[1].rows[:4]}
    assert {start.label for start in starts} == used
    for row in rows[3:5]:
        prior = run[row.run]
        assert prior.method == "cmkg" and prior.settings["norm"] in row.labels[0].replace("ℓ", "l")
        assert same(prior, run["rhd_cmkd_r18"], "method", "settings")  # the student of Table 1, but for φ beside it
        assert row.runs["rgb"] == "rhd_rgb_r18_aug"
    assert rows[5].runs == {"rgb": "rhd_mean_pose"}


SIGMAS = {
    "ℓ1, σ = 1.0 × 10⁻⁴": 1e-4,
    "ℓ1, σ = 1.0 × 10⁻⁶": 1e-6,
    "ℓ2, σ = 1.0 × 10⁻³": 1e-3,
    "ℓ2, σ = 1.0 × 10⁻⁵": 1e-5,
}


def test_rows_of_table_2_vary_the_regulariser_alone(run):
    none, *others = [row for row in tables("cmkg")[2].rows if row.printed]
    alone = run[none.run]
    assert none.labels == ("None",) and labels_alone(alone) and alone.init is None and none.runs == {"": "stb_none"}
    for row in others:
        (text,), spec = row.labels, run[row.run]
        assert row.runs["none"] == none.run
        assert same(spec, alone, "method", "settings", "prior")
        found = spec.settings
        assert (spec.method, found["norm"]) == ("regulariser", "l1" if "ℓ1" in text else "l2")
        if text.startswith("ℛ"):
            assert found["sigma"] is None
            prior = run[named(spec.prior)]
            assert (prior.settings["norm"], prior.model) == (found["norm"], spec.model)
        else:
            assert (found["sigma"], spec.prior) == (SIGMAS[text], None)
    assert {row.labels[0] for row in others[:4]} == set(SIGMAS)


def test_rows_of_table_3_are_its_domains(run):
    letters = {"𝒢": "g", "ℋ": "h", "𝒮": "s", "𝒜": "a"}
    printed = [row for row in tables("cmkg")[3].rows if row.printed]
    for row in printed[:4]:
        none, l2, prior = (run[row.runs[name]] for name in ("none", "l2", ""))
        assert {spec.crops for spec in (none, l2, prior)} == {f"freihand_{letters[row.labels[0][-1]]}"}
        assert labels_alone(none)
        assert l2.settings == {"norm": "l2", "sigma": 1e-5}
        assert (prior.settings, prior.prior) == ({"norm": "l2", "sigma": None}, "cmkg/rhd_prior_l2")
        assert same(l2, none, "method", "settings") and same(prior, none, "method", "settings", "prior")
    assert printed[4].runs == {"none": "stb_none", "l2": "stb_l2_1e_5", "": "stb_prior_l2"}


def test_drops_and_gains_are_differences_of_printed_cells():
    """`a - b` is printed as the difference of a's and b's cells, of this row or of the row whose run it names."""
    for table in tables("cmkg").values():
        columns = list(table.accuracy)
        cells = {
            (row.runs[name], metric): text
            for row in table.rows
            for column, text in zip(columns, row.printed, strict=False)
            if " - " not in column
            for name, _, metric in [column.rpartition(".")]
            if name in row.runs
        }
        for row in table.rows:
            for column, text in zip(columns, row.printed, strict=False):
                if " - " in column and text:
                    parts = [part.rpartition(".")[::2] for part in column.split(" - ")]
                    a, b = (float(cells[row.runs[name], metric]) for name, metric in parts)
                    assert f"{a - b:.3f}" == f"{float(text):.3f}", (table.number, row.labels, column)


def test_decisions_of_cmkg_agree_with_params(params, run):
    cmkg = params.papers["cmkg"]
    assert (cmkg.activation, cmkg.attention, cmkg.inner_steps, cmkg.meta_lr) == (1, 1000, 1, 1e-3)
    assert (cmkg.epochs.teacher, cmkg.epochs.half, cmkg.epochs.target, cmkg.batch_size) == (200, 100, 200, 32)
    optimizer = cmkg.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.milestones) == ("adam", 2.5e-4, 0, ())
    assert run["rhd_prior_l2"].settings["inner_lr"] == optimizer.lr
    crops = [params.common.crops[name] for name in ("rhd", "stb", *(f"freihand_{letter}" for letter in "ghsa"))]
    assert {(one.padding, one.margin, one.input) for one in crops} == {(1.4, 1, (256, 256))}
    assert [one.subset for one in crops] == [None, "BB_left", "g", "h", "s", "a"]
    for augmentation in cmkg.augmentation.values():
        assert (augmentation.flip, augmentation.scale, augmentation.rotation, augmentation.half_body) == (
            *(False, (1, 1), 0, 0),
        )
    assert not any(spec.pretrained for spec in run.values())
    synthesis = params.common.synthesis
    assert (synthesis.count, synthesis.components, synthesis.pose, synthesis.shape) == (50_000, 10, 2, 0.03)
    # The ranges that the decision on rendered images names; a view as wide as RHD's pictures of 320 px.
    assert (synthesis.distance, SCALING, FILLING) == ((0.4, 0.8), (0.85, 1.15), (1.27, 1.53))
    assert (PICTURE, CAMERA[0, 0]) == ((320, 320), 283)


def test_areas_are_drawn_between_control_and_method(run):
    benchmarks = load_paper("cmkg").benchmarks
    control, method = (benchmarks["rhd"].curves[name] for name in benchmarks["rhd"].gain)
    assert run[method].init == run[control].init and run[method].teacher and run[control].teacher is None
    control, method = (benchmarks["stb"].curves[name] for name in benchmarks["stb"].gain)
    assert run[method].prior and labels_alone(run[control])
