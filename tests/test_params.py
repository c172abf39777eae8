"""params.yaml is read strictly, and a profile scales it."""

import copy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lib.errors import InputError
from lib.params import load_params

CONTENT = YAML(typ="safe").load(Path("params.yaml"))
SUPERVISED = CONTENT["fpd"]["supervised"]


@pytest.fixture
def load(tmp_path):
    def load(changes: dict[str, object]):
        """Load the project's params.yaml with values replaced at dotted paths; ... deletes the key."""
        content = copy.deepcopy(CONTENT)
        for path, value in changes.items():
            *parents, last = path.split(".")
            place = content
            for key in parents:
                place = place[key]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        file = tmp_path / "params.yaml"
        YAML().dump(content, file)
        return load_params(file)

    return load


def test_paper_profile_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    teacher, student = params.train_spec("fpd", "lsp_teacher"), params.train_spec("fpd", "lsp_fpd")
    assert (teacher.model.stacks, teacher.model.channels) == (8, 256)  # FPD Sect. 3.2, the original hourglass
    assert (student.model.stacks, student.model.channels) == (4, 128)  # FPD Table 1
    for spec in (teacher, student):
        assert spec.input == (256, 256)
        assert (spec.optimizer.name, spec.optimizer.lr) == ("rmsprop", 2.5e-4)
        assert (spec.batch_size, spec.epochs) == (4, 70)
        assert (spec.augmentation.flip, spec.augmentation.scale, spec.augmentation.rotation) == (True, (0.75, 1.25), 30)
    assert teacher.distillation is None
    assert (student.distillation.alpha, student.distillation.loss) == (0.5, "mse")


def test_profile_scales_network_input_and_schedule(load):
    params = load(
        {
            "profile": "small",
            "profiles.small.fpd.depth": 0.5,
            "profiles.small.fpd.width": 0.25,
            "profiles.small.fpd.epochs": 0.1,
            "profiles.small.fpd.resolution": 0.5,
            "fpd.optimizer.milestones": [40, 60],
        }
    )
    spec = params.train_spec("fpd", "lsp_student")
    assert (spec.model.stacks, spec.model.channels, spec.input, spec.epochs) == (2, 32, (128, 128), 7)
    assert spec.optimizer.milestones == (4, 6)


def test_only_distilled_runs_without_their_own_know_alpha(load):
    """Neither a supervised run nor one of Tables 7 and 8 depends on the shared weight and loss of the distillation."""
    one, other = load({}), load({"fpd.alpha": 0.3, "fpd.loss": "cross_entropy"})
    changed = {run for run in one.runs("fpd") if one.train_spec("fpd", run) != other.train_spec("fpd", run)}
    assert changed == {*one.fpd.runs, *one.fpd.initialised}


def test_alpha_and_loss_of_the_ablations(load):
    params = load({})
    found = {run: params.train_spec("fpd", run).distillation for run in params.fpd.ablations}
    assert {run: (it.alpha, it.loss) for run, it in found.items()} == {
        "mpii_cross_entropy": (0.5, "cross_entropy"),
        "mpii_alpha_005": (0.05, "mse"),
        "mpii_alpha_01": (0.1, "mse"),
        "mpii_alpha_095": (0.95, "mse"),
        "mpii_alpha_099": (0.99, "mse"),
    }


def test_only_runs_without_their_own_know_beta(load):
    """`-S okdhp.beta=3` concerns Eq. 8's runs and neither baselines, nor FPD, nor Tables 6, 9 and 10."""
    one, other = load({}), load({"okdhp.beta": 3, "okdhp.loss": "mse", "okdhp.aggregation": "mean"})
    changed = {run for run in one.runs("okdhp") if one.train_spec("okdhp", run) != other.train_spec("okdhp", run)}
    assert changed == set(one.okdhp.runs)
    assert one.train_spec("okdhp", "mpii_hg2_beta_05").distillation.beta == 0.5


def test_paper_spec_is_that_of_the_profile_paper(load):
    params = load({"profile": "paper"})
    for paper in ("fpd", "okdhp", "cdkd"):
        for run in params.runs(paper):
            assert params.paper_spec(paper, run) == params.train_spec(paper, run) == load({}).paper_spec(paper, run)


