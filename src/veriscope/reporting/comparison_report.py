"""A comparison as one HTML page that a reviewer can check: figures, pictures, failures, credits, how to repeat it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from veriscope.comparing.comparison import Comparison, Summary, speed_in_words, times_in_words
from veriscope.comparing.facts import versions
from veriscope.comparing.failures import EXPLAINED, WINDOW, Failure
from veriscope.comparing.judge import RESTORATION
from veriscope.comparing.picture import INTERPOLATED, Picture, busiest_region
from veriscope.comparing.run import TIMING
from veriscope.reporting import page as pages
from veriscope.reporting.charts import INK, chart, svg
from veriscope.reporting.page import html, label_of, percent, png
from veriscope.tables import Column, Table
from veriscope.wording import counted, duration, listed

INSET = 3  # the region shown is this many times as wide as the square shown larger
TITLES = {"nrmse": "NRMSE, lower is better", "psnr": "PSNR in dB", "ssim": "SSIM", "speed": "Mvoxel/s"}


def write_comparison(
    path: str | os.PathLike[str],
    comparison: Comparison,
    *,
    title: str = "Methods compared",
    command: str = "",
    overwrite: bool = False,
) -> Path:
    """Write `comparison` as one HTML file that needs nothing beside it, and return its path.

    `command` is what to type to repeat it. Raises OutputError when the file exists (unless `overwrite`) or cannot be
    written; nothing is left behind then.
    """
    return pages.write(path, overwrite, lambda: render(comparison, title, command))


def render(comparison: Comparison, title: str = "Methods compared", command: str = "") -> str:
    """The page as text, see `write_comparison`."""
    pictures = [_picture(one, comparison) for one in comparison.pictures]
    words = html.words(f"{pages.GREYS} The square is shown larger below each image.")
    sections = {
        "How close to the ground truth, and how fast": _means(comparison),
        "What it looks like": [words, *pictures] if pictures else [],
        "Where it fails": _failures(comparison),
        "Methods": _methods(comparison),
    }
    more = {"notes": comparison.notes, "command": command}
    return pages.render(title, headline(comparison), sections, comparison.facts, comparison.to_json(), **more)


def headline(comparison: Comparison) -> str:
    """The result in a sentence or two, whoever is ahead."""
    many = counted(len(comparison.images), "image")
    other = comparison.best_other
    if RESTORATION not in comparison.methods():
        if other is None:
            return f"Figures for {many}."
        where = _where(other, comparison)
        return (
            f"On {many}{where}, {other.method} comes closest to the ground truth: NRMSE {percent(other.nrmse[0])}, "
            f"SSIM {other.ssim[0]:.2f}."
        )
    own = comparison.of(RESTORATION, None if other is None else other.region)
    text = f"On {many}{_where(own, comparison)}, restoration has a mean NRMSE of {percent(own.nrmse[0])} and an SSIM "
    text += f"of {own.ssim[0]:.2f}"
    if other is None:
        return f"{text}."
    text += f"; the best other method, {other.method}, {percent(other.nrmse[0])} and {other.ssim[0]:.2f}"
    compared = counted(own.count, "image") if not comparison.by_channel else f"{own.count} images by channels"
    text += f". Restoration is closer to the ground truth on {other.closer} of {compared}"
    if other.times is not None:
        faster = other.times >= 1
        times = other.times if faster else 1 / other.times
        words = f"{times:.2g}" if times < 99.5 else f"{times:,.0f}"
        text += f", and {words} times as {'fast' if faster else 'slow'} per voxel on this machine"
    return f"{text}."


def _where(one: Summary, comparison: Comparison) -> str:
    return "" if one.region == comparison.region else f" ({one.region})"


# -- figures ----------------------------------------------------------------------------------------


def _means(comparison: Comparison) -> list[Markup]:
    """The means of every region with their bars, those of each condition in it, and what they mean."""
    parts: list[Markup] = []
    for region, name, part in comparison.parts():
        parts.append(html.grid(_table(part, region, f"{name}: " if name else "")))
        if not name:
            below = f"Bars are means, every dot is one image{' in one channel' * comparison.by_channel}."
            parts.append(html.figure(charts=[_bars(comparison, region)], below=below))
    channels = " and channels" * comparison.by_channel
    speed = f"Speed: {TIMING}"
    if comparison.networks:
        speed += (
            " Network’s speed: how many times as many voxels a second the network processes, 0.5x is half as fast. "
            "Network closer on: images on which its NRMSE is smaller than that of the method."
        )
    spread = f"Best mean in bold; ± is the standard deviation over images{channels}. {comparison.settings}"
    parts += [html.words(text, soft=True) for text in (spread, f"Parameters: {comparison.tuned}", speed)]
    forms = {"means as Markdown": "markdown", "means as LaTeX": "latex", "every image, for spreadsheets (CSV)": "csv"}
    return [*parts, *(html.copy(f"To copy: {name}", comparison.table(form)) for name, form in forms.items())]


def _table(comparison: Comparison, region: str, before: str) -> Table:
    """The means of one region."""
    overall = comparison.overall(region)
    columns = [Column("method", left=True), Column("NRMSE ↓"), Column("PSNR, dB ↑"), Column("SSIM ↑")]
    columns.append(Column("Mvoxel/s ↑", speed_in_words))
    columns += [Column("network’s speed", times_in_words), Column("network closer on")] * bool(comparison.networks)
    columns += [Column("processing", duration), Column("tuning", duration)]
    rows = []
    for one, figures in zip(overall, pages.figures([(one.nrmse, one.psnr, one.ssim) for one in overall]), strict=True):
        network = (one.times, one.wins) if comparison.networks else ()
        rows.append((pages.named(one.method), *figures, one.speed, *network, one.seconds, one.tuning))
    limited = [one.method for one in comparison.credits if one.region == region and region != comparison.region]
    words = f", to which {listed(limited)} {'is' if len(limited) == 1 else 'are'} limited" if limited else ""
    return Table(columns, rows, f"{before}{comparison.counted(region)}, {region}{words}")


def _bars(comparison: Comparison, region: str) -> str:
    """A column of bars for every figure, a bar for every method; throughput on a logarithmic axis."""
    methods = comparison.methods(region)
    figure, columns = chart(11.0, 0.75 + 0.3 * len(methods), 4, sharey=True)
    places = np.arange(len(methods))[::-1]
    for axes, (name, title) in zip(columns, TITLES.items(), strict=True):
        for at, method in zip(places, methods, strict=True):
            one = comparison.of(method, region)
            mean = one.speed if name == "speed" else getattr(one, name)[0]
            lines = [line for line in comparison.lines if line.method == method]
            if name != "speed":
                lines = [line for line in lines if line.region == region]
            values = [value for value in (getattr(line, name) for line in lines) if value is not None]
            if mean is None or not np.isfinite([mean, *values]).all():
                continue
            axes.barh(at, mean, height=0.62, color=pages.COLOURS[pages.role_of(method)], alpha=0.75, linewidth=0)
            shift = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, at + shift, "o", color=INK, markersize=2.6, alpha=0.8, markeredgewidth=0)
        axes.set_title(title, fontsize=9.5)
        axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.7)
        axes.grid(axis="y", visible=False)
        if name == "speed":
            _decades(axes)
    columns[0].set_yticks(places, methods)
    return svg(figure)


def _decades(axes: Any) -> None:
    """A logarithmic axis of whole powers of ten around all that is shown."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shown = [bar.get_width() for bar in axes.patches] + [x for line in axes.lines for x in line.get_xdata()]
    axes.set_xscale("log")
    if shown:
        axes.set_xlim(10 ** np.floor(np.log10(min(shown) / 1.2)), 10 ** np.ceil(np.log10(max(shown) * 1.05)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


# -- pictures ---------------------------------------------------------------------------------------


def _picture(picture: Picture, comparison: Comparison) -> Any:
    """All methods side by side, and below each the same square larger."""
    smallest = comparison.regions[-1]
    scores = {
        line.method: line
        for line in comparison.lines
        if line.region == smallest and picture.name in (line.image, f"{line.image}, channel {line.channel}")
    }
    stretch, square = pages.stretch_of(picture), _busiest(picture.planes["truth"])
    panels: list[Markup] = []
    for method, plane in picture.planes.items():
        score, label = scores.get(method), label_of(method)
        mark = pages.square_mark(*square, stretch, plane.shape[1])
        mark = pages.overlay(plane.shape, stretch, mark, None if panels else picture.pixel[2])
        frames = [
            html.frame(f"{label} of {picture.name}", png(plane, stretch=stretch), mark),
            html.frame(f"detail of {label}", png(plane[square], stretch=stretch)),
        ]
        if section := _section(picture, method):
            frames.append(html.frame(f"section of {label}", section))
        notes = [f"NRMSE {score.nrmse:.3f}", f"SSIM {score.ssim:.3f}"] if score else []
        panels.append(html.panel(label, frames, notes))
    deep = " The lowest row is a section along X and Z, the middle of the depth." * bool(_section(picture, "truth"))
    where = picture.where if smallest == comparison.region else f"{smallest}, {picture.where}".strip(", ")
    return html.figure(panels, pages.bar_in_words(picture) + deep, title=picture.name, where=where, css="level even")


def _section(picture: Picture, method: str) -> str:
    """Of stacks whose Z was made finer, what planes do not show: at most as deep as it is wide; else nothing."""
    if INTERPOLATED not in picture.planes or method not in picture.cuts:
        return ""
    cut, (pixel_z, _, pixel_x) = picture.cuts[method], picture.pixel
    stretch = pixel_z / pixel_x if pixel_z and pixel_x else 1.0
    depth = min(len(cut), max(1, round(cut.shape[1] / stretch)))
    first = (len(cut) - depth) // 2
    return png(cut[first : first + depth], "gray", 0, 1, stretch)


def _busiest(plane: Any) -> tuple[slice, slice]:
    """The square with most detail, on a coarse grid: one of small structures, not the edge of a large bright one."""
    from scipy.ndimage import gaussian_filter

    shown = np.clip(plane, 0, 1)
    detail = gaussian_filter(shown, 1) - gaussian_filter(shown, 4)
    side = max(min(16, *plane.shape), max(plane.shape) // INSET)
    return busiest_region(detail, side, (side // 4, side // 4))


# -- failures and credits ---------------------------------------------------------------------------


def _failures(comparison: Comparison) -> list[Markup]:
    failures = comparison.failures
    if not failures:
        return []
    method = failures[0].method
    words = f"The largest relative error of {method} in every image, the worst first. {EXPLAINED}"
    below = (
        f"The square marks the {WINDOW} x {WINDOW} pixels of the largest error, in the middle of what is shown where "
        f"the image allows."
    )
    if any(failure.scale is not None for failure in failures):
        below += (
            " The predicted scale is the error that the networks expect at each pixel, in % of the ground truth’s "
            "range: where they fail without knowing it, it is dark."
        )
    return [html.words(words), *map(_failure, failures), html.words(below, soft=True)]


def _failure(failure: Failure) -> Any:
    rows, columns = (
        slice(max(at - first - WINDOW // 2, 0), at - first + WINDOW // 2 + 1)
        for at, first in zip(failure.place[-2:], failure.corner, strict=True)
    )
    shape = failure.errors.shape
    mark = pages.overlay(shape, 1.0, pages.square_mark(rows, columns, 1.0, shape[1]))
    panels = [
        html.panel(label_of(name), [html.frame(label_of(name), png(plane), mark)])
        for name, plane in failure.planes.items()
    ]
    panels.append(
        pages.heat("relative error", failure.errors, "% of the ground truth", mark, pages.ERROR_MAP, top=failure.error)
    )
    if failure.scale is not None:
        panels.append(pages.heat("predicted scale", failure.scale, "% of the range", mark))
    title = f"{failure.image}: {percent(failure.error, 0)} of the ground truth"
    return html.figure(panels, title=title, where=failure.where, css="tight")


def _methods(comparison: Comparison) -> list[Markup]:
    """What a reader must know of each method, and with which parameters and in which time it processed every image."""
    names = ("method", "what it does", "described by", "library", "licence", "parameters", "run on")
    rows: list[tuple[Any, ...]] = [
        (
            Markup("{} (<code>{}</code>)").format(one.method, one.name),
            *(one.does or None, one.source or None, one.library, one.licence, one.tuned, one.region),
        )
        for one in comparison.credits
    ]
    if comparison.networks:
        weights = comparison.facts.get("Network", {}).get("parameters per member", 0)
        does = f"Content-aware restoration: {counted(comparison.networks, 'network')}, {weights:,} weights each"
        library = f"veriscope {versions()['veriscope']}"
        terms = ("Weigert et al. 2018", library, "BSD-3-Clause", "as trained, nothing tuned", comparison.region)
        rows.append((RESTORATION, does, *terms))
    parts: list[Markup] = [html.grid(Table([Column(name, left=True) for name in names], rows), "credits")]
    if run := {(line.image, line.method): line for line in comparison.lines if line.seconds is not None}:
        columns = [Column(name, left=True) for name in ("image", "method", "parameters")]
        columns += [Column("tuning", duration), Column("processing", duration)]
        columns.append(Column("Mvoxel/s", speed_in_words))
        values = [
            (one.image, one.method, one.settings or None, one.tuning, one.seconds, one.speed) for one in run.values()
        ]
        parts.append(html.grid(Table(columns, values), summary="Parameters and times by image"))
    return parts
