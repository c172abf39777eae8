"""params.yaml is read strictly, and a profile scales it."""

import copy
import shutil
from difflib import unified_diff
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from lib.errors import InputError
from lib.params import Params, load_params
from lib.params.scales import FULL
from lib.runs import Run

CONTENT = YAML(typ="safe").load(Path("params.yaml"))
ALONE = CONTENT["fpd"]["alone"]


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


def differing(one: Params, other: Params, paper: str) -> set[str]:
    """Names of a paper's runs that two files resolve to different trainings."""
    runs = one.papers[paper].runs
    return {name for name in runs if one.run(f"{paper}/{name}") != other.run(f"{paper}/{name}")}


def stacks(run: Run) -> list[int]:
    """Of all branches, the deployed one first."""
    return [model["stacks"] for model in (run.model, *run.settings["branches"])]


def test_paper_profile_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    teacher, student = params.run("fpd/lsp_teacher"), params.run("fpd/lsp_fpd")
    assert (teacher.model["stacks"], teacher.model["channels"]) == (8, 256)  # FPD Sect. 3.2, the original hourglass
    assert (student.model["stacks"], student.model["channels"]) == (4, 128)  # FPD Table 1
    for run in (teacher, student):
        assert run.input == (256, 256)
        assert (run.optimizer["name"], run.optimizer["lr"]) == ("rmsprop", 2.5e-4)
        assert (run.batch_size, run.epochs) == (4, 70)
        sect_4_1 = {"flip": True, "scale": (0.75, 1.25), "rotation": 30}
        assert run.augmentation.items() >= sect_4_1.items()
    assert (teacher.method, teacher.settings) == (teacher.output, {})
    assert (student.method, student.settings) == ("fpd", {"alpha": 0.5, "loss": "mse", "variant": "paper"})


def test_profile_scales_network_input_and_schedule(load):
    params = load(
        {
            "profile": "small",
            "profiles.small.fpd.depth": 0.5,
            "profiles.small.fpd.width": 0.25,
            "profiles.small.fpd.epochs": 0.1,
            "profiles.small.fpd.resolution": 0.5,
            "profiles.small.fpd.decay": None,
            "fpd.optimizer.milestones": [40, 60],
        }
    )
    run = params.run("fpd/lsp_student")
    assert (run.model["stacks"], run.model["channels"], run.input, run.epochs) == (2, 32, (128, 128), 7)
    assert run.optimizer["milestones"] == (4, 6)


def test_decay_sets_the_shares_of_the_epochs_after_which_the_rate_falls(load):
    changes = {"profile": "small", "profiles.small.fpd.epochs": 0.2, "profiles.small.fpd.decay": [0.5, 0.75]}
    run = load(changes | {"fpd.epochs.lsp": 100}).run("fpd/lsp_student")
    assert (run.epochs, run.optimizer["milestones"]) == (20, (10, 15))