def test_okdhp_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    coco, mpii = params.train_spec("okdhp", "coco_hg8"), params.train_spec("okdhp", "mpii_hg4_unbalanced")
    for spec in (coco, mpii):  # Sect. 4.1
        assert (spec.optimizer.name, spec.optimizer.lr, spec.optimizer.weight_decay) == ("adam", 2.5e-4, 1e-4)
        assert (spec.epochs, spec.optimizer.milestones, spec.optimizer.gamma) == (150, (90, 120), 0.1)
        assert (spec.distillation.alpha, spec.distillation.beta) == (1, 2)
    assert (mpii.input, mpii.augmentation.scale, mpii.augmentation.rotation) == ((256, 256), (0.75, 1.25), 30)
    assert (coco.input, coco.augmentation.scale, coco.augmentation.rotation) == ((256, 192), (0.7, 1.3), 40)
    stacks = [mpii.model.stacks, *(branch.stacks for branch in mpii.distillation.branches)]
    assert (stacks, mpii.distillation.shared) == ([4, 6, 8], 2)  # Table 5
    assert mpii.exports == (mpii.model, *mpii.distillation.branches)
    assert (coco.model.stacks, coco.distillation.shared, len(coco.distillation.branches)) == (8, 4, 2)
    assert coco.exports == (coco.model,)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.375, 0.5, 0.75, 1])
def test_every_branch_keeps_a_stack_of_its_own_at_every_scale(load, share):
    params = load({"profiles.mini.okdhp.depth": share})
    for run in (*params.okdhp.runs, *params.okdhp.ablations):
        spec = params.train_spec("okdhp", run)
        if spec.model.name == "hourglass":
            branches = (spec.model, *spec.distillation.branches)
            assert 0 <= spec.distillation.shared < min(branch.stacks for branch in branches)
            assert {(branch.channels, branch.stem) for branch in branches} == {(spec.model.channels, "pytorch-pose")}


def test_inputs_and_crops_are_multiples_of_64_px_at_every_resolution(load):
    found = {}
    for share in (1, 0.5, 0.25, 0.01):
        params = load({"profiles.mini.packs.resolution": 1, "profiles.mini.okdhp.resolution": share})
        found[share] = params.train_spec("okdhp", "coco_hg2").input
    assert found == {1: (256, 192), 0.5: (128, 128), 0.25: (64, 64), 0.01: (64, 64)}
    assert load({"profiles.mini.packs.resolution": 0.5}).pack_spec("coco").input == (128, 128)


def test_cdkd_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    student, teacher = params.train_spec("cdkd", "coco_cdkd_64_k3"), params.train_spec("cdkd", "coco_teacher_w48_k3")
    assert (student.input, student.teacher_input, teacher.input) == ((64, 64), (256, 256), (256, 256))
    assert (student.dataset, student.crops, params.packs[student.crops].input) == ("coco", "coco_square", (256, 256))
    assert student.model == teacher.model
    assert (student.model.width, student.model.blocks, student.model.modules) == (48, 4, (1, 4, 3))
    assert (student.epochs, student.optimizer.milestones, student.optimizer.lr) == (
        210,
        (170, 200),
        1e-3,
    )  # Sect. IV-A2
    simbase = params.train_spec("cdkd", "mpii_simbase_r152_32")
    assert (simbase.epochs, simbase.optimizer.milestones, simbase.model.blocks) == (140, (90, 120), (3, 8, 36, 3))
    found = student.distillation
    assert (found.features, found.projectors, found.kernels) == ("sape", 3, (3, 5, 7, 7))  # Tables VI and VII
    assert (found.logits, found.learned, found.variant) == ("cca", ("tau",), "paper")  # Table VIII
    assert student.pretrained and teacher.pretrained


def test_dark_replaces_how_heatmaps_are_drawn_and_read(load):
    params = load({})
    plain, dark = (params.train_spec("cdkd", f"mpii_{name}_64") for name in ("hrnet", "dark"))
    assert (plain.heatmap.centre, plain.decoding.refinement) == ("pixel", "quarter")
    assert (dark.heatmap.centre, dark.decoding.refinement) == ("subpixel", "dark")
    assert plain.model == dark.model


def test_what_a_cdkd_run_names_replaces_the_papers_setting(load):
    """`-S cdkd.beta=2` concerns all runs with a teacher but those that name a beta of their own."""
    one, other = load({}), load({"cdkd.beta": 2})
    changed = {run for run in one.runs("cdkd") if one.train_spec("cdkd", run) != other.train_spec("cdkd", run)}
    assert changed == set(one.cdkd.runs) - {"lsp_released_64", "lsp_released_32"}
    necm = one.train_spec("cdkd", "mpii_necm").distillation
    assert (necm.features, necm.logits, necm.learned, necm.projectors) == ("none", "cca", (), 3)


@pytest.mark.parametrize("profile", CONTENT["profiles"])
def test_students_stay_small_and_teachers_keep_their_classes_at_every_scale(load, profile):
    """m of Eq. 6 is the paper's, 4 and 8, whatever the teacher's input becomes; Table V's "same" is the same."""
    params = load({"profile": profile})

    def classes(run: str) -> float:
        spec = params.train_spec("cdkd", run)
        return spec.input[1] * spec.model.split

    assert params.train_spec("cdkd", "mpii_cdkd_64").input == (64, 64)
    assert params.train_spec("cdkd", "mpii_cdkd_32").input == (32, 32)
    assert classes("mpii_teacher") == 4 * classes("mpii_cdkd_64") == 8 * classes("mpii_cdkd_32") == 512
    assert classes("mpii_teacher_k05") == classes("mpii_logits_same")


