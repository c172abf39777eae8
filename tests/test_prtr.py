"""PRTR: size, layers, which query is which joint, the losses, and that it learns."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.queries import QueriesCodec, assign
from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models.prtr import PRTR
from lib.tasks.queries import QueriesSupervised
from tests import by_heart

SMALL = {
    "width": 4,
    "blocks": 1,
    "modules": (1, 1, 1),
    "stem": 8,
    "queries": 20,
    "depth": 2,
    "channels": 16,
    "hidden": 32,
}
CODEC = QueriesCodec((32, 64))


def network(seed: int = 0, **sizes) -> PRTR:
    torch.manual_seed(seed)
    return PRTR(14, **SMALL | sizes)


def task_of(student: nn.Module, side: int = 32) -> QueriesSupervised:
    return QueriesSupervised(student, QueriesCodec((side, side)), by_heart.FLIP_PAIRS)


def elementwise(model: nn.Module, side: int) -> int:
    """Operations of normalisations, two a number, and of ReLU, one a number, on one image."""
    total, weights = [], {nn.BatchNorm2d: 2, nn.LayerNorm: 2, nn.ReLU: 1}
    for layer in model.modules():
        if type(layer) in weights:
            weight = weights[type(layer)]
            layer.register_forward_hook(lambda layer, inputs, output, w=weight: total.append(w * output.numel()))
    with torch.no_grad():
        model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return sum(total)


@pytest.mark.parametrize(
    "side, g, printed",
    [
        (64, 1.4748, 1.476),  # CDKD Table I
        (32, 0.9054, None),  # it prints 1.476 here, too, for a network that sees a quarter of the pixels
    ],
)
def test_published_sizes(side, g, printed):
    with torch.device("meta"):
        model = PRTR(16, 32)
    counts = count(model, (side, side))
    assert counts["params"] / 1e6 == pytest.approx(57.234, abs=5e-4) and model.published == "HRNet-W32"
    # A counter of layers: with biases, normalisations and activations, without attention's own products.
    found = (counts["macs"] + counts["bias_adds"] + elementwise(model, side)) / 1e9
    assert found == pytest.approx(g, rel=2e-3)
    assert printed is None or found == pytest.approx(printed, rel=2e-3)


def test_layers_are_detrs():
    """Against torch's own layers, which add no positions: they are added here, to queries and keys."""
    model = network().eval()
    layer = model.encoder[0]
    other = nn.TransformerEncoderLayer(16, 8, 32, 0.0, "relu", batch_first=True).eval()
    tokens = torch.randn(3, 5, 16)
    names = {"self_attn.": "attend.attend.", "norm1.": "attend.norm.", "norm2.": "feed.norm."}
    names |= {"linear1.": "feed.layers.0.", "linear2.": "feed.layers.2."}
    weights = layer.state_dict()
    other.load_state_dict(
        {
            name: weights[next(ours + name[len(t) :] for t, ours in names.items() if name.startswith(t))]
            for name in other.state_dict()
        }
    )
    with torch.no_grad():
        torch.testing.assert_close(layer["feed"](layer["attend"](tokens, tokens, tokens, tokens)), other(tokens))


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_outputs_after_every_decoder_layer(size):
    model = network().eval()
    with torch.no_grad():
        logits, fractions = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 2, 20, 15) and fractions.shape == (2, 2, 20, 2)
    assert fractions.min() > 0 and fractions.max() < 1
    assert not torch.equal(logits[0], logits[1])


def test_at_32_px_all_queries_answer_the_same():
    """Queries choose among pixels and other queries, and add nothing themselves: with one pixel there is no choice."""
    model = network().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        same, others = (model(torch.randn(2, 3, side, side))[1] for side in (32, 64))
    assert (same - same[:, :, :1]).abs().max() < 1e-5 < (others - others[:, :, :1]).abs().max()


