"""How far students' maps are from their teacher's, where training persons have labels and where they have none.

    python -m tests.benchmarks.teacher_distance fpd/lsp_fpd fpd/lsp_student fpd/lsp_control [--persons 2000]

Run in the repository's root after the runs were trained; the teacher is that of the first run, seed by seed. FPD lets
the teacher stand in for missing labels (Sect. 3.2, Fig. 3 C): so distilled students should be nearer to it than others
above all on unlabelled joints. Prints, per run and mean over seeds, the squared distance of a joint's map to the
teacher's (the summand of Eq. 4; the last stack's, evaluation mode, no augmentation), and the distance of the decoded
positions in percent of the crop's side; of labelled joints the distance to the label as well.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from lib.data.batches import evenly_spaced
from lib.data.crops import open_crops
from lib.deployment.checks import chosen
from lib.deployment.students import Student, open_student

MODELS, CROPS = Path("models"), Path("data/crops")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--persons", type=int, default=2000, help="evenly spaced training persons")
    options = parser.parse_args()
    teacher = json.loads((MODELS / options.runs[0] / "spec.json").read_text())["teacher"]
    rows = []
    for run in options.runs:
        seeds = sorted(path.name for path in (MODELS / run).glob("seed*"))
        pairs = [[open_student(MODELS / one / seed) for one in (run, teacher)] for seed in seeds]
        rows.append([run, len(seeds), *np.mean([distances(*pair, options.persons) for pair in pairs], axis=0)])
    header = ["run", "seeds", "maps, labelled", "maps, unlabelled", "%, labelled", "%, unlabelled", "% to the label"]
    print(tabulate(rows, header, floatfmt=".3f", tablefmt="pipe"))


@torch.no_grad()
def distances(student: Student, teacher: Student, persons: int) -> list[float]:
    """Means over labelled and unlabelled joints: of the maps' squared distances, of the positions', to the labels."""
    crops = open_crops(CROPS / student.label.crops, "train")
    squared, apart, missed, labelled = [], [], [], []
    for batch in student.batches(chosen(crops, evenly_spaced(persons, len(crops.ids)))).epoch(0):
        maps, others = (one.task.student(batch.images["student"])[-1] for one in (student, teacher))
        points, found = (student.task.codec.decode(one)[0] for one in (maps, others))
        squared.append((maps - others).square().sum((2, 3)))
        apart.append((points - found).norm(dim=-1))
        missed.append((points - batch.keypoints).norm(dim=-1))
        labelled.append(batch.visible)
    squared, apart, missed, labelled = (torch.cat(parts).numpy() for parts in (squared, apart, missed, labelled))
    side = 100 / max(student.label.input)
    return [
        *(squared[labelled].mean(), squared[~labelled].mean()),
        *(side * apart[labelled].mean(), side * apart[~labelled].mean(), side * missed[labelled].mean()),
    ]


if __name__ == "__main__":
    main()
