"""Synthetic people: articulated figures in cluttered scenes, with exact joints and occlusion.

A figure is a three-dimensional kinematic chain of human proportions in a random pose, seen by an orthographic camera
and drawn part by part from far to near. Body axes are (person's left, up, forward) in body heights; camera axes are
(right, down, away). Pixel centres are integers.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import cv2
import numpy as np

from lib.data.scenes import OTHER, SKIN, background, capsules, colour, fixed, occlude, paint, photograph

POINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head_top", "pelvis", "thorax", "nose", "right_eye", "left_eye", "right_ear", "left_ear"),
)
_INNER = ("right_toe", "left_toe", "right_hand", "left_hand", "head", "face", "ponytail")
_AT = {name: row for row, name in enumerate(POINTS + _INNER)}

# Parts of a figure: 1 to 4 are the right thigh, shank, upper arm and forearm, 5 to 8 the left ones; the figures of one
# scene are 16 apart. _OWN lists, in the order of POINTS, what may be drawn at a point that counts as visible.
TORSO, HEAD = 9, 10
_OWN = (
    *({2}, {1, 2}, {1, TORSO}, {5, TORSO}, {5, 6}, {6}, {4}, {3, 4}, {3, TORSO}, {7, TORSO}, {7, 8}, {8}),
    *({3, 7, TORSO, HEAD}, {HEAD}, {1, 5, TORSO}, {3, 7, TORSO, HEAD}, *[{HEAD}] * 5),
)

# Degrees. Arms: swing (0 down, 90 forward, 180 up), spread to the side, and what the forearm adds to both.
_ARMS = np.array(
    [
        [-20, 25, 4, 22, 0, 45, -15, 5],  # hanging
        [-55, 60, 5, 20, 65, 110, -30, 0],  # running
        [45, 110, 0, 35, 0, 80, -30, 10],  # reaching
        [130, 185, -35, 5, 0, 50, -10, 20],  # raised
        [-10, 25, 60, 115, -10, 20, 0, 80],  # out to the side
        [-20, 10, 35, 55, 0, 20, -100, -75],  # hand on hip
    ]
)
_GESTURES = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5)
# Legs: swing, spread, knee flexion (the shank swings back), share of the spread that the shank keeps.
_LEGS = np.array(
    [
        [-8, 12, 2, 12, 0, 12, 0.2, 1],  # standing
        [15, 65, 0, 8, 0, 70, 0.2, 1],  # stride, leading
        [-38, -5, 0, 8, 5, 85, 0.2, 1],  # stride, trailing
        [50, 110, 5, 30, 70, 130, 0, 0.8],  # squatting
        [40, 110, 0, 25, 0, 40, 0.5, 1],  # kicking
        [-5, 30, 20, 60, 0, 60, 0.2, 1],  # wide
    ]
)
_STANCES = ((0, 0), (0, 0), (1, 2), (2, 1), (1, 2), (2, 1), (3, 3), (0, 4), (4, 0), (5, 5), (5, 0), (3, 2))
# Marks in the plane of the chest or back: to the person's left and up from the thorax, in body heights.
_COLLAR = ((-0.04, 0.02), (0.04, 0.02), (0, -0.055))
_BADGE = ((0.025, -0.1), (0.07, -0.1), (0.07, -0.045), (0.025, -0.045))
_NUMBER = ((-0.06, -0.16), (0.06, -0.16), (0.06, -0.04), (-0.06, -0.04))
_DIGIT = ((-0.03, -0.14), (0.03, -0.14), (0.03, -0.06), (-0.03, -0.06))
_HAIR = np.array([[34, 26, 22], [60, 40, 26], [96, 62, 34], [168, 126, 68], [206, 176, 118], [120, 116, 112]])


@dataclass(frozen=True)
class Picture:
    """One drawn person: image (H, W, 3) uint8 RGB; points (21, 2) px in the order of POINTS; visible (21,) bool."""

    image: np.ndarray
    points: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True)
class Group:
    """N people of one image: points (N, 21, 2) px and visible (N, 21) bool as Picture has them; masks (N, H, W) bool,
    the pixels at which each of them is seen."""

    points: np.ndarray
    visible: np.ndarray
    masks: np.ndarray


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """(3, 3) matrix that rolls about z, then yaws about y, then pitches about x (degrees, right-handed)."""
    (a, d), (b, e), (c, f) = ((cos(radians(angle)), sin(radians(angle))) for angle in (pitch, yaw, roll))
    rows = (
        (b * c, -b * f, e),
        (a * f + d * e * c, a * c - d * e * f, -d * b),
        (d * f - a * e * c, d * c + a * e * f, a * b),
    )
    return np.array(rows)


def _limb(swing: float, spread: float, side: int) -> np.ndarray:
    """Unit direction of a limb in body axes; side is 1 for the person's left, -1 for the right."""
    swing, spread = radians(swing), radians(spread)
    return np.array((side * sin(spread), -cos(spread) * cos(swing), cos(spread) * sin(swing)))


