"""Figures of a report: small PNG files that are a pure function of their data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from lib.files import atomic

BYTES = 200_000  # at most, of one figure
DPI = 130
# Okabe and Ito's palette: distinguishable with any colour vision.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
LEFT, RIGHT, MIDDLE = "#56B4E9", "#E69F00", "#FFFFFF"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Panel:
    """One person as one method sees it: a title, keypoints (K, 2) in px of the shown image, which of them to draw."""

    title: str
    keypoints: NDArray
    drawn: NDArray


@dataclass(frozen=True)
class Example:
    """One joint of one training crop: image (H, W, 3) uint8, positions in its px, maps (H / 4, W / 4)."""

    caption: str
    image: NDArray
    label: NDArray | None
    teacher: NDArray
    label_map: NDArray
    teacher_map: NDArray


@dataclass(frozen=True)
class View:
    """One person as one network sees it: image (H, W, 3) uint8, its predictions, and the label of one joint's x in px.

    label is None where the joint has none.
    """

    image: NDArray
    panel: Panel
    label: float | None


@dataclass(frozen=True)
class Classes:
    """Where one joint is along x: probabilities (bins,) by who says so, and the bin of the label, None without one."""

    title: str
    probabilities: dict[str, NDArray]
    label: int | None


def save(figure: Figure, path: Path) -> None:
    """Write a PNG with as many colours (256 at most) as BYTES allow."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    image = Image.open(buffer).convert("RGB")
    for colours in (256, 128, 64, 32):
        packed = BytesIO()
        image.quantize(colours).save(packed, format="png", optimize=True)
        if packed.tell() <= BYTES:
            break
    with atomic(path) as part:
        part.write_bytes(packed.getvalue())


