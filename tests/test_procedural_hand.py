"""The procedural hand: a closed skin of a right hand's proportions that bends, spreads and grows as one."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lib.hands.joints import BONES, FINGERS, SCALE_BONE
from lib.hands.mano import SHAPES, TIPS, Mano, load_mano
from lib.hands.procedural import procedural_hand, save_procedural

FIRST = {"thumb": 13, "index": 1, "middle": 4, "ring": 10, "little": 7}  # of the model's joints


@pytest.fixture(scope="module")
def hand():
    return procedural_hand()


@pytest.fixture(scope="module")
def mano(hand):
    return Mano(hand)


@pytest.fixture(scope="module")
def flat(hand):
    return Mano(hand | {"hands_mean": np.zeros(45), "hands_components": np.eye(45)})


def posed(model, pose=(), shape=()):
    """Vertices and joints, of coefficients given first to last."""
    inputs = (torch.tensor(np.array([coefficients]), dtype=torch.float32) for coefficients in (pose, shape))
    vertices, joints = model(*inputs, torch.zeros(1, 3))
    return vertices[0].numpy(), joints[0].numpy()


def tips(joints):
    return dict(zip(FINGERS, joints[4::4], strict=True))


def test_has_the_arrays_of_mano(hand):
    sizes = {}
    for name, expected in SHAPES.items():
        for size, wanted in zip(hand[name].shape, expected, strict=True):
            assert size == (sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted), name
        assert np.isfinite(hand[name]).all(), name
    assert 1000 < sizes["V"] < 2500
    assert hand["kintree_table"][0].tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def test_the_file_is_the_model_and_always_the_same(hand, mano, tmp_path):
    for name in ("first", "second"):
        save_procedural(tmp_path / f"{name}.pkl")
    assert (tmp_path / "first.pkl").read_bytes() == (tmp_path / "second.pkl").read_bytes()
    loaded = load_mano(tmp_path / "first.pkl")
    for name, array in mano.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], array), name


def test_the_skin_is_closed_and_faces_outwards(hand):
    vertices, faces = hand["v_template"], hand["f"]
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    once, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 1).all()  # in each direction
    assert set(map(tuple, once)) == set(map(tuple, once[:, ::-1]))
    assert len(vertices) - len(edges) // 2 + len(faces) == 2  # one piece without holes
    a, b, c = vertices[faces].swapaxes(0, 1)
    volume = (np.cross(a, b) * c).sum() / 6
    assert 250e-6 < volume < 500e-6  # m3; a man's hand has about 0.4 l


def test_proportions(flat):
    _, joints = posed(flat)
    lengths = {f"{a}-{b}": np.linalg.norm(joints[a] - joints[b]) for a, b in BONES}
    assert 0.030 <= lengths["{}-{}".format(*SCALE_BONE)] <= 0.045
    reach = {name: np.linalg.norm(tip - joints[0]) for name, tip in tips(joints).items()}
    assert 0.17 < reach["middle"] < 0.21
    assert reach["middle"] > max(reach["index"], reach["ring"]) > reach["little"] > reach["thumb"]
    for first in (5, 9, 13, 17):  # the nearer to the palm, the longer
        proximal, middle = (lengths[f"{first + n}-{first + n + 1}"] for n in (0, 1))
        assert proximal > middle


def test_a_right_hand_as_mano_lies(flat):
    """Fingers to -x, the thumb to +z, and the palm, where the fingers curl to, at -y."""
    _, joints = posed(flat)
    for name, tip in tips(joints).items():
        assert tip[0] < joints[0, 0] - 0.08, name
    sideways = [tip[2] for tip in tips(joints).values()]
    assert sideways == sorted(sideways, reverse=True)
    assert tips(joints)["thumb"][1] < joints[0, 1]


def test_joints_are_the_regressors(hand):
    np.testing.assert_allclose(hand["J_regressor"].sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(hand["J_regressor"] @ hand["v_template"], hand["J"], atol=1e-9)


def test_fingertips_are_the_ends_of_the_fingers(hand):
    part = hand["weights"].argmax(1)
    for first, tip in TIPS.items():
        along = hand["J"][first + 2] - hand["J"][first + 1]
        finger = np.flatnonzero((part >= first) & (part < first + 3))
        assert (hand["v_template"][finger] @ along).argmax() == np.flatnonzero(finger == tip)[0]
        assert hand["weights"][tip, first + 2] > 0.95


def test_skin_weights(hand):
    weights, faces = hand["weights"], hand["f"]
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert set(weights.argmax(1)) == set(range(16))
    between = np.abs(weights[faces[:, 0]] - weights[faces[:, 1]]).sum(1)
    assert between.max() < 0.8  # neighbours share their bones: 2 would be none in common
    alone = weights[:, 1:].reshape(-1, 5, 3).sum(2)
    assert ((alone > 0.5).sum(1) <= 1).all()


@pytest.mark.parametrize("name", FINGERS)
def test_fingers_bend_towards_the_palm(flat, hand, name):
    """Turns about the axes of the first component take a finger, and no other, to the palm."""
    _, straight = posed(flat)
    palm = straight[[0, 5, 17]].mean(0)
    curl = hand["hands_components"][0].reshape(15, 3)
    for joint in range(FIRST[name] - 1 + (name == "thumb"), FIRST[name] + 2):  # the thumb's first does more than curl
        pose = np.zeros((15, 3))
        pose[joint] = curl[joint] / np.linalg.norm(curl[joint])
        bent = {degrees: tips(posed(flat, np.radians(degrees) * pose.ravel())[1]) for degrees in (10, 60)}
        assert bent[10][name][1] < tips(straight)[name][1] - 0.001
        assert np.linalg.norm(bent[60][name] - palm) < np.linalg.norm(tips(straight)[name] - palm)
        for other in set(FINGERS) - {name}:
            np.testing.assert_allclose(bent[60][other], tips(straight)[other], atol=1e-4)


def test_synergies(mano):
    """The first component makes a fist, the second brings the thumb to the fingers, the sixth fans them."""
    _, opened = posed(mano, [-2])
    _, fist = posed(mano, [2])
    for name in FINGERS[1:]:
        assert np.linalg.norm(tips(fist)[name] - fist[0]) < np.linalg.norm(tips(opened)[name] - opened[0]) - 0.05
    apart = [np.linalg.norm(tips(j)["thumb"] - tips(j)["little"]) for _, j in (posed(mano, [0, s]) for s in (-2, 2))]
    assert apart[1] < apart[0] - 0.02
    spread = [
        np.linalg.norm(tips(j)["index"] - tips(j)["little"]) for _, j in (posed(mano, [0] * 5 + [s]) for s in (-2, 2))
    ]
    assert spread[1] > spread[0] + 0.02


def test_the_45_components_are_a_basis(hand):
    assert np.linalg.matrix_rank(hand["hands_components"], tol=1e-3) == 45
    np.testing.assert_allclose(hand["hands_components"][:10] @ hand["hands_components"][10:].T, 0, atol=1e-12)


def test_sampled_poses_are_plausible_and_do_not_tear(mano, hand):
    rng = np.random.default_rng(0)
    pose = np.concatenate((rng.uniform(-2, 2, (192, 10)), rng.choice([-2, 2], (64, 10))))  # and corners of the cube
    vertices = mano(torch.tensor(pose).float(), torch.zeros(256, 1), torch.zeros(256, 3))[0].numpy()
    first, second = hand["f"][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).T
    rest = np.linalg.norm(hand["v_template"][first] - hand["v_template"][second], axis=1)
    bent = np.linalg.norm(vertices[:, first] - vertices[:, second], axis=2)
    assert bent.max() < 0.025  # m; 9 mm at rest
    assert np.percentile(bent / rest, 99.9) < 2.5
    angles = (pose[:192] @ hand["hands_components"][:10] + hand["hands_mean"]).reshape(-1, 15, 3)
    axes = hand["hands_components"][0].reshape(15, 3)[:12:3]
    flexion = np.degrees((angles[:, 1:12:3] * axes / np.linalg.norm(axes, axis=1, keepdims=True)).sum(-1))
    assert (flexion > -25).mean() > 0.98  # of the fingers' second joints
    assert (flexion < 110).mean() > 0.99
    assert flexion.std() > 15


def test_a_bent_joint_thickens(hand):
    """By up to 1.5 mm outwards at a right angle, around that joint only, and not by a turn along the finger."""
    curl = hand["hands_components"][0].reshape(15, 3)[1]  # of the index finger's second joint
    along = hand["J"][3] - hand["J"][2]
    correction = hand["posedirs"][:, :, 9:18]
    bend, twist = (
        Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.pi / 2).as_matrix() - np.eye(3) for axis in (curl, along)
    )
    swelling = correction @ bend.ravel()
    moved, outward = np.linalg.norm(swelling, axis=1), hand["v_template"] - hand["J"][2]
    assert 0.001 < moved.max() <= 0.0015 + 1e-9
    assert ((swelling * outward).sum(1) >= 0).all()
    assert np.linalg.norm(outward[moved > 3e-4], axis=1).max() < 0.02
    np.testing.assert_allclose(correction @ twist.ravel(), 0, atol=1e-12)


def test_shape_components(hand, flat):
    """One standard deviation of the first is 5% of size; of the sixth, 6% of the thumb's length and nothing else."""
    vertices, joints = posed(flat)
    larger, moved = posed(flat, shape=[1])
    np.testing.assert_allclose(larger - joints[0], 1.05 * (vertices - joints[0]), atol=1e-6)
    np.testing.assert_allclose(moved - joints[0], 1.05 * (joints - joints[0]), atol=1e-6)
    longer, moved = posed(flat, shape=[0, 0, 0, 0, 0, 1])
    bones = [np.linalg.norm(j[3] - j[2]) for j in (joints, moved)]
    assert bones[1] / bones[0] == pytest.approx(1.06, abs=0.02)
    np.testing.assert_allclose(tips(moved)["index"], tips(joints)["index"], atol=1e-4)
    others = hand["weights"][:, 13:].sum(1) == 0
    np.testing.assert_allclose(longer[others], vertices[others], atol=1e-6)


def test_every_shape_component_is_a_few_millimetres(hand):
    largest = np.linalg.norm(hand["shapedirs"], axis=1).max(0)
    assert (largest > 3e-4).all()
    assert (largest < 0.015).all()