def pose(rng: np.random.Generator) -> np.ndarray:
    """Draw a figure's pose and the view on it.

    Returns:
        (30, 3) camera coordinates in body heights of POINTS and of the inner points that drawing needs.
    """
    body = np.zeros((len(_AT), 3))
    stance = _STANCES[rng.integers(len(_STANCES))]
    crouch = 3 in stance
    lean = rng.uniform(5, 55) if crouch else rng.normal(6, 10)
    chest = _rotation(lean, rng.uniform(-25, 25), rng.normal(0, 7))
    head = chest @ _rotation(rng.uniform(-20, 20) - 0.6 * lean * crouch, rng.uniform(-45, 45), rng.normal(0, 8))
    shoulder, hip = rng.uniform(0.095, 0.115), rng.uniform(0.05, 0.062)
    neck = chest @ (0, 0.3, 0)
    body[_AT["neck"]] = neck
    body[_AT["thorax"]] = chest @ (0, 0.27, 0)
    centre = neck + head @ (0, 0.115, 0.008)
    for name, local in (
        *(("head_top", (0, 0.075, 0)), ("head", (0, 0, 0)), ("face", (0, -0.012, 0.026)), ("nose", (0, -0.012, 0.068))),
        *(("right_eye", (-0.024, 0.01, 0.058)), ("left_eye", (0.024, 0.01, 0.058))),
        *(("right_ear", (-0.058, 0, 0)), ("left_ear", (0.058, 0, 0)), ("ponytail", (0, -0.1, -0.065))),
    ):
        body[_AT[name]] = centre + head @ local
    for side, name, leg in ((-1, "right", stance[0]), (1, "left", stance[1])):
        swing, spread, flexion, keep = rng.uniform(_LEGS[leg, ::2], _LEGS[leg, 1::2]).tolist()
        at = np.array((side * hip, 0, 0))
        body[_AT[f"{name}_hip"]] = at
        body[_AT[f"{name}_knee"]] = at = at + 0.24 * _limb(swing, spread, side)
        body[_AT[f"{name}_ankle"]] = at = at + 0.235 * _limb(swing - flexion, keep * spread, side)
        body[_AT[f"{name}_toe"]] = at + 0.1 * _limb(swing - flexion + rng.uniform(45, 80), keep * spread + 12, side)
        arm = _ARMS[_GESTURES[rng.integers(len(_GESTURES))]]
        swing, spread, bend, turn = rng.uniform(arm[::2], arm[1::2]).tolist()
        at = chest @ (side * shoulder, 0.285, 0)
        body[_AT[f"{name}_shoulder"]] = at
        body[_AT[f"{name}_elbow"]] = at = at + chest @ _limb(swing, spread, side) * 0.165
        forearm = chest @ _limb(swing + bend, spread + turn, side)
        body[_AT[f"{name}_wrist"]] = at + 0.145 * forearm
        body[_AT[f"{name}_hand"]] = at + 0.185 * forearm

    front = rng.random()
    yaw = rng.uniform(-180, 180) if front < 0.4 else rng.normal(180 * (front > 0.8), 28)
    tilt = rng.random()  # of the whole figure in the picture: mostly upright, sometimes leaning, rarely upside down
    roll = rng.normal(0, 7) if tilt < 0.82 else rng.uniform(-75, 75) if tilt < 0.95 else rng.normal(180, 25)
    view = _rotation(0, 0, roll) @ _rotation(180 + rng.normal(8, 8), 0, 0) @ _rotation(0, yaw, 0)
    return body @ view.T


