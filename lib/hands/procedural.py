"""A hand model made by formulas, in MANO's form: it stands in where MANO's own file, which users bring, is absent.

Axes of the right hand, as MANO lies: x from the fingertips to the wrist, y out of the hand's back, z towards the thumb.
The palm faces -y. A finger's positive turn about its own flexion axis, which is near +z, curls it to the palm.
"""

import pickle
from collections.abc import Iterable
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from lib.files import atomic
from lib.hands.mano import TIPS

MM = 1e-3
GRID = 5.5 * MM  # between samples of the distance field: about 2,000 vertices
WRIST = np.array([95, 0, 0]) * MM
# In MANO's order: first joint (mm), lengths of the three phalanges (mm, the last one to the middle of the round tip),
# direction from -x to the thumb's side and to the back (degrees), radius at the three joints and of the tip (mm).
FINGERS = (
    ((6, 2, 24), (39, 24, 17), (9, -3), (11.2, 9.6, 8.6, 7.4)),  # index
    ((2, 4, 3), (43, 28, 18), (0.5, -3), (11.2, 9.8, 8.8, 7.6)),  # middle
    ((17, -3, -33), (32, 19, 15), (-20, -3), (9.6, 8.3, 7.4, 6.4)),  # little
    ((8, 2, -16), (40, 26, 18), (-9, -3), (10.6, 9.2, 8.3, 7.2)),  # ring
    ((73, -8, 19), (43, 32, 21), (38, -20), (14.5, 11.8, 10.8, 8.8)),  # thumb
)
# Where a finger goes as it curls: fingers to the palm, the thumb across it.
CURL = np.array([(0, -1, 0)] * 4 + [(0, -0.45, -0.9)])
# Flesh of the palm as rods from one point to another (mm), with a radius at either end (mm).
PALM = (
    ((88, 0, 11), (6, 1, 24), 14, 12),
    ((88, 1, 4), (2, 2, 3), 15, 12.5),
    ((88, 1, -5), (8, 1, -16), 15, 12),
    ((88, -1, -11), (17, -3, -33), 14, 11),
    ((80, -1, 0), (25, -1, 13), 14, 12),  # between the bones
    ((80, -1, 0), (25, -1, -20), 14, 12),
    ((82, -8, 14), (44, -11, 25), 14, 13),  # ball of the thumb
    ((80, -7, -14), (36, -8, -29), 12, 11.5),  # heel of the little finger's side
    ((54, -12, 34), (28, -3, 26), 8, 7),  # web of the thumb
    ((90, 0, 10), (125, 0, 10), 18, 18.5),  # forearm
    ((90, 0, -10), (125, 0, -10), 18, 18.5),
)
END = 112 * MM  # the forearm is cut off here

# Degrees per finger in MANO's order: flexion of the three joints, then spread to the thumb's side (the thumb's: away
# from the palm's plane) and twist, both of the first joint.
MEAN = ((23, 34, 17, -3, 0), (27, 37, 19, 0, 0), (31, 36, 19, 7, 0), (29, 39, 19, 3, 0), (6, 10, 12, 4, 0))
# The first ten pose components: what one unit adds.
ALL, NONE = (13, 17, 10, 0, 0), (0, 0, 0, 0, 0)
SYNERGIES = (
    (ALL, ALL, ALL, ALL, (2, 4, 5, 2, 0)),  # fist
    (NONE, NONE, NONE, NONE, (7, 3, 2, 7, 4)),  # thumb to the fingers
    ((8, -8, -4, 0, 0),) * 4 + (NONE,),  # knuckles against the rest: hook and table
    ((8, 9, 5, 0, 0), (2, 2, 1, 0, 0), NONE, NONE, NONE),  # pointing
    ((-5, -5, -3, 0, 0), (-2, -2, -1, 0, 0), (7, 8, 5, 0, 0), (5, 5, 3, 0, 0), NONE),  # index to little finger
    ((0, 0, 0, 3, 0), (0, 0, 0, 0.5, 0), (0, 0, 0, -4, 0), (0, 0, 0, -1.5, 0), (-4, 0, 0, 1, 0)),  # fan
    (NONE, NONE, NONE, NONE, (-2, 9, 11, 0, 0)),  # thumb's flexion
    ((-2, -2, -1, 0, 0), (8, 8, 5, 0, 0), (-3, -3, -2, 0, 0), (1, 1, 0, 0, 0), NONE),  # middle finger alone
    (NONE, NONE, (9, 8, 5, -1, 0), (2, 2, 1, 0, 0), NONE),  # little finger alone
    (NONE, NONE, NONE, NONE, (-5, 0, 0, 6, -3)),  # thumb away from the palm
)
REST = 3.0  # degrees that one unit of the other 35 components adds


