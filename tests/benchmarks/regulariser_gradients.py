"""How much a regulariser pulls beside the labels, of trained runs of CMKG's target datasets.

    python -m tests.benchmarks.regulariser_gradients stb_prior_l2 stb_l2_1e_5

Run in the repository's root after the runs were trained. Prints, per run and seed, the norm of the gradient of R
(CMKG Eq. 10) at the end of the training in percent of that of the regression loss, whose gradient is the mean over the
first eight batches of an epoch.
"""

import json
import sys

import numpy as np
import torch

from lib.data.crops import open_crops
from lib.runs import Run, as_run
from lib.tasks import build_task
from lib.training.distributed import Process
from lib.training.seeds import CROPS, MODELS, batches, weights_path
from lib.weights import load_weights
from stages import load_spec

BATCHES = 8


def main() -> None:
    for name in sys.argv[1:]:
        spec = load_spec(f"cmkg/{name}")
        shares = [f"{100 * share(as_run(spec['run']), seed):.2g} %" for seed in spec["seeds"]]
        print(f"{name}: {', '.join(shares)}")


def share(run: Run, seed: int) -> float:
    """Norm of the regulariser's gradient relative to that of the regression loss."""
    student = load_weights(MODELS / run.label / f"seed{seed}" / "weights.safetensors")
    prior = weights_path(run, "prior", seed) if run.prior else None
    task = build_task(run, student, (), None, prior).train()
    crops = {split: open_crops(CROPS / run.crops, split) for split in ("train", "val")}
    images = json.loads((CROPS / run.crops / "val.json").read_text())["images"]
    training, _ = batches(run, crops, np.array([image["id"] for image in images]), seed, Process())
    parameters, labels = list(student.parameters()), 0
    for batch, _ in zip(training.epoch(1), range(BATCHES), strict=False):
        losses = task(batch)
        labels = labels + flat(torch.autograd.grad(losses["regression"], parameters)) / BATCHES
    return float(flat(torch.autograd.grad(losses["regulariser"], parameters)).norm() / labels.norm())


def flat(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """All numbers in a row."""
    return torch.cat([gradient.flatten() for gradient in gradients])


if __name__ == "__main__":
    main()
