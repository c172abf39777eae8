"""Triangle meshes seen by a pinhole camera: colour, depth and what is seen where, by ray casting."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray

# Light that travels under the skin, red most of all, reaches places that face away from the lamp: to which cosine.
SCATTERING = np.array([[0.35], [0.15], [0.1]], np.float32)
GLOSS = 18  # exponent of the highlight
SHADOW_OFFSET = 1e-3  # m above the surface, where rays to the light begin


@dataclass(frozen=True)
class Mesh:
    """vertices (V, 3) m in the camera's frame; faces (F, 3), their corners counter-clockwise as seen from outside in a
    right-handed frame; colours (V, 3) in [0, 1]."""

    vertices: NDArray
    faces: NDArray
    colours: NDArray


@dataclass(frozen=True)
class Light:
    """A distant lamp and the light from all around, the latter a little stronger from above.

    direction: (3,) towards the lamp, of any length, in the camera's frame. lamp, ambient: brightness, or (3,) one per
    colour channel. gloss: share of the lamp's light that the surface mirrors.
    """

    direction: ArrayLike = (-0.4, -0.7, -0.8)
    lamp: ArrayLike = 0.75
    ambient: ArrayLike = 0.35
    gloss: float = 0.1


@dataclass(frozen=True)
class Rendering:
    """What is seen at each pixel (h, w).

    colour (h, w, 3) float32, about [0, 1], black where nothing is; depth float32 m along the camera's z, 0 where
    nothing is; mesh int8, the number of the mesh, and face int32, its number among the mesh's faces, -1 where nothing
    is.
    """

    colour: NDArray[np.float32]
    depth: NDArray[np.float32]
    mesh: NDArray[np.int8]
    face: NDArray[np.int32]


def render(meshes: Sequence[Mesh], camera: NDArray, size: tuple[int, int], light: Light | None = None) -> Rendering:
    """Cast a ray through each pixel's centre, which has integer coordinates, and shade what it meets first.

    camera: (3, 3), the last row 0 0 1. size: (height, width). light: None, the default lamp.
    """
    seen = Rendering(
        colour=np.zeros((*size, 3), np.float32),
        depth=np.zeros(size, np.float32),
        mesh=np.full(size, -1, np.int8),
        face=np.full(size, -1, np.int32),
    )
    vertices, faces, colours = _joined(meshes)
    if not (window := _window(vertices, camera, size)):
        return seen
    y, x = np.ogrid[window]
    to_x, to_y, origin = np.linalg.inv(camera).astype(np.float32).T
    rays = y[..., None] * to_y + (x[..., None] * to_x + origin)  # their z is 1: lengths along them are depths
    rays = rays.reshape(-1, 3).astype(np.float32)

    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, vertices, faces)
    hits = scene.run(np.zeros_like(rays), rays, query="INTERSECT", output=True)
    hit = np.flatnonzero(hits["primID"] >= 0)
    if not len(hit):
        return seen
    face, depth, u, v = (hits[name][hit] for name in ("primID", "tfar", "u", "v"))

    attributes = np.concatenate((vertex_normals(vertices, faces).T, colours.T)).astype(np.float32)
    a, b, c = (attributes[:, corner] for corner in faces[face].T)
    mixed = a + u * (b - a) + v * (c - a)
    at = y[hit // x.size, 0], x[0, hit % x.size]
    seen.colour[at] = _shade(scene, rays[hit].T * depth, mixed[:3], mixed[3:], light or Light()).T
    seen.depth[at] = depth
    ends = np.cumsum([len(mesh.faces) for mesh in meshes])
    seen.mesh[at] = number = np.searchsorted(ends, face, side="right")
    seen.face[at] = face - np.r_[0, ends][number]
    return seen


def _joined(meshes: Sequence[Mesh]) -> tuple[NDArray, NDArray, NDArray]:
    """Vertices, faces and colours of all meshes as of one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    parts = [mesh.vertices for mesh in meshes], faces, [mesh.colours for mesh in meshes]
    vertices, faces, colours = (np.concatenate(part or [np.zeros((0, 3), int)]) for part in parts)
    return vertices.astype(np.float32), faces, colours


def _window(vertices: NDArray, camera: NDArray, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns that can see something; None, where none can."""
    low, high = np.zeros(2), np.array(size[::-1])
    ahead = vertices[vertices[:, 2] > 0]
    if len(ahead) == 0:
        return None
    if len(ahead) == len(vertices):  # what is partly behind the camera can be seen anywhere
        places = ahead @ camera.T
        places = places[:, :2] / places[:, 2:]
        low = np.maximum(low, np.floor(places.min(0)))
        high = np.minimum(high, np.ceil(places.max(0)) + 1)
    if (low >= high).any():
        return None
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    return slice(top, bottom), slice(left, right)


def vertex_normals(vertices: NDArray, faces: NDArray) -> NDArray:
    """Outward normals (V, 3) of the vertices: the sum over their faces, weighted by area, so of any length."""
    a, b, c = vertices.T[:, faces.T].swapaxes(0, 1)
    (x, y, z), (u, v, w) = b - a, c - a
    across, corners = (y * w - z * v, z * u - x * w, x * v - y * u), faces.T.ravel()
    return np.stack([np.bincount(corners, np.tile(axis, 3), len(vertices)) for axis in across], 1)


def _shade(scene: EmbreeScene, points: NDArray, normals: NDArray, colours: NDArray, light: Light) -> NDArray:
    """Colours (3, P) of surface points as the camera, at the origin, sees them; all arguments (3, P) as well."""
    normals, to_camera = _unit(normals), _unit(-points)
    to_lamp = _unit(np.asarray(light.direction, np.float32)[:, None])
    lamp, ambient = (np.asarray(value, np.float32).reshape(-1, 1) for value in (light.lamp, light.ambient))
    origins, to_lamps = (points + SHADOW_OFFSET * normals).T, np.broadcast_to(to_lamp, points.shape).T
    shadowed = scene.run(origins.copy(), to_lamps.copy(), query="OCCLUDED") >= 0
    facing = _dot(normals, to_lamp)
    facing = np.where(shadowed, facing.clip(max=0), facing)

    around = ambient * (0.75 - 0.25 * normals[1])
    diffuse = lamp * ((facing + SCATTERING) / (1 + SCATTERING)).clip(0)
    mirrored = lamp * (facing > 0) * _dot(normals, _unit(to_lamp + to_camera)).clip(0) ** GLOSS
    return colours * (around + diffuse) + np.float32(light.gloss) * mirrored


def _unit(vectors: NDArray) -> NDArray:
    """Vectors (3, P) of length 1 in the directions of the given ones; 0 stays 0."""
    return vectors / np.sqrt(_dot(vectors, vectors)).clip(1e-12)


def _dot(a: NDArray, b: NDArray) -> NDArray:
    """Inner products (P,) of vectors (3, P)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