def test_coarsest_maps_of_hourglasses_keep_the_papers_size(load):
    """Batch normalisation of maps of one pixel, as 64 px and the published four halvings have, fails in evaluation."""
    for share, halvings in ((1, 4), (0.5, 3), (0.25, 2)):
        params = load({"profiles.mini.crops.resolution": 1, "profiles.mini.okdhp.resolution": share})
        for run in map(params.run, ("okdhp/mpii_hg4", "okdhp/mpii_hg4_unbalanced", "okdhp/lsp_hg4_base")):
            branches = run.settings.get("branches", ())
            assert {model["halvings"] for model in (run.model, *branches)} == {halvings}
            assert [side // 4 // 2**halvings for side in run.input] == [4, 4]
    # A network whose published input is 64 px stays as it was published.
    assert load({}).run("cdkd/mpii_okdhp_64").model["halvings"] == 4


def test_only_distilled_runs_without_their_own_know_alpha(load):
    """Neither a supervised run nor one of Tables 7 and 8 depends on the shared weight and loss of the distillation."""
    one, other = load({}), load({"fpd.alpha": 0.3, "fpd.loss": "cross_entropy"})
    assert differing(one, other, "fpd") == {"lsp_fpd", "mpii_fpd", "mpii_prm_fpd", "lsp_fpd_init", "mpii_fpd_init"}


def test_alpha_and_loss_of_the_ablations(load):
    params = load({})
    expected = {
        "mpii_cross_entropy": (0.5, "cross_entropy"),
        "mpii_alpha_005": (0.05, "mse"),
        "mpii_alpha_01": (0.1, "mse"),
        "mpii_alpha_095": (0.95, "mse"),
        "mpii_alpha_099": (0.99, "mse"),
    }
    for name, (alpha, loss) in expected.items():
        assert params.run(f"fpd/{name}").settings == {"alpha": alpha, "loss": loss, "variant": "paper"}


def test_only_runs_without_their_own_know_beta(load):
    """`-S okdhp.beta=3` concerns Eq. 8's runs and neither baselines, nor FPD, nor Tables 6, 9 and 10."""
    one, other = load({}), load({"okdhp.beta": 3, "okdhp.loss": "mse", "okdhp.aggregation": "mean"})
    runs = one.papers["okdhp"].runs
    assert differing(one, other, "okdhp") == {
        name for name, run in runs.items() if run.auxiliary and "beta" not in run.model_fields_set
    }
    assert one.run("okdhp/mpii_hg2_beta_05").settings["beta"] == 0.5


def test_full_scale_is_that_of_the_profile_paper(load):
    params, mini = load({"profile": "paper"}), load({})
    for paper, settings in params.papers.items():
        for name in settings.runs:
            label = f"{paper}/{name}"
            assert params.run(label) == params.run(label, FULL) == mini.run(label, FULL)


def test_okdhp_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    coco, mpii = params.run("okdhp/coco_hg8"), params.run("okdhp/mpii_hg4_unbalanced")
    adam = {"name": "adam", "lr": 2.5e-4, "weight_decay": 1e-4, "milestones": (90, 120), "gamma": 0.1}
    for run in (coco, mpii):  # Sect. 4.1
        assert (run.epochs, run.optimizer) == (150, adam)
        assert (run.settings["alpha"], run.settings["beta"]) == (1, 2)
    assert (mpii.input, mpii.augmentation["scale"], mpii.augmentation["rotation"]) == ((256, 256), (0.75, 1.25), 30)
    assert (coco.input, coco.augmentation["scale"], coco.augmentation["rotation"]) == ((256, 192), (0.7, 1.3), 40)
    assert (stacks(mpii), mpii.settings["shared"]) == ([4, 6, 8], 2)  # Table 5
    assert mpii.exports == (mpii.model, *mpii.settings["branches"])
    assert (stacks(coco), coco.settings["shared"]) == ([8, 8, 8], 4)
    assert coco.exports == (coco.model,)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.375, 0.5, 0.75, 1])
def test_every_branch_keeps_a_stack_of_its_own_at_every_scale(load, share):
    params = load({"profiles.mini.okdhp.depth": share})
    branched = [name for name, run in params.papers["okdhp"].runs.items() if run.auxiliary]
    hourglasses = [run for run in (params.run(f"okdhp/{name}") for name in branched) if "stacks" in run.model]
    assert len(hourglasses) > 20
    for run in hourglasses:
        assert 0 <= run.settings["shared"] < min(stacks(run))
        for branch in run.settings["branches"]:
            assert branch | {"stacks": run.model["stacks"]} == run.model


def test_inputs_and_crops_are_multiples_of_64_px_at_every_resolution(load):
    found = {}
    for share in (1, 0.5, 0.25, 0.01):
        params = load({"profiles.mini.crops.resolution": 1, "profiles.mini.okdhp.resolution": share})
        found[share] = params.run("okdhp/coco_hg2").input
    assert found == {1: (256, 192), 0.5: (128, 128), 0.25: (64, 64), 0.01: (64, 64)}
    assert load({"profiles.mini.crops.resolution": 0.5}).crops("coco").input == (128, 128)


