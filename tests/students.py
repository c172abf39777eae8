"""Students trained for a moment on drawn people and hands: what deployment starts from."""

import contextlib
from pathlib import Path

from lib.data.formats import lsp, rhd, rhd_synthetic
from lib.data.packing import pack
from tests import toy

HRNET = {"name": "hrnet", "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8, "head": "simcc", "split": 2.0}
SIMCC = {"model": {**HRNET, "input_size": [64, 64]}, "output": "simcc", "codec": {"split": 2.0, "smoothing": 0.1}}
RESNET = {"name": "resnet", "block": "basic", "blocks": [1, 1, 1, 1], "width": 4}
NO_AUGMENTATION = {"flip": False, "scale": (1, 1), "rotation": 0.0, "half_body": 0.0}


def train_people(folder: Path, **changes) -> Path:
    """Train on drawn people whose crops are larger than the network's input; return the run's folder."""
    annotations, raw = folder / "data/annotations/lsp", folder / "data/raw/lsp"
    if not raw.exists():
        lsp.write_synthetic(raw, lsp=12, lspet=4, seed=0)
        lsp.convert(raw, annotations)
        pack(annotations, raw, folder / "data/crops/lsp", input=(96, 96), padding=1.25, margin=1.5)
    one = toy.run(antialias=True, epochs=1, **changes)
    with contextlib.chdir(folder):
        toy.train(one, 0)
    return folder / "models" / one.label


def train_hands(folder: Path) -> Path:
    """Train on drawn hands, left and right; return the run's folder."""
    annotations, raw = folder / "data/annotations/rhd", folder / "data/raw/rhd"
    rhd_synthetic.write(raw, {"training": 4, "evaluation": 6}, seed=0)
    rhd.convert(raw, annotations)
    pack(annotations, raw, folder / "data/crops/rhd", input=(96, 96), padding=1.4, margin=1.0)
    settings = {"paper": "cmkg", "name": "hands", "dataset": "rhd", "crops": "rhd", "output": "pose", "model": RESNET}
    settings |= {"codec": {}, "flip_test": False, "augmentation": NO_AUGMENTATION, "batch_size": 2, "epochs": 1}
    one = toy.run(**settings)
    with contextlib.chdir(folder):
        toy.train(one, 0)
    return folder / "models" / one.label
