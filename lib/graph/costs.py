"""What trainings cost: multiply-accumulates, hours of a device, and how long several devices take."""

import heapq
from collections.abc import Mapping
from functools import cache
from json import dumps, loads
from typing import Any

import torch

from lib.metrics.complexity import count
from lib.models import build_model
from lib.runs import Run

# Training persons or hands, of the published splits.
PEOPLE = {"lsp": 11_000, "mpii": 22_246, "coco": 149_813, "rhd": 41_258, "stb": 15_000, "freihand": 29_304}
JOINTS = {"lsp": 14, "mpii": 16, "coco": 17, "rhd": 21, "stb": 21, "freihand": 21}
BACKWARD = 2  # a backward pass is about two forward ones
META = 2  # meta-training judges its regulariser by a second pass


def training_macs(run: Run, runs: Mapping[str, Run], rendered: int) -> float:
    """Multiply-accumulates of one seed of a run; rendered: number of the synthetic hands."""
    people = min(run.train_samples or PEOPLE[run.dataset], PEOPLE[run.dataset])
    people += rendered if run.synthetic else 0
    branches = run.settings.get("branches", ())
    step = sum(forward(model, run.dataset, run.input) for model in (run.model, *branches)) * (1 + BACKWARD)
    if run.method == "cmkg":
        step *= META
    if run.teacher:
        step += forward(runs[run.teacher].model, run.dataset, run.teacher_input)
    return float(step * people * run.epochs)


def forward(model: Mapping[str, Any], dataset: str, size: tuple[int, int]) -> int:
    """Multiply-accumulates of a network on one image."""
    return _forward(dumps(model), JOINTS[dataset], tuple(size))


@cache
def _forward(model: str, joints: int, size: tuple[int, int]) -> int:
    with torch.device("meta"):  # shapes alone
        return count(build_model({**loads(model), "joints": joints}), size)["macs"]


def longest_chain(costs: Mapping[str, float], needs: Mapping[str, list[str]]) -> float:
    """The largest sum of costs along runs that wait for each other."""

    @cache
    def ends(label: str) -> float:
        return costs[label] + max((ends(one) for one in needs[label]), default=0.0)

    return max(map(ends, costs), default=0.0)


def makespan(costs: Mapping[str, float], needs: Mapping[str, list[str]], devices: int) -> float:
    """How long so many devices take, each always at the ready run on which the most still waits."""
    waited: dict[str, list[str]] = {label: [] for label in costs}
    for label, partners in needs.items():
        for partner in partners:
            waited[partner].append(label)

    @cache
    def urgency(label: str) -> float:
        return costs[label] + max((urgency(one) for one in waited[label]), default=0.0)

    missing = {label: len(partners) for label, partners in needs.items()}
    ready = [(-urgency(label), label) for label, number in missing.items() if number == 0]
    heapq.heapify(ready)
    busy: list[tuple[float, str]] = []
    now = 0.0
    while ready or busy:
        while ready and len(busy) < devices:
            _, label = heapq.heappop(ready)
            heapq.heappush(busy, (now + costs[label], label))
        now, done = heapq.heappop(busy)
        for label in waited[done]:
            missing[label] -= 1
            if missing[label] == 0:
                heapq.heappush(ready, (-urgency(label), label))
    return now
