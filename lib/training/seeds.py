"""One seed of a run: trained once and kept by content, whichever run asked for it."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from lib.data.batches import Augmentation, Batches, evenly_spaced
from lib.data.crops import WIDE, Crops, join, open_crops
from lib.data.persons import Persons, open_persons
from lib.environment import capability, describe
from lib.files import atomic, locked, write_csv
from lib.metrics.scores import score
from lib.models import build_model
from lib.models.frozen import frozen
from lib.runs import Run, as_json, as_run
from lib.tasks import Task, build_task, labels_task
from lib.training.agreement import errors, look_at_teacher
from lib.training.checkpoint import contents
from lib.training.distributed import Process, first_says
from lib.training.loop import fit, make_deterministic
from lib.training.predict import predict, search
from lib.weights import load_weights, save_weights

SCRATCH = Path(".cache/training")
MODELS = Path("models")
CROPS = Path("data/crops")
VAL_BATCH = 32
NAMES = ("paper", "name", "crops", "synthetic", "teacher", "init", "prior")  # of a Run: what they name has contents


def trained_seed(run: Run, seed: int, code: Mapping[str, str], process: Process) -> Path:
    """The folder of a finished seed, which is trained, or continued where it was interrupted, unless it is there.

    It holds weights.safetensors and predictions.npz, with scales.npz where the run predicts over several sizes, too, of
    further branches in branch_<n>, history.csv, what the task saves, and record.json. code: the digests of all that can
    change it. Raises InputError for crops, weights or a state that do not fit.
    """
    make_deterministic(seed, process.device)
    weights = {role: weights_path(run, role, seed) for role in ("init", "teacher", "prior") if getattr(run, role)}
    folder = SCRATCH / fingerprint(run, seed, code, process, weights)
    finished = folder / "finished"
    alone = locked(folder / "lock", f"seed {seed} of {run.label}") if process.rank == 0 else nullcontext()
    with alone:  # whoever trains the same one waits, then finds it finished
        if not first_says(finished.exists(), process):
            train(run, seed, process, weights, folder / "state.pt", finished)
        if process.rank == 0:
            (folder / "state.pt").unlink(missing_ok=True)
    return finished


def fingerprint(run: Run, seed: int, code: Mapping[str, str], process: Process, weights: Mapping[str, Path]) -> str:
    """SHA-256 of all that a seed's result depends on: settings, code, contents of crops and weights, arithmetic."""
    settings = {name: value for name, value in as_json(run).items() if name not in NAMES}
    folders = {role: CROPS / name for role, name in (("crops", run.crops), ("synthetic", run.synthetic)) if name}
    unused = () if wide(run) else (WIDE,)
    files = {
        role: sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name not in unused)
        for role, folder in folders.items()
    }
    inputs = {
        role: [[str(path.relative_to(folders[role])) for path in paths], contents(paths)]
        for role, paths in files.items()
    }
    inputs |= {role: contents([path]) for role, path in weights.items() if path.is_file()}
    arithmetic = {"processes": process.world, "threads": torch.get_num_threads(), "torch": torch.__version__}
    if process.device.type == "cpu":
        arithmetic["capability"] = capability()
    parts = {"run": settings, "seed": seed, "code": code, "inputs": inputs, "device": process.device.type, **arithmetic}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def train(run: Run, seed: int, process: Process, weights: dict[str, Path], state: Path, finished: Path) -> None:
    """Train a seed and write its folder."""
    people = open_persons(CROPS / run.crops, run.validation)
    model = {**run.model, "joints": len(people.train.joints)}
    student = load_weights(weights["init"], model) if run.init else build_model(model)
    if run.pretrained:
        from lib.models.pretrained import load_imagenet  # is in the specs of such runs alone

        load_imagenet(student)
    kind = torch.bfloat16 if run.precision == "bfloat16" else torch.float32
    teacher = frozen(load_weights(weights["teacher"]), kind).to(process.device) if run.teacher else None
    task = build_task(run, student, people.train.flip_pairs, teacher, weights.get("prior"))
    ids = np.array([image["id"] for image in people.annotations["images"]])
    evaluated = ids[evenly_spaced(run.val_samples, len(ids))]
    train_batches, val_batches = batches(run, people, evaluated, seed, process)

    looked_at = {}
    if run.teacher:
        spec = as_run(json.loads((MODELS / run.teacher / "spec.json").read_text(encoding="utf-8")))
        alone = labels_task(spec, teacher, people.train.flip_pairs)
        looked_at = {"teacher": look_at_teacher(alone, train_batches, run.teacher)}

    def predictions(of: Task, flip_test: bool) -> dict[str, np.ndarray]:
        return predict(of, val_batches, flip_test) | {"images": evaluated}

    def validate() -> dict[str, float]:
        return score(people.annotations, predictions(task, flip_test=False))

    history, seconds = fit(task, train_batches, run, state, process, validate, f"{run.label} seed {seed}")
    if process.rank > 0:
        return
    zoomed = sizes(run, evaluated, process)
    with atomic(finished) as part:
        for number, (network, branch) in enumerate(zip(task.networks, run.exports, strict=False), start=1):
            place = part / f"branch_{number}" if number > 1 else part
            place.mkdir(exist_ok=True)
            save_weights(place / "weights.safetensors", network, {**branch, "joints": network.joints})
            deployed = labels_task(run, network, people.train.flip_pairs)
            found, zeros = errors(deployed, val_batches.epoch(0))
            strays = {"errors": found, "empty_errors": zeros}
            np.savez(place / "predictions.npz", **predictions(deployed, run.flip_test), **strays)
            if zoomed:
                np.savez(place / "scales.npz", **search(deployed, zoomed, run.flip_test), images=evaluated)
        task.save(part)
        write_csv(part / "history.csv", [{name: f"{value:.6g}" for name, value in row.items()} for row in history])
        seen = run.epochs * len(train_batches) * run.batch_size
        record = {
            **describe(),
            **looked_at,
            "seconds": round(seconds, 1),
            "images_per_second": round(seen / max(seconds, 1e-9), 1),
        }
        (part / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def wide(run: Run) -> bool:
    """Whether a run shows people smaller than they are in their boxes, and more of what is around them."""
    return min(run.scales) < 1


def sizes(run: Run, evaluated: np.ndarray, process: Process) -> list[Batches]:
    """The validation persons at each size at which a run shows them for its second prediction; none without one."""
    if run.scales == (1,):
        return []
    crops = open_persons(CROPS / run.crops, run.validation, wide(run)).validation
    return [judged(run, crops, evaluated, process, zoom) for zoom in run.scales]


def weights_path(run: Run, role: str, seed: int) -> Path:
    """What the run that serves this one as "teacher", "init" or "prior" has learned with the same seed."""
    name = "prior" if role == "prior" else "weights"
    return MODELS / getattr(run, role) / f"seed{seed}" / f"{name}.safetensors"


def batches(run: Run, people: Persons, evaluated: np.ndarray, seed: int, process: Process) -> tuple[Batches, Batches]:
    """Batches for training, this process's share, and for validation: everybody in the `evaluated` images."""
    crops, count = people.train, len(people.train.ids)
    chosen = people.rows[evenly_spaced(run.train_samples, len(people.rows))]
    if run.synthetic:
        crops = join(crops, open_crops(CROPS / run.synthetic, "train"))
        chosen = np.concatenate([chosen, np.arange(count, len(crops.ids))])
    views = {"student": (run.input, run.modality), "teacher": (run.teacher_input, run.teacher_modality)}
    if not run.teacher or views["teacher"] == views["student"]:
        del views["teacher"]
    training = Batches(
        *(crops, {view: size for view, (size, _) in views.items()}, run.batch_size),
        augmentation=Augmentation(**run.augmentation),
        seed=seed,
        device=process.device,
        antialias=run.antialias,
        rows=chosen,
        rank=process.rank,
        world=process.world,
        depth=[view for view, (_, modality) in views.items() if modality == "depth"],
    )
    return training, judged(run, people.validation, evaluated, process)


def judged(run: Run, crops: Crops, evaluated: np.ndarray, process: Process, zoom: float = 1.0) -> Batches:
    """Batches of everybody in the `evaluated` images, as a run sees them."""
    return Batches(
        *(crops, {"student": run.input}, VAL_BATCH),
        augmentation=None,
        seed=0,  # nothing is drawn
        zoom=zoom,
        device=process.device,
        antialias=run.antialias,
        rows=np.flatnonzero(np.isin(crops.image_ids, evaluated)),
        depth=["student"] if run.modality == "depth" else [],
    )
