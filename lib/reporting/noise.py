"""How far a score, or a difference of two, may lie from another training's or other persons' by chance."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from lib.metrics.scores import HANDS, HEADLINE, evaluated, matched, matched_hands, score

NORMAL = 1.96  # standard errors that hold 95 %


def sampling_error(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> float:
    """Standard error of a benchmark's one number, were other persons or hands of the same kind evaluated.

    PCK: binomial over the labelled joints, as Agresti and Coull have it; AP: the same over the persons, which it is at
    least; EPE: of the mean over the hands. It knows nothing of other seeds.
    """
    dataset = annotations["info"]["dataset"]
    if dataset in HANDS:
        found, truth = matched_hands(annotations, predictions)
        errors = np.linalg.norm(found - truth, axis=-1).mean(1)
        return float(errors.std() / sqrt(len(errors)))
    if dataset == "coco":
        trials = len(evaluated(annotations, predictions["images"]))
    else:
        trials = int(matched(annotations, predictions)[2].sum())
    hits = score(annotations, predictions)[HEADLINE[dataset]] / 100 * trials
    share = (hits + 2) / (trials + 4)  # Agresti and Coull: none of a hundred is no proof of none at all
    trials += 4
    return 100 * sqrt(share * (1 - share) / trials)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences, two or more, by Student's t."""
    middle, count = mean(differences), len(differences)
    reach = float(t.ppf(0.975, count - 1)) * stdev(differences) / sqrt(count)
    return middle - reach, middle + reach
