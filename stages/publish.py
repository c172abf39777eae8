"""Keep what was reproduced as a study of its own: `python -m stages.publish lsp-medium report@fpd [notes.md]`.

Writes reports/published/<name>: the report, claims, numbers by seed, curves, settings, digests of the data, students
that are small, and the command that repeats it. Only what DVC finds up to date is published, so that this command has
been run. notes.md: what only a person can add, such as which settings were tried, and why a claim may have failed.
"""

import re
import subprocess
import sys
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path
from typing import Any

from lib.environment import git, revision
from lib.errors import InputError
from lib.files import atomic
from lib.papers import Paper, load_paper
from lib.reporting import (
    Study,
    claims,
    exported,
    load_details,
    load_specs,
    load_studies,
    named,
    provenance,
    publication,
)
from lib.reporting.markdown import folded
from stages import export, load_spec, run

ROOT, PUBLISHED = Path(), Path("reports/published")
CODE = ("lib", "stages", "dvc.yaml")
SMALL = 2_000_000  # bytes of a student's weights


def main(*words: str) -> None:
    """Write reports/published/<name> from what the target, report@<paper>, has made; notes: a file of markdown."""
    parser = ArgumentParser("python -m stages.publish", description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("name", help="of the study's folder: lower-case letters, digits and hyphens")
    parser.add_argument("target", help="report@<paper>, such as report@fpd")
    parser.add_argument("notes", nargs="?", type=Path, help="a file of markdown, which becomes the section Notes")
    arguments = parser.parse_args(words)
    name, target = arguments.name, arguments.target
    stage, _, key = target.partition("@")
    if stage != "report" or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        expected = "a name of lower-case letters, digits and hyphens, and report@<paper>"
        raise InputError(f"{name} {target}: expected {expected}, such as lsp-medium report@fpd")
    added = arguments.notes.read_text(encoding="utf-8").strip() if arguments.notes else ""
    paper = load_paper(key)
    require_run(key, target)
    studies, details = load_studies(paper), load_details(key)
    with atomic(PUBLISHED / name) as folder:
        folder.mkdir()
        publication.write_numbers(folder, paper, studies, details)
        publication.write_data(folder, studies)
        publication.write_report(folder, key, studies)
        publication.write_settings(folder / "params.yaml")
        write_students(folder / "weights", key, studies)
        text = readme(name, target, paper, studies, details, added)
        (folder / "README.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def require_run(key: str, target: str) -> None:
    """Refuse what says nothing, what is not committed and what DVC would run again."""
    if load_spec(key)["profile"] == provenance.CHECK:
        raise InputError(
            f"profile {provenance.CHECK} checks that everything runs, its numbers say nothing: choose another"
        )
    if git(ROOT, "status", "--porcelain", "--", *CODE):
        raise InputError(
            f"{', '.join(CODE)} differ from the commit, which has to say how to repeat it: commit them first"
        )
    command = [sys.executable, "-m", "dvc", "status", "--with-deps", target]  # whatever is on the PATH
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode or "up to date" not in done.stdout:
        raise InputError(f"{target} is not up to date: run dvc repro {target} first")


def write_students(folder: Path, key: str, studies: list[Study]) -> None:
    """Export the first seed of each network that teaches none, halved in size where it takes that to be SMALL."""
    folder.mkdir()
    results = {run: result for study in studies for run, result in study.results.items()}
    teachers = {named(result.spec["teacher"]) for result in results.values()}
    for one, result in results.items():
        weights = Path("models") / key / one / f"seed{min(result.predictions)}" / "weights.safetensors"
        if one in teachers or result.spec["modality"] != "rgb" or not weights.is_file():
            continue
        size = weights.stat().st_size
        if size <= 2 * SMALL:
            halved = ["--bfloat16"] if size > SMALL else []
            export.main(str(weights), "-o", str(folder / f"{one}.safetensors"), *halved)


def readme(
    name: str, target: str, paper: Paper, studies: list[Study], details: dict[str, Any], notes: str
) -> list[str]:
    """Claims, notes, protocol, provenance, and how to repeat it."""
    full: dict[str, dict[str, Any]] = {}
    for one, spec in load_specs(paper.key).items():
        full |= exported(one, spec)
    specs = {one: result.spec for study in studies for one, result in study.results.items()}
    shown = [specs[one] for study in studies for one in study.benchmark.roles.values() if one in specs]
    seeds = sorted({seed for study in studies for seed in provenance.seeds_of(study.results)})
    profile, on = load_spec(paper.key)["profile"], provenance.listed([study.benchmark.name for study in studies])
    entries = [entry for entry in claims.records(paper, details) if entry["gain"]]
    commit = revision(ROOT).removesuffix("-dirty")
    return [
        f"# {paper.key.upper()} on {on}, profile `{profile}`, {len(seeds)} seed{'s' * (len(seeds) > 1)}",
        provenance.warning(studies, full),
        claims.claim_table(entries),
        claims.RULE,
        *([f"## Notes\n\n{notes}"] if notes else []),
        "## Protocol",
        *provenance.scales(studies, shown, full),
        folded("Runs and seeds", claims.pair_list(paper, entries)),
        "## Repeat it",
        f"```sh\ncp {PUBLISHED / name}/params.yaml study.yaml\ngit checkout {commit}\nmv study.yaml params.yaml\n"
        f"dvc repro {target}\n```",
        "DVC had run this command, and found nothing left to run, when this folder was written. Where `params.yaml` "
        f"says `{publication.PLACE}…`, name your folder of the archives whose digests are in `data.csv`.",
        publication.contents(),
    ]


if __name__ == "__main__":
    run(main)
