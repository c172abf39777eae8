"""The plots of dvc.yaml: one per benchmark and kind, titled with both, of the columns that evaluations write."""

from pathlib import Path

import yaml

from lib.papers import load_paper, paper_keys
from lib.reporting import MEAN_POSE

ROOT = Path(__file__).resolve().parents[1]
PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]


def test_plots_show_the_curves_of_each_benchmark():
    expected = {}
    for key in paper_keys():
        for name, benchmark in load_paper(key).benchmarks.items():
            if benchmark.length:
                expected[f"reports/plots/{key}/{name}_pck.csv"] = [*benchmark.curves, MEAN_POSE]
            expected[f"reports/plots/{key}/{name}_history.csv"] = [*benchmark.curves]
    found = {}
    for entry in PLOTS:
        ((_, plot),) = entry.items()
        ((path, columns),) = plot["y"].items()
        found[path] = columns
        key, name = Path(path).parent.name, Path(path).stem.partition("_")[0]
        assert plot["title"].startswith(f"{key.upper()} on {load_paper(key).benchmarks[name].name}, ")
        assert plot["x"] == ("threshold" if path.endswith("_pck.csv") else "epoch")
    assert found == expected
    assert len(PLOTS) <= 25
