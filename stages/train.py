"""Train one run: `python -m stages.train fpd/lsp_student`; under torchrun, on as many processes as it starts.

With a seed behind it, `python -m stages.train fpd/lsp_student 1`, that seed alone is trained and kept by content.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from lib.code import digest
from lib.errors import InputError, first_line
from lib.files import atomic
from lib.runs import Run, as_json, as_run
from stages import NOT_CHOSEN, SPECS, leave_out, load_spec, run

MODELS = Path("models")
CROPS = Path("data/crops")


def main(label: str = "", seed: str = "") -> None:
    """Train what data/specs/<paper>/<run>.json says, once per seed, and write models/<paper>/<run>/."""
    if label.count("/") != 1:
        raise InputError(f"python -m stages.train {label}: which run? expected <paper>/<run>, such as fpd/lsp_student")
    spec = load_spec(label)
    if spec == NOT_CHOSEN:
        return leave_out(MODELS / label)
    import torch

    from lib.training.distributed import connect
    from lib.training.seeds import trained_seed

    check_code(spec["code"], SPECS / f"{label}.json")
    training = as_run(spec["run"])
    if training.threads:
        torch.set_num_threads(training.threads)
    seeds = [int(seed)] if seed else spec["seeds"]
    with connect() as process:
        try:
            finished = {one: trained_seed(training, one, spec["code"], process) for one in seeds}
        except torch.OutOfMemoryError as error:
            ways = "bfloat16, a smaller batch_size, or more processes (LAUNCH) need less"
            raise InputError(f"{label}: the device's memory is too small: {first_line(error)}; {ways}") from None
        if process.rank == 0 and not seed:
            assemble(training, finished)


def check_code(code: Mapping[str, str], spec: Path) -> None:
    """Refuse code that changed after the spec was made: what is trained would be kept as that of the old code."""
    resolved = spec.stat().st_mtime
    for path, expected in code.items():
        file = Path(path)
        if file.is_file() and file.stat().st_mtime > resolved and digest(file.read_text("utf-8")) != expected:
            raise InputError(f"{path} has changed since {spec} was made: repeat dvc repro, which makes it anew")


def assemble(training: Run, finished: dict[int, Path]) -> None:
    """Write a run's folder from those of its seeds, its weights labelled, and its record beside."""
    from lib.labels import label_seed
    from lib.records import write_record

    label = training.label
    with atomic(MODELS / label) as folder:
        for seed, path in finished.items():
            shutil.copytree(path, folder / f"seed{seed}", ignore=shutil.ignore_patterns("record.json"))
            label_seed(folder / f"seed{seed}", training, seed, CROPS / training.crops)
        (folder / "spec.json").write_text(json.dumps(as_json(training), indent=2) + "\n", encoding="utf-8")
    records = {f"seed{seed}": json.loads((path / "record.json").read_text("utf-8")) for seed, path in finished.items()}
    write_record(label, records)


if __name__ == "__main__":
    run(main)
