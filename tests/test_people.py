"""Synthetic people: bodies of human proportions, drawn where their joints say, told apart left from right."""

import numpy as np
import pytest

from lib.data import people
from lib.data.people import POINTS

SAMPLES = 40
AT = {name: row for row, name in enumerate(POINTS)}


@pytest.fixture(scope="module")
def pictures() -> list[people.Picture]:
    return [people.picture(np.random.default_rng((7, row)), cut=0.2) for row in range(SAMPLES)]


@pytest.fixture(scope="module")
def bodies() -> np.ndarray:
    return np.stack([people.pose(np.random.default_rng((8, row))) for row in range(400)])


def length(bodies: np.ndarray, a: str, b: str) -> np.ndarray:
    return np.linalg.norm(bodies[:, AT[a]] - bodies[:, AT[b]], axis=1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_bones_have_fixed_lengths_in_every_pose(bodies: np.ndarray, side: str):
    bones = {("hip", "knee"): 0.24, ("knee", "ankle"): 0.235, ("shoulder", "elbow"): 0.165, ("elbow", "wrist"): 0.145}
    for (a, b), expected in bones.items():
        np.testing.assert_allclose(length(bodies, f"{side}_{a}", f"{side}_{b}"), expected)
    np.testing.assert_allclose(length(bodies, "neck", "head_top"), 0.19, atol=0.002)


def test_left_and_right_are_the_persons_own(bodies: np.ndarray):
    """The nose points to where left x up does: an anatomical handedness that a mirrored skeleton would break."""
    left = bodies[:, AT["left_shoulder"]] - bodies[:, AT["right_shoulder"]]
    up = bodies[:, AT["neck"]] - bodies[:, AT["thorax"]]
    ears = (bodies[:, AT["left_ear"]] + bodies[:, AT["right_ear"]]) / 2
    forward = np.cross(left, up)
    assert (((bodies[:, AT["nose"]] - ears) * forward).sum(1) > 0).all()


def test_poses_vary_as_sports_do(bodies: np.ndarray):
    y = bodies[..., 1]  # down
    assert 0.02 < (y[:, AT["head_top"]] > y[:, AT["pelvis"]]).mean() < 0.2  # upside down now and then
    assert 0.1 < (y[:, AT["left_wrist"]] < y[:, AT["left_shoulder"]]).mean() < 0.5  # raised arms
    facing = bodies[:, AT["left_shoulder"], 0] > bodies[:, AT["right_shoulder"], 0]
    assert 0.5 < facing.mean() < 0.85


def test_knees_and_elbows_bend_one_way_only():
    standing = np.array([people._limb(0, 0, side) for side in (-1, 1)])
    np.testing.assert_allclose(standing, [[0, -1, 0], [0, -1, 0]], atol=1e-12)
    np.testing.assert_allclose(people._limb(90, 0, 1), [0, 0, 1], atol=1e-12)  # swing is forward
    np.testing.assert_allclose(people._limb(0, 90, -1), [-1, 0, 0], atol=1e-12)  # spread is away from the body


def test_rotation_is_proper_and_composed_in_the_stated_order():
    matrix = people._rotation(20, -50, 130)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    steps = people._rotation(20, 0, 0) @ people._rotation(0, -50, 0) @ people._rotation(0, 0, 130)
    np.testing.assert_allclose(matrix, steps, atol=1e-12)
    np.testing.assert_allclose(people._rotation(0, 0, 90) @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_pictures_are_images_with_the_person_inside():
    for row in range(10):
        picture = people.picture(np.random.default_rng((9, row)))
        height, width, channels = picture.image.shape
        assert picture.image.dtype == np.uint8 and channels == 3
        joints = picture.points[:14]
        assert (joints >= 0).all() and (joints <= (width - 1, height - 1)).all()
        assert 40 < np.ptp(joints, axis=0).max() <= 166


def test_what_lies_outside_is_not_visible(pictures: list[people.Picture]):
    size = np.array([picture.image.shape[1::-1] for picture in pictures])
    points = np.stack([picture.points for picture in pictures])
    outside = ((points < -0.5) | (points > size[:, None] - 0.5)).any(-1)
    visible = np.stack([picture.visible for picture in pictures])
    assert outside.any() and not (outside & visible).any()
    assert 0.6 < visible[:, :14].mean() < 0.97


def test_a_figure_is_drawn_where_its_joints_are():
    """On an empty scene every joint in sight is painted over, and far from all joints nothing is."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        body = people.pose(rng)
        xy = body[:, :2] * 100 + 120
        image, owner = np.full((260, 260, 3), 77, np.uint8), np.zeros((260, 260), np.uint8)
        people.draw(rng, image, owner, body, xy)
        visible = people.seen(owner, body, xy)
        column, row = np.rint(xy[:14]).astype(int).T
        assert visible[:14].sum() >= 6
        assert (owner[row, column] > 0).all()
        painted = np.argwhere((image != 77).any(-1))[:, ::-1]
        distance = np.linalg.norm(painted[:, None] - xy[None], axis=-1).min(1)
        assert distance.max() < 26  # px at 100 px body height


def test_an_object_before_a_joint_hides_it():
    rng = np.random.default_rng(2)
    body = people.pose(rng)
    xy = body[:, :2] * 100 + 120
    image, owner = np.zeros((260, 260, 3), np.uint8), np.zeros((260, 260), np.uint8)
    people.draw(rng, image, owner, body, xy)
    before = people.seen(owner, body, xy)
    joint = int(np.flatnonzero(before[:14])[0])
    x, y = np.rint(xy[joint]).astype(int)
    owner[y - 1 : y + 2, x - 1 : x + 2] = people.OTHER
    after = people.seen(owner, body, xy)
    assert not after[joint] and (after <= before).all()


def test_two_figures_of_a_scene_do_not_take_each_others_parts():
    rng = np.random.default_rng(3)
    body = people.pose(rng)
    xy = body[:, :2] * 100 + 120
    image, owner = np.zeros((260, 260, 3), np.uint8), np.zeros((260, 260), np.uint8)
    people.draw(rng, image, owner, body, xy, figure=1)
    assert people.seen(owner, body, xy, figure=1).any()
    assert not people.seen(owner, body, xy, figure=0).any()


def test_equal_states_draw_equal_pictures(pictures: list[people.Picture]):
    again = people.picture(np.random.default_rng((7, 4)), cut=0.2)
    np.testing.assert_array_equal(again.image, pictures[4].image)
    np.testing.assert_array_equal(again.points, pictures[4].points)
    assert pictures[4].image.shape != pictures[5].image.shape or (pictures[4].image != pictures[5].image).any()


def test_a_group_is_drawn_from_far_to_near():
    """Masks of people do not overlap, and the nearest person's is what the person alone would cover, objects aside."""
    places, heights = np.array([(100.0, 100), (125, 100), (112, 110)]), np.array([90.0, 110, 160])
    for row in range(10):
        image = np.zeros((220, 240, 3), np.uint8)
        group = people.group(np.random.default_rng((4, row)), image, places, heights)
        assert group.points.shape == (3, 21, 2) and group.visible.shape == (3, 21)
        assert group.masks.shape == (3, 220, 240) and group.masks.dtype == bool
        assert (group.masks.sum(0) <= 1).all() and image[group.masks.any(0)].any(-1).mean() > 0.99
        np.testing.assert_allclose(group.points[:, AT["pelvis"]], places, atol=1e-9)
        column, line = np.rint(group.points).astype(int).clip(0, (239, 219)).transpose(2, 0, 1)
        of_own = np.take_along_axis(group.masks.reshape(3, -1), line * 240 + column, axis=1)
        assert of_own[group.visible].all()
        if row == 0:
            assert group.visible[2].sum() > group.visible[0].sum()


def test_a_group_of_nobody_leaves_the_image():
    image = np.full((20, 30, 3), 9, np.uint8)
    group = people.group(np.random.default_rng(0), image, np.zeros((0, 2)), np.zeros(0))
    assert group.points.shape == (0, 21, 2) and group.visible.shape == (0, 21) and group.masks.shape == (0, 20, 30)
    assert (image == 9).all()