def _torso(at: dict, body: np.ndarray, scale: float, light: np.ndarray, colours: tuple) -> tuple[list, np.ndarray]:
    """Outlines and colours (shirt, trim, skin) of the shirt and of the marks that tell chest from back."""
    shirt, trim, skin = colours
    sides = np.stack([(at[f"{side}_shoulder"], at[f"{side}_hip"]) for side in ("right", "left")])
    outlines, tints = [], [0.6 * shirt, 0.9 * shirt, 1.12 * shirt]
    for grow, shift in ((0.7, 0), (0, 0), (-0.018 * scale, 0.025 * scale)):
        radii = np.tile((0.043 * scale + grow, 0.056 * scale + grow), (2, 1))
        sleeves = capsules(np.concatenate(((sides + shift * light).reshape(2, 4), radii), axis=1))
        outlines.append(cv2.convexHull(sleeves.reshape(-1, 2)))
    left = body[_AT["left_shoulder"]] - body[_AT["right_shoulder"]]
    up = body[_AT["neck"]] - body[_AT["thorax"]]
    left, up = left / np.linalg.norm(left), up / np.linalg.norm(up)
    away = left[0] * up[1] - left[1] * up[0]  # of the chest's normal: negative where the chest faces the camera
    if abs(away) > 0.15:
        marks = ((_COLLAR, skin), (_BADGE, trim)) if away < 0 else ((_NUMBER, trim), (_DIGIT, shirt))
        for corners, tint in marks:
            outlines.append(fixed(at["thorax"] + scale * np.array(corners) @ np.stack((left, up))[:, :2]))
            tints.append(tint)
    return outlines, np.array(tints)


