"""What notebooks show of images, restorations and judgements: small HTML, without scripts and whatever the theme."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.tables import Table

WIDE = 320  # pixels of a picture, at most
MANY = 2**26  # values that are read for a picture, at most
GREYS = (0.2, 99.8)  # percentiles that are black and white
DOTS = ("#009e73", "#e69f00", "#d55e00")  # of the three levels of a verdict


def png(plane: NDArray[Any], ends: tuple[float, float] | None = None) -> str:
    """A data URI of a plane (Y, X) in grey, at most WIDE pixels wide; `ends` are black and white."""
    from PIL import Image as Pillow

    step = max(1, -(-plane.shape[1] // WIDE))
    small = np.asarray(plane[::step, ::step], np.float64)
    bottom, top = ends or np.nanpercentile(small, GREYS)
    shown = np.clip((np.nan_to_num(small, nan=bottom) - bottom) / ((top - bottom) or 1.0), 0, 1)
    file = io.BytesIO()
    Pillow.fromarray(np.rint(255 * shown).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def figures(planes: Mapping[str, str]) -> str:
    """Pictures, as `png` gives them, side by side, with words below each."""
    each = (
        f'<figure style="margin:0"><img src="{uri}" alt="{escape(words)}" '
        f'style="min-width:160px;image-rendering:pixelated">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
        for words, uri in planes.items()
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(each)}</div>'


def planes(image: Any) -> dict[str, str]:
    """The first four channels of an Image: of its first sample and time point, the brightest along Z.

    Nothing where that is too much to read, or computed when it is read.
    """
    first = image.region(**{letter: slice(0, 1) for letter in "ST" if letter in image.axes})
    if image.cuts is not None or first.nbytes > MANY * first.dtype.itemsize or min(first.shape) == 0:
        return {}
    stack = np.asarray(first.moved("STCZYX"))[0, 0, :4].max(axis=1)
    several = len(stack) > 1
    return {f"channel {number}" if several else image.name or "image": png(one) for number, one in enumerate(stack)}


def facts(known: Mapping[str, str]) -> str:
    """Names and values, line by line."""
    return _rows(f"<th>{escape(name)}</th><td>{escape(str(value))}</td>" for name, value in known.items())


def table(made: Table) -> str:
    """A table with its headings."""
    head, *rows = made.cells()
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    return _rows([*lines, *("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)])


def _rows(lines: Iterable[str]) -> str:
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def words(sentences: Sequence[object], level: int | None = None) -> str:
    """Paragraphs; the first behind a dot of the colour of a verdict's `level`."""
    dot = "" if level is None else f'<span style="color:{DOTS[level]}">&#9679;</span> '
    return "".join(f"<p>{dot if not at else ''}{escape(str(one))}</p>" for at, one in enumerate(sentences))
