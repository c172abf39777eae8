"""Random hands: where they are, what of them is seen, and their pictures."""

import numpy as np
import pytest

from lib.hands import scenes
from lib.hands.joints import BONES, projected
from lib.hands.mano import Mano
from lib.hands.procedural import procedural_hand
from lib.hands.render import Mesh, render
from lib.hands.scenes import FLESH, Hand, compose, draw_hand, mirrored, skin, visible_joints

SIZE = (240, 320)
CAMERA = np.array([[600, 0, 159.5], [0, 600, 119.5], [0, 0, 1]])
DISTANCE = (0.5, 0.8)
MCPS, PIPS, DIPS, TIPS = ([*range(first, 21, 4)] for first in (5, 6, 7, 4))


@pytest.fixture(scope="module")
def arrays():
    return procedural_hand()


@pytest.fixture(scope="module")
def model(arrays):
    return Mano(arrays)


def rng(*seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def hands(model):
    return [draw_hand(model, rng(1, number), CAMERA, SIZE, DISTANCE) for number in range(60)]


def bones(xyz):
    return np.array([np.linalg.norm(xyz[child] - xyz[parent]) for parent, child in BONES])


def volume(mesh):
    """Signed volume inside a closed mesh, positive where its faces look outward."""
    a, b, c = mesh.vertices[mesh.faces.T]
    return (a * np.cross(b, c)).sum() / 6


def rotation_matrix(vector):
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def blank(number, size=SIZE):
    return np.full((*size, 3), number, np.uint8)


def test_hands_are_in_the_picture_at_the_asked_distance(hands):
    for hand in hands:
        assert 500 <= hand.xyz[:, 2].mean() <= 800
        places = projected(hand.xyz, CAMERA)
        assert (places > -8).all() and (places < np.array(SIZE[::-1]) + 7).all()
    middles = np.array([projected(hand.xyz, CAMERA).mean(0) for hand in hands])
    assert np.ptp([hand.xyz[:, 2].mean() for hand in hands]) > 200
    assert np.ptp(middles[:, 0]) > 60


def test_a_hand_larger_than_the_picture_is_in_its_middle(model):
    camera = np.array([[600, 0, 19.5], [0, 600, 19.5], [0, 0, 1]])
    near = draw_hand(model, rng(0), camera, (40, 40), (0.3, 0.3))
    np.testing.assert_allclose(near.xyz.mean(0)[:2], 0, atol=1e-6)


def test_mesh_and_joints_are_of_one_hand(hands, model):
    for hand in hands:
        tips = 1000 * hand.mesh.vertices[[745, 317, 444, 556, 673]]
        np.testing.assert_allclose(hand.xyz[[4, 8, 12, 16, 20]], tips, atol=1e-3)
        assert volume(hand.mesh) > 1e-4  # m3; a tenth of a litre


def test_sizes_differ_between_hands_and_poses_within_the_range(arrays):
    given = []

    class Spy(Mano):
        def forward(self, pose, shape, rotation):
            given.append((pose, shape, rotation))
            return super().forward(pose, shape, rotation)

    spy = Spy(arrays)
    lengths = [bones(draw_hand(spy, rng(2, n), CAMERA, SIZE, DISTANCE, components=7).xyz).sum() for n in range(80)]
    pose, shape, _ = (np.concatenate([row.numpy() for row in rows]) for rows in zip(*given, strict=True))
    assert pose.shape == (80, 7) and shape.shape == (80, 10)
    assert 1.9 < np.abs(pose).max() <= 2 and 0.028 < np.abs(shape).max() <= 0.03
    assert np.abs(pose.mean(0)).max() < 0.5
    assert 1.2 < max(lengths) / min(lengths) < 1.4


def test_rotations_are_uniform():
    matrices = np.array([rotation_matrix(scenes._any_rotation(rng(3, number))) for number in range(3000)])
    assert np.abs(matrices.mean(0)).max() < 0.05
    # Of uniform rotations, tr R has the mean 0 and tr(R R) has it as well; of angles uniform in [0, pi] it has not.
    cosines = (np.trace(matrices, axis1=1, axis2=2) - 1) / 2
    assert cosines.mean() == pytest.approx(-0.5, abs=0.03)
    assert (cosines**2).mean() == pytest.approx(0.5, abs=0.03)


def test_a_hand_depends_on_its_generator_alone(model):
    first, again, other = (draw_hand(model, rng(4, seed), CAMERA, SIZE, DISTANCE) for seed in (0, 0, 1))
    assert np.array_equal(first.mesh.vertices, again.mesh.vertices)
    assert np.array_equal(first.mesh.colours, again.mesh.colours)
    assert not np.allclose(first.xyz, other.xyz)


def test_the_other_hand_is_the_mirror_image_in_the_same_place(hands):
    for hand in hands[:5]:
        other = mirrored(hand)
        np.testing.assert_allclose(other.xyz.mean(0), hand.xyz.mean(0))
        np.testing.assert_allclose(bones(other.xyz), bones(hand.xyz))
        np.testing.assert_allclose(other.xyz[:, 1:], hand.xyz[:, 1:])
        assert (
            np.linalg.det(other.xyz[[1, 5, 17]] - other.xyz[0]) * np.linalg.det(hand.xyz[[1, 5, 17]] - hand.xyz[0]) < 0
        )
        assert volume(other.mesh) == pytest.approx(volume(hand.mesh))
        twice = mirrored(other)
        np.testing.assert_allclose(twice.mesh.vertices, hand.mesh.vertices, atol=1e-12)
        assert np.array_equal(twice.mesh.faces, hand.mesh.faces)


def test_joints_lie_in_the_flesh_behind_the_skin(hands):
    """No joint is before its hand's surface; a fingertip is on it, so a pixel beside it may see what is behind."""
    inner, before = np.setdiff1d(np.arange(21), TIPS), []
    for hand in hands:
        seen = render([hand.mesh], CAMERA, SIZE)
        x, y = np.rint(projected(hand.xyz, CAMERA)).astype(int).T
        there = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
        depth, on_hand = np.zeros(21), np.zeros(21, bool)
        depth[there], on_hand[there] = seen.depth[y[there], x[there]], seen.mesh[y[there], x[there]] == 0
        behind = hand.xyz[:, 2] - 1000 * depth
        assert (on_hand == there)[inner].all()
        assert (behind > 5)[inner].all()
        before += (-behind[TIPS][on_hand[TIPS]]).tolist()
        visible = visible_joints(hand.xyz, CAMERA, seen, 0)
        assert (visible >= (on_hand & (behind <= FLESH)))[inner].all()
    assert np.percentile(before, 95) < 5


@pytest.mark.parametrize("side", [-1, 1])
def test_all_joints_of_a_flat_hand_are_visible_within_their_flesh_from_either_side(arrays, side):
    # The model's fingers point to -x, its palm to -y: fingers up, and the palm or the back to the camera.
    turn = np.array([[0, 0, side], [1, 0, 0], [0, side, 0]])
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    rotation = np.arccos((np.trace(turn) - 1) / 2) * axis / np.linalg.norm(axis)
    np.testing.assert_allclose(rotation_matrix(rotation), turn, atol=1e-9)
    flat = Mano(arrays | {"hands_mean": np.zeros(45)})
    for number in range(5):
        hand = draw_hand(flat, rng(5, number), CAMERA, SIZE, (0.7, 0.7), pose=0, rotation=rotation)
        seen = render([hand.mesh], CAMERA, SIZE)
        x, y = np.rint(projected(hand.xyz, CAMERA)).astype(int).T
        behind, on_hand = hand.xyz[:, 2] - 1000 * seen.depth[y, x], seen.mesh[y, x] == 0
        assert on_hand[[place for place in range(21) if place not in TIPS]].all()
        assert (behind[[3, *PIPS, *DIPS]] < 12).all() and (behind[[1, 2, *MCPS]] < 25).all() and behind[0] < 28
        assert visible_joints(hand.xyz, CAMERA, seen, 0).all()


def test_a_wall_hides_the_joints_behind_it(hands):
    hand = hands[0]
    x = hand.xyz[:, 0].mean() / 1000
    wall = Mesh(
        np.array([[x, -1, 0.2], [1, -1, 0.2], [1, 1, 0.2], [x, 1, 0.2]]),
        np.array([[0, 2, 1], [0, 3, 2]]),
        np.ones((4, 3)),
    )
    free = visible_joints(hand.xyz, CAMERA, render([hand.mesh], CAMERA, SIZE), 0)
    seen = render([wall, hand.mesh], CAMERA, SIZE)
    before = hand.xyz[:, 0] / hand.xyz[:, 2] > x / 0.2 + 0.002
    after = hand.xyz[:, 0] / hand.xyz[:, 2] < x / 0.2 - 0.002
    hidden = visible_joints(hand.xyz, CAMERA, seen, 1)
    assert not hidden[before].any() and np.array_equal(hidden[after], free[after])


def test_joints_outside_the_picture_are_not_visible(hands):
    hand = hands[1]
    for aside in ((0, 1000), (0, -1000), (1, 1000), (1, -1000)):
        camera = CAMERA.copy()
        camera[aside[0], 2] += aside[1]
        assert not visible_joints(hand.xyz, camera, render([hand.mesh], camera, SIZE), 0).any()


def test_the_background_stays_where_no_hand_is(hands, monkeypatch):
    monkeypatch.setattr(scenes, "photograph", lambda rng, image: image)
    background = rng(6).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    before = background.copy()
    picture = compose(rng(7), hands[2:4], CAMERA, SIZE, background)
    hand = picture.depth > 0
    assert np.array_equal(hand, picture.rendering.mesh >= 0) and 500 < hand.sum() < hand.size / 2
    assert np.array_equal(picture.image[~hand], background[~hand])
    levels = (255 * picture.rendering.colour[hand]).clip(0, 255)
    np.testing.assert_allclose(picture.image[hand], levels, atol=1)
    np.testing.assert_allclose(picture.depth, 1000 * picture.rendering.depth)
    assert picture.visible.shape == (2, 21) and picture.image.dtype == np.uint8
    assert np.array_equal(background, before)


def test_a_picture_of_no_hand_is_its_background(monkeypatch):
    monkeypatch.setattr(scenes, "photograph", lambda rng, image: image)
    picture = compose(rng(0), [], CAMERA, SIZE, blank(90))
    assert (picture.image == 90).all() and not picture.depth.any() and picture.visible.shape == (0, 21)


def test_pictures_are_lit(hands):
    """A fair hand before black is neither dark nor burnt out, under nearly every lamp."""
    means = []
    for number, hand in enumerate(hands[:30]):
        fair = Hand(Mesh(hand.mesh.vertices, hand.mesh.faces, np.full_like(hand.mesh.colours, 0.7)), hand.xyz)
        picture = compose(rng(8, number), [fair], CAMERA, SIZE, blank(0))
        means.append(picture.image[picture.depth > 0].mean())
    assert np.percentile(means, 10) > 60 and np.percentile(means, 90) < 230
    assert np.ptp(means) > 30


def test_skin_is_coloured_as_skin_is(model):
    tones = np.array([skin(model, rng(9, number)) for number in range(40)])
    assert tones.min() >= 0 and tones.max() <= 1
    means = tones.mean(1)
    assert (means[:, 0] > means[:, 1]).all() and (means[:, 1] > means[:, 2] * 0.95).all()  # red before green, blue
    assert np.ptp(means[:, 0]) > 0.3
    _, palm, _, creases, nails = scenes._places_of_colour(model)
    brightness = tones.mean(2)
    dark = means.mean(1) < 0.45
    assert (brightness[dark][:, palm > 0.9].mean(1) > brightness[dark][:, palm == 0].mean(1)).all()
    assert brightness[:, creases > 0.8].mean() < brightness[:, creases < 0.1].mean()
    assert 10 < (nails > 0.4).sum() < 150
