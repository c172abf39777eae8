"""Show a trained student photographs: `python -m stages.predict models/fpd/lsp_fpd photo.jpg --box 40,10,200,380`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lib.deployment import photos, pictures
from lib.deployment.students import Student, open_student
from lib.errors import InputError
from lib.files import atomic
from lib.metrics.oks import rescore
from stages import run

QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 92)


def parse(arguments: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m stages.predict", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("student", type=Path, help="folder of a run or of a seed, .safetensors, or an exported .onnx")
    parser.add_argument("photos", type=Path, nargs="+", help="photographs, or folders of them")
    parser.add_argument("--box", type=box, action="append", default=[], help="x,y,width,height of a person; repeatable")
    parser.add_argument("--boxes", type=Path, help="the people of all photographs: COCO annotations or results, JSON")
    parser.add_argument("--left", action="store_true", help="hands are left ones where the boxes do not say")
    parser.add_argument("-o", "--out", type=Path, default=Path("predictions"), help="folder to write (predictions)")
    return parser.parse_args(arguments)


def box(text: str) -> list[float]:
    """A box as it is typed."""
    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected x,y,width,height in px, such as 40,10,200,380") from None
    return [x, y, width, height]


def main(*arguments: str) -> None:
    """Write <photo>_pose.jpg for each photograph and keypoints.json, results in COCO's format, of all."""
    options = parse(arguments)
    if options.box and options.boxes:
        raise InputError("--box and --boxes: expected one of them")
    paths = photos.find(options.photos)
    names = [path.stem for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two photographs are called {twice}: show them in two commands, with an --out for each")
    student = open_student(options.student, "cuda" if torch.cuda.is_available() else "cpu")
    known = photos.listed(options.boxes, paths, options.left) if options.boxes else {}
    if not (options.box or options.boxes):
        print("no boxes: each photograph is taken as one box; --box or --boxes says where people are", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    results, unreadable = [], []
    for number, path in enumerate(tqdm(paths, unit=" photos", disable=None if len(paths) > 1 else True), start=1):
        try:
            image = photos.read(path)
        except InputError as error:
            tqdm.write(f"skipped: {error}", file=sys.stderr)
            unreadable.append(str(path))
            continue
        whole = [0, 0, image.shape[1], image.shape[0]]
        people = known[path] if options.boxes else photos.people(number, options.box or [whole], options.left)
        photos.check(path, image, people.boxes)
        found, picture = show(student, image, people)
        results += [{"file_name": path.name, **one} for one in found]
        with atomic(options.out / f"{path.stem}_pose.jpg") as part:
            part.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), QUALITY)[1].tobytes())
    with atomic(options.out / "keypoints.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(results)} poses, photographs: {len(paths) - len(unreadable)}")
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(paths)} photographs could not be read: {', '.join(unreadable)}")


def show(student: Student, image: NDArray, people: photos.People) -> tuple[list[dict[str, Any]], NDArray]:
    """COCO results of the people of an image, with their boxes, and the picture of them.

    Hands have their joints in mm from the wrist, `xyz`, and in the picture where `placed` puts them, of score 1.
    """
    if not len(people.boxes):
        return [], image
    label, found = student.label, student.predict(image, people)
    if label.output == "pose":
        xyz = found["keypoints"].astype(np.float64)
        points = np.stack([pictures.placed(*hand) for hand in zip(xyz, people.boxes, strict=True)])
        scores, total = np.ones(points.shape[:2]), people.scores
        picture = pictures.draw_hands(image, people.boxes, xyz)
    else:
        points, scores, xyz = found["keypoints"].astype(np.float64), found["scores"], None
        total = rescore(people.scores, scores)
        picture = pictures.draw_people(image, points, label.skeleton, label.joints)
    results = []
    for row, keypoints in enumerate(np.dstack([points.round(3), scores.astype(np.float64).round(4)])):
        one = {"image_id": people.image_id, "category_id": 1, "bbox": people.boxes[row].tolist()}
        one |= {"keypoints": keypoints.ravel().tolist(), "score": round(float(total[row]), 4)}
        results.append(one if xyz is None else one | {"xyz": xyz[row].round(2).tolist()})
    return results, picture


if __name__ == "__main__":
    run(main)
