"""Are two parallel lines seen as two? Resolution below the diffraction limit, on tubules whose places are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError

DIP = 0.265  # Rayleigh: two points at 0.61 lambda / NA are seen with this dip between them
ENOUGH = 0.8  # of the trials at a distance that have to succeed


@dataclass(frozen=True)
class TwoLines:
    """Two straight parallel lines in a plane; lengths in pixels, `angle` in rad from the X axis towards Y."""

    centre: tuple[float, float]  # Y, X; in the middle between both
    angle: float
    distance: float
    length: float


def profile(plane: NDArray[Any], lines: TwoLines, margin: float = 4.0, step: float = 0.1) -> tuple[NDArray[Any], ...]:
    """Offsets from the middle (pixels) and the mean brightness along the lines at each of them.

    It crosses both lines at a right angle and goes `margin` pixels beyond them. Cubic interpolation; the outer tenths
    of the lines are left out.
    """
    from scipy.ndimage import map_coordinates

    reach = lines.distance / 2 + margin
    offsets = np.linspace(-reach, reach, 2 * ceil(reach / step) + 1)
    along = np.arange(-0.4 * lines.length, 0.4 * lines.length + 0.5)
    y = lines.centre[0] + offsets[:, None] * cos(lines.angle) + along * sin(lines.angle)
    x = lines.centre[1] - offsets[:, None] * sin(lines.angle) + along * cos(lines.angle)
    if min(y.min(), x.min()) < 0 or y.max() > plane.shape[0] - 1 or x.max() > plane.shape[1] - 1:
        raise DataError(f"The lines {lines} do not lie within the plane of {plane.shape[0]} x {plane.shape[1]} pixels.")
    values = map_coordinates(np.asarray(plane, np.float64), [y, x], order=3, mode="mirror")
    return offsets, values.mean(axis=1)


def dip(plane: NDArray[Any], lines: TwoLines) -> float:
    """How far the brightness falls between both lines, in parts of the weaker one above the background; 0 to 1.

    The two peaks have to lie within a quarter of the distance (at least one pixel) of where the lines are; else 0.
    The background is the darkest value beside the lines.
    """
    offsets, values = profile(plane, lines)
    tolerance = max(0.25 * lines.distance, 1.0)
    background = float(values.min())
    tops = []
    for side in (-1, 1):
        near = np.abs(offsets - side * lines.distance / 2) <= min(tolerance, lines.distance / 2)
        place = int(np.flatnonzero(near)[np.argmax(values[near])])
        if not 0 < place < len(values) - 1 or values[place] < max(values[place - 1], values[place + 1]):
            return 0.0  # still rising where it should peak: the two lines are one blob
        tops.append(place)
    first, last = sorted(tops)
    valley = float(values[first : last + 1].min())
    peak = min(float(values[first]), float(values[last]))
    return max(0.0, (peak - valley) / (peak - background)) if peak > background else 0.0


def resolved(plane: NDArray[Any], lines: TwoLines) -> bool:
    """Whether both lines are seen apart: a dip of at least 26.5 % between them, as Rayleigh's criterion asks."""
    return dip(plane, lines) >= DIP


def smallest_resolved(distances: Sequence[float], successes: Sequence[Sequence[bool]]) -> float | None:
    """The smallest distance from which on at least 80 % of the trials at every distance succeeded; None if none is."""
    smallest = None
    for distance, trials in sorted(zip(distances, successes, strict=True), reverse=True):
        if np.mean(trials) < ENOUGH:
            break
        smallest = distance
    return smallest
