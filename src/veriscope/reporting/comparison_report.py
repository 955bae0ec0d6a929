"""A comparison as one HTML file that a reviewer can check: figures, pictures, failures, credits, how to repeat it."""

from __future__ import annotations

import datetime
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from veriscope import saving
from veriscope.comparing.comparison import Comparison, Result, Summary, speed_in_words, times_in_words
from veriscope.comparing.failures import EXPLAINED, WINDOW, Failure
from veriscope.comparing.judge import FIGURES, RESTORATION, versions
from veriscope.comparing.picture import INTERPOLATED, Picture
from veriscope.comparing.plan import in_words as time_in_words
from veriscope.comparing.run import TIMING
from veriscope.errors import OutputError
from veriscope.reporting.charts import INK, chart, svg
from veriscope.reporting.page import COLOURS, SCALE_MAP, gradient, in_words, png, role_of, scale_bar, style_sheet

TEMPLATE = Path(__file__).with_name("comparison.html.jinja")
INSET = 3  # the region shown is this many times as wide as the square shown larger
MARK = "#56b4e9"
ERROR_MAP = "magma"
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
    target = Path(path)
    if saving.exists(target) and not overwrite:
        raise OutputError(
            f"{target} exists already. Choose another name, or pass overwrite=True (--overwrite) to replace it."
        )
    saving.write(target, render(comparison, title, command), overwrite)
    return target


def render(comparison: Comparison, title: str = "Methods compared", command: str = "") -> str:
    """The page as text, see `write_comparison`."""
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text("utf-8"))
    run = {(line.image, line.method): line for line in comparison.lines if line.seconds is not None}
    network = comparison.facts.get("Network", {})
    return page.render(
        title=title,
        style=Markup(style_sheet()),
        headline=headline(comparison),
        notes=comparison.notes,
        blocks=_blocks(comparison, Markup),
        networks=comparison.networks,
        channels=any(line.channel is not None for line in comparison.lines),
        settings=comparison.settings,
        tuned=comparison.tuned,
        timing=TIMING,
        copies={
            "means as Markdown": comparison.table("markdown"),
            "means as LaTeX": comparison.table("latex"),
            "every image, for spreadsheets (CSV)": comparison.table("csv"),
        },
        pictures=[_shown(picture, comparison, Markup) for picture in comparison.pictures],
        failures=[_failed(failure, Markup) for failure in comparison.failures],
        failing=comparison.failures[0].method if comparison.failures else "",
        failures_explained=EXPLAINED,
        scaled=any(failure.scale is not None for failure in comparison.failures),
        window=WINDOW,
        credits=comparison.credits,
        restoration=RESTORATION,
        network=f"Content-aware restoration: {_counted(comparison.networks, 'network')}, "
        f"{network.get('parameters per member', 0):,} weights each",
        region=comparison.region,
        found=[_found(line) for line in run.values()],
        command=command,
        facts={heading: in_words(group) for heading, group in comparison.facts.items()},
        json=json.dumps(comparison.to_json(), indent=1, ensure_ascii=False, default=str),
        version=versions()["veriscope"],
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d"),
    )


def headline(comparison: Comparison) -> str:
    """The result in a sentence or two, whoever is ahead."""
    many = _counted(len(comparison.images), "image")
    other = comparison.best_other
    if RESTORATION not in comparison.methods():
        if other is None:
            return f"Figures for {many}."
        where = _where(other, comparison)
        return (
            f"On {many}{where}, {other.method} comes closest to the truth: NRMSE {_percent(other.nrmse[0])}, "
            f"SSIM {other.ssim[0]:.2f}."
        )
    own = comparison.of(RESTORATION, None if other is None else other.region)
    text = f"On {many}{_where(own, comparison)}, restoration has a mean NRMSE of {_percent(own.nrmse[0])} and an SSIM "
    text += f"of {own.ssim[0]:.2f}"
    if other is None:
        return f"{text}."
    text += f"; the best other method, {other.method}, {_percent(other.nrmse[0])} and {other.ssim[0]:.2f}"
    compared = _counted(own.count, "image") if not _has_channels(comparison) else f"{own.count} images by channels"
    text += f". Restoration is closer to the truth on {other.closer} of {compared}"
    if other.times is not None:
        faster = other.times >= 1
        times = other.times if faster else 1 / other.times
        words = f"{times:.2g}" if times < 99.5 else f"{times:,.0f}"
        text += f", and {words} times as {'fast' if faster else 'slow'} per voxel on this machine"
    return f"{text}."


