"""The section cmkg: what each run trains, and what is refused."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lib.errors import InputError
from lib.params import load_params

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def params():
    return load_params(ROOT / "params.yaml")


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


def test_the_paper_trains_a_teacher_200_epochs_and_a_student_100_and_100(params):
    epochs = {run: params.paper_spec("cmkg", run).epochs for run in params.runs("cmkg")}
    assert epochs["rhd_depth_r18"] == epochs["stb_none"] == epochs["stb_prior_l2"] == 200
    assert {epochs[run] for run in epochs if run.startswith("rhd") and "depth" not in run} == {100}


def test_who_sees_what(params):
    for run in params.runs("cmkg"):
        spec = params.paper_spec("cmkg", run)
        assert spec.modality == ("depth" if "depth" in run else "rgb")
        assert spec.teacher_modality == ("depth" if spec.teacher else None)
        assert (spec.synthetic == "mano") == ("aug" in run or run.startswith(("rhd_prior", "rhd_cmkd")))
        assert spec.decoding is None and not spec.pretrained and not spec.augmentation.flip
        assert spec.input == (256, 256) and spec.optimizer.lr == 2.5e-4 and spec.batch_size == 32


def test_teacher_control_and_student_share_the_network_and_the_start(params):
    """The baseline is trained as long as the student, from the same weights: only the teacher differs."""
    for control, student in (("rhd_rgb_r18", "rhd_act_att_r18"), ("rhd_rgb_r18_aug", "rhd_cmkd_r18")):
        first, second = (params.paper_spec("cmkg", run).model_dump() for run in (control, student))
        differs = {key for key in first if first[key] != second[key]}
        assert differs == {"run", "teacher", "teacher_input", "teacher_modality", "distillation"}
        assert params.paper_spec("cmkg", second["teacher"]).model == params.paper_spec("cmkg", control).model


def test_weights_of_the_losses(params):
    spec = params.paper_spec("cmkg", "rhd_act_r18").distillation
    assert (spec.method, spec.activation, spec.attention) == ("cmkd", 1, 0)
    spec = params.paper_spec("cmkg", "rhd_cmkd_r50").distillation
    assert (spec.activation, spec.attention) == (1, 1000)
    spec = params.paper_spec("cmkg", "rhd_prior_l1").distillation
    assert (spec.norm, spec.inner_steps, spec.inner_lr, spec.meta_lr) == ("l1", 1, 2.5e-4, 1e-3)
    assert params.paper_spec("cmkg", "stb_none").distillation is None
    assert params.paper_spec("cmkg", "stb_l2_1e_3").distillation.sigma == 1e-3
    learned = params.paper_spec("cmkg", "freihand_a_prior")
    assert (learned.prior, learned.distillation.sigma, learned.crops) == ("rhd_prior_l2", None, "freihand_a")


def test_what_a_run_names_replaces_the_setting(load):
    changed = load(cmkg__attention=10, cmkg__inner_steps=2)
    assert changed.train_spec("cmkg", "rhd_cmkd_r18").distillation.attention == 10
    assert changed.train_spec("cmkg", "rhd_act_r18").distillation.attention == 0
    assert changed.train_spec("cmkg", "rhd_prior_l2").distillation.inner_steps == 2


def test_a_profile_shrinks_network_input_and_synthesis(load):
    small = load(profile="small")
    spec, full = small.train_spec("cmkg", "rhd_prior_l2"), small.paper_spec("cmkg", "rhd_prior_l2")
    assert spec.model.width < full.model.width and sum(spec.model.blocks) < sum(full.model.blocks)
    assert small.synthesis_spec().count < 50_000 and small.synthesis_spec().size == small.pack_spec("rhd").input
    assert spec.distillation.inner_lr == spec.optimizer.lr
    assert load(profile="paper").synthesis_spec().count == 50_000


RESNET = {"name": "resnet", "block": "basic", "blocks": [2, 2, 2, 2]}
NARROW = RESNET | {"width": 32}
MISTAKES = {
    "an RGB teacher": ("cmkd__rhd_act_r18__teacher", "rhd_start_r18", ["a network of depth images"]),
    "another teacher's network": ("supervised__rhd_depth_r18__model", NARROW, ["with the same model"]),
    "a start that saw depth": ("control__rhd_rgb_r18__init", "rhd_depth_r18", ["images", "rgb"]),
    "a group without synthesis": ("cmkd__rhd_act_r18__synthetic", "mano", ["synthetic is 'mano'", "None"]),
    "a group with synthesis": ("cmkd_synthetic__rhd_cmkd_r18__synthetic", None, ["synthetic is None", "'mano'"]),
    "a prior that is none": ("meta_test__stb_prior_l2__prior", "rhd_prior_l3", ["did you mean rhd_prior_l"]),
    "a prior of another norm": ("meta_test__stb_prior_l2__prior", "rhd_prior_l1", ["another model or norm"]),
    "a norm without weight": ("target__stb_l2_1e_5__sigma", None, ["norm is l2 and sigma None"]),
    "no network of poses": ("target__stb_none__model", {"name": "hrnet", "width": 32, "head": "heatmap"}, ["model"]),
    "no steps": ("inner_steps", 0, ["cmkg.inner_steps is 0"]),
}  # fmt: skip


@pytest.mark.parametrize("key, value, words", MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_gets_one_line(load, key, value, words):
    with pytest.raises(InputError) as caught:
        load(**{f"cmkg__{key}": value})
    message = str(caught.value)
    assert "\n" not in message and "params.yaml" in message
    for word in words:
        assert word in message, message


def test_crops_cannot_take_the_name_of_the_rendered_ones(load):
    with pytest.raises(InputError, match=r"packs.mano: the name mano is that of the rendered hands"):
        load(packs__mano={"dataset": "rhd", "input": [256, 256], "padding": 1.4, "margin": 1})


def test_the_nearest_distance_comes_first(load):
    with pytest.raises(InputError, match=r"synthesis.distance is \[0.8, 0.4\]; the smaller number first"):
        load(synthesis__distance=[0.8, 0.4])
