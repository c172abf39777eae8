"""Specs: what each stage depends on, as its module reads it."""

import json
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from lib.errors import InputError
from lib.params import load_params
from lib.params.scales import FULL
from lib.runs import as_run
from stages import NOT_CHOSEN, load_spec, specs, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The settings of this project, with its specs, and none of its code."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    specs.main()
    return tmp_path


def content(name: str) -> dict:
    return json.loads(Path(f"data/specs/{name}.json").read_text(encoding="utf-8"))


def test_specs_of_runs_are_those_of_params(project):
    params = load_params()
    for paper, settings in params.papers.items():
        shown = content(paper)
        assert (shown["profile"], list(shown["runs"])) == (params.common.profile, list(settings.runs))
        for name in settings.runs:
            label = f"{paper}/{name}"
            assert content(label)["seeds"] == list(params.common.seeds)
            for spec, run in (
                (content(label)["run"], params.run(label)),
                (shown["runs"][name], params.run(label, FULL)),
            ):
                assert as_run(spec).label == label
                assert json.dumps(spec) == json.dumps(specs.as_json(run))


def test_specs_of_data_are_those_of_params(project):
    params = load_params()
    for name in params.common.crops:
        expected = json.loads(params.crops(name).model_dump_json())
        assert content(f"pack/{name}") == {"code": {}, **expected, "smallest": 1}
    for name, dataset in params.common.data:
        expected = json.loads(dataset.model_dump_json())
        assert content(f"fetch/{name}") == {"code": {}, **expected, "official": params.official[name]}
        assert content(f"convert/{name}") == {"code": {}}
    assert content("synthesize").items() >= json.loads(params.synthesis().model_dump_json()).items()


def test_a_training_knows_the_code_of_its_method_and_its_networks_alone(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = specs.specs(load_params())

    def modules(label: str, folder: str) -> set[str]:
        """Which of the files of a folder, by name, a run's spec holds the digests of."""
        paths = (Path(path) for path in found[label]["code"])
        return {path.stem for path in paths if path.parent == Path("lib") / folder} - {"__init__"}

    assert {"heatmap", "fpd"} <= modules("fpd/lsp_fpd", "tasks") and "okdhp" not in modules("fpd/lsp_fpd", "tasks")
    assert modules("fpd/lsp_teacher", "tasks") == {"heatmap"}
    assert "hourglass" in modules("fpd/lsp_teacher", "models")
    assert not modules("fpd/lsp_teacher", "models") & {"hrnet", "resnet", "mobilepose", "pretrained", "simplebaseline"}
    assert "hrnet" in modules("cdkd/coco_simcc_r50_cca_64", "models")  # its teacher
    assert "hrnet" not in modules("cdkd/coco_simcc_r50_64", "models")
    for label in ("fpd/lsp_fpd", "okdhp/mpii_hg4", "cdkd/mpii_cdkd_64", "cmkg/rhd_prior_l2"):
        assert not modules(label, "params") | modules(label, "papers") | modules(label, "reporting")
        assert not modules(label, "metrics") | modules(label, "data/formats")


def test_a_weight_changes_the_specs_of_the_runs_that_share_it(project):
    def contents() -> dict[str, str]:
        return {path.stem: path.read_text() for path in Path("data/specs/okdhp").glob("*.json")}

    before = contents()
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("  beta: 2 #", "  beta: 3 #"), encoding="utf-8")
    specs.main()
    runs = load_params().papers["okdhp"].runs
    shared = {name for name, run in runs.items() if run.auxiliary and run.beta is None}
    assert {name for name, spec in contents().items() if spec != before[name]} == shared


def test_a_run_that_is_gone_leaves_no_spec(project):
    Path("data/specs/okdhp/mpii_hg16.json").write_text("{}")
    specs.main()
    assert not Path("data/specs/okdhp/mpii_hg16.json").exists()


def test_a_training_without_a_spec_says_what_to_run(project):
    with pytest.raises(InputError, match=r"data/specs/okdhp/mpii_hg16.json not found: .* python -m stages.specs"):
        train.main("okdhp/mpii_hg16")


