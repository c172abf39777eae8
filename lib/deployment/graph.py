"""A student as an ONNX graph: from the pixels that its network sees to joints, with everything it is in one file."""

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.batches import MEAN, STD, grey_levels
from lib.data.crops import Crops
from lib.deployment.checks import Difference, differences
from lib.deployment.students import Student
from lib.errors import InputError, first_line
from lib.files import atomic
from lib.labels import Label, parse_label
from lib.runs import Size
from lib.tasks import Task

NEAR, CLOSE = 0.01, 1e-4  # px of the input, and of scores (poses: of a unit): what two programs may differ by


class Pipeline(nn.Module):
    """Views (B, H, W, 3) uint8 RGB to keypoints (B, K, 2), px of the view, and scores (B, K); or to poses (B, K, 3)."""

    def __init__(self, task: Task, flip_test: bool):
        super().__init__()
        self.task, self.flip_test = task, flip_test
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float32)[:, None, None])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images = (image.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return tuple(part for part in self.task.predict(images, self.flip_test) if part is not None)


class Graph(nn.Module):
    """An exported student, which predicts as a task does; its flip test is in the graph, or it has none."""

    def __init__(self, session: Any):
        super().__init__()
        self.session = session

    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor | None]:
        found = [torch.from_numpy(part) for part in self.session.run(None, {"image": grey_levels(images)})]
        return found[0], found[1] if len(found) > 1 else None


def export(student: Student, path: Path, crops: Crops) -> Difference:
    """Write a student as an ONNX file with its label as metadata, once onnxruntime agrees with torch on some crops.

    The batch is of any size. Raises InputError, and leaves nothing, where a package is missing, where the student is a
    graph already, and where an answer differs by more than NEAR or CLOSE.
    """
    if isinstance(student.task, Graph):
        raise InputError(f"{student.path} is a graph already: export the weights it was made of")
    if student.label.output == "queries":
        raise InputError(f"{student.path}: a graph cannot assign joints to queries; use the weights themselves")
    onnx = needed("onnx")
    needed("onnxscript")
    program = convert(Pipeline(student.task.cpu(), student.label.flip_test).eval(), student.label.input)
    metadata = {name: json.dumps(value) for name, value in student.label.model_dump(mode="json").items()}
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata)
    for node in model.graph.node:  # where in whose files of Python each came from
        del node.metadata_props[:]
    model.doc_string = f"{student.label.paper} {student.label.run}, seed {student.label.seed}"
    with atomic(path) as part:
        part.write_bytes(model.SerializeToString())
        found = differences(student, replace(student, task=open_graph(part)[1]), crops)
        if not (found.position <= (CLOSE if student.label.output == "pose" else NEAR) and found.score <= CLOSE):
            raise InputError(f"{path} was not kept: onnxruntime and torch differ by {found}")
    return found


def convert(pipeline: Pipeline, input_size: Size) -> Any:
    """The ONNX program of a pipeline for views of (height, width) px."""
    example = torch.zeros(2, *input_size, 3, dtype=torch.uint8)
    outputs = ["pose"] if pipeline.task.student.output == "pose" else ["keypoints", "scores"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated names in the exporter itself
        return torch.onnx.export(
            pipeline,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1)}},
            custom_translation_table={torch.ops.aten.adaptive_max_pool2d.default: adaptive_max_pool},
        )


def adaptive_max_pool(x: Any, output_size: list[int]) -> tuple[Any, Any]:
    """Adaptive max-pooling (B, C, h, w), which ONNX lacks: maxima of gathered windows, along one axis and the other.

    Window i of n pixels in m parts is from floor(i n / m) to ceil((i + 1) n / m), as PyTorch has it; shorter ones
    repeat their last pixel. What PyTorch returns besides, the places of the maxima, no network here uses.
    """
    op, onnx = needed("onnxscript").opset18, needed("onnx")
    sides = x.shape[2:]
    for axis, side, parts in zip((2, 3), sides, output_size, strict=True):
        starts, ends = windows(int(side), parts)
        longest = max(end - start for start, end in zip(starts, ends, strict=True))
        places = [[min(start + n, end - 1) for n in range(longest)] for start, end in zip(starts, ends, strict=True)]
        pixels = op.Constant(value=onnx.numpy_helper.from_array(np.array(places, np.int64)))
        gathered = op.Gather(x, pixels, axis=axis)
        x = op.ReduceMax(gathered, op.Constant(value_ints=[axis + 1]), keepdims=0)
    return x, x


def windows(side: int, parts: int) -> tuple[list[int], list[int]]:
    """First pixels of the windows of an adaptive pooling, and those behind their last ones."""
    return [part * side // parts for part in range(parts)], [-(-(part + 1) * side // parts) for part in range(parts)]


def open_graph(path: Path, threads: int = 0) -> tuple[Label, Graph]:
    """Read an exported student; threads: of onnxruntime, 0: as it chooses.

    Raises InputError where a package is missing and where the file is no graph, or none of this project.
    """
    content = path.read_bytes()
    try:
        session = session_of(content, threads)
    except InputError:
        raise
    except Exception as error:  # whatever the parser stumbles over
        raise InputError(f"{path} is not an ONNX graph ({first_line(error)}): export the student again") from None
    label = parse_label(path, session.get_modelmeta().custom_metadata_map)
    if shapes(session.get_inputs()) != [["image", "tensor(uint8)", *label.input, 3]]:
        raise InputError(f"{path} does not see what its label says: export the student again")
    joints, numbers = len(label.joints), "tensor(float)"
    told = [["keypoints", numbers, joints, 2], ["scores", numbers, joints]]
    if shapes(session.get_outputs()) != ([["pose", numbers, joints, 3]] if label.output == "pose" else told):
        raise InputError(f"{path} does not tell what its label says: export the student again")
    return label, Graph(session)


def shapes(ends: list[Any]) -> list[list[Any]]:
    """Names, types and sizes, but for the batch's, of what goes into a graph or comes out."""
    return [[end.name, end.type, *end.shape[1:]] for end in ends]


def session_of(content: bytes, threads: int) -> Any:
    """A graph ready to run."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def needed(name: str) -> Any:
    """A package that only exports need. Raises InputError where it is not installed."""
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise InputError(f"ONNX needs {name}: pip install -r requirements-export.txt") from None
