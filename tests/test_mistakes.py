"""Each mistake in params.yaml gets one line."""

from functools import partial

import pytest

from lib.errors import InputError
from lib.params import load_params
from tests.settings import CONTENT, load_changed

ALONE = CONTENT["fpd"]["alone"]


@pytest.fixture
def load(tmp_path):
    return partial(load_changed, tmp_path)


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
    "drawn benchmark of a profile": (
        {"profiles.demo.drawn.lps": {}},
        ["a key of profiles.demo.drawn is 'lps'", "did you mean lsp?"],
    ),
    "drawn number of a profile": ({"profiles.demo.drawn.lsp.lspet": -1}, ["profiles.demo.drawn.lsp.lspet is -1"]),
    "rows of a profile": ({"profiles.demo.rows": "some"}, ["profiles.demo.rows is 'some'", "'all' or 'headline'"]),
    "benchmark of a profile": (
        {"profiles.demo.benchmarks": ["lps"]},
        ["an entry of profiles.demo.benchmarks is 'lps'", "did you mean lsp?"],
    ),
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
    "epochs of no benchmark": ({"cdkd.epochs.lps": 9}, ["cdkd is a mapping", "lps", "known: coco, lsp, mpii"]),
    "rate of no architecture": (
        {"profiles.mini.cdkd.rates": {"hrnett": 3}},
        ["a key of profiles.mini.cdkd.rates is 'hrnett'", "did you mean hrnet?"],
    ),
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


def test_file_that_is_no_yaml_or_absent(tmp_path):
    file = tmp_path / "params.yaml"
    with pytest.raises(InputError, match="not found"):
        load_params(file)
    file.write_text("seeds: [0\nprofile: mini")
    with pytest.raises(InputError, match="line 2: not YAML"):
        load_params(file)
