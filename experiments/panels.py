"""Pictures side by side in one small PNG, for the experiments on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

COLOURS = 256  # of a PNG: noise would take three times the room otherwise


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture (Y, X) between its percentiles 1 and 99.8, or between `ends`; `colours` is a map of matplotlib."""

    title: str
    pixels: NDArray[Any]
    ends: tuple[float, float] | None = None
    colours: str = "gray"
    unit: str = ""  # of the bar beside it; without a unit there is none

    @property
    def ratio(self) -> float:
        return self.pixels.shape[1] / self.pixels.shape[0]


def save_panels(path: Path, rows: Sequence[Sequence[Panel]], width: float = 9.6, dpi: int = 110) -> None:
    """Rows of panels, `width` inches wide, each with true proportions; all panels of a row are equally high."""
    title, bar, margin = 0.24, 0.75, 0.06  # inches
    heights = []
    for row in rows:
        bars = sum(bool(panel.unit) for panel in row)
        heights.append((width - bars * bar) / sum(panel.ratio for panel in row))
    whole = sum(heights) + title * len(rows) + margin
    figure = Figure(figsize=(width, whole), dpi=dpi, facecolor="white")
    top = whole
    for row, high in zip(rows, heights, strict=True):
        left, bottom = 0.0, top - title - high
        for panel in row:
            wide = panel.ratio * high
            axes = figure.add_axes((left / width, bottom / whole, (wide - 0.04) / width, high / whole))
            low, most = panel.ends or np.percentile(panel.pixels, (1, 99.8))
            shown = axes.imshow(
                panel.pixels, cmap=panel.colours, vmin=low, vmax=most, interpolation="nearest", aspect="auto"
            )
            axes.set_axis_off()
            axes.set_title(panel.title, fontsize=7, pad=3)
            left += wide
            if panel.unit:
                beside = figure.add_axes((left / width, bottom / whole, 0.1 / width, high / whole))
                drawn = figure.colorbar(shown, cax=beside)
                drawn.ax.tick_params(labelsize=6)
                drawn.set_label(panel.unit, fontsize=6)
                left += bar
        top = bottom
    drawing = BytesIO()
    figure.savefig(drawing, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    small = PIL.Image.open(drawing).convert("RGB").quantize(COLOURS, dither=PIL.Image.Dither.NONE)
    small.save(path, optimize=True)


def section(stack: NDArray[Any], row: int, factor: float, order: int = 1) -> NDArray[Any]:
    """The xz section of a stack (Z, Y, X) at a `row`, its planes `factor` pixels apart; `order` 0 shows them as they
    are, 1 joins them.
    """
    side = np.asarray(stack, np.float64)[:, row]
    count = round((len(side) - 1) * factor) + 1
    z, x = np.meshgrid(np.arange(count) / factor, np.arange(side.shape[1]), indexing="ij")
    return np.asarray(map_coordinates(side, [z, x], order=order, mode="nearest"))
