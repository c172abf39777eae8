"""The section cmkg: what each run trains, and what is refused."""

from dataclasses import asdict
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lib.errors import InputError
from lib.params import load_params
from lib.params.scales import FULL
from lib.reporting import named
from lib.runs import Run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """All runs at the paper's scale."""
    params = load_params(ROOT / "params.yaml")
    return {name: params.run(f"cmkg/{name}", FULL) for name in params.papers["cmkg"].runs}


@pytest.fixture
def load(tmp_path):
    """Load params.yaml with some settings replaced, by dotted key."""

    def changed(**settings):
        yaml = YAML()
        content = yaml.load(ROOT / "params.yaml")
        for key, value in settings.items():
            *parents, last = key.split("__")
            section = content
            for parent in parents:
                section = section[parent]
            section[last] = value
        yaml.dump(content, tmp_path / "params.yaml")
        return load_params(tmp_path / "params.yaml")

    return changed


def test_the_paper_trains_a_teacher_200_epochs_and_a_student_100_and_100(runs):
    epochs = {name: run.epochs for name, run in runs.items()}
    assert epochs["rhd_depth_r18"] == epochs["stb_none"] == epochs["stb_prior_l2"] == 200
    assert {epochs[name] for name in epochs if name.startswith("rhd") and "depth" not in name} == {100}


def test_who_sees_what(runs):
    for name, run in runs.items():
        assert run.modality == ("depth" if "depth" in name else "rgb")
        assert run.teacher_modality == ("depth" if run.teacher else None)
        assert (run.synthetic == "mano") == ("aug" in name or name.startswith(("rhd_prior", "rhd_cmkd")))
        assert run.codec == {} and not run.flip_test and not run.pretrained and not run.augmentation["flip"]
        assert run.input == (256, 256) and run.optimizer["lr"] == 2.5e-4 and run.batch_size == 32


def test_teacher_control_and_student_share_the_network_and_the_start(runs):
    """The baseline is trained as long as the student, from the same weights: only the teacher differs."""
    for control, student in (("rhd_rgb_r18", "rhd_act_att_r18"), ("rhd_rgb_r18_aug", "rhd_cmkd_r18")):
        first, second = asdict(runs[control]), asdict(runs[student])
        differs = {key for key in first if first[key] != second[key]}
        assert differs == {"name", "teacher", "teacher_input", "teacher_modality", "method", "settings"}
        assert runs[named(runs[student].teacher)].model == runs[control].model


def test_weights_of_the_losses(runs):
    run = runs["rhd_act_r18"]
    assert (run.method, run.settings) == ("cmkd", {"activation": 1, "attention": 0})
    assert runs["rhd_cmkd_r50"].settings == {"activation": 1, "attention": 1000}
    learning = runs["rhd_prior_l1"]
    assert learning.method == "cmkg"
    assert learning.settings == {
        **{"activation": 1, "attention": 1000, "norm": "l1"},
        **{"inner_steps": 1, "inner_lr": 2.5e-4, "meta_lr": 1e-3},
    }
    assert (runs["stb_none"].method, runs["stb_none"].settings) == ("pose", {})
    assert runs["stb_l2_1e_3"].settings == {"norm": "l2", "sigma": 1e-3}
    learned = runs["freihand_a_prior"]
    assert (learned.method, learned.prior, learned.crops) == ("regulariser", "cmkg/rhd_prior_l2", "freihand_a")
    assert learned.settings == {"norm": "l2", "sigma": None}


def test_what_a_run_names_replaces_the_setting(load):
    changed = load(cmkg__attention=10, cmkg__inner_steps=2)
    assert changed.run("cmkg/rhd_cmkd_r18").settings["attention"] == 10
    assert changed.run("cmkg/rhd_act_r18").settings["attention"] == 0
    assert changed.run("cmkg/rhd_prior_l2").settings["inner_steps"] == 2