def draw(
    rng: np.random.Generator, image: np.ndarray, owner: np.ndarray, body: np.ndarray, xy: np.ndarray, figure: int = 0
) -> None:
    """Draw a figure with random clothes into `image` and its part numbers, 16 * figure + part, into `owner`.

    Args:
        rng: source of build, light and clothes.
        image: (H, W, 3) uint8 RGB.
        owner: (H, W) uint8, what is seen at each pixel.
        body: (30, 3) camera coordinates from `pose`.
        xy: (30, 2) the same points in px.
        figure: 0 to 14, tells the figures of one scene apart.
    """
    at, away = dict(zip(_AT, xy, strict=True)), dict(zip(_AT, body[:, 2].tolist(), strict=True))
    scale = np.ptp(xy[:, 0]) / np.ptp(body[:, 0])
    build, light = rng.uniform(0.85, 1.2), rng.uniform(-0.45, 0.45, 2) - (0, 0.25)
    skin, hair = SKIN[rng.integers(6)] * rng.uniform(0.9, 1.05), _HAIR[rng.integers(6)]
    shirt, trousers = colour(rng, (0, 1), (0.2, 1)), colour(rng, (0, 0.8), (0.1, 0.8))
    shoes, trim = colour(rng, (0, 0.5), (0.05, 1)), 255 - shirt
    hair = trim if rng.random() < 0.15 else hair  # a cap
    sleeve, hem, sock = rng.choice((0, 0.55, 1.9)), rng.choice((0.35, 0.75, 1.9)), rng.choice((0, 0.2, 0.6))
    middle = np.mean([away[f"{side}_{part}"] for side in ("right", "left") for part in ("shoulder", "hip")])
    layers, parts, rows, tints = [], [], [], []  # a row is ax, ay, bx, by, radius at a, radius at b

    def limb(layer: float, part: int, a: np.ndarray, b: np.ndarray, ra: float, rb: float, tint: np.ndarray) -> None:
        layers.append(layer)
        parts.append(16 * figure + part)
        rows.append((*a, *b, ra * scale, rb * scale))
        tints.append(tint)

    def dressed(layer: float, part: int, a: str, b: str, ra: float, rb: float, share: float, cloth: np.ndarray) -> None:
        """A limb with cloth over the first `share` of it."""
        ra, rb = ra * build, rb * build
        limb(layer, part, at[a], at[b], ra, rb, skin)
        if share > 0:
            share = min(share, 1)
            limb(layer, part, at[a], at[a] + share * (at[b] - at[a]), 1.1 * ra, 1.1 * (ra + share * (rb - ra)), cloth)

    # The first row; the shirt goes under it.
    limb(middle, TORSO, at["right_hip"], at["left_hip"], 0.058 * build, 0.058 * build, trousers)
    for side, thigh in (("right", 1), ("left", 5)):
        shank, upper, fore = thigh + 1, thigh + 2, thigh + 3
        shoulder, elbow, wrist, hand = (f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hand"))
        hip, knee, ankle, toe = (f"{side}_{part}" for part in ("hip", "knee", "ankle", "toe"))
        layer = (away[wrist] + away[elbow]) / 2 - 0.035
        limb(layer, fore, at[wrist], at[hand], 0.017, 0.02, skin)
        dressed(layer, fore, elbow, wrist, 0.026, 0.018, sleeve - 1, shirt)
        dressed((away[shoulder] + away[elbow]) / 2 - 0.03, upper, shoulder, elbow, 0.034, 0.026, sleeve, shirt)
        layer = (away[knee] + away[ankle]) / 2
        limb(layer, shank, at[ankle], at[toe], 0.024, 0.018, shoes)
        dressed(layer, shank, knee, ankle, 0.038, 0.023, hem - 1, trousers)
        if hem < 1 and sock:
            limb(layer, shank, at[ankle], at[ankle] + sock * (at[knee] - at[ankle]), 0.026, 0.03, shoes)
        dressed((away[hip] + away[knee]) / 2 + 0.01, thigh, hip, knee, 0.052, 0.038, hem, trousers)

    nape, crown = min(away["head"], middle) - 0.02, at["head_top"] - at["head"]
    limb(nape, HEAD, at["neck"], at["head"], 0.03, 0.026, skin)
    if rng.random() < 0.4:
        limb(nape - 0.2 * (away["ponytail"] < away["head"]), HEAD, at["head"], at["ponytail"], 0.03, 0.016, hair)
    scalp = (at["head"] - 0.15 * crown, at["head"] + 0.2 * crown, 0.052, 0.06, hair)
    face = (at["face"] - 0.25 * crown, at["face"] + 0.1 * crown, 0.042, 0.05, skin)
    for shape in (scalp, face) if away["face"] < away["head"] + 0.004 else (face, scalp):
        limb(nape, HEAD, *shape)
    for name, shade in (("left_eye", 0.15), ("right_eye", 0.15), ("nose", 0.75)):
        if away[name] < away["head"] - 0.01:
            limb(nape, HEAD, at[name], at[name] + 0.1, 0.005, 0.005, shade * skin)

    # Each capsule thrice: a dark rim, the body and its lit side; what is nearer than the torso is a little brighter.
    table = np.repeat(np.array(rows)[:, None], 3, axis=1)
    table[:, 0, 4:] += 0.7
    table[:, 2, :4] += np.tile(light, 2) * table[:, 2, [4, 4, 5, 5]]
    table[:, 2, 4:] *= 0.6
    outlines = capsules(table.reshape(-1, 6)).reshape(len(rows), 3, -1, 2)
    tones = np.clip(1 - 0.8 * (np.array(layers) - middle), 0.75, 1.1)[:, None, None] * [[0.6], [0.9], [1.12]]
    colours = np.array(tints)[:, None] * tones
    order = np.argsort(-np.array(layers), kind="stable")  # what comes later in the list lies on top
    for row in order:
        if row == 0:
            paint(image, *_torso(at, body, scale, light, (shirt, trim, skin)), owner, 16 * figure + TORSO)
        paint(image, outlines[row], colours[row], owner, parts[row])


def seen(owner: np.ndarray, body: np.ndarray, xy: np.ndarray, figure: int = 0) -> np.ndarray:
    """Which POINTS of a drawn figure are seen: (21,) bool.

    A point is hidden outside the image, where another part, figure or object is drawn over it, and, for points on the
    torso's and the head's sides, where they are on the far side.
    """
    column, row = np.rint(xy[: len(POINTS)]).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < owner.shape[1]) & (row < owner.shape[0])
    part = np.where(inside, owner[row * inside, column * inside].astype(int) - 16 * figure, OTHER)
    own = np.array([label in labels for label, labels in zip(part.tolist(), _OWN, strict=True)])
    far, away = np.zeros(len(POINTS), bool), body[:, 2]
    far[8:10] = away[8:10] > away[_AT["thorax"]] + 0.08  # shoulders
    far[16:] = away[16 : len(POINTS)] > away[_AT["head"]] + 0.02  # nose, eyes, ears
    return own & ~(far & (part >= TORSO))


