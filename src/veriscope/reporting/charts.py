"""Charts: of a report, as SVG in the page's own font and colours, and as files of their own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from veriscope import saving
from veriscope.expected import Expected
from veriscope.judging.calibration import EPS
from veriscope.judging.trust import BINS, Trust
from veriscope.objects.curves import TITLES, Curves
from veriscope.wording import counted

INK = "#123456"  # stands for the colour of text in charts until it is replaced by the page's own
MEMBERS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

CALIBRATED = "#d55e00"  # of MEMBERS, the sixth

KINDS = (".svg", ".png")  # files of charts
SCORES = ("seg", "error", "average_precision")  # of objects that are drawn
FEWEST = 1e-4  # fraction of pixels below which a bin says nothing


def _colour(networks: int) -> str:
    return MEMBERS[(networks - 1) % len(MEMBERS)]


def reliabilities(trust: Trust) -> Markup:
    """For every eps how often it came true against how often it was promised, above the fraction of pixels per bin."""
    figure, axes = chart(10.5, 4.0, len(EPS), 2, sharex=True, sharey="row", height_ratios=[2.6, 1])
    shown = [1, trust.members] if trust.members > 1 else [1]
    for column, eps in enumerate(EPS):
        top, bottom = axes[:, column]
        top.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1, linestyle=(0, (3, 2)))
        lines = [(trust.reliability[count][column], counted(count, "network"), _colour(count)) for count in shown]
        if trust.calibrated is not None:
            lines.append((trust.calibrated.reliability[trust.members][column], "calibrated", CALIBRATED))
        for found, label, colour in lines:
            enough = found.share > FEWEST
            style: Any = {"color": colour, "label": label, "markersize": 4, "linewidth": 1.5}
            top.plot(found.confidence[enough], found.accuracy[enough], "o-", **style)
        top.set_title(f"within {eps:g}", fontsize=10)
        top.set_ylim(0, 1)
        found = trust.reliability[trust.members][column]
        centres = (np.arange(len(found.share)) + 0.5) / len(found.share)
        bottom.bar(centres, found.share, width=0.85 / len(found.share), color=_colour(trust.members), alpha=0.6)
        bottom.set(xlabel="predicted probability", xlim=(0, 1))
    axes[0, 0].set_ylabel("came true")
    axes[1, 0].set_ylabel("pixels")
    axes[0, 0].legend(loc="upper left", frameon=False, labelcolor=INK, fontsize=9, handlelength=1.4)
    return svg(figure)


def calibration_errors(trust: Trust) -> Markup:
    """Expected calibration error against eps, a line for each number of networks."""
    figure, axes = chart(5.2, 3.0)
    for count, found in trust.reliability.items():
        style: Any = {"color": _colour(count), "label": counted(count, "network"), "markersize": 4, "linewidth": 1.5}
        axes.plot(EPS, [100 * one.ece for one in found], "o-", **style)
    if trust.calibrated is not None:
        errors = [100 * one.ece for one in trust.calibrated.reliability[trust.members]]
        axes.plot(EPS, errors, "o-", color=CALIBRATED, label="calibrated", markersize=4, linewidth=2)
    axes.set(xlabel="within, of the ground truth’s range", ylabel="calibration error, %", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, labelcolor=INK, handlelength=1.6)
    return svg(figure)


def foreseen_errors(errors: Sequence[tuple[Expected, float]]) -> Markup:
    """The NRMSE of each image against the one expected without ground truth, with the interval of the latter."""
    figure, axes = chart(5.2, 3.4)
    most = 1.1 * max(max(expected.high, found) for expected, found in errors)
    axes.plot([0, most], [0, most], color=INK, alpha=0.4, linewidth=1, linestyle=(0, (3, 2)))
    for expected, found in errors:
        axes.plot([expected.low, expected.high], [found, found], color=MEMBERS[0], alpha=0.5, linewidth=1.5)
        axes.plot(expected.nrmse, found, "o", color=MEMBERS[0], markersize=5)
    axes.set(xlim=(0, most), ylim=(0, most), xlabel="expected NRMSE", ylabel="NRMSE")
    return svg(figure)


def disagreements(trust: Trust) -> Markup:
    """How many pixels have which disagreement."""
    figure, axes = chart(5.2, 3.0)
    edges = np.arange(BINS) / BINS
    axes.bar(edges + 0.5 / BINS, 100 * trust.disagreement, width=0.9 / BINS, color=_colour(trust.members))
    last = int(np.flatnonzero(np.cumsum(trust.disagreement) >= 0.9999)[0]) + 2
    axes.set(xlim=(0, min(1.0, last / BINS)), xlabel="disagreement of the networks, 0 to 1", ylabel="% of pixels")
    return svg(figure)


def threshold_chart(curves: Curves) -> Any:
    """SEG, ERROR and average precision against the threshold, a line for each image and a point at its best."""
    figure, axes = chart(11.0, 3.4, len(SCORES), sharex=True)
    for panel, score in zip(axes, SCORES, strict=True):
        for number, name in enumerate(curves.scores):
            colour = MEMBERS[number % len(MEMBERS)]
            panel.plot(curves.fractions, curves.values(name, score), color=colour, linewidth=1.8, label=name)
            best = curves.best(name, score)
            panel.plot([best.fraction], [getattr(best.scores, score)], "o", color=colour, markersize=5)
        at_iou = f" at IoU {curves.iou:g}" if score == "average_precision" else ""
        lower = ", lower is better" if score == "error" else ""
        panel.set_title(f"{TITLES[score]}{at_iou}{lower}", fontsize=10)
        panel.set(ylim=(-0.02, 1.02), xlim=(0, 1), xlabel="threshold, of the image’s range")
    axes[0].legend(loc="best", frameon=False, labelcolor=INK, fontsize=9, handlelength=1.4)
    return figure


def chart(width: float, height: float, columns: int = 1, rows: int = 1, **layout: Any) -> tuple[Any, Any]:
    """An empty figure in inches, and its axes (an array of them where there are several), in the page's colours."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    made = figure.subplots(rows, columns, **layout)
    for axes in np.ravel(made):
        axes.patch.set_alpha(0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(INK)
            axes.spines[side].set_alpha(0.5)
        axes.tick_params(colors=INK, labelsize=9)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.title.set_color(INK)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.7)
    return figure, made


def svg(figure: Any) -> Markup:
    """The chart as inline SVG with the reader's own font, and text in the page's colour."""
    text = _drawn(figure)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = text.replace("'DejaVu Sans'", "inherit").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    return Markup(text)


def write_chart(path: str | Path, figure: Any, overwrite: bool = False) -> Path:
    """Write a chart on white as .svg or .png. It appears under its name only when it is complete; raises OutputError
    for other names, for a file that is there already, and where it cannot be written.
    """
    target = Path(path)
    saving.check_target(target, KINDS, overwrite)
    saving.write(target, svg_file(figure) if target.suffix.lower() == ".svg" else _png(figure), overwrite)
    return target


def svg_file(figure: Any) -> str:
    """The chart as a file of its own, dark on white."""
    figure.patch.set_facecolor("white")
    figure.patch.set_alpha(1)
    return _drawn(figure).replace(INK, "#222222").replace("'DejaVu Sans'", "'DejaVu Sans', Arial, sans-serif")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.patch.set_facecolor("white")
    figure.patch.set_alpha(1)
    figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def _drawn(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": ["DejaVu Sans"], "svg.hashsalt": "veriscope"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()
