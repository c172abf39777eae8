"""Ray casting: depth in closed form, against a slow reference, and light."""

import numpy as np
import pytest

from lib.hands.render import Light, Mesh, render, vertex_normals

CAMERA = np.array([[40, 0, 15.5], [0, 50, 11.5], [0, 0, 1]])
SIZE = (24, 32)
FLAT = Light(lamp=0, ambient=1 / 0.75)  # shows the surface's own colour where it faces the camera
SQUARE = np.array([[0, 2, 1], [0, 3, 2]])  # seen from the front


def square(corners, colours=(1, 1, 1)):
    """Two triangles that face the camera; corners in the order left top, right top, right bottom, left bottom."""
    return Mesh(np.array(corners, float), SQUARE, np.broadcast_to(colours, (4, 3)).astype(float))


def upright(z, left=-9, right=9, top=-9, bottom=9, colours=(1, 1, 1)):
    return square([[left, top, z], [right, top, z], [right, bottom, z], [left, bottom, z]], colours)


def sphere(middle, radius, steps=24):
    """A triangulated sphere whose vertices lie on it."""
    around, down = np.meshgrid(np.arange(2 * steps) * np.pi / steps, np.linspace(0, np.pi, steps + 1))
    points = np.stack((np.sin(down) * np.cos(around), np.cos(down), np.sin(down) * np.sin(around)), -1)
    number = np.arange(points[..., 0].size).reshape(points.shape[:2])
    a, b, c, d = number[:-1], number[1:], np.roll(number, -1, 1)[1:], np.roll(number, -1, 1)[:-1]
    faces = np.concatenate([np.stack(f, -1).reshape(-1, 3) for f in ((a, c, b), (a, d, c))])
    vertices = middle + radius * points.reshape(-1, 3)
    return Mesh(vertices, faces, np.ones((len(vertices), 3)))


def rays():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (x - 15.5) / 40, (y - 11.5) / 50


def test_a_plane_has_its_depth_at_every_pixel():
    # z = 2 + 0.5 x - 0.25 y, met by the ray (u, v, 1) z where z = 2 / (1 - 0.5 u + 0.25 v).
    corners = [[x, y, 2 + 0.5 * x - 0.25 * y] for x, y in ((-3, -3), (3, -3), (3, 3), (-3, 3))]
    seen = render([square(corners)], CAMERA, SIZE)
    u, v = rays()
    np.testing.assert_allclose(seen.depth, 2 / (1 - 0.5 * u + 0.25 * v), rtol=2e-6)
    assert (seen.mesh == 0).all()


def test_pixel_centres_are_integers():
    # At depth 1 the square reaches from column 9.6 to 12.4 and from row 3.9 to 5.1.
    left, right, top, bottom = (9.6 - 15.5) / 40, (12.4 - 15.5) / 40, (3.9 - 11.5) / 50, (5.1 - 11.5) / 50
    seen = render([upright(1, left, right, top, bottom)], CAMERA, SIZE)
    expected = np.zeros(SIZE, bool)
    expected[4:6, 10:13] = True
    assert np.array_equal(seen.depth > 0, expected)
    assert np.array_equal(seen.mesh >= 0, expected)
    assert np.array_equal(seen.face >= 0, expected)
    assert np.array_equal((seen.colour > 0).any(-1), expected)


def test_a_skewed_camera_sees_what_its_matrix_says():
    camera = np.array([[40, 6, 15.5], [0, 50, 11.5], [0, 0, 1]])
    at = np.linalg.inv(camera) @ [20, 5, 1]
    seen = render([upright(1, at[0] - 0.005, at[0] + 0.005, at[1] - 0.005, at[1] + 0.005)], camera, SIZE)
    assert np.argwhere(seen.mesh == 0).tolist() == [[5, 20]]


def test_depth_and_face_against_a_test_of_every_triangle():
    rng = np.random.default_rng(0)
    vertices = rng.uniform((-1, -1, 2), (1, 1, 4), (40, 3))
    faces = rng.permutation(np.concatenate([rng.permutation(40)[:39].reshape(-1, 3) for _ in range(3)]))
    seen = render([Mesh(vertices, faces, np.ones((40, 3)))], CAMERA, SIZE)
    depth, face = np.full(SIZE, np.inf), np.full(SIZE, -1)
    for row, column in np.ndindex(SIZE):
        ray = np.array([(column - 15.5) / 40, (row - 11.5) / 50, 1])
        for number, (a, b, c) in enumerate(vertices[faces]):
            z, s, t = np.linalg.solve(np.column_stack((ray, a - b, a - c)), a)
            if min(s, t, 1 - s - t) >= 0 and 0 < z < depth[row, column]:
                depth[row, column], face[row, column] = z, number
    assert (face >= 0).mean() > 0.3
    assert np.array_equal(seen.face, face)
    np.testing.assert_allclose(seen.depth, np.where(face >= 0, depth, 0), rtol=1e-5)


def test_a_sphere_is_round():
    seen = render([sphere((0.1, -0.1, 2), 0.4)], CAMERA, SIZE)
    u, v = rays()
    along = np.stack((u, v, np.ones(SIZE)), -1)
    a, b, c = (along**2).sum(-1), along @ [0.1, -0.1, 2], 0.1**2 + 0.1**2 + 2**2 - 0.4**2
    inside = b**2 - a * c
    depth = (b - np.sqrt(inside.clip(0))) / a
    sure = seen.mesh == 0
    assert (inside[sure] > 0).all() and sure.sum() > 0.95 * (inside > 0).sum()
    well = sure & (inside > 0.1 * inside.max())
    assert np.abs(seen.depth - depth)[well].max() < 0.02 * 0.4


