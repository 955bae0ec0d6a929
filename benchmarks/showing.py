"""Figures of benchmarks/segmentation.py: what was found in each image, above lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veriscope.objects.overlaps import overlaps

Array = np.ndarray[Any, Any]
RIGHT, WRONG, MISSED = "#35c5f0", "#ff4fa3", "#ffd23f"  # outlines, on grey
LEGEND = "blue: found; pink: found, but no true one; yellow: missed"
DPI = 100
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#888888")


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in an image, with the true labels: planes, or stacks of which one section is shown."""

    title: str
    image: Array
    truth: Array
    found: Array
    section: int | None = None  # plane; None: the image is a plane
    upright: bool = False  # the section is xz

    def flat(self, volume: Array) -> Array:
        if self.section is None:
            return volume
        return volume[:, self.section] if self.upright else volume[self.section]

    def masks(self) -> tuple[Array, Array, Array]:
        """Labels of this section: found and true, found and not true, true and missed. Matches as ERROR has them."""
        table = overlaps(self.truth, self.found)
        match = table.covering & table.covered
        right = table.found_labels[table.found_at[match]]
        known = table.truth_labels[table.truth_at[match]]
        found, truth = self.flat(self.found), self.flat(self.truth)
        good = np.isin(found, right)
        return np.where(good, found, 0), np.where(good, 0, found), np.where(np.isin(truth, known), 0, truth)


@dataclass(frozen=True, eq=False)
class Lines:
    title: str
    across: str
    up: str
    x: Array
    lines: Mapping[str, Array]


def save(path: Path, found: Sequence[Found], lines: Sequence[Lines], columns: int, colours: Mapping[str, str]) -> None:
    """A row of what was found, above lines in so many `columns`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, rows = 11.0, -(-len(lines) // columns)
    ratios = [one.flat(one.image).shape[1] / one.flat(one.image).shape[0] for one in found]
    above, below = wide / sum(ratios) + 0.6, 3.0 * rows
    figure = Figure(figsize=(wide, above + below), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=[above, below])
    for axes, one in zip(top.subplots(1, len(found), squeeze=False, width_ratios=ratios)[0], found, strict=True):
        _outlined(axes, one, fine=max(1, round(DPI * wide / sum(one.flat(one.image).shape[1] for one in found))))
    top.suptitle(LEGEND, fontsize=9)
    made = np.ravel(bottom.subplots(rows, columns, squeeze=False))
    for axes, panel in zip(made, lines, strict=False):
        for number, (method, y) in enumerate(panel.lines.items()):
            colour = colours.get(method, LINES[number % len(LINES)])
            mark = "o" if len(panel.x) < 6 else None
            axes.plot(panel.x, y, color=colour, label=method, linewidth=1.6, marker=mark, markersize=4)
        axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
        axes.grid(alpha=0.2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in made[len(lines) :]:
        axes.set_visible(False)
    drawn = {line.get_label(): line for axes in made[: len(lines)] for line in axes.get_lines()}
    bottom.legend(
        drawn.values(), drawn.keys(), loc="outside lower center", ncols=min(len(drawn), 4), frameon=False, fontsize=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})


def _outlined(axes: Any, one: Found, fine: int) -> None:
    """With so many pixels of the figure for each of the image, about, so that outlines are thin."""
    from skimage.segmentation import find_boundaries

    grey = one.flat(one.image).astype(np.float64)
    low, high = np.percentile(one.image, (1, 99.8))
    shown = np.kron(np.clip((grey - low) / (high - low), 0, 1) ** 0.7, np.ones((fine, fine)))
    coloured = np.repeat(shown[..., None], 3, axis=2)
    right, wrong, missed = one.masks()
    for labels, colour in ((missed, MISSED), (wrong, WRONG), (right, RIGHT)):
        edge = find_boundaries(np.kron(labels, np.ones((fine, fine), int)), mode="inner")
        coloured[edge] = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    axes.imshow(coloured, interpolation="nearest")
    axes.set_title(one.title, fontsize=10)
    axes.set_axis_off()
