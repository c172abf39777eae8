"""Train one run: `python -m stages.train fpd.lsp_student`; under torchrun, on as many processes as it starts."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from lib.data.batches import Augmentation, Batches, evenly_spaced
from lib.data.crops import Crops, join, open_crops
from lib.environment import describe
from lib.errors import InputError
from lib.files import atomic, remove, write_csv
from lib.metrics import score
from lib.models import build_model
from lib.models.pretrained import load_imagenet
from lib.params import TrainSpec
from lib.tasks import Task, build_task
from lib.tasks.cmkg import load_prior
from lib.training.checkpoint import fingerprint, load_weights, save_weights
from lib.training.distributed import Process, connect
from lib.training.loop import fit, make_deterministic
from lib.training.predict import predict
from stages import load_spec, run

SCRATCH = Path(".cache/training")
MODELS = Path("models")
CROPS = Path("data/crops")
VAL_BATCH = 32


def main(argument: str = "") -> None:
    """Train what data/specs/<paper>/<run>.json says, once per seed, and write models/<paper>/<run>/."""
    paper, _, name = argument.partition(".")
    if not name:
        raise InputError(
            f"python -m stages.train {argument}: which run? expected <paper>.<run>, such as fpd.lsp_student"
        )
    content = load_spec(f"{paper}/{name}")
    train(TrainSpec.model_validate(content["spec"]), tuple(content["seeds"]))


def train(spec: TrainSpec, seeds: tuple[int, ...]) -> None:
    """Train `spec` once per seed; finished seeds wait in the scratch folder until all are."""
    annotations = json.loads((CROPS / spec.crops / "val.json").read_text())
    scratch = SCRATCH / f"{spec.paper}.{spec.run}"
    if spec.threads:
        torch.set_num_threads(spec.threads)
    with connect() as process:
        finished = {seed: train_seed(spec, seed, scratch, process, annotations) for seed in seeds}
        if process.rank > 0:
            return
        seconds = {f"seed{seed}": json.loads((path / "seconds.json").read_text()) for seed, path in finished.items()}
        environment = {**describe(), "dataset_source": annotations["info"]["source"], "seconds": seconds}
        with atomic(MODELS / spec.paper / spec.run) as folder:
            for seed, path in finished.items():
                shutil.copytree(path, folder / f"seed{seed}", ignore=shutil.ignore_patterns("seconds.json"))
            (folder / "spec.json").write_text(spec.model_dump_json(indent=2) + "\n")
            (folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
        remove(scratch)  # and with it what earlier settings of this run left behind


def train_seed(spec: TrainSpec, seed: int, scratch: Path, process: Process, annotations: dict) -> Path:
    """Train one seed or continue where it was interrupted; return the folder of the finished one."""
    make_deterministic(seed, process.device)
    crops = {split: open_crops(CROPS / spec.crops, split) for split in ("train", "val")}
    model = spec.network(spec.model, len(crops["train"].joints))
    weights = {role: weights_path(spec, role, seed) for role in ("init", "teacher", "prior") if getattr(spec, role)}
    student = load_weights(weights["init"], model) if spec.init else build_model(model)
    if spec.pretrained:
        load_imagenet(student)
    teacher = load_weights(weights["teacher"]).to(process.device) if spec.teacher else None
    prior = load_prior(weights["prior"], student) if spec.prior else ()
    task = build_task(spec, student, crops["train"].flip_pairs, teacher, prior)

    settings = {"spec": spec.model_dump(mode="json"), "seed": seed, "processes": process.world}
    settings |= {"threads": torch.get_num_threads(), "device": process.device.type, "torch": torch.__version__}
    folders = [CROPS / name for name in (spec.crops, spec.synthetic) if name]
    packed = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    folder = scratch / fingerprint(settings, [*packed, *weights.values()])
    finished = folder / "finished"
    if finished.exists():
        return finished

    ids = np.array([image["id"] for image in annotations["images"]])
    evaluated = ids[evenly_spaced(spec.val_samples, len(ids))]
    train_batches, val_batches = batches(spec, crops, evaluated, seed, process)

    def predictions(of: Task, flip_test: bool) -> dict[str, np.ndarray]:
        return predict(of, val_batches, flip_test) | {"images": evaluated}

    def validate() -> dict[str, float]:
        return score(annotations, predictions(task, flip_test=False))

    label = f"{spec.paper}.{spec.run} seed {seed}"
    history, seconds = fit(task, train_batches, spec, folder / "state.pt", process, validate, label)
    if process.rank == 0:
        with atomic(finished) as part:
            for number, (network, branch) in enumerate(zip(task.networks, spec.exports, strict=False), start=1):
                place = part / f"branch_{number}" if number > 1 else part
                place.mkdir(exist_ok=True)
                save_weights(place / "weights.safetensors", network, spec.network(branch, network.joints))
                alone = build_task(spec.model_copy(update={"distillation": None}), network, crops["val"].flip_pairs)
                flip_test = spec.decoding is not None and spec.decoding.flip_test
                np.savez(place / "predictions.npz", **predictions(alone, flip_test))
            task.save(part)
            rows = [{name: f"{value:.6g}" for name, value in row.items()} for row in history]
            write_csv(part / "history.csv", rows)
            (part / "seconds.json").write_text(f"{seconds:.1f}")
    return finished


def weights_path(spec: TrainSpec, role: str, seed: int) -> Path:
    """What the run that serves this one as "teacher", "init" or "prior" has learned with the same seed."""
    name = "prior" if role == "prior" else "weights"
    return MODELS / spec.paper / getattr(spec, role) / f"seed{seed}" / f"{name}.safetensors"


def batches(
    spec: TrainSpec, crops: dict[str, Crops], evaluated: np.ndarray, seed: int, process: Process
) -> tuple[Batches, Batches]:
    """Batches for training, this process's share, and for validation: everybody in the `evaluated` images."""
    people, count = crops["train"], len(crops["train"].ids)
    chosen = evenly_spaced(spec.train_samples, count)
    if spec.synthetic:
        people = join(people, open_crops(CROPS / spec.synthetic, "train"))
        chosen = np.concatenate([chosen, np.arange(count, len(people.ids))])
    common = {"seed": seed, "device": process.device, "antialias": spec.antialias}
    views = {"student": (spec.input, spec.modality), "teacher": (spec.teacher_input, spec.teacher_modality)}
    if not spec.teacher or views["teacher"] == views["student"]:
        del views["teacher"]
    training = Batches(
        *(people, {view: size for view, (size, _) in views.items()}, spec.batch_size),
        augmentation=Augmentation(**spec.augmentation.model_dump()),
        rows=chosen,
        rank=process.rank,
        world=process.world,
        depth=[view for view, (_, modality) in views.items() if modality == "depth"],
        **common,
    )
    rows = np.flatnonzero(np.isin(crops["val"].image_ids, evaluated))
    depth = ["student"] if spec.modality == "depth" else []
    sizes = {"student": spec.input}
    return training, Batches(crops["val"], sizes, VAL_BATCH, augmentation=None, rows=rows, depth=depth, **common)


if __name__ == "__main__":
    run(main)
