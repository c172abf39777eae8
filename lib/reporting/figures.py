"""Figures of a report: small PNG files that are a pure function of their data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from PIL import Image

from lib.files import atomic
from lib.reporting import MEAN_POSE

Points = Sequence[tuple[float, float]]

BYTES = 200_000  # at most, of one figure
DPI, WIDTH = 130, 6.4  # a figure as wide as a page is shown as it is, its letters neither larger nor smaller
FEWEST = 3  # points of a curve
NAME_WIDTH, NAME_HEIGHT = 110, 12  # px that a point's name needs
# Okabe and Ito's palette: distinguishable with any colour vision.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
GREY = "#999999"
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


def curves(
    runs: Mapping[str, Points],
    x: str,
    y: str,
    path: Path,
    seeds: Mapping[str, Sequence[Points]] = MappingProxyType({}),
    level: float | None = None,
) -> bool:
    """A line per run of FEWEST points or more; draw nothing and return False where there is none.

    runs: (x, y) by name, "teacher" is dashed and MEAN_POSE grey; x, y: words; seeds: thin lines behind a run's; level:
    the mean pose where it is one number.
    """
    runs = {name: points for name, points in runs.items() if len(points) >= FEWEST}
    if not runs.keys() - {MEAN_POSE}:
        return False
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y)
    if level is not None:
        axes.axhline(level, color=GREY, linewidth=1.6, label=MEAN_POSE)
    colours = iter(COLOURS)
    for name, points in runs.items():
        colour = GREY if name == MEAN_POSE else next(colours)
        for one in seeds.get(name, ()):
            axes.plot(*zip(*one, strict=True), color=colour, linewidth=0.6, alpha=0.5)
        axes.plot(*zip(*points, strict=True), color=colour, label=name, **line(name == "teacher"))
    axes.margins(x=0.02)
    if all(isinstance(position, int) for points in runs.values() for position, _ in points):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    save(figure, path)
    return True


def line(teacher: bool) -> dict[str, Any]:
    """The teacher is dashed: it is the mark to reach, not one of the compared."""
    return {"linestyle": "--" if teacher else "-", "linewidth": 1.6}


def scatter(systems: Mapping[str, Mapping[str, tuple[float, float]]], x: str, y: str, path: Path) -> None:
    """Points with their names, on a logarithmic x axis; systems: by group, which shares a colour, and name."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5), layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y, xscale="log")
    for (group, points), colour in zip(systems.items(), COLOURS[1:], strict=False):
        axes.plot(*zip(*points.values(), strict=True), "o", markersize=5, color=colour, label=group)
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(loc="outside upper center", ncols=len(systems), fontsize=8, frameon=False)
    figure.draw_without_rendering()  # so that positions in pixels are known
    taken: list[tuple[float, float]] = []
    for points, colour in zip(systems.values(), COLOURS[1:], strict=False):
        for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
            column, row = axes.transData.transform(point)
            place = row
            while any(abs(column - other) < NAME_WIDTH and abs(place - there) < NAME_HEIGHT for other, there in taken):
                place -= 1
            taken.append((column, place))
            offset = (8, (place - row) * 72 / figure.dpi)
            arrow = {
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.4,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            }
            style = {"fontsize": 7, "va": "center", "color": colour, "arrowprops": arrow}
            axes.annotate(name, point, offset, textcoords="offset points", **style)
    save(figure, path)


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
    """Two rows per person: the images that the networks see, pixel by pixel, and one joint's classes along x."""
    figure = Figure(figsize=(WIDTH, 3.7 * len(views)), layout="constrained")
    for seen, told, part in zip(views, distributions, np.atleast_1d(figure.subfigures(len(views), 1)), strict=True):
        above, below = part.subfigures(2, 1, height_ratios=[1.1, 1])
        for view, axes in zip(seen, np.atleast_1d(above.subplots(1, len(seen))), strict=True):
            show(axes, view.image, view.panel.title, "nearest")
            draw_pose(axes, view.panel, skeleton, joints)
            if view.label is not None:
                axes.axvline(view.label, color="white", linewidth=0.8, linestyle=":")
        with rc_context(STYLE):
            grid = np.atleast_1d(below.subplots(1, len(told)))
        for found, axes in zip(told, grid, strict=True):
            draw_classes(axes, found)
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
        axes.stairs(values[shown], edges, color=colour, label=name, baseline=None, **line(name == "teacher"))
    axes.set_xlim(shown.start, shown.stop)
    axes.set_ylim(0, None)
    axes.set_title(found.title, fontsize=8, pad=2)
    axes.tick_params(labelsize=7)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=7, frameon=False)
