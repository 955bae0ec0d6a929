"""A page that stands alone: one HTML file made of sections, which are words, tables and figures with panels and charts.

What all pages share: their style and colours, panels as PNG, scale bars, and facts in words.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from numpy.typing import NDArray

from veriscope import saving
from veriscope.comparing.facts import versions
from veriscope.comparing.judge import RESTORATION
from veriscope.comparing.picture import INPUT, INPUTS, Picture
from veriscope.reporting.charts import INK
from veriscope.reporting.movie import grey

# Okabe and Ito's colours, which colour-blind eyes can tell apart; names are those of the page's style.
COLOURS = {"input": "#7f7f7f", "classical": "#e69f00", "restoration": "#0072b2", "truth": INK}
SCALE_MAP, ERROR_MAP = "cividis", "magma"
MARK = "#56b4e9"  # of lines and squares over panels
GREYS = (
    "Grey means the same in all images: black is the ground truth’s percentile 0.1, white its percentile 99.9, and "
    "every image is matched to the ground truth in brightness and contrast as for the figures above; the input is "
    "stretched until its signal is as bright as that of the ground truth."
)


# What the template makes, as HTML: `words`, `grid` (of a Table), `copy`, `figure`, `panel` and `frame`.
_TEMPLATE = Path(__file__).with_name("page.html.jinja").read_text("utf-8")
html: Any = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_TEMPLATE).module


def write(path: str | os.PathLike[str], overwrite: bool, make: Callable[[], str]) -> Path:
    """A file of the page that `make` gives. Raises OutputError when it exists (unless `overwrite`) or cannot be
    written; nothing is left behind then.
    """
    target = Path(path)
    if not overwrite:
        saving.check_free(target)
    saving.write(target, make(), overwrite)
    return target


def render(
    title: str,
    lead: str,
    sections: Mapping[str, Sequence[Markup]],
    facts: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Any],
    **more: Any,
) -> str:
    """A page: the parts of each section below its heading, left out where there are none, and how to repeat it: facts,
    and all figures as JSON. `more` are an intro, notes, and the command to repeat it.
    """
    known = {
        heading: {name.replace("_", " "): _words(value) for name, value in group.items() if value is not None}
        for heading, group in facts.items()
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False, default=str)
    date = datetime.datetime.now().astimezone().strftime("%Y-%m-%d")
    style = Markup(Path(__file__).with_name("page.css").read_text("utf-8"))
    version = versions()["veriscope"]
    return str(html.page(style, title, lead, sections, known, text, version, date, **more))


# -- words ------------------------------------------------------------------------------------------


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_words(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = [_words(one) for one in value[:12]]
        return ", ".join(shown) + (f", … ({len(value)} in all)" if len(value) > 12 else "")
    return str(value)


def percent(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}".replace("%", " %")


def role_of(method: str) -> str:
    if method in INPUTS:
        return INPUT
    return method if method in (RESTORATION, "truth") else "classical"


def named(method: str) -> Markup:
    """A method's name behind a dot of its colour."""
    return Markup('<i class="dot" style="background: var(--{})"></i>{}').format(role_of(method), method)


def label_of(method: str) -> str:
    return "ground truth" if method == "truth" else method


def figures(scores: Sequence[Sequence[tuple[float, float]]]) -> list[list[Markup]]:
    """NRMSE, PSNR and SSIM of each method with their spread, which may be NaN; the best of several in bold."""
    best = [(max if at else min)(row[at][0] for row in scores) for at in range(3)]
    cells: list[list[Markup]] = []
    for row in scores:
        cells.append([])
        for (mean, spread), top, digits in zip(row, best, (4, 2, 3), strict=True):
            form = "<b>{}</b>" if mean == top and len(scores) > 1 else "{}"
            more = f' <span class="spread">± {spread:.{digits}f}</span>' if math.isfinite(spread) else ""
            cells[-1].append(Markup(form + more).format(f"{mean:.{digits}f}"))
    return cells


# -- panels -----------------------------------------------------------------------------------------