def curves(runs: Mapping[str, Sequence[Mapping[str, str]]], teacher: str | None, x: str, y: str, path: Path) -> None:
    """PCK over the threshold, a line per run; runs: rows of reports/plots/<paper>/pck/<run>.csv by run; x, y: words."""
    figure, axes = plane(x, y)
    for (run, rows), colour in zip(runs.items(), COLOURS, strict=False):
        points = [(float(row["threshold"]), float(row["pck"])) for row in rows]
        axes.plot(*zip(*points, strict=True), color=colour, label=run, **line(run == teacher))
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def histories(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, str]]]], column: str, teacher: str | None, y: str, path: Path
) -> None:
    """A column of the histories over the epochs, a line per run, thin ones per seed.

    runs: each seed's rows of history.csv by run, blank where nothing was measured; y: words for the column.
    """
    figure, axes = plane("epoch", y)
    for (run, seeds), colour in zip(runs.items(), COLOURS, strict=False):
        points = [{int(row["epoch"]): float(row[column]) for row in rows if row[column]} for rows in seeds]
        for seed in points if len(points) > 1 else []:
            axes.plot(seed.keys(), seed.values(), color=colour, linewidth=0.6, alpha=0.5)
        means = [np.mean(values) for values in zip(*(seed.values() for seed in points), strict=True)]
        axes.plot(points[0].keys(), means, color=colour, label=run, marker="o", markersize=3, **line(run == teacher))
    axes.set_ylim(0, None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def plane(x: str, y: str) -> tuple[Figure, Axes]:
    """An empty figure with named axes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y)
    return figure, axes


def line(teacher: bool) -> dict[str, Any]:
    """The teacher is dashed: it is the mark to reach, not one of the compared."""
    return {"linestyle": "--" if teacher else "-", "linewidth": 1.6}


def people(
    images: Sequence[NDArray],
    panels: Sequence[Sequence[Panel]],
    skeleton: Sequence[tuple[int, int]],
    joints: Sequence[str],
    path: Path,
) -> None:
    """Skeletons over images: a row per person, a column per method; skeleton holds 0-based pairs of `joints`."""
    rows, columns = len(panels), len(panels[0])
    figure = Figure(figsize=(1.35 * columns, 1.5 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.subplots(rows, columns, squeeze=False)
    for image, row, line_of_axes in zip(images, panels, grid, strict=True):
        for panel, axes in zip(row, line_of_axes, strict=True):
            show(axes, image, panel.title)
            draw_pose(axes, panel, skeleton, joints)
    save(figure, path)


def draw_pose(axes: Axes, panel: Panel, skeleton: Sequence[tuple[int, int]], joints: Sequence[str]) -> None:
    """A skeleton over an image."""
    for a, b in skeleton:
        if panel.drawn[a] and panel.drawn[b]:
            ends = panel.keypoints[[a, b]]
            axes.plot(*ends.T, color="black", linewidth=2.6, solid_capstyle="round")
            axes.plot(*ends.T, color=side(joints[a], joints[b]), linewidth=1.5, solid_capstyle="round")
    axes.plot(*panel.keypoints[panel.drawn].T, "o", color="white", markersize=2.4, mec="black", mew=0.4)


def side(a: str, b: str) -> str:
    """Colour of a limb: the person's left or right, or the middle where its ends are of different sides."""
    sides = {name.split("_")[0] for name in (a, b)} & {"left", "right"}
    return {("left",): LEFT, ("right",): RIGHT}.get(tuple(sorted(sides)), MIDDLE)


def show(axes: Axes, image: NDArray, title: str, interpolation: str = "bilinear") -> None:
    """An image without axes, its limits fixed."""
    axes.imshow(image, interpolation=interpolation)
    axes.set_title(title, fontsize=7, pad=2)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.axis("off")


def transfer(examples: Sequence[Example], path: Path) -> None:
    """FPD Fig. 3: input, label map, teacher map and their difference; a row per example, maps on one scale."""
    figure = Figure(figsize=(6.2, 1.75 * len(examples)), layout="constrained")
    for example, part in zip(examples, np.atleast_1d(figure.subfigures(len(examples), 1)), strict=True):
        part.suptitle(example.caption, fontsize=8, x=0.01, ha="left")
        grid = part.subplots(1, 4)
        show(grid[0], example.image, "input")
        if example.label is not None:
            grid[0].plot(*example.label, "o", mfc="none", mec="#00FF7F", markersize=9, mew=1.5, label="label")
        grid[0].plot(*example.teacher, "x", color="#FF3B30", markersize=7, mew=1.5, label="teacher")
        top = max(example.label_map.max(), example.teacher_map.max())
        maps = {"label": example.label_map, "teacher": example.teacher_map}
        for axes, (name, values) in zip(grid[1:], maps.items(), strict=False):
            shown = axes.imshow(values, cmap="magma", vmin=0, vmax=top)
            axes.set_title(f"{name}, maximum {values.max():.3f}", fontsize=7, pad=2)
        part.colorbar(shown, ax=grid[1:3], fraction=0.04, pad=0.02).ax.tick_params(labelsize=6)
        difference = example.label_map - example.teacher_map
        shown = grid[3].imshow(difference, cmap="RdBu_r", vmin=-top, vmax=top)
        grid[3].set_title("label − teacher", fontsize=7, pad=2)
        part.colorbar(shown, ax=grid[3], fraction=0.08, pad=0.02).ax.tick_params(labelsize=6)
        for axes in grid[1:]:
            axes.set(xticks=[], yticks=[])
    save(figure, path)


def classes(
    views: Sequence[Sequence[View]],
    distributions: Sequence[Sequence[Classes]],
    skeleton: Sequence[tuple[int, int]],
    joints: Sequence[str],
    path: Path,
) -> None:
    """A row per person: the images that the networks see, pixel by pixel, and one joint's classes along x."""
    rows, images, plots = len(views), len(views[0]), len(distributions[0])
    with rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(1.5 * images + 2.2 * plots, 1.75 * rows), layout="constrained")
        grid = figure.subplots(rows, images + plots, squeeze=False, width_ratios=[1] * images + [1.4] * plots)
    for seen, told, line_of_axes in zip(views, distributions, grid, strict=True):
        for view, axes in zip(seen, line_of_axes, strict=False):
            show(axes, view.image, view.panel.title, "nearest")
            draw_pose(axes, view.panel, skeleton, joints)
            if view.label is not None:
                axes.axvline(view.label, color="white", linewidth=0.8, linestyle=":")
        for found, axes in zip(told, line_of_axes[images:], strict=True):
            draw_classes(axes, found)
    for column in grid[:, images:].T:
        handles, names = zip(*(axes.get_legend_handles_labels() for axes in column), strict=True)
        legend = dict(zip(chain(*names), chain(*handles), strict=True))
        column[-1].legend(
            legend.values(),
            legend.keys(),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncols=2,
            fontsize=6,
            frameon=False,
        )
    save(figure, path)


def draw_classes(axes: Axes, found: Classes) -> None:
    """Probabilities over the bins, half of them, about the first one's maximum; a band marks the label's bin."""
    first, *_ = found.probabilities.values()
    bins, centre = len(first), int(first.argmax())
    start = min(max(0, centre - bins // 4), bins - bins // 2)
    shown = slice(start, start + bins // 2)
    if found.label is not None:
        axes.axvspan(found.label, found.label + 1, color="#cccccc", linewidth=0, label="label")
    for (name, values), colour in zip(found.probabilities.items(), COLOURS, strict=False):
        edges = np.arange(shown.start, shown.stop + 1)
        axes.stairs(
            values[shown],
            edges,
            color=colour,
            label=name,
            baseline=None,
            **line(name == "teacher") | {"linewidth": 1.1},
        )
    axes.set_xlim(shown.start, shown.stop)
    axes.set_ylim(0, None)
    axes.set_title(found.title, fontsize=7, pad=2)
    axes.tick_params(labelsize=6)
