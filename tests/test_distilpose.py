"""DistilPose: its published sizes, what each loss compares and teaches, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.codecs.heatmap import HeatmapCodec
from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models.distilpose import DistilPose
from lib.models.tokenpose import TokenPose
from lib.tasks.distilpose import TokenDistillation, at, simulated
from lib.tasks.heatmap import Supervised
from tests import by_heart

SMALL = {"input_size": (32, 32), "patch": (2, 2), "width": 4, "blocks": 1, "modules": (1, 1, 1), "stem": 8}
SMALL |= {"channels": 16, "depth": 2}


def student(seed: int = 0, **changes) -> DistilPose:
    torch.manual_seed(seed)
    return DistilPose(14, **SMALL | changes)


def teacher(seed: int = 1, kind: str = "base", **changes) -> TokenPose:
    torch.manual_seed(seed)
    return TokenPose(14, **SMALL | {"kind": kind} | changes)


def task_of(pupil: nn.Module, master: nn.Module) -> TokenDistillation:
    return TokenDistillation(pupil, CoordinatesCodec((32, 32)), by_heart.FLIP_PAIRS, master)


@pytest.mark.parametrize(
    "side, patch, params_m, g, printed",
    [(32, 2, 33.009, 0.3106, (33.0, 0.310)), (64, 4, 33.083, 0.7895, (33.1, 0.790))],  # CDKD Table II
)
def test_published_sizes(side, patch, params_m, g, printed):
    with torch.device("meta"):
        model = DistilPose(17, (side, side), 12, 32, (patch, patch))
    counts = count(model, (side, side))
    # Of attention itself: 17 joints and 16 patches, all products with keys and with values, in 12 layers.
    attention = 12 * 2 * (17 + 16) ** 2 * 192
    found = counts["params"] / 1e6, (counts["macs"] + attention) / 1e9
    assert found == (pytest.approx(params_m, abs=5e-4), pytest.approx(g, abs=5e-5))
    assert round(found[0], 1) == printed[0] and found[1] == pytest.approx(printed[1], rel=2.5e-3)


def test_outputs_are_places_in_the_view_positive_deviations_and_scores():
    model = student().eval()
    with torch.no_grad():
        model.head[1].weight.mul_(100)
        fractions, deviations, scores = model(torch.randn(3, 3, 32, 32))
    assert fractions.shape == deviations.shape == (3, 14, 2) and scores.shape == (3, 14)
    assert fractions.min() > 0 and fractions.max() < 1 and deviations.min() > 0 and scores.min() < 0 < scores.max()


def test_a_simulated_heatmap_is_the_codecs_where_the_deviation_is_its():
    codec, keypoints = HeatmapCodec((32, 64), sigma=1.5, scaling="peak"), torch.tensor([[[10.0, 21.0], [50.5, 3.0]]])
    fractions = CoordinatesCodec((32, 64)).encode(keypoints)
    drawn = simulated(fractions, torch.full((1, 2, 2), 1.5), (8, 16))
    torch.testing.assert_close(drawn, codec.encode(keypoints), atol=1e-5, rtol=1e-4)
    wide = simulated(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[4.0, 1.0]]]), (5, 5))[0, 0]
    assert wide[2, 2] == 1 and wide[2, 4].item() == pytest.approx(math.exp(-0.5 * (2 / 4) ** 2), rel=1e-5)
    assert wide[4, 2].item() == pytest.approx(math.exp(-0.5 * 2**2), rel=1e-4)


def test_values_of_the_pixels_that_hold_places():
    maps = torch.arange(12.0).view(1, 1, 3, 4).expand(1, 3, 3, 4)
    assert at(maps, torch.tensor([[[0.1, 0.1], [0.99, 0.5], [1.0, 1.0]]])).tolist() == [[0, 7, 11]]


def test_a_student_that_shows_what_its_teacher_shows_has_labels_alone_to_learn():
    pupil, master = student().eval(), teacher().eval()
    pupil.load_state_dict({k: v for k, v in master.state_dict().items() if not k.startswith("head.")}, strict=False)
    batch = by_heart.people(32)
    losses = task_of(pupil, master).eval()(batch)
    assert losses["tokens"] == 0 and losses["regression"] > 0


def test_losses_are_weighted_differences():
    task, batch = task_of(student(), teacher()).eval(), by_heart.people(32)
    batch = replace(batch, visible=torch.rand(12, 14, generator=torch.Generator().manual_seed(0)) < 0.6)
    losses = task(batch)
    with torch.no_grad():
        (ours,), (theirs,) = (net.tokens(batch.images["student"]) for net in (task.student, task.teacher))
        (maps,), (places, spreads, scores) = (net(batch.images["student"]) for net in (task.teacher, task.student))
        tokens = sum(((own - other) ** 2).mean() for own, other in zip(ours, theirs, strict=True))
        drawn = score = 0.0
        for person, joint in batch.visible.nonzero().tolist():
            x, y = places[person, joint].tolist()
            score += abs(scores[person, joint] - maps[person, joint, int(8 * y), int(8 * x)]) / (12 * 14)
            across, down = spreads[person, joint].tolist()
            for row in range(8):
                for column in range(8):
                    exponent = ((column - 8 * x + 0.5) / across) ** 2 + ((row - 8 * y + 0.5) / down) ** 2
                    error = math.exp(-exponent / 2) - maps[person, joint, row, column]
                    drawn += error**2 / (12 * 14 * 64)
    torch.testing.assert_close(losses["tokens"], 0.0005 * tokens)
    torch.testing.assert_close(losses["heatmap"], drawn)
    torch.testing.assert_close(losses["score"], 0.01 * score)


def test_each_loss_teaches_what_it_should():
    task, batch = task_of(student(), teacher()).eval(), by_heart.people(32)
    everything, head = by_heart.names(task, ""), by_heart.names(task, "student.head.")
    assert len(head) == 4
    assert by_heart.taught(task, batch, "tokens") == everything - head
    for name, rows in (("regression", {0, 1}), ("heatmap", {0, 1, 3, 4}), ("score", {2})):
        assert by_heart.taught(task, batch, name) == everything
        bias = task.student.head[1].bias
        assert {row for row in range(5) if bias.grad[row] != 0} == rows, name
    assert all(parameter.grad is None for parameter in task.teacher.parameters())
    assert not any("teacher" in name for name in everything)


@pytest.mark.parametrize("other", [{"patch": (4, 4)}, {"channels": 32}, {"kind": "large", "depth": 3}])
def test_other_teachers_are_refused(other):
    with pytest.raises(InputError, match="the teacher of a distilpose is a tokenpose of kind base"):
        task_of(student(), teacher(**other))


def test_a_dozen_people_are_learned_by_heart_from_a_teacher_that_knows_them():
    batch, sizes = by_heart.people(32), {"width": 8, "stem": 16, "channels": 64}
    master = teacher(**sizes)
    lesson = Supervised(master, HeatmapCodec((32, 32), sigma=1.0, scaling="peak"), by_heart.FLIP_PAIRS)
    by_heart.train(lesson, batch, steps=120, lr=1e-2)
    task = task_of(student(**sizes), master)
    assert by_heart.score(task, batch) < 20
    history = by_heart.train(task, batch, steps=120, lr=1e-2)
    assert by_heart.score(task, batch) > 90
    assert all(history[-1][name] < history[0][name] for name in ("regression", "heatmap", "score"))
