"""Hands on their way from annotations to batches and back to millimetres."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lib.data.batches import Augmentation, Batches, turned
from lib.data.crops import Chain, join, open_crops
from lib.data.depth import LEVELS, encode_depth
from lib.data.packing import pack
from lib.data.warp import transform
from lib.errors import InputError
from lib.hands.joints import JOINTS, normalised, projected, restored
from lib.tasks import Task
from lib.training.predict import predict

RNG = np.random.default_rng(0)
CAMERA = np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]])
SIZE = (120, 160)  # height, width
STILL = Augmentation(flip=False, scale=(1, 1), rotation=0)


def hand(rng) -> np.ndarray:
    """21 points of a hand's extent, mm, about half a metre from the camera; the wrist is the nearest."""
    xyz = rng.uniform([-60, -60, 510], [60, 60, 630], (21, 3))
    xyz[0, 2] = 500
    return xyz


def write(folder, hands, sides, subsets=None):
    """Images of noise, their depth as .npy (z = 450 mm + column), and annotations of the hands."""
    folder.mkdir()
    images, people = [], []
    for number, (xyz, side) in enumerate(zip(hands, sides, strict=True), start=1):
        cv2.imwrite(str(folder / f"{number}.png"), RNG.integers(0, 256, (*SIZE, 3), np.uint8))
        depth = np.tile(450.0 + np.arange(SIZE[1]), (SIZE[0], 1))
        depth[:, :5] = 0
        np.save(folder / f"{number}.npy", depth)
        image = {"id": number, "file_name": f"{number}.png", "width": SIZE[1], "height": SIZE[0]}
        image |= {"camera": CAMERA.tolist(), "depth": f"{number}.npy"}
        images.append(image | ({"subset": subsets[number - 1]} if subsets else {}))
        points = projected(xyz, CAMERA)
        corner, extent = points.min(0), np.ptp(points, axis=0)
        people.append(
            {"id": 10 + number, "image_id": number, "bbox": [*corner.tolist(), *extent.tolist()], "side": side}
            | {"keypoints": np.c_[points, np.full(21, 2)].ravel().tolist(), "num_keypoints": 21, "iscrowd": 0}
            | {"xyz": xyz.tolist()}
        )
    category = {"id": 1, "keypoints": list(JOINTS), "flip_pairs": [], "upper_body": []}
    document = {"info": {"dataset": "rhd"}, "images": images, "annotations": people, "categories": [category]}
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


def packed(tmp_path, sides=("right", "left", "right"), side=64):
    hands = np.stack([hand(np.random.default_rng(number)) for number in range(len(sides))])
    data = write(tmp_path / "data", hands, sides)
    pack(data, data, tmp_path / "crops", input=(side, side), padding=1.4, margin=1, read_depth=np.load)
    return open_crops(tmp_path / "crops", "train"), hands


class Known(Task):
    """Answers with poses that it was told."""

    def __init__(self, pose):
        super().__init__()
        self.student, self.pose = nn.Identity(), torch.from_numpy(pose)

    def forward(self, batch):
        raise AssertionError("predicting trains nothing")

    def predict(self, images, flip_test=False):
        answer, self.pose = self.pose[: len(images)], self.pose[len(images) :]
        return answer, None


def test_normalised_hands_have_their_root_at_the_origin_and_a_middle_bone_of_one():
    xyz = hand(RNG)
    pose, root, scale = normalised(xyz)
    assert pose[0].tolist() == [0, 0, 0] and np.linalg.norm(pose[10] - pose[9]) == pytest.approx(1)
    assert root.tolist() == xyz[0].tolist() and scale == pytest.approx(np.linalg.norm(xyz[10] - xyz[9]))
    np.testing.assert_allclose(restored(pose, root, scale), xyz)
    # Where a network puts the wrist does not matter.
    np.testing.assert_allclose(restored(pose + 0.3, root, scale), xyz)


