"""The rule of each benchmark, chosen by the annotations: people matched by id, percentages, and clear refusals."""

import numpy as np
import pytest

from lib.errors import InputError
from lib.metrics.oks import average_precision, coco_results
from lib.metrics.pck import lsp_pck, pckh
from lib.metrics.scores import HEADLINE, SECOND, curve, evaluated, score

COUNT = 10
JOINTS = {"lsp": 14, "mpii": 16, "coco": 17}
COLUMNS = {"head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean", "auc"}
SIZES = np.linspace(20, 60, COUNT)


def benchmark(dataset: str, seed: int = 0):
    """Annotations with ids 100 to 109 in images 1 to 5, predictions of all, and the arrays behind them."""
    generator = np.random.default_rng(seed)
    joints = JOINTS[dataset]
    truth = generator.uniform(0, 200, (COUNT, joints, 2)).round(1)
    visible = generator.random((COUNT, joints)) < 0.8
    visible[:, [2, 9]] = True  # LSP's torso
    pred = truth + generator.normal(0, 8, truth.shape)
    keypoints = np.concatenate([truth, visible[..., None] * 2], axis=-1)
    ids, images = np.arange(COUNT) + 100, np.arange(COUNT) // 2 + 1
    area = {"area": 9000.0, "iscrowd": 0, "category_id": 1, "bbox": [0, 0, 200, 200]}
    people = [
        {"id": int(ids[n]), "image_id": int(images[n]), "keypoints": keypoints[n].reshape(-1).tolist()}
        | {"num_keypoints": int(visible[n].sum()), "head_size": SIZES[n]}
        | area
        for n in range(COUNT)
    ]
    annotations = {
        "info": {"dataset": dataset, "source": "synthetic", "note": ""},
        "images": [{"id": number} for number in range(1, 6)],
        "categories": [{"id": 1, "keypoints": [f"joint{k}" for k in range(joints)]}],
        "annotations": people,
    }
    predictions = {
        "ids": ids,
        "image_ids": images,
        "keypoints": pred,
        "scores": generator.uniform(0.1, 1, (COUNT, joints)),
        "box_scores": generator.uniform(0.5, 1, COUNT),
        "areas": np.full(COUNT, 5e4),
        "images": np.arange(1, 6),
    }
    return annotations, predictions, (pred, truth, visible)


def rows(predictions: dict, chosen: np.ndarray) -> dict:
    """The predictions of some people only."""
    return {name: array if name == "images" else array[chosen] for name, array in predictions.items()}


CHOSEN = np.array([7, 2, 5, 9, 1, 0])


def test_lsp_by_id_and_of_the_predicted_persons_only():
    annotations, predictions, arrays = benchmark("lsp")
    some = {name: predictions[name][CHOSEN] for name in ("ids", "keypoints")}  # all that PCK needs
    result = score(annotations, some)
    assert result == pytest.approx(lsp_pck(*(array[CHOSEN] for array in arrays)))
    thresholds, values = curve(annotations, some)
    assert (thresholds[0], thresholds[-1]) == (0, 0.2)
    assert values[-1] == pytest.approx(result[HEADLINE["lsp"]])


def test_mpii_by_id_and_of_the_predicted_persons_only():
    annotations, predictions, arrays = benchmark("mpii")
    some = {name: predictions[name][CHOSEN] for name in ("ids", "keypoints")}
    persons = *(array[CHOSEN] for array in arrays), SIZES[CHOSEN]
    result = score(annotations, some)
    expected = pckh(*persons)
    expected["mean_01"] = pckh(*persons, threshold=0.1)["mean"]
    expected["mean_averaged"] = pckh(*persons, pooled=False)["mean"]
    assert result == pytest.approx(expected)
    assert 0 < result["mean_01"] < result["mean"] != result["mean_averaged"]
    thresholds, values = curve(annotations, some)
    assert (thresholds[0], thresholds[-1]) == (0, 0.5)
    assert values[10] == pytest.approx(result["mean_01"])
    assert values[-1] == pytest.approx(result[HEADLINE["mpii"]])


def test_coco_by_image_whatever_the_ids_and_on_the_evaluated_images_only():
    annotations, predictions, _ = benchmark("coco")
    detections = predictions | {"ids": np.arange(COUNT) + 1, "images": np.array([1, 4])}
    result = score(annotations, detections)
    expected = average_precision(annotations, coco_results(detections), [1, 4])
    assert 0 < expected["ap"] < 1
    assert result == {name: 100 * value for name, value in expected.items() if not name.endswith("_l")}  # none is large
    outside = np.isin(detections["image_ids"], [1, 4])
    assert score(annotations, rows(detections, outside)) == result
    assert score(annotations, detections | {"images": np.array([2, 4])}) != result


