"""CDKD's tables: every row is filled by the run that it describes."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from lib.papers import load_paper
from lib.params import Params, load_params
from lib.reporting import named
from lib.reporting.names import network, pixels
from lib.tasks.cdkd import RELEASED_LOGITS, RELEASED_TASK
from tests.test_papers import ROOT, branches, counted, hourglass, labels_alone, specs, tables


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


COMPETITORS = {"cal": "cal", "tokenpose": "tokenpose", "prtr": "prtr", "rle": "rle", "distillpose": "distilpose"}
SIZES = ("32 × 32", "64 × 64")


def depth(model: dict[str, Any]) -> str:
    """The name of a backbone as CDKD's tables print it; any other where it is not the published one."""
    return network(model | {"split": 2})


@pytest.mark.parametrize(("number", "prefix"), [(1, "mpii"), (2, "coco")])
def test_main_rows_of_cdkd_are_what_they_say(number, prefix, params):
    """Tables 1 and 2: input, backbone, head and splitting factor; the costs are those of the deployed network."""
    run, complexity = specs(params, "cdkd"), params.common.complexity
    for row in tables("cdkd")[number].rows:
        method, size, backbone = row.labels
        if row.run is None:
            assert method.startswith("PCT")
            continue
        if row.run == "mpii_mean_pose" or competitor(method):
            continue
        spec = run[row.run]
        assert (spec.dataset, pixels(spec.input)) == (prefix, size)
        if method.startswith("OKDHP"):
            assert hourglass(spec, 4) and branches(spec) == ([4, 4, 4], 2) and spec.settings["variant"] == "released"
            (name,) = row.networks
            one = complexity.training[name]
            assert (one.shared, one.auxiliary, one.variant) == (2, (4, 4), "released")
            assert params.models[one.model].spec((one.input,) * 2) == spec.model
            continue
        simcc = "simcc" in method.lower() or method.startswith("CDKD")
        assert (depth(spec.model), spec.model["head"]) == (backbone, "simcc" if simcc else "heatmap"), row
        assert spec.model["split"] == (3 if "*" in method else 2) or not simcc
        dark = spec.codec.get("refinement") == "dark"
        assert dark == (spec.codec.get("centre") == "subpixel") == method.startswith("Dark")
        assert labels_alone(spec) != method.startswith("CDKD")
        if spec.teacher:
            teacher = run[named(spec.teacher)]
            assert teacher.model == spec.model | {"input_size": [256, 256]}
            assert teacher.input == spec.teacher_input == (256, 256)
        if row.printed:
            (name,) = row.networks
            assert (complexity.networks[name].input,) * 2 == spec.input
            assert counted(params, name) == spec.model, row


def competitor(method: str) -> str | None:
    """Which of CDKD's competitors with a network of its own a row is about: the network's name."""
    words = method.lower().replace(",", "").split()
    return next((name for word, name in COMPETITORS.items() if word in words), None)


def test_competitors_of_cdkd_are_what_they_say(params):
    """Tables 1 and 2: network, backbone, input and method; costs of the same network with the benchmark's joints."""
    run, complexity, seen = specs(params, "cdkd"), params.common.complexity, []
    for number, joints in ((1, 16), (2, 17)):
        for row in tables("cdkd")[number].rows:
            name = competitor(row.labels[0])
            if name is None:
                continue
            spec, (_, size, backbone) = run[row.run], row.labels
            taught = row.labels[0].startswith("Teacher of")
            assert spec.model["name"] == ("tokenpose" if taught else name)
            assert pixels(spec.input) == size and backbone == f"HRNet-W{spec.model['width']}"
            assert (spec.model["blocks"], spec.model["modules"], spec.model["stem"]) == (4, [1, 4, 3], 64)
            assert spec.method == (name if name in ("rle", "distilpose") and not taught else spec.output)
            if row.printed:
                (counted_as,) = row.networks
                assert counted(params, counted_as) == spec.model and spec.pretrained
                counted_joints = complexity.networks[counted_as].joints
                assert counted_joints == joints or name == "cal", row  # whose parameters print the same for both
                seen.append((name, size))
    sizes = [(name, size) for name in ("cal", "prtr", "rle", "tokenpose", "distilpose") for size in SIZES]
    assert sorted(seen) == sorted(sizes + [(name, size) for name in ("cal", "tokenpose") for size in SIZES])
    for side, patch in ((32, [2, 2]), (64, [4, 4])):
        pupil = run[f"coco_distilpose_{side}"]
        master = run[named(pupil.teacher)]
        assert pupil.model["patch"] == master.model["patch"] == patch and pupil.teacher_input == pupil.input
        shared = {key: value for key, value in pupil.model.items() if key != "name"}
        assert master.model == shared | {"name": "tokenpose", "kind": "base"}


