"""Several networks in one: what they share, what each of them is alone, and the ensemble of their heatmaps."""

import pytest
import torch
from torch import nn

from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models import build_model
from lib.models.multibranch import MultiBranch, Outputs, build_branches
from lib.weights import load_weights, save_weights

JOINTS, SIZE = 5, (64, 64)


def hourglass(stacks: int, **changes) -> dict:
    settings = {"name": "hourglass", "joints": JOINTS, "stacks": stacks, "channels": 8, "stem": "pytorch-pose"}
    return settings | changes


MOBILEPOSE = {"name": "mobilepose", "joints": JOINTS, "encoder": "shufflenet_v2"}
# Specs of the branches, the deployed one first, and the number of shared stacks.
CASES = {
    "balanced": ([hourglass(3)] * 3, 1),
    "unbalanced": ([hourglass(3), hourglass(4), hourglass(5)], 2),
    "deepest_first": ([hourglass(3), hourglass(2)], 1),
    "stem_only": ([hourglass(1)] * 3, 0),
    "four": ([hourglass(2, stem="newell")] * 4, 1),
    "five": ([hourglass(2)] * 5, 1),
    "pyranet": ([hourglass(2, name="pyranet")] * 2, 1),
    "mobilepose": ([MOBILEPOSE] * 3, 0),
}


def build(case: str, aggregation: str = "fau") -> MultiBranch:
    """The network of a case in evaluation, its running statistics not the initial ones."""
    specs, shared = CASES[case]
    torch.manual_seed(0)
    network = build_branches(build_model(specs[0]), specs[1:], shared, aggregation)
    with torch.no_grad():
        network(images(3))
    return network.eval()


@pytest.fixture(scope="module", params=CASES)
def case(request) -> tuple[MultiBranch, list[dict]]:
    """The network of a case, for tests that leave its parameters as they are, and the specs of its branches."""
    return build(request.param), CASES[request.param][0]


def images(people: int = 2) -> torch.Tensor:
    return torch.rand(people, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def identities(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_the_ensemble_weighs_every_joint_of_every_branch_in_every_image():
    one = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[5.0, 6.0]], [[7.0, 8.0]]]])  # two images, two joints, 1 x 2 px
    two = torch.tensor([[[[10.0, 0.0]], [[0.0, 10.0]]], [[[20.0, 0.0]], [[0.0, 20.0]]]])
    weights = torch.tensor([[[0.5, 1.0], [0.5, 0.0]], [[0.25, 0.0], [0.75, 1.0]]])
    expected = torch.tensor([[[[5.5, 1.0]], [[3.0, 4.0]]], [[[16.25, 1.5]], [[0.0, 20.0]]]])
    assert torch.equal(Outputs([], [[one], [two]], weights).ensemble(), expected)


def test_the_ensemble_takes_the_last_heatmaps_of_each_branch_however_many_it_has():
    maps = torch.arange(6.0).reshape(6, 1, 1, 1, 1)
    weights = torch.full((1, 3, 1), 1 / 4)
    outputs = Outputs([maps[0]], [[maps[1]], [maps[0], maps[3]], [maps[0], maps[0], maps[4]]], weights)
    assert outputs.ensemble().item() == (1 + 3 + 4) / 4


def test_with_the_mean_the_ensemble_is_the_mean():
    outputs = build("four", "mean")(images())
    last = torch.stack([maps[-1] for maps in outputs.branches])
    torch.testing.assert_close(outputs.ensemble(), last.mean(0))


def test_shapes(case):
    network, specs = case
    outputs = network(images())
    assert len(outputs.shared) == network.shared
    assert [len(maps) for maps in outputs.branches] == [spec.get("stacks", 1) - network.shared for spec in specs]
    everything = [*outputs.shared, *(maps for branch in outputs.branches for maps in branch), outputs.ensemble()]
    assert all(maps.shape == (2, JOINTS, 16, 16) for maps in everything)
    assert outputs.weights.shape == (2, len(specs), JOINTS)


@pytest.mark.parametrize("training", [False, True])
def test_each_network_alone_gives_the_heatmaps_of_its_branch(case, training):
    network = case[0].train(training)
    with torch.no_grad():
        outputs = network(images())
        for alone, own in zip(network.networks, outputs.branches, strict=True):
            assert equal(alone(images()), [*outputs.shared, *own])
    network.eval()
    assert not any(torch.equal(own[-1], outputs.branches[0][-1]) for own in outputs.branches[1:])


