"""Compare two revisions as a review needs it: `python -m stages.compare main [HEAD] [--md]`.

Reads both from git alone: params.yaml, dvc.lock, reports/metrics and reports/figures. A name of `dvc exp show` is a
revision, too.
"""

import json
import subprocess
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import PurePosixPath
from typing import Any

import yaml

from lib.errors import InputError
from lib.reporting.comparison import Revision, as_markdown, as_text, compare
from stages import run

DETAILS = ".details.json"


def main(*words: str) -> None:
    parser = ArgumentParser(
        "python -m stages.compare", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a branch, commit or experiment")
    parser.add_argument("head", nargs="?", default="HEAD", help="what is compared with it (default: HEAD)")
    parser.add_argument("--md", action="store_true", help="markdown for a comment, with folded parts")
    parser.add_argument("--pictures", default="", help="show figures by this address, such as https://…/owner/name/raw")
    arguments = parser.parse_args(words)
    sections = compare(read(arguments.base), read(arguments.head), arguments.pictures)
    print(as_markdown(sections) if arguments.md else as_text(sections), end="")


def read(name: str) -> Revision:
    """What a revision holds. Raises InputError where there is none of that name."""
    commit = resolve(name)
    files = dict(line.split("\t")[::-1] for line in git("ls-tree", "-r", commit, "reports/").splitlines())
    details: dict[str, Any] = {}
    for path in files:
        if path.startswith("reports/metrics/") and path.endswith(DETAILS):
            paper = PurePosixPath(path).name.removesuffix(DETAILS)
            details |= {f"{paper}/{run}": found for run, found in json.loads(show(commit, path)).items()}
    return Revision(
        name=name,
        params=yaml.safe_load(show(commit, "params.yaml") or "{}"),
        trainings=locked(yaml.safe_load(show(commit, "dvc.lock") or "{}")),
        details=details,
        figures={path: entry.split()[2] for path, entry in files.items() if path.startswith("reports/figures/")},
    )


def locked(lock: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What each training of a dvc.lock depends on: digests by path, by <paper>/<run>."""
    return {
        stage["cmd"].split()[-1]: {dep["path"]: dep.get("md5", "") for dep in stage["deps"]}
        for stage in lock.get("stages", {}).values()
        if "stages.train " in stage["cmd"]
    }


def resolve(name: str) -> str:
    """The commit of a revision, or of DVC's experiment of that name."""
    found = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    experiments = git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    named = [line.split()[0] for line in experiments if line.endswith(f"/{name}")]
    if not (found or named):
        raise InputError(f"{name}: no branch, commit or experiment of this repository")
    return found or named[0]


def show(commit: str, path: str) -> str:
    """A file's text in a commit, empty where it has none."""
    return git("show", f"{commit}:{path}")


def git(*arguments: str) -> str:
    """What git prints, empty where it fails."""
    command = ["git", "-c", "core.quotepath=off", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout


if __name__ == "__main__":
    run(main)
