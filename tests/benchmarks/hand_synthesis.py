"""Speed of rendering hands into crops, against a loop that takes the usual way over image files.

    python -m tests.benchmarks.hand_synthesis [--count 1024] [--side 256] [--backgrounds folder]

Prints images per second from the hand model to the finished crops on all cores, the goal being 60 on two, their CPU
time, and the ratio to the loop. The loop draws the same hands one after the other in this process: it renders a whole
picture at the crops' resolution, saves colour and depth as PNG, reads them again and cuts the crop out.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from lib.data.depth import encode_depth
from lib.data.scenes import background
from lib.hands.joints import normalised, projected
from lib.hands.mano import Mano, load_mano
from lib.hands.procedural import save_procedural
from lib.hands.scenes import compose, draw_hand
from lib.hands.synthesis import CAMERA, FILLING, PICTURE, synthesize

GOAL = 60
PLAIN = 48  # crops that the loop makes
DRAWN = {"components": 10, "pose": 2.0, "shape": 0.03}
DISTANCE = (0.4, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--backgrounds", help="of synthesize; the loop takes drawn ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_procedural(folder / "hand.pkl")
        began, used = time.perf_counter(), cpu_seconds()
        synthesize(
            *(folder / "crops", folder / "scratch"),
            **{"model": str(folder / "hand.pkl"), "count": options.count, "size": (options.side, options.side)},
            **{"backgrounds": options.backgrounds, "distance": DISTANCE, "seed": 0, **DRAWN},
        )
        rate, used = options.count / (time.perf_counter() - began), (cpu_seconds() - used) / options.count
        slow = plain(load_mano(folder / "hand.pkl"), options.side, folder)
    print(f"synthesize: {rate:.0f} images/s (goal: {GOAL} on two cores), {1e3 * used:.1f} ms of CPU time an image")
    print(f"loop over files: {slow:.1f} images/s; ratio {rate / slow:.1f}")


def cpu_seconds() -> float:
    """CPU time of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def plain(model: Mano, side: int, folder: Path) -> float:
    """Crops per second of the loop."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images, levels = np.zeros((PLAIN, side, side, 3), np.uint8), np.zeros((PLAIN, side, side), np.uint16)
    began = time.perf_counter()
    for index in range(PLAIN):
        rng = np.random.default_rng([0, index])
        hand = draw_hand(model, rng, CAMERA, PICTURE, DISTANCE, **DRAWN)
        places = projected(hand.xyz, CAMERA)
        corner, extent = places.min(0), np.ptp(places, axis=0).max() * rng.uniform(*FILLING)
        zoom = min(side / extent, 1000 / max(PICTURE))  # the grain of a photograph is 1024 px wide
        size = tuple(round(zoom * length) for length in PICTURE)
        picture = compose(rng, [hand], np.diag([zoom, zoom, 1]) @ CAMERA, size, background(rng, *size))
        cv2.imwrite(str(folder / "colour.png"), picture.image[..., ::-1])
        cv2.imwrite(str(folder / "depth.png"), np.rint(10 * picture.depth).astype(np.uint16))

        image = cv2.imread(str(folder / "colour.png"), cv2.IMREAD_COLOR_RGB)
        depth = cv2.imread(str(folder / "depth.png"), cv2.IMREAD_UNCHANGED) / 10
        _, root, scale = normalised(hand.xyz)
        step = zoom * extent / side
        middle = zoom * (corner + np.ptp(places, axis=0) / 2)
        matrix = np.array([[step, 0, middle[0] - step * side / 2], [0, step, middle[1] - step * side / 2]])
        flags = cv2.WARP_INVERSE_MAP
        images[index] = cv2.warpAffine(image, matrix, (side, side), flags=flags | cv2.INTER_LINEAR)
        depth = cv2.warpAffine(depth, matrix, (side, side), flags=flags | cv2.INTER_NEAREST)
        levels[index] = encode_depth(depth, root[2], scale)
    return PLAIN / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