def gradients(network: nn.Module, maps: torch.Tensor) -> list[torch.Tensor]:
    """Of the squared maps by all parameters that they depend on."""
    for parameter in network.parameters():
        parameter.grad = None
    maps.square().sum().backward()
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_gradients_of_a_branch_are_those_of_its_network_alone(case):
    network, _ = case
    together = gradients(network, network(images()).branches[-1][-1])
    last = network.networks[-1]
    assert equal(together, gradients(network, last(images())[-1]))
    assert len(together) >= len(list(last.parameters())) and next(last.stem.parameters()).grad.any()


def shared_modules(network: nn.Module, shared: int) -> list[nn.Module]:
    """What a branch has in common with the others."""
    if hasattr(network, "encoder"):
        return [network.stem, network.encoder]
    return [network.stem, *network.stacks[:shared], *network.merges[:shared]]


def test_the_networks_share_the_same_modules_and_no_others(case):
    network, specs = case
    first, *others = network.networks
    common = shared_modules(first, network.shared)
    assert len(common) == (2 if specs[0] == MOBILEPOSE else 1 + 2 * network.shared)
    for other in others:
        assert all(a is b for a, b in zip(common, shared_modules(other, network.shared), strict=True))
        assert identities(first) & identities(other) == identities(nn.ModuleList(common))


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_count_once(case):
    network, specs = case
    common = size(nn.ModuleList(shared_modules(network.networks[0], network.shared)))
    everything = sum(map(size, network.networks)) + size(network.aggregation)
    assert size(network) == everything - (len(specs) - 1) * common


def test_every_layer_runs_once(case):
    network, _ = case
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    calls = []
    hooks = [layer.register_forward_hook(lambda layer, *_: calls.append(layer)) for layer in convolutions]
    network(images())
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(convolutions) and set(calls) == set(convolutions)


def test_the_aggregation_sees_what_the_stem_gives_and_teaches_it(case):
    network, _ = case
    stem = network.networks[0].stem
    weights = network(images()).weights
    assert torch.equal(weights, network.aggregation(stem(images())))
    gradients(network, weights)
    assert next(stem.parameters()).grad.any()


def test_each_branch_can_be_deployed_alone(case, tmp_path):
    network, specs = case
    with torch.no_grad():
        outputs = network(images())
    for branch, spec, own in zip(network.networks, specs, outputs.branches, strict=True):
        save_weights(tmp_path / "weights.safetensors", branch, spec)
        deployed = load_weights(tmp_path / "weights.safetensors", spec).eval()
        assert not identities(deployed) & identities(network)
        with torch.no_grad():
            assert equal(deployed(images()), [*outputs.shared, *own])


@pytest.mark.parametrize("name", ["unbalanced", "mobilepose"])
def test_the_cost_of_a_branch_is_that_of_the_plain_network(name):
    specs, shared = CASES[name]
    with torch.device("meta"):
        plain = build_model(specs[0])
        branch = build_branches(build_model(specs[0]), specs[1:], shared, "fau").networks[0]
    assert count(branch, SIZE) == count(plain, SIZE)
    assert branch.state_dict().keys() == plain.state_dict().keys()


def test_training_one_branch_leaves_the_others_own_part_as_it_was():
    network = build("unbalanced").train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    network(images()).branches[1][-1].square().sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    places = ("stem", "stacks.0", "stacks.1", "merges.0", "merges.1")
    expected = (*(f"networks.0.{place}" for place in places), "networks.1.")
    assert changed and all(name.startswith(expected) for name in changed)


@pytest.mark.parametrize(
    "specs, shared, aggregation, message",
    [
        ([hourglass(2)], 1, "fau", "a multi-branch network needs two branches or more: name the models of the others"),
        (
            [hourglass(2), hourglass(2), hourglass(2, channels=12)],
            *(1, "fau", "branch 3 is no network of the first one's kind, width and joints"),
        ),
        (
            [hourglass(2), hourglass(2, joints=6)],
            *(1, "fau", "branch 2 is no network of the first one's kind, width and joints"),
        ),
        (
            [hourglass(2), MOBILEPOSE],
            *(0, "fau", "branch 2 is no network of the first one's kind, width and joints"),
        ),
        (
            [hourglass(3), hourglass(2)],
            *(2, "fau", "branch 2 has 2 stacks and 2 are shared: it needs one of its own"),
        ),
        (
            [hourglass(1), hourglass(2)],
            *(1, "fau", "branch 1 has 1 stacks and 1 are shared: it needs one of its own"),
        ),
        ([hourglass(2)] * 2, 1, "vote", "aggregation is 'vote', expected one of: mean, gate, fau"),
    ],
)
def test_impossible_networks_are_refused_with_one_line(specs, shared, aggregation, message):
    with pytest.raises(InputError) as error:
        build_branches(build_model(specs[0]), specs[1:], shared, aggregation)
    assert str(error.value) == message
