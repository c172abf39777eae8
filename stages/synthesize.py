"""Render hands into crops: images, depth and joints."""

from pathlib import Path

from lib.hands.synthesis import synthesize
from lib.params import SynthesisSpec
from stages import load_spec, run


def main() -> None:
    """Write data/crops/mano, or continue where that was interrupted."""
    spec = SynthesisSpec.model_validate(load_spec("synthesis"))
    synthesize(Path("data/crops/mano"), Path(".cache/synthesis"), **spec.model_dump())


if __name__ == "__main__":
    run(main)
