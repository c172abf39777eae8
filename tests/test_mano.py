"""MANO: the forward pass against a slow independent one, its invariances, and what is said about unusable files."""

import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.spatial.transform import Rotation

from lib.errors import InputError
from lib.hands.mano import Mano, load_mano, rotations

VERTICES = 760
PARENTS = (None, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# MANO's joints and the vertices of the fingertips, thumb to little finger, palm to tip.
LISTED = (0, 13, 14, 15, "745", 1, 2, 3, "317", 4, 5, 6, "444", 10, 11, 12, "556", 7, 8, 9, "673")


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A model of random numbers, of a hand's size."""
    rng = np.random.default_rng(seed)
    weights, regressor = rng.random((VERTICES, 16)) ** 8, rng.random((16, VERTICES)) ** 20
    return {
        "v_template": rng.normal(0, 0.05, (VERTICES, 3)),
        "f": rng.integers(0, VERTICES, (900, 3)).astype(np.uint32),
        "shapedirs": rng.normal(0, 0.003, (VERTICES, 3, 10)),
        "posedirs": rng.normal(0, 0.001, (VERTICES, 3, 135)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(16)], dtype=np.uint32),
        "hands_components": rng.normal(0, 0.2, (45, 45)),
        "hands_mean": rng.normal(0, 0.2, 45),
    }


def posed_slowly(model, pose, shape, rotation, translation):
    """Vertices and joints of one hand, vertex after vertex and joint after joint, from the equations of the paper."""
    angles = model["hands_mean"].copy()
    for row, coefficient in zip(model["hands_components"], pose, strict=False):
        angles += coefficient * row
    turns = [Rotation.from_rotvec(v).as_matrix() for v in np.concatenate((rotation, angles)).reshape(16, 3)]
    shaped = model["v_template"].copy()
    for number, coefficient in enumerate(shape):
        shaped += coefficient * model["shapedirs"][:, :, number]
    joints = [sum(model["J_regressor"][j, v] * shaped[v] for v in range(VERTICES)) for j in range(16)]
    features = [turn[row, column] - (row == column) for turn in turns[1:] for row in range(3) for column in range(3)]

    def carried(joint, point):
        """Where a point that is fixed to a joint's bone goes: up the chain, turn after turn."""
        while joint is not None:
            point = turns[joint] @ (point - joints[joint]) + joints[joint]
            joint = PARENTS[joint]
        return point

    vertices = []
    for v in range(VERTICES):
        point = shaped[v] + model["posedirs"][v] @ features
        vertices.append(sum(model["weights"][v, j] * carried(j, point) for j in range(16)) + translation)
    found = [carried(j, joints[j]) + translation if isinstance(j, int) else vertices[int(j)] for j in LISTED]
    return np.array(vertices), np.array(found)


@pytest.mark.parametrize(("components", "shapes"), [(45, 10), (10, 10), (6, 3)])
def test_equals_the_slow_reference(components, shapes):
    model, rng = arrays(), np.random.default_rng(components)
    inputs = [rng.normal(0, 1, (3, n)) for n in (components, shapes, 3, 3)]
    hands = [posed_slowly(model, *(rows[number] for rows in inputs)) for number in range(3)]
    expected = [np.stack(parts) for parts in zip(*hands, strict=True)]
    single, double = Mano(model)(*(torch.tensor(rows).float() for rows in inputs)), Mano(model).double()
    for found, wanted in zip(single, expected, strict=True):
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    for found, wanted in zip(double(*map(torch.tensor, inputs)), expected, strict=True):
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)  # the model's own arrays are float32


def test_a_flat_hand_is_the_template():
    model = arrays() | {"hands_mean": np.zeros(45)}
    vertices, joints = Mano(model)(torch.zeros(2, 10), torch.zeros(2, 10), torch.zeros(2, 3))
    for batch in range(2):
        np.testing.assert_allclose(vertices[batch], model["v_template"], atol=1e-7)
        np.testing.assert_allclose(joints[batch, 0], model["J_regressor"][0] @ model["v_template"], atol=1e-7)
    tips = [745, 317, 444, 556, 673]
    torch.testing.assert_close(joints[:, [4, 8, 12, 16, 20]], vertices[:, tips], rtol=0, atol=0)


def test_fewer_coefficients_are_zeros():
    mano, pose, shape = Mano(arrays()), torch.randn(2, 12), torch.randn(2, 4)
    full = mano(torch.cat((pose, torch.zeros(2, 33)), 1), torch.cat((shape, torch.zeros(2, 6)), 1), torch.ones(2, 3))
    torch.testing.assert_close(mano(pose, shape, torch.ones(2, 3)), full)


def test_the_roots_rotation_turns_everything_about_the_wrist():
    mano = Mano(arrays()).double()
    pose, shape = torch.randn(4, 10).double(), torch.randn(4, 10).double()
    vectors = torch.tensor([[0, 0, 1e-9], [0.3, -2, 1], [np.pi, 0, 0], [4, 4, 4]], dtype=torch.float64)
    shift = torch.randn(4, 3).double()
    still, turned = mano(pose, shape, torch.zeros(4, 3).double()), mano(pose, shape, vectors, shift)
    wrist = still[1][:, :1]
    turns = torch.tensor(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    for before, after in zip(still, turned, strict=True):
        expected = (before - wrist) @ turns.mT + wrist + shift[:, None]
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-9)