def test_a_left_hand_is_packed_as_the_right_one_that_its_mirror_image_shows(tmp_path):
    crops, hands = packed(tmp_path, side=128)  # larger than in the image, so that a pixel is one sample
    assert (crops.to_image[:, 0, 0] < 0).tolist() == [False, True, False]
    np.testing.assert_allclose(transform(crops.to_image, crops.keypoints), projected(hands, CAMERA), atol=1e-3)
    mirrored = hands * np.array([[[1, 1, 1]], [[-1, 1, 1]], [[1, 1, 1]]])
    np.testing.assert_allclose(crops.pose, normalised(mirrored)[0], atol=1e-5)
    np.testing.assert_allclose(crops.root, hands[:, 0], rtol=1e-6)
    # The pixels are mirrored, too: each crop pixel shows the image's pixel at to_image.
    source = cv2.imread(str(tmp_path / "data/2.png"))[..., ::-1].astype(float)
    x, y = transform(crops.to_image[1:2], np.array([[[20.0, 30.0]]]))[0, 0]
    left, top = int(np.floor(x)), int(np.floor(y))
    patch, u, v = source[top : top + 2, left : left + 2], x - left, y - top
    bilinear = (1 - v) * ((1 - u) * patch[0, 0] + u * patch[0, 1]) + v * ((1 - u) * patch[1, 0] + u * patch[1, 1])
    np.testing.assert_allclose(crops.images[1, 30, 20], bilinear, atol=1)


def test_depth_levels_are_linear_in_hand_scales_about_the_root():
    z = np.array([[0, 500, 500 + 30, 500 - 150, 500 + 149, 900, 100]])
    levels = encode_depth(z, 500, 30)
    expected = [LEVELS, LEVELS / 2, LEVELS * 0.6, 0, LEVELS * (5 + 149 / 30) / 10, LEVELS, 0]
    np.testing.assert_allclose(levels[0], expected, atol=0.51)
    assert levels.dtype == np.uint16


def test_packed_depth_is_that_of_the_pixels_that_the_crop_shows(tmp_path):
    crops, hands = packed(tmp_path)
    for row, xyz in enumerate(hands):
        column = np.arange(8, 56.0)
        x = transform(crops.to_image[row : row + 1], np.stack([column, np.full(48, 30.0)], -1)[None])[0, :, 0]
        inside = (x > 8) & (x < SIZE[1] - 3)
        relative = ((450 + x - xyz[0, 2]) / np.linalg.norm(xyz[10] - xyz[9])).clip(-5, 5)
        found = crops.depth[row, 30, 8:56] / LEVELS * 10 - 5
        np.testing.assert_allclose(found[inside], relative[inside], atol=0.01)


def test_only_images_of_the_subset_are_packed(tmp_path):
    hands = [hand(np.random.default_rng(number)) for number in range(4)]
    data = write(tmp_path / "data", hands, ["left"] * 4, ["g", "h", "g", "s"])
    pack(data, data, tmp_path / "crops", input=(64, 64), padding=1.4, margin=1, subset="g")
    assert open_crops(tmp_path / "crops", "train").image_ids.tolist() == [1, 3]
    kept = json.loads((tmp_path / "crops/val.json").read_text())
    assert [image["id"] for image in kept["images"]] == [entry["image_id"] for entry in kept["annotations"]] == [1, 3]
    with pytest.raises(InputError, match="no image of the subset x; subsets there: g, h, s"):
        pack(data, data, tmp_path / "other", input=(64, 64), padding=1.4, margin=1, subset="x")