def test_modules_of_cdkd_are_ticked_as_they_are_trained(params):
    """Tables 3 and 4, and those rows of Table 5 that are the same runs."""
    printed, run = tables("cdkd"), specs(params, "cdkd")
    for number in (3, 4):
        for row in printed[number].rows:
            projector, ensemble, sau, necm, etht = (label == "✓" for label in row.labels[1:])
            if labels_alone(run[row.run]):
                assert not any((projector, ensemble, sau, necm, etht))
                continue
            found = run[row.run].settings
            assert (found["features"] == "sape", found["logits"] == "cca") == (projector, necm)
            if projector:
                assert (found["projectors"], bool(found["kernels"])) == (3 if ensemble else 1, sau)
            if necm:
                assert found["learned"] == (["tau"] if etht else [])
    by_name = {row.labels[1].removesuffix(" (ours)"): row.run for row in printed[5].rows if "ours" in row.labels[1]}
    third = [row.run for row in printed[3].rows]
    assert by_name == dict(zip(("Projector Ensemble", "SAPE", "NECM", "CCA"), third[2:6], strict=True))


def test_ablations_of_cdkd_vary_what_their_rows_say(params):
    """Tables 5 to 8: alignments, projectors, kernels and learned numbers, and everything else as in CDKD's row."""
    printed, run = tables("cdkd"), specs(params, "cdkd")
    main = run["mpii_cdkd_64"]

    def varies(number: int, key: str) -> list:
        """The values of one setting, all others being those of CDKD."""
        found = [run[row.run] for row in printed[number].rows]
        for spec in found:
            assert replace(spec, name=main.name, settings=main.settings) == main
            assert spec.settings | {key: main.settings[key]} == main.settings
        return [spec.settings[key] for spec in found]

    assert [str(count) for count in varies(6, "projectors")] == [row.labels[0] for row in printed[6].rows]
    counts = [tuple(str(kernels.count(size)) for size in (3, 5, 7, 9)) for kernels in varies(7, "kernels")]
    assert counts == [row.labels for row in printed[7].rows]
    symbols = {"tau": "τ", "alpha": "α", "beta": "β"}
    learned = [", ".join(symbols[name] for name in names) or "-" for names in varies(8, "learned")]
    assert learned == [row.labels[1] for row in printed[8].rows]

    conventional = {row.labels: run[row.run] for row in printed[5].rows if "ours" not in row.labels[1] and row.printed}
    found = {labels: (spec.settings["features"], spec.settings["logits"]) for labels, spec in conventional.items()}
    assert found == {
        ("Feature distillation", "Conv Downsample [36]"): ("convolution", "none"),
        ("Feature distillation", "Fully Connected Layer [24]"): ("fully_connected", "none"),
        ("Logit distillation", "Same Class Number [10]"): ("none", "same"),
        ("Logit distillation", "Fully Connected Layer [37]"): ("none", "fully_connected"),
    }
    for spec in conventional.values():
        assert spec.settings["learned"] == [] or spec.settings["logits"] == "none"
        assert (spec.model, spec.input) == (main.model, main.input)
    same = next(spec for spec in conventional.values() if spec.settings["logits"] == "same")
    teacher = run[named(same.teacher)]
    assert teacher.name == printed[5].rows[-1].run
    assert teacher.model["split"] * teacher.input[1] == same.model["split"] * same.input[1]


