"""Score the predictions of a paper's runs: `python -m stages.evaluate fpd`. Needs no network and no GPU."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from lib.files import atomic
from lib.metrics import curve, score
from lib.metrics.mean_pose import mean_pose
from lib.papers import load_paper
from lib.params import load_params
from lib.reporting import Result, load_results, read_csv, seed_scores, summarise
from stages import run


def main(paper: str = "fpd") -> None:
    """Write reports/metrics/<paper>.json and reports/plots/<paper>/{pck,history}.csv."""
    runs = load_params().runs(paper)
    folder = Path("data/annotations") / load_paper(paper).dataset
    train, annotations = (json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val"))
    results = load_results(Path("models") / paper, runs)

    metrics = {name: evaluate(annotations, result) for name, result in results.items()}
    ids = next(iter(next(iter(results.values())).predictions.values()))["ids"]
    metrics["mean_pose"] = summarise({0: score(annotations, mean_pose(train, annotations, ids))})
    with atomic(Path("reports/metrics") / f"{paper}.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")

    plots = Path("reports/plots") / paper
    write_csv(
        plots / "pck.csv", [row for name, result in results.items() for row in pck_rows(name, annotations, result)]
    )
    write_csv(plots / "history.csv", [row for name, result in results.items() for row in history_rows(name, result)])


def evaluate(annotations: dict[str, Any], result: Result) -> dict[str, Any]:
    """Metrics of one run in percent, mean and std over its seeds, with the number of seeds and persons."""
    persons = len(next(iter(result.predictions.values()))["ids"])
    return summarise(seed_scores(annotations, result)) | {"seeds": len(result.predictions), "persons": persons}


def pck_rows(name: str, annotations: dict[str, Any], result: Result) -> list[dict[str, Any]]:
    """The PCK curve of one run, mean over its seeds."""
    curves = [curve(annotations, predictions) for predictions in result.predictions.values()]
    thresholds, pck = curves[0][0], np.mean([values for _, values in curves], axis=0)
    return [
        {"run": name, "threshold": float(threshold), "pck": round(float(value), 4)}
        for threshold, value in zip(thresholds, pck, strict=True)
    ]


def history_rows(name: str, result: Result) -> list[dict[str, Any]]:
    """The histories of all seeds of one run; columns as the training wrote them."""
    return [{"run": name, "seed": seed, **row} for seed, path in result.histories.items() for row in read_csv(path)]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """All columns that occur; blank where a row lacks one."""
    columns = dict.fromkeys(column for row in rows for column in row)
    with atomic(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run(main)
