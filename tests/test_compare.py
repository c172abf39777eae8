"""A comparison of two revisions is right: constructed results, in a repository of their own."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from lib.errors import InputError
from lib.reporting import comparison
from lib.reporting.comparison import LIMIT, Revision, Section, as_markdown, changed
from stages import compare
from tests.markdown import cells


def details(mean: float, error: float = 1.0, **seeds: float) -> dict:
    """A run on MPII: one seed, or the given ones."""
    scores = seeds or {"0": mean}
    return {"benchmark": "mpii", "error": error, "seeds": {seed[-1]: {"mean": value} for seed, value in scores.items()}}


def training(run: str, spec: str, **models: str) -> dict:
    deps = {f"data/specs/okdhp/{run}.json": spec} | {f"models/okdhp/{name}": digest for name, digest in models.items()}
    return {
        "cmd": f"python -m lib.launch -m stages.train okdhp/{run}",
        "deps": [{"path": path, "md5": digest} for path, digest in deps.items()],
        "outs": [{"path": f"models/okdhp/{run}", "md5": "any"}],
    }


BASE = {
    "params": {"seeds": [0], "okdhp": {"beta": 2, "alpha": 1}, "profile": "mini"},
    "lock": {
        "okdhp_taught@far": training("far", "1"),
        "okdhp_taught@near": training("near", "1"),
        "okdhp_taught@gone": training("gone", "1"),
        "okdhp_alone@base": training("base", "1"),
        "okdhp_taught@student": training("student", "1", teacher="1"),
        "evaluate@okdhp": {"cmd": "python -m stages.evaluate okdhp", "deps": [{"path": "models/okdhp", "md5": "1"}]},
    },
    "details": {
        **{"far": details(80.0), "near": details(80.0), "gone": details(70.0), "base": details(60.0)},
        "mpii_mean_pose": details(9.0),
    },
    "figures": {"okdhp/mpii_pck.png": "one", "okdhp/lsp_pck.png": "same"},
}
HEAD = {
    "params": {"seeds": [0], "okdhp": {"beta": 3, "alpha": 1}, "profile": "mini"},
    "lock": BASE["lock"]
    | {
        "okdhp_taught@far": training("far", "2"),
        "okdhp_taught@near": training("near", "2"),
        "okdhp_taught@fresh": training("fresh", "1"),
        "okdhp_taught@student": training("student", "1", teacher="2"),
    },
    "details": {
        **{"far": details(84.0), "near": details(81.0), "fresh": details(50.0), "base": details(60.0)},
        "mpii_mean_pose": details(9.0),
    },
    "figures": {"okdhp/mpii_pck.png": "two", "okdhp/lsp_pck.png": "same"},
}
del HEAD["lock"]["okdhp_taught@gone"]


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout


def commit(content: dict, tag: str) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(content["params"]))
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": content["lock"]}, sort_keys=False))
    metrics = Path("reports/metrics")
    metrics.mkdir(parents=True, exist_ok=True)
    (metrics / "okdhp.details.json").write_text(json.dumps(content["details"]))
    for path, text in content["figures"].items():
        figure = Path("reports/figures") / path
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_text(text)
    git("add", "-A")
    git("commit", "-qm", tag)
    git("tag", tag)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two revisions that differ in beta: one change beyond noise, one within, one run new, one gone, one the same."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    commit(BASE, "before")
    commit(HEAD, "after")
    return tmp_path


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a comparison, each without its header."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    return [[cells(line) for line in block[2:]] for block in blocks]


def test_comparison_of_two_revisions(repository, capsys):
    compare.main("before", "after", "--md")
    text = capsys.readouterr().out
    settings, trainings, beyond, within, new, gone = tables(text)
    assert settings == [["`okdhp.beta`", "2", "3"]]
    assert "3 ran again, 1 are new, 1 gone; 1 could not have changed" in text
    assert trainings == [
        ["`okdhp/far`", "`data/specs/okdhp/far.json`"],
        ["`okdhp/near`", "`data/specs/okdhp/near.json`"],
        ["`okdhp/gone`", "gone"],
        ["`okdhp/student`", "`models/okdhp/teacher`"],
        ["`okdhp/fresh`", "new"],
    ]
    # Two standard errors of 1: noise 1.96 times the root of 2.
    assert "1 of 2 numbers that changed did so beyond noise, of 3 runs." in text
    assert beyond == [["`okdhp/far`", "mean, %", "80.00", "84.00", "+4.00", "± 2.77 (1 seed)"]]
    assert within == [["`okdhp/near`", "mean, %", "80.00", "81.00", "+1.00", "± 2.77 (1 seed)"]]
    assert (new, gone) == ([["`okdhp/fresh`", "mean, %", "50.00"]], [["`okdhp/gone`", "mean, %", "70.00"]])
    assert text.index("okdhp/far`", text.index("Results")) < text.index("<details><summary>1 changes within noise")
    compare.main("before", "after")
    assert "1 of 2 numbers" in capsys.readouterr().out


def test_a_revision_is_no_change_of_itself(repository, capsys):
    compare.main("after")  # with HEAD
    text = capsys.readouterr().out
    assert "Settings that differ: none." in text and "0 ran again, 0 are new, 0 gone; 5 could not" in text
    assert "0 of 0 numbers that changed" in text


def test_pictures_that_differ_stand_beside_each_other(repository, capsys):
    compare.main("before", "after", "--md", "--pictures", "https://host/owner/name/raw")
    *_, (pair,) = tables(capsys.readouterr().out)
    assert [
        f"https://host/owner/name/raw/{tag}/reports/figures/okdhp/mpii_pck.png" in cell
        for tag, cell in zip(("before", "after"), pair, strict=True)
    ] == [True, True]


def test_experiments_are_revisions(repository, capsys):
    git("update-ref", "refs/exps/12/345/agile-cook", git("rev-parse", "before").strip())
    compare.main("agile-cook", "after")
    assert "okdhp.beta" in capsys.readouterr().out
    with pytest.raises(InputError, match="nothing: no branch, commit or experiment"):
        compare.main("nothing")


def test_noise_of_several_seeds_is_that_of_their_paired_differences():
    old = details(0, s0=50.0, s1=60.0, s2=70.0)
    one = changed("run", old, details(0, s0=51.0, s1=62.0, s2=73.0))
    assert (one.before, one.after, one.difference, one.seeds) == (60, 62, 2, 3)
    assert one.noise == pytest.approx(4.3027 / 3**0.5, abs=1e-4) and not one.beyond
    assert changed("run", old, details(0, s0=52.0, s1=62.1, s2=71.9)).beyond  # far less than the seeds differ
    other = changed("run", old, details(0, s1=70.0, s5=10.0))  # one common seed: the joints' own noise
    assert (other.before, other.after, other.seeds) == (60, 70, 1)
    assert other.noise == pytest.approx(1.96 * 2**0.5)


def test_a_comment_stays_below_its_limit():
    rows = [(f"`run{number}`", "x" * 90) for number in range(3000)]
    sections = [Section("few", ("a", "b"), [("1", "2")]), Section("many", ("a", "b"), rows, folded=True)]
    text = as_markdown(sections)
    assert len(text) <= LIMIT and "| 1 | 2 |" in text
    shown = text.count("`run")
    assert shown > 300 and f"… and {3000 - shown} more." in text


def test_details_of_before_there_were_any_are_none():
    empty = Revision("old", {}, {}, {})
    head = Revision("new", {}, {}, {"okdhp/a": details(1.0)})
    texts = [section.text for section in comparison.compare(empty, head)]
    assert "1 runs are new" in texts