def png(plane: NDArray[Any], colours: str = "gray", low: float = 0, high: float = 1, stretch: float = 1.0) -> str:
    """Base64 of a PNG, one pixel per pixel; rows are repeated where pixels are taller than wide."""
    from matplotlib import colormaps
    from PIL import Image as Pillow

    if colours == "gray":
        shown = grey(plane, low, high)
    else:
        place = np.clip((plane - low) / ((high - low) or 1.0), 0, 1)
        shown = np.rint(255 * colormaps[colours](place)[..., :3]).astype(np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(in_proportion(shown, stretch)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def heat(
    label: str,
    plane: NDArray[Any],
    unit: str,
    overlay: str,
    colours: str = SCALE_MAP,
    *,
    top: float | None = None,
    stretch: float = 1.0,
) -> Markup:
    """A panel of values from 0 to `top` (by default their percentile 99.5) in colours, with these below it, in %."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    top = float(np.percentile(plane, 99.5)) if top is None else top
    gradient = ", ".join(to_hex(colormaps[colours](place)) for place in np.linspace(0, 1, 9))
    high = f"{100 * top:.0f}" if top >= 0.1 else f"{100 * top:.2g}"
    frame = html.frame(label, png(plane, colours, 0, top, stretch), overlay)
    return Markup(html.panel(label, [frame], (), gradient, unit, high))


def in_proportion(shown: NDArray[Any], stretch: float) -> NDArray[Any]:
    """(Y, X, ...) with rows repeated where pixels are `stretch` times as tall as wide."""
    if abs(stretch - 1) <= 0.01:
        return shown
    height = max(1, round(len(shown) * stretch))
    return np.asarray(shown[((np.arange(height) + 0.5) * len(shown) / height).astype(int)])


def scale_bar(width: int, pixel: float | None) -> tuple[float, str] | None:
    """Length in pixels, and in words, of a round length in um: about a quarter of `width` pixels of `pixel` um."""
    if not pixel:
        return None
    wide = width * pixel
    power = 10.0 ** math.floor(math.log10(wide / 4))
    length = max(step * power for step in (1, 2, 5) if step * power <= wide / 4)
    return length / pixel, f"{length:g} µm"


def overlay(shape: Sequence[int], stretch: float, marks: str, pixel: float | None = None) -> Markup:
    """Marks, and a scale bar where the width of a pixel is given in um, drawn over a panel in its pixels."""
    height, width = shape[0] * stretch, shape[1]
    unit = width / 100
    if (bar := scale_bar(width, pixel)) is not None:
        length, text = bar
        left, bottom = width - 4 * unit - length, height - 4 * unit
        marks += (
            f'<rect x="{left:.2f}" y="{bottom - 2 * unit:.2f}" width="{length:.2f}" height="{2 * unit:.2f}" '
            f'fill="#fff"/><text x="{left + length / 2:.2f}" y="{bottom - 4 * unit:.2f}" font-size="{7 * unit:.2f}" '
            f'fill="#fff" stroke="#000" stroke-width="{0.9 * unit:.2f}" paint-order="stroke" text-anchor="middle" '
            f'font-family="sans-serif">{text}</text>'
        )
    return Markup(
        f'<svg viewBox="0 0 {width} {height:.2f}" preserveAspectRatio="none" aria-hidden="true">{marks}</svg>'
    )


def square_mark(rows: slice, columns: slice, stretch: float, width: int) -> str:
    """The outline of a region of a panel that is so many pixels wide."""
    return (
        f'<rect x="{columns.start}" y="{rows.start * stretch:.2f}" width="{columns.stop - columns.start}" '
        f'height="{(rows.stop - rows.start) * stretch:.2f}" fill="none" stroke="{MARK}" '
        f'stroke-width="{width / 100:.2f}"/>'
    )


def stretch_of(picture: Picture) -> float:
    """How many times as tall as wide a pixel is."""
    _, pixel_y, pixel_x = picture.pixel
    return pixel_y / pixel_x if pixel_y and pixel_x else 1.0


def bar_in_words(picture: Picture) -> str:
    bar = scale_bar(picture.planes["truth"].shape[1], picture.pixel[2])
    return f"Scale bar: {bar[1]}." if bar else "The voxel size is not known, so there is no scale bar."