def test_other_networks_of_cdkd_are_what_their_rows_say(params):
    """Tables 9 and 10: CCA alone from HRNet-W48 to ResNet-50, SAPE alone between heatmaps; teachers of 256 px."""
    printed, run = tables("cdkd"), specs(params, "cdkd")
    teacher, alone, cca = (run[row.run] for row in printed[9].rows)
    assert [pixels(spec.input) for spec in (teacher, alone, cca)] == [row.labels[1] for row in printed[9].rows]
    assert (depth(teacher.model), depth(cca.model), cca.teacher) == ("HRNet-W48", "ResNet-50", teacher.label)
    assert (alone.model, alone.epochs) == (cca.model, cca.epochs)
    assert cca.settings.items() >= {"features": "none", "logits": "cca", "learned": ["tau"]}.items()
    cal, cal_sape, heatmaps, sape = (run[row.run] for row in printed[10].rows)
    assert cal.name == next(row.run for row in printed[1].rows if row.labels[:2] == ("CAL [6]", "32 × 32"))
    assert cal_sape.settings == sape.settings and cal_sape.model == cal.model == run[named(cal_sape.teacher)].model
    assert run[named(cal_sape.teacher)].input == (256, 256)
    assert heatmaps.name == next(row.run for row in printed[1].rows if row.labels[:2] == ("HRNet [3]", "64 × 64"))
    assert (sape.settings["features"], sape.settings["logits"], len(sape.settings["kernels"])) == ("sape", "none", 4)
    assert run[named(sape.teacher)].model == sape.model == heatmaps.model and sape.model["head"] == "heatmap"
    assert named(sape.teacher) in {row.run for row in printed[1].rows}


def test_study_on_lsp_varies_the_parts_of_cdkd_at_both_sizes(params):
    run = specs(params, "cdkd")
    pairs = [claim.runs for claim in load_paper("cdkd").claims if claim.on.startswith("LSP")]
    for side in (64, 32):
        parts = {name: run[f"lsp_{name}_{side}"].settings for name in ("sape", "cca", "cdkd", "released")}
        assert [(f"lsp_{name}_{side}", f"lsp_simcc_{side}") in pairs for name in parts] == [True] * 4
        full = parts["cdkd"]
        assert full == run[f"mpii_cdkd_{side}"].settings
        assert parts["sape"] == full | {"logits": "none"}
        assert parts["cca"] == full | {"features": "none"}
        alpha, beta = {64: (1e-4, 1e-5), 32: (1, 0.1)}[side]  # of the released configurations for MPII
        assert parts["released"] == full | {"alpha": alpha, "beta": beta, "variant": "released"}
        # The classes' divergence beside the task's: 0.4 of 1000, times 64 people and 14 joints.
        factor = RELEASED_LOGITS * beta * run[f"lsp_released_{side}"].batch_size * 14 / RELEASED_TASK
        assert factor == pytest.approx({64: 3.584e-6, 32: 0.03584}[side])
    assert len(pairs) == 8


def test_systems_on_lsp_are_those_of_the_printed_tables_with_one_budget(params):
    """Our table: networks, inputs and methods of Table 1 at 64 px, or of Table 2; printed cells are theirs."""
    run, table = specs(params, "cdkd"), load_paper("cdkd").benchmarks["lsp"].table
    printed = {row.run: row for number in (2, 1) for row in tables("cdkd")[number].rows if row.printed}
    systems = [row for row in table.rows if row.printed and row.run]
    for row in systems:
        on_mpii, on_coco = (row.run.replace("lsp", name) for name in ("mpii", "coco"))
        ours, theirs = run[row.run], run[on_mpii if on_mpii in printed else on_coco]
        same = ("input", "model", "output", "method", "settings", "batch_size", "antialias", "teacher_input")
        assert [getattr(ours, key) for key in same] == [getattr(theirs, key) for key in same], row
        assert ours.codec == theirs.codec or ours.output == "simcc"  # whose targets on LSP are decided
        assert ours.optimizer | {"milestones": ()} == theirs.optimizer | {"milestones": ()}
        assert ours.augmentation == run["mpii_simcc_64"].augmentation
        cells = (printed[name].printed[7 if name == on_mpii else 0] for name in (on_mpii, on_coco) if name in printed)
        assert [cell for cell in row.printed if cell] == [*cells]
        assert row.labels[0].split()[0].lower() == printed[theirs.name].labels[0].split()[0].lower()
        assert row.runs == {"": row.run} | ({} if row.run == "lsp_cdkd_64" else {"cdkd": "lsp_cdkd_64"})
    at_64 = {
        row.labels[0].partition(" ")[0].lower()
        for number in (1, 2)
        for row in tables("cdkd")[number].rows
        if row.labels[1] == SIZES[1] and row.printed
    }
    assert {row.labels[0].partition(" ")[0].lower() for row in table.rows if row.printed} == at_64 - {"simplebaseline"}
    assert {spec.epochs for spec in run.values() if spec.dataset == "lsp"} == {210}
    pupil, master = (run[name] for name in ("lsp_distilpose_64", "lsp_teacher_p4_64"))
    assert (pupil.teacher, master.model) == (master.label, run["coco_teacher_p4_64"].model)


