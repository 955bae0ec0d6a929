"""How benchmarks/segmentation.py finds nuclei and cells, chooses how to, and tells how well it went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from veriscope.objects.curves import against_threshold
from veriscope.objects.overlaps import Scores, scores
from veriscope.objects.segment import cells, components, fractions, span, without_small

SMALLEST = {2: 20, 3: 10}  # pixels of an object
THRESHOLDS = 40
Array = np.ndarray[Any, Any]
Settings = dict[str, float]
Segment = Callable[..., Array]  # (image, **settings) -> labels

SUMMITS = {"h": (0.02, 0.1), "floor": (0.02, 0.05, 0.1, 0.2, 0.3, 0.4), "threshold": (0.3, 0.4, 0.5, 0.6, 0.7)}
BLOBS = {"sigma": (0.0, 1.0, 1.5, 2.5), **SUMMITS}
NUCLEI = {"sigma": (0.0, 1.0, 2.0, 3.0, 4.5), **SUMMITS}
CELLS = {"sigma": (0.0, 0.7, 1.0, 1.5, 2.0, 3.0), "h": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)}


class Valleys:
    """Objects parted along the valleys between summits that rise at least `h`, each bright as far as `threshold` says
    in parts of its own summit's height, as nuclei differ in brightness. Those lower than `floor` are background. All
    are heights above the image's darkest, `h` and `floor` in parts of its range; `spacing` of planes in pixels.
    """

    def __init__(self, spacing: float = 1.0) -> None:
        self.spacing = spacing
        self.last: dict[int, tuple[Array, tuple[float, float], tuple[Array, Array, Array]]] = {}

    def __call__(self, image: Array, sigma: float, h: float, floor: float, threshold: float) -> Array:
        known = self.last.get(id(image))
        if known is None or known[0] is not image or known[1] != (sigma, h):
            if len(self.last) > 8:
                self.last.clear()
            known = self.last[id(image)] = image, (sigma, h), self._parted(image, sigma, h)
        parted, summit, share = known[2]
        return without_small(np.where((share > threshold) & (summit > floor)[parted], parted, 0), SMALLEST[image.ndim])

    def _parted(self, image: Array, sigma: float, h: float) -> tuple[Array, Array, Array]:
        """What no threshold changes: regions, their summits, and each pixel's part of its summit."""
        smooth = np.asarray(image, np.float32)
        if sigma:
            smooth = gaussian_filter(smooth, (sigma / self.spacing, sigma, sigma)[-image.ndim :])
        low, high = span(smooth)
        parted, height = cells(-smooth, 0.0, h), (smooth - low) / (high - low)
        summit = np.zeros(int(parted.max()) + 1, np.float32)
        np.maximum.at(summit, parted.ravel(), height.ravel())
        return parted, summit, height / np.maximum(summit, 1e-6)[parted]


def net(image: Array, sigma: float, h: float) -> Array:
    """Dark cells between membranes."""
    return cells(image, sigma, h, SMALLEST[image.ndim])


def chosen(
    segment: Segment, grid: Mapping[str, Sequence[float]], pairs: Iterable[tuple[Array, Array]], by: str
) -> Settings:
    """The settings of the grid that are best by the mean over `pairs` of image and labels."""
    pairs = list(pairs)
    sign = -1 if by == "error" else 1
    found = []
    for values in product(*grid.values()):
        settings = dict(zip(grid, map(float, values), strict=True))
        reached = [getattr(scores(labels, segment(image, **settings)), by) for image, labels in pairs]
        found.append((sign * float(np.mean(reached)), settings))
    return max(found, key=lambda one: one[0])[1]


# -- tables -----------------------------------------------------------------------------------------

HEAD = f"{'mean and spread over them':30} {'SEG':>13} {'ERROR':>13} {'AP':>13}"


def row(name: str, reached: Sequence[Scores], settings: Settings, *more: str) -> str:
    """Mean and standard deviation of the scores of several fields, what is `more` to tell, and the settings."""
    columns = [[one.seg, one.error, one.average_precision] for one in reached]
    told = "".join(f" {np.mean(column):6.3f} ±{np.std(column):.3f}" for column in zip(*columns, strict=True))
    how = ", ".join(f"{key} {value:.3g}" for key, value in settings.items())
    return "".join([f"  {name:28}{told}", *more, f"   {how}"])


# -- a threshold alone ------------------------------------------------------------------------------


def against_thresholds(images: Mapping[str, Sequence[Array]], labels: Sequence[Array]) -> dict[str, Array]:
    """SEG and ERROR (rows) at every threshold for each method, means over its images (Supp. Figs. 7, 15)."""
    swept: dict[str, list[Array]] = {method: [] for method in images}
    for number, truth in enumerate(labels):
        field = {method: fields[number] for method, fields in images.items()}
        curves = against_threshold(field, truth, THRESHOLDS, components, min_size=SMALLEST[truth.ndim])
        for method in images:
            swept[method].append(np.stack([curves.values(method, "seg"), curves.values(method, "error")]))
    return {method: np.mean(fields, axis=0) for method, fields in swept.items()}


def best_of(curves: Mapping[str, Array], say: Callable[[str], None]) -> None:
    say("  a threshold alone: best of each mean curve, SEG (threshold), ERROR (threshold)")
    parts = fractions(THRESHOLDS)
    for method, (seg, error) in curves.items():
        best, least = np.nanargmax(seg), np.nanargmin(error)
        say(f"    {method:26} {seg[best]:6.3f} ({parts[best]:.2f}) {error[least]:7.3f} ({parts[least]:.2f})")
