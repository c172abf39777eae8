"""What a published study holds besides its report: claims, numbers by seed, curves, digests of the data, a summary."""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from dvc.utils.serialize import modify_yaml

from lib.files import write_csv
from lib.metrics.scores import HEADLINE
from lib.papers import Paper
from lib.params import PARAMS
from lib.params.limits import ORIGINS
from lib.reporting import Study, claims, headline, seed_scores
from lib.reporting.markdown import bullets

PLACE = "/path/to/"  # of a folder that is a user's own
PHOTOGRAPHS = ("people", "classes", "transfer", "hands")  # figures that show a benchmark's images
FIGURE = re.compile(r"!\[[^\]]*\]\(figures/[^)]*?/(\w+)\.png\)\n\n\*[^\n]*\*\n\n?")


def write_numbers(folder: Path, paper: Paper, studies: Sequence[Study], details: Mapping[str, Any]) -> None:
    """claims.csv of what was run, headline.csv, seeds.csv, and histories/<run>_seed<number>.csv."""
    entries = [entry for entry in claims.records(paper, details) if entry["gain"]]
    if entries:
        write_csv(folder / "claims.csv", entries)
    roles = {run: role for study in studies for role, run in study.benchmark.roles.items()}
    rows = []
    for run, found in details.items():
        mean, spread = headline(found)
        row = {"run": run, "role": roles.get(run, ""), "benchmark": found["benchmark"]}
        row |= {"metric": HEADLINE[found["benchmark"]], "mean": mean, "std": "" if spread is None else spread}
        rows.append(row | {"seeds": len(found["seeds"])})
    write_csv(folder / "headline.csv", rows)
    scores = [(run, seed, one) for run, found in details.items() for seed, one in seed_scores(found).items()]
    metrics = dict.fromkeys(name for *_, one in scores for name in one)
    lines = [{"run": run, "seed": seed} | {name: one.get(name, "") for name in metrics} for run, seed, one in scores]
    write_csv(folder / "seeds.csv", lines)
    (folder / "histories").mkdir()
    for study in studies:
        for run, result in study.results.items():
            for seed, path in result.histories.items():
                shutil.copy(path, folder / "histories" / f"{run}_seed{seed}.csv")


def write_data(folder: Path, studies: Iterable[Study]) -> None:
    """data.csv: of each benchmark its source, and digests of its archives and of what dvc.lock says became of them."""
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", ())}
    rows = []
    for study in studies:
        source = json.loads((Path("data/raw") / study.key / "SOURCE.json").read_text(encoding="utf-8"))
        common = {"benchmark": study.key, "source": source["source"]}
        rows += [common | {"what": name, "digest": f"sha256:{sha}"} for name, sha in source["archives"].items()]
        crops = {result.spec["crops"] for result in study.results.values()}
        crops |= {result.spec["synthetic"] for result in study.results.values()} - {None}
        paths = [f"data/{kind}/{study.key}" for kind in ("raw", "annotations")]
        paths += [f"data/crops/{name}" for name in sorted(crops)]
        rows += [common | {"what": path, "digest": f"md5:{outs[path]}"} for path in paths]
    write_csv(folder / "data.csv", rows)


def write_report(folder: Path, key: str, studies: Iterable[Study]) -> None:
    """The report and its figures, but for those that show images which are not this project's own."""
    drawn = {study.key for study in studies if study.annotations["info"]["source"] == "synthetic"}

    def kept(name: str) -> bool:
        benchmark, _, kind = name.partition("_")
        return kind not in PHOTOGRAPHS or benchmark in drawn

    text = (Path("reports") / f"{key}.md").read_text(encoding="utf-8")
    text = FIGURE.sub(lambda found: found[0] if kept(found[1]) else "", text)
    (folder / "report.md").write_text(text.replace(f"(figures/{key}/", "(figures/"), encoding="utf-8")
    (folder / "figures").mkdir()
    for path in sorted((Path("reports/figures") / key).glob("*.png")):
        if kept(path.stem):
            shutil.copy(path, folder / "figures" / path.name)


def write_settings(path: Path) -> None:
    """params.yaml, but for folders of this machine: they are called PLACE and their benchmark."""
    shutil.copy(PARAMS, path)
    with modify_yaml(path) as settings:
        for benchmark, data in settings["data"].items():
            if data["source"] not in ORIGINS:
                data["source"] = f"{PLACE}{benchmark}"


def contents() -> str:
    """What lies in a study's folder."""
    return bullets(
        [
            "[report.md](report.md): all tables and figures; pictures of a benchmark's own images are left out, which "
            "are not ours to give",
            "[claims.csv](claims.csv), [headline.csv](headline.csv), [seeds.csv](seeds.csv): the claims above, each "
            "run's number and its spread, and all metrics by seed",
            "`histories/`: loss and validation of each run and seed",
            "`weights/`: students of the first seed, of 2 MB at most, each with its model card; `python -m "
            "stages.predict` takes them",
            "[params.yaml](params.yaml): every setting; [data.csv](data.csv): digests of the data",
        ]
    )