def test_cdkd_is_the_papers_protocol(load):
    params = load({"profile": "paper"})
    student, teacher = params.run("cdkd/coco_cdkd_64_k3"), params.run("cdkd/coco_teacher_w48_k3")
    assert (student.input, student.teacher_input, teacher.input) == ((64, 64), (256, 256), (256, 256))
    assert (student.dataset, student.crops, params.crops(student.crops).input) == ("coco", "coco_square", (256, 256))
    assert student.model | {"input_size": [256, 256]} == teacher.model
    assert student.model.items() >= {"width": 48, "blocks": 4, "modules": [1, 4, 3]}.items()
    assert (student.epochs, student.optimizer["milestones"], student.optimizer["lr"]) == (210, (170, 200), 1e-3)
    simbase = params.run("cdkd/mpii_simbase_r152_32")  # Sect. IV-A2, both
    assert (simbase.epochs, simbase.optimizer["milestones"]) == (140, (90, 120))
    assert simbase.model["blocks"] == [3, 8, 36, 3]
    found = student.settings
    assert (found["features"], found["projectors"], found["kernels"]) == ("sape", 3, [3, 5, 7, 7])  # Tables VI, VII
    assert (found["logits"], found["learned"], found["variant"]) == ("cca", ["tau"], "paper")  # Table VIII
    assert student.pretrained and teacher.pretrained


def test_dark_replaces_how_heatmaps_are_drawn_and_read(load):
    params = load({})
    plain, dark = (params.run(f"cdkd/mpii_{name}_64") for name in ("hrnet", "dark"))
    assert (plain.codec["centre"], plain.codec["refinement"]) == ("pixel", "quarter")
    assert (dark.codec["centre"], dark.codec["refinement"]) == ("subpixel", "dark")
    assert plain.model == dark.model


def test_what_a_cdkd_run_names_replaces_the_papers_setting(load):
    """`-S cdkd.beta=2` concerns all runs with a teacher but those of another method or with a beta of their own."""
    one, other = load({}), load({"cdkd.beta": 2})
    taught = {name for name, run in one.papers["cdkd"].runs.items() if run.teacher}
    own = {"lsp_released_64", "lsp_released_32", "coco_distilpose_32", "coco_distilpose_64"}
    assert differing(one, other, "cdkd") == taught - own
    necm = one.run("cdkd/mpii_necm").settings
    assert (necm["features"], necm["logits"], necm["learned"], necm["projectors"]) == ("none", "cca", [], 3)


@pytest.mark.parametrize("profile", CONTENT["profiles"])
def test_students_stay_small_and_teachers_keep_their_classes_at_every_scale(load, profile):
    """m of Eq. 6 is the paper's, 4 and 8, whatever the teacher's input becomes; Table V's "same" is the same."""
    params = load({"profile": profile})

    def classes(name: str) -> float:
        run = params.run(f"cdkd/{name}")
        assert run.codec["split"] == run.model["split"]
        return run.input[1] * run.model["split"]

    assert params.run("cdkd/mpii_cdkd_64").input == (64, 64)
    assert params.run("cdkd/mpii_cdkd_32").input == (32, 32)
    assert classes("mpii_teacher") == 4 * classes("mpii_cdkd_64") == 8 * classes("mpii_cdkd_32") == 512
    assert classes("mpii_teacher_k05") == classes("mpii_logits_same")


def test_only_networks_of_published_size_start_from_published_weights(load):
    for profile in CONTENT["profiles"]:
        params = load({"profile": profile})
        runs = set(params.papers["cdkd"].runs)
        full = {name for name in runs if params.run(f"cdkd/{name}").pretrained}
        assert full == (runs - {"mpii_okdhp_64"} if profile == "paper" else set())


def test_numbers_are_yaml_1_2(tmp_path):
    text = Path("params.yaml").read_text()
    assert "lr: 2.5e-4" in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace("lr: 2.5e-4", "lr: 1e-3"))  # a string in YAML 1.1
    assert load_params(file).papers["fpd"].optimizer.lr == 1e-3


