"""Where a box lies: a crop shows exactly the pixels from the first joint to the last one, to no side half a pixel."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.boxes import box_of, middle
from lib.data.crops import open_crops
from lib.data.formats import freihand, hands, lsp
from lib.data.packing import pack
from tests import test_freihand, test_lsp

PICTURE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
SIDE = 64  # px of a person, of a hand and of a crop: no pixel is interpolated
LEFT, TOP = 30, 20
SHOWN = PICTURE[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def cut(annotations: Path, images: Path, out: Path) -> np.ndarray:
    """The first training crop at one pixel of the image per pixel."""
    pack(annotations, images, out, input=(SIDE, SIDE), padding=1, margin=1)
    return open_crops(out, "train").images[0]


def test_first_and_last_pixel():
    box = box_of(np.array([30.0, 20]), np.array([93.0, 83]))
    assert box.tolist() == [30, 20, 64, 64] and middle(box).tolist() == [61.5, 51.5]
    assert box_of(np.array([5.0, 7]), np.array([5.0, 7])).tolist() == [5, 7, 1, 1]


def test_a_person_of_lsp_fills_the_crop(tmp_path: Path):
    joints = test_lsp.person(right_ankle=(LEFT, TOP, 1), head_top=(LEFT + SIDE - 1, TOP + SIDE - 1, 1))
    raw = test_lsp.write_raw(tmp_path / "raw", np.ones((2, 14, 3)), joints[None], PICTURE.shape[1::-1])
    Image.fromarray(PICTURE).save(raw / "lspet/images/im00001.jpg", "PNG")
    lsp.convert(raw, tmp_path / "annotations")
    document = json.loads((tmp_path / "annotations/train.json").read_text())
    document["annotations"] = document["annotations"][1:]
    (tmp_path / "annotations/train.json").write_text(json.dumps(document))
    assert np.array_equal(cut(tmp_path / "annotations", raw, tmp_path / "crops"), SHOWN)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_hand_fills_the_crop_and_a_left_one_is_mirrored_in_place(tmp_path: Path, side: str):
    camera = np.array([[100, 0, 0], [0, 100, 0], [0, 0, 1.0]])
    uv = np.random.default_rng(1).uniform((LEFT, TOP), (LEFT + SIDE - 1, TOP + SIDE - 1), (21, 2))
    uv[3], uv[8] = (LEFT, TOP + SIDE - 1), (LEFT + SIDE - 1, TOP)
    xyz = np.column_stack((uv * 5, np.full(21, 500)))
    record = hands.annotation(1, xyz, camera, side)
    assert record["bbox"] == [LEFT, TOP, SIDE, SIDE] and record["area"] == SIDE * SIDE
    image = hands.image(1, "a.png", PICTURE.shape[1::-1], camera)
    for split in ("train", "val"):
        hands.write(tmp_path / f"{split}.json", {"dataset": "stb"}, [image], [record])
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE[..., ::-1])
    crop = cut(tmp_path, tmp_path, tmp_path / "crops")
    assert np.array_equal(crop, SHOWN if side == "right" else SHOWN[:, ::-1])
    crops = open_crops(tmp_path / "crops", "train")
    expected = uv - (LEFT, TOP) if side == "right" else np.column_stack((LEFT + SIDE - 1 - uv[:, 0], uv[:, 1] - TOP))
    np.testing.assert_allclose(crops.keypoints[0], expected, atol=2e-3)


def test_boxes_of_freihand_hold_their_joints(tmp_path: Path):
    freihand.convert(test_freihand.write_raw(tmp_path / "raw", 2), tmp_path / "out")
    for record in json.loads((tmp_path / "out/train.json").read_text())["annotations"]:
        points = np.reshape(record["keypoints"], (21, 3))[:, :2]
        np.testing.assert_allclose(middle(np.array(record["bbox"])), (points.min(0) + points.max(0)) / 2, atol=2e-3)
