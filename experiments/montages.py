"""Pictures of every stand-in, for docs/simulating.md: what the camera saw, and the truth, from above and from the side.

python experiments/montages.py [NAME...]        writes docs/images/simulated/NAME.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from veriscope.images.conditions import TESTING
from veriscope.images.image import Image
from veriscope.simulate.experiments import field
from veriscope.simulate.standins import HEIGHT, INPUT, LABELS, STANDINS, TRUTH, Simulated, StandIn

PLACE = Path(__file__).parents[1] / "docs" / "images" / "simulated"
SIDE = 128  # pixels of the image that are shown
TIMES = 2  # as large: whole pixels, so that nothing is interpolated
GAP, CAPTION = 8, 24  # pixels of the picture
DPI = 100
BARS_UM = (2, 5, 10)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One image (Y X colour, as large as it is shown) under its caption."""

    caption: str
    pixels: Pixels


def grey(pixels: np.ndarray) -> Pixels:
    """8 bit between the percentiles 1 and 99.8 of all that is given."""
    low, high = np.percentile(pixels, (1, 99.8))
    return np.uint8(255 * np.clip((pixels - low) / max(high - low, 1e-9), 0, 1))


def coloured(image: Image) -> Pixels:
    """(..., 3), without C: one channel in grey, two as magenta and green."""
    pixels = np.asarray(image)
    if "C" not in image.axes:
        return np.repeat(grey(pixels)[..., None], 3, axis=-1)
    first, second = (grey(pixels.take(channel, image.axes.index("C"))) for channel in (0, 1))
    return np.stack([first, second, first], axis=-1)


def cells(image: Image) -> Pixels:
    """Labels in bright colours on black."""
    labels = np.asarray(image).astype(np.int64)
    colours = np.random.default_rng(1).integers(60, 256, (labels.max() + 1, 3))
    colours[0] = 0
    return colours[labels].astype(np.uint8)


def window(length: int, middle: float | None = None) -> slice:
    """As much of a side as is shown, around `middle` as far as the image reaches."""
    first = round((length / 2 if middle is None else middle) - SIDE / 2)
    first = min(max(first, 0), max(length - SIDE, 0))
    return slice(first, first + SIDE)


def enlarged(shown: Pixels) -> Pixels:
    return shown.repeat(TIMES, axis=0).repeat(TIMES, axis=1)


def above(shown: Pixels, place: tuple[float, float] | None = None) -> Pixels:
    """A plane around `place` (YX in pixels), or its middle."""
    y, x = place or (None, None)
    return enlarged(shown[window(shown.shape[0], y), window(shown.shape[1], x)])


