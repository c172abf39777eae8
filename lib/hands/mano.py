"""MANO: a hand's surface and joints from pose and shape (Romero et al., Embodied Hands, SIGGRAPH Asia 2017)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.pickles import load_pickle

# The fingertips are vertices. Thumb, index, middle, ring, little: first of the model's joints and fingertip.
TIPS = {13: 745, 1: 317, 4: 444, 10: 556, 7: 673}
# Places of our 21 joints among the model's 16 and the five tips: wrist, then each finger from the palm to the tip.
ORDER = [0, *(place for tip, first in enumerate(TIPS, 16) for place in (first, first + 1, first + 2, tip))]
# What a model's file holds; V vertices, F triangles.
SHAPES = {
    "v_template": ("V", 3),
    "f": ("F", 3),
    "shapedirs": ("V", 3, 10),
    "posedirs": ("V", 3, 135),
    "J_regressor": (16, "V"),
    "weights": ("V", 16),
    "kintree_table": (2, 16),
    "hands_components": (45, 45),
    "hands_mean": (45,),
}


class Mano(nn.Module):
    """A hand model of 16 joints: linear blend skinning with shape and pose blend shapes.

    `arrays` are those of SHAPES, lengths in m, joints in the order wrist, index, middle, little, ring, thumb x 3.
    `faces` are (F, 3) int64, `parts` (V,) int64 the joint that moves a vertex most.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__()
        for name in ("v_template", "J_regressor", "weights", "hands_components", "hands_mean"):
            self.register_buffer(name, torch.tensor(arrays[name], dtype=torch.float32))
        for name in ("shapedirs", "posedirs"):  # (V * 3, coefficients): one matrix product each
            self.register_buffer(name, torch.tensor(arrays[name], dtype=torch.float32).flatten(0, 1))
        self.register_buffer("faces", torch.tensor(arrays["f"].astype(np.int64)))
        self.register_buffer("parts", self.weights.argmax(1))
        self.parents = arrays["kintree_table"][0, 1:].astype(np.int64).tolist()

    def forward(
        self, pose: Tensor, shape: Tensor, rotation: Tensor, translation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pose the hand: vertices (B, V, 3) and joints (B, 21, 3) in m, joints in the order of lib.hands.joints.

        Args:
            pose: (B, up to 45) coefficients of the first pose components, about the mean pose.
            shape: (B, up to 10) coefficients of the first shape components.
            rotation: (B, 3) axis times angle of the whole hand's turn about its wrist joint.
            translation: (B, 3) m, of everything; none if left out.
        """
        batch = len(pose)
        angles = pose @ self.hands_components[: pose.shape[1]] + self.hands_mean
        turns = rotations(torch.cat((rotation, angles), dim=1).unflatten(1, (16, 3)))
        bends = (turns[:, 1:] - torch.eye(3).to(turns)).flatten(1)
        shaped = self.v_template + (shape @ self.shapedirs[:, : shape.shape[1]].T).view(batch, -1, 3)
        rest = self.J_regressor @ shaped
        posed = shaped + (bends @ self.posedirs.T).view(batch, -1, 3)

        offsets = torch.cat((rest[:, :1], rest[:, 1:] - rest[:, self.parents]), dim=1)
        last = turns.new_tensor((0, 0, 0, 1)).expand(batch, 16, 1, 4)
        local = torch.cat((torch.cat((turns, offsets.unsqueeze(-1)), dim=-1), last), dim=-2)
        chain = [local[:, 0]]
        for joint, parent in enumerate(self.parents, start=1):
            chain.append(chain[parent] @ local[:, joint])
        turned, moved = torch.stack(chain, dim=1)[:, :, :3].split((3, 1), dim=-1)

        rigid = torch.cat((turned, moved - turned @ rest.unsqueeze(-1)), dim=-1)
        blended = (self.weights @ rigid.flatten(2)).unflatten(2, (3, 4))
        vertices = (blended[..., :3] @ posed.unsqueeze(-1)).squeeze(-1) + blended[..., 3]
        joints = torch.cat((moved.squeeze(-1), vertices[:, list(TIPS.values())]), dim=1)[:, ORDER]
        if translation is not None:
            vertices, joints = vertices + translation.unsqueeze(1), joints + translation.unsqueeze(1)
        return vertices, joints


def rotations(vectors: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of axis times angle (..., 3): Rodrigues' formula, exact at 0."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    turns = vectors.norm(dim=-1)[..., None, None] / torch.pi  # sinc(t) is sin(pi t) / (pi t)
    return torch.eye(3).to(vectors) + turns.sinc() * cross + 0.5 * (turns / 2).sinc() ** 2 * cross @ cross


def load_mano(path: Path | str) -> Mano:
    """Read a model file in MANO's form (MANO_RIGHT.pkl). Raises InputError where an array is missing or misshaped."""
    found = load_pickle(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}: expected the dictionary of MANO_RIGHT.pkl")
    arrays, sizes = {}, {}
    for name, expected in SHAPES.items():
        if name not in found:
            raise InputError(f"{path} lacks {name}: expected a hand model in the form of MANO_RIGHT.pkl")
        array = arrays[name] = np.asarray(found[name])
        wanted = tuple(sizes.get(size, size) for size in expected)
        if (
            array.dtype.kind not in "biuf"
            or array.ndim != len(wanted)
            or any(size != has for size, has in zip(wanted, array.shape, strict=True) if isinstance(size, int))
        ):
            shape = ", ".join(map(str, wanted))
            raise InputError(f"{path}: {name} is {array.dtype} {array.shape}: expected numbers of shape ({shape})")
        sizes.update({size: has for size, has in zip(wanted, array.shape, strict=True) if isinstance(size, str)})
    parents, vertices = arrays["kintree_table"][0].astype(np.int64), sizes["V"]
    if (parents[1:] < 0).any() or (parents[1:] >= np.arange(1, 16)).any():
        raise InputError(f"{path}: kintree_table has parents {parents.tolist()}: expected each before its children")
    faces = arrays["f"].astype(np.int64)
    if vertices <= max(TIPS.values()) or faces.min(initial=0) < 0 or faces.max(initial=0) >= vertices:
        raise InputError(f"{path}: {vertices} vertices do not hold all triangles and fingertips: take MANO_RIGHT.pkl")
    return Mano(arrays)


def load_right(path: Path | str) -> Mano:
    """Read a model file of right hands; InputError, besides those of `load_mano`, where the hand is a left one."""
    mano = load_mano(path)
    if "LEFT" in Path(path).name.upper() or is_left(mano):
        raise InputError(f"{path} is the model of a left hand: expected a right one, take MANO_RIGHT.pkl")
    return mano


def is_left(mano: Mano) -> bool:
    """Whether the fingers, as the mean pose curls them, are on the side of the palm where a left hand has them."""
    _, joints = mano(torch.zeros(1, 45), torch.zeros(1, 10), torch.zeros(1, 3))
    wrist, index, little = joints[0, 0], joints[0, 5], joints[0, 17]
    outwards = torch.linalg.cross(index - wrist, little - wrist)  # of a right hand's palm
    return bool(((joints[0, 4::4] - wrist) @ outwards).sum() < 0)
