"""The workflows' own scripts do what they say, run here as a runner would, with `gh` alone replaced."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.test_compare import BASE, HEAD, commit, git

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github/workflows"
GH = """#!/usr/bin/env bash
echo "$@" >> "$GH_LOG"
case "$2" in
  list) [ "$HEAD_SHA" = "$OPEN_SHA" ] && echo 7 || true ;;
  comment) while [ "$1" != --body-file ]; do shift; done; cp "$2" "$GH_LOG.body" ;;
esac
"""


def script(workflow: str, name: str) -> str:
    """The script of a named step."""
    jobs = yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text())["jobs"].values()
    (found,) = [step["run"] for job in jobs for step in job["steps"] if step.get("name") == name]
    return found


def run(text: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a script as a runner does with `shell: bash`."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture
def pull_request(tmp_path, monkeypatch):
    """A clone of a repository that has a pull request number 7, of a fork; `gh` knows of it."""
    origin, tools, clone = (tmp_path / name for name in ("origin", "bin", "clone"))
    for folder in (origin, tools):
        folder.mkdir()
    monkeypatch.chdir(origin)
    git("init", "-q", "-b", "main")
    commit(BASE, "before")
    git("checkout", "-qb", "fork")
    commit(HEAD, "after")
    head = git("rev-parse", "HEAD").strip()
    git("checkout", "-q", "main")
    git("branch", "-qD", "fork")
    git("tag", "-d", "after")
    git("update-ref", "refs/pull/7/head", head)
    git("clone", "-q", str(origin), str(clone))
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(0o755)
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in {
        "GH_LOG": str(tmp_path / "gh.log"),
        "OPEN_SHA": head,
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_SERVER_URL": "https://host",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }.items():
        monkeypatch.setenv(name, value)
    return head


def test_a_comparison_becomes_a_comment_and_a_summary(pull_request, tmp_path):
    done = run(script("comparison", "compare"), HEAD_SHA=pull_request)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "gh.log").read_text().splitlines()
    assert calls[1].startswith("pr comment 7 --repo owner/name") and "--edit-last --create-if-none" in calls[1]
    body = (tmp_path / "gh.log.body").read_text()
    assert "| `okdhp.beta` | 2 | 3 |" in body and "1 of 2 numbers that changed" in body
    assert f"https://host/owner/name/raw/{pull_request}/reports/figures/okdhp/mpii_pck.png" in body
    assert (tmp_path / "summary.md").read_text() == body


def test_a_commit_of_no_open_pull_request_has_no_comment(pull_request, tmp_path):
    other = git("rev-parse", "HEAD").strip()
    done = run(script("comparison", "compare"), HEAD_SHA=other)
    assert done.returncode == 0, done.stderr
    assert "no open pull request" in (tmp_path / "summary.md").read_text()
    assert len((tmp_path / "gh.log").read_text().splitlines()) == 1


def test_the_check_of_the_lock_fails_where_something_would_run(tmp_path, monkeypatch):
    """As in a fresh clone: the stage's output is neither there nor in a cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path.parent / f"{tmp_path.name}.md"))
    git("init", "-q")
    subprocess.run(["dvc", "init", "-q"], check=True)
    Path("setting").write_text("1")
    Path("dvc.yaml").write_text("stages: {make: {cmd: cp setting made, deps: [setting], outs: [made]}}\n")
    subprocess.run(["dvc", "repro", "-q"], check=True)
    Path("made").unlink()
    shutil.rmtree(".dvc/cache")
    text = script("lock", "up to date")
    assert run(text).returncode == 0
    Path("setting").write_text("2")
    done = run(text)
    assert done.returncode == 1 and "::error::dvc.lock is not up to date" in done.stdout
    assert "Running stage 'make'" in Path(os.environ["GITHUB_STEP_SUMMARY"]).read_text()


def test_workflows_ask_for_no_more_than_they_need():
    """Only the comment may write, and it runs nothing of the pull request."""
    for path in WORKFLOWS.glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        writes = {name for name, level in content["permissions"].items() if level == "write"}
        assert writes == ({"pull-requests"} if path.stem == "comparison" else set())
        for job in content["jobs"].values():
            checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
            assert all("ref" not in step.get("with", {}) for step in checkouts)


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint():
    done = subprocess.run(["actionlint", *map(str, WORKFLOWS.glob("*.yml"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
