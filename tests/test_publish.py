"""A study is published from what DVC has run, with everything that repeats it and nobody's photographs."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from lib.data.batches import MEAN, STD
from lib.deployment.students import open_student
from lib.errors import InputError
from lib.files import read_csv, write_csv
from lib.labels import Label, label_weights
from lib.params import load_params
from lib.reporting import publication
from lib.runs import Run
from stages import evaluate, publish, report, summary
from tests.markdown import cells
from tests.projects import JOINTS, write_project
from tests.test_reporting import ROOT, RUNS, write_learned

MADE = [f"data/{kind}/{dataset}" for dataset in ("lsp", "mpii") for kind in ("raw", "annotations", "crops")]


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def commit() -> None:
    call("git", "add", "-A")
    call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all")


def label(run: Run) -> None:
    """Label the weights of a run's first seed, as of drawn people."""
    said = {name: getattr(run, name) for name in ("paper", "input", "antialias", "output", "flip_test")}
    said |= {"run": run.name, "benchmark": run.dataset, "codec": dict(run.codec), "validation": run.validation}
    said |= {"seed": 0, "branch": 1, "source": "synthetic", "modality": "rgb", "crop": (64, 64), "padding": 1.25}
    said |= {"joints": tuple(JOINTS), "flip_pairs": ((0, 5),), "skeleton": ((0, 1),), "scale": None}
    said |= {"crops": "another machine's", "mean": tuple(MEAN), "std": tuple(STD)}
    label_weights(Path(f"models/{run.label}/seed0/weights.safetensors"), Label(**said))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with results on LSP, drawn, and MPII, whose images are the benchmark's; DVC knows them."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
        Path("params.yaml").write_text(settings.replace("profile: mini ", "profile: small "), encoding="utf-8")
        write_project("fpd", RUNS, people={"lsp": 20, "mpii": 30}, weights=["lsp_fpd", "lsp_student"])
        write_learned()
        for name in ("lsp_fpd", "lsp_student"):
            label(load_params().run(f"fpd/{name}"))
        for dataset, source in (("lsp", "synthetic"), ("mpii", "official")):
            text = f'{{"source": "{source}", "archives": {{"{dataset}.zip": "abc"}}}}'
            Path(f"data/raw/{dataset}/SOURCE.json").write_text(text)
        evaluate.main("fpd")
        report.main("fpd")
        stage = {"cmd": "true", "deps": ["models/fpd"], "outs": MADE}
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"report": {"foreach": ["fpd"], "do": stage}}}))
        call("git", "init", "-q")
        call("dvc", "init", "-q")
        call("dvc", "commit", "-fq")
        commit()
        yield folder


