"""An image on a finer grid, by cubic interpolation, computed piece by piece where it is read.

Each pixel is made of four neighbours per axis (Keys 1981, with the slope -1/2), so that any part of the result is what
the whole would show there, and only the pixels that it needs are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.lazy import LazyArray, chunks_of, shape_of
from veriscope.tiling import Span

Weigh = Callable[[NDArray[np.float64]], NDArray[np.float64]]
POINTS = "Z"  # planes are points along Z, each at its depth; along Y and X pixels are areas side by side


@dataclass(frozen=True)
class Grid:
    """The finer grid along one axis: `length` entries, `factor` for each of the old ones.

    Entry j lies at j / factor of the old axis where entries are `points`, the first on the first; at
    (j + 0.5) / factor - 0.5 where they are areas, with the same outer borders.
    """

    factor: float
    length: int
    points: bool

    def positions(self, entries: NDArray[Any]) -> NDArray[np.float64]:
        """Where `entries` of this grid lie, in entries of the old one."""
        places = entries / self.factor if self.points else (entries + 0.5) / self.factor - 0.5
        return np.asarray(places, np.float64)


def resampled(image: Image, factors: Mapping[str, float], lengths: Mapping[str, int] | None = None) -> Image:
    """`image` with `factors` times as many pixels along the axes named, float32 and lazy; voxels shrink accordingly.

    Voxel centres stay where they are. `factors` are real numbers from 1, such as {"Z": 10.2}; `lengths` are the
    numbers of pixels where they are not the size times the factor, rounded. Beyond the outermost centres the image
    is continued by its edge values. Raises AxesError for axes that the image does not have in space, DataError for
    factors that are not numbers from 1 and lengths below 1.

    >>> resampled(Image(np.zeros((5, 8, 8)), "ZYX", (0.5, 0.1, 0.1)), {"Z": 5}).shape
    (25, 8, 8)
    """
    lengths = dict(lengths or {})
    wanted = {letter: checked_factor(value, letter) for letter, value in factors.items()}
    if unknown := sorted({*wanted, *lengths} - set(image.spatial_axes)):
        raise AxesError(
            f"Only axes in space can be made finer, and the image has {image.spatial_axes or 'none'} "
            f"(axes {image.axes}), not {', '.join(unknown)}."
        )
    if any(length < 1 for length in lengths.values()):
        raise DataError(f"A finer grid has at least one pixel along each axis, not {lengths}.")
    grids = {}
    for letter in image.spatial_axes:
        factor, size = wanted.get(letter, 1.0), image.size(letter)
        length = lengths.get(letter, max(1, round(size * factor)))
        if factor != 1 or length != size:
            grids[image.axes.index(letter)] = Grid(factor, length, letter in POINTS)
    if not grids:
        return image
    return replace(image, array=Resampled(image.array, grids), voxel_size=_finer_voxels(image, wanted))


def _finer_voxels(image: Image, factors: Mapping[str, float]) -> tuple[float | None, ...] | None:
    return image.voxel_size and tuple(
        size and size / factors.get(letter, 1.0)
        for letter, size in zip(image.spatial_axes, image.voxel_size, strict=True)
    )


def checked_factor(value: float, letter: str) -> float:
    """`value` once it is known to be a number from 1."""
    factor = float(value)
    if not (isfinite(factor) and factor >= 1):
        raise DataError(f"The factor along {letter} is a number from 1, such as 5 or 10.2, not {value:g}.")
    return factor


def zoomed(image: Image, factors: Mapping[str, float], whole: bool) -> Image:
    """`image` as ``scipy.ndimage.zoom(order=1)`` makes it finer, lazy: how csbdeep interpolates.

    Linear; the outermost pixels of the result lie upon those of the image, so that voxels shrink by a little more or
    less than the factor. If `whole`, the type stays, and whole numbers are rounded; else the result is float32.
    """
    grids = {}
    for letter, value in factors.items():
        size = image.size(letter)
        length = max(1, round(size * checked_factor(value, letter)))
        spread = (length - 1) / (size - 1) if size > 1 else np.inf
        grids[image.axes.index(letter)] = Grid(spread, length, points=True)
    if not grids:
        return image
    array = Resampled(image.array, grids, image.dtype if whole else np.float32, linear)
    return replace(image, array=array, voxel_size=_finer_voxels(image, factors))


def cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (4, n) of the entries at -1, 0, 1, 2 for positions `t` from 0 to below 1: Keys (1981), a = -1/2."""
    return np.stack(
        [
            ((-0.5 * t + 1) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1,
            ((-1.5 * t + 2) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    )


def linear(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (4, n) of the entries at -1, 0, 1, 2 for positions `t` from 0 to below 1, of which two are 0."""
    return np.stack([np.zeros_like(t), 1 - t, t, np.zeros_like(t)])


class Resampled(LazyArray):
    """A lazy array: `source` on finer `grids`, one for each axis (by its number) that changes.

    `weigh` gives the weights of four neighbours, as `cubic` does.
    """

    def __init__(
        self, source: Any, grids: Mapping[int, Grid], dtype: DTypeLike = np.float32, weigh: Weigh = cubic
    ) -> None:
        self.source, self.weigh = source, weigh
        self.grids = dict(sorted(grids.items()))
        self.shape = tuple(
            self.grids[axis].length if axis in self.grids else int(n) for axis, n in enumerate(source.shape)
        )
        self.dtype = np.dtype(dtype)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """About what a chunk of the source becomes; None when the source has none."""
        chunks = chunks_of(self.source)
        if chunks is None:
            return None
        grown = [self.grids[axis].factor * size if axis in self.grids else size for axis, size in enumerate(chunks)]
        return tuple(min(max(1, round(size)), most) for size, most in zip(grown, self.shape, strict=True))

    def region(self, spans: Span) -> NDArray[Any]:
        if 0 in shape_of(spans):
            return np.empty(shape_of(spans), self.dtype)
        region = list(spans)
        taps: dict[int, tuple[NDArray[np.intp], NDArray[np.float64]]] = {}
        for axis, finer in self.grids.items():
            entries = np.arange(spans[axis].start, spans[axis].stop, spans[axis].step)
            region[axis], places, weights = _taps(finer, entries, self.source.shape[axis], self.weigh)
            taps[axis] = places, weights
        block = np.asarray(self.source[tuple(region)])
        exact = self.weigh is cubic and (block.dtype.itemsize <= 2 or block.dtype == np.float32)
        block = block.astype(np.float32 if exact else np.float64, copy=False)
        for axis, (places, weights) in taps.items():
            block = _interpolated(block, axis, places, weights)
        return np.asarray(np.floor(block + 0.5) if self.dtype.kind in "iu" else block, self.dtype)


def _taps(
    finer: Grid, entries: NDArray[Any], size: int, weigh: Weigh
) -> tuple[slice, NDArray[np.intp], NDArray[np.float64]]:
    """The old entries that new ones are made of: a span, places in it (4, n), and their weights (4, n)."""
    positions = np.clip(finer.positions(entries), 0, size - 1)
    below = np.floor(positions).astype(np.intp)
    weights = weigh(positions - below)
    places = np.clip(below + np.arange(-1, 3)[:, None], 0, size - 1)
    used = places[weights != 0]  # on a plane of the old grid nothing else is read
    first, last = int(used.min()), int(used.max())
    return slice(first, last + 1), np.clip(places - first, 0, last - first), weights


def _interpolated(
    block: NDArray[Any], axis: int, places: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[Any]:
    """Sums in the same order for every entry, so that a part equals the part of the whole to the last bit."""
    shape = [4, *[1] * block.ndim]
    shape[1 + axis] = -1
    first, *others = zip(places, weights.astype(block.dtype).reshape(shape), strict=True)
    result: NDArray[Any] = np.take(block, first[0], axis=axis)
    result *= first[1]
    for place, weight in others:
        one = np.take(block, place, axis=axis)
        one *= weight
        result += one
    return result