def test_a_bending_joint_moves_what_hangs_on_it_and_nothing_else():
    model = arrays() | {"hands_mean": np.zeros(45), "posedirs": np.zeros((VERTICES, 3, 135))}
    model["hands_components"] = np.eye(45)
    pose = torch.zeros(1, 45)
    pose[0, 3 * 4 : 3 * 5] = torch.tensor([0.2, 0.5, -0.3])  # joint 5, the middle finger's second
    mano = Mano(model)
    _, flat = mano(torch.zeros(1, 45), torch.zeros(1, 10), torch.zeros(1, 3))
    _, bent = mano(pose, torch.zeros(1, 10), torch.zeros(1, 3))
    moved = (flat - bent).norm(dim=-1)[0] > 1e-4
    assert [number for number in range(21) if moved[number] and number % 4] == [11]  # tips are skin, on all joints


def test_rotations_at_zero_and_half_a_turn():
    vectors = torch.tensor([[0, 0, 0], [0, 0, torch.pi / 2], [torch.pi, 0, 0]], dtype=torch.float64)
    expected = torch.tensor(
        [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, -1, 0], [0, 0, -1]]]
    )
    torch.testing.assert_close(rotations(vectors), expected.double(), rtol=0, atol=1e-15)
    assert torch.equal(rotations(torch.zeros(2, 3)), torch.eye(3).expand(2, 3, 3))


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_a_file_as_mano_is_published(tmp_path, monkeypatch):
    """Python 2's protocol, shape components as chumpy's selection out of more, the joint regressor sparse."""
    model = arrays()
    home, parts = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    for module, name in ((home, "Ch"), (parts, "Select")):
        kind = type(
            name, (), {"__module__": module.__name__, "__init__": lambda self, **state: vars(self).update(state)}
        )
        setattr(module, name, kind)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    more = np.concatenate((model["shapedirs"], np.ones((VERTICES, 3, 10))), axis=2)
    places = np.arange(more.size).reshape(more.shape)[:, :, :10]
    published = model | {
        "shapedirs": parts.Select(a=home.Ch(x=more), idxs=places.ravel(), preferred_shape=places.shape),
        "J_regressor": scipy.sparse.csc_matrix(model["J_regressor"]),
        "hands_coeffs": np.zeros((1554, 45)),
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }
    mano = load_mano(write(tmp_path / "MANO_RIGHT.pkl", published))
    inputs = torch.randn(2, 10), torch.randn(2, 10), torch.randn(2, 3)
    torch.testing.assert_close(mano(*inputs), Mano(model)(*inputs), rtol=0, atol=0)
    assert mano.faces.dtype == torch.int64
    np.testing.assert_array_equal(mano.faces, model["f"])
    np.testing.assert_array_equal(mano.parts, model["weights"].argmax(1))
    assert not list(mano.parameters())


@pytest.mark.parametrize("name", sorted(arrays()))
def test_a_missing_array(tmp_path, name):
    model = arrays()
    del model[name]
    with pytest.raises(InputError, match=rf"hand\.pkl lacks {name}: expected .* form of MANO_RIGHT") as caught:
        load_mano(write(tmp_path / "hand.pkl", model))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("v_template", (VERTICES, 2), "(V, 3)"),
        ("f", (900, 4), "(F, 3)"),
        ("shapedirs", (VERTICES, 3, 20), f"({VERTICES}, 3, 10)"),
        ("posedirs", (VERTICES + 1, 3, 135), f"({VERTICES}, 3, 135)"),
        ("J_regressor", (24, VERTICES), f"(16, {VERTICES})"),
        ("weights", (16, VERTICES), f"({VERTICES}, 16)"),
        ("kintree_table", (16,), "(2, 16)"),
        ("hands_components", (6, 45), "(45, 45)"),
        ("hands_mean", (48,), "(45)"),
    ],
)
def test_a_misshaped_array(tmp_path, name, shape, expected):
    with pytest.raises(InputError) as caught:
        load_mano(write(tmp_path / "hand.pkl", arrays() | {name: np.zeros(shape)}))
    message = str(caught.value)
    assert message.endswith(f"hand.pkl: {name} is float64 {shape}: expected numbers of shape {expected}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "none"}, "weights is <U4 (): expected numbers of shape (760, 16)"),
        ({"v_template": None}, "v_template is object (): expected numbers"),
        ({"f": np.full((2, 3), VERTICES)}, "760 vertices do not hold all triangles"),
        ({"f": np.full((2, 3), -1)}, "760 vertices do not hold all triangles"),
        ({"kintree_table": np.array([[-1, 0, 1, 5, *[0] * 12], range(16)])}, "expected each before its children"),
        ({"kintree_table": np.array([[-1, *[-1] * 15], range(16)])}, "expected each before its children"),
    ],
)
def test_unusable_content(tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        load_mano(write(tmp_path / "hand.pkl", arrays() | change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_the_fingertips(tmp_path):
    small = arrays() | {"f": np.zeros((1, 3), int)}
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        small[name] = small[name][:745]
    small["J_regressor"] = small["J_regressor"][:, :745]
    with pytest.raises(InputError, match="745 vertices do not hold all triangles and fingertips"):
        load_mano(write(tmp_path / "hand.pkl", small))


def test_another_pickle(tmp_path):
    with pytest.raises(InputError, match=r"hand\.pkl holds a list: expected the dictionary of MANO_RIGHT\.pkl"):
        load_mano(write(tmp_path / "hand.pkl", [1, 2]))