def side(shown: Pixels, image: Image, place: tuple[float, float] | None = None) -> Pixels:
    """The xz section through `place` with true proportions: a plane is as many pixels high as it is thick."""
    y, x = place or (shown.shape[1] // 2, None)
    section = shown[:, min(int(y), shown.shape[1] - 1), window(shown.shape[2], x)]
    step = (image.voxel("Z") or 1) / (image.voxel("X") or 1)
    rows = (np.arange(min(round(len(section) * step), SIDE)) / step).astype(int)
    return enlarged(section[np.minimum(rows, len(section) - 1)])


def in_words(kind: str, stand: StandIn, taken: Simulated) -> str:
    """Caption of a kind of image: what it is called on disk, and its light."""
    if kind in stand.conditions and stand.levels:
        return f"{kind}: 1/{1 / stand.levels[stand.conditions.index(kind)]:.0f} of the light"
    if kind == INPUT and "photons" in taken.drawn:
        return f"{kind}: {taken.drawn['photons']:.0f} photons"
    return kind


def of_volumes(stand: StandIn, taken: Simulated) -> list[list[Panel]]:
    """Above: a plane of each kind; below: a section from the side. Planes left out do not shift them."""
    kinds = [stand.conditions[0], stand.conditions[-1]] if stand.levels else stand.conditions
    first = taken.images[kinds[0]]
    z = first.size("Z") // 2
    rows: list[list[Panel]] = [[], []]
    for kind in (*kinds, TRUTH, LABELS):
        image = taken.images[kind]
        shown = cells(image) if kind == LABELS else coloured(image)
        plane = round(z * stand.subsample) if kind in (TRUTH, LABELS) else z
        rows[0].append(Panel(in_words(kind, stand, taken), above(shown[plane])))
        rows[1].append(Panel("the same from the side (xz)" if not rows[1] else "", side(shown, image)))
    return rows


def of_surfaces(stand: StandIn, taken: Simulated) -> list[list[Panel]]:
    """Around a lump of debris: stacks as their maximum and from the side, the surface in them, and how high it lies."""
    y, x = (float(um) / stand.voxel_size[-1] for um in taken.drawn["structure"]["debris_place"][0])
    height = taken.images[HEIGHT]
    rows: list[list[Panel]] = [[], []]
    for kind in (stand.conditions[0], stand.conditions[-1]):
        image = taken.images[kind]
        shown = coloured(image)
        flat = coloured(Image(np.asarray(image).max(axis=0), "YX"))
        rows[0].append(Panel(f"{in_words(kind, stand, taken)}, maximum", above(flat, (y, x))))
        caption = "from the side (xz): debris above the surface" if not rows[1] else ""
        rows[1].append(Panel(caption, side(shown, image, (y, x))))
    for kind in (TRUTH, LABELS):
        shown = cells(taken.images[kind]) if kind == LABELS else coloured(taken.images[kind])
        rows[0].append(Panel(kind, above(shown, (y, x))))
    rows[1].append(Panel(f"{HEIGHT}: brighter is deeper in the stack", above(coloured(height), (y, x))))
    plane = round(float(np.median(np.asarray(height))))
    one = coloured(taken.images[stand.conditions[-1]])[plane]
    rows[1].append(Panel(f"{stand.conditions[-1]}, plane {plane} of it", above(one, (y, x))))
    return rows


def of_planes(stand: StandIn, fields: list[Simulated]) -> list[list[Panel]]:
    """Two fields with their truths."""
    return [
        [
            Panel(in_words(kind, stand, taken), above(coloured(taken.images[kind])))
            for taken in fields
            for kind in (INPUT, TRUTH)
        ]
    ]


def picture(rows: list[list[Panel]], pixel_um: float) -> Figure:
    """Panels in rows under their captions, every image pixel on whole pixels; a scale bar in the first panel."""
    heights = [max(panel.pixels.shape[0] for panel in row) for row in rows]
    width = max(sum(panel.pixels.shape[1] + GAP for panel in row) for row in rows) - GAP
    height = sum(heights) + CAPTION * len(rows)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    top = height
    for row, tall in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            figure.text(left / width, (top - 6) / height, panel.caption, fontsize=8, va="top")
            high = panel.pixels.shape[0]
            figure.figimage(panel.pixels, left, top - CAPTION - high, origin="upper")
            left += panel.pixels.shape[1] + GAP
        top -= CAPTION + tall
    _scale_bar(figure, rows[0][0].pixels.shape[0], pixel_um)
    return figure


def _scale_bar(figure: Figure, first_high: int, pixel_um: float) -> None:
    from matplotlib.patches import Rectangle

    width, height = (size * DPI for size in figure.get_size_inches())
    bottom = height - CAPTION - first_high + 10
    um = max(um for um in BARS_UM if um <= 0.3 * SIDE * pixel_um)
    long = um / pixel_um * TIMES
    bar = Rectangle(
        (10 / width, bottom / height), long / width, 4 / height, color="white", transform=figure.transFigure, zorder=9
    )
    figure.add_artist(bar)
    said = {"fontsize": 8, "color": "white", "va": "bottom", "ha": "left", "zorder": 9}
    figure.text(10 / width, (bottom + 7) / height, f"{um} µm", **said)


def montage(name: str) -> Path:
    """The first test field of `name` (of planes: a dim and a bright one) as a PNG file."""
    stand = STANDINS[name]
    taken = field(name, TESTING, 0, 0, "small")
    if HEIGHT in taken.images:
        rows = of_surfaces(stand, taken)
    elif "photons" in taken.drawn:
        fields = [field(name, TESTING, number, 0, "small") for number in range(6)]
        fields.sort(key=lambda one: one.drawn["photons"])
        rows = of_planes(stand, [fields[0], fields[-1]])
    else:
        rows = of_volumes(stand, taken)
    PLACE.mkdir(parents=True, exist_ok=True)
    picture(rows, stand.voxel_size[-1]).savefig(PLACE / f"{name}.png")
    return PLACE / f"{name}.png"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or STANDINS:
        print(montage(wanted))
