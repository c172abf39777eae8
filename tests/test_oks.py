"""COCO's metrics: pycocotools called directly, a plain reference, closed forms, invariances and real annotations."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from lib.errors import InputError
from lib.metrics.oks import SIGMAS, SUMMARY, average_precision, coco_ap, coco_results, oks, oks_nms, rescore
from lib.metrics.scores import score


def dataset(seed: int, images: int = 4, people: int = 3, size: float = 150.0) -> dict:
    """COCO annotations of people about `size` px tall side by side, with hidden joints and varied areas."""
    generator = np.random.default_rng(seed)
    annotations = []
    for number in range(images * people):
        corner = np.array([number % people * 1.2 * size, 20])
        points = corner + generator.uniform(0, size, (17, 2))
        visible = generator.random(17) < 0.8
        visible[0] = True
        annotations.append(
            {
                "id": number + 1,
                "image_id": number // people + 10,
                "category_id": 1,
                "keypoints": np.column_stack([points * visible[:, None], 2 * visible]).ravel().tolist(),
                "num_keypoints": int(visible.sum()),
                "bbox": [*corner.tolist(), size, size],
                "area": float(size**2 * generator.uniform(0.2, 0.6)),
                "iscrowd": 0,
            }
        )
    return {
        "info": {"dataset": "coco"},
        "images": [{"id": number + 10, "width": 600, "height": 400} for number in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": [str(k) for k in range(17)], "skeleton": []}],
    }


def jittered(annotations: dict, seed: int, noise: float) -> list[dict]:
    """Results of the labelled people, `noise` relative to their size, with distinct scores, and a few false ones."""
    generator = np.random.default_rng(seed)
    results = []
    for person in annotations["annotations"]:
        if person["num_keypoints"] == 0:
            continue
        for share in (1, 4) if generator.random() < 0.3 else (1,):
            points = np.reshape(person["keypoints"], (17, 3)).astype(float)
            points[:, :2] += generator.normal(0, share * noise * math.sqrt(person["area"]), (17, 2))
            results.append(
                {
                    "image_id": person["image_id"],
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "score": float(generator.random()),
                }
            )
    return results


def direct(annotations, results, images=None) -> dict[str, float]:
    """pycocotools as its documentation calls it, on files."""
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
    if images is not None:
        evaluation.params.imgIds = images
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(SUMMARY, evaluation.stats.tolist(), strict=True))


def plain_similarity(person, record) -> float:
    """OKS over the labelled joints, one at a time."""
    terms = []
    for k, sigma in enumerate(Params("keypoints").kpt_oks_sigmas.tolist()):
        x, y, v = person["keypoints"][3 * k : 3 * k + 3]
        if v > 0:
            squared = (record["keypoints"][3 * k] - x) ** 2 + (record["keypoints"][3 * k + 1] - y) ** 2
            terms.append(math.exp(-squared / (2 * person["area"] * (2 * sigma) ** 2)))
    return sum(terms) / len(terms)


def plain_ap(annotations, results) -> tuple[float, float]:
    """AP and AR over all areas where everybody is labelled and nobody is a crowd."""
    precisions, recalls = [], []
    people = annotations["annotations"]
    ranked = sorted(results, key=lambda record: -record["score"])
    for threshold in [0.5 + 0.05 * step for step in range(10)]:
        taken, hits = set(), []
        for record in ranked:
            best, found = threshold, None
            for person in people:
                if person["image_id"] == record["image_id"] and person["id"] not in taken:
                    similarity = plain_similarity(person, record)
                    if similarity >= best:
                        best, found = similarity, person["id"]
            hits.append(found is not None)
            taken.add(found)
        curve = [(sum(hits[:n]) / len(people), sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
        at = [max((p for r, p in curve if r >= step / 100), default=0.0) for step in range(101)]
        precisions.append(sum(at) / 101)
        recalls.append(curve[-1][0])
    return sum(precisions) / 10, sum(recalls) / 10


def write(folder, annotations, results):
    paths = folder / "annotations.json", folder / "results.json"
    for path, content in zip(paths, (annotations, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


# Average precision


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_reference(seed):
    annotations = dataset(seed)
    results = jittered(annotations, seed, noise=0.08)
    ap, ar = plain_ap(annotations, results)
    assert 0.1 < ap < 0.9
    found = average_precision(annotations, results)
    assert (found["ap"], found["ar"]) == pytest.approx((ap, ar))


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_on_files(seed, tmp_path, capsys):
    annotations = dataset(seed)
    annotations["annotations"][1] |= {"iscrowd": 1}
    annotations["annotations"][4] |= {"keypoints": [0] * 51, "num_keypoints": 0}
    annotations["annotations"][5] |= {"area": 1500.0}
    results = jittered(annotations, seed, noise=0.06)
    paths = write(tmp_path, annotations, results)
    expected = direct(*paths)
    capsys.readouterr()
    assert coco_ap(*paths) == expected
    assert coco_ap(*map(str, paths)) == average_precision(annotations, results) == expected
    assert capsys.readouterr().out == ""
    assert average_precision(annotations, results, [11, 13]) == direct(*paths, images=[11, 13]) != expected


def test_leaves_its_arguments_alone():
    annotations = dataset(0)
    results = jittered(annotations, 0, 0.05)
    before = json.dumps([annotations, results])
    first = average_precision(annotations, results)
    assert json.dumps([annotations, results]) == before
    assert average_precision(annotations, results) == first


def test_ranges_of_area():
    annotations = dataset(0)  # all large
    for person in annotations["annotations"]:
        person["area"] = 96.0**2 + 1
    truth = [{**person, "score": 1.0} for person in annotations["annotations"]]
    results = [{name: record[name] for name in ("image_id", "category_id", "keypoints", "score")} for record in truth]
    found = average_precision(annotations, results)
    assert found == {name: -1.0 if name.endswith("_m") else 1.0 for name in SUMMARY}
    assert average_precision(annotations, []) == {name: -1.0 if name.endswith("_m") else 0.0 for name in SUMMARY}


@given(st.integers(0, 99), st.floats(0.8, 1.25), st.floats(-500, 500))
@settings(max_examples=10, deadline=None)
def test_is_invariant(seed, scale, shift):
    annotations = dataset(seed, images=2)
    results = jittered(annotations, seed, noise=0.06)
    expected = average_precision(annotations, results)

    def move(keypoints):
        points = np.reshape(keypoints, (17, 3)) * [scale, scale, 1] + [shift, shift, 0]
        return points.ravel().tolist()

    for person in annotations["annotations"]:
        x, y, w, h = person["bbox"]
        person |= {"keypoints": move(person["keypoints"]), "area": person["area"] * scale**2}
        person["bbox"] = [x * scale + shift, y * scale + shift, w * scale, h * scale]
    shuffled = [results[row] for row in np.random.default_rng(seed).permutation(len(results))]
    moved = [record | {"keypoints": move(record["keypoints"])} for record in shuffled]
    found = average_precision(annotations, moved)
    for name in ("ap", "ap50", "ap75", "ar", "ar50", "ar75"):  # ranges of area are in px
        assert found[name] == pytest.approx(expected[name])


def test_refuses():
    annotations = dataset(0)
    record = jittered(annotations, 0, 0.0)[0]
    for bad, message in (
        ({"image_id": 5}, "1 images that the annotations lack, first 5"),
        ({"keypoints": record["keypoints"][:48]}, "lacks keypoints"),
        (
            {"keypoints": [float("nan"), *record["keypoints"][1:]]},
            "image 10, has a keypoint or score that is not finite",
        ),
        ({"score": float("inf")}, "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            average_precision(annotations, [record | bad])
    detection = {"image_id": 10, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1.0}
    with pytest.raises(InputError, match="result 0 lacks keypoints"):
        average_precision(annotations, [detection])
    with pytest.raises(InputError, match="1 images that the annotations lack, first 99"):
        average_precision(annotations, [record], [10, 99])
    annotations["annotations"][0]["id"] = 0
    with pytest.raises(InputError, match="id below 1"):
        average_precision(annotations, [record])


# Similarity, rescoring, suppression


def test_similarity_literal():
    # One joint off by d with d^2 = 2 area (2 sigma)^2: its term is 1/e, the others are 1.
    np.testing.assert_allclose(SIGMAS, Params("keypoints").kpt_oks_sigmas)
    first, area = np.zeros((17, 2)), np.array(900.0)
    for joint in (0, 11):
        second = first.copy()
        second[joint, 1] = 2 * SIGMAS[joint] * math.sqrt(2 * 900)
        assert oks(first, second, area) == pytest.approx((16 + math.exp(-1)) / 17)
    assert oks(first, first, area) == 1


def test_rescoring_closed_form():
    scores = np.array([[0.2, 0.3, 0.5, 0.1], [0.2, 0.1, 0.0, 0.0], [0.9, 0.9, 0.9, 1.2]])
    # 0.2 itself does not count; nobody above it: 0.
    np.testing.assert_allclose(rescore(np.array([0.5, 1.0, 2.0]), scores), [0.5 * 0.4, 0, 2 * 3.9 / 4])


def naive_nms(keypoints, areas, scores, threshold):
    kept = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        for other in kept:
            total = 0.0
            for k in range(17):
                dx, dy = keypoints[row][k] - keypoints[other][k]
                variance = (2 * SIGMAS[k]) ** 2
                total += math.exp(-(dx**2 + dy**2) / variance / ((areas[row] + areas[other]) / 2) / 2)
            if total / 17 > threshold:
                break
        else:
            kept.append(row)
    return kept


@given(st.integers(0, 9999), st.integers(0, 12), st.sampled_from([0.5, 0.9]))
@settings(max_examples=60, deadline=None)
def test_suppression_equals_a_naive_loop(seed, count, threshold):
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, 300, (3, 17, 2))
    keypoints = centres[generator.integers(0, 3, count)]
    keypoints = keypoints + generator.normal(0, 1, keypoints.shape) * generator.uniform(0, 12, (count, 1, 1))
    areas, scores = generator.uniform(3e3, 3e4, count), generator.random(count)
    kept = oks_nms(keypoints, areas, scores, threshold)
    assert kept.tolist() == naive_nms(keypoints, areas, scores, threshold)


def test_suppression_is_greedy():
    # Three in a row, neighbours alike, the ends not: the best suppresses the middle one, which then spares the last.
    shift = 2 * SIGMAS[:, None] * math.sqrt(2 * 1e4 * 0.08) * np.array([1.0, 0.0])  # OKS exp(-0.08) = 0.92; twice: 0.73
    keypoints = np.stack([0 * shift, shift, 2 * shift])
    areas = np.full(3, 1e4)
    assert oks_nms(keypoints, areas, np.array([0.9, 0.8, 0.7])).tolist() == [0, 2]
    assert oks_nms(keypoints, areas, np.array([0.8, 0.9, 0.7])).tolist() == [1]


def test_results_are_per_image_rescored_and_sorted():
    keypoints = np.zeros((4, 17, 2), np.float32)
    predictions = {
        "ids": np.array([4, 3, 2, 1]),
        "image_ids": np.array([8, 7, 7, 8]),
        "keypoints": keypoints + np.array([0, 0, 0, 50], np.float32)[:, None, None],
        "scores": np.tile(np.array([0.5, 0.25, 0.75, 1], np.float32)[:, None], (1, 17)),
        "box_scores": np.array([1, 1, 0.5, 0.25], np.float32),
        "areas": np.full(4, 400, np.float32),
    }
    results = coco_results(predictions)
    # Image 7 holds twins: the better one stays. Image 8 holds two people apart.
    assert [(record["image_id"], record["score"]) for record in results] == [(7, 0.375), (8, 0.5), (8, 0.25)]
    assert results[2] == {"image_id": 8, "category_id": 1, "keypoints": [50, 50, 1.0] * 17, "score": 0.25}
    json.dumps(results)


# Real annotations


@pytest.fixture(scope="module")
def real(shared_data):
    """Path and content of the annotations of 538 images of val2017."""
    path = shared_data / "samples/coco/annotations/person_keypoints_val2017.json"
    annotations = json.loads(path.read_text())
    annotations["info"] = {"dataset": "coco"}
    return path, annotations


def real_predictions(annotations, noise: float) -> dict:
    """The labelled people as a perfect network predicts them, hidden joints somewhere in their boxes, and noise."""
    generator = np.random.default_rng(0)
    people = [person for person in annotations["annotations"] if person["num_keypoints"] > 0]
    labels = np.array([person["keypoints"] for person in people], float).reshape(-1, 17, 3)
    corner, side = np.split(np.array([person["bbox"] for person in people])[:, None], 2, axis=-1)
    points = np.where(labels[..., 2:] > 0, labels[..., :2], corner + side * generator.random((len(people), 17, 2)))
    return {
        "ids": np.array([person["id"] for person in people]),
        "image_ids": np.array([person["image_id"] for person in people]),
        "keypoints": (points + generator.normal(0, noise, points.shape) * side).astype(np.float32),
        "scores": generator.uniform(0.1, 1, (len(people), 17)).astype(np.float32),
        "box_scores": np.ones(len(people), np.float32),
        "areas": 1.5625 * side.prod(axis=-1)[:, 0],
        "images": np.array([image["id"] for image in annotations["images"]]),
    }


def test_real_truth_is_ap_1(real, tmp_path):
    path, annotations = real
    results = [
        {"image_id": person["image_id"], "category_id": 1, "keypoints": person["keypoints"], "score": 1.0}
        for person in annotations["annotations"]
        if person["num_keypoints"] > 0
    ]
    _, results_path = write(tmp_path, {}, results)
    found = coco_ap(path, results_path)
    # The result of a medium person may match a large one with few labels, whose own result then counts as wrong.
    assert {name: value for name, value in found.items() if name != "ap_l"} == {n: 1.0 for n in SUMMARY if n != "ap_l"}
    assert 0.999 < found["ap_l"] <= 1
    # Two people are labelled alike and would be thinned out to one; with area 0 only the identical are.
    predictions = real_predictions(annotations, noise=0)
    assert len(coco_results(predictions)) == len(results) - 1
    predictions["areas"][:] = 0
    assert score(annotations, predictions)["ap"] == 100


def test_real_jitter_equals_pycocotools(real, tmp_path):
    path, annotations = real
    predictions = real_predictions(annotations, noise=0.03)
    _, results_path = write(tmp_path, {}, coco_results(predictions))
    expected = direct(path, results_path)
    assert 0.3 < expected["ap"] < 0.95
    assert coco_ap(path, results_path) == expected
    assert score(annotations, predictions) == {name: 100 * value for name, value in expected.items()}


def test_real_detections_at_their_centres(real, shared_data):
    _, annotations = real
    folder = shared_data / "samples/coco/person_detection_results"
    detections = json.loads(next(folder.glob("*.json")).read_text())
    box = np.array([detection["bbox"] for detection in detections])
    predictions = {
        "ids": np.arange(len(box)) + 1,
        "image_ids": np.array([detection["image_id"] for detection in detections]),
        "keypoints": np.repeat((box[:, :2] + (box[:, 2:] - 1) / 2)[:, None], 17, axis=1),
        "scores": np.ones((len(box), 17)),
        "box_scores": np.array([detection["score"] for detection in detections]),
        "areas": 1.5625 * box[:, 2:].prod(axis=1),
    }
    results = coco_results(predictions)
    assert 538 <= len(results) < len(box)
    found = average_precision(annotations, results, [image["id"] for image in annotations["images"][::5]])
    assert 0 <= found["ap"] < 0.01
