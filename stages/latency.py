"""Time networks of params.complexity in PyTorch and as ONNX graphs: `python -m stages.latency s4_c128 simcc_w32_64`.

On demand, no stage of the graph: exporting all of them takes half an hour. Reports show what was measured.
"""

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.deployment.graph import Pipeline, convert, needed, session_of
from lib.environment import cpu
from lib.errors import InputError
from lib.files import atomic
from lib.models import build_model
from lib.tasks.heatmap import Supervised
from lib.tasks.simcc import SimccSupervised
from stages import load_spec, run

OUT = Path("reports/metrics/latency.json")
PASSES = 15


def main(*words: str) -> None:
    """Add these networks, or all, to reports/metrics/latency.json: ms of one image, from its pixels to its joints."""
    parser = ArgumentParser("python -m stages.latency", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="network", help="of params.yaml's complexity.networks; none: all")
    names = parser.parse_args(words).names
    networks = load_spec("complexity")["networks"]
    unknown = [name for name in names if name not in networks]
    if unknown:
        raise InputError(f"no network {unknown[0]} in params.yaml's complexity; known: {', '.join(networks)}")
    torch.set_num_threads(1)
    machine = {"hardware": cpu(), "torch": torch.__version__, "onnxruntime": needed("onnxruntime").__version__}
    before = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    measured = before.get("networks", {}) if before.get("machine") == machine else {}
    for name in names or networks:
        measured[name] = timed(networks[name])
        print(f"{name}: {measured[name]}", flush=True)
        content = {"machine": machine, "networks": {key: measured[key] for key in networks if key in measured}}
        with atomic(OUT) as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@torch.inference_mode()
def timed(entry: dict[str, Any]) -> dict[str, float]:
    """Median ms of one image on one thread in both, decoding included, without a flip test; they take turns.

    Time is that of the processor, which others on a busy machine do not add to.
    """
    height, width = entry["input"]
    network = build_model(entry["model"]).eval().to(memory_format=torch.channels_last)
    if network.output == "simcc":
        task = SimccSupervised(network, SimccCodec((height, width), split=entry["model"]["split"]), ())
    else:
        task = Supervised(network, HeatmapCodec((height, width), sigma=2.0), ())
    pipeline = Pipeline(task.eval(), flip_test=False).eval()
    with torch.inference_mode(False):
        session = session_of(convert(pipeline, (height, width)).model_proto.SerializeToString(), threads=1)
    image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    calls = {"torch": lambda: pipeline(image), "onnxruntime": lambda: session.run(None, {"image": image.numpy()})}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(PASSES):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {f"{name}_ms": round(1e3 * median(found[2:]), 2) for name, found in times.items()}  # two warm up


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    run(main)