def picture(rng: np.random.Generator, *, cut: float = 0.0) -> Picture:
    """Draw one person, 85 to 165 px long, in a scene that leaves a margin around it.

    Args:
        rng: source of everything; equal states draw equal pictures.
        cut: share of pictures whose border cuts a piece of the person off.
    """
    body = pose(rng)
    low, extent = body[:14, :2].min(0), np.ptp(body[:14, :2], axis=0)
    scale = rng.uniform(85, 165) / max(extent.max(), 0.7)
    margin = rng.uniform(12, 40, 4)  # left, top, right, bottom
    if rng.random() < cut:
        side = rng.integers(4)
        margin[side] = -rng.uniform(0.05, 0.3) * scale * extent[side % 2]
    xy = (body[:, :2] - low) * scale + margin[:2]
    width, height = np.rint(extent * scale + margin[:2] + margin[2:]).astype(int).clip(48)
    image, owner = background(rng, height, width), np.zeros((height, width), np.uint8)
    if rng.random() < 0.35:  # a bystander, smaller and behind
        other = pose(rng)
        place = rng.uniform(0, (width, height))
        draw(rng, image, owner, other, other[:, :2] * scale * rng.uniform(0.4, 0.75) + place, figure=1)
    shadow = ((xy[_AT["pelvis"], 0], xy[:, 1].max()), (0.5 * scale * rng.uniform(0.4, 1), 0.07 * scale), 0)
    cv2.ellipse(image, shadow, image[-1].mean(0) * 0.5, -1, cv2.LINE_AA)
    draw(rng, image, owner, body, xy)
    while rng.random() < 0.25:
        occlude(rng, image, owner, xy[rng.integers(14)] + rng.normal(0, 6, 2))
    visible = seen(owner, body, xy)
    return Picture(photograph(rng, image), xy[: len(POINTS)], visible)


def group(rng: np.random.Generator, image: np.ndarray, places: np.ndarray, scales: np.ndarray) -> Group:
    """Draw people into one image, each before those drawn earlier, some with an object before them.

    Args:
        rng: source of poses, clothes and objects.
        image: (H, W, 3) uint8 RGB, drawn into.
        places: (N, 2) px of the pelves; N is at most 15.
        scales: (N,) body heights in px, from the farthest person to the nearest.
    """
    owner = np.zeros(image.shape[:2], np.uint8)
    bodies = [pose(rng) for _ in places]
    joints = [body[:, :2] * scale + place for body, scale, place in zip(bodies, scales, places, strict=True)]
    for figure, (body, xy) in enumerate(zip(bodies, joints, strict=True)):
        draw(rng, image, owner, body, xy, figure)
        if rng.random() < 0.25:
            occlude(rng, image, owner, xy[rng.integers(14)])
    visible = [seen(owner, body, xy, figure) for figure, (body, xy) in enumerate(zip(bodies, joints, strict=True))]
    masks = (owner // 16 == np.arange(len(places))[:, None, None]) & (owner % 16 > 0) & (owner != OTHER)
    points = np.reshape(joints, (-1, len(_AT), 2))[:, : len(POINTS)]
    return Group(points, np.reshape(visible, points.shape[:2]), masks)
