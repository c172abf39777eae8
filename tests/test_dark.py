"""Distribution-aware decoding: sub-pixel centres of Gaussian maps, and a plain reference of one joint at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.codecs.heatmap import HeatmapCodec

SIZE = (160, 192)  # input px; the map is 40 x 48


def dark(sigma: float, **options) -> HeatmapCodec:
    return HeatmapCodec(SIZE, sigma=sigma, refinement="dark", **options)


def points(*rows: tuple[float, float]) -> torch.Tensor:
    """Keypoints (1, K, 2), input px, at positions on the map."""
    return 4 * (torch.tensor([rows], dtype=torch.float64) + 0.5) - 0.5


def on_map(keypoints: torch.Tensor) -> torch.Tensor:
    return (keypoints.double() + 0.5) / 4 - 0.5


def reference(heatmap: np.ndarray, sigma: float) -> np.ndarray:
    """The (x, y) of one map, on the map, by the paper's steps, with sums over all pixels written out."""
    height, width = heatmap.shape
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    position = np.array([column, row], float)
    if not (2 <= column <= width - 3 and 2 <= row <= height - 3):
        return position
    rows, columns = np.mgrid[:height, :width]
    modulated = np.array(
        [
            [(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)) * heatmap).sum() for x in range(width)]
            for y in range(height)
        ]
    )
    if modulated.max() <= 0:
        return position
    modulated *= heatmap.max() / modulated.max()
    log = np.log(np.maximum(modulated, 1e-10 * heatmap.max()))
    derivative = {  # central differences
        "x": (log[row, column + 1] - log[row, column - 1]) / 2,
        "y": (log[row + 1, column] - log[row - 1, column]) / 2,
        "xx": (log[row, column + 2] - 2 * log[row, column] + log[row, column - 2]) / 4,
        "yy": (log[row + 2, column] - 2 * log[row, column] + log[row - 2, column]) / 4,
        "xy": sum(a * b * log[row + b, column + a] for a in (-1, 1) for b in (-1, 1)) / 4,
    }
    hessian = np.array([[derivative["xx"], derivative["xy"]], [derivative["xy"], derivative["yy"]]])
    if np.linalg.eigvalsh(hessian).max() >= 0:
        return position
    return position - np.linalg.inv(hessian) @ [derivative["x"], derivative["y"]]


@settings(deadline=None)
@given(st.floats(12, 35), st.floats(12, 27), st.floats(0.7, 3), st.sampled_from(["peak", "density"]))
def test_noise_free_centres_are_recovered(x, y, sigma, scaling):
    codec = dark(sigma, scaling=scaling)
    found, _ = codec.decode(codec.encode(points((x, y))))
    assert (on_map(found) - torch.tensor([x, y])).abs().max() < 1e-3


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 2.0])
def test_never_worse_than_half_a_pixel_up_to_the_border(sigma):
    x, y = torch.arange(-0.5, 47.5, 0.13), torch.tensor([-0.4, 1.6, 2.4, 3.3, 20.3, 36.6, 39.4])
    truth = torch.cartesian_prod(x, y)
    codec = dark(sigma)
    found, _ = codec.decode(codec.encode(points(*truth.tolist())))
    error = (on_map(found)[0] - truth).abs()
    assert error.max() < 0.5 + 1e-3
    extent = (truth >= 4 * sigma) & (truth <= torch.tensor([47, 39]) - 4 * sigma)
    assert error[extent.all(1)].max() < 1e-3


@settings(deadline=None)
@given(st.integers(12, 35), st.integers(12, 27), st.floats(-0.5, 0.49), st.floats(-0.5, 0.49), st.floats(0.7, 3))
def test_centres_at_a_pixel_give_the_pixel(column, row, dx, dy, sigma):
    codec = dark(sigma, centre="pixel")
    found, scores = codec.decode(codec.encode(points((column + dx, row + dy))))
    assert (on_map(found) - torch.tensor([column, row])).abs().max() < 1e-3
    assert scores.item() == pytest.approx(1)