@pytest.mark.parametrize("path", ["cv2", "grid_sample"])
def test_a_view_of_depth_has_three_equal_channels_between_near_and_far(tmp_path, path):
    crops, _ = packed(tmp_path)
    sizes = {"student": (64, 64), "teacher": (32, 32)}
    loader = Batches(crops, sizes, 3, augmentation=None, seed=0, path=path, depth=["teacher"], antialias=True)
    (batch,) = loader.epoch(0)
    view = batch.images["teacher"]
    assert torch.equal(view[:, 0], view[:, 1]) and torch.equal(view[:, 0], view[:, 2])
    expected = crops.depth.astype(np.float64).reshape(3, 32, 2, 32, 2).mean((2, 4)) / LEVELS * 2 - 1
    np.testing.assert_allclose(view[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(batch.keypoints, crops.pose)
    assert batch.images["student"].shape == (3, 3, 64, 64) and batch.images["student"].std() > 0.5


@pytest.mark.parametrize("path", ["cv2", "grid_sample"])
def test_nothing_outside_the_crop_is_nearer_than_the_far_end(tmp_path, path):
    crops, _ = packed(tmp_path)
    near = replace(crops, depth=np.zeros_like(crops.depth))
    small = Augmentation(flip=False, scale=(0.5, 0.5), rotation=0)
    loader = Batches(near, {"student": (64, 64)}, 3, augmentation=small, seed=0, path=path, depth=["student"])
    (batch,) = loader.epoch(1)
    assert batch.images["student"][:, :, :15].min() == 1 and batch.images["student"][:, :, 17:47, 17:47].max() == -1


@pytest.mark.parametrize("flip", [False, True])
def test_the_pose_turns_and_mirrors_with_the_image(tmp_path, flip):
    crops, _ = packed(tmp_path)
    # Keypoints of an orthographic camera: then a turn of the image is exactly a turn of the hand.
    flat = 31.5 + 6 * crops.pose[..., :2]
    loader = Batches(
        replace(crops, keypoints=flat.astype(np.float32)), {"student": (64, 64)}, 3, seed=1,
        augmentation=Augmentation(flip=flip, scale=(1, 1), rotation=60),
    )  # fmt: skip
    bodies = Batches(
        replace(crops, keypoints=flat.astype(np.float32), pose=None), {"student": (64, 64)}, 3, seed=1,
        augmentation=Augmentation(flip=flip, scale=(1, 1), rotation=60),
    )  # fmt: skip
    for hands, people in zip(loader.epoch(2), bodies.epoch(2), strict=True):
        np.testing.assert_allclose(31.5 + 6 * hands.keypoints[..., :2], people.keypoints, atol=1e-3)
        np.testing.assert_allclose(hands.keypoints[..., 2], crops.pose[hands.rows][..., 2], rtol=1e-6)
    quarter = turned(np.array([[[1.0, 0, 5]]]), np.array([90.0]))
    np.testing.assert_allclose(quarter, [[[0, 1, 5]]], atol=1e-12)  # clockwise: right becomes down


def test_a_perfect_network_finds_every_joint_in_millimetres(tmp_path):
    crops, hands = packed(tmp_path)
    loader = Batches(crops, {"student": (64, 64)}, 2, augmentation=None, seed=0)
    found = predict(Known(crops.pose + 0.2), loader, flip_test=False)
    assert list(found) == ["ids", "image_ids", "keypoints"] and found["keypoints"].dtype == np.float32
    np.testing.assert_allclose(found["keypoints"], hands, atol=1e-2)


def test_joined_crops_are_the_rows_of_both(tmp_path):
    crops, _ = packed(tmp_path)
    more = replace(crops, images=255 - crops.images, ids=crops.ids + 100)
    both = join(crops, more)
    assert both.ids.tolist() == [11, 12, 13, 111, 112, 113] and both.images.shape == (6, 64, 64, 3)
    for row in range(6):
        assert np.array_equal(both.images[row], (crops, more)[row // 3].images[row % 3])
    views = {"student": (64, 64), "teacher": (64, 64)}
    loader = Batches(both, views, 6, augmentation=STILL, seed=0, rows=np.array([0, 3, 5]), depth=["teacher"])
    (batch,) = loader.epoch(1)
    assert sorted(batch.rows.tolist()) == [0, 3, 5]
    small = replace(more, images=more.images[:, ::2])
    with pytest.raises(InputError, match=r"64 x 64 px do not fit rendered ones of 32 x 64 px: set synthesis.size"):
        join(crops, small)


def test_a_chain_reads_as_the_concatenation():
    parts = [RNG.integers(0, 9, (count, 2, 3)) for count in (1, 4, 2)]
    chain, whole = Chain(parts), np.concatenate(parts)
    assert chain.shape == whole.shape and all(np.array_equal(chain[row], whole[row]) for row in range(7))


def test_a_network_of_depth_needs_crops_with_depth(tmp_path):
    crops, _ = packed(tmp_path)
    with pytest.raises(InputError, match="no depth"):
        Batches(replace(crops, depth=None), {"student": (64, 64)}, 2, augmentation=None, seed=0, depth=["student"])
