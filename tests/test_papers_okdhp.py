"""OKDHP's tables: every row is filled by the run that it describes."""

import pytest

from lib.metrics.oks import SUMMARY
from lib.papers import Row, load_paper
from lib.params import Params, TrainSpec, load_params
from tests.test_papers import ROOT, branches, hourglass, specs, tables


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def test_hourglasses_of_okdhp_are_what_their_rows_say(params):
    """Tables 2 and 4: depth, and three branches that share half of their stacks where OKDHP is ticked."""
    printed, run = tables("okdhp"), specs(params, "okdhp")
    for number, dataset in ((2, "mpii"), (4, "coco")):
        for row in printed[number].rows:
            ticked, name = row.labels
            spec, stacks = run[row.run], int(name.removesuffix("-Stack HG"))
            assert spec.dataset == dataset and hourglass(spec, stacks), row
            if ticked == "✗":
                assert spec.distillation is None, row
            else:
                assert branches(spec) == ([stacks] * 3, stacks // 2), row
    assert tuple(printed[4].accuracy) == SUMMARY


def test_main_rows_of_okdhp_follow_section_4_1(params):
    """All but ablations have α = 1, β = 2, KL and the FAU; Table 3's FPD learns from Table 2's 90.2."""
    printed, run = tables("okdhp"), specs(params, "okdhp")
    baseline, fpd, balanced, unbalanced = (run[row.run] for row in printed[3].rows)
    assert baseline.distillation is None
    assert fpd.distillation.method == "fpd" and fpd.teacher == printed[2].rows[4].run
    assert branches(balanced) == ([4, 4, 4], 2)
    assert branches(unbalanced) == ([4, 6, 8], 2)
    main = [run[row.run] for number in (2, 4, 11) for row in printed[number].rows if row.labels[0] == "✓"]
    for spec in (balanced, unbalanced, *main):
        found = spec.distillation
        assert (found.method, found.alpha, found.beta, found.loss, found.aggregation) == ("okdhp", 1, 2, "kl", "fau")
        assert (found.temperature, found.variant) == (1, "paper")


def test_exported_branches_are_those_of_table_5(params):
    printed = tables("okdhp")[5].rows
    target = printed[0].run
    spec = params.paper_spec("okdhp", target)
    assert [row.run for row in printed] == [target, f"{target}_branch_2", f"{target}_branch_3"]
    assert [row.labels[1] for row in printed] == [f"{model.stacks}-Stack HG" for model in spec.exports]
    assert spec.distillation.shared == 2


def test_ablations_of_okdhp_vary_what_their_rows_say(params):
    """Tables 6 to 10: loss, branches, own stacks, β and aggregation, and everything else as in the main row."""
    printed, run = tables("okdhp"), specs(params, "okdhp")

    def found(number: int) -> list[TrainSpec]:
        return [run[row.run] for row in printed[number].rows]

    def varies(number: int, key: str, main: str) -> list:
        """The values of one setting, all others being those of the run `main`."""
        trained = [spec for spec in found(number) if spec.distillation]
        same = {"run": main, "distillation": run[main].distillation}
        for spec in trained:
            assert spec.model_copy(update=same) == run[main]
            value = {key: getattr(run[main].distillation, key)}
            assert spec.distillation.model_copy(update=value) == run[main].distillation
        return [getattr(spec.distillation, key) for spec in trained]

    def labels(number: int) -> list[str]:
        return [row.labels[0] for row in printed[number].rows]

    assert varies(6, "loss", "mpii_hg4") == ["mse", "kl"] and labels(6) == ["MSE", "Ours"]
    assert varies(9, "beta", "mpii_hg2") == [float(label) for label in labels(9)]
    assert ["baseline", *varies(10, "aggregation", "mpii_hg4")] == [label.lower() for label in labels(10)]
    more = varies(7, "branches", "mpii_hg2")
    assert ["Baseline", *(str(1 + len(models)) for models in more)] == labels(7)
    assert {model for models in more for model in models} == {run["mpii_hg2"].model}
    assert [str(4 - shared) for shared in varies(8, "shared", "mpii_hg4")] == labels(8)
    assert found(7)[0] == run["mpii_hg2_base"] and found(10)[0] == run["mpii_hg4_base"]


def test_mobileposes_of_okdhp_are_what_their_rows_say(params):
    """Table 11: the encoder, and three decoders where OKDHP is ticked."""
    run = specs(params, "okdhp")
    for row in tables("okdhp")[11].rows:
        ticked, backbone = row.labels
        model = run[row.run].model
        assert (model.name, model.encoder.replace("_", "")) == ("mobilepose", backbone.lower())
        others = run[row.run].distillation.branches if ticked == "✓" else ()
        assert list(others) == ([model, model] if ticked == "✓" else [])
        assert (run[row.run].distillation is None) == (ticked == "✗")


def test_costs_of_okdhp_are_those_of_training(params):
    """The networks counted for a row are those that its run trains; FPD's teacher is trained, too, and then asked."""
    run, complexity = specs(params, "okdhp"), params.complexity

    def trained(spec: TrainSpec) -> list[tuple]:
        if spec.teacher:
            teacher = run[spec.teacher].model
            return [(teacher,), (teacher,), (spec.model,)]
        if spec.distillation is None:
            return [(spec.model,)]
        found = spec.distillation
        return [(spec.model, found.shared, *(model.stacks for model in found.branches), found.aggregation)]

    def counted(row: Row) -> list[tuple]:
        networks = []
        for name in row.networks:
            if name in complexity.networks:
                networks.append((complexity.networks[name].model,))
            else:
                one = complexity.training[name]
                networks.append((one.model, one.shared, *one.auxiliary, one.aggregation))
        return networks

    for number, table in tables("okdhp").items():
        for row in table.rows:
            if table.cost:
                assert counted(row) == trained(run[row.run]), (number, row)
            elif row.networks:
                assert [complexity.networks[name].model for name in row.networks] == [run[row.run].model], row
    assert {number: tuple(table.cost) for number, table in tables("okdhp").items() if table.cost} == {
        3: ("gimacs",),
        7: ("params_m",),
        8: ("gimacs",),
    }
    assert [number for number, table in tables("okdhp").items() if table.truncated] == [3]


def test_controls_on_lsp_differ_by_one_step_each(params):
    """LSP: labels alone; then branches and their ensemble without distillation; then distillation."""
    run, roles = specs(params, "okdhp"), load_paper("okdhp").benchmarks["lsp"].roles
    base, control, okdhp = (run[name] for name in roles.values())
    assert base.distillation is None and hourglass(base, 4)
    assert control.distillation.beta == 0
    assert control.distillation.model_copy(update={"beta": 2}) == okdhp.distillation
    assert branches(okdhp) == ([4, 4, 4], 2)


def test_decisions_of_okdhp_agree_with_params(params):
    okdhp = params.okdhp
    assert (okdhp.alpha, okdhp.beta, okdhp.temperature, okdhp.variant) == (1, 2, 1, "paper")
    assert (okdhp.heatmap.sigma, okdhp.heatmap.scaling) == (1, "peak")
    optimizer = okdhp.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adam", 2.5e-4, 1e-4)
    assert (optimizer.milestones, optimizer.gamma, okdhp.batch_size) == ((90, 120), 0.1, 16)
    assert okdhp.decoding.flip_test and okdhp.decoding.refinement == "quarter"
    assert okdhp.augmentation["lsp"] == okdhp.augmentation["mpii"]
    assert params.packs["coco"].boxes == "detections"
    competitor = params.paper_spec("okdhp", "mpii_hg4_fpd")
    assert (competitor.distillation.alpha, competitor.distillation.loss) == (0.5, "mse")
    assert (competitor.init, competitor.optimizer) == (None, optimizer)
