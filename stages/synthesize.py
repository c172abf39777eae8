"""Render hands into crops: images, depth and joints."""

from pathlib import Path

from lib.hands.synthesis import synthesize
from stages import NOT_CHOSEN, leave_out, load_spec, run


def main() -> None:
    """Write data/crops/mano, or continue where that was interrupted."""
    spec, out = load_spec("synthesize"), Path("data/crops/mano")
    if spec == NOT_CHOSEN:
        return leave_out(out)
    del spec["code"]
    synthesize(out, Path(".cache/synthesis"), **spec)


if __name__ == "__main__":
    run(main)
