"""Charts of frequencies: ring correlations, power along rings, sections with k_z (Supp. Fig. 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.judging.fourier import Correlation
from veriscope.judging.spectra import Section, Spectrum
from veriscope.reporting.charts import INK, MEMBERS, chart

DARKEST = -60.0  # dB shown in sections


def correlation_chart(curves: Mapping[str, Correlation]) -> Any:
    """Correlation against frequency, a line for each; the dashed lines are thresholds, points where they are met."""
    figure, axes = chart(6.4, 3.6)
    for (name, found), colour in zip(_some(curves), cycle(MEMBERS), strict=False):
        axes.plot(found.frequency, found.value, color=colour, linewidth=1.6, label=f"{name}: {found}")
        style: Any = {"color": colour, "alpha": 0.6, "linewidth": 1, "linestyle": (0, (4, 3))}
        axes.plot(found.frequency, found.threshold, **style)
        crossing = found.crossing
        if crossing is not None and not found.nothing:
            height = float(np.interp(crossing, found.frequency, found.threshold))
            axes.plot([crossing], [height], "o", color=colour, markersize=5)
    first = next(iter(curves.values()))
    axes.set(
        xlabel=f"frequency, cycles per {_one(first.unit)}",
        ylabel="correlation",
        ylim=(min(0.0, *(float(found.value.min()) for found in curves.values())), 1.02),
        xlim=(0, None),
    )
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def spectrum_chart(spectra: Mapping[str, Spectrum]) -> Any:
    """Power against frequency, a line for each."""
    figure, axes = chart(6.4, 3.6)
    for (name, found), colour in zip(_some(spectra), cycle(MEMBERS), strict=False):
        axes.plot(found.frequency, found.power, color=colour, linewidth=1.6, label=name)
    first = next(iter(spectra.values()))
    axes.set(yscale="log", xlabel=f"frequency, cycles per {_one(first.unit)}", ylabel="power")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def section_chart(sections: Mapping[str, Sequence[Section]]) -> Any:
    """Log power in sections, such as xz and yz in a row, a row for each name; all on the same frequencies and colours.

    Where a grid ends before the others do, such as along k_z between planes that lie far apart, it is left empty.
    """
    across = max(len(row) for row in sections.values())
    figure, axes = chart(2.9 * across + 1.0, 2.7 * len(sections) + 0.3, across, len(sections), squeeze=False)
    every = [one for row in sections.values() for one in row]
    reach = max(max(np.abs(one.rows).max(), np.abs(one.columns).max()) for one in every)
    shown = None
    for line, (name, row) in zip(axes, sections.items(), strict=True):
        for panel in line[len(row) :]:
            panel.set_visible(False)
        for panel, one in zip(line, row, strict=False):
            extent = (*_edges(one.columns), *_edges(one.rows))
            shown = panel.imshow(
                one.decibels, origin="lower", extent=extent, vmin=DARKEST, vmax=0, cmap="magma", interpolation="nearest"
            )
            panel.grid(visible=False)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach))
            panel.set_title(f"{name}, {one.name}" if name else one.name, fontsize=10)
            panel.set_xlabel(f"k{one.name[0]}, cycles per {_one(one.unit)}", fontsize=9)
            panel.set_ylabel(f"k{one.name[1]}", fontsize=9)
    bar = figure.colorbar(shown, ax=axes.ravel().tolist(), shrink=0.8)
    bar.set_label("power, dB", color=INK)
    bar.ax.tick_params(colors=INK, labelsize=8)
    return figure


def _some(curves: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if not curves:
        raise DataError("There is nothing to draw. Give at least one curve.")
    return list(curves.items())


def _edges(places: NDArray[np.float64]) -> tuple[float, float]:
    half = float(places[1] - places[0]) / 2
    return float(places[0]) - half, float(places[-1]) + half


def _one(unit: str) -> str:
    return "pixel" if unit == "pixels" else unit
