"""Batches: what is sampled, how it is drawn and how it is shared out."""

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data.batches import MEAN, STD, Augmentation, Batches, drawn, evenly_spaced
from lib.data.crops import Crops
from lib.data.prefetch import prefetch
from lib.data.warp import invert, middle, sample, transform, view_to_crop
from lib.errors import InputError

ALL = Augmentation(flip=True, scale=(0.75, 1.25), rotation=30)
FLIP = Augmentation(flip=True, scale=(1, 1), rotation=0)
PATHS = pytest.mark.parametrize("path", ["cv2", "grid_sample"])


def make_crops(people=12, input=(32, 24), margin=1.5, blur=0.0, flip_pairs=((0, 1), (2, 3)), seed=0, joints=5):
    """Crops of noise, blurred like photographs if asked; the upper half of the joints is that of the body."""
    rng = np.random.default_rng(seed)
    size = tuple(round(length * margin) for length in input)
    images = rng.integers(0, 256, (people, *size, 3), dtype=np.uint8)
    if blur:
        images = np.stack(
            [cv2.normalize(cv2.GaussianBlur(i, (0, 0), blur), None, 0, 255, cv2.NORM_MINMAX) for i in images]
        )
    return Crops(
        images=images,
        keypoints=(rng.uniform(0.2, 0.8, (people, joints, 2)) * size[::-1]).astype(np.float32),
        visible=rng.random((people, joints)) < 0.7,
        to_image=np.stack(
            [
                invert(view_to_crop(middle(size), input, (90, 70), rng.uniform(1, 3, 1), np.zeros(1)))[0]
                for _ in range(people)
            ]
        ),
        ids=np.arange(people) + 100,
        image_ids=np.arange(people) // 2,
        box_scores=np.linspace(0.1, 1, people, dtype=np.float32),
        joints=tuple("abcdefghijklmnop"[:joints]),
        flip_pairs=flip_pairs,
        upper_body=tuple(range(joints // 2)),
        input=input,
    )


def batches(crops, size=None, batch_size=4, *, augmentation=ALL, seed=3, **options):
    sizes = size if isinstance(size, dict) else {"student": size or crops.input}
    return Batches(crops, sizes, batch_size, augmentation=augmentation, seed=seed, **options)


def grey(images):
    """Undo the normalisation: (B, h, w, 3) in 0 to 255."""
    return images.permute(0, 2, 3, 1).numpy() * STD + MEAN


def centre(crops):
    """The crops' pixels within the person box."""
    (height, width), (h, w) = crops.images.shape[1:3], crops.input
    top, left = (height - h) // 2, (width - w) // 2
    return crops.images[:, top : top + h, left : left + w]


def reference(image, matrix, size):
    """Plain bilinear sampling of one image in float64, zeros outside, at the map's positions of the view's pixels."""
    x, y = np.moveaxis(
        np.stack(np.meshgrid(*map(np.arange, size[::-1])), axis=-1) @ matrix[:, :2].T + matrix[:, 2], -1, 0
    )
    out, padded = 0, np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    for column in (np.floor(x), np.floor(x) + 1):
        for row in (np.floor(y), np.floor(y) + 1):
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            column_, row_ = (
                np.clip(at, -1, length).astype(int) + 1
                for at, length in ((column, image.shape[1]), (row, image.shape[0]))
            )
            out = out + weight[..., None] * padded[row_, column_]
    return out


def fitted(before, after):
    """The affine map (2, 3) that takes points (K, 2) from `before` to `after`."""
    return np.linalg.lstsq(np.column_stack([before, np.ones(len(before))]), after, rcond=None)[0].T


@PATHS
def test_unaugmented_view_is_the_person_box(path):
    crops = make_crops()
    (batch,) = batches(crops, batch_size=12, augmentation=None, path=path).epoch(0)
    assert np.abs(grey(batch.images["student"]) - centre(crops)).max() < (1e-3 if path == "cv2" else 0.05)
    assert np.allclose(batch.keypoints, crops.keypoints - [6, 8], atol=1e-5)
    assert np.array_equal(batch.visible, crops.visible) and np.array_equal(batch.rows, np.arange(12))


@PATHS
@pytest.mark.parametrize("size", [(32, 24), (16, 12), (48, 36), (40, 30)])
def test_flip_is_exact(path, size):
    crops = make_crops(people=16)
    sizes = {"student": size, "teacher": (64, 48)}
    (plain,) = batches(crops, sizes, 16, augmentation=None, path=path).epoch(0)
    (batch,) = batches(crops, sizes, 16, augmentation=FLIP, path=path).epoch(1)
    swapped = [1, 0, 3, 2, 4]
    mirrored = np.zeros(16, bool)
    for index, row in enumerate(batch.rows):
        mirrored[index] = not torch.equal(batch.images["student"][index], plain.images["student"][row])
        for view in sizes:
            original = plain.images[view][row]
            assert torch.equal(batch.images[view][index], original.flip(2) if mirrored[index] else original)
        keypoints, visible = plain.keypoints[row], plain.visible[row]
        if mirrored[index]:
            keypoints, visible = (
                keypoints[swapped] * torch.tensor([-1, 1]) + torch.tensor([size[1] - 1, 0]),
                visible[swapped],
            )
        assert torch.allclose(batch.keypoints[index], keypoints, atol=1e-5) and torch.equal(
            batch.visible[index], visible
        )
    assert 0 < mirrored.sum() < 16


@PATHS
@pytest.mark.parametrize("size", [(32, 24), (20, 15), (64, 48)])
@pytest.mark.parametrize("blur", [0, 2])
@pytest.mark.parametrize("half_body", [0, 0.5])
def test_pixels_move_as_the_keypoints_do(path, size, blur, half_body):
    """The map is fitted to the keypoints alone; plain bilinear sampling along it must give the image."""
    crops = make_crops(people=24, input=(32, 24), margin=1.25, blur=blur, flip_pairs=(), joints=14)
    errors = []
    for batch in batches(crops, size, 12, path=path, augmentation=replace(ALL, half_body=half_body)).epoch(5):
        for image, keypoints, row in zip(
            grey(batch.images["student"]), batch.keypoints.double().numpy(), batch.rows, strict=True
        ):
            matrix = fitted(keypoints, crops.keypoints[row])
            assert np.abs(keypoints @ matrix[:, :2].T + matrix[:, 2] - crops.keypoints[row]).max() < 1e-3
            errors.append(np.abs(image - reference(crops.images[row], matrix, size)))
    errors = np.array(errors)
    assert (errors <= 1).mean() >= 0.999 and errors.max() < 1.5


@pytest.mark.parametrize("size", [(64, 48), (24, 18)])
def test_both_paths_agree(size):
    crops = make_crops(people=32, input=(64, 48))
    for one, other in zip(
        *(batches(crops, size, 16, path=path).epoch(2) for path in ("cv2", "grid_sample")), strict=True
    ):
        difference = np.abs(grey(one.images["student"]) - grey(other.images["student"]))
        assert (difference <= 1).mean() >= 0.999
        assert torch.equal(one.keypoints, other.keypoints) and torch.equal(one.visible, other.visible)


def test_view_to_crop_quarter_turn_and_double_size():
    image = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    quarter = view_to_crop(np.array([2, 2]), (5, 5), (5, 5), np.ones(1), np.array([90.0]))[0]
    assert np.array_equal(sample(image, quarter, (5, 5)), np.rot90(image, -1))  # clockwise
    double = view_to_crop(np.array([2, 2]), (5, 5), (5, 5), np.array([2.0]), np.zeros(1))[0]
    assert np.allclose(double, [[0.5, 0, 1], [0, 0.5, 1]])
    resize = view_to_crop(np.array([2.5, 2.5]), (4, 4), (8, 8), np.ones(1), np.zeros(1))[0]
    assert np.allclose(resize, [[0.5, 0, 0.75], [0, 0.5, 0.75]])  # pixel 0 of the box is at 1: (0 + 0.5) / 2 - 0.5 + 1
    moved = view_to_crop(np.array([[2.5, 2.5], [7, 1]]), (4, 4), (8, 8), np.ones(2), np.zeros(2))
    assert np.allclose(moved[1] - moved[0], [[0, 0, 4.5], [0, 0, -1.5]])  # the crop moves with its centre


@PATHS
def test_a_dot_stays_under_its_joint_in_every_view(path):
    crops = make_crops(people=16, input=(64, 64), flip_pairs=())
    y, x = np.mgrid[:96, :96]
    crops.keypoints[:, 0] = np.random.default_rng(1).uniform(38, 58, (16, 2))
    for image, (u, v) in zip(crops.images, crops.keypoints[:, 0], strict=True):
        image[:] = np.rint(250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.5**2)))[..., None]
    sizes = {"student": (64, 64), "teacher": (128, 128)}
    (batch,) = batches(crops, sizes, 16, path=path).epoch(0)
    expected = {"student": batch.keypoints[:, 0], "teacher": (batch.keypoints[:, 0] + 0.5) * 2 - 0.5}
    for view, images in batch.images.items():
        weight = grey(images)[..., 0]
        rows, columns = np.indices(weight.shape[1:])
        centroid = np.stack([(weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (columns, rows)], axis=-1)
        assert np.abs(centroid - expected[view].numpy()).max() < 0.1


def test_scale_multiplies_the_person_and_the_angle_is_bounded():
    crops = make_crops(people=200, flip_pairs=())
    (plain,) = batches(crops, batch_size=200, augmentation=None).epoch(0)
    (batch,) = batches(crops, batch_size=200).epoch(0)
    before, after = plain.keypoints[batch.rows].double().numpy(), batch.keypoints.double().numpy()
    maps = np.array([fitted(*pair)[:, :2] for pair in zip(before, after, strict=True)])
    determinant = np.linalg.det(maps)
    scale = np.sqrt(np.abs(determinant))
    angle = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 1, 1]) * -np.sign(determinant))
    assert 0.75 <= scale.min() < 0.77 and 1.23 < scale.max() <= 1.25
    assert -30 <= angle.min() < -28 and 28 < angle.max() <= 30
    assert 70 < (determinant < 0).sum() < 130


