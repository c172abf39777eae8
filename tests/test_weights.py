"""Weights files: what they say of themselves, what a label leaves alone, and files that are none or wish harm."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib.errors import InputError
from lib.labels import Label, copy_weights, label_weights, read_label
from lib.models import build_model
from lib.weights import load_weights, save_weights, tensors

SPEC = {"name": "hourglass", "joints": 3, "stacks": 1, "channels": 8, "stem": "pytorch-pose"}
LABEL = Label(
    **{"paper": "fpd", "run": "lsp_fpd", "seed": 3, "branch": 1, "benchmark": "lsp", "source": "synthetic"},
    **{
        "crops": "lsp",
        "validation": "test",
        "joints": ("left_hip", "right_hip", "neck"),
        "flip_pairs": ((0, 1),),
        "skeleton": ((0, 2),),
    },
    **{"crop": (128, 96), "padding": 1.25, "input": (64, 64), "antialias": True, "modality": "rgb"},
    **{"mean": (1.5, 2.5, 3.5), "std": (4.0, 5.0, 6.0), "output": "heatmap", "codec": {"sigma": 1.0}},
    **{"flip_test": True, "scale": None},
)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_weights(path, build_model(SPEC), SPEC)
    return path


def test_a_label_comes_back_and_leaves_the_tensors_alone(weights):
    before, number = load_file(weights), tensors(weights)
    label_weights(weights, LABEL)
    after = load_file(weights)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert read_label(weights) == LABEL.model_copy(update={"digest": number})
    assert tensors(weights) == number
    with safe_open(weights, "pt") as file:  # by any other reader of the format
        assert json.loads(file.metadata()["joints"]) == ["left_hip", "right_hip", "neck"]
        assert json.loads(file.metadata()["model"]) == SPEC


def test_the_same_label_twice_and_from_the_start_makes_the_same_file(weights, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes())
    label_weights(weights, LABEL)
    first = weights.read_bytes()
    label_weights(weights, LABEL)
    label_weights(other, LABEL.model_copy(update={"run": "other", "joints": ("a", "b", "c")}))
    assert other.read_bytes() != first and tensors(other) == tensors(weights)
    label_weights(other, LABEL)
    assert weights.read_bytes() == other.read_bytes() == first


def test_the_network_needs_nothing_but_its_file(weights):
    label_weights(weights, LABEL)
    torch.manual_seed(0)
    written, read = build_model(SPEC).eval(), load_weights(weights).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(written(images)[-1], read(images)[-1])
    assert not any(tensor.is_meta for tensor in (*read.parameters(), *read.buffers()))
    assert all(parameter.requires_grad for parameter in read.parameters())


def test_bfloat16_halves_the_file_and_rounds_each_number_to_eight_bits(weights, tmp_path):
    half = tmp_path / "half.safetensors"
    copy_weights(weights, half, LABEL, torch.bfloat16)
    fractions = [tensor for tensor in load_file(half).values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in fractions} == {torch.bfloat16} and half.stat().st_size < weights.stat().st_size
    full = dict(load_weights(weights).named_parameters())
    for name, parameter in load_weights(half).named_parameters():
        assert parameter.dtype == torch.float32
        np.testing.assert_allclose(parameter.detach(), full[name].detach(), rtol=2**-8)
    assert read_label(half).joints == LABEL.joints


def one_line(error) -> bool:
    return len(str(error.value).splitlines()) == 1 and "weights.safetensors" in str(error.value)


def header(path, change) -> None:
    """Rewrite the header of a file by a function of it."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    text = json.dumps(change(json.loads(content[8 : 8 + size]))).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def described(**model):
    return lambda head: head | {"__metadata__": {"model": json.dumps(SPEC | model)}}


HOSTILE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"weights"),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"weights": [1.0]})),
    "huge header": lambda path: path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:]),
    "header past the end": lambda path: path.write_bytes(struct.pack("<Q", 2**22) + path.read_bytes()[8:]),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no metadata": lambda path: save_file({"a": torch.zeros(3)}, path),
    "deep metadata": lambda path: header(path, lambda head: head | {"__metadata__": {"model": "[" * 100_000}}),
    "no mapping": lambda path: header(path, lambda head: head | {"__metadata__": {"model": "[1]"}}),
    "another network": lambda path: header(path, described(channels=16)),
    "a giant network": lambda path: header(path, described(channels=2**30)),
    "endless stacks": lambda path: header(path, described(stacks=10**9)),
    "unknown architecture": lambda path: header(path, described(name="os.system")),
    "wrong shapes": lambda path: save_file({"a": torch.zeros(3)}, path, {"model": json.dumps(SPEC)}),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_hostile_files_get_one_line(weights, harm):
    HOSTILE[harm](weights)
    with pytest.raises(InputError) as error:
        load_weights(weights)
    assert one_line(error)


def test_a_changed_number_is_noticed(weights):
    label_weights(weights, LABEL)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="digest") as error:
        load_weights(weights)
    assert one_line(error)


def test_files_without_a_label_say_that_they_are_too_old(weights):
    load_weights(weights)
    with pytest.raises(InputError, match=r"does not say what it sees.*train its run again") as error:
        read_label(weights)
    assert one_line(error)


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("seed", "one", "its seed"),
        ("joints", "neck", "its joints"),
        ("skeleton", [[0, 3]], "not among its 3"),
        ("flip_pairs", [[-1, 0]], "not among its 3"),
        ("input", [0, 64], "no positive"),
        ("input", [10**6, 64], "more than 1024 px"),
        ("std", [1.0, 0.0, 1.0], "no positive"),
        ("output", "text", "its output"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(weights, entry, value, words):
    label_weights(weights, LABEL)
    header(weights, lambda head: head | {"__metadata__": head["__metadata__"] | {entry: json.dumps(value)}})
    with pytest.raises(InputError, match=words) as error:
        read_label(weights)
    assert one_line(error)


def test_what_is_not_there_is_said_to_be_missing(tmp_path):
    for read in (load_weights, read_label):
        with pytest.raises(InputError, match="not found: train that run first"):
            read(tmp_path / "weights.safetensors")
