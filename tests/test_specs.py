"""What each run trains, as the trainings read it."""

import json
import shutil
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.params import PAPERS, PackSpec, TrainSpec, load_params
from stages import specs, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("data/code").mkdir(parents=True)
    Path("data/code/train.json").write_text("{}")
    specs.main()
    return tmp_path


def test_specs_are_those_of_params(project):
    params = load_params()
    for paper in PAPERS:
        content = json.loads(Path(f"data/specs/{paper}.json").read_text())
        full = content["runs"]
        assert (content["profile"], tuple(full)) == (params.profile, params.runs(paper))
        for run in params.runs(paper):
            content = json.loads(Path(f"data/specs/{paper}/{run}.json").read_text())
            assert TrainSpec.model_validate(content["spec"]) == params.train_spec(paper, run)
            assert content["seeds"] == list(params.seeds)
            assert TrainSpec.model_validate(full[run]) == params.paper_spec(paper, run)


def test_specs_of_other_stages_are_those_of_params(project):
    params = load_params()
    for name in params.packs:
        content = json.loads(Path(f"data/specs/packs/{name}.json").read_text())
        assert PackSpec.model_validate(content) == params.pack_spec(name)
    for name, dataset in params.data:
        assert json.loads(Path(f"data/specs/data/{name}.json").read_text()) == dataset.model_dump(mode="json")
    assert json.loads(Path("data/specs/synthesis.json").read_text()) == params.synthesis_spec().model_dump(mode="json")
    assert json.loads(Path("data/specs/complexity.json").read_text()) == params.complexity.model_dump(mode="json")


def test_a_change_of_the_trainings_code_changes_the_specs_of_all_runs_and_nothing_else(project):
    def contents() -> dict[str, str]:
        return {str(path): path.read_text() for path in Path("data/specs").rglob("*.json")}

    before = contents()
    Path("data/code/train.json").write_text('{"lib/models/hourglass.py": "0"}')
    specs.main()
    after = contents()
    runs = {f"data/specs/{paper}/{run}.json" for paper in PAPERS for run in load_params().runs(paper)}
    assert {path for path in before if before[path] != after[path]} == runs


def test_a_weight_changes_the_specs_of_the_runs_that_share_it(project):
    def contents() -> dict[str, str]:
        return {path.stem: path.read_text() for path in Path("data/specs/okdhp").glob("*.json")}

    before = contents()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("  beta: 2  ", "  beta: 3  "))
    specs.main()
    after = contents()
    assert {run for run in before if before[run] != after[run]} == set(load_params().okdhp.runs)


def test_a_run_that_is_gone_leaves_no_spec(project):
    Path("data/specs/okdhp/mpii_hg16.json").write_text("{}")
    specs.main()
    assert not Path("data/specs/okdhp/mpii_hg16.json").exists()


def test_a_training_without_a_spec_says_what_to_run(project):
    with pytest.raises(InputError, match=r"data/specs/okdhp/mpii_hg16.json not found: .* python -m stages.specs"):
        train.main("okdhp.mpii_hg16")
