"""Random hands and the pictures that they make: pose, shape, skin, place, light and background (CMKG Sect. 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lib.data.scenes import SKIN, photograph
from lib.hands.joints import projected
from lib.hands.mano import ORDER, TIPS, Mano
from lib.hands.render import Light, Mesh, Rendering, render, vertex_normals

SCALING = (0.85, 1.15)  # of the model, whose shape coefficients hardly change the size within the published range
# A joint is this far behind the skin before it, at most, mm: the wrist is deep in the hand, a fingertip is skin.
FLESH = np.array([28, *(26, 18, 14, 8), *(18, 14, 12, 8) * 4])
PALM_COLOUR = np.array([236, 190, 168]) / 255
NAIL_COLOUR = np.array([238, 186, 176]) / 255
BACK = np.array([(0, 0.45, 0.89), *[(0, 1, 0)] * 4])  # where the nails of thumb to little finger face in MANO's frame


@dataclass(frozen=True)
class Hand:
    """mesh, in m, and joints xyz (21, 3) in mm, in the camera's frame and the order of lib.hands.joints."""

    mesh: Mesh
    xyz: NDArray


@dataclass(frozen=True)
class Picture:
    """image (h, w, 3) uint8 RGB; depth (h, w) float32 mm, 0 where no hand is; visible (n, 21) bool, of n hands."""

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    visible: NDArray[np.bool_]
    rendering: Rendering


def draw_hand(
    model: Mano,
    rng: np.random.Generator,
    camera: NDArray,
    size: tuple[int, int],
    distance: tuple[float, float],
    *,
    components: int = 10,
    pose: float = 2.0,
    shape: float = 0.03,
    rotation: NDArray | None = None,
) -> Hand:
    """Draw a right hand, wholly in the picture of a camera where it fits.

    Pose coefficients are uniform in [-pose, pose], ten shape coefficients in [-shape, shape], the size in SCALING, the
    distance and the place in the picture where they can be, the rotation among all.

    Args:
        camera: (3, 3), the last row 0 0 1.
        size: (height, width) of the picture in px.
        distance: (nearest, furthest) of the mean joint along the camera's z, m.
        components: number of pose coefficients.
        rotation: (3,) axis times angle of the turn from the model's frame; None: at random.
    """
    turn = _any_rotation(rng) if rotation is None else rotation
    given = rng.uniform(-pose, pose, components), rng.uniform(-shape, shape, 10), np.asarray(turn)
    with torch.no_grad():
        vertices, joints = (
            points[0].double().numpy() for points in model(*(torch.from_numpy(row).float()[None] for row in given))
        )
    middle, scale, z = joints.mean(0), rng.uniform(*SCALING), rng.uniform(*distance)
    vertices, joints = scale * (vertices - middle), scale * (joints - middle)
    reach = np.linalg.norm(joints, axis=1).max() / z * camera[[0, 1], [0, 1]]  # px
    extent = np.array(size[::-1]) - 1
    margin = np.minimum(reach, extent / 2)
    place = z * np.linalg.solve(camera, [*rng.uniform(margin, extent - margin), 1])
    return Hand(Mesh(vertices + place, model.faces.numpy(), skin(model, rng)), 1000 * (joints + place))


def mirrored(hand: Hand) -> Hand:
    """The other hand, mirrored at the vertical plane through the mean joint, so that it stays in its place."""
    flip, shift = np.array([-1, 1, 1]), np.array([2, 0, 0]) * hand.xyz.mean(0)
    mesh = replace(hand.mesh, vertices=flip * hand.mesh.vertices + shift / 1000, faces=hand.mesh.faces[:, ::-1])
    return Hand(mesh, flip * hand.xyz + shift)


def compose(
    rng: np.random.Generator, hands: Sequence[Hand], camera: NDArray, size: tuple[int, int], background: NDArray
) -> Picture:
    """Photograph hands before a background (h, w, 3) uint8 RGB of `size` (h, w), under a lamp at random."""
    rendering = render([hand.mesh for hand in hands], camera, size, _any_light(rng))
    levels, seen = cv2.convertScaleAbs(rendering.colour, alpha=255), (rendering.mesh >= 0).astype(np.uint8)
    image = cv2.copyTo(levels, seen, background.copy())
    visible = [visible_joints(hand.xyz, camera, rendering, number) for number, hand in enumerate(hands)]
    return Picture(photograph(rng, image), 1000 * rendering.depth, np.reshape(visible, (-1, 21)), rendering)


