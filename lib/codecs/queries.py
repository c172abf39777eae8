"""Queries that each claim one joint, or none, and place it."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lib.codecs.coordinates import CoordinatesCodec


def assign(cost: Tensor) -> Tensor:
    """The queries (B, K) that K joints get at least total cost, each another; cost: (B, Q, K)."""
    columns = [linear_sum_assignment(one.T)[1] for one in cost.detach().double().cpu().numpy()]
    return torch.from_numpy(np.stack(columns)).to(cost.device)


@dataclass(frozen=True)
class QueriesCodec(CoordinatesCodec):
    """Coordinates as fractions of the view, each given by one of more queries than there are joints (PRTR)."""

    def match(self, probabilities: Tensor, fractions: Tensor, truth: Tensor, labelled: Tensor) -> Tensor:
        """The queries (B, K) that stand for the joints in training: likely ones that are near.

        probabilities (B, Q, K) of the joints, fractions (B, Q, 2), truth (B, K, 2), labelled (B, K) bool. The cost is
        five times the distance along both axes less the probability, as in the authors' public code; a joint without a
        label is anywhere.
        """
        distance = (fractions[:, :, None] - truth[:, None]).abs().sum(-1)
        return assign(5 * torch.where(labelled[:, None], distance, 0) - probabilities)

    def read(self, logits: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
        """The joints' fractions (B, K, 2) and scores (B, K) of logits (B, Q, K + 1) and fractions (B, Q, 2).

        Each joint has the query of the assignment with the greatest sum of probabilities, in which "none" does not
        take part; its probability is the score.
        """
        probabilities = logits[..., :-1].float().softmax(-1)
        chosen = assign(-probabilities)
        scores = probabilities.transpose(1, 2).gather(2, chosen[..., None]).squeeze(2)
        return fractions.float().gather(1, chosen[..., None].expand(-1, -1, 2)), scores
