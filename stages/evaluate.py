"""Score the predictions of a paper's runs: `python -m stages.evaluate fpd`. Needs no network and no GPU."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.files import atomic, read_csv, write_csv
from lib.metrics.mean_pose import mean_hand, mean_pose
from lib.metrics.scores import HANDS, HEADLINE, curve, evaluated, score, unit_of
from lib.papers import load_paper
from lib.reporting import MEAN_POSE, Result, Study, headline, load_studies, searched
from lib.reporting.claims import DRAWN, REAL
from lib.reporting.noise import sampling_error
from stages import run

METRICS, PLOTS = Path("reports/metrics"), Path("reports/plots")


def main(paper: str = "") -> None:
    """Write reports/metrics/<paper>.json, <paper>.details.json and reports/plots/<paper>/<benchmark>_{pck,history}.csv.

    The first holds each role's headline number by benchmark, with its spread where there are several seeds; the second
    all metrics of all runs by seed.
    """
    studies = load_studies(load_paper(paper))
    chance = {study.key: predicted_mean(study) for study in studies if study.benchmark.length}
    details: dict[str, Any] = {}
    for study in studies:
        for name, result in study.results.items():
            details[name] = evaluate(study, result.predictions)
            if result.searched:
                details[searched(name)] = evaluate(study, result.searched)
        if study.key in chance:
            details[f"{study.key}_mean_pose"] = evaluate(study, {0: chance[study.key]})
    metrics = {study.key: headlines(study, details) for study in studies}
    for name, content in ((paper, metrics), (f"{paper}.details", details)):
        with atomic(METRICS / f"{name}.json") as part:
            part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic(PLOTS / paper) as folder:
        folder.mkdir()
        for study in studies:
            runs = {name: study.results[run] for name, run in study.benchmark.curves.items() if run in study.results}
            if study.benchmark.length:
                predictions = {name: result.predictions for name, result in runs.items()}
                rows = pck_rows(study, predictions | {MEAN_POSE: {0: chance[study.key]}})
                write_csv(folder / f"{study.key}_pck.csv", rows)
            if runs:
                write_csv(folder / f"{study.key}_history.csv", history_rows(study, runs))


def evaluate(study: Study, predictions: Mapping[int, Mapping[str, NDArray]]) -> dict[str, Any]:
    """All metrics of a run by seed, and what they are of: benchmark, persons, standard error of one seed's headline.

    Persons that were held out of the training ones have a name of their own.
    """
    one = next(iter(predictions.values()))
    scores = {seed: score(study.annotations, found) for seed, found in predictions.items()}
    return {
        "benchmark": study.key,
        "images": DRAWN if study.annotations["info"]["source"] == "synthetic" else REAL,
        "persons" if study.split == "val" else "heldout_persons": len(evaluated(study.annotations, one["images"])),
        "error": round(sampling_error(study.annotations, one), 5),
        "seeds": {
            str(seed): {name: round(value, unit_of(name).decimals + 3) for name, value in found.items()}
            for seed, found in scores.items()
        },
    }


def headlines(study: Study, details: Mapping[str, Any]) -> dict[str, float]:
    """The benchmark's one number of each role that was trained, and as "<role> ±" its spread over several seeds."""
    shown = {}
    for role, name in study.benchmark.roles.items():
        if name in details:
            value, spread = headline(details[name])
            shown |= {role: value} | ({} if spread is None else {f"{role} ±": spread})
    return shown


def predicted_mean(study: Study) -> dict[str, NDArray]:
    """The mean pose of the training persons or hands, on those that the first run predicted."""
    train = json.loads((Path("data/annotations") / study.key / "train.json").read_text(encoding="utf-8"))
    one = next(iter(next(iter(study.results.values())).predictions.values()))
    predict = mean_hand if study.key in HANDS else mean_pose
    return predict(train, study.annotations, one["ids"]) | {"images": one["images"]}


def pck_rows(study: Study, runs: Mapping[str, Mapping[int, Mapping[str, NDArray]]]) -> list[dict[str, float]]:
    """A row per threshold, as in `curve`, and in it the PCK of each run, mean over its seeds."""
    columns = {}
    for name, predictions in runs.items():
        curves = [curve(study.annotations, found) for found in predictions.values()]
        thresholds, columns[name] = curves[0][0], np.mean([values for _, values in curves], axis=0)
    return [
        {"threshold": float(threshold)} | {name: round(float(values[row]), 4) for name, values in columns.items()}
        for row, threshold in enumerate(thresholds)
    ]


def history_rows(study: Study, runs: Mapping[str, Result]) -> list[dict[str, float | str]]:
    """A row per epoch, and in it the validation of each run, mean over its seeds; blank where none was measured."""
    column, found = f"val_{HEADLINE[study.key]}", {}
    for name, result in runs.items():
        for path in result.histories.values():
            for row in read_csv(path):
                values = found.setdefault(int(row["epoch"]), {}).setdefault(name, [])
                values += [float(row[column])] if row[column] else []
    return [
        {"epoch": epoch} | {name: round(float(np.mean(row[name])), 6) if row.get(name) else "" for name in runs}
        for epoch, row in sorted(found.items())
    ]


if __name__ == "__main__":
    run(main)