def test_only_networks_of_published_size_start_from_published_weights(load):
    for profile in CONTENT["profiles"]:
        params = load({"profile": profile})
        full = {run for run in params.runs("cdkd") if params.train_spec("cdkd", run).pretrained}
        assert full == (set(params.runs("cdkd")) - {"mpii_okdhp_64"} if profile == "paper" else set())


def test_numbers_are_yaml_1_2(tmp_path):
    text = Path("params.yaml").read_text()
    assert "lr: 2.5e-4" in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace("lr: 2.5e-4", "lr: 1e-3"))  # a string in YAML 1.1
    assert load_params(file).fpd.optimizer.lr == 1e-3


MISTAKES = {
    "unknown key": ({"fpd.alfa": 1}, ["fpd.alfa", "did you mean alpha?"]),
    "unknown nested key": ({"fpd.runs.lsp_fpd.mdl": 1}, ["fpd.runs.lsp_fpd.mdl", "did you mean model?"]),
    "unknown dataset": ({"data.lsq": {}}, ["data.lsq", "did you mean lsp?"]),
    "missing key": ({"fpd.alpha": ...}, ["missing key fpd.alpha"]),
    "missing teacher": ({"fpd.runs.lsp_fpd.teacher": ...}, ["missing key fpd.runs.lsp_fpd.teacher"]),
    "string for a number": ({"fpd.alpha": "0.5"}, ["fpd.alpha is '0.5'", "number"]),
    "fraction for a count": ({"fpd.batch_size": 4.5}, ["fpd.batch_size is 4.5", "integer"]),
    "number for a truth value": ({"training.compile": 1}, ["training.compile is 1", "boolean"]),
    "scalar for a list": ({"seeds": 0}, ["seeds is 0", "list"]),
    "empty list": ({"seeds": []}, ["seeds is []"]),
    "scalar for a mapping": ({"packs.lsp": 3}, ["packs.lsp is 3"]),
    "too large": ({"fpd.alpha": 1.5}, ["fpd.alpha is 1.5", "less than or equal to 1"]),
    "not positive": ({"fpd.optimizer.lr": 0}, ["fpd.optimizer.lr is 0", "greater than 0"]),
    "not a choice": ({"fpd.loss": "kl"}, ["fpd.loss is 'kl'", "'mse' or 'cross_entropy'"]),
    "bad run name": ({"fpd.supervised": SUPERVISED | {"A.b": SUPERVISED["lsp_student"]}}, ["fpd.supervised.A.b"]),
    "no source": ({"data.lsp.source": ""}, ["data.lsp.source is ''"]),
    "dangling profile": ({"profile": "minni"}, ["profile is 'minni'", "did you mean mini?"]),
    "dangling teacher": ({"fpd.runs.lsp_fpd.teacher": "lsp_teachr"}, ["fpd.runs.lsp_fpd.teacher", "lsp_teacher?"]),
    "dangling init": ({"fpd.control.lsp_control.init": "lsp_fpd"}, ["fpd.control.lsp_control.init is 'lsp_fpd'"]),
    "dangling crops": ({"fpd.supervised.lsp_student.crops": "lps"}, ["lsp_student.crops is 'lps'", "lsp?"]),
    "dangling pack dataset": ({"packs.lsp.dataset": "lps"}, ["packs.lsp.dataset is 'lps'", "did you mean lsp?"]),
    "dangling reference": ({"complexity.reference": "s9"}, ["complexity.reference is 's9'"]),
    "same seed twice": ({"seeds": [1, 1]}, ["seeds is [1, 1]"]),
    "input no hourglass takes": ({"packs.lsp.input": [200, 256]}, ["packs.lsp.input", "200 px", "64"]),
    "unknown network": (
        {"fpd.supervised.lsp_student.model.name": "hourglas"},
        [
            "lsp_student.model.name is 'hourglas'",
            "did you mean hourglass?",
            "hourglass, pyranet, mobilepose, hrnet, simplebaseline",
        ],
    ),
    "network without a name": (
        {"fpd.supervised.lsp_student.model.name": ...},
        ["missing key", "lsp_student.model.name"],
    ),
    "unknown key of a network": (
        {"fpd.supervised.lsp_student.model.stack": 3},
        ["unknown key fpd.supervised.lsp_student.model.stack", "did you mean stacks?"],
    ),
    "key of another network": (
        {"okdhp.supervised.mpii_resnet18_base.model.stacks": 3},
        ["unknown key okdhp.supervised.mpii_resnet18_base.model.stacks", "known here: name, encoder"],
    ),
    "all stacks shared": (
        {"okdhp.runs.mpii_hg4_unbalanced.shared": 4},
        ["okdhp.runs.mpii_hg4_unbalanced.shared is 4", "[4, 6, 8] stacks"],
    ),
    "one branch": ({"okdhp.runs.mpii_hg4.auxiliary": []}, ["okdhp.runs.mpii_hg4.auxiliary is []"]),
    "decoders that share": (
        {"okdhp.runs.mpii_resnet18.shared": 1},
        ["mpii_resnet18: shared is 1", "share the encoder"],
    ),
    "negative weight": ({"okdhp.beta": -1}, ["okdhp.beta is -1", "greater than or equal to 0"]),
    "branches of a counted network": (
        {"complexity.training.okdhp_s4_i4.shared": 4},
        ["complexity.training.okdhp_s4_i4.shared is 4"],
    ),
    "benchmark without a schedule": (
        {"fpd.supervised.lsp_student.crops": "coco"},
        ["benchmark of fpd.supervised.lsp_student.crops is 'coco'", "known: lsp, mpii"],
    ),
    "networks of more than the crops": (
        {"profiles.mini.cdkd.resolution": 0.75},
        ["profiles.mini.cdkd.resolution is above that of the crops, 0.5"],
    ),
    "input of half a stride": (
        {"cdkd.supervised.mpii_simcc_32.input": [48, 32]},
        ["cdkd.supervised.mpii_simcc_32.input has 48 px", "multiples of 32"],
    ),
    "teacher with another head": (
        {"cdkd.runs.mpii_cdkd_64.teacher": "mpii_teacher_heatmap"},
        ["cdkd.runs.mpii_cdkd_64.teacher is mpii_teacher_heatmap", "heatmap, not simcc"],
    ),
    "classes of heatmaps": ({"cdkd.runs.mpii_hrnet_sape_64.logits": "cca"}, ["mpii_hrnet_sape_64", "logits: none"]),
    "teacher of a size that fits no grid": (
        {"cdkd.runs.mpii_cdkd_64.input": [96, 96]},
        ["cdkd.runs.mpii_cdkd_64.input is [96, 96]", "[256, 256] px"],
    ),
    "temperature out of range": ({"cdkd.runs.mpii_necm.tau": 30}, ["cdkd.runs.mpii_necm.tau is 30"]),
    "even kernel": ({"cdkd.kernels": [3, 4]}, ["cdkd.kernels.1 is 4"]),
    "smoothing of all": (
        {"cdkd.simcc.mpii.smoothing": 1},
        ["cdkd.simcc.mpii.smoothing is 1", "less than 1"],
    ),
    "spread of a class": (
        {"cdkd.simcc.mpii.sigma": 1},
        ["unknown key cdkd.simcc.mpii.sigma", "known here: target, smoothing"],
    ),
    "unknown target": (
        {"cdkd.simcc.lsp.target": "onehot"},
        ["cdkd.simcc.lsp.target is 'onehot'", "did you mean one_hot?"],
    ),
    "teacher of another benchmark": (
        {"fpd.runs.mpii_fpd.teacher": "lsp_teacher"},
        ["fpd.runs.mpii_fpd.teacher is lsp_teacher", "lsp, not mpii"],
    ),
    "ablation without a loss": ({"fpd.ablations.mpii_alpha_01.loss": ...}, ["missing key", "mpii_alpha_01.loss"]),
    "crossed range": (
        {"fpd.augmentation.lsp.scale": [1.25, 0.75]},
        ["fpd.augmentation.lsp.scale", "smaller number first"],
    ),
    "init of another network": (
        {"fpd.control.lsp_control.model.channels": 64},
        ["fpd.control.lsp_control.model differs", "lsp_student"],
    ),
}


@pytest.mark.parametrize("changes, words", MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_gets_one_line(load, changes, words):
    with pytest.raises(InputError) as caught:
        load(changes)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    for word in words:
        assert word in message


def test_run_name_used_twice(load):
    with pytest.raises(InputError, match=r"fpd.runs.lsp_student: the name lsp_student is taken"):
        load({"fpd.runs.lsp_student": CONTENT["fpd"]["runs"]["lsp_fpd"]})


def test_file_that_is_no_yaml_or_absent(tmp_path):
    file = tmp_path / "params.yaml"
    with pytest.raises(InputError, match="not found"):
        load_params(file)
    file.write_text("seeds: [0\nprofile: mini")
    with pytest.raises(InputError, match="line 2: not YAML"):
        load_params(file)


def test_unknown_run_names_the_nearest():
    with pytest.raises(InputError, match=r"no run of fpd lsp_teachers \(did you mean lsp_teacher\?\)"):
        load_params().train_spec("fpd", "lsp_teachers")
