"""The network of OKDHP: several pose networks that share their first part, and what weighs their heatmaps."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lib.errors import InputError
from lib.models import build_model
from lib.models.aggregation import build_aggregation


@dataclass(frozen=True)
class Outputs:
    """Heatmaps (B, joints, h, w) of the shared stacks and of each branch's own, in order; weights (B, T, joints)."""

    shared: list[Tensor]
    branches: list[list[Tensor]]
    weights: Tensor

    def ensemble(self) -> Tensor:
        """The target heatmaps (B, joints, h, w): the branches' last ones, weighted joint by joint (OKDHP Eq. 6)."""
        last = [maps[-1] for maps in self.branches]
        return sum(weight[..., None, None] * maps for weight, maps in zip(self.weights.unbind(1), last, strict=True))


class MultiBranch(nn.Module):
    """T pose networks with one stem and the same first stacks, and the aggregation of their heatmaps (Sect. 3.2).

    Each of `networks` is complete: the shared modules are the same objects in all of them, so one alone is the plain
    network, and gives the same heatmaps. The aggregation sees the stem's output.
    forward: images (B, 3, H, W) -> Outputs; what is shared runs once.
    """

    def __init__(self, networks: Sequence[nn.Module], shared: int, aggregation: nn.Module):
        super().__init__()
        first, *others = networks
        for network in others:
            network.share(first, shared)
        self.networks = nn.ModuleList(networks)
        self.shared = shared
        self.aggregation = aggregation

    def forward(self, images: Tensor) -> Outputs:
        first = self.networks[0]
        stem = first.stem(images)
        x, shared = first.trunk(stem, self.shared)
        branches = [network.branch(x, self.shared) for network in self.networks]
        return Outputs(shared, branches, self.aggregation(stem))


def build_branches(
    target: nn.Module, others: Sequence[dict], shared: int, aggregation: str, variant: str = "paper"
) -> MultiBranch:
    """Build the network around the branch that is deployed, `target`, from the build_model specs of the others.

    Raises InputError for less than two branches, for networks of different widths, and where a branch has no stack of
    its own.
    """
    networks = [target, *(build_model(spec) for spec in others)]
    if len(networks) < 2:
        raise InputError("a multi-branch network needs two branches or more: name the models of the others")
    for number, network in enumerate(networks, start=1):
        if (type(network), network.width, network.joints) != (type(target), target.width, target.joints):
            raise InputError(f"branch {number} is no network of the first one's kind, width and joints")
        if shared and len(network.stacks) <= shared:
            raise InputError(
                f"branch {number} has {len(network.stacks)} stacks and {shared} are shared: it needs one of its own"
            )
    unit = build_aggregation(aggregation, target.stem_channels, len(networks), target.joints, target.width, variant)
    return MultiBranch(networks, shared, unit)
