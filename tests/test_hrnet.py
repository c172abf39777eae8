"""Layers, size, both heads and gradients of HRNet for poses."""

import subprocess
import sys

import pytest
import timm
import torch
import torch.nn.functional as F

from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models import build_model
from lib.weights import load_weights, save_weights

NARROW = {"name": "hrnet", "joints": 3, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
SIMCC = {"head": "simcc", "input_size": [64, 64]}


def noisy(spec: dict, seed: int = 0) -> torch.nn.Module:
    """A network in evaluation whose running statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = build_model(spec).train()
    with torch.no_grad():
        for _ in range(3):
            model.maps(torch.randn(4, 3, *(model.input_size or (64, 64))))
    return model.eval()


def meta(**spec) -> torch.nn.Module:
    """A network that knows its shapes only."""
    with torch.device("meta"):
        return build_model({"name": "hrnet", "joints": 16} | spec)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 64)])
def test_one_heatmap_per_joint_at_a_quarter(size):
    model = build_model(NARROW).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, *size))
    assert (model.output, model.joints) == ("heatmap", 3)
    assert [tuple(output.shape) for output in outputs] == [(2, 3, size[0] // 4, size[1] // 4)]


@pytest.mark.parametrize(
    "size, split, columns, rows",
    [
        ((32, 32), 2.0, 64, 64),
        ((64, 64), 2.0, 128, 128),
        ((64, 64), 3, 192, 192),
        ((96, 64), 2.0, 128, 192),  # x has the classes of the width
        ((64, 64), 0.5, 32, 32),
        ((32, 96), 1.7, 163, 54),  # 163.2 and 54.4
        ((32, 32), 0.3, 10, 10),  # 9.6
    ],
)
def test_classes_of_columns_and_of_rows(size, split, columns, rows):
    model = build_model(NARROW | SIMCC | {"input_size": size, "split": split}).eval()
    with torch.no_grad():
        x, y = model(torch.randn(2, 3, *size))
    assert (model.output, model.joints) == ("simcc", 3)
    assert (tuple(x.shape), tuple(y.shape)) == ((2, 3, columns), (2, 3, rows))


def test_maps_are_those_of_stem_stages_and_head_one_after_the_other():
    """Stages by their published description: parallel branches, and fusions that sum over all of them."""
    model, images = noisy(NARROW), torch.randn(2, 3, 64, 96)
    net = model.backbone

    def exchange(module, branches, outputs):
        branches = [layers(x) for layers, x in zip(module.branches, branches, strict=True)]
        return [
            F.relu(sum(resample(x) for resample, x in zip(module.fuse_layers[i], branches, strict=True)))
            for i in range(outputs)
        ]

    with torch.no_grad():
        x = F.relu(net.bn1(net.conv1(images)))
        x = net.layer1(F.relu(net.bn2(net.conv2(x))))
        two = exchange(net.stage2[0], [net.transition1[0](x), net.transition1[1](x)], 2)
        three = exchange(net.stage3[0], [*two, net.transition2[2](two[-1])], 3)
        (finest,) = exchange(net.stage4[0], [*three, net.transition3[3](three[-1])], 1)
        expected = F.conv2d(finest, model.head.weight, model.head.bias)
        assert [tuple(x.shape[1:]) for x in three] == [(4, 16, 24), (8, 8, 12), (16, 4, 6)]
        torch.testing.assert_close(model.maps(images), expected)
        torch.testing.assert_close(model(images)[0], expected)


def test_logits_are_linear_in_the_pixels_of_each_joints_map():
    model, images = noisy(NARROW | SIMCC), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps, (x, y) = model.maps(images), model(images)
        assert maps.shape == (2, 3, 16, 16)
        for logits, layer in ((x, model.columns), (y, model.rows)):
            expected = torch.einsum("bjhw,nhw->bjn", maps, layer.weight.view(-1, 16, 16)) + layer.bias
            torch.testing.assert_close(logits, expected)
        assert all(torch.equal(a, b) for a, b in zip(model.classify(maps), (x, y), strict=True))
        # One joint's classes depend on its own map alone.
        maps[:, 1] += 1
        changed = [(a != b).any(2).any(0).tolist() for a, b in zip(model.classify(maps), (x, y), strict=True)]
    assert changed == [[False, True, False]] * 2


@pytest.mark.parametrize("width, whole, own", [(32, 29_305_536, 28_535_552), (48, 65_325_120, 63_594_912)])
def test_the_published_network_is_timms_without_unused_fusions(width, whole, own):
    with torch.device("meta"):
        timms = timm.create_model(f"hrnet_w{width}", features_only=True, feature_location="", out_indices=(1,))
    model = meta(width=width, modules=[1, 4, 3])
    shapes, kept = (
        {name: tensor.shape for name, tensor in network.state_dict().items()} for network in (timms, model.backbone)
    )
    assert kept.items() <= shapes.items()
    unused = {f"stage4.2.fuse_layers.{branch}" for branch in (1, 2, 3)}
    assert {".".join(name.split(".")[:4]) for name in shapes.keys() - kept.keys()} == unused
    params = [sum(parameter.numel() for parameter in network.parameters()) for network in (timms, model.backbone)]
    assert params == [whole, own]
    assert model.published == f"HRNet-W{width}"


@pytest.mark.parametrize("change", [{"blocks": 3}, {"modules": [1, 3, 3]}, {"stem": 32}])
def test_a_narrowed_network_is_no_published_one(change):
    assert meta(width=32, **change).published is None


def test_classes_of_channels_last_maps_cost_no_copies_of_the_weights():
    """PyTorch multiplies person by person, each with a copy of the weights, where a map's pixels are not in a row."""
    model = build_model(NARROW | SIMCC)
    maps = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.profiler.profile() as profile:
        columns, rows = model.classify(maps.to(memory_format=torch.channels_last))
    assert {"aten::addmm", "aten::bmm"} & {event.key for event in profile.key_averages()} == {"aten::addmm"}
    torch.testing.assert_close(columns, maps.flatten(2) @ model.columns.weight.T + model.columns.bias)
    torch.testing.assert_close(rows, maps.flatten(2) @ model.rows.weight.T + model.rows.bias)


def test_simcc_costs_what_the_maps_and_two_layers_cost():
    maps, simcc = (count(build_model(NARROW | head), (64, 64)) for head in ({}, SIMCC))
    layers = 2 * 256 * 128
    assert simcc["params"] - maps["params"] == layers + 2 * 128
    assert simcc["macs"] - maps["macs"] == 3 * layers
    assert simcc["bias_adds"] - maps["bias_adds"] == 3 * 2 * 128


@pytest.mark.parametrize("head", [{}, SIMCC])
@pytest.mark.parametrize("size", [{}, {"modules": [1, 2, 2], "blocks": 2}])
def test_gradients_reach_every_parameter(head, size):
    torch.manual_seed(0)
    model = build_model(NARROW | size | head)
    sum(output.square().sum() for output in model(torch.randn(4, 3, 64, 64))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("head", [{}, SIMCC])
def test_evaluation_does_not_mix_images(head):
    model, images = noisy(NARROW | head), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = model(images)
        alone = zip(*(model(image[None]) for image in images), strict=True)
        for output, parts in zip(together, alone, strict=True):
            torch.testing.assert_close(output, torch.cat(parts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [{}, SIMCC])
def test_channels_last_changes_nothing(head):
    model, images = noisy(NARROW | head), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)
        for a, b in zip(model(images.to(memory_format=torch.channels_last)), plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [{}, SIMCC])
def test_weights_file_gives_the_same_network(tmp_path, head):
    spec, images = NARROW | head, torch.randn(2, 3, 64, 64)
    model = noisy(spec)
    save_weights(tmp_path / "weights.safetensors", model, spec)
    loaded = load_weights(tmp_path / "weights.safetensors", spec).eval()
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(images), loaded(images), strict=True))


