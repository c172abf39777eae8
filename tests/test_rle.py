"""RLE: the network's size, the flow as a density, the likelihood and what it teaches, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Laplace

from lib.codecs.coordinates import CoordinatesCodec
from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models.rle import RLE
from lib.tasks.rle import Flow, ResidualLogLikelihood
from tests import by_heart

SMALL = {"width": 4, "blocks": 1, "modules": (1, 1, 1), "stem": 8}


def network(seed: int = 0, **sizes) -> RLE:
    torch.manual_seed(seed)
    return RLE(14, (32, 32), **SMALL | sizes)


def task_of(student: nn.Module) -> ResidualLogLikelihood:
    return ResidualLogLikelihood(student, CoordinatesCodec((32, 32)), by_heart.FLIP_PAIRS)


def curved(seed: int = 0) -> Flow:
    """A flow that is no longer the normal distribution that it starts as."""
    torch.manual_seed(seed)
    flow = Flow().double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize(
    "side, params_m, g, own_g",
    [
        (64, 29.093, 0.593, 0.0005),  # as CDKD's Table II prints: 29.1 and 0.593
        (32, 28.675, 0.148, 0.0001),  # it prints the same for 32 px, where the network is smaller
    ],
)
def test_published_sizes(side, params_m, g, own_g):
    with torch.device("meta"):
        counts = count(RLE(17, (side, side), 32), (side, side))
    # The printed G leaves out the two last layers, whose published class multiplies by itself.
    layers = 2 * 34 * (32 * side * side // 16) ** 2 / (32 * side * side // 16)
    assert counts["params"] / 1e6 == pytest.approx(params_m, abs=5e-4)
    assert round((counts["summary_macs"] - layers) / 2**30, 3) == g
    assert layers / 2**30 == pytest.approx(own_g, abs=5e-5)


def test_coordinates_are_those_of_features_of_length_one():
    model, images = network().eval(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        model.coordinates.bias.uniform_(-0.1, 0.1)
        fractions, deviations, scores = model(images)
        features = model.backbone(images)[0].flatten(1)
        products = (features @ model.coordinates.weight.T) / features.norm(dim=1, keepdim=True) + model.coordinates.bias
        torch.testing.assert_close(fractions, 0.5 + products.view(3, 14, 2))
        torch.testing.assert_close(deviations, torch.sigmoid(model.deviations(features)).view(3, 14, 2))
        torch.testing.assert_close(scores, 1 - deviations.mean(-1))


def test_the_flow_starts_as_the_normal_distribution():
    pairs = torch.randn(50, 2)
    torch.testing.assert_close(Flow()(pairs), -pairs.square().sum(1) / 2 - math.log(2 * math.pi), atol=1e-3, rtol=1e-3)


def test_the_flow_is_a_density():
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    pairs = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = curved()(pairs).exp()
    cell = (axis[1] - axis[0]) ** 2
    assert (density * cell).sum().item() == pytest.approx(1, abs=1e-3)
    assert (density[:, None] * pairs * cell).sum(0).abs().max() > 0.02  # and not the one it starts as


def test_every_number_of_a_pair_changes_what_is_likely_of_the_other():
    flow = curved()
    pair = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(flow(pair), pair, create_graph=True)
    (mixed,) = torch.autograd.grad(slope[0, 0], pair)
    assert mixed[0, 1].abs() > 1e-3


def test_the_likelihood_of_two_joints():
    task, batch = task_of(nn.Identity()), by_heart.people(32, count=1)
    fractions = torch.tensor([[[0.5, 0.4], [0.3, 0.2]]])
    deviations = torch.tensor([[[0.1, 0.3], [0.2, 0.2]]])
    batch = replace(batch, keypoints=task.codec.decode(torch.tensor([[[0.55, 0.25], [0.3, 0.3]]])))
    for visible, counted in (([True, True], 2), ([True, False], 1), ([False, False], 0)):
        losses = task.losses((fractions, deviations, None), replace(batch, visible=torch.tensor([visible])))
        errors = torch.tensor([[[-0.5, 0.5], [0.0, -0.5]]])[:, :counted]
        sizes = deviations[:, :counted].log().sum()
        flow = sizes + (errors.square().sum() / 2 + counted * math.log(2 * math.pi))
        torch.testing.assert_close(losses["flow"], flow, atol=2e-3, rtol=0)
        # As the public code has it, the density of a Laplace distribution of scale sqrt(2) but for sqrt(4 / pi).
        laplace = -Laplace(0.0, math.sqrt(2)).log_prob(errors).sum() - counted * math.log(4 / math.pi)
        torch.testing.assert_close(losses["laplace"], sizes + laplace)


def test_joints_without_a_label_or_outside_the_view_have_no_loss():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    hidden = torch.rand(12, 14) < 0.4
    whole = task(replace(batch, visible=~hidden))
    for place in (7.0, 40.0, 1e9):
        moved = torch.where(hidden[..., None], place, batch.keypoints)
        for name, loss in task(replace(batch, keypoints=moved, visible=~hidden)).items():
            assert torch.equal(loss, whole[name]) and loss != 0
    outside = torch.where(hidden[..., None], 40.0, batch.keypoints)
    assert all(torch.equal(loss, whole[name]) for name, loss in task(replace(batch, keypoints=outside)).items())


def test_losses_of_a_batch_are_the_means_over_its_parts():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    parts = [
        task(replace(batch, images={"student": batch.images["student"][h]}, keypoints=batch.keypoints[h], visible=v))
        for h, v in ((slice(0, 6), batch.visible[:6]), (slice(6, 12), batch.visible[6:]))
    ]
    for name, loss in task(batch).items():
        torch.testing.assert_close(loss, (parts[0][name] + parts[1][name]) / 2)


def test_each_loss_teaches_the_network_and_the_likelihood_the_flow():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    everything, of_flow = by_heart.names(task, ""), by_heart.names(task, "flow.")
    assert len(of_flow) == 6 * 2 * 6
    assert by_heart.taught(task, batch, "flow") == everything
    assert by_heart.taught(task, batch, "laplace") == everything - of_flow


def test_the_flow_is_no_part_of_the_network():
    task = task_of(network())
    assert not any("flow" in name for name in task.student.state_dict())


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match="input is 64x32 px, it was built for 32x32"):
        network()(torch.zeros(1, 3, 64, 32))


def test_a_dozen_people_are_learned_by_heart():
    """Their labels are blurred: errors that vanish would make the likelihood of a few joints all that counts."""
    task, batch = task_of(network(width=8, stem=16)), by_heart.people(32)
    assert by_heart.score(task, batch) < 20
    by_heart.train(task, batch, steps=300, lr=3e-3, blur=0.8)
    assert by_heart.score(task, batch) > 90
