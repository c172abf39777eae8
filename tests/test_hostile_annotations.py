"""Damaged annotation files of every benchmark: what convert takes can be used, what it refuses is named in one line."""

import faulthandler
import json
import math
import pickle
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from lib.data import formats
from lib.errors import InputError
from lib.params.data import Data
from tests import mpii_files, test_coco, test_freihand, test_lsp, test_rhd, test_stb

ODD = [None, "3", "", True, -1, 0, 1.5, math.nan, math.inf, 1e308, 10**400, 2**63, [3], [[]], {}, {"a": 1}]
EACH = 10  # mutations per parameter: 25 of them
SECONDS = 10  # that the worst one may take on a slow machine


@pytest.fixture(autouse=True)
def quiet():
    """A reader that crashes in its own process does not print its stack."""
    faulthandler.disable()
    yield
    faulthandler.enable()


def attempt(name: str, raw: Path) -> str | None:
    """Convert; None, or the error. Nothing is left of a refused file, and nothing that is no number of a taken one."""
    out, start = raw.parent / "out", time.perf_counter()
    shutil.rmtree(out, ignore_errors=True)
    try:
        formats.get(name).convert(raw, out)
    except InputError as error:
        message = str(error)
        assert str(raw) in message or message.startswith(("train:", "val:")), message
        assert "\n" not in message and len(message) < 1000 and not out.exists(), message
        return message
    finally:
        assert time.perf_counter() - start < SECONDS
    for path in out.iterdir():
        document = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and the like
        images = {image["id"]: image for image in document["images"]}
        assert all(type(key) is int and 0 <= key < 2**63 for key in images)
        for person in document["annotations"]:
            image = images[person["image_id"]]
            assert image["width"] > 0 and image["height"] > 0 and type(image["file_name"]) is str
            assert len(person["bbox"]) == 4 and max(map(abs, person["bbox"])) < 1e8
            assert "score" in person or person["num_keypoints"] == sum(v > 0 for v in person["keypoints"][2::3])
            assert all(abs(value) < 1e8 for value in person.get("keypoints", ()))
    return None


def mutate_json(draw: random.Random, path: Path) -> None:
    """Put something odd in the place of a value at any depth, take it out, or put it in twice; or damage the text."""
    text = path.read_text()
    if draw.random() < 0.15:
        at = draw.randrange(len(text))
        path.write_bytes(
            text[:at].encode() + draw.choice((b"", b"\0", b"\xff", b"[" * 100_000)) + text[at + 1 :].encode()
        )
        return
    document = json.loads(text)
    holder, key, value = None, None, document
    while isinstance(value, dict | list) and value and (holder is None or draw.random() < 0.85):
        holder, key = value, draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = holder[key]
    match draw.choice(("odd", "odd", "odd", "out", "twice")):
        case "odd":
            holder[key] = draw.choice(ODD)
        case "out":
            del holder[key]
        case "twice" if isinstance(holder, list):
            holder.insert(key, value)
    path.write_text(json.dumps(document))


def mutate_bytes(draw: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 2, 8))):
        content[draw.randrange(draw.choice((300, len(content))) if len(content) > 300 else len(content))] = draw.choice(
            (0, 0xFF, 0x7F, draw.randrange(256))
        )
    path.write_bytes(content[: draw.choice((None, None, None, draw.randrange(len(content))))])


def odd_array(draw: random.Random, array: np.ndarray) -> object:
    """The array with something odd in it, or something odd in its place."""
    if array.dtype.kind in "biuf" and array.size and draw.random() < 0.6:
        changed = array.astype(float)
        changed.flat[draw.randrange(array.size)] = draw.choice((math.nan, math.inf, -1e308, 1e300, -7, 1e7))
        return changed
    return draw.choice((array[..., :1], np.zeros((0, 0)), "text", np.array([["a", "b"]]), {"a": array}, array[None], 5))


def mutate_mat(draw: random.Random, path: Path) -> None:
    """Damage the file, compressed or not, or a variable of it."""
    content = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    if draw.random() < 0.4:
        name = draw.choice(list(content))
        content[name] = odd_array(draw, content[name])
        scipy.io.savemat(path, content)
    else:
        scipy.io.savemat(path, content, do_compression=draw.random() < 0.3)
        mutate_bytes(draw, path)


def mutate_h5(draw: random.Random, path: Path) -> None:
    if draw.random() < 0.6:
        return mutate_bytes(draw, path)
    with h5py.File(path, "a") as file:
        name = draw.choice(list(file))
        value = odd_array(draw, file[name][()])
        del file[name]
        if isinstance(value, dict):
            file.create_group(name)
        else:
            file[name] = value if np.asarray(value).dtype.kind != "U" else "text"