def test_timm_and_torchvision_are_loaded_for_networks_that_need_them_only():
    code = (
        "import sys, lib.models, lib.models.pretrained; sys.exit('torchvision' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("size", [(48, 64), (64, 33)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    message = f"{size[0]}x{size[1]} px, expected multiples of 32"
    with pytest.raises(InputError, match=message):
        build_model(NARROW)(torch.zeros(1, 3, *size))
    with pytest.raises(InputError, match=message):
        build_model(NARROW | SIMCC | {"input_size": size})


def test_classifiers_take_images_of_their_size_only():
    with pytest.raises(InputError, match="input is 64x32 px, its simcc head was built for 64x64"):
        build_model(NARROW | SIMCC)(torch.zeros(1, 3, 64, 32))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"joints": 0}, "model hrnet: joints is 0, expected a positive whole number"),
        ({"width": 2.5}, "model hrnet: width is 2.5"),
        ({"blocks": 0}, "model hrnet: blocks is 0"),
        ({"stem": "64"}, "model hrnet: stem is '64'"),
        ({"modules": [1, 4]}, r"model hrnet: modules is \[1, 4\], expected a list of 3 positive whole numbers"),
        ({"modules": [1, 0, 3]}, r"modules is \[1, 0, 3\], expected a list of 3"),
        ({"modules": 4}, "modules is 4, expected a list of 3"),
        ({"head": "regression"}, "model hrnet: head is 'regression', expected one of: heatmap, simcc"),
        ({"head": "simcc"}, "model hrnet: a simcc head needs input_size"),
        (SIMCC | {"input_size": [64]}, r"input_size is \[64\], expected a list of 2 positive whole numbers"),
        (SIMCC | {"input_size": [0, 64]}, r"input_size is \[0, 64\]"),
        (SIMCC | {"split": 0}, "split is 0, expected two classes or more per axis"),
        (SIMCC | {"split": -2.0}, "split is -2.0"),
        (SIMCC | {"split": "2"}, "split is '2'"),
        ({"channels": 8}, "model hrnet: unknown key 'channels', allowed are: name, joints, width, blocks, modules"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_model(NARROW | change)


def test_joints_and_width_have_no_default():
    with pytest.raises(InputError, match="model hrnet: key 'width' is missing"):
        build_model({"name": "hrnet", "joints": 16})
