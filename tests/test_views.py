"""Views of different sizes show the same: where things are, and what an average over each pixel's area keeps."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from lib.data.batches import Augmentation
from tests.test_batches import ALL, FLIP, PATHS, batches, fitted, grey, make_crops, reference

VIEWS = {"student": (16, 12), "middle": (24, 18), "teacher": (64, 48)}  # of a person box of 64 x 48


def one_view(crops, size=(16, 16), **options):
    """The unaugmented view of every person, (B, h, w, 3) in 0 to 255."""
    (batch,) = batches(crops, size, len(crops.ids), augmentation=None, **options).epoch(0)
    return grey(batch.images["student"])


def squares(crops):
    """Crops with a checkerboard of single pixels, 0 and 255."""
    y, x = np.indices(crops.images.shape[1:3])
    return replace(crops, images=np.broadcast_to(255 * ((x + y) % 2).astype(np.uint8)[..., None], crops.images.shape))


def centroids(images):
    """The (x, y) of the mean grey level of each of images (B, h, w, 3)."""
    weight = images[..., 0]
    rows, columns = np.indices(weight.shape[1:])
    return np.stack([(weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (columns, rows)], axis=-1)


@PATHS
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(
    "augmentation",
    [None, FLIP, Augmentation(False, (0.7, 1.3), 0), Augmentation(False, (1, 1), 45), ALL],
    ids=["none", "flip", "scale", "rotation", "all"],
)
def test_a_disc_is_at_the_same_place_in_every_view(path, antialias, augmentation):
    crops = make_crops(people=24, input=(64, 48))
    centre = np.random.default_rng(1).uniform([29, 41], [42, 54], (24, 2))
    y, x = np.mgrid[:96, :72]
    for image, (u, v) in zip(crops.images, centre, strict=True):
        # A soft edge, as wide as a pixel of the smallest view: a hard one moves centroids by what each pixel misses.
        image[:] = np.rint(255 / (1 + np.exp(np.hypot(x - u, y - v) - 10)))[..., None]
    crops.keypoints[:, 4] = centre  # the joint without a mirrored partner
    loader = batches(crops, VIEWS, 24, augmentation=augmentation, path=path, antialias=antialias)
    (batch,) = loader.epoch(2)
    found = {view: centroids(grey(images)) for view, images in batch.images.items()}
    assert np.abs(found["student"] - batch.keypoints[:, 4].numpy()).max() < 0.05
    for small, large in combinations(VIEWS, 2):
        ratio = VIEWS[large][0] / VIEWS[small][0]
        # A twentieth of a pixel of the smaller view.
        assert np.abs((found[small] + 0.5) * ratio - 0.5 - found[large]).max() < 0.05 * ratio


@PATHS
def test_what_is_where_does_not_depend_on_antialiasing(path):
    crops = make_crops(people=12, input=(64, 48), joints=14)
    augmentation = replace(ALL, half_body=0.5)
    sharp, smooth = (
        list(batches(crops, VIEWS, augmentation=augmentation, path=path, antialias=antialias).epoch(3))
        for antialias in (False, True)
    )
    for one, other in zip(sharp, smooth, strict=True):
        assert torch.equal(one.keypoints, other.keypoints) and torch.equal(one.visible, other.visible)
        assert np.array_equal(one.rows, other.rows)
        for view, size in VIEWS.items():
            assert other.images[view].shape == (4, 3, *size)
            assert other.images[view].is_contiguous(memory_format=torch.channels_last)
            # The same to the bit where a pixel of the view is one of the box; another image where it is several.
            assert torch.equal(one.images[view], other.images[view]) == (view == "teacher")
    loader = batches(crops, VIEWS, augmentation=None, path=path, antialias=True)
    points = torch.rand(12, 5, 2) * 12
    plain = batches(crops, VIEWS, augmentation=None, path=path)
    assert np.array_equal(*(each.to_image(points, np.arange(12)) for each in (loader, plain)))


@PATHS
@pytest.mark.parametrize("size", [(64, 48), (96, 72), (100, 48)])
def test_views_no_coarser_than_the_crop_stay_the_same_to_the_bit(path, size):
    crops = make_crops(people=8, input=(64, 48))
    for one, other in zip(
        *(batches(crops, size, path=path, antialias=antialias).epoch(0) for antialias in (False, True)), strict=True
    ):
        assert torch.equal(one.images["student"], other.images["student"])


@PATHS
@pytest.mark.parametrize("size", [(16, 16), (20, 20), (16, 40), (7, 9)])
def test_antialiasing_keeps_a_constant(path, size):
    crops = make_crops(people=3, input=(48, 48))
    crops.images[:] = [10, 128, 250]
    assert np.abs(one_view(crops, size, path=path, antialias=True) - [10, 128, 250]).max() < 1e-3


@PATHS
def test_antialiasing_turns_single_pixels_to_grey(path):
    crops = squares(make_crops(people=2, input=(48, 48)))
    assert np.abs(one_view(crops, path=path, antialias=True)[..., 0] - 127.5).max() <= 255 / 18 + 0.6  # 4 or 5 of 9
    # Every third pixel of the checkerboard is a checkerboard again: a pattern that nobody sees in the crop.
    y, x = np.indices((16, 16))
    assert np.abs(one_view(crops, path=path)[..., 0] - 255 * ((x + y) % 2)).max() < 0.1
    # With an even number of pixels half of them are white.
    assert np.abs(one_view(crops, (24, 24), path=path, antialias=True) - 127.5).max() <= 0.51


@PATHS
@pytest.mark.parametrize(
    ("size", "samples"), [((64, 48), 1), ((63, 48), 2), ((32, 24), 2), ((31, 24), 3), ((32, 12), 4), ((8, 6), 8)]
)
def test_a_pixel_is_the_mean_of_its_area(path, size, samples):
    """The whole of a view samples times as large, sampled plainly along the map of the keypoints, and its blocks."""
    crops = make_crops(people=6, input=(64, 48), margin=1.25, flip_pairs=(), joints=14)
    (batch,) = batches(crops, size, 6, path=path, antialias=True).epoch(1)
    (height, width), images = size, grey(batch.images["student"])
    for image, keypoints, row in zip(images, batch.keypoints.double().numpy(), batch.rows, strict=True):
        matrix = fitted((keypoints + 0.5) * samples - 0.5, crops.keypoints[row])
        fine = reference(crops.images[row], matrix, (height * samples, width * samples))
        expected = fine.reshape(height, samples, width, samples, 3).mean((1, 3))
        assert np.abs(image - expected).max() < (1.1 if path == "cv2" else 0.1)


@pytest.mark.parametrize("size", [(32, 24), (16, 12), (24, 18)])
def test_both_paths_agree_on_the_average(size):
    crops = make_crops(people=32, input=(64, 48))
    loaders = (batches(crops, size, 16, path=path, antialias=True).epoch(2) for path in ("cv2", "grid_sample"))
    for one, other in zip(*loaders, strict=True):
        difference = np.abs(grey(one.images["student"]) - grey(other.images["student"]))
        assert (difference <= 1).mean() >= 0.999
        assert torch.equal(one.keypoints, other.keypoints)


@PATHS
def test_the_flip_of_an_average_is_exact(path):
    crops = make_crops(people=16, input=(64, 48))
    plain = one_view(crops, (16, 12), path=path, antialias=True)
    (batch,) = batches(crops, (16, 12), 16, augmentation=FLIP, path=path, antialias=True).epoch(1)
    images = grey(batch.images["student"])
    flipped = [np.array_equal(image, plain[row][:, ::-1]) for image, row in zip(images, batch.rows, strict=True)]
    same = [np.array_equal(image, plain[row]) for image, row in zip(images, batch.rows, strict=True)]
    assert np.array_equal(flipped, np.logical_not(same)) and 0 < sum(flipped) < 16
