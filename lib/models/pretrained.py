"""The weights of ImageNet classifiers as the start of a pose network's backbone."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from lib.errors import InputError

HRNETS = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-hrnet"
RESNETS = "https://download.pytorch.org/models"
# timm's HRNets, and torchvision's IMAGENET1K_V1; a file's name ends in the first digits of its SHA-256.
CLASSIFIERS = {
    "HRNet-W32": f"{HRNETS}/hrnetv2_w32-90d8c5fb.pth",
    "HRNet-W48": f"{HRNETS}/hrnetv2_w48-abd2e6ab.pth",
    "ResNet-50": f"{RESNETS}/resnet50-0676ba61.pth",
    "ResNet-152": f"{RESNETS}/resnet152-394f9c45.pth",
}
LEAVE_OUT = "set cdkd.pretrained: false to start from random weights"


def load_imagenet(model: nn.Module) -> None:
    """Fill the backbone of an HRNet or a SimpleBaseline with the weights of an ImageNet classifier, strictly.

    The file is that in the folder of torch.hub, `checkpoints`, which timm and torchvision use, too; else it is
    downloaded to there.
    Raises InputError where the backbone is none of CLASSIFIERS, and where its weights cannot be had or do not fit.
    """
    name = getattr(model, "published", None)
    if name not in CLASSIFIERS:
        kind = name or f"this {type(model).__name__}"
        raise InputError(
            f"{kind} has no ImageNet weights; expected one of: {', '.join(CLASSIFIERS)}, at full size; {LEAVE_OUT}"
        )
    url = CLASSIFIERS[name]
    weights = read(url)
    wanted = model.backbone.state_dict()
    try:
        model.backbone.load_state_dict({key: tensor for key, tensor in weights.items() if key in wanted})
    except RuntimeError:
        raise InputError(f"{location(url)} holds no weights of {name}: delete it to download them again") from None


def read(url: str) -> dict[str, Tensor]:
    """The tensors of a file of weights by its address, downloaded unless it is there. Raises InputError."""
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{url} cannot be had ({reason}): put it at {location(url)} by hand, or {LEAVE_OUT}") from None


def location(url: str) -> Path:
    """Where torch.hub keeps the file of an address."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