def _where(one: Summary, comparison: Comparison) -> str:
    return "" if one.region == comparison.region else f" ({one.region})"


def _percent(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _has_channels(comparison: Comparison) -> bool:
    return any(line.channel is not None for line in comparison.lines)


# -- figures ----------------------------------------------------------------------------------------


def _blocks(comparison: Comparison, markup: Any) -> list[dict[str, Any]]:
    """The means of every region with their bars, and those of each condition in it."""
    blocks = []
    for region in comparison.regions:
        blocks.append(_block(comparison, region, markup))
        for name, images in comparison.conditions.items():
            part = comparison.only(images)
            if any(line.region == region for line in part.lines):
                shown = _block(part, region, markup)
                blocks.append({**shown, "title": f"{name}: {shown['title']}", "chart": "", "caption": ""})
    return blocks


def _block(comparison: Comparison, region: str, markup: Any) -> dict[str, Any]:
    """The means of one region, and their bars."""
    overall = comparison.overall(region)
    best = {name: (min if name == "nrmse" else max)(getattr(one, name)[0] for one in overall) for name in FIGURES}
    limited = [one.method for one in comparison.credits if one.region == region and region != comparison.region]
    title = f"{comparison.counted(region)}, {region}"
    return {
        "title": title
        + (f", to which {' and '.join(limited)} {'is' if len(limited) == 1 else 'are'} limited" * bool(limited)),
        "rows": [_row(one, best) for one in overall],
        "chart": markup(_bars(comparison, region)),
        "caption": "Bars are means, every dot is one image" + (" in one channel" * _has_channels(comparison)) + ".",
    }


def _row(one: Summary, best: dict[str, float]) -> dict[str, Any]:
    figures = []
    for name, digits in zip(FIGURES, (4, 2, 3), strict=True):
        mean, deviation = getattr(one, name)
        spread = f"{deviation:.{digits}f}" if math.isfinite(deviation) else ""
        figures.append({"text": f"{mean:.{digits}f}", "spread": spread, "best": mean == best[name]})
    return {
        "method": one.method,
        "colour": role_of(one.method),
        "figures": figures,
        "speed": speed_in_words(one.speed),
        "times": times_in_words(one.times),
        "closer": "-" if one.closer is None else f"{one.closer} of {one.count}",
        "seconds": "-" if one.seconds is None else time_in_words(one.seconds),
        "tuning": "-" if one.tuning is None else time_in_words(one.tuning),
    }


def _found(line: Result) -> dict[str, str]:
    return {
        "image": line.image,
        "method": line.method,
        "settings": line.settings or "-",
        "tuning": "-" if line.tuning is None else time_in_words(line.tuning),
        "seconds": time_in_words(line.seconds or 0.0),
        "speed": speed_in_words(line.speed),
    }


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
            axes.barh(at, mean, height=0.62, color=COLOURS[role_of(method)], alpha=0.75, linewidth=0)
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


def _shown(picture: Picture, comparison: Comparison, markup: Any) -> dict[str, Any]:
    """All methods side by side, and below each the same square larger."""
    smallest = comparison.regions[-1]
    rows = {
        line.method: line
        for line in comparison.lines
        if line.region == smallest and picture.name in (line.image, f"{line.image}, channel {line.channel}")
    }
    stretch = _stretch(picture)
    square = _busiest(picture.planes["truth"])
    panels: list[dict[str, Any]] = []
    for method, plane in picture.planes.items():
        line = rows.get(method)
        panels.append(
            {
                "label": method,
                "notes": [f"NRMSE {line.nrmse:.3f}", f"SSIM {line.ssim:.3f}"] if line else [],
                "png": png(plane, "gray", 0, 1, stretch),
                "inset": png(plane[square], "gray", 0, 1, stretch),
                "overlay": markup(_overlay(plane.shape, square, stretch, None if panels else picture.pixel[2])),
                "section": _section(picture, method),
            }
        )
    bar = scale_bar(picture.planes["truth"].shape[1], picture.pixel[2])
    return {
        "name": picture.name,
        "where": picture.where if smallest == comparison.region else f"{smallest}, {picture.where}".strip(", "),
        "panels": panels,
        "caption": (f"Scale bar: {bar[1]}." if bar else "The voxel size is not known, so there is no scale bar.")
        + " The lowest row is a section along X and Z, the middle of the depth." * bool(_section(picture, "truth")),
    }


def _section(picture: Picture, method: str) -> str:
    """Of stacks whose Z was made finer, what planes do not show: at most as deep as it is wide; else nothing."""
    if INTERPOLATED not in picture.planes or method not in picture.cuts:
        return ""
    cut, (pixel_z, _, pixel_x) = picture.cuts[method], picture.pixel
    stretch = pixel_z / pixel_x if pixel_z and pixel_x else 1.0
    depth = min(len(cut), max(1, round(cut.shape[1] / stretch)))
    first = (len(cut) - depth) // 2
    return png(cut[first : first + depth], "gray", 0, 1, stretch)


def _failed(failure: Failure, markup: Any) -> dict[str, Any]:
    at = (failure.place[-2] - failure.corner[0], failure.place[-1] - failure.corner[1])
    square = (
        slice(max(at[0] - WINDOW // 2, 0), at[0] + WINDOW // 2 + 1),
        slice(max(at[1] - WINDOW // 2, 0), at[1] + WINDOW // 2 + 1),
    )
    mark = markup(_overlay(failure.errors.shape, square, 1.0, None))
    panels: list[dict[str, Any]] = [
        {"label": label, "png": png(plane, "gray", 0, 1), "overlay": mark} for label, plane in failure.planes.items()
    ]
    top = failure.error
    shown = [("relative error", "% of the truth", failure.errors, ERROR_MAP, top)]
    if failure.scale is not None:
        top = float(np.percentile(failure.scale, 99.5))
        shown.append(("predicted scale", "% of the range", failure.scale, SCALE_MAP, top))
    for label, unit, plane, colours, top in shown:
        high = f"{100 * top:.0f}" if top >= 0.1 else f"{100 * top:.2g}"
        panel = {"label": label, "png": png(plane, colours, 0, top), "overlay": mark}
        panels.append({**panel, "gradient": gradient(colours), "unit": unit, "high": high})
    title = f"{failure.image}: {failure.error:.0%} of the truth".replace("%", " %")
    return {"title": title, "where": failure.where, "panels": panels}


def _busiest(plane: Any) -> tuple[slice, slice]:
    """The square with most detail, on a coarse grid: one of small structures, not the edge of a large bright one."""
    from scipy.ndimage import gaussian_filter

    shown = np.clip(plane, 0, 1)
    detail = gaussian_filter(shown, 1) - gaussian_filter(shown, 4)
    side = max(min(16, *plane.shape), max(plane.shape) // INSET)
    height, width = (min(side, size) for size in plane.shape)
    corners = [
        (top, left)
        for top in range(0, plane.shape[0] - height + 1, max(1, height // 4))
        for left in range(0, plane.shape[1] - width + 1, max(1, width // 4))
    ]
    top, left = max(corners, key=lambda at: float(detail[at[0] : at[0] + height, at[1] : at[1] + width].std()))
    return slice(top, top + height), slice(left, left + width)


def _stretch(picture: Picture) -> float:
    _, pixel_y, pixel_x = picture.pixel
    return pixel_y / pixel_x if pixel_y and pixel_x else 1.0


def _overlay(shape: tuple[int, ...], square: tuple[slice, slice], stretch: float, pixel: float | None) -> str:
    """A square, and a scale bar where the width of a pixel is given in um, over a panel in its pixels."""
    height, width = shape[0] * stretch, shape[1]
    rows, columns = square
    unit = width / 100
    mark = (
        f'<rect x="{columns.start}" y="{rows.start * stretch:.2f}" width="{columns.stop - columns.start}" '
        f'height="{(rows.stop - rows.start) * stretch:.2f}" fill="none" stroke="{MARK}" stroke-width="{unit:.2f}"/>'
    )
    bar = scale_bar(width, pixel)
    if bar is not None:
        left, bottom = width - 4 * unit - bar[0], height - 4 * unit
        mark += (
            f'<rect x="{left:.2f}" y="{bottom - 2 * unit:.2f}" width="{bar[0]:.2f}" height="{2 * unit:.2f}" '
            f'fill="#fff"/><text x="{left + bar[0] / 2:.2f}" y="{bottom - 4 * unit:.2f}" font-size="{7 * unit:.2f}" '
            f'fill="#fff" stroke="#000" stroke-width="{0.9 * unit:.2f}" paint-order="stroke" text-anchor="middle" '
            f'font-family="sans-serif">{bar[1]}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height:.2f}" preserveAspectRatio="none" aria-hidden="true">{mark}</svg>'
