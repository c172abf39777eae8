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
from lib.params import TrainSpec
from lib.tasks import build_task
from lib.tasks.cmkg import load_prior
from lib.training.checkpoint import load_weights
from lib.training.distributed import Process
from stages import load_spec
from stages.train import CROPS, MODELS, batches, weights_path

BATCHES = 8


def main() -> None:
    for run in sys.argv[1:]:
        content = load_spec(f"cmkg/{run}")
        spec = TrainSpec.model_validate(content["spec"])
        shares = [f"{100 * share(spec, seed):.2g} %" for seed in content["seeds"]]
        print(f"{run}: {', '.join(shares)}")


def share(spec: TrainSpec, seed: int) -> float:
    """Norm of the regulariser's gradient relative to that of the regression loss."""
    student = load_weights(MODELS / spec.paper / spec.run / f"seed{seed}" / "weights.safetensors")
    prior = load_prior(weights_path(spec, "prior", seed), student) if spec.prior else ()
    task = build_task(spec, student, (), None, prior).train()
    crops = {split: open_crops(CROPS / spec.crops, split) for split in ("train", "val")}
    images = json.loads((CROPS / spec.crops / "val.json").read_text())["images"]
    training, _ = batches(spec, crops, np.array([image["id"] for image in images]), seed, Process())
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