def test_the_nearer_mesh_is_seen_and_faces_count_within_their_mesh():
    near, far = upright(1, left=0), upright(2)
    for meshes, left, right in (([near, far], 1, 0), ([far, near], 0, 1)):
        seen = render(meshes, CAMERA, SIZE)
        assert (seen.mesh[:, :16] == left).all() and (seen.mesh[:, 16:] == right).all()
        assert (seen.depth[:, :16] == 2).all() and (seen.depth[:, 16:] == 1).all()
        assert set(np.unique(seen.face)) == {0, 1}
        assert np.array_equal(seen.face[:, :16], render([far], CAMERA, SIZE).face[:, :16])


def test_colours_are_interpolated_between_the_vertices():
    # The square reaches 20 px to each side of the middle, red grows to the right and green downwards.
    colours = [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
    seen = render([upright(1, -20 / 40, 20 / 40, -20 / 50, 20 / 50, colours)], CAMERA, SIZE, FLAT)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    expected = np.stack((0.5 + (x - 15.5) / 40, 0.5 + (y - 11.5) / 40, np.ones(SIZE)), -1)
    np.testing.assert_allclose(seen.colour, expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 30, 60, 80])
def test_a_matt_surface_follows_the_cosine_beside_what_scatters(degrees):
    angle = np.radians(degrees)
    light = Light(direction=(3 * np.sin(angle), 0, -3 * np.cos(angle)), lamp=(1, 0.5, 2), ambient=0, gloss=0)
    seen = render([upright(1, colours=(0.5, 1, 0.25))], CAMERA, SIZE, light)
    reach = np.array([0.35, 0.15, 0.1])
    expected = np.array([0.5, 0.5, 0.5]) * (np.cos(angle) + reach) / (1 + reach)
    np.testing.assert_allclose(seen.colour, np.broadcast_to(expected, (*SIZE, 3)), rtol=1e-4)


def test_the_highlight_is_where_the_lamp_is_mirrored():
    light = Light(direction=(0, 0, -1), lamp=1, ambient=0, gloss=1)
    seen = render([upright(1, colours=(0, 0, 0))], CAMERA, SIZE, light)
    assert seen.colour[11:13, 15:17].min() > 0.99
    assert np.unravel_index(seen.colour[..., 0].argmin(), SIZE)[0] in (0, SIZE[0] - 1)


def test_what_stands_between_surface_and_lamp_throws_a_shadow():
    # Lamp at 45 degrees from the left: a square 0.1 before the wall shades the wall 0.1 to its right.
    wall, blind = upright(1), upright(0.9, -0.1, 0.1, -0.1, 0.1)
    light = Light(direction=(-1, 0, -1), lamp=1, ambient=0, gloss=0)
    seen, free = render([wall, blind], CAMERA, SIZE, light), render([wall], CAMERA, SIZE, light)
    u, v = rays()
    darker = (seen.colour < 0.9 * free.colour).all(-1)
    expected = (seen.mesh == 0) & (np.abs(u - 0.1) < 0.1) & (np.abs(v) < 0.1)
    assert expected.sum() > 10
    assert np.array_equal(darker, expected)


def test_vertex_normals_of_a_sphere_point_outward():
    ball = sphere((0, 0, 0), 2.0)
    normals = vertex_normals(ball.vertices, ball.faces)
    inner = (np.abs(ball.vertices[:, 1]) < 1.9).nonzero()
    cosines = (normals * ball.vertices).sum(1) / np.linalg.norm(normals, axis=1).clip(1e-9) / 2
    assert cosines[inner].min() > 0.99


def test_a_mesh_partly_behind_the_camera_is_seen_where_it_is_ahead():
    floor = Mesh(
        np.array([[-9.0, 1, -5], [9, 1, -5], [9, 1, 50], [-9, 1, 50]]),
        np.array([[0, 1, 2], [0, 2, 3]]),
        np.ones((4, 3)),
    )
    seen = render([floor], CAMERA, SIZE)
    _, v = rays()
    expected = np.where(v > 1 / 50, 1 / v.clip(1e-6), 0)
    reached = np.abs(rays()[0] * expected) < 9
    np.testing.assert_allclose(seen.depth, np.where(reached, expected, 0), rtol=1e-5)


@pytest.mark.parametrize("meshes", [[], [upright(-1)], [upright(1, 5, 6)], [upright(1, 0.0126, 0.0127, 0.011, 0.012)]])
def test_nothing_in_view_is_nothing(meshes):
    seen = render(meshes, CAMERA, SIZE)
    assert not seen.depth.any() and not seen.colour.any()
    assert (seen.mesh == -1).all() and (seen.face == -1).all()
    assert (seen.colour.shape, seen.depth.shape) == ((*SIZE, 3), SIZE)
    assert (seen.colour.dtype, seen.depth.dtype, seen.mesh.dtype, seen.face.dtype) == tuple(
        map(np.dtype, ("float32", "float32", "int8", "int32"))
    )


def test_the_same_meshes_give_the_same_picture():
    first, second = (render([sphere((0, 0, 2), 0.5)], CAMERA, SIZE) for _ in range(2))
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("colour", "depth", "face"))