def test_where_a_feature_is_matters():
    model = network().eval()
    seen = []
    model.reduce.register_forward_hook(
        lambda layer, inputs, output: seen.append(output) or (seen[0] if swap is None else swap)
    )
    images, swap = torch.randn(1, 3, 64, 64), None
    with torch.no_grad():
        before = model(images)[1]
        swap = seen[0].flip(3)
        assert (model(images)[1] - before).abs().max() > 1e-6


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"queries": 13}, "13 queries for 14 joints, expected as many or more"),
        ({"channels": 12}, "channels is 12, expected a multiple of 8"),
        ({"depth": 0}, "model prtr: depth is 0"),
        ({"width": 0}, "model prtr: width is 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        network(**changes)


# Which query is which joint


def test_an_assignment_is_the_cheapest_of_all():
    torch.manual_seed(0)
    cost = torch.randn(3, 5, 4)
    for one, found in zip(cost, assign(cost), strict=True):
        best = min(permutations(range(5), 4), key=lambda rows, one=one: sum(one[r, j] for j, r in enumerate(rows)))
        assert tuple(found.tolist()) == best


def answer(keypoints: Tensor, queries: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and fractions of queries, of which some, in any order, are sure of a joint and the others of none."""
    generator = torch.Generator().manual_seed(seed)
    people, joints = keypoints.shape[:2]
    logits = torch.zeros(people, queries, joints + 1)
    logits[:, :, joints] = 10
    fractions = torch.rand(people, queries, 2, generator=generator)
    for person in range(people):
        for joint, query in enumerate(torch.randperm(queries, generator=generator)[:joints].tolist()):
            logits[person, query, joint], logits[person, query, joints] = 10, 0
            fractions[person, query] = CODEC.encode(keypoints[person, joint])
    return logits, fractions


def test_encode_and_decode_invert_in_any_order_of_the_queries():
    keypoints = torch.rand(4, 6, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([64, 32])
    fractions, scores = CODEC.read(*answer(keypoints, 9))
    torch.testing.assert_close(CODEC.decode(fractions), keypoints)
    assert scores.min() > 0.99


def test_no_two_joints_read_the_same_query():
    logits = torch.zeros(1, 3, 3)
    logits[0, 1] = torch.tensor([4.0, 3.9, 9.0])  # the surest of both joints, though "none" is likelier still
    logits[0, 2] = torch.tensor([-1.0, 1.0, 0.0])
    fractions = torch.tensor([[[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]]])
    found, scores = CODEC.read(logits, fractions)
    torch.testing.assert_close(found, fractions[:, [1, 2]])
    torch.testing.assert_close(
        scores, torch.tensor([[1 / (1 + torch.tensor(-0.1).exp()), 1 / (1 + torch.tensor(-2.0).exp())]])
    )


def test_matching_weighs_nearness_five_times():
    probabilities = torch.tensor([[[0.9], [0.5]]])
    fractions, truth = torch.tensor([[[0.3, 0.25], [0.2, 0.2]]]), torch.tensor([[[0.2, 0.2]]])
    near = torch.tensor([[True]])
    assert CODEC.match(probabilities, fractions, truth, near).item() == 1  # 5 * 0.15 - 0.9 > -0.5
    assert CODEC.match(probabilities, fractions, truth, ~near).item() == 0
    assert CODEC.match(probabilities, fractions.lerp(truth.expand(1, 2, 2), 0.6), truth, near).item() == 0


# The losses


def test_losses_of_two_joints_and_three_queries():
    batch = by_heart.people(32, count=1)
    task = task_of(nn.Identity())
    truth = torch.tensor([[[0.25, 0.5], [0.5, 0.75]]])
    batch = replace(batch, keypoints=task.codec.decode(truth), visible=torch.tensor([[True, True]]))
    logits = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 2.0, 1.0]]])
    fractions = torch.tensor([[[0.9, 0.9], [0.25, 0.6], [0.4, 0.75]]])
    losses = task.losses((logits[None], fractions[None]), batch)
    each = F.cross_entropy(logits[0], torch.tensor([2, 0, 1]), reduction="none")
    torch.testing.assert_close(losses["class"], (0.1 * each[0] + each[1] + each[2]) / 2.1)
    assert losses["place"].item() == pytest.approx(5 * (0.1 / 2 + 0.1 / 2))
    twice = task.losses((logits.expand(2, 1, 3, 3), fractions.expand(2, 1, 3, 2)), batch)
    torch.testing.assert_close(twice, {name: 2 * loss for name, loss in losses.items()})
    hidden = task.losses((logits[None], fractions[None]), replace(batch, visible=torch.tensor([[True, False]])))
    assert hidden["place"].item() == pytest.approx(5 * 0.1 / 2)


def test_labels_that_are_missing_or_outside_change_nothing():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    hidden = torch.rand(12, 14) < 0.4
    whole = task(replace(batch, visible=~hidden))
    for place in (7.0, 400.0):
        moved = replace(batch, keypoints=torch.where(hidden[..., None], place, batch.keypoints), visible=~hidden)
        torch.testing.assert_close(task(moved), whole, atol=0, rtol=0)
    outside = replace(batch, keypoints=torch.where(hidden[..., None], 400.0, batch.keypoints))
    torch.testing.assert_close(task(outside), whole, atol=0, rtol=0)


def test_losses_of_a_batch_are_the_means_over_its_parts():
    task, batch = task_of(network()).eval(), by_heart.people(32)
    parts = [
        task(replace(batch, images={"student": batch.images["student"][h]}, keypoints=batch.keypoints[h], visible=v))
        for h, v in ((slice(0, 6), batch.visible[:6]), (slice(6, 12), batch.visible[6:]))
    ]
    torch.testing.assert_close(task(batch), {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]})


def test_each_loss_teaches_all_but_the_others_layers():
    task, batch = task_of(network()).eval(), by_heart.people(64)
    everything = by_heart.names(task, "")
    places, classes = by_heart.names(task, "student.place."), by_heart.names(task, "student.classify.")
    assert len(places) == 6 and len(classes) == 2
    with torch.no_grad():  # the decoder's tokens start at zero, and say nothing to each other before there are biases
        for parameter in task.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert by_heart.taught(task, batch, "class") == everything - places
    assert by_heart.taught(task, batch, "place") == everything - classes


def test_flip_test_of_a_mirrored_image_gives_the_mirrored_people():
    task, images = task_of(network().eval()), by_heart.people(32).images["student"]
    order = list(range(14))
    for left, right in by_heart.FLIP_PAIRS:
        order[left], order[right] = right, left
    keypoints, scores = task.predict(images, flip_test=True)
    mirrored, their_scores = task.predict(images.flip(3), flip_test=True)
    torch.testing.assert_close(their_scores[:, order], scores)
    torch.testing.assert_close(31 - mirrored[:, order, 0], keypoints[..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored[:, order, 1], keypoints[..., 1], atol=1e-4, rtol=0)


def test_a_dozen_people_are_learned_by_heart():
    task, batch = task_of(network(channels=64, hidden=128, width=8, stem=16, features=256), 64), by_heart.people(64)
    assert by_heart.score(task, batch) < 20
    by_heart.train(task, batch, steps=200, lr=2e-3)
    assert by_heart.score(task, batch) > 90
