"""Encoders, decoder, size and branches of MobilePose."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torchvision import models

from lib.errors import InputError
from lib.metrics.complexity import count
from lib.models.mobilepose import ENCODERS, MobilePose, upsampling

CLASSIFIERS = {
    "resnet18": models.resnet18,
    "mobilenet_v2": models.mobilenet_v2,
    "shufflenet_v2": models.shufflenet_v2_x1_0,
}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS)


def noisy(encoder: str, seed: int = 0) -> MobilePose:
    """A network in evaluation whose running statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = MobilePose(3, encoder).train()
    with torch.no_grad():
        model(torch.rand(4, 3, 64, 64))
    return model.eval()


def pooled_input(classifier: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a torchvision classifier is about to average over the pixels."""
    if isinstance(classifier, models.MobileNetV2):
        return classifier.features(images)
    last = classifier.layer4 if isinstance(classifier, models.ResNet) else classifier.conv5
    outputs = []
    last.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    classifier(images)
    return outputs[0]


@every_encoder
@pytest.mark.parametrize("size", [(64, 64), (256, 192), (32, 96)])
def test_one_map_per_joint_at_a_quarter(encoder, size):
    model = MobilePose(5, encoder).eval()
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, *size))
    assert model.output == "heatmap" and model.joints == 5
    assert [tuple(output.shape) for output in outputs] == [(2, 5, size[0] // 4, size[1] // 4)]


@every_encoder
def test_the_stem_ends_with_the_layer_that_reaches_a_quarter(encoder):
    model, images = MobilePose(5, encoder).eval(), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert model.stem[:-1](images).shape[-2:] == (32, 48)
        assert tuple(model.stem(images).shape) == (1, model.stem_channels, 16, 24)


@pytest.mark.parametrize(
    "encoder, params, macs",
    [
        # Parameters: torchvision's classifier without its last layer, and the decoder, whose first layer differs.
        ("resnet18", 11_689_512 - 513_000 + 512 * 256 + 1_550_592, 2_605_711_360),
        ("mobilenet_v2", 3_504_872 - 1_281_000 + 1280 * 256 + 1_550_592, 640_737_280),
        ("shufflenet_v2", 2_278_604 - 1_025_000 + 1024 * 256 + 1_550_592, 433_296_896),
    ],
)
def test_size_and_cost(encoder, params, macs):
    with torch.device("meta"):
        model = MobilePose(16, encoder)
    assert {"params": params, "macs": macs, "bias_adds": 0}.items() <= count(model, (256, 256)).items()


@pytest.mark.parametrize("encoder, printed", [("resnet18", 12.26), ("mobilenet_v2", 3.91), ("shufflenet_v2", 2.92)])
def test_size_is_that_printed_by_its_authors_in_units_of_2_to_the_20(encoder, printed):
    with torch.device("meta"):
        model = MobilePose(16, encoder)
    assert round(sum(p.numel() for p in model.parameters()) / 2**20, 2) == printed


@every_encoder
@pytest.mark.parametrize("training", [True, False])
def test_features_are_those_of_the_classifier(encoder, training):
    torch.manual_seed(3)
    classifier = CLASSIFIERS[encoder]().train(training)
    torch.manual_seed(3)
    model = MobilePose(16, encoder).train(training)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        features, heatmaps = model.trunk(model.stem(images), 0)
        assert torch.equal(features, pooled_input(classifier, images))
    assert features.shape[-2:] == (2, 3) and heatmaps == []


def test_a_pixel_becomes_two_by_two_of_neighbouring_channels():
    torch.manual_seed(0)
    layer, x = upsampling(3, 2), torch.randn(2, 3, 3, 5)
    with torch.no_grad():
        y = layer(x)
        channels = F.conv2d(x, layer[0].weight, padding=1)
        channels = F.batch_norm(channels, None, None, training=True).relu()
    for row in range(6):
        for column in range(10):
            for channel in range(2):
                source = 4 * channel + 2 * (row % 2) + column % 2
                torch.testing.assert_close(y[:, channel, row, column], channels[:, source, row // 2, column // 2])


@every_encoder
def test_the_parts_make_the_whole(encoder):
    model, images = noisy(encoder), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        x, first = model.trunk(model.stem(images), 0)
        assert all(torch.equal(a, b) for a, b in zip(first + model.branch(x, 0), model(images), strict=True))


@every_encoder
def test_branches_share_the_encoder_and_nothing_else(encoder):
    one, two = noisy(encoder, seed=0), noisy(encoder, seed=1)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = two.decoder(one.trunk(one.stem(images), 0)[0])
        two.share(one, 0)
        assert all(a is b for a, b in zip(one.stem.parameters(), two.stem.parameters(), strict=True))
        assert all(a is b for a, b in zip(one.encoder.parameters(), two.encoder.parameters(), strict=True))
        assert not {id(p) for p in one.decoder.parameters()} & {id(p) for p in two.decoder.parameters()}
        assert torch.equal(two(images)[0], before)  # own decoder on the other's features
        for parameter in one.decoder.parameters():
            parameter.zero_()
        assert torch.equal(two(images)[0], before)
    both = torch.nn.ModuleList([one, two])
    decoder = sum(p.numel() for p in one.decoder.parameters())
    assert sum(p.numel() for p in both.parameters()) == sum(p.numel() for p in one.parameters()) + decoder


@every_encoder
def test_gradients_of_one_branch_reach_the_encoder_and_its_own_decoder(encoder):
    one, two = MobilePose(2, encoder), MobilePose(2, encoder)
    two.share(one, 0)
    two(torch.rand(2, 3, 64, 64))[0].square().sum().backward()
    assert next(one.stem.parameters()).grad.any()  # comes through all other layers
    assert all(p.grad is not None and p.grad.isfinite().all() for p in two.parameters())
    assert all(p.grad is None for p in one.decoder.parameters())


@every_encoder
def test_weights_rebuild_the_network(encoder):
    model, copy = noisy(encoder, seed=0), noisy(encoder, seed=1)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(model(images)[0], copy(images)[0])
        copy.load_state_dict(model.state_dict())
        assert torch.equal(model(images)[0], copy(images)[0])


@every_encoder
def test_channels_last_changes_nothing(encoder):
    model, images = noisy(encoder), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(images)[0]
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(model(images.to(memory_format=torch.channels_last))[0], plain, rtol=1e-4, atol=1e-5)


def test_torchvision_is_loaded_for_networks_that_need_it_only():
    code = "import sys, lib.models.mobilepose; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("size", [(48, 64), (64, 33)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} px, expected multiples of 32"):
        MobilePose(2, "shufflenet_v2")(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    "joints, encoder, message",
    [
        (16, "resnet50", "encoder is 'resnet50', expected one of: resnet18, mobilenet_v2, shufflenet_v2"),
        (0, "resnet18", "joints is 0, expected a positive multiple of 1"),
        (2.5, "resnet18", "joints is 2.5, expected a positive multiple of 1"),
    ],
)
def test_impossible_settings_are_refused(joints, encoder, message):
    with pytest.raises(InputError, match=message):
        MobilePose(joints, encoder)


def test_the_decoder_narrows_by_halves_so_channels_are_multiples_of_eight():
    assert MobilePose(2, "shufflenet_v2", 16)(torch.zeros(1, 3, 64, 64))[0].shape == (1, 2, 16, 16)
    with pytest.raises(InputError, match="channels is 12, expected a positive multiple of 8"):
        MobilePose(2, "shufflenet_v2", 12)
