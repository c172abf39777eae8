"""Exports: graphs that tell what torch tells, on their own, and cards that say what they are."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from lib.deployment.cards import card
from lib.deployment.checks import differences, measured, samples
from lib.deployment.students import Student, open_student, student_of
from lib.errors import InputError
from lib.labels import Label
from lib.models import build_model
from lib.named import names
from lib.weights import save_weights
from stages import export, predict
from tests import students
from tests.test_competitors import RUNS as COMPETITORS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from lib.deployment import graph  # noqa: E402

HOURGLASS = {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose"}
SMALL = {"blocks": [1, 1, 1, 1], "width": 4, "channels": 8}
NETWORKS = {  # every architecture, and every codec as it may be set
    "hourglass, none, flipped": (HOURGLASS, 64, {"sigma": 2.0, "refinement": "none", "scaling": "peak"}),
    "pyranet, quarter": (HOURGLASS | {"name": "pyranet"}, 64, {"sigma": 1.0}),
    "mobilepose, quarter": ({"name": "mobilepose", "encoder": "resnet18", "channels": 8}, 64, {"sigma": 1.0}),
    "hrnet, dark": (students.HRNET | {"head": "heatmap"}, 32, {"sigma": 2.0, "refinement": "dark"}),
    "simplebaseline, simcc, flipped": (
        {"name": "simplebaseline", "head": "simcc", "split": 2.0, **SMALL},
        32,
        {"split": 2.0, "sigma": 4.0},
    ),
    "cal, flipped": (COMPETITORS["cal"][0], 32, {}),
    "tokenpose, large, dark": (
        COMPETITORS["tokenpose"][0] | {"kind": "large"},
        64,
        {"sigma": 2.0, "refinement": "dark"},
    ),
    "rle, flipped": (COMPETITORS["rle"][0], 64, {}),
    "distilpose": (COMPETITORS["distilpose"][0], 64, {}),
    "prtr": (COMPETITORS["prtr"][0], 64, {}),
    "resnet, pose": (students.RESNET, 64, {}),
}
EXPORTED = [name for name in NETWORKS if name != "prtr"]


def label_of(network: nn.Module, side: int, codec: dict, **changes) -> Label:
    hand, joints = network.output == "pose", tuple(map(str, range(network.joints)))
    settings = {
        **{"paper": "cmkg" if hand else "fpd", "run": "lsp_student", "seed": 0, "branch": 1, "crops": "none"},
        **{"benchmark": "rhd" if hand else "lsp", "source": "synthetic", "validation": "test", "joints": joints},
        **{"flip_pairs": () if hand else ((0, 5), (1, 4), (2, 3)), "skeleton": ((0, 1), (1, 2)), "crop": (96, 96)},
        **{"padding": 1.25, "input": (side, side), "antialias": True, "modality": "rgb", "output": network.output},
        **{"mean": tuple(graph.MEAN), "std": tuple(graph.STD), "flip_test": False, "scale": 30.0 if hand else None},
    }
    return Label(**settings | {"codec": codec} | changes)


def untrained(tmp_path, name: str) -> Student:
    """A student of random weights whose batch norms have seen pictures."""
    spec, side, codec = NETWORKS[name]
    spec = spec | {"joints": 21 if spec["name"] == "resnet" else 6}
    spec |= {"input_size": [side, side]} if spec.get("head") == "simcc" else {}
    torch.manual_seed(0)
    network = build_model(spec).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, side, side))
    save_weights(tmp_path / "weights.safetensors", network, spec)
    label = label_of(network, side, codec, flip_test="flipped" in name)
    return student_of(tmp_path / "weights.safetensors", label, network.eval())


@pytest.mark.parametrize("name", EXPORTED)
def test_a_graph_tells_what_torch_tells(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    student, path = untrained(tmp_path, name), tmp_path / "pose.onnx"
    what, crops = samples(student, 6)
    assert what == ("6 drawn hands" if student.label.output == "pose" else "6 drawn people")
    found = graph.export(student, path, crops)
    assert found.position <= 0.01 and found.score <= 1e-4
    assert [file.name for file in tmp_path.glob("*.onnx*")] == ["pose.onnx"]  # and no data beside it

    # By onnxruntime alone, as a stranger would: pixels in, joints out, in batches of any size.
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    side = student.label.input[0]
    for count in (1, 5):
        views = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)
        images = torch.from_numpy((views - graph.MEAN) / graph.STD).float().permute(0, 3, 1, 2)
        expected = [part for part in student.task.predict(images, student.label.flip_test) if part is not None]
        for ours, theirs in zip(expected, session.run(None, {"image": views}), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=5e-3 if ours.shape[-1] == 2 else 1e-4)
    again = open_student(path)
    assert again.label == student.label
    model = onnx.load(path)
    assert not any(node.metadata_props for node in model.graph.node)  # which would tell paths of this machine
    for entry in model.metadata_props:
        if entry.key == "input":
            entry.value = "[96, 32]"
    onnx.save(model, path)
    with pytest.raises(InputError, match="does not see what its label says"):
        open_student(path)


def test_every_architecture_is_exported_or_refused():
    assert {model["name"] for model, _, _ in NETWORKS.values()} == set(names("lib.params.networks"))


def test_queries_which_no_graph_assigns_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    student = untrained(tmp_path, "prtr")
    with pytest.raises(InputError, match="a graph cannot assign joints to queries; use the weights") as error:
        graph.export(student, tmp_path / "pose.onnx", samples(student, 2)[1])
    assert len(str(error.value).splitlines()) == 1 and not list(tmp_path.glob("pose*"))


def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    student = untrained(tmp_path, "resnet, pose")
    real = graph.open_graph

    class Off(graph.Graph):
        def predict(self, images, flip_test=False):
            return super().predict(images)[0] + 1e-3, None

    monkeypatch.setattr(graph, "open_graph", lambda path: (None, Off(real(path)[1].session)))
    _, crops = samples(student, 2)
    with pytest.raises(InputError, match="was not kept"):
        graph.export(student, tmp_path / "pose.onnx", crops)
    assert not list(tmp_path.glob("*pose*"))


@pytest.mark.parametrize(("side", "parts"), [(4, 3), (16, 13), (16, 11), (8, 6), (5, 2), (4, 4)])
def test_windows_are_those_of_adaptive_pooling(side, parts):
    values = torch.randn(1, 1, 1, side)
    starts, ends = graph.windows(side, parts)
    maxima = torch.stack([values[..., start:end].amax(-1) for start, end in zip(starts, ends, strict=True)], -1)
    assert torch.equal(maxima, nn.functional.adaptive_max_pool2d(values, (1, parts)))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    students.train_people(folder)
    return folder


def test_from_a_run_to_a_photograph_with_one_file(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(project)
    out, run = tmp_path / "deep/pose.onnx", "models/fpd/student"
    export.main(run, "-o", str(out))
    assert "On 6 validation crops onnxruntime and PyTorch differ by up to" in capsys.readouterr().out
    photo, box = "data/raw/lsp/lsp/images/im0007.jpg", "10,12,60,90"
    monkeypatch.chdir(tmp_path)
    answers = []
    for name, student in (("torch", project / run), ("onnx", out)):
        predict.main(str(student), str(project / photo), "--box", box, "-o", name)
        answers.append(json.loads((tmp_path / name / "keypoints.json").read_text()))
    torch_one, onnx_one = answers
    np.testing.assert_allclose(onnx_one[0].pop("keypoints"), torch_one[0].pop("keypoints"), atol=2e-2)
    assert onnx_one[0] | {"score": 0} == torch_one[0] | {"score": 0}
    with pytest.raises(InputError, match="is a graph already"):
        export.main(str(out), "-o", "again.onnx")


def test_weights_of_half_the_size_say_how_far_they_are(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(project)
    run, half = "models/fpd/student", tmp_path / "half.safetensors"
    export.main(run, "-o", str(half), "--bfloat16")
    told = capsys.readouterr().out
    full, rounded = open_student(project / run), open_student(half)
    _, crops = samples(full, 64)
    gap = differences(full, rounded, crops)
    assert 0 < gap.mean < 16 and f"differ from those trained by {gap}" in told and str(gap) in rounded.label.note
    again = measured(student_of(full.path, rounded.label, rounded.task.student), again=True)
    assert rounded.label.metrics == pytest.approx(again)
    assert "mean` of the validation is" in (tmp_path / "half.md").read_text()


def test_the_card_has_the_header_that_hugging_face_reads(project, monkeypatch):
    monkeypatch.chdir(project)
    student = open_student(project / "models/fpd/student")
    metrics = measured(student, again=False)
    label = student.label.model_copy(update={"metrics": metrics})
    model = {"name": "hourglass", "joints": 14, "stacks": 2, "stem": "newell"}
    text = card(label, project / "pose.onnx", model, 12_345, "Checked.")
    _, header, body = text.split("---\n", 2)
    read = yaml.safe_load(header)
    words = [read[key] for key in ("library_name", "pipeline_tag", "license")]
    assert words == ["onnx", "keypoint-detection", "other"]
    (result,) = read["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "mean PCK@0.2", "value": pytest.approx(metrics["mean"], abs=1e-4)}]
    assert result["dataset"] == {"type": "lsp", "name": "LSP", "split": "validation"}
    assert "0.01 M parameters (`hourglass`: stacks 2, stem newell)" in body
    assert "(n, 64, 64, 3)" in body and "terms: pictures of Flickr's users" in body
    drawn = card(label.model_copy(update={"source": "synthetic"}), project / "pose.safetensors", model, 12_345, "")
    assert "pictures that this project has drawn" in drawn and "proves nothing about photographs" in drawn
    assert "Not measured" in card(student.label, project / "pose.onnx", model, 1, "")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript: pip install -r requirements-export\.txt"):
        graph.needed("onnxscript")


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(200)])
def test_files_that_are_no_graph_get_one_line(tmp_path, content):
    path = tmp_path / "pose.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_student(path)
    assert len(str(error.value).splitlines()) == 1


def test_names_that_fit_no_format_are_refused(project, tmp_path):
    for name, option in (("pose.pt", []), ("pose.onnx", ["--bfloat16"])):
        with pytest.raises(InputError, match=r"\.safetensors"):
            export.main(str(project / "models/fpd/student"), "-o", str(tmp_path / name), *option)
    assert not list(tmp_path.iterdir())
