"""TokenPose: patches, positions, layers and heads, its published sizes, and that it learns."""

import math

import pytest
import torch
from torch import nn

from lib.codecs.heatmap import HeatmapCodec
from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models.tokenpose import TokenPose
from lib.models.tokens import Layer, sine_positions
from lib.tasks.heatmap import Supervised
from tests import by_heart

SMALL = {"width": 4, "blocks": 1, "modules": (1, 1, 1), "stem": 8, "channels": 16, "depth": 3}


def network(kind: str = "large", side: int = 32, seed: int = 0, **changes) -> TokenPose:
    torch.manual_seed(seed)
    return TokenPose(14, **{"input_size": (side, side), "kind": kind, "patch": (2, 2), **SMALL, **changes})


@pytest.mark.parametrize(
    "width, joints, side, kind, depth, params_m, g, printed",
    [
        (32, 16, 32, "large", 6, 30.897, 0.1518, (30.9, 0.152)),  # CDKD Table I
        (32, 16, 64, "large", 6, 31.008, 0.6021, (31.0, 0.602)),
        (32, 17, 32, "base", 12, 33.094, 0.1559, (33.1, 0.156)),  # Table II
        (48, 17, 64, "base", 12, 68.240, 1.23646, (68.2, 1.236)),
    ],
)
def test_published_sizes(width, joints, side, kind, depth, params_m, g, printed):
    with torch.device("meta"):
        model = TokenPose(joints, (side, side), kind, depth, width)
    counts = count(model, (side, side))
    found = counts["params"] / 1e6, counts["summary_macs"] / 2**30
    assert found == (pytest.approx(params_m, abs=5e-4), pytest.approx(g, abs=5e-5))
    assert (round(found[0], 1), round(found[1], 3)) == printed
    assert model.published == f"HRNet-W{width}"


def test_positions_are_sines_and_cosines_of_row_and_column():
    positions = sine_positions(2, 3, 8).view(2, 3, 8)
    row, column = 2 * math.pi * 1 / 2, 2 * math.pi * 3 / 3  # of the pixel in row 0 and column 2
    expected = [f(angle / slow) for angle in (row, column) for slow in (1, 100) for f in (math.sin, math.cos)]
    assert positions[0, 2].tolist() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(positions[1, 0, :4], positions[1, 2, :4])  # half of them tell the row alone
    assert torch.equal(positions[0, 1, 4:], positions[1, 1, 4:])


def test_a_layer_is_a_transformer_layer_that_normalises_first():
    torch.manual_seed(0)
    layer, tokens = Layer(16), torch.randn(3, 5, 16)
    other = nn.TransformerEncoderLayer(16, 8, 48, 0.0, "gelu", batch_first=True, norm_first=True)
    pairs = [
        *(
            (other.self_attn.in_proj_weight, layer.project.weight),
            (other.self_attn.out_proj.weight, layer.merge.weight),
        ),
        *((other.self_attn.out_proj.bias, layer.merge.bias), (other.linear1.weight, layer.feed[0].weight)),
        *((other.linear1.bias, layer.feed[0].bias), (other.linear2.weight, layer.feed[2].weight)),
        (other.linear2.bias, layer.feed[2].bias),
    ]
    with torch.no_grad():
        other.self_attn.in_proj_bias.zero_()
        for theirs, ours in pairs:
            theirs.copy_(ours)
        torch.testing.assert_close(layer(tokens), other(tokens))


def test_patches_are_the_maps_pixels_in_reading_order():
    model = TokenPose(14, (32, 64), "base", **SMALL | {"patch": (2, 4)}).eval()
    seen = []
    model.embed.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    images = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        model(images)
        maps = model.backbone(images)[0]  # (2, 4, 8, 16)
    assert seen[0].shape == (2, 16, 32)
    for number in range(16):
        top, left = 2 * (number // 4), 4 * (number % 4)
        patch = maps[:, :, top : top + 2, left : left + 4].permute(0, 2, 3, 1).flatten(1)
        torch.testing.assert_close(seen[0][:, number], patch)


@pytest.mark.parametrize("kind", ["base", "large"])
def test_heatmaps_of_the_layers_one_after_the_other(kind):
    model, images = network(kind).eval(), torch.randn(2, 3, 32, 32)
    inputs = []
    model.embed.register_forward_hook(lambda layer, given, output: inputs.append(output))
    with torch.no_grad():
        (found,) = model(images)
        tokens = torch.cat((model.joint_tokens.expand(2, -1, -1), inputs[0] + model.positions), 1)
        layers = [layer for group in model.groups for layer in group]
        first = {"base": (0,), "large": (0, 1, 2)}[kind]  # of a group: positions are there already, or not added
        kept = []
        for number, layer in enumerate(layers):
            if number not in first:
                tokens = torch.cat((tokens[:, :14], tokens[:, 14:] + model.positions), 1)
            tokens = layer(tokens)
            kept.append(tokens[:, :14])
        last = kept if kind == "large" else kept[-1:]
        expected = model.head(torch.cat(last, 2)).view(2, 14, 8, 8)
    assert len(layers) == 3 and model.output == "heatmap"
    torch.testing.assert_close(found, expected)


def test_weights_start_as_published():
    model = network(channels=192)
    for weight in (model.embed.weight, model.joint_tokens, model.head[1].weight, model.groups[0][0].project.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1) and weight.abs().max() <= 2
    assert not model.embed.bias.any()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "small"}, "kind is 'small', expected one of: base, large"),
        ({"depth": 4}, "depth is 4, expected a positive multiple of 3"),
        ({"channels": 12}, "channels is 12, expected a multiple of 8"),
        ({"patch": (3, 2)}, "patches of 3x2 do not fill maps of 8x8 px"),
        ({"input_size": (48, 64)}, "input is 48x64 px, expected multiples of 32"),
        ({"width": 0}, "model tokenpose: width is 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        network(**changes)


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match="input is 64x64 px, it was built for 32x32"):
        network()(torch.zeros(1, 3, 64, 64))


def task_of(student: nn.Module, side: int) -> Supervised:
    return Supervised(student, HeatmapCodec((side, side), sigma=1.0, scaling="peak"), by_heart.FLIP_PAIRS)


@pytest.mark.parametrize("kind", ["base", "large"])
def test_the_loss_teaches_everything(kind):
    task = task_of(network(kind), 32).eval()
    assert by_heart.taught(task, by_heart.people(32), "mse") == by_heart.names(task, "")


@pytest.mark.parametrize("kind, steps, lr", [("base", 150, 1e-2), ("large", 220, 5e-3)])
def test_a_dozen_people_are_learned_by_heart(kind, steps, lr):
    task, batch = task_of(network(kind, width=8, stem=16, channels=64), 32), by_heart.people(32)
    assert by_heart.score(task, batch) < 20
    by_heart.train(task, batch, steps, lr)
    assert by_heart.score(task, batch) > 90