@pytest.mark.parametrize("dataset", JOINTS)
def test_order_of_the_predictions_does_not_matter(dataset):
    annotations, predictions, _ = benchmark(dataset)
    order = np.random.default_rng(1).permutation(COUNT)
    predictions["scores"][:] = 0.5
    predictions["box_scores"][:] = 1  # equal scores throughout
    assert score(annotations, rows(predictions, order)) == score(annotations, predictions)
    if dataset == "coco":
        assert coco_results(rows(predictions, order)) == coco_results(predictions)


@pytest.mark.parametrize("dataset", JOINTS)
def test_truth_scores_100(dataset):
    annotations, predictions, (_, truth, _) = benchmark(dataset)
    result = score(annotations, predictions | {"keypoints": truth})
    assert {HEADLINE[dataset], SECOND[dataset]} <= result.keys()
    assert all(value == pytest.approx(100, abs=1e-12) for value in result.values())


def test_evaluated_persons_are_the_labelled_ones_of_the_images():
    annotations, _, _ = benchmark("coco")
    assert [person["id"] for person in evaluated(annotations, np.array([4, 1]))] == [100, 101, 106, 107]
    annotations["annotations"][1]["num_keypoints"] = 0
    assert [person["id"] for person in evaluated(annotations, np.array([4, 1]))] == [100, 106, 107]


def test_what_nobody_has_is_left_out():
    annotations, predictions, _ = benchmark("mpii")
    for person in annotations["annotations"]:
        for wrist in (10, 15):
            person["keypoints"][3 * wrist + 2] = 0
    assert score(annotations, predictions).keys() == (COLUMNS | {"mean_01", "mean_averaged"}) - {"wrist"}


def test_nobody_predicted_is_zero_ap():
    annotations, predictions, _ = benchmark("coco")
    result = score(annotations, rows(predictions, np.array([], int)))
    assert set(result.values()) == {0.0}


def without_labels(annotations):
    for person in annotations["annotations"]:
        person["keypoints"] = [0] * len(person["keypoints"])
        person["num_keypoints"] = 0


@pytest.mark.parametrize(
    ("dataset", "changes", "message"),
    [
        ("lsp", {"ids": np.arange(COUNT) + 95}, "5 annotation ids that the annotations lack, first 95"),
        ("mpii", {"ids": np.arange(COUNT) // 2 + 100}, "5 annotation ids twice"),
        ("coco", {"ids": np.arange(COUNT) // 2 + 100}, "5 annotation ids twice"),
        ("lsp", {"keypoints": np.zeros((COUNT, 16, 2))}, r"keypoints have shape \(10, 16, 2\), expected \(10, 14, 2\)"),
        ("mpii", {"keypoints": np.zeros((COUNT, 16, 3))}, "keypoints have shape"),
        ("coco", {"keypoints": np.zeros((COUNT, 16, 2))}, r"expected \(10, 17, 2\)"),
        ("coco", {"areas": np.zeros(3)}, "areas have shape"),
        ("coco", {"scores": None}, "predictions lack scores"),
        ("coco", {"images": None}, "predictions lack images"),
        ("coco", {"images": np.array([1, 88])}, "1 images that the annotations lack, first 88"),
        ("coco", {"image_ids": np.full(COUNT, 77)}, "1 images that the annotations lack, first 77"),
        ("coco", {"keypoints": np.full((COUNT, 17, 2), np.nan)}, "not finite"),
    ],
)
def test_refused_predictions(dataset, changes, message):
    annotations, predictions, _ = benchmark(dataset)
    predictions = {name: array for name, array in (predictions | changes).items() if array is not None}
    with pytest.raises(InputError, match=message):
        score(annotations, predictions)


@pytest.mark.parametrize("dataset", ["mpii", "coco"])
def test_nothing_to_score_is_refused(dataset):
    annotations, predictions, _ = benchmark(dataset)
    without_labels(annotations)
    with pytest.raises(InputError, match=f"no person with labelled joints .* {dataset}"):
        score(annotations, predictions)


@pytest.mark.parametrize("size", [None, 0, float("nan")])
def test_mpii_needs_head_sizes(size):
    annotations, predictions, _ = benchmark("mpii")
    annotations["annotations"][3]["head_size"] = size
    if size is None:
        del annotations["annotations"][3]["head_size"]
    for rule in (score, curve):
        with pytest.raises(InputError, match="no head_size for 1 of 10 predicted persons, first id 103"):
            rule(annotations, predictions)
    score(annotations, rows(predictions, np.array([0, 1, 2])))  # the others have theirs


def test_benchmarks_without_a_rule():
    annotations, predictions, _ = benchmark("lsp")
    annotations["info"]["dataset"] = "flic"
    for rule in (score, curve):
        with pytest.raises(InputError, match=r"no metric for dataset 'flic'.* known: lsp, mpii, coco, rhd, stb, freih"):
            rule(annotations, predictions)
    annotations, predictions, _ = benchmark("coco")
    with pytest.raises(InputError, match="no PCK curve for dataset 'coco'"):
        curve(annotations, predictions)
