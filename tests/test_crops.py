"""Packing: geometry, sampling, order and what goes wrong."""

import json
import resource

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data import crops as module
from lib.data.crops import crop_to_image, open_crops, pack
from lib.data.warp import invert, transform
from lib.errors import InputError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 16, 3), dtype=np.uint8)


def person(image=1, bbox=(0, 0, 16, 24), keypoints=((3, 4, 2), (5, 6, 1), (0, 0, 0)), **extra):
    labelled = sum(v > 0 for *_, v in keypoints)
    keypoints = [value for point in keypoints for value in point]
    return {
        "image_id": image,
        "bbox": list(bbox),
        "keypoints": keypoints,
        "num_keypoints": labelled,
        "iscrowd": 0,
    } | extra


def dataset(folder, images, people):
    """Write images (name to array) and both splits with the same people; annotation ids are 10, 11, ..."""
    folder.mkdir(exist_ok=True)
    records = []
    for number, (name, image) in enumerate(images.items(), 1):
        cv2.imwrite(str(folder / name), image[..., ::-1])
        records.append({"id": number, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
    document = {
        "info": {"dataset": "lsp", "source": "synthetic"},
        "images": records,
        "annotations": [{"id": 10 + index, **entry} for index, entry in enumerate(people)],
        "categories": [{"id": 1, "keypoints": ["left", "right", "top"], "flip_pairs": [[0, 1]]}],
    }
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


def packed(folder, images, people, *, input=(24, 16), padding=1.0, margin=1.0):
    data = dataset(folder / "data", images, people)
    pack(data, data, folder / "crops", input=input, padding=padding, margin=margin)
    return open_crops(folder / "crops", "val")


def bilinear(image, x, y):
    """Image at float positions, zeros outside: one sample at a time, in float64."""
    out = np.zeros((*x.shape, 3))
    for index in np.ndindex(x.shape):
        left, top = int(np.floor(x[index])), int(np.floor(y[index]))
        for column in (left, left + 1):
            for row in (top, top + 1):
                if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                    weight = (1 - abs(x[index] - column)) * (1 - abs(y[index] - row))
                    out[index] += weight * image[row, column]
    return out


def grid(matrix, height, width):
    """Positions of a crop's pixels in the image."""
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(1, -1, 2)
    return np.moveaxis(transform(matrix[None], points).reshape(height, width, 2), -1, 0)


def test_box_equal_to_the_image_gives_the_image(tmp_path):
    crops = packed(tmp_path, {"a.png": NOISE}, [person()])
    assert np.array_equal(crops.images[0], NOISE)
    assert np.array_equal(crops.to_image[0], [[1, 0, 0], [0, 1, 0]])
    assert np.array_equal(crops.keypoints[0], [[3, 4], [5, 6], [0, 0]])
    assert np.array_equal(crops.visible[0], [True, True, False])
    assert (crops.joints, crops.flip_pairs, crops.input, crops.margin) == (
        ("left", "right", "top"),
        ((0, 1),),
        (24, 16),
        1,
    )
    assert isinstance(crops.images, np.memmap) and crops.ids.tolist() == [10]


def test_margin_shows_zeros_outside_the_image(tmp_path):
    image = np.arange(1, 5, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    crops = packed(tmp_path, {"a.png": image}, [person(bbox=(0, 0, 2, 2))], input=(2, 2), margin=2)
    assert crops.images[0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    assert crops.keypoints[0, 0].tolist() == [4, 5]


def test_enlarged_crop_is_bilinear_and_fades_at_the_border(tmp_path):
    crops = packed(tmp_path, {"a.png": NOISE}, [person(bbox=(3.3, 9.1, 9, 13))], padding=1.25, margin=1.5)
    assert crops.images.shape == (1, 36, 24, 3)
    expected = bilinear(NOISE, *grid(crops.to_image[0], 36, 24))
    assert np.abs(crops.images[0] - expected).max() <= 0.51


def test_shrunk_checkerboard_is_grey(tmp_path):
    board = (255 * (np.indices((400, 400)).sum(0) % 2)).astype(np.uint8)[..., None].repeat(3, axis=2)
    people = [person(bbox=(50, 50, 16 * side, 24 * side)) for side in (2, 3.7, 9.5)]
    crops = packed(tmp_path, {"a.png": board}, people)
    assert np.abs(crops.images[:2, 2:-2, 2:-2] - 127.5).max() <= 8
    assert np.abs(crops.images[1].mean() - 127.5) <= 1


@pytest.mark.parametrize("side", [0.7, 1.0, 1.4, 2.0, 5.3])
def test_a_ramp_stays_where_it_is_at_any_scale(tmp_path, side):
    y, x = np.mgrid[:200, :200]
    ramp = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    crops = packed(tmp_path, {"a.png": ramp}, [person(bbox=(20.25, 30.75, 16 * side, 24 * side))])
    x, y = grid(crops.to_image[0], 24, 16)
    assert np.abs(crops.images[0] - np.stack([x, y, (x + y) / 2], axis=-1)).max() <= 1.5


side = st.integers(4, 300)
length = st.floats(0.5, 2000)


@given(side, side, st.tuples(length, length, length, length), st.floats(1, 2), st.floats(1, 2))
def test_crop_geometry(height, width, bbox, padding, margin):
    size = round(height * margin), round(width * margin)
    matrix = crop_to_image(np.array([bbox]), np.array([1]), (height, width), padding, size)
    # The centres agree, the axes share one density, and the padded bbox just fits the input in one direction.
    x, y, w, h = bbox
    centre = transform(matrix, np.array([[[(size[1] - 1) / 2, (size[0] - 1) / 2]]]))
    assert np.allclose(centre, [x + (w - 1) / 2, y + (h - 1) / 2])
    step = matrix[0, 0, 0]
    assert step == matrix[0, 1, 1] and matrix[0, 0, 1] == matrix[0, 1, 0] == 0
    assert np.isclose(max(w * padding / step / width, h * padding / step / height), 1)
    points = np.random.default_rng(height).uniform(-50, 3000, (1, 5, 2))
    assert np.allclose(transform(matrix, transform(invert(matrix), points)), points)


def test_keypoints_return_to_the_image(tmp_path):
    points = RNG.uniform(0, 16, (4, 3, 2))
    people = [person(bbox=(1, 2, 9 + i, 12), keypoints=[(*xy, 2) for xy in row]) for i, row in enumerate(points)]
    crops = packed(tmp_path, {"a.png": NOISE}, people, padding=1.25, margin=1.5)
    assert np.abs(transform(crops.to_image, crops.keypoints) - points).max() < 1e-4


def test_people_are_grouped_by_image_and_images_decoded_once(tmp_path, monkeypatch):
    reads = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda path: reads.append(path.name) or read(path))
    images = {f"{number}.png": np.full_like(NOISE, number) for number in range(40)}
    people = [person(image=1 + number % 40) for number in range(80)]
    people[3]["iscrowd"] = 1
    people[4]["num_keypoints"] = 0
    crops = packed(tmp_path, images, people)
    order = [10 + row for number in range(40) for row in (number, number + 40) if row not in (3, 4)]
    assert crops.ids.tolist() == order
    assert crops.images[:, 5, 5, 0].tolist() == [(index - 10) % 40 for index in order]
    assert sorted(reads) == sorted(2 * list(images))  # once per split


def test_grey_images_and_the_orientation_tag(tmp_path):
    _, jpeg = cv2.imencode(".jpg", cv2.GaussianBlur(NOISE, (0, 0), 2))
    tag = bytes.fromhex("ffe1002245786966000049492a00080000000100120103000100000006000000000000000000"[:72])
    rotated = jpeg.tobytes()[:2] + tag + jpeg.tobytes()[2:]
    data = dataset(tmp_path / "data", {"a.jpg": NOISE}, [person()])
    (data / "a.jpg").write_bytes(rotated)
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (16, 24, 3)
    assert np.array_equal(module._read(data / "a.jpg"), cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB))
    cv2.imwrite(str(data / "grey.png"), NOISE[..., 0])
    assert np.array_equal(module._read(data / "grey.png"), NOISE[..., :1].repeat(3, axis=2))


def truncate(data):
    (data / "b.jpg").write_bytes((data / "b.jpg").read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda data: [(data / name).unlink() for name in ("a.png", "b.jpg")],
            "2 of 2 annotated images are not in .*a.png, b.jpg",
        ),
        (lambda data: (data / "b.jpg").write_bytes(b"<html>not found</html>"), "b.jpg cannot be read"),
        (lambda data: (data / "b.jpg").write_bytes(b""), "b.jpg cannot be read"),
        (truncate, "b.jpg cannot be read"),
        (lambda data: cv2.imwrite(str(data / "b.jpg"), NOISE[:20]), "b.jpg is 16 x 20 px but annotated as 16 x 24"),
    ],
)
def test_bad_images_are_named_and_leave_nothing(tmp_path, damage, message):
    data = dataset(tmp_path / "data", {"a.png": NOISE, "b.jpg": NOISE}, [person(image=1), person(image=2)])
    damage(data)
    with pytest.raises(InputError, match=message) as caught:
        pack(data, data, tmp_path / "out/crops", input=(24, 16), padding=1, margin=1)
    assert "\n" not in str(caught.value) and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([person(), person(bbox=(5, 5, 0, 0))], "annotation 11 has an empty bbox"),
        ([], "no person"),
        ([person(iscrowd=1)], "no person"),
    ],
)
def test_bad_annotations(tmp_path, people, message):
    with pytest.raises(InputError, match=message):
        packed(tmp_path, {"a.png": NOISE}, people)


def test_full_disk_is_an_error_that_leaves_nothing(tmp_path):
    data = dataset(tmp_path / "data", {"a.png": NOISE}, [person() for _ in range(40)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # 40 crops take 46,080 bytes
    try:
        with pytest.raises(OSError, match=r"too large.*images\.npy"):
            pack(data, data, tmp_path / "out/crops", input=(24, 16), padding=1, margin=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").iterdir())
