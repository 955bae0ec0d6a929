"""SME, smooth manifold extraction: a smooth sheet through the planes of bright pixels (Shihavuddin et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import vq
from scipy.fft import rfft
from scipy.ndimage import minimum_filter, uniform_filter

Heights = NDArray[np.float64]

BACKGROUND, UNCERTAIN, FOREGROUND = range(3)
BINS = 100  # of the histogram of brightness
FIRST_STEPS = 100  # that lead from the lowest to the highest plane
SHRINK = 0.99  # of the step, every time
SETTLED = 1e-6  # of the range of planes: a smaller change of the mean cost is none
GIVING = 6.0  # smoothness where it cannot be measured; 3 is what a pixel needs to leave a flat surface for a lone peak
NEAREST = 1e-4  # planes: no smaller step is worth taking


def find_surface(stack: NDArray[np.float32]) -> Heights:
    """The plane of the surface (Y X) in `stack` (Z Y X), which is scaled to 0 .. 1.

    Columns are sorted into background, uncertain and foreground by how they vary along Z. Then every pixel pays for the
    distance from its brightest plane, if it is sure of it, and for standing out from its eight neighbours; all move
    at once, in steps that shrink, as long as that reduces the cost. There are no settings.
    """
    kind = column_kinds(stack)
    first, light = stack.argmax(axis=0).astype(np.float64), stack.max(axis=0)
    pull = _pull(kind, first, light)
    sure = first[kind != BACKGROUND]
    span = (float(np.ptp(sure)) if sure.size else 0.0) + 1
    return _relaxed(first, pull, span)


def column_kinds(stack: NDArray[np.float32]) -> NDArray[np.intp]:
    """BACKGROUND, UNCERTAIN or FOREGROUND per pixel: three means of the spectra along Z, in the order of their sums.

    The means start from equal parts of the range of these sums, so that nothing is left to chance.
    """
    planes = len(stack)
    lines = np.moveaxis(stack, 1, 0)  # one by one, to spare memory
    rows = [np.abs(rfft(line, axis=0)[1 : (planes + 1) // 2]) for line in lines]
    spectra = np.stack(rows, axis=1).reshape(len(rows[0]), -1).T
    ranges = np.ptp(spectra, axis=0)
    spectra = np.ascontiguousarray(spectra / np.where(ranges > 0, ranges, 1))
    sums = spectra.sum(axis=1)
    kinds = np.digitize(sums, sums.min() + np.ptp(sums) * np.array([1 / 3, 2 / 3]))
    centres = np.array([spectra[kinds == kind].mean(axis=0) for kind in np.unique(kinds)])
    for _ in range(300):
        kinds = vq(spectra, centres, check_finite=False)[0]
        present = np.unique(kinds)
        moved = np.array([spectra[kinds == kind].mean(axis=0, dtype=np.float64) for kind in present], np.float32)
        if moved.shape == centres.shape and np.array_equal(moved, centres):
            break
        centres = moved
    ranks = np.argsort(np.argsort(centres.sum(axis=1))) + 3 - len(centres)  # where there are fewer, none is background
    kinds = vq(spectra, centres, check_finite=False)[0]
    return np.asarray(ranks[kinds].reshape(stack.shape[1:]))


def _pull(kind: NDArray[np.intp], first: Heights, light: NDArray[np.float32]) -> Heights:
    """What a plane of distance from the brightest one costs each pixel."""
    fore, unsure, back = (kind == one for one in (FOREGROUND, UNCERTAIN, BACKGROUND))
    strength = 1 / _smoothness(first, light, fore, unsure)
    trust = 1.0
    if unsure.any() and back.any():
        dark, middle, bright = (float(light[one].mean(dtype=np.float64)) for one in (back, unsure, fore))
        trust = float(np.clip((middle - dark) / (bright - dark), 0, 1)) if bright > dark else 0.0
    return np.where(fore, strength, np.where(unsure, trust * strength, 0.0))


def _smoothness(first: Heights, light: NDArray[Any], fore: NDArray[np.bool_], unsure: NDArray[np.bool_]) -> float:
    """How far foreground stands out from its neighbours, at the quantile that keeps what is surely bright."""
    middles = np.linspace(light.min(), light.max(), BINS)
    edges = np.concatenate([[-np.inf], (middles[1:] + middles[:-1]) / 2, [np.inf]])
    fractions = [np.histogram(light[one], edges)[0] / max(np.count_nonzero(one), 1) for one in (unsure, fore)]
    dimmer = np.flatnonzero(fractions[0] > fractions[1])
    least = middles[dimmer[-1]] if dimmer.size else -np.inf
    below, above = np.count_nonzero(light[fore] <= least), np.count_nonzero(light[fore] > least)
    quantile = min(below / above, 1.0) if above else 1.0
    mean, squares = _around(first)
    apart = np.abs(first - mean)
    rise = _deviation(first, mean, squares) - np.sqrt(squares / 8)
    inner = (minimum_filter(fore.astype(np.uint8), 3, mode="reflect") > 0) & (rise > 0)
    if not inner.any():  # nothing to measure it on
        return GIVING
    return float(np.quantile(apart[inner] / rise[inner], quantile))


def _around(height: Heights) -> tuple[Heights, Heights]:
    """Mean of the eight neighbours, and the sum of their squared distances from it."""
    total, total_squares = (9 * uniform_filter(one, 3, mode="reflect") for one in (height, height**2))
    mean = (total - height) / 8
    return mean, np.maximum(total_squares - height**2 - 8 * mean**2, 0)


def _deviation(height: Heights, mean: Heights, squares: Heights) -> Heights:
    """Standard deviation of a pixel at `height` and its eight neighbours together."""
    return np.asarray(np.sqrt((squares + (height - mean) ** 2 * (8 / 9)) / 8))


def _relaxed(first: Heights, pull: Heights, span: float) -> Heights:
    """The sheet that costs least, as far as small steps lead there."""
    height, step, before = first.copy(), span / FIRST_STEPS, np.inf
    while step > NEAREST:
        mean, squares = _around(height)
        best = pull * np.abs(height - first) + _deviation(height, mean, squares)
        here = height
        for moved in (here - step, here + step):
            cost = pull * np.abs(moved - first) + _deviation(moved, mean, squares)
            better = cost < best
            best, height = np.where(better, cost, best), np.where(better, moved, height)
        cost_now = float(best.mean())
        if abs(before - cost_now) <= SETTLED * span:
            break
        before, step = cost_now, step * SHRINK
    return height