def test_decisions_of_cdkd_agree_with_params(params):
    cdkd, run = params.papers["cdkd"], specs(params, "cdkd")
    assert (cdkd.alpha, cdkd.beta, cdkd.tau, cdkd.learned, cdkd.variant) == (1, 1, 4, ("tau",), "paper")
    assert (cdkd.projectors, cdkd.kernels, cdkd.antialias, cdkd.pretrained) == (3, (3, 5, 7, 7), False, True)
    assert [(cdkd.simcc[name].target, cdkd.simcc[name].smoothing) for name in ("mpii", "coco")] == [
        ("one_hot", 0.2),
        ("one_hot", 0),
    ]
    assert (cdkd.simcc["lsp"].target, cdkd.simcc["lsp"].sigma) == ("gaussian", 1 / 32)
    widths = {name: run[name].codec["sigma"] for name in ("lsp_teacher", "lsp_simcc_64", "lsp_cdkd_64", "lsp_cdkd_32")}
    assert widths == {"lsp_teacher": 16, "lsp_simcc_64": 4, "lsp_cdkd_64": 4, "lsp_cdkd_32": 2}  # classes
    assert (cdkd.heatmap.sigma, cdkd.heatmap.centre, cdkd.decoding.refinement) == (1, "pixel", "quarter")
    hrnet, resnet = cdkd.schedules["hrnet"], cdkd.schedules["simplebaseline"]
    assert (hrnet.epochs, hrnet.optimizer.milestones, hrnet.batch_size) == (210, (170, 200), 64)
    assert (resnet.epochs, resnet.optimizer.milestones, resnet.batch_size) == (140, (90, 120), 64)
    for schedule in (hrnet, resnet):
        assert (schedule.optimizer.name, schedule.optimizer.lr, schedule.optimizer.weight_decay) == ("adam", 1e-3, 0)
    competitor = run["mpii_okdhp_64"]
    okdhp = specs(params, "okdhp")["mpii_hg4"]
    assert (competitor.optimizer, competitor.epochs, competitor.batch_size, competitor.augmentation) == (
        *(okdhp.optimizer, okdhp.epochs, okdhp.batch_size, okdhp.augmentation),
    )
    square = params.common.crops["coco_square"]
    assert (square.input, square.boxes, square.padding) == ((256, 256), "detections", 1.25)
    assert cdkd.augmentation["lsp"] == cdkd.augmentation["mpii"]
    coco = cdkd.augmentation["coco"]
    assert (coco.scale, coco.rotation, coco.half_body) == ((0.65, 1.35), 45, 0.3)


def test_labels_and_gains_of_cdkd_are_printed_ones(shared_data):
    """Sizes, backbones and counts in the rows' labels; a gain behind a number is what its claim quotes."""
    path = shared_data.parent / "papers/tables/cdkd.yaml"
    if not path.is_file():
        pytest.skip(f"no {path}")
    facts = yaml.load(path.read_text(), Loader=yaml.BaseLoader)["tables"]
    quoted = {(claim.treated, claim.gain) for claim in load_paper("cdkd").claims}
    names = {"size": "input_size", "backbone": "backbone", "projectors": "projectors", "role": "role"}
    names |= {"three": "conv_3x3", "five": "conv_5x5", "seven": "conv_7x7", "nine": "conv_9x9"}
    gains = []
    for number, table in tables("cdkd").items():
        for row, fact in zip(table.rows, facts[f"table_{number}"]["rows"], strict=False):
            for label, text in zip(table.labels, row.labels, strict=True):
                if label in names:
                    expected = fact[names[label]].replace("x", " × ") if label == "size" else fact[names[label]]
                    printed_once = number == 10 and label == "backbone" and text == "-"
                    assert text == expected.replace("null", "-") or printed_once, (number, row)
            for name in ("gain", "ap_gain"):
                if row.run and fact.get(name, "null") != "null":
                    gains.append(fact[name])
                    assert (row.run, f"+{fact[name]}") in quoted, (number, row)
    assert sorted(gains) == sorted(["1.022", "1.882", "0.9", "1.7", "1.4", "2.0", "1.405", "0.676"])
