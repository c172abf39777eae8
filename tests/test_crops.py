"""Packing: geometry, sampling, order and what goes wrong."""

import json
import resource

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data import packing as module
from lib.data.crops import open_crops
from lib.data.packing import crop_to_image, pack
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


def dataset(folder, images, people, detections=()):
    """Write images (name to array), both splits with the same people, and detections; ids are 10, 11, ..."""
    folder.mkdir(exist_ok=True)
    records = []
    for number, (name, image) in enumerate(images.items(), 1):
        cv2.imwrite(str(folder / name), image[..., ::-1])
        records.append({"id": number, "file_name": name, "height": image.shape[0], "width": image.shape[1]})
    document = {
        "info": {"dataset": "lsp", "source": "synthetic"},
        "images": records,
        "categories": [{"id": 1, "keypoints": ["left", "right", "top"], "flip_pairs": [[0, 1]], "upper_body": [0, 2]}],
    }
    for name, entries in (("train", people), ("val", people), ("detections", detections)):
        entries = [{"id": 10 + index, **entry} for index, entry in enumerate(entries)]
        (folder / f"{name}.json").write_text(json.dumps(document | {"annotations": entries}))
    return folder


def packed(folder, images, people, *, input=(24, 16), padding=1.0, margin=1.0):
    data = dataset(folder / "data", images, people)
    pack(data, data, folder / "crops", input=input, padding=padding, margin=margin)
    return open_crops(folder / "crops", "train")


def found(image=1, bbox=(0, 0, 16, 24), score=0.5):
    """A detection."""
    return {"image_id": image, "category_id": 1, "bbox": list(bbox), "score": score}


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


@pytest.mark.parametrize("boxes", ["annotations", "detections"])
def test_the_annotations_that_predictions_are_scored_with_lie_beside_the_crops(tmp_path, boxes):
    data = dataset(tmp_path / "data", {"a.png": np.zeros((24, 16, 3), np.uint8)}, [person()], [found()])
    pack(data, data, tmp_path / "crops", input=(24, 16), padding=1.0, margin=1.0, boxes=boxes)
    assert (tmp_path / "crops/val.json").read_bytes() == (data / "val.json").read_bytes()


def test_box_equal_to_the_image_gives_the_image(tmp_path):
    crops = packed(tmp_path, {"a.png": NOISE}, [person()])
    assert np.array_equal(crops.images[0], NOISE)
    assert np.array_equal(crops.to_image[0], [[1, 0, 0], [0, 1, 0]])
    assert np.array_equal(crops.keypoints[0], [[3, 4], [5, 6], [0, 0]])
    assert np.array_equal(crops.visible[0], [True, True, False])
    assert (crops.joints, crops.flip_pairs, crops.upper_body, crops.input) == (
        ("left", "right", "top"),
        ((0, 1),),
        (0, 2),
        (24, 16),
    )
    assert isinstance(crops.images, np.memmap) and crops.ids.tolist() == [10]
    assert crops.image_ids.tolist() == [1] and crops.box_scores.tolist() == [1]


