"""ImageNet weights: every tensor of a backbone comes from the classifier's file, or one line says what is missing."""

from functools import cache
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from torchvision import models

from lib.errors import InputError
from lib.models import build_model
from lib.models.pretrained import CLASSIFIERS, load_imagenet

HRNET = {"name": "hrnet", "joints": 3, "width": 32}
RESNET = {"name": "simplebaseline", "joints": 3, "blocks": [3, 4, 6, 3]}
FILES = {
    "HRNet-W32": "hrnetv2_w32-90d8c5fb.pth",
    "HRNet-W48": "hrnetv2_w48-abd2e6ab.pth",
    "ResNet-50": "resnet50-0676ba61.pth",
    "ResNet-152": "resnet152-394f9c45.pth",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of weights, empty; there is no connection to fill it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def offline(url: str, *_, **__) -> None:
        raise URLError("no connection")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    return empty(RESNET)


def empty(spec: dict) -> torch.nn.Module:
    """A network of any values, built in no time."""
    with torch.device("meta"):
        model = build_model(spec)
    return model.to_empty(device="cpu")


@cache
def classifier_weights(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a classifier of ImageNet, the n-th one full of n: each takes the room of a single number."""
    with torch.device("meta"):
        model = timm.create_model(name) if name.startswith("hrnet") else getattr(models, name)()
    tensors = model.state_dict().items()
    return {name: torch.tensor(n, dtype=t.dtype).expand(t.shape) for n, (name, t) in enumerate(tensors, start=1)}


@pytest.mark.parametrize(
    "spec, classifier, left",
    [
        (HRNET, "hrnet_w32", {"incre_modules", "downsamp_modules", "final_layer", "classifier", "stage4"}),
        (
            HRNET | {"width": 48},
            "hrnet_w48",
            {"incre_modules", "downsamp_modules", "final_layer", "classifier", "stage4"},
        ),
        (RESNET | {"head": "simcc", "input_size": [64, 64]}, "resnet50", {"fc"}),
        (RESNET | {"blocks": [3, 8, 36, 3]}, "resnet152", {"fc"}),
    ],
)
def test_every_tensor_of_the_backbone_is_the_classifiers(folder, spec, classifier, left):
    weights, model = classifier_weights(classifier), empty(spec)
    torch.save(weights, folder / FILES[model.published])
    head = [tensor.clone() for tensor in model.head.state_dict().values()]
    load_imagenet(model)
    filled = model.backbone.state_dict()
    for name, tensor in filled.items():
        assert tensor.shape == weights[name].shape
        low, high = tensor.aminmax()
        assert low == high == weights[name].flatten()[0], name
    assert {name.split(".")[0] for name in weights.keys() - filled.keys()} == left
    for before, after in zip(head, model.head.state_dict().values(), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def test_the_addresses_are_those_of_the_libraries():
    assert CLASSIFIERS["ResNet-50"] == models.ResNet50_Weights.IMAGENET1K_V1.url
    assert CLASSIFIERS["ResNet-152"] == models.ResNet152_Weights.IMAGENET1K_V1.url
    assert {name: Path(url).name for name, url in CLASSIFIERS.items()} == FILES


def test_download_is_checked_and_kept(folder, monkeypatch, resnet):
    calls = []

    def download(url: str, file: str, hash_prefix: str, progress: bool) -> None:
        calls.append((url, Path(file), hash_prefix))
        torch.save(classifier_weights("resnet50"), file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        load_imagenet(resnet)
    assert calls == [(CLASSIFIERS["ResNet-50"], folder / FILES["ResNet-50"], "0676ba61")]


def test_no_connection(folder, resnet):
    with pytest.raises(InputError) as error:
        load_imagenet(resnet)
    message = str(error.value)
    for part in (CLASSIFIERS["ResNet-50"], "no connection", str(folder / FILES["ResNet-50"]), "cdkd.pretrained: false"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"PK\x03\x04 cut off"])
def test_damaged_file(folder, resnet, content):
    (folder / FILES["ResNet-50"]).write_bytes(content)
    with pytest.raises(InputError, match=FILES["ResNet-50"]) as error:
        load_imagenet(resnet)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["missing", "other shape"])
def test_file_of_another_network(folder, resnet, change):
    weights = dict(classifier_weights("resnet50"))
    if change == "missing":
        del weights["layer3.5.bn3.running_var"]
    else:
        weights["conv1.weight"] = weights["conv1.weight"][:32]
    torch.save(weights, folder / FILES["ResNet-50"])
    with pytest.raises(InputError, match=f"{FILES['ResNet-50']} holds no weights of ResNet-50: delete it"):
        load_imagenet(resnet)


@pytest.mark.parametrize(
    "spec, name",
    [
        (HRNET | {"width": 4}, "HRNet-W4"),
        (HRNET | {"blocks": 1, "modules": [1, 1, 1]}, "this HRNet"),
        (RESNET | {"width": 4}, "this SimpleBaseline"),
        (RESNET | {"blocks": [1, 1, 1, 1]}, "this SimpleBaseline"),
        ({"name": "hourglass", "joints": 3, "stacks": 1, "channels": 8}, "this StackedHourglass"),
    ],
)
def test_networks_without_published_weights(folder, spec, name):
    with pytest.raises(
        InputError, match=f"{name} has no ImageNet weights; .* HRNet-W48, .*; set cdkd.pretrained: false"
    ):
        load_imagenet(empty(spec))