def procedural_hand() -> dict[str, NDArray | str]:
    """Build a right hand of about 2,000 vertices: the keys, shapes, units (m) and joint order of MANO_RIGHT.pkl.

    The skin is the zero surface of a distance field of rods, sampled by surface nets. Skin weights are the nearest
    bone's share, diffused over the surface. The first ten pose components are synergies such that coefficients in
    [-2, 2] give mostly plausible hands; the others make the 45 rows a basis. One unit of a shape component is about one
    standard deviation among adults. Vertices lib.hands.mano.TIPS are fingertips. Every call gives the same numbers.
    """
    joints, bones, axes = _skeleton()
    vertices, faces = _skin()
    vertices, faces = _numbered(vertices, faces, bones)
    neighbours = _neighbours(faces, len(vertices))
    weights = _skin_weights(vertices, bones, neighbours)
    return {
        "v_template": vertices,
        "f": faces,
        "J": joints,
        "J_regressor": _regressor(vertices, joints),
        "weights": weights,
        "kintree_table": np.array([[-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], range(16)]),
        "shapedirs": _shape_components(vertices, weights, joints, bones),
        "posedirs": _pose_corrections(vertices, weights, bones, axes),
        "hands_components": _pose_components(axes),
        "hands_mean": _pose(MEAN, axes),
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


def save_procedural(path: Path | str) -> None:
    """Write procedural_hand() as a pickle that load_mano reads."""
    with atomic(path) as part:
        part.write_bytes(pickle.dumps(procedural_hand(), protocol=4))


def _skeleton() -> tuple[NDArray, NDArray, NDArray]:
    """Joints (16, 3), the fingers' bones (15, 2, 3) and axes (15, 3, 3): flexion, spread and twist, as rows."""
    joints, bones, axes = [WRIST], [], []
    for (first, lengths, direction, _), curl in zip(FINGERS, CURL, strict=True):
        side, back = np.radians(direction)
        along = np.array([-np.cos(side) * np.cos(back), np.sin(back), np.sin(side) * np.cos(back)])
        ends = (np.array(first) + np.cumsum((0, *lengths))[:, None] * along) * MM
        flexion = np.cross(along, curl)
        flexion /= np.linalg.norm(flexion)
        joints += list(ends[:3])
        bones += list(pairwise(ends))
        axes += [(flexion, np.cross(along, flexion), along)] * 3
    return np.array(joints), np.array(bones), np.array(axes)


def _to_segments(points: NDArray, segments: NDArray) -> tuple[NDArray, NDArray]:
    """Distances (P, S) of points (P, 3) to segments (S, 2, 3), and the nearest places along them in [0, 1]."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    offset = points[:, None] - start
    place = ((offset * along).sum(-1) / (along**2).sum(-1)).clip(0, 1)
    return np.linalg.norm(offset - place[..., None] * along, axis=-1), place


def _joined(distances: Iterable[NDArray], blend: float) -> NDArray:
    """The union of solids, of their distance fields, with seams rounded over `blend` m."""
    first, *others = distances
    for other in others:
        overlap = (blend - np.abs(first - other)).clip(0) / blend
        first = np.minimum(first, other) - blend / 4 * overlap**2
    return first


def _field(points: NDArray) -> NDArray:
    """Distances (P,) from the skin, negative inside."""

    def rods(segments: NDArray, radii: NDArray, waist: float) -> NDArray:
        distance, place = _to_segments(points, segments)
        radius = radii[:, 0] + place * (radii[:, 1] - radii[:, 0]) - waist * 4 * place * (1 - place)
        return (distance - radius).T

    palm = rods(np.array([rod[:2] for rod in PALM]) * MM, np.array([rod[2:] for rod in PALM]) * MM, 0)
    radii = np.array([list(pairwise(radii)) for *_, radii in FINGERS]).reshape(15, 2) * MM
    phalanges = rods(_skeleton()[1], radii, 0.4 * MM)
    fingers = [_joined(phalanges[start : start + 3], 2 * MM) for start in range(0, 15, 3)]
    solid = _joined([_joined(palm, 14 * MM), *fingers], 7 * MM)
    return -_joined([-solid, END - points[:, 0]], 6 * MM)


def _skin() -> tuple[NDArray, NDArray]:
    """Vertices (V, 3) on the skin, evenly spread, and triangles (F, 3) that are counter-clockwise from outside."""
    low, high = np.array([-125, -75, -80]) * MM, np.array([125, 30, 110]) * MM
    grid = np.stack(np.meshgrid(*map(np.arange, low, high, (GRID,) * 3), indexing="ij"), -1)
    vertices, faces = _surface_nets(_field(grid.reshape(-1, 3)).reshape(grid.shape[:3]))
    vertices = low + GRID * vertices
    neighbours = _neighbours(faces, len(vertices))
    for _ in range(8):
        vertices = (vertices + neighbours @ vertices) / 2
        slope = _slope(vertices)
        vertices -= (_field(vertices) / (slope**2).sum(1))[:, None] * slope
    return vertices, faces


def _surface_nets(field: NDArray) -> tuple[NDArray, NDArray]:
    """The zero surface of a sampled field, negative inside: vertices (V, 3) in samples, triangles (F, 3).

    A cell that the surface crosses has one vertex, the mean of the crossings on its edges (Gibson, MICCAI 1998).
    """
    cells = np.array(field.shape) - 1
    total, count = np.zeros((*cells, 3)), np.zeros(cells)
    for first, second in combinations(product((0, 1), repeat=3), 2):
        if np.abs(np.subtract(first, second)).sum() == 1:
            a, b = (field[tuple(map(slice, corner, corner + cells))] for corner in (first, second))
            crossed = (a < 0) != (b < 0)
            share = np.divide(a, a - b, out=np.zeros_like(a), where=crossed)[..., None]
            total += crossed[..., None] * (np.array(first) + share * np.subtract(second, first))
            count += crossed
    inhabited = count > 0
    number = np.cumsum(inhabited).reshape(cells) - 1
    vertices = np.argwhere(inhabited) + total[inhabited] / count[inhabited][:, None]
    # Four cells are around every edge of the grid that the surface crosses: two triangles.
    inside, faces = field < 0, []
    for axis in range(3):
        edges = np.argwhere(np.diff(inside, axis=axis))
        u, v = np.roll(np.eye(3, dtype=int), -1 - axis, axis=0)[:2]
        around = np.stack([number[tuple((edges - step).T)] for step in (0 * u, u, u + v, v)], 1)
        around = np.where(inside[tuple(edges.T)][:, None], around, around[:, ::-1])
        faces += [around[:, [0, 1, 2]], around[:, [0, 2, 3]]]
    return vertices, np.concatenate(faces)


def _slope(points: NDArray) -> NDArray:
    """Gradient (P, 3) of the distance field."""
    steps = 0.1 * MM * np.eye(3)
    return np.stack([(_field(points + step) - _field(points - step)) / (0.2 * MM) for step in steps], 1)


def _neighbours(faces: NDArray, vertices: int) -> csr_matrix:
    """The matrix (V, V) that takes the mean over each vertex's neighbours."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    adjacent = csr_matrix((np.ones(len(edges)), edges.T), shape=(vertices, vertices))
    adjacent = ((adjacent + adjacent.T) > 0).astype(float)
    return diags(1 / adjacent.sum(1).A1) @ adjacent


def _numbered(vertices: NDArray, faces: NDArray, bones: NDArray) -> tuple[NDArray, NDArray]:
    """The same mesh with the fingertips, a vertex at the very end of each finger, at MANO's numbers."""
    order = np.arange(len(vertices))
    for (first, place), (*_, radii) in zip(sorted(TIPS.items()), FINGERS, strict=True):
        start, end = bones[first + 1]
        tip = end + radii[3] * MM * (end - start) / np.linalg.norm(end - start)
        found = np.linalg.norm(vertices - tip, axis=1).argmin()
        vertices[found] = tip
        other = np.flatnonzero(order == found)[0]
        order[[place, other]] = order[[other, place]]
    return vertices[order], np.argsort(order)[faces]


def _skin_weights(vertices: NDArray, bones: NDArray, neighbours: csr_matrix) -> NDArray:
    """Skin weights (V, 16)."""
    palm = _to_segments(vertices, np.array([rod[:2] for rod in PALM]) * MM)[0].min(1)
    distances = np.column_stack((palm, _to_segments(vertices, bones)[0]))
    weights = np.exp((distances.min(1, keepdims=True) - distances) / (1.5 * MM))
    weights /= weights.sum(1, keepdims=True)
    for _ in range(8):
        weights = (weights + neighbours @ weights) / 2
    weights[weights < 1e-3] = 0
    return weights / weights.sum(1, keepdims=True)


def _regressor(vertices: NDArray, joints: NDArray) -> NDArray:
    """Weights (16, V) over each joint's surroundings, with the sum 1, whose mean of the vertices is the joint."""
    ones = np.column_stack((vertices, np.ones(len(vertices))))
    rows = []
    for joint in joints:
        near = np.exp(-((vertices - joint) ** 2).sum(1) / (2 * (10 * MM) ** 2))
        near[near < 1e-4] = 0
        rows.append(near * (ones @ np.linalg.solve((ones * near[:, None]).T @ ones, (*joint, 1))))
    return np.array(rows)


def _shape_components(vertices: NDArray, weights: NDArray, joints: NDArray, bones: NDArray) -> NDArray:
    """Shape components (V, 3, 10): every bone stretches what it moves by its own linear map."""
    along = bones[:, 1] - bones[:, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    long = np.concatenate((np.zeros((1, 3, 3)), along[:, :, None] * along[:, None]))  # lengthens a finger
    wide = np.concatenate((np.zeros((1, 3, 3)), np.eye(3) - long[1:]))  # thickens it
    palm = np.zeros((3, 16, 3, 3))
    for axis in range(3):
        palm[axis, 0, axis, axis] = 1

    def fingers(*shares: float) -> NDArray:
        return np.array([0, *np.repeat(shares, 3)])[:, None, None]

    taper = np.array([0, *(1, 0, -1) * 5])[:, None, None]
    modes = (
        np.broadcast_to(0.05 * np.eye(3), (16, 3, 3)),  # size
        0.06 * (wide + palm[1] + palm[2]),  # stoutness
        0.04 * long,  # length of the fingers
        0.05 * palm[2],  # width of the palm
        0.04 * palm[0],  # length of the palm
        0.06 * fingers(0, 0, 0, 0, 1) * long,  # length of the thumb
        0.04 * fingers(1, 0, 0, -1, 0) * long,  # index against ring finger
        0.06 * fingers(0, 0, 1, 0, 0) * long,  # length of the little finger
        0.05 * taper * wide,
        0.08 * palm[1],  # thickness of the palm
    )
    components = []
    for maps in modes:
        moved = np.zeros((16, 3))
        for joint in range(1, 16):
            parent = 0 if joint % 3 == 1 else joint - 1
            moved[joint] = moved[parent] + maps[parent] @ (joints[joint] - joints[parent])
        stretched = moved + np.einsum("jab,vjb->vja", maps, vertices[:, None] - joints)
        components.append((weights[..., None] * stretched).sum(1))
    return np.stack(components, -1)


def _pose_corrections(vertices: NDArray, weights: NDArray, bones: NDArray, axes: NDArray) -> NDArray:
    """Pose blend shapes (V, 3, 135): a bent joint thickens by up to 1.5 mm times the sine of its flexion."""
    corrections = np.zeros((len(vertices), 3, 15, 3, 3))
    for number, ((start, _), (flexion, _, along)) in enumerate(zip(bones, axes, strict=True)):
        joint, parent = number + 1, 0 if number % 3 == 0 else number
        outward = vertices - start - ((vertices - start) @ along)[:, None] * along
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), MM)
        shared = 4 * weights[:, joint] * weights[:, parent]
        # Summed with the weights R - I, this is the sine of a turn by R about the flexion axis.
        sine = np.cross(np.eye(3), flexion) / 2
        corrections[:, :, number] = np.einsum("v,va,bc->vabc", 1.5 * MM * shared, outward, sine)
    return corrections.reshape(len(vertices), 3, 135)


def _pose(degrees: tuple, axes: NDArray) -> NDArray:
    """Axis times angle of the 15 joints (45,), from the degrees of MEAN and SYNERGIES."""
    angles = np.zeros((5, 3, 3))
    angles[:, :, 0] = np.array(degrees)[:, :3]
    angles[:, 0, 1:] = np.array(degrees)[:, 3:]
    return (np.radians(angles.reshape(15, 3, 1)) * axes).sum(1).ravel()


def _pose_components(axes: NDArray) -> NDArray:
    """Pose components (45, 45): the synergies, then orthogonal directions of equal length."""
    synergies = np.array([_pose(degrees, axes) for degrees in SYNERGIES])
    others = np.linalg.qr(np.column_stack((synergies.T, np.eye(45))))[0].T[len(synergies) :]
    return np.concatenate((synergies, np.radians(REST) * others))