def test_margin_shows_zeros_outside_the_image(tmp_path):
    image = np.arange(1, 5, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    crops = packed(tmp_path, {"a.png": image}, [person(bbox=(0, 0, 2, 2))], input=(2, 2), margin=2)
    assert crops.images[0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    assert crops.keypoints[0, 0].tolist() == [4, 5]


def test_validation_crops_are_the_training_crops_without_their_margin(tmp_path):
    train = packed(tmp_path, {"a.png": NOISE}, [person(bbox=(3.3, 9.1, 9, 13)), person(bbox=(-4, 2, 30, 21))], margin=2)
    val = open_crops(tmp_path / "crops", "val")
    assert train.images.shape == (2, 48, 32, 3) and val.images.shape == (2, 24, 16, 3)
    assert np.array_equal(val.images, train.images[:, 12:-12, 8:-8])
    shown = train.visible[..., None]
    assert np.allclose(val.keypoints, np.where(shown, train.keypoints - [8, 12], 0), atol=1e-5)
    assert np.array_equal(val.visible, train.visible) and np.array_equal(val.ids, train.ids)


def test_detections_are_the_validation_crops(tmp_path):
    images = {f"{number}.png": np.full_like(NOISE, 10 * number) for number in (1, 2)}
    detections = [found(2, score=0.25), found(1, (1, 2, 8, 12), 0.75), found(2, (-0.5, -3, 30, 40), 1e-20), found(1)]
    data = dataset(tmp_path / "data", images, [person(1), person(2)], detections)
    for out, boxes in (("a", "annotations"), ("d", "detections")):
        pack(data, data, tmp_path / out, input=(24, 16), padding=1, margin=1.5, boxes=boxes)
    val = open_crops(tmp_path / "d", "val")
    assert val.ids.tolist() == [11, 13, 10, 12] and val.image_ids.tolist() == [1, 1, 2, 2]
    assert np.array_equal(val.box_scores, np.array([0.75, 0.5, 0.25, 1e-20], np.float32))
    assert val.images[:, 9, 5, 0].tolist() == [10, 10, 20, 20]
    assert val.to_image[0].tolist() == [[0.5, 0, 0.75], [0, 0.5, 1.75]]  # the corner of pixel (1, 2)
    assert val.visible.shape == (4, 3) and not val.visible.any() and not val.keypoints.any()
    for name in ("images", "keypoints", "visible", "ids"):  # training does not see the detector
        assert np.array_equal(*(getattr(open_crops(tmp_path / out, "train"), name) for out in "ad"))
    assert open_crops(tmp_path / "a", "val").ids.tolist() == [10, 11]


def test_missing_detections_say_how_to_get_them(tmp_path):
    data = dataset(tmp_path / "data", {"a.png": NOISE}, [person()])
    (data / "detections.json").unlink()
    message = (
        r"detections.json is missing: .* put it into data/downloads/data, or into .*, then dvc repro -f fetch@data; or "
        r"set crops.coco_dt.boxes: annotations"
    )
    with pytest.raises(InputError, match=message) as caught:
        pack(data, data, tmp_path / "out/coco_dt", input=(24, 16), padding=1, margin=1, boxes="detections")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


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
    matrix = crop_to_image(np.array([bbox]), (height, width), padding, size)
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
    read = module.read_image
    monkeypatch.setattr(module, "read_image", lambda path, *how: reads.append(path.name) or read(path, *how))
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
    whole, size = {"bbox": (0, 0, 16, 24)}, {"input": (24, 16), "padding": 1, "margin": 1}
    data = dataset(tmp_path / "data", {"a.jpg": NOISE, "grey.png": NOISE}, [person(**whole), person(image=2, **whole)])
    (data / "a.jpg").write_bytes(rotated)
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (16, 24, 3)
    cv2.imwrite(str(data / "grey.png"), NOISE[..., 0])
    pack(data, data, tmp_path / "crops", **size)
    tagged, grey = open_crops(tmp_path / "crops", "train").images
    assert np.array_equal(tagged, cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB))
    assert np.array_equal(grey, NOISE[..., :1].repeat(3, axis=2))


def truncate(data):
    (data / "b.jpg").write_bytes((data / "b.jpg").read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda data: [(data / name).unlink() for name in ("a.png", "b.jpg")],
            "2 of 2 annotated images are not in .*a.png, b.jpg",
        ),
        (
            lambda data: (data / "b.jpg").write_bytes(b"<html>not found</html>"),
            "b.jpg is not a readable image; fetch",
        ),
        (lambda data: (data / "b.jpg").write_bytes(b""), "b.jpg is not a readable image; fetch"),
        (truncate, "b.jpg is not a readable image; fetch"),
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
        ([person(), person(bbox=(5, 5, 0, 0))], r"train.json: annotation 11 has an empty bbox \(1 have\)"),
        ([person(), *2 * [person(bbox=(5, 5, -1, 9))]], r"annotation 11 has an empty bbox \(2 have\)"),
        ([person(bbox=(16, 0, 9, 9))], r"10 has a bbox outside its image .*\[16.0, 0.0, 9.0, 9.0\] in 16 x 24 px"),
        ([person(bbox=(3, 24.5, 9, 9))], "10 has a bbox outside its image"),
        ([person(bbox=(-9, 0, 9, 9))], "10 has a bbox outside its image"),
        ([person(bbox=(0, -3, 9, 2.5))], "10 has a bbox outside its image"),
        ([person(bbox=(0, float("nan"), 9, 2.5))], "10 has a bbox outside its image"),
        ([], "no person"),
        ([person(iscrowd=1)], "no person"),
    ],
)
def test_bad_annotations(tmp_path, people, message):
    with pytest.raises(InputError, match=message) as caught:
        packed(tmp_path, {"a.png": NOISE}, people)
    assert "\n" not in str(caught.value) and not (tmp_path / "crops").exists()


