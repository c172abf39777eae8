"""Results of trainings as they lie in models/<paper>/<run>/, for the stages that score and show them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError
from lib.metrics import score
from lib.papers import Benchmark, Paper


@dataclass(frozen=True)
class Result:
    """One run: its spec.json and environment.json, and per seed the predictions and the path of the history."""

    spec: dict[str, Any]
    environment: dict[str, Any]
    predictions: dict[int, dict[str, NDArray]]
    histories: dict[int, Path]


@dataclass(frozen=True)
class Study:
    """The trained runs of a paper on one benchmark, and the annotations of the evaluated persons."""

    key: str
    benchmark: Benchmark
    annotations: dict[str, Any]
    results: dict[str, Result]


def load_studies(paper: Paper, runs: Iterable[str]) -> list[Study]:
    """The paper's benchmarks that a run was trained on, in the paper's order.

    Reads models/<paper> and data/annotations/<benchmark>/val.json. Raises InputError as `load_results`.
    """
    results = load_results(Path("models") / paper.key, runs)
    studies = []
    for key, benchmark in paper.benchmarks.items():
        trained = on_benchmark(results, key)
        if trained:
            annotations = json.loads((Path("data/annotations") / key / "val.json").read_text())
            studies.append(Study(key, benchmark, annotations, trained))
    return studies


def on_benchmark(results: dict[str, Result], benchmark: str) -> dict[str, Result]:
    """Those runs that were trained on a benchmark."""
    return {name: result for name, result in results.items() if result.spec["dataset"] == benchmark}


def load_results(folder: Path, runs: Iterable[str]) -> dict[str, Result]:
    """Load those of `runs` that were trained, in their order. Raises InputError where none was."""
    results = {run: load_result(folder / run) for run in runs if (folder / run).is_dir()}
    if not results:
        raise InputError(f"no trained run in {folder}: run dvc repro")
    return results


def load_result(folder: Path) -> Result:
    """Load one run, its seeds in ascending order. Raises InputError where it is incomplete."""
    seeds = {int(path.name.removeprefix("seed")): path for path in folder.glob("seed*")}
    try:
        return Result(
            spec=json.loads((folder / "spec.json").read_text()),
            environment=json.loads((folder / "environment.json").read_text()),
            predictions={seed: dict(np.load(seeds[seed] / "predictions.npz")) for seed in sorted(seeds)},
            histories={seed: seeds[seed] / "history.csv" for seed in sorted(seeds)},
        )
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} not found: the run is incomplete, train it again") from None


def seed_scores(annotations: dict[str, Any], result: Result) -> dict[int, dict[str, float]]:
    """Metrics of each seed, in percent."""
    return {seed: score(annotations, predictions) for seed, predictions in result.predictions.items()}


def summarise(scores: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Means over the seeds, and under "std" their sample standard deviations where there are two seeds or more.

    Rounded to four decimals, far below what a table shows; metrics that a seed lacks are left out.
    """
    seeds = list(scores.values())
    columns = {name: [seed[name] for seed in seeds] for name in seeds[0] if all(name in seed for seed in seeds)}
    summary: dict[str, Any] = {name: round(mean(values), 4) for name, values in columns.items()}
    if len(seeds) > 1:
        summary["std"] = {name: round(stdev(values), 4) for name, values in columns.items()}
    return summary


def paired_differences(
    treated: dict[int, dict[str, float]], control: dict[int, dict[str, float]], metric: str
) -> dict[int, float]:
    """Treated minus control for every seed that both have, in points."""
    return {seed: treated[seed][metric] - control[seed][metric] for seed in treated if seed in control}
