"""Pictures of every stand-in, for docs/simulate.md: what the camera saw, and the truth, from above and from the side.

python experiments/montages.py [NAME...]        writes docs/images/simulated/NAME.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from veriscope.images.conditions import TESTING
from veriscope.images.image import Image
from veriscope.simulate.experiments import field
from veriscope.simulate.standins import HEIGHT, INPUT, LABELS, STANDINS, TRUTH

PLACE = Path(__file__).parents[1] / "docs" / "images" / "simulated"
WIDTH = 9.6  # inches


def grey(pixels: np.ndarray) -> np.ndarray:
    """8 bit between the percentiles 1 and 99.8."""
    low, high = np.percentile(pixels, (1, 99.8))
    return np.uint8(255 * np.clip((pixels - low) / max(high - low, 1e-9), 0, 1))


def coloured(image: Image) -> np.ndarray:
    """(..., 3): one channel in grey, two as magenta and green."""
    pixels = np.asarray(image)
    if "C" not in image.axes:
        return np.repeat(grey(pixels)[..., None], 3, axis=-1)
    first, second = grey(pixels[0]), grey(pixels[1])
    return np.stack([first, second, first], axis=-1)


def cells(image: Image) -> np.ndarray:
    """Labels in bright colours on black."""
    labels = np.asarray(image).astype(np.int64)
    colours = np.random.default_rng(1).integers(60, 256, (labels.max() + 1, 3))
    colours[0] = 0
    return colours[labels].astype(np.uint8)


def views(image: Image, isotropic: tuple[float, float] | None) -> dict[str, np.ndarray]:
    """The middle plane and, of a stack, the middle xz section with true proportions."""
    shown = coloured(image)
    if "Z" not in image.axes:
        return {"": shown}
    z, y = shown.shape[0] // 2, shown.shape[1] // 2
    side = shown[:, y]
    step = (image.voxel("Z") or 1) / (image.voxel("X") or 1)
    rows = np.minimum((np.arange(round(len(side) * step)) / step).astype(int), len(side) - 1)
    return {"": shown[z], ", side": side[rows]}


def montage(name: str) -> Path:
    """All kinds of images of the first test field of `name`, one beside the other."""
    taken = field(name, TESTING, 0, 0, "small").images
    panels: dict[str, np.ndarray] = {}
    order = [kind for kind in (*STANDINS[name].conditions, TRUTH) if kind in taken]
    for kind in order:
        if kind == "condition_2":
            continue
        if name == "flywing" and kind != TRUTH:
            top = taken[kind]
            projected = Image(np.asarray(top).max(axis=0), "YX", (top.voxel("Y"), top.voxel("X")))
            panels[f"{kind}, maximum"] = coloured(projected)
            panels[f"{kind}, side"] = views(top, None)[", side"]
            continue
        panels |= {kind + extra: shown for extra, shown in views(taken[kind], None).items()}
    if LABELS in taken:
        labels = np.asarray(taken[LABELS])
        panels["labels"] = cells(Image(labels[labels.shape[0] // 2] if labels.ndim == 3 else labels, "YX"))
    if HEIGHT in taken:
        panels["height"] = coloured(taken[HEIGHT])
    ratios = [shown.shape[1] / shown.shape[0] for shown in panels.values()]
    figure = Figure(figsize=(WIDTH, WIDTH / sum(ratios) + 0.45), dpi=100, facecolor="white")
    gap, total, left = 0.006, sum(ratios), 0.0
    high = (WIDTH / total) / (WIDTH / total + 0.45)
    for (title, shown), ratio in zip(panels.items(), ratios, strict=True):
        width = ratio / total
        axes = figure.add_axes((left + gap / 2, 0, width - gap, high * 0.98))
        axes.imshow(shown, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(title.replace("_", " "), fontsize=7)
        left += width
    PLACE.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLACE / f"{name}.png")
    return PLACE / f"{name}.png"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or STANDINS:
        assert INPUT
        print(montage(wanted))
