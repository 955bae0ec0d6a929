"""What can be measured of an epithelium in a stack: how it looks, and how well a projection shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.signal import find_peaks, peak_widths
from scipy.stats import rankdata
from skimage.segmentation import clear_border, find_boundaries

Pixels = NDArray[Any]

MEMBRANE, INSIDE = 1.5, 5.0  # pixels: nearer to a border than this is membrane, farther is the inside of a cell
NEAR, FAR = 3, 6  # planes: what lies nearer to the surface belongs to it, what lies farther above does not


@dataclass(frozen=True)
class Look:
    """Of a stack with a flat picture and a segmentation of it; lengths in pixels, along Z in planes."""

    cell: float  # distance of neighbours in a honeycomb of the cells' mean area (whole cells only)
    uneven: float  # relative standard deviation of the square root of their areas
    membrane: float  # width at half height of what is bright along rows and columns of the flat picture
    axial: float  # width at half height along Z of the brightest membranes, each at its own height
    depth: float  # middle height, as part of the stack's depth
    rise: float  # from the 2nd to the 98th percentile of the height
    dark: float  # background (median of the stack) above its darkest, as part of the brightness of membranes
    inside: float  # light at the surface inside cells, above the background, likewise
    noise: float  # standard deviation of the background, in the same parts
    grain: float  # correlation of this noise between neighbouring pixels of a plane
    above: float  # 99.9th percentile of the light more than 6 planes above the surface, in the same parts

    def __str__(self) -> str:
        return (
            f"{self.cell:6.1f} {self.uneven:7.2f} {self.membrane:9.1f} {self.axial:6.1f} {self.depth:6.2f} "
            f"{self.rise:5.1f} {self.dark:6.3f} {self.inside:7.3f} {self.noise:7.4f} {self.grain:6.2f} "
            f"{self.above:6.2f}"
        )


HEADING = f"{'cell':>6} {'uneven':>7} {'membrane':>9} {'axial':>6} {'depth':>6} {'rise':>5} {'dark':>6} " + (
    f"{'inside':>7} {'noise':>7} {'grain':>6} {'above':>6}"
)


def look(stack: Pixels, flat: Pixels, labels: Pixels) -> Look:
    """What a simulation has to be like. `stack` (Z, Y, X), `flat` and `labels` (Y, X)."""
    stack, flat = stack.astype(np.float64), flat.astype(np.float64)
    whole = clear_border(labels.astype(np.int64))
    areas = np.bincount(whole.ravel())[1:]
    areas = areas[areas > 0]
    height = surface_height(stack)
    surface = at_surface(stack, height)
    slope, offset = np.polyfit(flat.ravel(), surface.ravel(), 1)
    flat = slope * flat + offset  # above the background, in grey values of the stack
    background, darkest = np.median(stack), np.percentile(stack, 0.1)
    near = distance_to_borders(labels)
    bright = np.percentile(flat[near <= MEMBRANE], 90)
    calm = _calm(stack)
    light = above_surface(stack, height)
    return Look(
        cell=float(np.sqrt(areas.mean() / 0.87)),
        uneven=float(np.sqrt(areas).std() / np.sqrt(areas).mean()),
        membrane=membrane_width(flat),
        axial=axial_width(stack, flat, height),
        depth=float(np.median(height) / (len(stack) - 1)),
        rise=float(np.ptp(np.percentile(height, (2, 98)))),
        dark=float((background - darkest) / bright),
        inside=float(np.median(surface[near > INSIDE]) / bright),
        noise=float(calm.std() / bright),
        grain=float(np.mean([(calm[:, :, 1:] * calm[:, :, :-1]).mean(), (calm[:, 1:] * calm[:, :-1]).mean()]))
        / float((calm**2).mean()),
        above=float(np.percentile(light, 99.9) / bright),
    )


def distance_to_borders(labels: Pixels) -> NDArray[np.float64]:
    """From the nearest border between two cells, in pixels; 0 on either side of it."""
    found: NDArray[np.float64] = distance_transform_edt(~find_boundaries(labels, mode="thick"))
    return found


def surface_height(stack: Pixels, smooth: float = 12.0, outlier: float = 4.0) -> NDArray[np.float64]:
    """Where the brightest sheet lies, in planes: brightest planes of the brightest quarter of the columns, outliers
    left out, and a Gaussian of `smooth` pixels over the rest.
    """
    calm = gaussian_filter(np.asarray(stack, np.float64), (1, 2, 2))
    first, brightness = calm.argmax(0).astype(np.float64), calm.max(0)
    weight = (brightness > np.percentile(brightness, 75)).astype(np.float64)
    height = np.full(first.shape, np.median(first[weight > 0]))
    for scale in (4 * smooth, 2 * smooth, smooth):
        kept = weight * (np.abs(first - height) <= outlier * scale / smooth)
        height = gaussian_filter(kept * first, scale) / np.maximum(gaussian_filter(kept, scale), 1e-9)
    return np.asarray(height, np.float64)


def above_surface(stack: Pixels, height: Pixels, far: float = FAR) -> NDArray[np.float64]:
    """Brightest light more than `far` planes above the surface (towards plane 0), less the median of the stack."""
    planes = np.arange(len(stack)).reshape(-1, 1, 1)
    background = float(np.median(stack))
    light = np.where(planes < height - far, stack, background).max(0) - background
    return np.asarray(light, np.float64)


def at_surface(stack: Pixels, height: Pixels, near: float = NEAR) -> NDArray[np.float64]:
    """Brightest light within `near` planes of the surface, less the median of the stack."""
    planes = np.arange(len(stack)).reshape(-1, 1, 1)
    background = float(np.median(stack))
    light = np.where(np.abs(planes - height) <= near, stack, background).max(0) - background
    return np.asarray(light, np.float64)


def membrane_width(flat: Pixels) -> float:
    """Median width at half prominence of the peaks along rows and columns, in pixels.

    Membranes are crossed at any angle, so that they look wider than they are, in all images alike.
    """
    least = 0.25 * float(np.subtract(*np.percentile(flat, (99, 5))))
    widths = []
    for lines in (flat, flat.T):
        for line in lines:
            peaks, _ = find_peaks(line, prominence=least)
            widths.append(peak_widths(line, peaks, rel_height=0.5)[0])
    return float(np.median(np.concatenate(widths)))


def axial_width(stack: Pixels, flat: Pixels, height: Pixels, reach: int = 6) -> float:
    """Width at half height along Z of the mean profile of the brightest tenth of the flat picture, in planes."""
    places = np.argwhere(flat > np.percentile(flat, 90))
    profiles = []
    for y, x in places:
        middle = round(height[y, x])
        low, high = max(middle - NEAR, 0), min(middle + NEAR + 1, len(stack))
        peak = low + int(np.argmax(stack[low:high, y, x]))
        if reach <= peak < len(stack) - reach:
            profiles.append(stack[peak - reach : peak + reach + 1, y, x])
    mean = np.mean(profiles, axis=0) - np.median(stack)
    sides = [np.interp(-0.5 * mean[reach], -side, np.arange(reach + 1)) for side in (mean[reach:], mean[reach::-1])]
    return float(sum(sides))


def _calm(stack: Pixels) -> NDArray[np.float64]:
    """The darkest 32 x 32 pixels of the planes, less what is smooth in them: noise alone."""
    size = 32
    boxes = [
        stack[:, y : y + size, x : x + size]
        for y in range(0, stack.shape[1] - size + 1, size)
        for x in range(0, stack.shape[2] - size + 1, size)
    ]
    planes = np.concatenate(boxes)
    darkest = planes[np.argsort(planes.max(axis=(1, 2)))[: max(4, len(planes) // 10)]]
    calm = darkest - gaussian_filter(darkest, (0, 6, 6))
    return np.asarray(calm, np.float64)


# -- how well a projection shows it ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """How well a flat picture shows the membranes of a segmentation and hides what lies above them."""

    separation: float  # d' of membranes and insides of cells: difference of the means by the mean standard deviation
    brighter: float  # probability that a pixel of a membrane is brighter than one inside a cell
    left: float  # share of the light above the surface that is still there inside cells: 0 none, 1 all of it

    def __str__(self) -> str:
        return f"{self.separation:6.2f} {self.brighter:9.4f} {self.left:6.2f}"


def shown(picture: Pixels, labels: Pixels, surface: Pixels, above: Pixels) -> Shown:
    """Of a flat `picture` in the grey values of `surface` and `above`, the light at and above the surface (Y, X).

    `left` is the weight of `above` when the picture inside cells is explained as a sum of both and a constant.
    """
    picture = np.asarray(picture, np.float64)
    distance = distance_to_borders(labels)
    membrane, inside = picture[distance <= MEMBRANE], picture[distance > INSIDE]
    spread = np.sqrt((membrane.var() + inside.var()) / 2)
    ranks = rankdata(np.concatenate([membrane, inside]))[: len(membrane)]
    brighter = (ranks.sum() - len(membrane) * (len(membrane) + 1) / 2) / (len(membrane) * len(inside))
    within = distance > INSIDE
    parts = np.stack([surface[within], above[within], np.ones(int(within.sum()))], axis=1)
    weights = np.linalg.lstsq(parts, picture[within], rcond=None)[0]
    return Shown(float((membrane.mean() - inside.mean()) / spread), float(brighter), float(weights[1]))


@dataclass(frozen=True)
class Surface:
    """How a height map compares with the smooth height of the brightest sheet, in planes."""

    rough: float  # mean difference between neighbouring pixels
    off: float  # median distance from the smooth height on membranes
    astray: float  # share of all pixels farther than 3 planes from it

    def __str__(self) -> str:
        return f"{self.rough:6.2f} {self.off:6.2f} {self.astray:7.1%}"


def compared(height: Pixels, smooth: Pixels, labels: Pixels) -> Surface:
    height = np.asarray(height, np.float64)
    steps = np.concatenate([np.abs(np.diff(height, axis=axis)).ravel() for axis in range(2)])
    apart = np.abs(height - smooth)
    membrane = distance_to_borders(labels) <= MEMBRANE
    return Surface(float(steps.mean()), float(np.median(apart[membrane])), float((apart > NEAR).mean()))
