"""Write what code each stage runs, so that a change re-runs the stages that it can reach and no other.

DVC does not follow imports. This stage does: a stage of dvc.yaml depends on data/code/<module>.json in place of the
files that its module imports.
"""

import json
from pathlib import Path

from lib.code import digest, import_closure
from lib.files import atomic
from stages import run

OUT = Path("data/code")


def main() -> None:
    """Write data/code/<module>.json, digests by path, for every module of stages/ but this one."""
    names = sorted(path.stem for path in Path("stages").glob("*.py") if path.stem not in ("__init__", "code"))
    for name in names:
        digests = {path: digest(Path(path).read_text()) for path in import_closure(f"stages.{name}", Path())}
        with atomic(OUT / f"{name}.json") as part:
            part.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
