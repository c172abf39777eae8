"""Results of trainings as they lie in models/<paper>/<run>/, for the stages that score and show them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.data.persons import split_of
from lib.errors import InputError
from lib.files import LEFT_OUT
from lib.metrics.scores import HEADLINE, unit_of
from lib.papers import Benchmark, Paper
from lib.records import read_record

MEAN_POSE = "mean pose"  # of the training persons or hands, no image seen


@dataclass(frozen=True)
class Result:
    """One trained network: spec.json and record of its run, per seed the predictions and the history's path.

    searched: predictions over several sizes of the people, where there are any. A further branch of a run (`exported`)
    has no histories.
    """

    spec: dict[str, Any]
    record: dict[str, Any]
    predictions: dict[int, dict[str, NDArray]]
    histories: dict[int, Path]
    searched: dict[int, dict[str, NDArray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The trained runs of a paper on one benchmark, and the annotations of the evaluated persons."""

    key: str
    benchmark: Benchmark
    annotations: dict[str, Any]
    results: dict[str, Result]

    @property
    def split(self) -> str:
        """The split of the crops in which they are: "val", or "train" where they are held-out training persons."""
        return split_of(next(iter(self.results.values())).spec)

    @property
    def crops(self) -> Path:
        """The folder of the crops that these runs, or the first of them, were trained on."""
        return Path("data/crops") / next(iter(self.results.values())).spec["crops"]


def load_specs(paper: str) -> dict[str, dict[str, Any]]:
    """What each run of a paper trains at the paper's own scale, by run: data/specs/<paper>.json."""
    return json.loads((Path("data/specs") / f"{paper}.json").read_text(encoding="utf-8"))["runs"]


def load_studies(paper: Paper) -> list[Study]:
    """The paper's benchmarks that a run of params.yaml was trained on, in the paper's order.

    Reads models/<paper>, data/specs/<paper>.json and data/annotations/<benchmark>, of which the runs' `validation` says
    the split. Raises InputError as `load_results`, and where the runs on a benchmark differ in it.
    """
    results = load_results(Path("models") / paper.key, load_specs(paper.key))
    studies = []
    for key, benchmark in paper.benchmarks.items():
        trained = on_benchmark(results, key)
        if trained:
            splits = {split_of(result.spec) for result in trained.values()}
            if len(splits) > 1:
                raise InputError(f"some runs on {key} were judged by test and some by held-out persons: run dvc repro")
            path = Path("data/annotations") / key / f"{splits.pop()}.json"
            annotations = json.loads(path.read_text(encoding="utf-8"))
            studies.append(Study(key, benchmark, annotations, trained))
    return studies


def on_benchmark(results: dict[str, Result], benchmark: str) -> dict[str, Result]:
    """Those runs that were trained on a benchmark."""
    return {name: result for name, result in results.items() if result.spec["dataset"] == benchmark}


def load_results(folder: Path, runs: Iterable[str]) -> dict[str, Result]:
    """Load those of `runs` that were trained, in their order, each with its `exported` branches.

    Raises InputError where none was trained, unless all are left out, and where one is incomplete.
    """
    results: dict[str, Result] = {}
    runs = list(runs)
    for run in runs:
        if (folder / run / "spec.json").is_file():
            results |= load_run(folder / run)
    if not results and not all((folder / run / LEFT_OUT).is_file() for run in runs):
        raise InputError(f"no trained run in {folder}: run dvc repro")
    return results


def load_run(folder: Path) -> dict[str, Result]:
    """Load the networks that one run saved, seeds in ascending order. Raises InputError where one is missing."""
    seeds = dict(sorted((int(path.name.removeprefix("seed")), path) for path in folder.glob("seed*")))
    results = {}
    try:
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        record = read_record(f"{spec['paper']}/{spec['name']}")
        for number, (name, own) in enumerate(exported(folder.name, spec).items(), start=1):
            part = "" if number == 1 else f"branch_{number}"
            predictions = {seed: dict(np.load(path / part / "predictions.npz")) for seed, path in seeds.items()}
            histories = {seed: path / "history.csv" for seed, path in seeds.items()} if number == 1 else {}
            second = {seed: path / part / "scales.npz" for seed, path in seeds.items()}
            found = {seed: dict(np.load(path)) for seed, path in second.items() if path.is_file()}
            results[name] = Result(own, record, predictions, histories, found)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} not found: the run is incomplete, train it again") from None
    return results


def exported(run: str, spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The networks that a run keeps, by name: its own, and further branches as <run>_branch_2 and so on.

    Each comes with its spec: the run's, but a further branch has the model of its own and no branches.
    """
    specs = {run: spec}
    for number, model in enumerate(spec["exports"][1:], start=2):
        alone = {key: value for key, value in spec["settings"].items() if key != "branches"}
        specs[f"{run}_branch_{number}"] = spec | {"model": model, "settings": alone}
    return specs


def searched(run: str) -> str:
    """The name under which the details have the scores of a run's predictions over several sizes."""
    return f"{run}_scales"


def named(reference: str | None) -> str | None:
    """The run's own name in <paper>/<name>."""
    return reference and reference.rpartition("/")[2]


def load_details(paper: str) -> dict[str, dict[str, Any]]:
    """Benchmark, persons, standard error and scores by seed of each run: reports/metrics/<paper>.details.json."""
    return json.loads((Path("reports/metrics") / f"{paper}.details.json").read_text(encoding="utf-8"))


def seed_scores(details: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Metrics of each seed of a run, from its details."""
    return {int(seed): scores for seed, scores in details["seeds"].items()}


def headline(details: Mapping[str, Any]) -> tuple[float, float | None]:
    """A run's one number and its standard deviation over the seeds, None with one seed; from its details."""
    metric, summary = HEADLINE[details["benchmark"]], summarise(seed_scores(details))
    return summary[metric], summary.get("std", {}).get(metric)


def summarise(scores: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Means over the seeds, and under "std" their sample standard deviations where there are two seeds or more.

    Rounded far below what a table shows; metrics that a seed lacks are left out.
    """
    seeds = list(scores.values())
    columns = {name: [seed[name] for seed in seeds] for name in seeds[0] if all(name in seed for seed in seeds)}
    digits = {name: unit_of(name).decimals + 3 for name in columns}
    summary: dict[str, Any] = {name: round(mean(values), digits[name]) for name, values in columns.items()}
    if len(seeds) > 1:
        summary["std"] = {name: round(stdev(values), digits[name]) for name, values in columns.items()}
    return summary


def paired_differences(
    treated: Mapping[int, Mapping[str, float]], control: Mapping[int, Mapping[str, float]], metric: str
) -> dict[int, float]:
    """Treated minus control for every seed that both have."""
    return {seed: treated[seed][metric] - control[seed][metric] for seed in treated if seed in control}