def visible_joints(xyz: NDArray, camera: NDArray, rendering: Rendering, number: int) -> NDArray[np.bool_]:
    """Which joints (21, 3) in mm are in the picture with no more than their FLESH of mesh `number` before them.

    Their pixel and its eight neighbours are looked at: a fingertip lies on the hand's outline.
    """
    (x, y), (height, width) = np.rint(projected(xyz, camera)).astype(int).T, rendering.depth.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    around, across = np.mgrid[-1:2, -1:2].reshape(2, 9, 1)
    at = (y + around).clip(0, height - 1), (x + across).clip(0, width - 1)
    near = xyz[:, 2] - 1000 * rendering.depth[at] <= FLESH
    return inside & (near & (rendering.mesh[at] == number)).any(0)


def skin(model: Mano, rng: np.random.Generator) -> NDArray:
    """Colours (V, 3) in [0, 1]: a tone, a paler palm, redder fingertips, darker creases, nails, smooth variation."""
    places, palm, tips, creases, nails = _places_of_colour(model)
    tone, share = divmod(rng.uniform(0, len(SKIN) - 1), 1)
    tone = (SKIN[int(tone)] * (1 - share) + SKIN[int(tone) + 1] * share) / 255 * rng.uniform(0.95, 1.05, 3)
    colours = np.tile(tone, (len(places), 1))
    for where, colour, amount in (
        (palm, PALM_COLOUR, rng.uniform(0.15, 0.35)),
        (tips, [0.85, 0.45, 0.4], rng.uniform(0, 0.25)),
        (creases, 0.55 * tone, rng.uniform(0.1, 0.5)),
        (nails, NAIL_COLOUR, rng.uniform(0.3, 0.7)),
    ):
        colours += amount * where[:, None] * (colour - colours)
    waves = np.sin(places @ rng.normal(0, 80, (3, 6)) + rng.uniform(0, 2 * np.pi, 6)) @ rng.normal(0, 1, (6, 3))
    return (colours * (1 + 0.02 * waves + rng.normal(0, 0.02, (len(places), 1)))).clip(0, 1)


@cache
def _places_of_colour(model: Mano) -> tuple[NDArray, ...]:
    """Vertices (V, 3) in m of the model at rest and, in [0, 1] each, how far they are palm, fingertip, crease, nail."""
    rest = model.v_template.double().numpy()
    normals = vertex_normals(rest, model.faces.numpy())
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    joints = np.concatenate((model.J_regressor.double().numpy() @ rest, rest[list(TIPS.values())]))[ORDER]
    fingers = joints[1:].reshape(5, 4, 3)
    bones = np.diff(fingers, axis=1)
    bones /= np.linalg.norm(bones, axis=2, keepdims=True)

    def near(points: NDArray, radius: float) -> NDArray:
        return np.exp(-((np.linalg.norm(rest[:, None] - points, axis=2) / radius) ** 4))

    offset = rest[:, None, None] - fingers[:, :3]
    across = np.exp(-(((offset * bones).sum(-1) / 2.5e-3) ** 2)) * near(fingers[:, :3].reshape(-1, 3), 0.016).reshape(
        -1, 5, 3
    )
    nails = near(fingers[:, 3] - 5e-3 * bones[:, 2] + 6e-3 * BACK, 7e-3) * (normals @ BACK.T).clip(0)
    palm = (-normals[:, 1]).clip(0)
    return rest, palm, near(fingers[:, 3], 0.014).max(1), across.max((1, 2)), nails.max(1)


def _any_rotation(rng: np.random.Generator) -> NDArray:
    """Axis times angle (3,) of a rotation, uniform among all."""
    quaternion = rng.normal(size=4)
    sine = np.linalg.norm(quaternion[1:])
    return 2 * np.arctan2(sine, quaternion[0]) * quaternion[1:] / sine


def _any_light(rng: np.random.Generator) -> Light:
    """A lamp on the camera's side, mostly above, and its surroundings."""
    return Light(
        direction=rng.uniform((-1, -1, -1), (1, 0.4, -0.3)),
        lamp=rng.uniform(0.45, 0.9) * rng.uniform(0.93, 1.07, 3),
        ambient=rng.uniform(0.3, 0.55) * rng.uniform(0.95, 1.05, 3),
        gloss=rng.uniform(0, 0.2),
    )
