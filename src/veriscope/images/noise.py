"""How noisy an image is, and how much of it is signal, from its pixels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.tiling import Span, windows

SIDE = 256  # pixels of the pieces looked at, along Y and X
MOST = 16  # pieces, spread evenly over the image
WHITE = 36.0  # variance of the differences of white noise of variance 1: (1 + 4 + 1) squared
LEAST_SIGNAL = 0.01  # of the variance; less counts as none
FOURTH = 70.0  # the same of fourth differences along a line: 1 + 16 + 36 + 16 + 1
BRIGHTNESSES = 12  # groups of pixels, by brightness
QUARTILE = 0.6745  # half of a normal distribution lies within so many standard deviations


def noise_and_contrast(read: Callable[[Span], NDArray[Any]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Standard deviations of the noise and of the rest, the structure, for each channel: (C, 2), in the pixels' unit.

    `read(span)` gives (C, ..., Y, X) of an image of `shape`, ending with Y X. The noise is the root mean square of the
    second differences along Y and X together, which smooth structure leaves at 0 (Immerkaer 1996). NaN for images
    of less than three pixels along Y or X, and where all pixels are equal.
    """
    pieces = windows(shape, (*(1 for _ in shape[:-2]), SIDE, SIDE))
    if len(pieces) > MOST:
        pieces = [pieces[at] for at in np.linspace(0, len(pieces) - 1, MOST).round().astype(int)]
    rough, sums, squares, count = [], [], [], []
    for piece in pieces:
        block = read(piece).astype(np.float64)
        across = tuple(range(1, block.ndim))
        if min(block.shape[-2:]) < 3:
            return np.full((len(block), 2), np.nan)
        second = np.diff(np.diff(block, 2, axis=-1), 2, axis=-2)
        rough.append(np.square(second).mean(across) / WHITE)
        sums.append(block.mean(across))
        squares.append(np.square(block).mean(across))
        count.append(block[0].size)
    noise, mean, square = (np.average(values, axis=0, weights=count) for values in (rough, sums, squares))
    whole = square - np.square(mean)
    signal = np.maximum(whole - noise, LEAST_SIGNAL * whole)
    deviations = np.sqrt(np.stack([noise, signal], axis=1))
    return np.asarray(np.where(deviations > 0, deviations, np.nan))


@dataclass(frozen=True)
class ByLight:
    """How the variance of the noise depends on the light: floor + slope * brightness."""

    floor: float
    slope: float

    def variance(self, brightness: NDArray[Any]) -> NDArray[np.float64]:
        return np.maximum(self.floor + self.slope * np.asarray(brightness, np.float64), 0)


def noise_by_light(image: NDArray[Any], across: bool = True) -> ByLight:
    """The noise of `image` (..., Y, X), any unit, by its brightness, as in a photon transfer curve.

    From second differences along Y and X together, or fourth ones along X alone where lines are not neighbours
    (not `across`): the median of their sizes among pixels of like brightness, which edges hardly move. A structure as
    fine as a pixel counts as noise.
    """
    values = np.asarray(image, np.float64)
    if values.shape[-1] < 5 or (across and values.shape[-2] < 3):
        return ByLight(0.0, 0.0)
    second = np.diff(values, 2, axis=-1)
    if across:
        steps, light = np.diff(second, 2, axis=-2), _mean_of_three(_mean_of_three(values, -1), -2)
    else:
        steps, light = np.diff(second, 2, axis=-1), _mean_of_three(_mean_of_three(values, -1), -1)
    white = WHITE if across else FOURTH
    order = np.argsort(light, axis=None)
    groups = [order[a:b] for a, b in pairwise(np.linspace(0, order.size, BRIGHTNESSES + 1).astype(int)) if b > a]
    size, place = np.abs(steps).ravel(), light.ravel()
    variances = np.array([(np.median(size[one]) / QUARTILE) ** 2 / white for one in groups])
    brightness = np.array([np.median(place[one]) for one in groups])
    base = float(brightness.min())
    weight = 1 / np.maximum(variances, 1e-3 * variances.max() + 1e-30)
    terms = np.column_stack([np.ones(len(groups)), brightness - base]) * weight[:, None]
    from scipy.optimize import nnls

    (least, slope), _ = nnls(terms, variances * weight)
    return ByLight(float(least - slope * base), float(slope))


def _mean_of_three(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    last = values.shape[axis] - 2
    parts = [np.take(values, range(at, at + last), axis) for at in range(3)]
    return np.asarray(np.mean(parts, axis=0))
