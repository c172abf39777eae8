"""CAL: the network's two branches, pixels with offsets, and losses that follow the batch's own mistakes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from lib.codecs.offset import OffsetCodec
from lib.errors import InputError
from lib.metrics.complexity import cost, count
from lib.models.cal import CAL
from lib.models.hrnet import HRNet
from lib.tasks.offset import ConfidenceAware, confidence, error_distribution
from tests import by_heart

SMALL = {"width": 4, "blocks": 1, "modules": (1, 1, 1), "stem": 8}


def network(seed: int = 0, **sizes) -> CAL:
    torch.manual_seed(seed)
    return CAL(14, **SMALL | sizes)


def task_of(student: nn.Module, side: int = 32) -> ConfidenceAware:
    return ConfidenceAware(student, OffsetCodec((side, side)), by_heart.FLIP_PAIRS)


# The network


@pytest.mark.parametrize(
    "width, joints, side, params_m, g, printed",
    [
        (32, 16, 32, 49.314, 0.2093, (49.3, 0.209)),  # CDKD Table I; Table II prints the same
        (32, 16, 64, 49.314, 0.8373, (49.3, 0.837)),
        (48, 17, 64, 110.322, 1.7667, (110.3, 1.767)),  # Table II prints 1.797 for this G
    ],
)
def test_published_sizes(width, joints, side, params_m, g, printed):
    with torch.device("meta"):
        model = CAL(joints, width)
    counted = cost(count(model, (side, side)))
    assert (round(counted["params_m"], 3), counted["gsummary"]) == (params_m, g)
    assert (round(counted["params_m"], 1), round(counted["gsummary"], 3)) == printed
    assert model.published == f"HRNet-W{width}"


def test_the_heatmaps_branch_is_hrnet_up_to_its_last_maps():
    model = network().eval()
    plain = HRNet(14, **SMALL).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        heatmaps, offsets = model(images)
        torch.testing.assert_close(model.head(model.blocks(plain.features(images))), heatmaps)
    assert heatmaps.shape == (2, 14, 16, 24) and offsets.shape == (2, 14, 2, 16, 24)


def test_the_branches_share_what_comes_before_the_last_stage():
    model = network().eval()
    images = torch.randn(2, 3, 32, 32)
    before = model(images)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("offset_"):
                parameter.add_(0.1)
    after = model(images)
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="input is 48x64 px, expected multiples of 32"):
        network()(torch.zeros(1, 3, 48, 64))
    with pytest.raises(InputError, match="model cal: width is 0"):
        CAL(14, 0)


# Pixels and offsets


def test_literal_targets():
    # Input px (9, 2) is heatmap px (1.875, 0.125): pixel (2, 0), from which it is (-0.125, 0.125) away.
    heatmaps, offsets = OffsetCodec((8, 16)).encode(torch.tensor([[[9.0, 2.0]]]))
    assert heatmaps.shape == (1, 1, 2, 4) and offsets.shape == (1, 1, 2, 2, 4)
    assert heatmaps[0, 0, 0, 2] == 1 and heatmaps.sum() < 1.02
    x = torch.tensor([1.875, 0.875, -0.125, -1.125]) / 1.5
    y = torch.tensor([0.125, -0.875]) / 1.5
    torch.testing.assert_close(offsets[0, 0], torch.stack((x.expand(2, 4), y[:, None].expand(2, 4))))


@settings(deadline=None)
@given(x=st.floats(-0.5, 95.49), y=st.floats(-0.5, 63.49))
def test_encode_and_decode_invert(x, y):
    codec, keypoints = OffsetCodec((64, 96)), torch.tensor([[[x, y], [30.0, 40.0]]])
    assert codec.inside(keypoints).all()
    found, scores = codec.decode(*codec.encode(keypoints))
    torch.testing.assert_close(found, keypoints, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores, torch.ones(1, 2))


def test_a_neighbouring_pixel_tells_the_same_place():
    codec, keypoints = OffsetCodec((64, 64)), torch.tensor([[[20.0, 33.0]]])
    heatmaps, offsets = codec.encode(keypoints)
    torch.testing.assert_close(codec.decode(heatmaps.roll((1, -2), (2, 3)), offsets)[0], keypoints)


# The losses


def spots(*places: tuple[int, int], height: int = 12, width: int = 12) -> Tensor:
    """One person's heatmaps with their maxima at these (x, y)."""
    maps = torch.zeros(1, len(places), height, width)
    for joint, (x, y) in enumerate(places):
        maps[0, joint, y, x] = 1
    return maps


