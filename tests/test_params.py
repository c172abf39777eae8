"""params.yaml is read strictly, and a profile scales it."""

from functools import partial
from pathlib import Path

import pytest

from lib.params import Params, load_params
from lib.params.scales import FULL
from lib.runs import Run
from tests.settings import CONTENT, load_changed

ALONE = CONTENT["fpd"]["alone"]


@pytest.fixture
def load(tmp_path):
    return partial(load_changed, tmp_path)


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


def test_systems_of_a_benchmark_with_its_own_epochs_are_trained_equally_long(load):
    """On LSP all have 210; rates fall after the same shares, 2/3 and 13/15 of TokenPose's 300."""
    params = load({"profile": "paper"})
    lsp = [run for run in map(params.run, params.labels) if (run.paper, run.dataset) == ("cdkd", "lsp")]
    assert {run.epochs for run in lsp} == {210} and len({run.model["name"] for run in lsp}) == 8
    tokens = [params.run(f"cdkd/{name}_tokenpose_64") for name in ("mpii", "lsp")]
    assert [(run.epochs, run.optimizer["milestones"]) for run in tokens] == [(300, (200, 260)), (210, (140, 182))]
    assert tokens[0].optimizer | {"milestones": (140, 182)} == tokens[1].optimizer
    shorter = load({"profile": "paper", "cdkd.epochs.lsp": 21}).run("cdkd/lsp_simcc_64")
    assert (shorter.epochs, shorter.optimizer["milestones"]) == (21, (17, 20))


def test_a_profile_multiplies_the_rates_of_architectures(load):
    changes = [{"profiles.mini.cdkd.rates": {"hrnet": 3, "prtr": 2}}, {"profiles.mini.cdkd.lr": 0.01}]
    names = ("simcc", "hrnet", "cal", "prtr")
    found = [[load(one).run(f"cdkd/mpii_{name}_64").optimizer["lr"] for name in names] for one in changes]
    assert found == [[3e-3, 3e-3, 1e-3, 2e-4], [0.01] * 4]


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
    own = {"lsp_released_64", "lsp_released_32", "coco_distilpose_32", "coco_distilpose_64", "lsp_distilpose_64"}
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
        assert full == (runs - {"mpii_okdhp_64", "lsp_okdhp_64"} if profile == "paper" else set())


def test_numbers_are_yaml_1_2(tmp_path):
    text = Path("params.yaml").read_text()
    assert "lr: 2.5e-4" in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace("lr: 2.5e-4", "lr: 1e-3"))  # a string in YAML 1.1
    assert load_params(file).papers["fpd"].optimizer.lr == 1e-3


def test_a_teacher_may_be_of_another_paper(load):
    params = load({"okdhp.taught.mpii_hg4_fpd.teacher": "fpd/mpii_s8_c256"})
    run = params.run("okdhp/mpii_hg4_fpd")
    assert (run.teacher, run.teacher_input) == ("fpd/mpii_s8_c256", params.run("fpd/mpii_s8_c256").input)
