"""The 21 joints of a hand: one order and one frame for all benchmarks (CMKG Sect. 5.2).

The order is that in which MANO's joints and fingertips are usually listed: the wrist, then thumb, index, middle, ring
and little finger, each from the palm to the tip. Arrays of joints are (..., 21, 3), NumPy's or PyTorch's.
"""

FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINTS = (
    "wrist",
    *(f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")),
)
BONES = tuple((0 if number % 4 == 1 else number - 1, number) for number in range(1, 21))  # parent and child
ROOT = 0
SCALE_BONE = (9, 10)  # of the middle finger, MCP to PIP: its length is the hand's scale


def scale_of(xyz):
    """The hand's scale (...), in the unit of the joints."""
    first, second = SCALE_BONE
    return ((xyz[..., second, :] - xyz[..., first, :]) ** 2).sum(-1) ** 0.5


def normalised(xyz):
    """Joints relative to the root and in units of the hand's scale, and what undoes it: root (..., 3), scale (...)."""
    root, scale = xyz[..., ROOT, :], scale_of(xyz)
    return (xyz - root[..., None, :]) / scale[..., None, None], root, scale


def restored(pose, root, scale):
    """Joints in the camera's frame and unit, of normalised ones, whose own root is moved to the origin first."""
    return (pose - pose[..., ROOT : ROOT + 1, :]) * scale[..., None, None] + root[..., None, :]


def projected(xyz, camera):
    """Pixels (..., 21, 2) of joints in front of a pinhole camera (..., 3, 3)."""
    points = xyz @ (camera.swapaxes(-1, -2))
    return points[..., :2] / points[..., 2:]
