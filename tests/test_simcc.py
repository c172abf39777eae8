"""SimCC: literal targets, the encode-decode cycle, and classes that nest between views of different sizes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.codecs.simcc import SimccCodec

SIZE = (64, 96)  # input px
TARGETS = pytest.mark.parametrize("target", [{}, {"smoothing": 0.2}, {"sigma": 1.5}])


def points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


def test_literal_one_hot():
    # Two bins a pixel: those of pixel 1 are 2, left of its centre, and 3, from its centre on.
    codec = SimccCodec((2, 3), split=2)
    x, y = codec.encode(points((0.9, 0), (1, -0.5), (2.4, 1.4)))
    assert x.tolist() == [[[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]]
    assert y.tolist() == [[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]]
    smooth_x, smooth_y = SimccCodec((2, 3), split=2, smoothing=0.3).encode(points((0.9, 0)))
    torch.testing.assert_close(smooth_x, torch.tensor([[[0.06, 0.06, 0.7, 0.06, 0.06, 0.06]]]))
    torch.testing.assert_close(smooth_y, torch.tensor([[[0.1, 0.7, 0.1, 0.1]]]))


def test_literal_normal_distribution():
    # x + 0.5 = 1.25 px is the centre of bin 2, y + 0.5 = 1 px the edge between bins 1 and 2.
    x, y = SimccCodec((2, 2), split=2, sigma=1).encode(points((0.75, 0.5)))
    side, far = math.exp(-1 / 2), math.exp(-4 / 2)
    torch.testing.assert_close(x, torch.tensor([[[far, side, 1, side]]]) / (1 + 2 * side + far))
    near, far = math.exp(-1 / 8), math.exp(-9 / 8)
    torch.testing.assert_close(y, torch.tensor([[[far, near, near, far]]]) / (2 * near + 2 * far))


def test_literal_decoding():
    x, y = torch.tensor([[[0.1, 0.2, 0.6, 0.1]]]), torch.tensor([[[0.3, 0.3, 0.2, 0.0, 0.1, 0.1]]])
    keypoints, scores = SimccCodec((3, 2), split=2).decode(x, y)
    assert keypoints.tolist() == [[[0.75, -0.25]]]  # bin 2 of x is [1, 1.5) px from the edge; the first of equal ones
    assert scores.tolist() == [[pytest.approx(0.3)]]  # the less certain axis
    _, smooth = SimccCodec((3, 2), split=2, smoothing=0.2).decode(x, y)
    assert smooth.item() == pytest.approx(0.3 / 0.8)
    _, normal = SimccCodec((3, 2), split=2, sigma=2).decode(x, y)
    assert normal.item() == pytest.approx(0.3 * 2 * math.sqrt(2 * math.pi), rel=1e-2)  # seven sigma of a density


@pytest.mark.parametrize(
    ("size", "split", "bins"),
    [((64, 64), 2, (128, 128)), ((256, 192), 2, (384, 512)), ((64, 48), 0.5, (24, 32)), ((22, 27), 3.1, (84, 68))],
)
def test_numbers_of_classes(size, split, bins):
    codec = SimccCodec(size, split=split)
    assert codec.bins == bins == tuple(axis.shape[-1] for axis in codec.encode(torch.zeros(2, 5, 2)))


@TARGETS
@settings(deadline=None)
@given(x=st.floats(-50, 150), y=st.floats(-50, 150), split=st.sampled_from([0.5, 1, 2, 3]))
def test_targets_are_distributions(target, x, y, split):
    for axis in SimccCodec(SIZE, split=split, **target).encode(points((x, y), (-1e6, 1e6))):
        assert axis.dtype == torch.float32 and axis.min() >= 0
        torch.testing.assert_close(axis.sum(-1), torch.ones(1, 2))


@TARGETS
@settings(deadline=None)
@given(x=st.floats(-0.5, 95.49), y=st.floats(-0.5, 63.49), split=st.sampled_from([0.5, 1, 2, 3]))
def test_cycle_error_is_at_most_half_a_bin(target, x, y, split):
    codec, keypoints = SimccCodec(SIZE, split=split, **target), points((x, y))
    assert codec.inside(keypoints).all()
    found, scores = codec.decode(*codec.encode(keypoints))
    assert (found - keypoints).abs().max() <= 0.5 / split + 1e-4
    if "sigma" not in target:
        torch.testing.assert_close(scores, torch.ones(1, 1))


@TARGETS
def test_cycle_is_exact_at_bin_centres_and_scores_are_one(target):
    codec = SimccCodec(SIZE, split=2, **target)
    centres = torch.cartesian_prod(torch.arange(8, 87, 0.5) - 0.25, torch.arange(8, 55, 0.5) - 0.25)[None]
    found, scores = codec.decode(*codec.encode(centres))
    assert torch.equal(found, centres)
    torch.testing.assert_close(scores, torch.ones_like(scores), atol=1e-4, rtol=0)


@settings(deadline=None)
@given(st.floats(0.3, 4), st.floats(20, 76), st.floats(20, 44), st.sampled_from([1, 2]))
def test_normal_score_is_that_of_the_distance_to_the_bin(sigma, x, y, split):
    codec = SimccCodec(SIZE, split=split, sigma=sigma)
    (found, scores), keypoints = codec.decode(*codec.encode(points((x, y)))), points((x, y))
    distance = ((found - keypoints).abs().max() * split).item()
    # As a heatmap's: the density at the distance, but for the sampled density's sum, constant from one bin of sigma on.
    lowest, highest = math.exp(-(distance**2) / (2 * sigma**2)) * 0.98, 1.02
    assert lowest <= scores.item() <= highest if sigma >= 0.7 else scores.item() > 0.4


@pytest.mark.parametrize("split", [0.5, 1, 2, 3])
@pytest.mark.parametrize("ratio", [2, 4, 8])
@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-0.5, 23.5, width=32), st.floats(-0.5, 15.5, width=32)), min_size=1))
def test_adjacent_classes_of_a_larger_view_are_one_of_the_smaller(split, ratio, rows):
    """CDKD Eq. 6: the same point, in the coordinates of both views; ratios of two are exact in binary."""
    small, large = SimccCodec((16, 24), split=split), SimccCodec((16 * ratio, 24 * ratio), split=split)
    keypoints = points(*rows).double()
    keypoints = ((keypoints + 0.5) * 64).floor() / 64 - 0.5  # exact in float32 in both views
    larger = (keypoints + 0.5) * ratio - 0.5
    for one, other in zip(small.encode(keypoints), large.encode(larger), strict=True):
        assert torch.equal(other.unflatten(-1, (-1, ratio)).sum(-1), one)
    # The centre of the larger view's bin lies in the smaller view's bin.
    fine, _ = large.decode(*large.encode(larger))
    for one, other in zip(small.encode((fine + 0.5) / ratio - 0.5), small.encode(keypoints), strict=True):
        assert torch.equal(one, other)


def test_only_joints_within_the_view_can_be_a_class():
    codec = SimccCodec((4, 6), split=2)
    inside, outside = [(-0.5, -0.5), (5.49, 3.49), (2, 3)], [(-0.51, 1), (5.5, 1), (2, -0.6), (2, 3.5), (9e9, -9e9)]
    assert codec.inside(points(*inside, *outside)).tolist() == [[True] * 3 + [False] * 5]
    x, y = codec.encode(points(*outside))
    assert x.argmax(-1).tolist() == [[0, 11, 5, 5, 11]] and y.argmax(-1).tolist() == [[3, 3, 0, 7, 0]]


@TARGETS
@settings(deadline=None)
@given(st.floats(-0.4, 95.4), st.floats(-0.4, 63.4))
def test_mirrored_keypoints_give_mirrored_distributions(target, x, y):
    x = (math.floor(x * 8) + 0.5) / 8  # never on an edge between bins, which belongs to one side
    codec = SimccCodec(SIZE, split=2, **target)
    (one, same), (mirrored, other) = codec.encode(points((x, y))), codec.encode(points((95 - x, y)))
    torch.testing.assert_close(mirrored, one.flip(-1))
    assert torch.equal(same, other)


def test_every_joint_by_itself():
    codec = SimccCodec(SIZE, split=2, sigma=2)
    keypoints = torch.rand(3, 7, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([96, 64])
    x, y = codec.encode(keypoints)
    assert x.shape == (3, 7, 192) and y.shape == (3, 7, 128)
    found, scores = codec.decode(x, y)
    assert found.shape == (3, 7, 2) and scores.shape == (3, 7)
    for person in range(3):
        for joint in range(7):
            one = codec.encode(keypoints[None, None, person, joint])
            assert torch.equal(one[0][0, 0], x[person, joint]) and torch.equal(one[1][0, 0], y[person, joint])
            assert torch.equal(codec.decode(*one)[0][0, 0], found[person, joint])


def test_decoding_bfloat16_is_in_float32():
    x, y = torch.zeros(1, 1, 512, dtype=torch.bfloat16), torch.zeros(1, 1, 512, dtype=torch.bfloat16)
    x[..., 403], y[..., 509] = 0.5, 1
    keypoints, scores = SimccCodec((256, 256), split=2).decode(x, y)
    assert keypoints.tolist() == [[[201.25, 254.25]]] and scores.tolist() == [[0.5]]
    assert keypoints.dtype == scores.dtype == torch.float32