MISTAKES = {
    "unknown section": ({"fdp": {}}, ["unknown key fdp", "did you mean fpd?"]),
    "missing section": ({"okdhp": ...}, ["missing key okdhp"]),
    "unknown key": ({"fpd.alfa": 1}, ["fpd.alfa", "did you mean alpha?"]),
    "unknown nested key": ({"fpd.taught.lsp_fpd.mdl": 1}, ["fpd.taught.lsp_fpd.mdl", "did you mean model?"]),
    "unknown dataset": ({"data.lsq": {}}, ["data.lsq", "did you mean lsp?"]),
    "unknown group": ({"fpd.tought": {}}, ["fpd.tought", "did you mean taught?"]),
    "missing key": ({"fpd.alpha": ...}, ["missing key fpd.alpha"]),
    "string for a number": ({"fpd.alpha": "0.5"}, ["fpd.alpha is '0.5'", "number"]),
    "fraction for a count": ({"fpd.batch_size": 4.5}, ["fpd.batch_size is 4.5", "integer"]),
    "number for a truth value": ({"training.compile": 1}, ["training.compile is 1", "boolean"]),
    "scalar for a list": ({"seeds": 0}, ["seeds is 0", "list"]),
    "empty list": ({"seeds": []}, ["seeds is []"]),
    "scalar for a mapping": ({"crops.lsp": 3}, ["crops.lsp is 3"]),
    "too large": ({"fpd.alpha": 1.5}, ["fpd.alpha is 1.5", "less than or equal to 1"]),
    "not positive": ({"fpd.optimizer.lr": 0}, ["fpd.optimizer.lr is 0", "greater than 0"]),
    "not a choice": ({"fpd.loss": "kl"}, ["fpd.loss is 'kl'", "'mse' or 'cross_entropy'"]),
    "bad run name": ({"fpd.alone": ALONE | {"A.b": ALONE["lsp_student"]}}, ["fpd.alone.A.b"]),
    "no source": ({"data.lsp.source": ""}, ["data.lsp.source is ''"]),
    "unknown rows": ({"rows": "some"}, ["rows is 'some'", "'all' or 'headline'"]),
    "unknown benchmark": ({"benchmarks": ["lps"]}, ["an entry of benchmarks is 'lps'", "did you mean lsp?"]),
    "benchmark twice": ({"benchmarks": ["lsp", "lsp"]}, ["benchmarks is ['lsp', 'lsp']; every one once"]),
    "dangling profile": ({"profile": "minni"}, ["profile is 'minni'", "did you mean mini?"]),
    "profile of no paper": ({"profiles.mini.fdp": {}}, ["a key of profiles.mini is 'fdp'", "did you mean fpd?"]),
    "profile without crops": ({"profiles.mini.crops": ...}, ["missing key profiles.mini.crops"]),
    "profile of a network": ({"profiles.mini.fpd.stacks": 1}, ["profiles.mini.fpd.stacks", "known here: resolution"]),
    "dangling teacher": (
        {"fpd.taught.lsp_fpd.teacher": "fpd/lsp_teachr"},
        ["fpd.taught.lsp_fpd.teacher is 'fpd/lsp_teachr'", "did you mean fpd/lsp_teacher?"],
    ),
    "teacher without its paper": (
        {"fpd.taught.lsp_fpd.teacher": "lsp_teacher"},
        ["fpd.taught.lsp_fpd.teacher is 'lsp_teacher'"],
    ),
    "init that was taught": (
        {"fpd.continued.lsp_control.init": "fpd/lsp_fpd"},
        ["fpd.continued.lsp_control.init is fpd/lsp_fpd", "expected one of alone"],
    ),
    "teacher in a group without": (
        {"fpd.alone.lsp_student.teacher": "fpd/lsp_teacher"},
        ["fpd.alone.lsp_student names teacher", "runs of this group name no other run: move it to taught"],
    ),
    "no teacher in a group with": (
        {"fpd.taught.lsp_fpd.teacher": ...},
        ["fpd.taught.lsp_fpd lacks teacher", "runs of this group name teacher: move it to alone"],
    ),
    "dangling crops": ({"fpd.alone.lsp_student.crops": "lps"}, ["lsp_student.crops is 'lps'", "lsp?"]),
    "dangling network": ({"fpd.alone.lsp_student.model": "hg4_182"}, ["lsp_student.model is 'hg4_182'", "hg4_128?"]),
    "dangling crops' dataset": ({"crops.lsp.dataset": "lps"}, ["crops.lsp.dataset is 'lps'", "did you mean lsp?"]),
    "dangling reference": ({"complexity.reference": "s9"}, ["complexity.reference is 's9'"]),
    "dangling counted network": (
        {"complexity.networks.s4_c128.model": "hg4"},
        ["complexity.networks.s4_c128.model is 'hg4'", "did you mean hg4_"],
    ),
    "same seed twice": ({"seeds": [1, 1]}, ["seeds is [1, 1]"]),
    "input no hourglass takes": ({"crops.lsp.input": [200, 256]}, ["crops.lsp.input", "200 px", "64"]),
    "unknown network": (
        {"models.hg4_128.name": "hourglas"},
        ["models.hg4_128.name is 'hourglas'", "did you mean hourglass?", "hourglass, hrnet, mobilepose"],
    ),
    "network without a name": ({"models.hg4_128.name": ...}, ["missing key models.hg4_128.name"]),
    "unknown key of a network": (
        {"models.hg4_128.stack": 3},
        ["unknown key models.hg4_128.stack", "did you mean stacks?"],
    ),
    "key of another network": (
        {"models.mobilepose_r18.stacks": 3},
        ["unknown key models.mobilepose_r18.stacks", "known here: name, encoder"],
    ),
    "all stacks shared": (
        {"okdhp.alone.mpii_hg4_unbalanced.shared": 4},
        ["okdhp.alone.mpii_hg4_unbalanced: shared is 4", "[4, 6, 8] stacks"],
    ),
    "one branch": ({"okdhp.alone.mpii_hg4.auxiliary": []}, ["okdhp.alone.mpii_hg4.auxiliary is []"]),
    "decoders that share": (
        {"okdhp.alone.mpii_resnet18.shared": 1},
        ["mpii_resnet18: shared is 1", "share the encoder"],
    ),
    "branches of a network that has none": (
        {"okdhp.alone.mpii_hg4.model": "hrnet32"},
        ["okdhp.alone.mpii_hg4: a network named hrnet has no branches"],
    ),
    "setting of no branches": (
        {"okdhp.alone.mpii_hg4_base.beta": 3},
        ["okdhp.alone.mpii_hg4_base.beta: the method heatmap has no such setting; it has: none"],
    ),
    "setting of another method": (
        {"okdhp.taught.mpii_hg4_fpd.beta": 3},
        ["okdhp.taught.mpii_hg4_fpd.beta: the method fpd has no such setting; it has: alpha, loss"],
    ),
    "negative weight": ({"okdhp.beta": -1}, ["okdhp.beta is -1", "greater than or equal to 0"]),
    "branches of a counted network": (
        {"complexity.training.okdhp_s4_i4.shared": 4},
        ["complexity.training.okdhp_s4_i4: shared is 4"],
    ),
    "network of poses": ({"fpd.alone.lsp_student.model": "resnet18"}, ["output of", "'pose'; known: heatmap"]),
    "head without settings": ({"fpd.alone.lsp_student.model": "simcc32"}, ["output of", "'simcc'; known: heatmap"]),
    "benchmark without a schedule": (
        {"fpd.alone.lsp_student.crops": "coco"},
        ["benchmark of", "fpd.alone.lsp_student.crops is 'coco'", "known: lsp, mpii"],
    ),
    "network without a schedule": (
        {"cdkd.alone.mpii_simcc_32.model": "pyra4_128", "cdkd.alone.mpii_simcc_32.input": 64},
        ["cdkd.alone.mpii_simcc_32: pyra4_128 is a network named pyranet", "hrnet, simplebaseline, hourglass"],
    ),
    "networks of more than the crops": (
        {"profiles.mini.cdkd.resolution": 0.75},
        ["profiles.mini.cdkd.resolution is above that of the crops, 0.5"],
    ),
    "input of half a stride": (
        {"cdkd.alone.mpii_simcc_32.input": 48},
        ["cdkd.alone.mpii_simcc_32.input is 48 px", "multiples of 32"],
    ),
    "teacher with another head": (
        {"cdkd.taught.mpii_cdkd_64.teacher": "cdkd/mpii_teacher_heatmap"},
        ["cdkd.taught.mpii_cdkd_64.teacher is cdkd/mpii_teacher_heatmap", "heatmap, not simcc"],
    ),
    "classes of heatmaps": ({"cdkd.taught.mpii_hrnet_sape_64.logits": "cca"}, ["mpii_hrnet_sape_64", "logits: none"]),
    "teacher of a size that fits no grid": (
        {"cdkd.taught.mpii_cdkd_64.input": 96},
        ["cdkd.taught.mpii_cdkd_64.input is [96, 96]", "[256, 256] px"],
    ),
    "temperature out of range": ({"cdkd.taught.mpii_necm.tau": 30}, ["cdkd.taught.mpii_necm.tau is 30"]),
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
        {"fpd.taught.mpii_fpd.teacher": "fpd/lsp_teacher"},
        ["fpd.taught.mpii_fpd.teacher is fpd/lsp_teacher", "lsp, not mpii"],
    ),
    "competitor without a loss": (
        {"okdhp.taught.mpii_hg4_fpd.loss": ...},
        ["okdhp.taught.mpii_hg4_fpd.loss is None", "'mse' or 'cross_entropy'"],
    ),
    "crossed range": (
        {"fpd.augmentation.lsp.scale": [1.25, 0.75]},
        ["fpd.augmentation.lsp.scale", "smaller number first"],
    ),
    "init of another network": (
        {"fpd.continued.lsp_control.model": "hg4_64"},
        ["fpd.continued.lsp_control.model differs", "fpd/lsp_student"],
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
    with pytest.raises(InputError, match=r"fpd.taught.lsp_student: the name lsp_student is taken"):
        load({"fpd.taught.lsp_student": CONTENT["fpd"]["taught"]["lsp_fpd"]})


def test_a_teacher_may_be_of_another_paper(load):
    params = load({"okdhp.taught.mpii_hg4_fpd.teacher": "fpd/mpii_s8_c256"})
    run = params.run("okdhp/mpii_hg4_fpd")
    assert (run.teacher, run.teacher_input) == ("fpd/mpii_s8_c256", params.run("fpd/mpii_s8_c256").input)


def test_file_that_is_no_yaml_or_absent(tmp_path):
    file = tmp_path / "params.yaml"
    with pytest.raises(InputError, match="not found"):
        load_params(file)
    file.write_text("seeds: [0\nprofile: mini")
    with pytest.raises(InputError, match="line 2: not YAML"):
        load_params(file)


# `dvc exp run -S` writes the file with DVC's own dumper


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")


def test_the_file_is_a_fixpoint_of_dvcs_dumper(tmp_path):
    file = tmp_path / "params.yaml"
    shutil.copy("params.yaml", file)
    apply_overrides(file, ["okdhp.beta=2"])  # what it is: every list is written anew
    assert file.read_bytes() == Path("params.yaml").read_bytes()


OVERRIDES = {  # lines that go, lines that come; a list has one for each of its entries
    "okdhp.beta=3": (["beta: 2"], ["beta: 3"]),
    "fpd.alpha=0.1": (["alpha: 0.5"], ["alpha: 0.1"]),
    "profile=small": (["profile: mini"], ["profile: small"]),
    "seeds=[0,1]": ([], ["- 1"]),
    "benchmarks=[lsp]": (["- mpii", "- coco", "- rhd", "- stb", "- freihand"], []),
    "cdkd.learned=[tau,alpha]": ([], ["- alpha"]),
    "fpd.optimizer.lr=0.001": (["lr: 2.5e-4"], ["lr: 0.001"]),
    "crops.lsp.margin=2": (["lsp: {dataset: lsp, input"], ["lsp: {dataset: lsp, input"]),
}


@pytest.mark.parametrize(("override", "gone", "came"), [(key, *value) for key, value in OVERRIDES.items()])
def test_an_override_changes_its_own_lines(tmp_path, override, gone, came):
    file = tmp_path / "params.yaml"
    shutil.copy("params.yaml", file)
    apply_overrides(file, [override])
    changes = list(unified_diff(lines(Path("params.yaml")), lines(file), n=0))[2:]
    for sign, expected in (("-", gone), ("+", came)):
        found = [line[1:].strip() for line in changes if line.startswith(sign)]
        assert len(found) == len(expected)
        assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found
    load_params(file)
