"""Score the predictions of a paper's runs: `python -m stages.evaluate fpd`. Needs no network and no GPU."""

import csv
import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lib.files import atomic
from lib.metrics import curve, score
from lib.metrics.mean_pose import mean_pose
from lib.papers import load_paper
from lib.params import load_params
from lib.reporting import Result, load_results, read_csv, seed_scores, summarise
from stages import run

HISTORY = ("loss", "val_mean")


def main(paper: str = "fpd") -> None:
    """Write reports/metrics/<paper>.json and reports/plots/<paper>/{pck,history}/<run>.csv."""
    runs = load_params().runs(paper)
    folder = Path("data/annotations") / load_paper(paper).dataset
    train, annotations = (json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val"))
    results = load_results(Path("models") / paper, runs)

    metrics = {name: evaluate(annotations, result) for name, result in results.items()}
    ids = next(iter(next(iter(results.values())).predictions.values()))["ids"]
    metrics["mean_pose"] = summarise({0: score(annotations, mean_pose(train, annotations, ids))})
    with atomic(Path("reports/metrics") / f"{paper}.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")

    with atomic(Path("reports/plots") / paper) as plots:
        for name, result in results.items():
            write_csv(plots / "pck" / f"{name}.csv", pck_rows(annotations, result))
            write_csv(plots / "history" / f"{name}.csv", history_rows(result))


def evaluate(annotations: dict[str, Any], result: Result) -> dict[str, Any]:
    """Metrics of one run in percent, mean and std over its seeds, with the number of seeds and persons."""
    persons = len(next(iter(result.predictions.values()))["ids"])
    return summarise(seed_scores(annotations, result)) | {"seeds": len(result.predictions), "persons": persons}


def pck_rows(annotations: dict[str, Any], result: Result) -> list[dict[str, float]]:
    """The PCK curve of one run, mean over its seeds."""
    curves = [curve(annotations, predictions) for predictions in result.predictions.values()]
    thresholds, pck = curves[0][0], np.mean([values for _, values in curves], axis=0)
    return [{"threshold": float(t), "pck": round(float(value), 4)} for t, value in zip(thresholds, pck, strict=True)]


def history_rows(result: Result) -> list[dict[str, float | str]]:
    """Loss and validation PCK of one run per epoch, means over its seeds; blank where not measured."""
    seeds = [read_csv(path) for path in result.histories.values()]
    return [
        {"epoch": rows[0]["epoch"]}
        | {name: round(mean(float(row[name]) for row in rows), 6) if rows[0][name] else "" for name in HISTORY}
        for rows in zip(*seeds, strict=True)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows with the same columns as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run(main)