@pytest.mark.parametrize("words", ["", "fpd", "fpd.lsp_student", "fpd/lsp/student"])
def test_which_run_has_to_be_said(words):
    with pytest.raises(InputError, match=r"which run\? expected <paper>/<run>"):
        train.main(words)


def chosen(params: str) -> set[str]:
    """Names of the specs that are not left out with these settings."""
    Path("params.yaml").write_text(params, encoding="utf-8")
    return {name for name, spec in specs.specs(load_params()).items() if spec != NOT_CHOSEN}


def test_one_benchmark_leaves_out_the_runs_and_the_data_of_the_others(project):
    text = Path("params.yaml").read_text(encoding="utf-8")
    everything = chosen(text)
    apply_overrides(Path("params.yaml"), ["benchmarks=[lsp]"])
    left = chosen(Path("params.yaml").read_text(encoding="utf-8"))
    trained = {name for name in left if name.count("/") == 1 and name.split("/")[0] in load_params().papers}
    assert trained == {name for name in everything if "/lsp_" in name}
    data = {name for name in left if name.startswith(("fetch/", "convert/", "pack/", "synthesize"))}
    assert data == {"fetch/lsp", "convert/lsp", "pack/lsp"}


def test_headline_rows_are_those_of_roles_and_headline_claims_with_the_runs_that_they_need(project):
    text = Path("params.yaml").read_text(encoding="utf-8")
    left = chosen(text.replace("rows: all", "rows: headline"))
    runs = {name: run for name, run in load_params().papers["cmkg"].runs.items() if f"cmkg/{name}" in left}
    assert {"rhd_depth_r18_aug", "rhd_start_r18_aug", "rhd_cmkd_r18", "stb_none", "stb_prior_l2"} <= runs.keys()
    assert not {"rhd_act_r18", "rhd_cmkd_r50", "stb_l1_1e_4"} & runs.keys()
    for run in runs.values():
        assert {label for label in (run.teacher, run.init, run.prior) if label} <= left
    fpd = {name.partition("/")[2] for name in left if name.startswith("fpd/")}
    assert fpd == {
        *("lsp_teacher", "lsp_student", "lsp_fpd", "lsp_fpd_init", "lsp_control"),
        *("mpii_s8_c256", "mpii_s4_c128", "mpii_fpd", "mpii_fpd_init", "mpii_control"),
    }
    assert {name for name in left if name.startswith("fetch/")} >= {"fetch/lsp", "fetch/rhd", "fetch/stb"}


def test_a_profile_chooses_and_draws_in_place_of_what_params_ask_for(project):
    text = Path("params.yaml").read_text(encoding="utf-8")
    left = chosen(text.replace("profile: mini ", "profile: demo "))
    assert left == chosen(
        text.replace("profile: mini ", "profile: small ")
        .replace("rows: all", "rows: headline")
        .replace("\n- mpii\n- coco\n- rhd\n- stb\n- freihand\n", "\n- rhd\n- stb\n")
    )
    specs.main()
    assert load_spec("fetch/lsp")["synthetic"] != {"lsp": 400, "lspet": 2800, "seed": 0}
    Path("params.yaml").write_text(text.replace("profile: mini ", "profile: demo "), encoding="utf-8")
    specs.main()
    assert load_spec("fetch/lsp")["synthetic"] == {"lsp": 400, "lspet": 2800, "seed": 0}
    assert load_spec("fetch/mpii") == NOT_CHOSEN


def test_a_stage_that_is_left_out_says_so_in_the_place_of_its_output(project):
    apply_overrides(Path("params.yaml"), ["benchmarks=[lsp]"])
    specs.main()
    train.main("fpd/mpii_fpd")
    (note,) = Path("models/fpd/mpii_fpd").iterdir()
    assert "benchmarks or rows of params.yaml" in note.read_text(encoding="utf-8")


def test_a_refused_value_says_how_to_get_back(project):
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("  beta: 2 #", "  beta: abc #"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        specs.main()
    message = str(caught.value)
    assert message.startswith("params.yaml: okdhp.beta is 'abc': input should be a valid number")
    assert message.endswith("set it right, or git checkout params.yaml)") and "\n" not in message
    assert content("okdhp/mpii_hg4")["run"]["settings"]["beta"] == 2  # the specs before stay
