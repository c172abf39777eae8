"""Write a trained student as one file: `python -m stages.export models/okdhp/mpii_hg4 -o pose.onnx`."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from lib.deployment.cards import card
from lib.deployment.checks import differences, measured, samples
from lib.deployment.students import Student, open_student, student_of
from lib.errors import InputError
from lib.files import atomic
from lib.labels import Label, copy_weights
from lib.metrics.scores import HEADLINE
from lib.weights import load_weights, read_model
from stages import run

CROPS = 64  # to compare on


def main(*arguments: str) -> None:
    """Write an ONNX graph, or the weights again, and <name>.md, the model card with what the check has found."""
    parser = argparse.ArgumentParser("python -m stages.export", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("student", type=Path, help="folder of a run or of a seed, or .safetensors")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write: .onnx or .safetensors")
    parser.add_argument("--bfloat16", action="store_true", help="weights of half the size, .safetensors only")
    parser.add_argument("--no-flip-test", action="store_true", help="half the work: the mirrored picture is not seen")
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".onnx", ".safetensors"):
        raise InputError(f"{options.out}: expected a name that ends in .onnx or in .safetensors")
    if options.bfloat16 and options.out.suffix == ".onnx":
        raise InputError(f"{options.out} cannot be of bfloat16: only .safetensors can")
    student = open_student(options.student)
    if student.path.suffix == ".onnx":
        raise InputError(f"{student.path} is a graph already: export the weights that it was made of")
    changed = options.bfloat16
    if options.no_flip_test and student.label.flip_test:
        student, changed = relabelled(student, flip_test=False), True
    write = write_graph if options.out.suffix == ".onnx" else write_weights
    label, checked = write(student, options.out, changed, torch.bfloat16 if options.bfloat16 else torch.float32)
    parameters = sum(parameter.numel() for parameter in student.task.parameters())
    with atomic(options.out.with_suffix(".md")) as part:
        text = card(label, options.out, read_model(student.path), parameters, checked)
        part.write_text(text, encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB. {checked}")


def relabelled(student: Student, **changes: object) -> Student:
    """The student with other entries in its label."""
    return replace(student, label=student.label.model_copy(update=changes))


def described(student: Student, again: bool) -> Student:
    """The student with its validation in its label, done again where it is not the one that it was trained with."""
    metrics = measured(student, again) or (None if again else student.label.metrics)
    return relabelled(student, metrics=metrics)


def write_graph(student: Student, out: Path, changed: bool, dtype: torch.dtype) -> tuple[Label, str]:
    """Write the graph; return its label and, in words, how far it is from the student."""
    from lib.deployment.graph import export  # needs packages that only exports need

    student, (what, crops) = described(student, changed), samples(student, CROPS)
    return student.label, f"On {what} onnxruntime and PyTorch differ by {export(student, out, crops)}."


def write_weights(student: Student, out: Path, changed: bool, dtype: torch.dtype) -> tuple[Label, str]:
    """Write the weights in a type; return their label and, in words, how far they are from the student."""
    what, crops = samples(student, CROPS)
    rounded = described(student_of(student.path, student.label, load_weights(student.path).to(dtype).float()), changed)
    difference = differences(student, rounded, crops)
    name = str(dtype).removeprefix("torch.")
    checked = f"Weights are {name}; on {what} they differ from those trained by {difference}."
    before, after = measured(student, again=False), rounded.label.metrics
    if before and after and dtype != torch.float32:
        headline = HEADLINE[student.label.benchmark]
        checked += f" `{headline}` of the validation is {after[headline]:.2f} with them, {before[headline]:.2f} before."
    rounded = relabelled(rounded, note=checked)
    copy_weights(student.path, out, rounded.label, dtype)
    return rounded.label, checked


if __name__ == "__main__":
    run(main)
