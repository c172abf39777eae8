"""OKDHP's tables: every row is filled by the run that it describes."""

from dataclasses import replace

import pytest

from lib.metrics.oks import SUMMARY
from lib.papers import Row, load_paper
from lib.params import Params, load_params
from lib.reporting import named
from lib.runs import Run
from tests.test_papers import ROOT, branches, counted, hourglass, labels_alone, specs, tables


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
                assert labels_alone(spec), row
            else:
                assert branches(spec) == ([stacks] * 3, stacks // 2), row
    assert tuple(printed[4].accuracy) == SUMMARY


def test_main_rows_of_okdhp_follow_section_4_1(params):
    """All but ablations have α = 1, β = 2, KL and the FAU; Table 3's FPD learns from Table 2's 90.2."""
    printed, run = tables("okdhp"), specs(params, "okdhp")
    baseline, fpd, balanced, unbalanced = (run[row.run] for row in printed[3].rows)
    assert labels_alone(baseline)
    assert fpd.method == "fpd" and named(fpd.teacher) == printed[2].rows[4].run
    assert branches(balanced) == ([4, 4, 4], 2)
    assert branches(unbalanced) == ([4, 6, 8], 2)
    main = [run[row.run] for number in (2, 4, 11) for row in printed[number].rows if row.labels[0] == "✓"]
    for spec in (balanced, unbalanced, *main):
        paper = {"alpha": 1, "beta": 2, "loss": "kl", "aggregation": "fau", "temperature": 1, "variant": "paper"}
        assert spec.method == "okdhp" and spec.settings.items() >= paper.items()


def test_exported_branches_are_those_of_table_5(params):
    printed = tables("okdhp")[5].rows
    target = printed[0].run
    spec = specs(params, "okdhp")[target]
    assert [row.run for row in printed] == [target, f"{target}_branch_2", f"{target}_branch_3"]
    assert [row.labels[1] for row in printed] == [f"{model['stacks']}-Stack HG" for model in spec.exports]
    assert spec.settings["shared"] == 2


def test_ablations_of_okdhp_vary_what_their_rows_say(params):
    """Tables 6 to 10: loss, branches, own stacks, β and aggregation, and everything else as in the main row."""
    printed, run = tables("okdhp"), specs(params, "okdhp")

    def found(number: int) -> list[Run]:
        return [run[row.run] for row in printed[number].rows]

    def varies(number: int, key: str, main: str) -> list:
        """The values of one setting, all others being those of the run `main`."""
        trained = [spec for spec in found(number) if not labels_alone(spec)]
        for spec in trained:
            assert replace(spec, name=main, settings=run[main].settings) == run[main]
            assert spec.settings | {key: run[main].settings[key]} == run[main].settings
        return [spec.settings[key] for spec in trained]

    def labels(number: int) -> list[str]:
        return [row.labels[0] for row in printed[number].rows]

    assert varies(6, "loss", "mpii_hg4") == ["mse", "kl"] and labels(6) == ["MSE", "Ours"]
    assert varies(9, "beta", "mpii_hg2") == [float(label) for label in labels(9)]
    assert ["baseline", *varies(10, "aggregation", "mpii_hg4")] == [label.lower() for label in labels(10)]
    more = varies(7, "branches", "mpii_hg2")
    assert ["Baseline", *(str(1 + len(models)) for models in more)] == labels(7)
    assert all(model == run["mpii_hg2"].model for models in more for model in models)
    assert [str(4 - shared) for shared in varies(8, "shared", "mpii_hg4")] == labels(8)
    assert found(7)[0] == run["mpii_hg2_base"] and found(10)[0] == run["mpii_hg4_base"]


def test_mobileposes_of_okdhp_are_what_their_rows_say(params):
    """Table 11: the encoder, and three decoders where OKDHP is ticked."""
    run = specs(params, "okdhp")
    for row in tables("okdhp")[11].rows:
        ticked, backbone = row.labels
        model = run[row.run].model
        assert (model["name"], model["encoder"].replace("_", "")) == ("mobilepose", backbone.lower())
        others = run[row.run].settings["branches"] if ticked == "✓" else ()
        assert list(others) == ([model, model] if ticked == "✓" else [])
        assert labels_alone(run[row.run]) == (ticked == "✗")


def test_costs_of_okdhp_are_those_of_training(params):
    """The networks counted for a row are those that its run trains; FPD's teacher is trained, too, and then asked."""
    run, complexity = specs(params, "okdhp"), params.common.complexity

    def trained(spec: Run) -> list[tuple]:
        if spec.teacher:
            teacher = run[named(spec.teacher)].model
            return [(teacher,), (teacher,), (spec.model,)]
        if labels_alone(spec):
            return [(spec.model,)]
        stacks, shared = branches(spec)
        return [(spec.model, shared, *stacks[1:], spec.settings["aggregation"])]

    def costs(row: Row) -> list[tuple]:
        networks = []
        for name in row.networks:
            if name in complexity.networks:
                networks.append((counted(params, name),))
            else:
                one = complexity.training[name]
                model = params.models[one.model].spec((complexity.input,) * 2)
                networks.append((model, one.shared, *one.auxiliary, one.aggregation))
        return networks

    for number, table in tables("okdhp").items():
        for row in table.rows:
            if table.cost:
                assert costs(row) == trained(run[row.run]), (number, row)
            elif row.networks:
                assert [counted(params, name) for name in row.networks] == [run[row.run].model], row
    assert {number: tuple(table.cost) for number, table in tables("okdhp").items() if table.cost} == {
        3: ("gimacs",),
        7: ("params_m",),
        8: ("gimacs",),
    }
    assert [number for number, table in tables("okdhp").items() if table.truncated] == [3]


def test_controls_on_lsp_differ_by_one_step_each(params):
    """LSP: labels alone; then a trained teacher; or branches and their ensemble, without distillation and with it."""
    run, roles = specs(params, "okdhp"), load_paper("okdhp").benchmarks["lsp"].roles
    teacher, base, fpd, control, okdhp = (run[name] for name in roles.values())
    assert labels_alone(base) and hourglass(base, 4)
    assert (fpd.model, fpd.method, fpd.settings["alpha"], fpd.settings["loss"]) == (base.model, "fpd", 0.5, "mse")
    assert labels_alone(teacher) and hourglass(teacher, 8)
    assert fpd.teacher == f"okdhp/{teacher.name}"
    assert control.settings["beta"] == 0
    assert control.settings | {"beta": 2} == okdhp.settings
    assert branches(okdhp) == ([4, 4, 4], 2)


def test_decisions_of_okdhp_agree_with_params(params):
    okdhp = params.papers["okdhp"]
    assert (okdhp.alpha, okdhp.beta, okdhp.temperature, okdhp.variant) == (1, 2, 1, "paper")
    assert (okdhp.heatmap.sigma, okdhp.heatmap.scaling) == (1, "peak")
    optimizer = okdhp.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adam", 2.5e-4, 1e-4)
    assert (optimizer.milestones, optimizer.gamma, okdhp.batch_size) == ((90, 120), 0.1, 16)
    assert okdhp.decoding.flip_test and okdhp.decoding.refinement == "quarter"
    assert okdhp.augmentation["lsp"] == okdhp.augmentation["mpii"]
    assert params.common.crops["coco"].boxes == "detections"
    competitor = specs(params, "okdhp")["mpii_hg4_fpd"]
    assert (competitor.settings["alpha"], competitor.settings["loss"]) == (0.5, "mse")
    assert (competitor.init, competitor.optimizer) == (None, optimizer.model_dump())
