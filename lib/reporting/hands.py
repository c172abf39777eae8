"""Figures of hands in space: 3D PCK (CMKG Fig. 4), what regularised weights are like (Fig. 5), and poses (Fig. 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import kurtosis

from lib.data.batches import Batches, evenly_spaced
from lib.data.crops import Crops, open_crops
from lib.hands.joints import BONES, ROOT, projected, restored
from lib.metrics.hand3d import epe
from lib.metrics.pck import area
from lib.metrics.scores import matched_hands
from lib.reporting import Study, named
from lib.reporting import figures as draw
from lib.reporting.illustrations import learned, line_figures, read_curves, shown, weights
from lib.reporting.markdown import folded, markdown
from lib.reporting.provenance import seeds_of
from lib.weights import load_weights

RENDERED = Path("data/crops/mano")
PEOPLE = 3  # hands of a figure
COLOURS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7")  # of the fingers, thumb to little finger
GAIN, LOSS = "#009E73", "#D55E00"
BOUNDS = (1e-4, 1e-3, 1e-2)  # a number is near zero where it is below
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)


@dataclass(frozen=True)
class Hand:
    """One hand: image (H, W, 3) uint8; by who says so, joints in its px (21, 2) and in mm from the wrist (21, 3)."""

    image: NDArray
    points: dict[str, NDArray]
    joints: dict[str, NDArray]


def illustrate(paper: str, study: Study, details: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw <benchmark>_{pck,gain,history,weights,hands,rendered}.png into a folder; return their markdown.

    Each is drawn as far as its runs were trained; `weights` and `rendered` of the second curve of the benchmark's gain,
    where its regulariser is a learned one; `hands` and `rendered` where the networks have learned. Reads
    reports/plots/<paper>, validation crops, data/crops/mano, and weights in models/<paper>.
    """
    name, persons, results = study.benchmark.name, study.benchmark.persons, study.results
    seed, curves = seeds_of(results)[0], study.benchmark.curves
    pair = {one: curves[one] for one in study.benchmark.gain if curves[one] in results}
    pair = pair if len(pair) == 2 else {}
    text = []

    def add(figure: str, caption: str) -> None:
        text.append(shown(paper, f"{study.key}_{figure}", caption))

    for figure, caption in line_figures(paper, study, details, folder).items():
        add(figure, caption)
    if pair:
        draw_gain(read_curves(paper, study), tuple(pair), folder / f"{study.key}_gain.png")
        add("gain", f"{name}, after Fig. 4: {' and '.join(reversed(pair))}, and the area between their 3D PCK.")
    prior = pair and results[list(pair.values())[1]].spec["prior"]
    if prior:
        text += compare_weights(paper, study, pair, folder)
    if not learned(study, details):
        return text
    role, run = next((role, run) for role, run in reversed(study.benchmark.roles.items()) if run in results)
    draw_hands(predicted_hands(study, run, seed), folder / f"{study.key}_hands.png")
    add(
        "hands",
        f"Evenly spaced {name} {persons}, {role}, seed {seed}, after Fig. 6: projected into the crop, and in space, "
        "seen from above and beside the camera; left hands mirrored. Root and scale are the true ones.",
    )
    if prior and RENDERED.is_dir():
        role, run = list(pair.items())[1]
        size = tuple(results[run].spec["input"])
        hands = rendered_hands(open_crops(RENDERED, "train"), weights(paper, run, seed), size)
        draw_hands(hands, folder / f"{study.key}_rendered.png")
        add(
            "rendered",
            f"Evenly spaced rendered hands, seen by {role}, which was trained on {name}, seed {seed}, after Fig. 6. "
            "Its regulariser has seen such images.",
        )
    return text