@pytest.mark.parametrize("profile", ["demo", "small"])
def test_the_prior_travels_as_far_as_at_the_papers_scale(load, profile):
    """Steps x meta_lr x alpha, with RHD's 41,258 hands, 50,000 rendered ones, batches of 32 and 100 epochs."""
    params = load(profile=profile)
    run = params.run("cmkg/rhd_prior_l2")
    hands = params.data("rhd").synthetic.train + params.synthesis().count
    steps = run.epochs * hands // run.batch_size
    travel = steps * run.settings["meta_lr"] * run.settings["inner_lr"]
    assert travel == pytest.approx(100 * (41_258 + 50_000) / 32 * 1e-3 * 2.5e-4, rel=0.05)


def test_a_profile_shrinks_network_input_and_synthesis(load):
    small = load(profile="small")
    run, full = small.run("cmkg/rhd_prior_l2"), small.run("cmkg/rhd_prior_l2", FULL)
    assert run.model["width"] < full.model["width"] and sum(run.model["blocks"]) < sum(full.model["blocks"])
    assert small.synthesis().count < 50_000 and small.synthesis().size == small.crops("rhd").input
    assert run.settings["inner_lr"] == run.optimizer["lr"]
    assert load(profile="medium").run("cmkg/rhd_prior_l2").settings["meta_lr"] == 1e-3
    assert load(profile="paper").synthesis().count == 50_000


MISTAKES = {
    "an RGB teacher": (
        "taught_continued__rhd_act_r18__teacher",
        "cmkg/rhd_start_r18",
        ["cmkg.taught_continued.rhd_act_r18.teacher is cmkg/rhd_start_r18", "a network of depth images"],
    ),
    "another teacher's network": ("alone__rhd_depth_r18__model", "resnet50", ["with the same model"]),
    "a start that saw depth": ("continued__rhd_rgb_r18__init", "cmkg/rhd_depth_r18", ["images", "rgb"]),
    "a group without synthesis": (
        "taught_continued__rhd_act_r18__synthetic",
        "mano",
        ["names synthetic", "init and teacher: move it to taught_continued_synthetic"],
    ),
    "a group with synthesis": (
        "taught_continued_synthetic__rhd_cmkd_r18__synthetic",
        None,
        ["lacks synthetic", "move it to taught_continued"],
    ),
    "no rendered hands": ("alone_synthetic__rhd_start_r18_aug__synthetic", "nano", ["did you mean mano?"]),
    "a prior that is none": (
        "regularised__stb_prior_l2__prior",
        "cmkg/rhd_prior_l3",
        ["did you mean cmkg/rhd_prior_l"],
    ),
    "a prior of another norm": ("regularised__stb_prior_l2__prior", "cmkg/rhd_prior_l1", ["another model or norm"]),
    "a norm without weight": ("alone__stb_l2_1e_5__sigma", None, ["norm is l2, sigma None, prior None"]),
    "a weight without norm": ("alone__stb_l2_1e_5__norm", None, ["norm is None, sigma 1e-05, prior None"]),
    "a weight beside a prior": ("regularised__stb_prior_l2__sigma", 1e-3, ["norm is l2, sigma 0.001, prior cmkg/"]),
    "steps of no meta-training": ("alone__stb_none__activation", 2, ["the method pose has no such setting"]),
    "no network of poses": ("alone__stb_none__model", "hrnet32", ["alone.stb_none.model is 'heatmap'; known: pose"]),
    "no steps": ("inner_steps", 0, ["cmkg.inner_steps is 0"]),
}


@pytest.mark.parametrize("key, value, words", MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_gets_one_line(load, key, value, words):
    with pytest.raises(InputError) as caught:
        load(**{f"cmkg__{key}": value})
    message = str(caught.value)
    assert "\n" not in message and "params.yaml" in message
    for word in words:
        assert word in message, message


def test_crops_cannot_take_the_name_of_the_rendered_ones(load):
    with pytest.raises(InputError, match=r"crops.mano: the name mano is that of the rendered hands"):
        load(crops__mano={"dataset": "rhd", "input": [256, 256], "padding": 1.4, "margin": 1})


def test_the_nearest_distance_comes_first(load):
    with pytest.raises(InputError, match=r"synthesis.distance is \[0.8, 0.4\]; the smaller number first"):
        load(synthesis__distance=[0.8, 0.4])