def mutate_pickle(draw: random.Random, path: Path) -> None:
    if draw.random() < 0.4:
        return mutate_bytes(draw, path)
    frames = pickle.loads(path.read_bytes())
    number = draw.choice(list(frames))
    if draw.random() < 0.4:
        odd = draw.choice((-1, "0", 1.5, None, 10**400, (0,), True, 100_000, math.nan))
        frames[odd] = frames.pop(number)
    else:
        name = draw.choice(list(frames[number]))
        frames[number][name] = draw.choice((odd_array(draw, frames[number][name]), None, [[1], [2, 3]], 10**400))
    path.write_bytes(pickle.dumps(frames, 2))


def coco(raw: Path) -> Path:
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}
    people = [test_coco.person(1), test_coco.unlabelled(2)]
    return test_coco.write_raw(raw, people, people, [box, box | {"category_id": 3}])


def mpii(kind: str) -> Callable[[Path], Path]:
    def write(raw: Path) -> Path:
        (raw / "annot").mkdir(parents=True)
        (raw / "images").mkdir()
        names = [f"{number:09d}.jpg" for number in (7, 30)]
        for name in names:
            Image.new("RGB", (60, 40)).save(raw / "images" / name)
        points = [(0, 10, 12, "0"), (9, 11.5, 3, 1), (2, 20, 30, 1)]
        if kind == "json":
            rows = [[mpii_files.row(name, 30, 20, 0.1, j2=(20, 30), j5=(13, 14))] for name in names]
            for split, row in zip(("train", "valid"), rows, strict=True):
                (raw / f"annot/{split}.json").write_text(json.dumps(row))
            mpii_files.write_gt(raw / "annot/gt_valid.mat", rows[1])
            return raw
        for split, name in zip(("train", "valid"), names, strict=True):
            mpii_files.write_h5(raw / f"annot/{split}.h5", [(name, 30, 20, 0.1)])
        if kind == "mat":
            people = [mpii_files.structs(mpii_files.rectangle(30, 20, 0.1, points[:2])) for _ in names]
            rows = [(name, 1, person) for name, person in zip(names, people, strict=True)]
            mpii_files.write_mat(raw / mpii_files.MAT, *rows)
        return raw

    return write


def lsp(raw: Path) -> Path:
    joints = np.random.default_rng(0).uniform(5, 35, (2, 14, 3)).round()
    joints[..., 2] = 1
    return test_lsp.write_raw(raw, joints, joints)


def rhd(kind: str) -> Callable[[Path], Path]:
    return lambda raw: test_rhd.write_raw(raw, {"training": [(300, 200)] * 2, "evaluation": [(9, 0)] * 2}, kind)


def hand_samples(raw: Path) -> Path:
    return test_freihand.write_raw(raw, 3, 2)


def stb_files(raw: Path) -> Path:
    return test_stb.write_raw(raw, {"B1Random": 2, "B3Random": 2})


CASES = [
    *[("coco", coco, "annotations/person_keypoints_val2017.json", mutate_json)] * 5,
    *[("coco", coco, "person_detection_results/result.json", mutate_json)] * 2,
    *[("mpii", mpii("mat"), mpii_files.MAT, mutate_mat)] * 2,
    *[("mpii", mpii("json"), "annot/valid.json", mutate_json)] * 2,
    ("mpii", mpii("json"), "annot/gt_valid.mat", mutate_mat),
    *[("mpii", mpii("h5"), "annot/valid.h5", mutate_h5)] * 2,
    ("lsp", lsp, "lsp/joints.mat", mutate_mat),
    ("lsp", lsp, "lspet/joints.mat", mutate_mat),
    *[("rhd", rhd("pickle"), "training/anno_training.pickle", mutate_pickle)] * 2,
    ("rhd", rhd("mat"), "evaluation/anno_evaluation.mat", mutate_mat),
    ("freihand", hand_samples, "training_xyz.json", mutate_json),
    ("freihand", hand_samples, "training_K.json", mutate_json),
    ("freihand", hand_samples, "evaluation_scale.json", mutate_json),
    ("freihand", hand_samples, "evaluation_xyz.json", mutate_json),
    *[("stb", stb_files, "labels/B3Random_BB.mat", mutate_mat)] * 2,
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{name}-{Path(file).name}" for name, _, file, _ in CASES])
def test_mutations(tmp_path: Path, case: int):
    name, write, file, mutate = CASES[case]
    raw = write(tmp_path / "raw")
    whole = (raw / file).read_bytes()
    assert attempt(name, raw) is None
    for number in range(EACH):
        (raw / file).write_bytes(whole)
        mutate(random.Random(f"{case} {number}"), raw / file)
        attempt(name, raw)


def test_there_are_enough():
    assert EACH * len(CASES) >= 200 and {name for name, *_ in CASES} == set(Data.model_fields)