def draw_gain(curves: Mapping[str, draw.Points], pair: tuple[str, str], path: Path) -> None:
    """The 3D PCK curves of a control and a method, with the area between them."""
    with rc_context(draw.STYLE):
        figure = Figure(figsize=(draw.WIDTH, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel="error tolerated, mm", ylabel="joints, %")
    (x, before), (_, after) = (np.array(curves[name]).T for name in pair)
    for values, name, colour in ((before, pair[0], draw.COLOURS[1]), (after, pair[1], draw.COLOURS[2])):
        axes.plot(x, values, color=colour, label=name, **draw.line(teacher=False))
    settings = {"interpolate": True, "alpha": 0.3, "linewidth": 0}
    axes.fill_between(x, before, after, where=after >= before, color=GAIN, **settings)
    axes.fill_between(x, before, after, where=after <= before, color=LOSS, **settings)
    areas = ", ".join(f"{low}–50 mm: ΔAUC {gain(before, after, x >= low):+.3f}" for low in (20, 0))
    axes.set_title(areas, fontsize=9)
    axes.margins(x=0)
    axes.set_ylim(0, None)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    draw.save(figure, path)


def gain(before: NDArray, after: NDArray, counted: NDArray) -> float:
    """Difference of the areas under two curves (T,) in %, at the counted thresholds, as a difference of AUC."""
    return (area(after[counted]) - area(before[counted])) / 100


def compare_weights(paper: str, study: Study, pair: Mapping[str, str], folder: Path) -> list[str]:
    """Fig. 5: histograms of the weights without and with the learned regulariser, numbers of both, and those of φ."""
    seeds = seeds_of({run: study.results[run] for run in pair.values()})
    pairs = [{name: layer_weights(weights(paper, run, seed)) for name, run in pair.items()} for seed in seeds]
    draw_weights(pairs[0], folder / f"{study.key}_weights.png")
    caption = (
        f"All {len(next(iter(pairs[0].values()))):,} weights of the convolutions and of the last layer, without and "
        f"with the learned regulariser, seed {seeds[0]}, after Fig. 5; the axis ends at the 99.9 % quantile of their "
        "absolute values."
    )
    priors = dict.fromkeys(result.spec["prior"] for result in study.results.values() if result.spec["prior"])
    paths = {named(run): weights(paper, named(run), seeds[0]).with_name("prior.safetensors") for run in priors}
    phi = prior_table({run: numbers(load_file(path)) for run, path in paths.items()})
    note = (
        "φ multiplies the norm of its number as σ of Table 2 does, 1e-4 and 1e-6 with ℓ1, 1e-3 and 1e-5 with ℓ2: a φ "
        "far below these has no effect, whatever its sign."
    )
    return [
        shown(paper, f"{study.key}_weights", caption),
        claims([tuple(found.values()) for found in pairs]),
        folded("Weights and φ in numbers", weight_table(pairs[0]), phi, note),
    ]


def layer_weights(path: Path) -> NDArray:
    """All weights (n,) of a network's convolutions and linear layers; biases and normalisation begin at 0 and 1."""
    parameters = load_weights(path).named_parameters()
    return numbers({name: values.detach().numpy() for name, values in parameters if values.dim() > 1})


def numbers(arrays: Mapping[str, NDArray]) -> NDArray:
    """All numbers of some arrays in a row: (n,) float64."""
    return np.concatenate([values.ravel() for values in arrays.values()]).astype(np.float64)


def draw_weights(found: Mapping[str, NDArray], path: Path) -> None:
    """Histograms of each run's numbers over each other, counts on a logarithmic scale."""
    reach = max(np.quantile(np.abs(values), 0.999) for values in found.values())
    with rc_context(draw.STYLE):
        figure = Figure(figsize=(draw.WIDTH, 3.2), layout="constrained")
        axes = figure.add_subplot(xlabel="weight", ylabel="count", yscale="log", xlim=(-reach, reach))
    for (name, values), colour in zip(found.items(), draw.COLOURS[1:], strict=False):
        axes.hist(
            values, bins=np.linspace(-reach, reach, 122), color=colour, histtype="step", linewidth=1.3, label=name
        )
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    draw.save(figure, path)


def weight_table(found: Mapping[str, NDArray]) -> str:
    """How near to zero and how far from it the numbers of each run are."""
    header = ["run", *(f"share below {bound:g}" for bound in BOUNDS), "std", "excess kurtosis"]
    rows = [
        [
            run,
            *(f"{100 * near(values, bound):.2f} %" for bound in BOUNDS),
            f"{values.std():.3g}",
            f"{kurtosis(values):.3g}",
        ]
        for run, values in found.items()
    ]
    return markdown(header, rows)


def near(values: NDArray, bound: float) -> float:
    """Share of the numbers whose absolute value is below a bound."""
    return float((np.abs(values) < bound).mean())


def claims(pairs: Sequence[tuple[NDArray, NDArray]]) -> str:
    """What the weights say about the paper's observations on Fig. 5; pairs: without and with regulariser, by seed."""
    bound = BOUNDS[1]
    sharper = sum(near(regularised, bound) > near(without, bound) for without, regularised in pairs)
    wider = sum(regularised.std() > without.std() for without, regularised in pairs)
    return (
        f"The paper sees a sharper peak at zero with the regulariser: by the share below {bound:g} it is sharper here "
        f"in {sharper} of {len(pairs)} seeds. It sees a wider spread: by the standard deviation it is wider here in "
        f"{wider} of {len(pairs)} seeds."
    )


def prior_table(learned: Mapping[str, NDArray]) -> str:
    """Quantiles of φ by run, and how many of its numbers decay their weight (positive) or boost it (negative)."""
    rows = []
    for share in QUANTILES:
        values = [f"{np.quantile(phi, share):.1e}".replace("-", "−") for phi in learned.values()]
        rows.append([f"{100 * share:g} % of φ below", *values])
    for name, chosen in (("positive", np.greater), ("negative", np.less)):
        rows.append([name, *(f"{100 * chosen(phi, 0).mean():.1f} %" for phi in learned.values())])
    return markdown(["", *(f"`{run}`" for run in learned)], rows)


def predicted_hands(study: Study, run: str, seed: int) -> list[Hand]:
    """Evenly spaced hands that a run has predicted, in their crops."""
    crops = open_crops(Path("data/crops") / study.results[run].spec["crops"], study.split)
    predictions = study.results[run].predictions[seed]
    chosen = evenly_spaced(PEOPLE, len(predictions["ids"]))
    some = {name: predictions[name][chosen] for name in ("ids", "keypoints")}
    found, truth = matched_hands(study.annotations, some)
    row_of = {number: row for row, number in enumerate(crops.ids.tolist())}
    return views(crops, [row_of[number] for number in some["ids"].tolist()], truth, found)


@torch.no_grad()
def rendered_hands(crops: Crops, path: Path, size: tuple[int, int]) -> list[Hand]:
    """Evenly spaced hands of some crops as the network of a weights file sees them, at its input's size."""
    rows = evenly_spaced(PEOPLE, len(crops.ids))
    (batch,) = Batches(crops, {"student": size}, len(rows), augmentation=None, seed=0, rows=rows).epoch(0)
    pose = load_weights(path).eval()(batch.images["student"]).numpy()
    truth, found = (restored(one, crops.root[rows], crops.scale[rows]) for one in (crops.pose[rows], pose))
    return views(crops, rows, truth, found)


def views(crops: Crops, rows: Sequence[int], truth: NDArray, found: NDArray) -> list[Hand]:
    """Hands of the crops' rows with true and predicted joints (N, 21, 3), mm in the camera of the original image."""
    hands = []
    for row, *both in zip(rows, truth, found, strict=True):
        camera = camera_of(both[0], crops.keypoints[row])
        named = dict(zip(("label", "prediction"), both, strict=True))
        mirror = [np.sign(camera[0, 0]), 1, 1]
        hands.append(
            Hand(
                image=crops.images[row],
                points={name: projected(xyz, camera) for name, xyz in named.items()},
                joints={name: (xyz - xyz[ROOT]) * mirror for name, xyz in named.items()},
            )
        )
    return hands


def camera_of(xyz: NDArray, points: NDArray) -> NDArray:
    """The pinhole camera (3, 3), without skew, that sees joints (21, 3) at points (21, 2), by least squares.

    Its first entry is negative where the image is mirrored.
    """
    rays = xyz[:, :2] / xyz[:, 2:]
    (fx, cx), (fy, cy) = (np.polyfit(rays[:, axis], points[:, axis], 1) for axis in (0, 1))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def draw_hands(hands: Sequence[Hand], path: Path) -> None:
    """A row per hand: projected on its image and in space, each by the label and by the prediction."""
    figure = Figure(figsize=(7.2, 1.9 * len(hands)))  # a layout engine would draw everything twice, and space is slow
    figure.subplots_adjust(left=0.01, right=0.96, bottom=0.03, top=0.96, wspace=0.08, hspace=0.2)
    for number, hand in enumerate(hands):
        error = epe(*(xyz[None] for xyz in hand.joints.values()))
        titles = {"label": "label", "prediction": f"prediction, {error:.1f} mm"}
        both = np.concatenate([*hand.joints.values()])
        middle, reach = (both.max(0) + both.min(0)) / 2, np.ptp(both, axis=0).max() / 2
        x, y, z = np.stack([middle - reach, middle + reach], axis=1)
        for column, (name, title) in enumerate(titles.items(), start=4 * number + 1):
            axes = figure.add_subplot(len(hands), 4, column)
            draw.show(axes, hand.image, title)
            draw_skeleton(axes, hand.points[name])
            axes = figure.add_subplot(len(hands), 4, column + 2, projection="3d")
            draw_skeleton(axes, hand.joints[name][:, [0, 2, 1]])
            axes.set(xlim=x, ylim=z, zlim=y[::-1])  # y points down
            axes.set_box_aspect((1, 1, 1), zoom=1.1)
            axes.view_init(elev=20, azim=-70)
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=5, pad=-3)
            axes.set_title(title, fontsize=7, pad=2)
    draw.save(figure, path)


def draw_skeleton(axes: Axes, joints: NDArray) -> None:
    """Bones of a hand (21, 2 or 3), fingers in their colours."""
    for number, (a, b) in enumerate(BONES):
        axes.plot(*joints[[a, b]].T, color=COLOURS[number // 4], linewidth=1.6, marker="o", markersize=1.6)
