"""Networks against the labels, person by person: literal errors, whose view it is, and what stops a training."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.errors import InputError
from lib.metrics.scores import score
from lib.papers import Benchmark
from lib.reporting import Result, Study, provenance
from lib.tasks.heatmap import Supervised
from lib.tasks.pose import PoseRegression
from lib.tasks.simcc import SimccSupervised
from lib.training.agreement import errors, look_at_teacher
from tests import toy
from tests.markdown import find


class Drawn(nn.Module):
    """A network that answers with what a function makes of its images."""

    def __init__(self, function):
        super().__init__()
        self.function, self.anything = function, nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor):
        return self.function(images)


def batch(points: Tensor, visible: Tensor, **images: Tensor) -> Batch:
    return Batch(images, points, visible, np.arange(len(points)))


class Few:
    """Batches that are already there."""

    def __init__(self, sizes: dict, *batches: Batch):
        self.sizes, self.batches = sizes, batches

    def epoch(self, number: int):
        return iter(self.batches)


CODEC = HeatmapCodec((16, 16), sigma=1.0, scaling="peak")
POINTS = torch.tensor([[[5.5, 5.5], [9.5, 9.5]]] * 3)
VISIBLE = torch.tensor([[True, True], [True, False], [False, False]])


def test_errors_of_maps_are_means_over_the_labelled_joints_of_the_last_stack():
    def twice(images: Tensor) -> list[Tensor]:
        maps = CODEC.encode(POINTS)
        maps[:, 0, 0, 0] += 2  # the first joint is wrong by 4
        return [7 + maps, maps]

    task = Supervised(Drawn(twice), CODEC, ())
    found, zeros = errors(task, [batch(POINTS, VISIBLE, student=torch.zeros(3, 3, 16, 16))])
    assert found.tolist() == pytest.approx([2, 4], rel=1e-5)  # the third person has no label
    drawn = CODEC.encode(POINTS)[0].square().sum((1, 2))
    assert zeros.tolist() == pytest.approx([drawn.mean().item(), drawn[0].item()])


def test_errors_of_classes_are_divergences_and_an_empty_output_finds_all_alike():
    codec = SimccCodec((8, 8), split=1.0)
    task = SimccSupervised(Drawn(lambda images: (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8))), codec, ())
    points = torch.tensor([[[3.0, 4.0], [30.0, 4.0]]])  # the second joint is in no class
    found, zeros = errors(task, [batch(points, torch.ones(1, 2, dtype=torch.bool), student=torch.zeros(1, 3, 8, 8))])
    assert found.tolist() == zeros.tolist() == pytest.approx([2 * np.log(8)])


def test_errors_of_poses_are_squared_distances():
    task = PoseRegression(Drawn(lambda images: torch.zeros(1, 2, 3)))
    pose = torch.tensor([[[1.0, 2.0, 2.0], [0.0, 0.0, 1.0]]])
    found, zeros = errors(task, [batch(pose, torch.ones(1, 2, dtype=torch.bool), student=torch.zeros(1, 3, 8, 8))])
    assert found.tolist() == zeros.tolist() == [5.0]


def people(heights: list[float], side: int = 16) -> tuple[Supervised, Few]:
    """A teacher whose maps are the labels' times a height, one for each person; it sees 32 px, the student half."""
    codec = HeatmapCodec((32, 32), sigma=1.0, scaling="peak")
    large = torch.tensor([[[11.5, 19.5]]] * len(heights))  # of the teacher's view; of the student's (5.5, 9.5)
    teacher = Drawn(lambda images: [images[:, :1, :1, :1] * codec.encode(large)])
    views = {"teacher": torch.tensor(heights)[:, None, None, None].expand(-1, 3, 32, 32)}
    views["student"] = torch.zeros(len(heights), 3, 16, 16)
    data = batch((large + 0.5) / 2 - 0.5, torch.ones(len(heights), 1, dtype=torch.bool), **views)
    return Supervised(teacher, codec, ()), Few({"student": (16, 16), "teacher": (32, 32)}, data)


def test_a_teacher_is_compared_in_its_own_view():
    # Heights 1.5, 0.5 and 3 are off by a quarter, a quarter and four times what an empty map is off by.
    task, batches = people([1.5, 0.5, 0.5, 3.0])
    unit = errors(task, iter(batches.batches))[1]
    found = look_at_teacher(*people([1.5, 0.5, 0.5, 1.75]), "cdkd/teacher")
    size = float(
        HeatmapCodec((32, 32), sigma=1.0, scaling="peak").encode(torch.tensor([[[11.5, 19.5]]])).square().sum()
    )
    expected = {"median": size / 4, "mean": size * (3 * 0.25 + 0.5625) / 4, "worst": 0.5625 * size, "empty": size}
    assert found == pytest.approx({**expected, "above_empty": 0.0}, abs=1e-3) and len(unit) == 4


def test_a_teacher_that_explodes_on_a_few_stops_the_training_with_one_line():
    with pytest.raises(InputError, match="the teacher fpd/t has errors of ") as error:
        look_at_teacher(*people([1.5, 0.5, 0.5, 40.0]), "fpd/t")
    assert "\n" not in str(error.value)
    found = look_at_teacher(*people([1.5, 0.5, 0.5, 2.5]), "fpd/t")  # far off for one of four, but of the labels' size
    assert found["above_empty"] == 0.25


def test_a_teacher_that_has_learned_nothing_may_teach():
    found = look_at_teacher(*people([9.0, 9.0, 9.0, 40.0]), "fpd/t")
    assert found["mean"] > 3 * found["median"] > 3 * found["empty"] and found["above_empty"] == 1


def test_scores_say_on_how_many_persons_a_network_explodes():
    truth = np.random.default_rng(0).uniform(0, 99, (4, len(toy.JOINTS), 2))
    labels = np.dstack((truth, np.full(truth.shape[:2], 2)))
    people = [
        {"id": number, "image_id": number, "num_keypoints": len(toy.JOINTS), "keypoints": person.ravel().tolist()}
        for number, person in enumerate(labels)
    ]
    category = {"keypoints": list(toy.JOINTS)}
    annotations = {"info": {"dataset": "lsp"}, "images": [], "annotations": people, "categories": [category]}
    predictions = {"ids": np.arange(4), "keypoints": truth}
    assert "exploding" not in score(annotations, predictions)
    strays = {"errors": np.array([1.0, 2.9, 3.1, 1000]), "empty_errors": np.ones(4)}
    found = score(annotations, predictions | strays)
    assert found.pop("exploding") == 50 and found == score(annotations, predictions)


def test_a_report_says_how_good_a_teacher_was():
    def taught(*medians: float) -> Result:
        seen = {"mean": 2.5, "worst": 40.0, "empty": 3.0, "above_empty": 0.125}
        record = {f"seed{seed}": {"teacher": seen | {"median": median}} for seed, median in enumerate(medians)}
        return Result({"teacher": "fpd/t"}, record, {}, {})

    alone = Result({"teacher": None}, {"seed0": {}}, {}, {})
    hands = Benchmark("STB", "", "evaluation hands", {}, {}, {})
    text = provenance.teachers([Study("stb", hands, {}, {"a": alone, "b": taught(1.0, 3.0), "c": taught(9.0)})])
    assert "labels of training hands" in text
    assert find(text, "`fpd/t`") == ["`fpd/t`", "2", "2.5", "40", "3", "12.5 %"]
    assert provenance.teachers([Study("stb", hands, {}, {"a": alone})]) == ""
