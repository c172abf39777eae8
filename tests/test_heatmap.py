"""Heatmaps: literal values, the encode-decode cycle and the symmetries of the map."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.codecs.heatmap import HeatmapCodec
from lib.tasks.heatmap import Supervised

SIZE = (64, 96)  # input px; the map is 16 x 24
E1, E2, E4, E5, E8 = (math.exp(-d / 2) for d in (1, 2, 4, 5, 8))  # squared distance d, sigma 1


def points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


def one_map(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_literal_map():
    # Input (9.5, 9.5) is the centre of heatmap pixel (2, 2).
    codec = HeatmapCodec((20, 20), sigma=1, scaling="peak")
    expected = [
        [E8, E5, E4, E5, E8],
        [E5, E2, E1, E2, E5],
        [E4, E1, 1.0, E1, E4],
        [E5, E2, E1, E2, E5],
        [E8, E5, E4, E5, E8],
    ]
    torch.testing.assert_close(codec.encode(points((9.5, 9.5))), one_map(expected))


def test_literal_map_about_the_nearest_pixel():
    # Heatmap pixel 1 is input 3.5 to 7.5: its Gaussian is that of every joint from there to just before the next.
    codec = HeatmapCodec((12, 12), sigma=1, scaling="peak", centre="pixel")
    profile = torch.tensor([E1, 1.0, E1])
    expected = (profile[:, None] * profile)[None, None]
    for joint in ((5.5, 5.5), (3.5, 3.5), (7.49, 3.5), (3.5, 7.49)):
        torch.testing.assert_close(codec.encode(points(joint)), expected)
    assert codec.encode(points((7.5, 5.5)))[0, 0].argmax() == 5


@given(st.lists(st.tuples(st.floats(-20, 116), st.floats(-20, 84)), min_size=1), st.sampled_from(["peak", "density"]))
def test_centring_at_pixels_is_rounding_the_joints(rows, scaling):
    keypoints = points(*rows)
    rounded = 4 * ((keypoints + 0.5) / 4).floor() + 1.5
    subpixel, pixel = (HeatmapCodec(SIZE, sigma=1, scaling=scaling, centre=c) for c in ("subpixel", "pixel"))
    assert torch.equal(pixel.encode(keypoints), subpixel.encode(rounded))
    on_map = ((rounded > 0) & (rounded < torch.tensor([96, 64]))).all(-1)
    found, scores = pixel.decode(pixel.encode(keypoints))
    assert torch.equal(found[on_map], rounded[on_map])
    torch.testing.assert_close(scores[on_map], torch.ones_like(scores[on_map]))


@pytest.mark.parametrize("centre", ["pixel", "subpixel"])
def test_a_gaussian_reaches_the_map_within_three_sigma_and_a_pixel(centre):
    # A map of 16 x 24 px whose pixel n is input 4 n + 1.5; with sigma 2 it is reached from -7 to 29 and 21 px of it.
    codec = HeatmapCodec(SIZE, sigma=2, scaling="peak", centre=centre)
    inside = [(4 * x + 1.5, 4 * y + 1.5) for x, y in ((-7, 5), (29, 5), (5, -7), (5, 21), (-7, 21), (3.3, 4.7))]
    outside = [(4 * x + 1.5, 4 * y + 1.5) for x, y in ((-8, 5), (30, 5), (5, -8), (5, 22), (30, -8))]
    assert codec.reaches(points(*inside, *outside)).tolist() == [[True] * 6 + [False] * 5]
    assert codec.encode(points(*outside)).max() < math.exp(-0.5 * 3**2)


def test_x_runs_along_the_last_dimension():
    heatmaps = HeatmapCodec(SIZE, sigma=1).encode(points((81.5, 5.5)))
    assert heatmaps.shape == (1, 1, 16, 24)
    assert heatmaps.argmax() == 1 * 24 + 20


@given(st.floats(-20, 116), st.floats(-20, 84), st.floats(0.5, 3))
def test_density_scaling_is_equation_2(x, y, sigma):
    density = HeatmapCodec(SIZE, sigma=sigma).encode(points((x, y)))
    for row, column in ((0, 0), (3, 17), (15, 23)):
        dx, dy = column - ((x + 0.5) / 4 - 0.5), row - ((y + 0.5) / 4 - 0.5)
        expected = math.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
        assert density[0, 0, row, column].item() == pytest.approx(expected, rel=1e-3, abs=1e-30)
    peak = HeatmapCodec(SIZE, sigma=sigma, scaling="peak").encode(points((x, y)))
    torch.testing.assert_close(peak, density * (2 * math.pi * sigma**2))


def test_density_integrates_to_one():
    assert HeatmapCodec((128, 128), sigma=2).encode(points((61.3, 66.9))).sum().item() == pytest.approx(1, abs=1e-5)


def test_joint_far_off_the_map_leaves_nothing():
    codec = HeatmapCodec(SIZE, sigma=1, scaling="peak")
    assert codec.encode(points((-40, 30), (140, 30), (50, -40), (50, 110))).max() < 1e-15


@given(st.lists(st.tuples(st.floats(0, 95), st.floats(0, 63)), min_size=1, max_size=8), st.floats(0.5, 3))
def test_cycle_error_is_bounded_by_the_quantisation(rows, sigma):
    keypoints = points(*rows)
    codec = HeatmapCodec(SIZE, sigma=sigma)
    coarse, _ = HeatmapCodec(SIZE, sigma=sigma, refinement="none").decode(codec.encode(keypoints))
    fine, scores = codec.decode(codec.encode(keypoints))
    # The maximum is at most half a heatmap pixel (2 input px) away; the quarter halves that where there are neighbours.
    assert (coarse - keypoints).abs().max() <= 2 + 1e-3
    limits = torch.tensor([95.0, 63.0]) - 2
    interior = (coarse > 2) & (coarse < limits)
    assert ((fine - keypoints).abs()[interior] <= 1 + 1e-3).all()
    assert torch.equal(fine[~interior], coarse[~interior])
    assert torch.equal(scores, codec.encode(keypoints).amax(dim=(-2, -1)) / codec.peak)


def test_cycle_is_exact_at_pixel_centres():
    keypoints = torch.cartesian_prod(torch.arange(1.5, 96, 4), torch.arange(1.5, 64, 4))[None]
    codec = HeatmapCodec(SIZE, sigma=1)
    assert torch.equal(codec.decode(codec.encode(keypoints))[0], keypoints)


@given(st.integers(0, 23), st.integers(0, 15), st.floats(-0.49, 0.49), st.floats(-0.49, 0.49), st.floats(0.5, 3))
def test_decoding_promises(column, row, dx, dy, sigma):
    """To a quarter of a heatmap pixel inside; to the distance from the nearest pixel on the border."""
    keypoints = 4 * (points((column + dx, row + dy)) + 0.5) - 0.5
    codec = HeatmapCodec(SIZE, sigma=sigma)
    found, _ = codec.decode(codec.encode(keypoints))
    error = (found - keypoints).abs().flatten() / 4
    for nearest, last, distance, got in ((column, 23, dx, error[0]), (row, 15, dy, error[1])):
        assert got <= 0.25 + 1e-5 if 0 < nearest < last else abs(got - abs(distance)) < 1e-5


@pytest.mark.parametrize("scaling", ["peak", "density"])
@pytest.mark.parametrize("sigma", [0.7, 1, 2, 3])
def test_cycle_is_exact_on_the_lattice_of_quarter_pixels(sigma, scaling):
    x, y = (
        torch.tensor([n + quarter for n in range(1, length - 1) for quarter in (-0.25, 0, 0.25)]) for length in (24, 16)
    )
    keypoints = 4 * (torch.cartesian_prod(x, y)[None] + 0.5) - 0.5
    codec = HeatmapCodec(SIZE, sigma=sigma, scaling=scaling)
    found, scores = codec.decode(codec.encode(keypoints))
    assert torch.equal(found, keypoints)
    shift = torch.cartesian_prod((x - x.round()) ** 2, (y - y.round()) ** 2).sum(1)
    torch.testing.assert_close(scores[0], torch.exp(-shift / (2 * sigma**2)))


@given(st.floats(10, 80), st.floats(10, 50), st.floats(0.5, 3), st.floats(0.01, 2))
def test_scores_do_not_depend_on_the_scaling(x, y, sigma, confidence):
    codecs = [HeatmapCodec(SIZE, sigma=sigma, scaling=scaling) for scaling in ("peak", "density")]
    peak, density = (codec.decode(confidence * codec.encode(points((x, y)))) for codec in codecs)
    torch.testing.assert_close(peak[1], density[1])
    assert confidence * math.exp(-0.25 / sigma**2) * 0.999 <= peak[1].item() <= confidence * 1.001


SWAP = [1, 0, 2, 4, 3]


class Oracle(torch.nn.Module):
    """A network that knows the answer: the maps of the keypoints, of the mirrored person for a mirrored image."""

    def __init__(self, codec: HeatmapCodec, keypoints: torch.Tensor):
        super().__init__()
        mirrored = torch.stack((95 - keypoints[:, SWAP, 0], keypoints[:, SWAP, 1]), dim=-1)
        self.plain, self.mirrored = codec.encode(keypoints), codec.encode(mirrored)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.plain if images[0, 0, 0, 0] < images[0, 0, 0, -1] else self.mirrored]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.7, 1, 2]), st.booleans())
def test_flip_test_and_decoding_invert_exactly(seed, sigma, on_lattice):
    # Sixteenths of a heatmap pixel: both mirror images of such a position are exact in binary.
    generator = torch.Generator().manual_seed(seed)
    pixel = torch.stack([torch.randint(1, length - 1, (3, 5), generator=generator) for length in (24, 16)], dim=-1)
    sixteenths = torch.randint(-8, 9, (3, 5, 2), generator=generator)
    offset = sixteenths.clamp(-4, 4).div(4, rounding_mode="trunc") / 4 if on_lattice else sixteenths / 16
    keypoints = 4 * (pixel + offset + 0.5) - 0.5
    codec = HeatmapCodec(SIZE, sigma=sigma)
    oracle = Oracle(codec, keypoints)
    torch.testing.assert_close(oracle.mirrored.flip(-1)[:, SWAP], oracle.plain, rtol=1e-6, atol=0)
    images = torch.linspace(0, 1, 96).expand(3, 3, 64, 96)
    task = Supervised(oracle, codec, ((0, 1), (3, 4)))
    (plain, scores), (averaged, averaged_scores) = task.predict(images), task.predict(images, flip_test=True)
    assert torch.equal(averaged, plain)
    torch.testing.assert_close(averaged_scores, scores, rtol=1e-6, atol=0)
    if on_lattice:
        assert torch.equal(plain, keypoints)


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([[0, 0, 0, 0], [0, 1, 9, 3], [0, 0, 5, 0], [0, 0, 4, 0]], (2.25, 1.25)),
        ([[0, 0, 4, 0], [0, 3, 9, 1], [0, 0, 2, 0], [0, 0, 4, 0]], (1.75, 0.75)),
        ([[0, 0, 0, 0], [0, 2, 9, 2], [0, 0, 0, 0], [0, 0, 0, 0]], (2.0, 1.0)),  # equal neighbours
        ([[0, 0, 0, 0], [0, 0, 0, 8], [0, 0, 1, 9], [0, 0, 1, 0]], (3.0, 1.75)),  # right border: y moves, x does not
        ([[9, 8, 0, 0], [8, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], (0.0, 0.0)),  # corner
        ([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 7, 9, 8]], (2.25, 3.0)),  # bottom border
        ([[-9, -9, -9, -9], [-9, -1, -3, -9], [-9, -2, -9, -9], [-9, -9, -9, -9]], (1.25, 1.25)),  # all negative
    ],
)
def test_decode_literals(rows, expected):
    codec = HeatmapCodec((16, 16), sigma=1, scaling="peak")
    keypoints, scores = codec.decode(one_map(rows))
    assert keypoints.flatten().tolist() == [(coordinate + 0.5) * 4 - 0.5 for coordinate in expected]
    assert scores.item() == max(map(max, rows))


def test_quarter_offset_survives_bfloat16():
    heatmaps = torch.zeros(1, 1, 256, 256, dtype=torch.bfloat16)
    heatmaps[..., 201, 203], heatmaps[..., 201, 204], heatmaps[..., 200, 203] = 1, 0.5, 0.5
    keypoints, scores = HeatmapCodec((1024, 1024), sigma=1).decode(heatmaps)
    assert keypoints.tolist() == [[[203.75 * 4 - 0.5, 201.25 * 4 - 0.5]]]
    assert keypoints.dtype == scores.dtype == torch.float32


@given(st.integers(-3, 3), st.integers(-3, 3), st.floats(24, 71), st.floats(24, 39))
def test_translation_by_heatmap_pixels(columns, rows, x, y):
    codec = HeatmapCodec(SIZE, sigma=1)
    keypoints, moved = points((x, y)), points((x + 4 * columns, y + 4 * rows))
    rolled = codec.encode(keypoints).roll((rows, columns), dims=(-2, -1))
    inner = (..., slice(3, -3), slice(3, -3))  # what does not wrap around
    torch.testing.assert_close(codec.encode(moved)[inner], rolled[inner], rtol=1e-3, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_mirrored_maps_give_mirrored_keypoints(seed):
    # All values differ: among equal maxima the first is taken, which no mirror can keep.
    values = torch.randperm(2 * 3 * 16 * 24, generator=torch.Generator().manual_seed(seed))
    heatmaps = values.float().view(2, 3, 16, 24)
    codec = HeatmapCodec(SIZE, sigma=1)
    keypoints, scores = codec.decode(heatmaps)
    mirrored, mirrored_scores = codec.decode(heatmaps.flip(-1))
    assert torch.equal(mirrored[..., 0], 95 - keypoints[..., 0])
    assert torch.equal(mirrored[..., 1], keypoints[..., 1])
    assert torch.equal(mirrored_scores, scores)


def test_mirrored_keypoints_give_mirrored_maps():
    codec = HeatmapCodec(SIZE, sigma=1.5)
    keypoints = points((10.3, 20.1), (70.8, 33.3))
    mirrored = torch.stack((95 - keypoints[..., 0], keypoints[..., 1]), dim=-1)
    torch.testing.assert_close(codec.encode(mirrored), codec.encode(keypoints).flip(-1), rtol=1e-4, atol=1e-7)


def test_memory_format_does_not_matter():
    heatmaps = torch.rand(2, 5, 16, 24)
    codec = HeatmapCodec(SIZE, sigma=1)
    plain, last = codec.decode(heatmaps), codec.decode(heatmaps.to(memory_format=torch.channels_last))
    assert torch.equal(plain[0], last[0]) and torch.equal(plain[1], last[1])