def test_detections_outside_their_image_are_named(tmp_path):
    data = dataset(tmp_path / "data", {"a.png": NOISE}, [person()], [found(), found(bbox=(0, 30, 5, 5))])
    with pytest.raises(InputError, match=r"detections.json: annotation 11 has a bbox outside its image"):
        pack(data, data, tmp_path / "crops", input=(24, 16), padding=1, margin=1, boxes="detections")


def test_boxes_that_touch_the_image_are_cut(tmp_path):
    touching = [(15.5, 0, 9, 9), (-9, 0, 9.5, 9), (0, 0, 0, 9), (15, 23, 1, 0), (-100, -100, 300, 300)]
    assert len(packed(tmp_path, {"a.png": NOISE}, [person(bbox=bbox) for bbox in touching]).ids) == 5


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


def sample_of_coco(shared_data, folder):
    """COCO's annotations and detections of the images that are at hand, as the pack reads them; their folder."""
    coco, images = shared_data / "samples/coco", shared_data / "samples/coco/val2017"
    if not images.is_dir():
        pytest.skip("no COCO sample in ../shared/data")
    truth = json.loads((coco / "annotations/person_keypoints_val2017.json").read_text())
    detector = coco / "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"
    truth["images"] = [image for image in truth["images"] if (images / image["file_name"]).is_file()]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] in ids]
    truth["categories"][0] |= {"flip_pairs": [[1, 2], [3, 4]], "upper_body": [*range(11)]}
    detections = [
        {"id": number, **entry}
        for number, entry in enumerate(json.loads(detector.read_text()), 1)
        if entry["image_id"] in ids
    ]
    for name, entries in (("train", truth["annotations"]), ("val", truth["annotations"]), ("detections", detections)):
        (folder / f"{name}.json").write_text(json.dumps(truth | {"annotations": entries}))
    return images, truth["annotations"], detections


def test_real_people_and_detections(shared_data, tmp_path):
    images, people, detections = sample_of_coco(shared_data, tmp_path)
    pack(tmp_path, images, tmp_path / "crops", input=(32, 24), padding=1.25, margin=1.5, boxes="detections")
    train, val = (open_crops(tmp_path / "crops", split) for split in ("train", "val"))
    assert train.images.shape[1:] == (48, 36, 3) and val.images.shape[1:] == (32, 24, 3)

    people = {person["id"]: person for person in people if person["num_keypoints"] and not person["iscrowd"]}
    assert sorted(train.ids) == sorted(people) and (train.box_scores == 1).all()
    points = transform(train.to_image, train.keypoints)
    for row, number in enumerate(train.ids):
        x, y, v = np.reshape(people[number]["keypoints"], (17, 3)).T
        assert train.image_ids[row] == people[number]["image_id"] and np.array_equal(train.visible[row], v > 0)
        assert np.abs(points[row] - np.column_stack((x, y)))[v > 0].max() < 1e-3

    detections = {detection["id"]: detection for detection in detections}
    assert sorted(val.ids) == sorted(detections) and not val.visible.any()
    for row, number in enumerate(val.ids):
        detection = detections[number]
        assert val.image_ids[row] == detection["image_id"] and val.box_scores[row] == np.float32(detection["score"])
        x, y, w, h = detection["bbox"]
        corners = transform(invert(val.to_image[[row]]), np.array([[[x - 0.5, y - 0.5], [x + w - 0.5, y + h - 0.5]]]))
        assert np.allclose(corners.mean(1), [11.5, 15.5]) and np.isclose(
            np.max(np.diff(corners, axis=1) * 1.25 / [24, 32]), 1
        )

    # A pixel of a crop is the mean of what it covers in the photograph: nearest pixels at 16 x 16 positions within it.
    shrunk = np.flatnonzero(val.to_image[:, 0, 0] > 2)
    for row in shrunk[:: len(shrunk) // 20]:
        image = cv2.imread(str(images / f"{val.image_ids[row]:012d}.jpg"))[..., ::-1]
        fine = val.to_image[row] @ [[1 / 16, 0, 0.5 / 16 - 0.5], [0, 1 / 16, 0.5 / 16 - 0.5], [0, 0, 1]]
        x, y = np.rint(grid(fine, 32 * 16, 24 * 16)).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
        pixels = np.where(inside[..., None], image[y * inside, x * inside], 0)
        mean = pixels.reshape(32, 16, 24, 16, 3).mean((1, 3))
        assert np.abs(val.images[row] - mean).mean() < 3