def test_distribution_of_errors():
    error = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]])
    mean, covariance = error_distribution(error, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(mean, torch.tensor([2.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(covariance, torch.ones(2, 2).double() + 1e-6 * torch.eye(2))


def test_weights_are_the_density_of_the_batchs_errors_around_each_joint():
    true = torch.tensor([[[5.0, 6.0], [4.0, 5.0], [7.0, 7.0], [1.0, 11.0]]])
    found = spots((6, 6), (4, 7), (6, 7), (2, 10))
    weights = confidence(found, true, torch.ones(1, 4, dtype=torch.bool))
    errors = torch.tensor([[1.0, 0], [0, 2], [-1, 0], [1, -1]]).double()
    density = multivariate_normal(errors.mean(0), torch.cov(errors.T, correction=0) + 1e-6 * torch.eye(2))
    for joint, (x, y) in enumerate(true[0].int().tolist()):
        expected = torch.zeros(12, 12)
        for row in range(max(0, y - 3), min(12, y + 4)):
            for column in range(max(0, x - 3), min(12, x + 4)):
                expected[row, column] = density.pdf([column - x, row - y])
        torch.testing.assert_close(weights[0, joint], expected / expected.max(), atol=1e-5, rtol=1e-4)


def test_offsets_matter_at_the_joint_alone_once_all_maxima_are_right():
    places = [(5, 6), (4, 5), (0, 11)]
    weights = confidence(spots(*places), torch.tensor([places]).float(), torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(weights, spots(*places))


def test_losses_of_two_joints():
    task, batch = task_of(nn.Identity(), side=48), by_heart.people(48, count=1)
    batch = replace(batch, keypoints=batch.keypoints[:, :2], visible=torch.tensor([[True, False]]))
    heatmaps, offsets = task.codec.encode(batch.keypoints)
    exact = task.losses((heatmaps, offsets), batch)
    assert exact["heatmap"] == 0 and exact["offset"] == 0
    losses = task.losses((heatmaps + 0.5, offsets + torch.tensor([1.0, -3.0])[:, None, None]), batch)
    # The maximum is right, so one pixel of 144 has an offset to learn; the second joint has no label.
    assert losses["heatmap"].item() == pytest.approx(0.5 * 0.25 / 2)
    assert losses["offset"].item() == pytest.approx(0.7 * (1 + 3) / 2 / 144 / 2)


def test_joints_without_a_label_or_outside_the_view_have_no_loss():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    hidden = torch.rand(12, 14) < 0.4
    data = replace(batch, visible=~hidden)
    whole = task(data)
    moved = task(replace(data, keypoints=torch.where(hidden[..., None], 7.0, data.keypoints)))
    outside = task(replace(batch, keypoints=torch.where(hidden[..., None], 40.0, data.keypoints)))
    for name, loss in whole.items():
        assert torch.equal(moved[name], loss) and torch.equal(outside[name], loss) and loss > 0
    assert all(loss == 0 for loss in task(replace(batch, visible=torch.zeros(12, 14, dtype=torch.bool))).values())


def test_each_loss_teaches_its_branch_and_what_both_share():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    everything = by_heart.names(task, "")
    of_offsets = by_heart.names(task, ".offset_")
    of_heatmaps = by_heart.names(task, "backbone.transition3.", "backbone.stage4.", "student.blocks.", "student.head.")
    assert by_heart.taught(task, batch, "heatmap") == everything - of_offsets
    assert by_heart.taught(task, batch, "offset") == everything - of_heatmaps


def test_flip_test_of_a_mirrored_image_gives_the_mirrored_people():
    task, images = task_of(network().eval()), by_heart.people(32).images["student"]
    order = list(range(14))
    for left, right in by_heart.FLIP_PAIRS:
        order[left], order[right] = right, left
    keypoints, scores = task.predict(images, flip_test=True)
    mirrored, their_scores = task.predict(images.flip(3), flip_test=True)
    torch.testing.assert_close(their_scores[:, order], scores)
    torch.testing.assert_close(31 - mirrored[:, order, 0], keypoints[..., 0])
    torch.testing.assert_close(mirrored[:, order, 1], keypoints[..., 1])


def test_a_dozen_people_are_learned_by_heart():
    task, batch = task_of(network(width=16, stem=16)), by_heart.people(32)
    assert by_heart.score(task, batch) < 20
    by_heart.train(task, batch, steps=150, lr=1e-2)
    assert by_heart.score(task, batch) > 90
