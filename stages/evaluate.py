"""Score the predictions of a paper's runs: `python -m stages.evaluate fpd`. Needs no network and no GPU."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lib.files import atomic, read_csv, write_csv
from lib.metrics.mean_pose import mean_hand, mean_pose
from lib.metrics.scores import HANDS, HEADLINE, curve, evaluated, score
from lib.papers import load_paper
from lib.reporting import Result, Study, load_studies, seed_scores, summarise
from stages import run


def main(paper: str = "") -> None:
    """Write reports/metrics/<paper>.json and reports/plots/<paper>/{pck,history}/<run>.csv."""
    studies = load_studies(load_paper(paper))
    metrics = {}
    for study in studies:
        metrics |= {name: evaluate(study.annotations, result) for name, result in study.results.items()}
        if study.benchmark.length:  # predictions of people that a detector found have no annotation's box
            metrics[f"{study.key}_mean_pose"] = baseline(study)
    with atomic(Path("reports/metrics") / f"{paper}.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")

    with atomic(Path("reports/plots") / paper) as plots:
        plots.mkdir()
        for study in studies:
            for name, result in study.results.items():
                if study.benchmark.length:
                    write_csv(plots / "pck" / f"{name}.csv", pck_rows(study.annotations, result))
                if result.histories:
                    write_csv(plots / "history" / f"{name}.csv", history_rows(result, f"val_{HEADLINE[study.key]}"))


def evaluate(annotations: dict[str, Any], result: Result) -> dict[str, Any]:
    """Metrics of one run, mean and std over its seeds, with the number of seeds and of persons or hands.

    Those that were held out of the training persons have a name of their own.
    """
    persons = len(evaluated(annotations, next(iter(result.predictions.values()))["images"]))
    kind = {"test": "persons", "heldout": "heldout_persons"}[result.spec["validation"]]
    return summarise(seed_scores(annotations, result)) | {"seeds": len(result.predictions), kind: persons}


def baseline(study: Study) -> dict[str, Any]:
    """Metrics of the mean pose of the training persons or hands, on those that the first run predicted."""
    train = json.loads((Path("data/annotations") / study.key / "train.json").read_text())
    ids = next(iter(next(iter(study.results.values())).predictions.values()))["ids"]
    predict = mean_hand if study.key in HANDS else mean_pose
    return summarise({0: score(study.annotations, predict(train, study.annotations, ids))})


def pck_rows(annotations: dict[str, Any], result: Result) -> list[dict[str, float]]:
    """The PCK curve of one run, mean over its seeds; thresholds as in `curve`."""
    curves = [curve(annotations, predictions) for predictions in result.predictions.values()]
    thresholds, pck = curves[0][0], np.mean([values for _, values in curves], axis=0)
    return [{"threshold": float(t), "pck": round(float(value), 4)} for t, value in zip(thresholds, pck, strict=True)]


def history_rows(result: Result, headline: str) -> list[dict[str, float | str]]:
    """Loss and validation of one run per epoch, means over its seeds; blank where not measured."""
    seeds = [read_csv(path) for path in result.histories.values()]
    return [
        {"epoch": rows[0]["epoch"]}
        | {
            name: round(mean(float(row[column]) for row in rows), 6) if rows[0][column] else ""
            for name, column in (("loss", "loss"), ("validation", headline))
        }
        for rows in zip(*seeds, strict=True)
    ]


if __name__ == "__main__":
    run(main)