def flat(epoch):
    """Everything in an epoch's batches, one person after the other."""
    parts = [
        (batch.rows, batch.keypoints.numpy(), batch.visible.numpy(), batch.images["student"].numpy()) for batch in epoch
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_is_a_function_of_seed_and_epoch():
    crops = make_crops()
    one = batches(crops)
    first = flat(one.epoch(1))
    assert sorted(first[0]) == list(range(12))
    assert equal(first, flat(batches(crops).epoch(1))) and equal(first, flat(one.epoch(1)))
    for other in (flat(one.epoch(2)), flat(batches(crops, seed=4).epoch(1))):
        assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(flat(one.epoch(2))[1][np.argsort(flat(one.epoch(2))[0])], first[1][np.argsort(first[0])])


@pytest.mark.parametrize("start", [0, 1, 3, 6])
def test_start_skips_batches(start):
    crops = make_crops(people=13)
    assert len(list(batches(crops, batch_size=2).epoch(7, start))) == 6 - start
    whole = flat(batches(crops, batch_size=2).epoch(7))
    if start < 6:
        assert equal(flat(batches(crops, batch_size=2).epoch(7, start)), [part[2 * start :] for part in whole])


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_same_global_batches(world):
    crops, augmentation = make_crops(people=13, joints=14), replace(ALL, half_body=0.5)
    ranks = [batches(crops, rank=rank, world=world, augmentation=augmentation) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {3}
    shares = zip(*(rank.epoch(3) for rank in ranks), strict=True)
    for whole, parts in zip(batches(crops, augmentation=augmentation).epoch(3), shares, strict=True):
        assert equal(flat([whole]), flat(parts))


def test_evaluation_keeps_the_order_and_ignores_processes():
    crops = make_crops(people=10)
    assert [batch.rows.tolist() for batch in batches(crops, augmentation=None, rank=1, world=2).epoch(9)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


@pytest.mark.parametrize(
    ("count", "indices"), [(4, [0, 2, 5, 7]), (10, range(10)), (1000, range(10)), (None, range(10)), (1, [0])]
)
def test_evenly_spaced(count, indices):
    assert evenly_spaced(count, 10).tolist() == list(indices)


@given(st.integers(1, 200), st.integers(1, 10**6))
def test_evenly_spaced_gaps_differ_by_at_most_one(count, total):
    indices = evenly_spaced(count, total)
    assert len(indices) == min(count, total) and indices[0] == 0 and indices.dtype == np.int64
    gaps = np.diff([*indices, total])
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("rows", [[0, 2, 5, 7], [9], [3, 1, 8, 4, 6]])
def test_only_the_given_rows_are_used(rows):
    crops = make_crops(people=10)
    ordered = flat(batches(crops, augmentation=None, rows=np.array(rows)).epoch(0))
    assert ordered[0].tolist() == rows
    assert np.array_equal(ordered[2], crops.visible[rows])
    assert sorted(flat(batches(crops, batch_size=1, rows=np.array(rows)).epoch(0))[0]) == sorted(rows)


def test_no_rows_are_an_error():
    with pytest.raises(InputError, match="no person to use among 10 crops; choose more persons or images"):
        batches(make_crops(people=10), rows=np.arange(0))


def test_batch_sizes():
    crops = make_crops(people=10)
    for size, training, evaluation in ((1, 10, 10), (3, 3, 4), (5, 2, 2), (10, 1, 1), (64, 1, 1)):
        assert len(batches(crops, batch_size=size)) == len(list(batches(crops, batch_size=size).epoch(0))) == training
        assert len(batches(crops, batch_size=size, augmentation=None)) == evaluation
    with pytest.raises(InputError, match=r"batch size 10 \(of 10 people\) on 4 processes; expected a multiple of 4"):
        batches(crops, batch_size=64, world=4)


@PATHS
def test_shapes_types_and_memory_format(path):
    crops = make_crops()
    batch = next(batches(crops, {"student": (16, 12), "teacher": (64, 48)}, path=path).epoch(0))
    assert {name: tuple(view.shape) for name, view in batch.images.items()} == {
        "student": (4, 3, 16, 12),
        "teacher": (4, 3, 64, 48),
    }
    for view in batch.images.values():
        assert view.dtype == torch.float32 and view.is_contiguous(memory_format=torch.channels_last)
    assert batch.keypoints.shape == (4, 5, 2) and batch.keypoints.dtype == torch.float32
    assert batch.visible.shape == (4, 5) and batch.visible.dtype == torch.bool
    assert batch.rows.dtype == np.int64


@PATHS
def test_crops_are_left_as_they_were(path):
    crops = make_crops()
    arrays = {name: getattr(crops, name).copy() for name in ("images", "keypoints", "visible")}
    for array in arrays.values():
        array.flags.writeable = False  # as the memory map of a pack
    list(batches(replace(crops, **arrays), path=path).epoch(0))
    assert all(np.array_equal(array, getattr(crops, name)) for name, array in arrays.items())


@given(st.integers(0, 11), st.integers(8, 200), st.integers(8, 200), st.integers(0, 1000))
def test_keypoints_return_to_the_image(row, height, width, seed):
    crops = make_crops()
    loader = batches(crops, (height, width), augmentation=None)
    truth = np.random.default_rng(seed).uniform(-20, 500, (1, 7, 2))
    in_crop = transform(invert(crops.to_image[[row]]), truth)
    (h, w), box = crops.input, np.array(crops.images.shape[2:0:-1]) / 2
    view = ((in_crop + 0.5 - box) / [w, h] + 0.5) * [width, height] - 0.5
    assert np.abs(loader.to_image(torch.from_numpy(view), np.array([row])) - truth).max() < 1e-6


def test_to_image_undoes_what_the_batches_do():
    crops = make_crops()
    for batch in (loader := batches(crops, (16, 12), augmentation=None)).epoch(0):
        expected = transform(crops.to_image[batch.rows], crops.keypoints[batch.rows])
        assert np.abs(loader.to_image(batch.keypoints, batch.rows) - expected).max() < 1e-3


def test_prefetch_keeps_order_and_stays_a_few_items_ahead():
    started, threads = [], threading.active_count()
    work = prefetch(lambda item: started.append(item) or item**2, iter(range(100)), threads=2)
    assert [next(work) for _ in range(5)] == [0, 1, 4, 9, 16]
    time.sleep(0.02)
    assert len(started) <= 7
    work.close()
    assert threading.active_count() == threads and len(started) <= 7
    assert list(prefetch(lambda item: time.sleep(0.002 * (item % 3)) or item, range(20), threads=3)) == list(range(20))


def test_prefetch_raises_at_the_item():
    work = prefetch(lambda item: 6 // item, [3, 2, 0, 1], threads=2)
    assert [next(work), next(work)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(work)


def test_leaving_an_epoch_early_ends_its_threads():
    before = threading.active_count()
    for _ in batches(make_crops(), batch_size=1).epoch(0):
        break
    assert threading.active_count() == before


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_draws_follow_their_distribution(distribution):
    augmentation = Augmentation(flip=True, scale=(0.75, 1.25), rotation=30, distribution=distribution)
    scale, angle = drawn(augmentation, np.random.default_rng(0), 200_000)
    if distribution == "uniform":
        # Means and deviations of a uniform variable: the range's middle, and its length over the root of 12.
        assert scale.mean() == pytest.approx(1, abs=1e-3) and scale.std() == pytest.approx(0.5 / 12**0.5, rel=0.01)
        assert angle.std() == pytest.approx(60 / 12**0.5, rel=0.01) and abs(angle).max() <= 30
        return
    # A normal variable is outside one deviation in 31.7 % of the draws and outside two in 4.55 %.
    assert np.isin(scale, (0.75, 1.25)).mean() == pytest.approx(0.3173, abs=0.005)
    assert (scale.min(), scale.max()) == (0.75, 1.25) and np.median(scale) == pytest.approx(1, abs=2e-3)
    assert (angle == 0).mean() == pytest.approx(0.4, abs=0.005)
    assert (abs(angle) == 60).mean() == pytest.approx(0.6 * 0.0455, abs=0.002)
    assert (abs(angle) > 30).mean() == pytest.approx(0.6 * 0.3173, abs=0.005)
