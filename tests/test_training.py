"""The loop, its results and its refusals."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lib import environment
from lib.code import digest
from lib.data.batches import Augmentation, Batches
from lib.data.crops import open_crops
from lib.errors import InputError
from lib.files import remove
from lib.models import build_model
from lib.records import read_record
from lib.runs import as_json
from lib.tasks import build_task
from lib.training import loop, seeds
from lib.training.distributed import Process
from lib.training.predict import predict
from lib.weights import load_weights
from stages.train import check_code
from tests import toy
from tests.toy import train
from tests.web import tree

RUN = Path("models/fpd/student/seed0")
DISTILLATION = {"alpha": 0.5, "loss": "mse", "variant": "paper"}
STILL = {"flip": False, "scale": (1.0, 1.0), "rotation": 0.0, "half_body": 0.0}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    toy.write_dataset(tmp_path, train=8, val=3)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.use_deterministic_algorithms(False)


def pieces(run, device="cpu"):
    """Task and training batches of a run, from seed 0."""
    crops = open_crops(Path("data/crops/lsp"), "train")
    loop.make_deterministic(0, torch.device(device))
    task = build_task(run, build_model({**run.model, "joints": 14}), crops.flip_pairs)
    augmentation = Augmentation(**run.augmentation)
    return task, Batches(crops, {"student": run.input}, run.batch_size, augmentation=augmentation, seed=0)


def rows() -> list[dict[str, str]]:
    with (RUN / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_network_learns_eight_images_by_heart(folder):
    run = toy.run(
        model={**toy.HOURGLASS, "channels": 32},
        optimizer={**toy.ADAM, "lr": 5e-3, "milestones": [60], "gamma": 0.2},
        augmentation=STILL,
        epochs=80,
        batch_size=8,
        codec={"sigma": 1.5, "scaling": "peak"},
    )
    task, batches = pieces(run)
    history, _ = loop.fit(task, batches, run, folder / "state.pt")
    assert history[-1]["mse"] < 0.1 * history[0]["mse"]
    crops = batches.crops
    found = predict(task, Batches(crops, {"student": run.input}, 8, augmentation=None, seed=0), flip_test=False)
    truth = np.einsum("nij,nkj->nki", crops.to_image[:, :, :2], crops.keypoints) + crops.to_image[:, None, :, 2]
    distance = np.linalg.norm(found["keypoints"] - truth, axis=2)[crops.visible]
    assert np.median(distance) < 4 and (distance < 6).mean() > 0.75  # the discs' radius is 4 px


def test_outputs_of_a_run(folder):
    run = toy.run(epochs=4, validations=2)
    train(run, 0, 3)
    assert sorted(str(path.relative_to("models")) for path in Path("models").rglob("*") if path.is_file()) == sorted(
        ["fpd/student/spec.json"]
        + [
            f"fpd/student/seed{seed}/{name}"
            for seed in (0, 3)
            for name in ("history.csv", "predictions.npz", "weights.safetensors")
        ]
    )
    history = rows()
    validated = [name for name in history[0] if name.startswith("val_")]
    assert list(history[0]) == ["epoch", "lr", "mse", "loss", *validated] and "val_mean" in validated
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    assert [row["val_mean"] != "" for row in history] == [False, True, False, True]
    with np.load(RUN / "predictions.npz") as found:
        assert found["ids"].tolist() == [1, 2, 3]
        assert found["keypoints"].shape == (3, 14, 2) and found["keypoints"].dtype == np.float32
        assert found["scores"].shape == (3, 14) and found["scores"].dtype == np.float32
        # original image px: nothing is outside the 64 px of the image, whose crop is 64 px within a margin
        assert found["keypoints"].min() >= -1 and found["keypoints"].max() <= 64
    stored = json.loads(Path("models/fpd/student/spec.json").read_text())
    assert stored == json.loads(json.dumps(as_json(run)))


def test_outputs_are_a_function_of_their_inputs_and_the_record_tells_the_rest(folder):
    run, outputs = toy.run(epochs=1), []
    for _ in range(2):
        train(run, 0)
        outputs.append(tree(folder / "models"))
        remove(folder / "models")
        remove(folder / ".cache/training")
    assert outputs[0] == outputs[1] and len(outputs[0]) == 4  # to the byte, though in other seconds
    record = read_record("fpd/student")
    assert record.keys() == {"seed0"}
    assert record["seed0"].keys() == environment.describe().keys() | {"seconds", "images_per_second"}
    assert record["seed0"]["seconds"] >= 0 < record["seed0"]["images_per_second"]


def test_saved_weights_rebuild_the_network_and_its_predictions(folder):
    run = toy.run(epochs=1, flip_test=False)
    train(run, 0)
    with safe_open(RUN / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["model"]) == {**run.model, "joints": 14}
    crops = open_crops(Path("data/crops/lsp"), "val")
    task = build_task(run, load_weights(RUN / "weights.safetensors"), crops.flip_pairs)
    found = predict(task, Batches(crops, {"student": run.input}, 2, augmentation=None, seed=0), flip_test=False)
    with np.load(RUN / "predictions.npz") as stored:
        np.testing.assert_allclose(found["scores"], stored["scores"], rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder):
    weights = []
    for seed in (0, 0, 1):
        train(toy.run(epochs=2), seed)
        weights.append((RUN.with_name(f"seed{seed}") / "weights.safetensors").read_bytes())
        remove(folder / ".cache/training")
    assert weights[0] == weights[1] != weights[2]


def test_a_teacher_is_looked_at_before_it_teaches(folder):
    train(toy.run(name="teacher", epochs=1), 0)
    train(toy.run(teacher="fpd/teacher", method="fpd", settings=DISTILLATION, epochs=1), 0)
    seen = read_record("fpd/student")["seed0"]["teacher"]
    assert seen.keys() == {"median", "mean", "worst", "empty", "above_empty"}
    assert 0 < seen["median"] <= seen["worst"] and 0 <= seen["above_empty"] <= 1


def test_a_distilled_run_saves_the_student_only(folder):
    train(toy.run(name="teacher", model={**toy.HOURGLASS, "stacks": 2}, epochs=1), 0)
    before = Path("models/fpd/teacher/seed0/weights.safetensors").read_bytes()
    run = toy.run(teacher="fpd/teacher", method="fpd", settings=DISTILLATION, epochs=1)
    train(run, 0)
    assert Path("models/fpd/teacher/seed0/weights.safetensors").read_bytes() == before
    student = build_model({**run.model, "joints": 14})
    with safe_open(RUN / "weights.safetensors", "pt") as file:
        assert set(file.keys()) == set(student.state_dict())
    row = rows()[0]
    assert float(row["loss"]) == pytest.approx(float(row["mse"]) + float(row["distillation"]), rel=1e-5)


def test_a_run_starts_from_the_weights_of_another(folder):
    train(toy.run(name="base", epochs=1), 0)
    train(toy.run(init="fpd/base", optimizer={**toy.ADAM, "lr": 1e-12}, epochs=1), 0)
    base, student = (load_weights(Path(f"models/fpd/{run}/seed0/weights.safetensors")) for run in ("base", "student"))
    for (name, start), end in zip(base.named_parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(end, start, rtol=0, atol=1e-9, msg=name)


def test_weights_of_another_network_or_none_are_refused(folder):
    with pytest.raises(InputError, match=r"models/fpd/base/seed0/weights\.safetensors not found"):
        train(toy.run(init="fpd/base"), 0)
    train(toy.run(name="base", epochs=1), 0)
    with pytest.raises(InputError, match=r"holds \{.*'stacks': 1.*this run needs \{.*'stacks': 2"):
        train(toy.run(init="fpd/base", model={**toy.HOURGLASS, "stacks": 2}), 0)
    Path("models/fpd/base/seed0/weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a weights file"):
        train(toy.run(init="fpd/base"), 0)
    assert not RUN.exists()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_loss_that_is_not_finite_stops_with_what_led_to_it(folder):
    run = toy.run(epochs=2, batch_size=2)
    task, batches = pieces(run)
    bad = 5
    keypoints = batches.crops.keypoints
    keypoints[bad] = np.inf
    with pytest.raises(InputError) as stop:
        loop.fit(task, batches, run, folder / "state.pt")
    order = [batch.rows.tolist() for batch in batches.epoch(1)]
    number = next(index for index, found in enumerate(order) if bad in found)
    message = str(stop.value)
    assert f"epoch 1, batch {number + 1} of 4, learning rate 0.001: mse nan; rows {order[number]}" in message
    assert "gradient norm" in message and "\n" not in message


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [((), [1, 1, 1, 1, 1]), ((2, 4), [1, 1, 0.1, 0.1, 0.01]), ((2, 2), [1, 1, 0.01, 0.01, 0.01])],
)
def test_the_learning_rate_falls_after_each_milestone(milestones, expected):
    settings = {"lr": 1.0, "milestones": milestones, "gamma": 0.1}
    assert [loop.learning_rate(settings, epoch) for epoch in range(1, 6)] == pytest.approx(expected)


def test_rmsprop_is_torch7s():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = loop.build_optimizer([weight], {"name": "rmsprop", "lr": 0.1, "weight_decay": 0.0})
    value, mean_square = 2.0, 0.0
    for gradient in (3.0, -1.0, 0.5):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        mean_square = 0.99 * mean_square + 0.01 * gradient**2
        value -= 0.1 * gradient / (math.sqrt(mean_square) + 1e-8)
        assert weight.item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_bfloat16_trains_too(folder, name):
    train(toy.run(optimizer={**toy.ADAM, "name": name}, precision="bfloat16", epochs=3), 0)
    assert float(rows()[-1]["mse"]) < float(rows()[0]["mse"])


def test_the_environment_is_plain_and_known_outside_a_checkout(tmp_path):
    assert environment.revision(tmp_path) == "unknown"
    described = environment.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["torch"] == torch.__version__ and described["threads"] == torch.get_num_threads()


def test_a_changed_source_makes_the_revision_dirty_and_a_result_does_not(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@t")
        assert environment.git(tmp_path, *identity, *arguments) is not None

    git("init")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.py").write_text("a = 1\n")
    git("add", "-A")
    git("commit", "-m", "first")
    clean = environment.revision(tmp_path)
    assert len(clean) == 12
    (tmp_path / "result.json").write_text("{}")
    assert environment.revision(tmp_path) == clean
    (tmp_path / "lib/a.py").write_text("a = 2\n")
    assert environment.revision(tmp_path) == f"{clean}-dirty"


def test_another_arithmetic_is_another_result(folder, monkeypatch):
    """A processor with units for bfloat16 rounds differently: a seed that another one has finished does not count."""
    run = toy.run(epochs=1)
    prints = []
    for capability in ("AVX512", "AVX512, avx512_bf16", "AVX512"):
        monkeypatch.setattr("lib.training.seeds.capability", lambda known=capability: known)
        prints.append(seeds.fingerprint(run, 0, {}, Process(), {}))
    assert prints[0] == prints[2] != prints[1]
    assert environment.capability().split(", ")[0] == torch.backends.cpu.get_cpu_capability()


def test_code_that_changed_after_its_spec_is_refused(tmp_path):
    """What it trains would be kept under the digest of the old code."""
    code, spec = tmp_path / "module.py", tmp_path / "spec.json"
    spec.touch()
    code.write_text("x = 1  # a comment\n")
    os.utime(code, (spec.stat().st_mtime + 1,) * 2)
    check_code({str(code): digest("x = 1\n")}, spec)
    with pytest.raises(InputError, match=r"module.py has changed since .*spec.json was made: repeat dvc repro"):
        check_code({str(code): digest("x = 2\n")}, spec)
