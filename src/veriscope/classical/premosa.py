"""PreMosa: the surface from blocks of bright pixels, refined by the contrast of smaller cells (Blasse et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, median_filter

Heights = NDArray[np.float64]
Edges = NDArray[np.intp]

ROUGH = ((4, 0.1), (2, 0.1), (1, 0.1))  # radii of the medians in cells, and how far from them is an outlier (of Z)


def find_surface(stack: NDArray[np.float32], block: int, brightest: int, reach: int) -> Heights:
    """The plane of the surface (Y X) in `stack` (Z Y X), which is scaled to 0 .. 1.

    In each block (about `block` pixels wide) the `brightest` pixels of the maximum vote for their plane. Blocks become
    four cells, outliers among them the median of their surroundings. Then each cell climbs to the plane where it
    has most contrast, as far as contrast grows within `reach` planes. Between cells the height is bilinear.

    The original works with 8 bits. Ranks decide here, so that one speck that is very bright does not flatten the rest.
    """
    blocks = [edges_of(size, block) for size in stack.shape[1:]]
    cells = [_halved(edges) for edges in blocks]
    height = _votes(stack, blocks, brightest)
    for axis in range(2):
        height = height.repeat((len(cells[axis]) - 1) // height.shape[axis], axis=axis)
    for radius, fraction in ROUGH:
        height = _without_outliers(height, radius, fraction * len(stack))
    planes = (plane.astype(np.float64) for plane in stack)
    variances = [mean_of_parts(plane**2, cells) - mean_of_parts(plane, cells) ** 2 for plane in planes]
    height = _climbed(height.astype(np.intp), np.stack(variances), reach).astype(np.float64)
    wide = np.pad(_without_outliers(height, 1, 1), 1, mode="edge")
    corners = (wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]) / 4  # means of the cells that meet there
    places = [np.interp(np.arange(part[-1]) + 0.5, part, np.arange(len(part))) for part in cells]
    return np.asarray(map_coordinates(corners, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"))


def _halved(edges: Edges) -> Edges:
    """Each part cut in two; all stay whole where one is a single pixel."""
    return edges if np.diff(edges).min() < 2 else np.sort(np.concatenate([edges, (edges[:-1] + edges[1:]) // 2]))


def _votes(stack: NDArray[np.float32], edges: list[Edges], brightest: int) -> Heights:
    """Per block the most frequent plane among the brightest pixels of the maximum; of several the first."""
    light, plane = stack.max(axis=0), stack.argmax(axis=0)
    rows, columns = edges
    height = np.empty((len(rows) - 1, len(columns) - 1))
    for y, x in np.ndindex(height.shape):
        part = slice(rows[y], rows[y + 1]), slice(columns[x], columns[x + 1])
        bright, voted = light[part].ravel(), plane[part].ravel()
        count = min(brightest, bright.size)
        least = np.partition(bright, bright.size - count)[bright.size - count]
        height[y, x] = np.bincount(voted[bright >= least]).argmax()
    return height


def _without_outliers(height: Heights, radius: int, far: float) -> Heights:
    middle = median_filter(height, size=2 * radius + 1, mode="nearest")
    return np.where(np.abs(height - middle) > far, middle, height)


def _climbed(height: NDArray[np.intp], contrast: Heights, reach: int) -> NDArray[np.intp]:
    """The plane of most `contrast` (Z, cells along Y and X) within `reach` of `height`, again and again for as long as
    that is the last one looked at.
    """
    planes = len(contrast)
    window = np.arange(-reach, reach + 1).reshape(-1, 1, 1)
    for _ in range(planes):
        looked_at = height + window
        inside = (looked_at >= 0) & (looked_at < planes)
        values = np.take_along_axis(contrast, np.clip(looked_at, 0, planes - 1), axis=0)
        values = np.where(inside, values, -np.inf)
        step = np.where(values.max(axis=0) > values[reach], values.argmax(axis=0) - reach, 0)
        height = height + step
        if not (np.abs(step) == reach).any() or reach == 0:
            break
    return height


def edges_of(size: int, width: int) -> Edges:
    """Where parts of about `width` begin, and the end of the last: at least one part, and none much smaller."""
    parts = max(1, round(size / width))
    return np.round(np.linspace(0, size, parts + 1)).astype(np.intp)


def mean_of_parts(plane: NDArray[Any], edges: Sequence[Edges]) -> Heights:
    """Means of the rectangles that `edges` (along Y, along X) cut a plane into."""
    rows, columns = (part[:-1] for part in edges)
    sums: Heights = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    return sums / np.outer(*(np.diff(part) for part in edges))