@settings(deadline=None)
@given(st.floats(-1.3, 1.3), st.floats(1.6, 2.5), st.floats(0.5, 1), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_oblique_gaussians_need_the_whole_hessian(angle, long, ratio, dx, dy):
    """A Gaussian of any shape stays one when it is modulated, and the logarithm of one is its own expansion."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([long**2, (ratio * long) ** 2]) @ turn.T)
    offset = np.stack(np.meshgrid(np.arange(48) - 23 - dx, np.arange(40) - 19 - dy), axis=-1)
    heatmap = np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", offset, inverse, offset))
    found, _ = dark(1.0).decode(torch.from_numpy(heatmap)[None, None])
    assert (on_map(found) - torch.tensor([23 + dx, 19 + dy])).abs().max() < 3e-3


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_noisy_maps_as_the_reference(sigma, noise):
    rng = np.random.default_rng(0)
    codec = HeatmapCodec((64, 80), sigma=sigma, scaling="peak", refinement="dark")
    truth = rng.uniform(-2, [81, 65], (3, 8, 2))
    clean = codec.encode(torch.from_numpy(truth)).numpy()
    heatmaps = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    found, scores = codec.decode(torch.from_numpy(heatmaps))
    expected = np.array([[reference(heatmap.astype(np.float64), sigma) for heatmap in person] for person in heatmaps])
    assert np.abs(on_map(found).numpy() - expected).max() < 1e-3
    assert np.array_equal(scores.numpy(), heatmaps.max((2, 3)))
    moved = np.abs(on_map(found).numpy() - np.rint(expected)).max(-1) > 1e-2
    assert 0 < moved.sum() < moved.size  # both a step and none are among them


def test_the_floor_holds_where_the_modulated_map_is_negative():
    codec = HeatmapCodec((64, 80), sigma=1, scaling="peak", refinement="dark")
    heatmaps = codec.encode(points((7.3, 5.8), (12.6, 9.9))) - 0.3
    found, _ = codec.decode(heatmaps)
    expected = np.array([reference(heatmap.double().numpy(), 1.0) for heatmap in heatmaps[0]])
    assert np.abs(on_map(found)[0].numpy() - expected).max() < 1e-3
    assert np.abs(expected - np.rint(expected)).min() > 1e-2


@settings(deadline=None)
@given(st.floats(8, 30), st.floats(8, 30), st.floats(0.01, 100))
def test_the_position_does_not_depend_on_the_confidence(x, y, confidence):
    codec = dark(1.5)
    maps = codec.encode(points((x, y)))
    (one, score), (other, scaled) = codec.decode(maps), codec.decode(confidence * maps)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled, confidence * score)


def at_maxima(heatmaps: torch.Tensor) -> torch.Tensor:
    return HeatmapCodec(SIZE, sigma=1, refinement="none").decode(heatmaps)[0]


@pytest.mark.parametrize("place", [(0, 20), (1, 20), (20, 1), (20, 46), (38, 20), (39, 47)])
def test_no_step_less_than_two_pixels_from_the_border(place):
    heatmaps = torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(1))
    heatmaps[0, 0][place] = 2
    assert torch.equal(dark(1).decode(heatmaps)[0], at_maxima(heatmaps))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 4), (4, 9), (9, 4)])
def test_no_step_on_maps_too_small_for_the_differences(shape):
    heatmaps = torch.rand(2, 3, *shape)
    assert torch.equal(dark(1).decode(heatmaps)[0], at_maxima(heatmaps))


def test_no_step_without_a_peak():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    flat, negative = torch.ones(40, 48), -1 - (rows - 20) ** 2 - (columns - 20) ** 2
    # Two high columns with a lower one between them: at a single pixel of it that sticks out, x has a minimum.
    valley = torch.exp(-((rows - 20) ** 2) / 50) * ((columns - 20).abs() >= 2) * ((columns - 20).abs() <= 5)
    valley[20, 20] = 1.01
    # A ring, higher on one side, about a single pixel: x and y have a minimum.
    distance = torch.hypot(columns - 20, rows - 20)
    pit = (1 + (columns - 20) / 20) * (distance >= 2) * (distance <= 5)
    pit[20, 20] = 2
    heatmaps = torch.stack([flat, negative, valley, pit])[:, None]
    assert torch.equal(dark(1).decode(heatmaps)[0], at_maxima(heatmaps))
    assert torch.isfinite(dark(1).decode(torch.zeros(1, 1, 40, 48))[0]).all()


def test_mirrored_and_transposed_maps():
    codec = HeatmapCodec((96, 96), sigma=1, refinement="dark")
    heatmaps = torch.rand(4, 6, 24, 24, generator=torch.Generator().manual_seed(0))
    heatmaps += 3 * codec.encode(torch.rand(4, 6, 2, generator=torch.Generator().manual_seed(1)) * 95) / codec.peak
    keypoints, scores = codec.decode(heatmaps)
    for changed, expected in (
        (heatmaps.flip(-1), torch.stack((95 - keypoints[..., 0], keypoints[..., 1]), dim=-1)),
        (heatmaps.mT, keypoints.flip(-1)),
        (heatmaps.to(memory_format=torch.channels_last), keypoints),
    ):
        found, same = codec.decode(changed)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        assert torch.equal(same, scores)


def test_bfloat16_maps_are_read_in_float32():
    heatmaps = dark(2).encode(points((20.3, 15.6))).bfloat16()
    keypoints, scores = dark(2).decode(heatmaps)
    assert keypoints.dtype == scores.dtype == torch.float32
    assert torch.equal(keypoints, dark(2).decode(heatmaps.float())[0])
    assert (on_map(keypoints) - torch.tensor([20.3, 15.6])).abs().max() < 0.05
