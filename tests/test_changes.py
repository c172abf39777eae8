"""What a change costs: one line is edited, and only what it can change gets another spec."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from lib.files import read_csv
from lib.params import Params, load_params
from lib.runs import Run
from stages.specs import specs
from tests.graph import load_stages
from tests.toy import write_dataset

ROOT = Path(__file__).resolve().parents[1]
PARAMS = load_params(ROOT / "params.yaml")
RUNS = {
    f"{paper}/{name}": PARAMS.run(f"{paper}/{name}") for paper in PARAMS.papers for name in PARAMS.papers[paper].runs
}
PRINTING = {"code/evaluate", "code/report", "code/summary"}  # seconds, whatever the scale


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A copy of the code and settings."""
    folder = tmp_path_factory.mktemp("untouched")
    for part in ("lib", "stages"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def before(untouched) -> dict[str, Any]:
    """All specs of the project as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(untouched)
        return specs(PARAMS)


@pytest.fixture
def project(untouched, tmp_path, monkeypatch) -> Path:
    """A copy to edit, which is the working folder."""
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(path: str, old: str, new: str) -> None:
    """Replace what occurs once in a file; an empty `old`: add a line at the end."""
    text = Path(path).read_text(encoding="utf-8")
    assert not old or text.count(old) == 1, f"{path} has {text.count(old)} of {old!r}"
    Path(path).write_text(text.replace(old, new) if old else text + new, encoding="utf-8")


def changed(before: dict[str, Any], params: Params = PARAMS) -> set[str]:
    """Names of the specs that the working folder's code makes others of."""
    after = specs(params)
    assert after.keys() == before.keys()
    return {name for name in before if before[name] != after[name]}


def resolved() -> dict[str, Any]:
    """Specs as the working folder's own code makes them of its own params.yaml."""
    subprocess.run([sys.executable, "-m", "stages.specs"], check=True)
    paths = Path("data/specs").rglob("*.json")
    return {str(path.relative_to("data/specs"))[:-5]: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def plain(contents: dict[str, Any]) -> dict[str, Any]:
    """Specs as their files hold them."""
    return json.loads(json.dumps(contents))


def labels(which: Callable[[Run], bool]) -> set[str]:
    """Names of the runs of a kind; there are some, and others."""
    found = {label for label, run in RUNS.items() if which(run)}
    assert 0 < len(found) < len(RUNS)
    return found


def built(run: Run) -> set[str]:
    """Names of the architectures that a training builds: student, teacher and branches."""
    teacher = [RUNS[run.teacher].model] if run.teacher else []
    return {model["name"] for model in (run.model, *teacher, *run.settings.get("branches", ()))}


CODE = "\nA_NEW_CONSTANT = 1\n"


@pytest.mark.parametrize(
    ("method", "old", "new", "users"),
    [
        ("cdkd", "", CODE, {"cdkd"}),
        ("okdhp", "RAMP = 0.4", "RAMP = 0.5", {"okdhp"}),
        ("fpd", "1e-6", "1e-7", {"fpd"}),
        ("cmkg", "", CODE, {"cmkg"}),
        ("cmkd", "", CODE, {"cmkd", "cmkg"}),  # meta-training is CMKD with a regulariser
    ],
)
def test_a_methods_loss_costs_its_own_runs(project, before, method, old, new, users):
    edit(f"lib/tasks/{method}.py", old, new)
    assert changed(before) == labels(lambda run: run.method in users)


BACKBONES = {"hrnet": {"cal", "distilpose", "prtr", "rle", "tokenpose"}}  # what is built around an architecture


@pytest.mark.parametrize("name", ["hrnet", "mobilepose", "pyranet", "simplebaseline"])
def test_an_architecture_costs_the_runs_that_build_it_and_complexity(project, before, name):
    edit(f"lib/models/{name}.py", "", CODE)
    found = labels(lambda run: bool(built(run) & {name, *BACKBONES.get(name, ())}))
    assert changed(before) == found | {"complexity", "code/report"}  # whose figures show what networks do


@pytest.mark.parametrize("path", ["lib/training/progress.py", "lib/errors.py", "lib/environment.py", "lib/launch.py"])
def test_progress_errors_provenance_and_launching_cost_nothing(project, before, path):
    edit(path, "", CODE)
    assert changed(before) == set()


@pytest.mark.parametrize("path", ["lib/metrics/pck.py", "lib/metrics/scores.py", "lib/metrics/oks.py"])
def test_metrics_cost_what_prints_them_and_no_training(project, before, path):
    """Validation curves stay as they were when the runs were trained."""
    edit(path, "", CODE)
    assert {"code/evaluate", "code/report"} <= changed(before) <= PRINTING


@pytest.mark.parametrize("path", ["lib/reporting/figures.py", "lib/reporting/tables.py", "stages/report.py"])
def test_reports_cost_reports(project, before, path):
    edit(path, "", CODE)
    assert {"code/report"} <= changed(before) <= PRINTING


def test_a_benchmarks_reader_costs_that_benchmarks_data(project, before):
    edit("lib/data/formats/lsp.py", "", CODE)
    assert changed(before) == {"fetch/lsp", "convert/lsp", "pack/lsp"}


def test_fetch_costs_fetch(project, before):
    edit("lib/data/fetch.py", "", CODE)
    assert changed(before) == {name for name in before if name.startswith("fetch/")}


@pytest.mark.parametrize("path", ["lib/training/loop.py", "lib/data/batches.py", "lib/training/seeds.py"])
def test_the_loop_and_the_batches_cost_all_trainings_and_no_data(project, before, path):
    edit(path, "", CODE)
    assert RUNS.keys() <= changed(before) <= RUNS.keys() | PRINTING


def test_reading_params_costs_nothing_where_the_values_stay(project, before):
    for path in Path("lib/params").rglob("*.py"):
        edit(str(path), "", CODE)
    for path in Path("lib/papers").glob("*.py"):
        edit(str(path), "", CODE)
    after = resolved()
    assert {name for name in before if plain(before)[name] != after[name]} <= PRINTING


def test_a_default_costs_the_runs_that_have_it(project, before):
    edit("lib/params/networks/hrnet.py", "    blocks: Parts = 4\n", "    blocks: Parts = 5\n")
    after, old = resolved(), plain(before)
    # At mini's scale, too: a quarter of five blocks is one, so only the paper's own scale differs.
    assert {name for name in old if old[name] != after[name]} - PRINTING == {"cdkd", "complexity"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""', '"""Once more: '),
        ("import json\n", "import json  # for histories\n"),
        ("def train(", "\n\n\n\ndef train("),
    ],
)
def test_comments_docstrings_and_layout_cost_nothing(project, before, old, new):
    path = Path("lib/training/seeds.py")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert changed(before) == set()


def test_what_an_error_says_costs_nothing(project, before):
    edit("lib/weights.py", "train that run first (dvc repro does it)", "train it first")
    assert changed(before) == set()


def test_one_more_seed_changes_the_seeds_alone(project, before):
    apply_overrides(Path("params.yaml"), ["seeds=[0,1]"])
    after = specs(load_params())
    assert {name for name in before if before[name] != after[name]} == RUNS.keys()
    for label in RUNS:
        assert after[label] == before[label] | {"seeds": [0, 1]}


# A fifth method: three files, and its sections of params.yaml and dvc.yaml

FIFTH = Path(__file__).parent / "fifth"
SCALE = "{resolution: 0.25, depth: 0.25, width: 0.125, epochs: 0.2, train_samples: 16, val_samples: 4, threads: 1}"


@pytest.fixture
def fifth(project) -> Path:
    shutil.copy(FIFTH / "paper.py", "lib/papers/fifth.py")
    shutil.copy(FIFTH / "paper.yaml", "lib/papers/fifth.yaml")
    shutil.copy(FIFTH / "task.py", "lib/tasks/imitation.py")
    for resolution in ("  mini:", "  demo:", "  small:"):
        text = Path("params.yaml").read_text(encoding="utf-8")
        head, name, rest = text.partition(f"\n{resolution}")
        line, _, rest = rest.partition("\n")
        Path("params.yaml").write_text(f"{head}{name}{line}\n    fifth: {SCALE}\n{rest}", encoding="utf-8")
    edit("params.yaml", "", (FIFTH / "params.yaml").read_text(encoding="utf-8"))
    return project


def test_a_fifth_method_costs_its_own_runs(fifth, before):
    after = resolved()
    assert after.keys() - before.keys() == {"fifth", "fifth/lsp_imitation"}
    assert {name for name, content in plain(before).items() if content != after[name]} <= PRINTING
    assert after["fifth/lsp_imitation"]["run"]["settings"] == {"gamma": 0.5}


def test_a_fifth_method_trains(fifth):
    """On discs, with a teacher of another paper."""
    resolved()
    write_dataset(fifth, train=16, val=4)
    for label in ("fpd/lsp_teacher", "fifth/lsp_imitation"):
        subprocess.run([sys.executable, "-m", "stages.train", label], check=True, capture_output=True)
    folder = fifth / "models/fifth/lsp_imitation/seed0"
    assert (folder / "weights.safetensors").is_file() and (folder / "predictions.npz").is_file()
    history = read_csv(folder / "history.csv")
    assert len(history) == 2 and {"mse", "imitation"} <= history[0].keys()
    assert all(float(row["imitation"]) > 0 for row in history)


def test_a_fifth_method_is_a_stage_of_its_own(fifth):
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], check=True)
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    without = load_stages(fifth)
    edit("dvc.yaml", "\n  complexity:\n", f"\n{(FIFTH / 'stage.yaml').read_text(encoding='utf-8')}  complexity:\n")
    (own,) = set(load_stages(fifth)) - set(without)
    assert own.name == "fifth_taught@lsp_imitation"
    assert own.deps == {"data/specs/fifth/lsp_imitation.json", "data/crops/lsp", "models/fpd/lsp_teacher"}