@pytest.fixture
def study(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    publish.main("small-study", "report@fpd")
    return Path("reports/published/small-study")


def test_a_study_holds_claims_numbers_and_curves(study):
    claims = {(entry["claim"], entry["on"]): entry for entry in read_csv(study / "claims.csv")}
    one = claims["Distillation helps, from random weights", "LSP"]
    assert (one["gain"], one["low"], one["high"], one["seeds"]) == ("+15.0", "−48.5", "+78.5", "2")
    assert (one["images"], one["verdict"], one["headline"]) == ("drawn", "too few seeds", "yes")
    assert len(claims) == 2  # what was not run is no part of it
    headline = {row["run"]: row for row in read_csv(study / "headline.csv")}
    assert (headline["lsp_fpd"]["role"], headline["lsp_fpd"]["mean"], headline["lsp_fpd"]["seeds"]) == (
        *("distilled", "95.0", "2"),
    )
    seeds = {(row["run"], row["seed"]): row["mean"] for row in read_csv(study / "seeds.csv")}
    assert (seeds["lsp_fpd", "0"], seeds["lsp_fpd", "1"]) == ("100.0", "90.0")
    assert {path.name for path in (study / "histories").iterdir()} == {
        f"{run}_seed{seed}.csv" for run, missed in RUNS.items() for seed in missed
    }


def test_a_study_says_how_to_repeat_it(study):
    text = (study / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# FPD on MPII and LSP, profile `small`, 2 seeds\n")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    commands = text.partition("```sh\n")[2].split("\n")[:5]
    commit = commands[1].removeprefix("git checkout ")
    assert head.startswith(commit) and len(commit) == 12
    assert commands == [
        "cp reports/published/small-study/params.yaml study.yaml",  # that revision does not have the study
        f"git checkout {commit}",
        "mv study.yaml params.yaml",
        "dvc repro report@fpd",
        "```",
    ]
    assert (study / "params.yaml").read_bytes() == Path("params.yaml").read_bytes()
    assert "Trained at revision 0123abc with PyTorch 2.0 on a CPU." in text
    rows = {row["what"]: row for row in read_csv(study / "data.csv")}
    lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"]["report@fpd"]["outs"]
    assert {out["path"]: f"md5:{out['md5']}" for out in lock} == {path: rows[path]["digest"] for path in MADE}
    assert (rows["mpii.zip"]["digest"], rows["mpii.zip"]["source"]) == ("sha256:abc", "official")


def test_a_study_carries_small_students_and_notes(study, monkeypatch):
    weights = study / "weights"
    cards = {"lsp_fpd.md", "lsp_student.md"}
    assert {path.name for path in weights.iterdir()} == cards | {"lsp_fpd.safetensors", "lsp_student.safetensors"}
    assert open_student(weights / "lsp_fpd.safetensors").label.run == "lsp_fpd"
    assert "# lsp_student, seed 0" in (weights / "lsp_student.md").read_text()
    small = (weights / "lsp_fpd.safetensors").stat().st_size
    Path("notes.md").write_text("Alpha was tried on held-out persons.\n")
    monkeypatch.setattr(publish, "SMALL", small * 2 // 3)  # fits in half of its size
    publish.main("halved", "report@fpd", "notes.md")
    halved = Path("reports/published/halved")
    assert "\n\n## Notes\n\nAlpha was tried on held-out persons.\n\n## Protocol" in (halved / "README.md").read_text()
    assert (halved / "weights/lsp_fpd.safetensors").stat().st_size < small * 2 // 3
    assert "Weights are bfloat16; on" in (halved / "weights/lsp_fpd.md").read_text()
    monkeypatch.setattr(publish, "SMALL", small // 3)
    publish.main("halved", "report@fpd")
    assert not list((halved / "weights").iterdir())


def test_a_study_names_no_folder_of_its_machine(project, tmp_path):
    mine = tmp_path / "my data: all"
    mine.mkdir()
    with modify_yaml("params.yaml") as settings:
        settings["data"]["mpii"]["source"] = str(mine)
    publication.write_settings(tmp_path / "params.yaml")
    sources = load_params(tmp_path / "params.yaml").common.data
    assert (sources.mpii.source, sources.lsp.source) == ("/path/to/mpii", "synthetic")
    assert "my data" not in (tmp_path / "params.yaml").read_text()
    subprocess.run(["git", "checkout", "params.yaml"], check=True)


def test_a_study_shows_no_images_of_a_benchmark(study):
    assert Path("reports/figures/fpd/mpii_people.png").is_file()
    drawn = {path.name for path in (study / "figures").iterdir()}
    assert drawn == {"mpii_pck.png", "lsp_pck.png", "lsp_people.png"}
    text = (study / "report.md").read_text(encoding="utf-8")
    assert "mpii_people" not in text and "Evenly spaced MPII" not in text
    assert all(f"](figures/{name})" in text for name in drawn)
    assert text.count("## ") == Path("reports/fpd.md").read_text(encoding="utf-8").count("## ")


def test_the_summary_opens_with_it(study):
    summary.main()
    rows = [cells(line) for line in Path("reports/README.md").read_text(encoding="utf-8").splitlines()]
    assert [row[2] for row in rows if row[0] == "[FPD](published/small-study/README.md)"] == ["MPII", "LSP, drawn"]


def test_the_summary_leaves_an_older_answer_to_the_same_claim_below(study):
    older = Path("reports/archive/older")
    older.mkdir(parents=True)
    (older / "README.md").write_text("# An older study\n")
    entries = read_csv(study / "claims.csv")
    other = {**entries[0], "on": "another benchmark"}
    write_csv(older / "claims.csv", [*entries, other])
    summary.main()
    text = Path("reports/README.md").read_text(encoding="utf-8")
    rows = [cells(line) for line in text.splitlines()]
    assert [row[2] for row in rows if row[0] == "[FPD](archive/older/README.md)"] == ["another benchmark"]
    assert "[An older study](archive/older/README.md)" in text
    shutil.rmtree(older)


def test_what_dvc_would_run_again_is_not_published(project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(InputError, match="expected a name"):
        publish.main("A name", "report@fpd")
    with pytest.raises(InputError, match="expected a name"):
        publish.main("name", "evaluate@fpd")
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(f"{text}# a comment\n")
    with pytest.raises(InputError, match=r"dvc\.yaml differ from the commit"):
        publish.main("name", "report@fpd")
    Path("dvc.yaml").write_text(text)
    spec = Path("models/fpd/lsp_fpd/spec.json")
    content = spec.read_text()
    spec.write_text(f"{content}\n")
    with pytest.raises(InputError, match="report@fpd is not up to date: run dvc repro"):
        publish.main("name", "report@fpd")
    spec.write_text(content)
    path = Path("data/specs/fpd.json")
    content = path.read_text()
    path.write_text(content.replace('"profile": "small"', '"profile": "mini"'))
    with pytest.raises(InputError, match="profile mini checks that everything runs"):
        publish.main("name", "report@fpd")
    path.write_text(content)
    assert not Path("reports/published/name").exists()


def test_dvc_is_that_of_this_interpreter(project, monkeypatch):
    """A virtual environment that was not activated has none on the PATH."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", str(Path(shutil.which("git")).parent))
    publish.require_run("fpd", "report@fpd")
