"""Spheroids side by side: placed by chance, then pushed apart until they no longer overlap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROUNDS = 80  # of pushing; dense tissue (half the volume) is settled after about 60
TOUCHING = 0.1  # overlap that is let pass, as part of the sum of two radii

Places = NDArray[np.float64]


def pack(
    places: Places,
    directions: Places,
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    gap: float,
    swell: float,
    hold: Callable[[Places], Places],
) -> tuple[Places, NDArray[np.bool_]]:
    """Places of spheroids after pushing, and which of them can stay: those that overlap no other by more than a tenth.

    They are pushed as if they were larger by the factor `swell`, as every cell claims some room around its nucleus.
    `places` (count, axes) and `directions` (unit vectors of the axis of rotation) go with the half axes `along` it and
    `across`, all in um; neighbours keep `gap` between each other. `hold` brings places back to where they may
    be. Two spheroids touch when their distance is the sum of their radii in the direction of each other: exact for
    spheres.
    """
    places = places.copy()
    smallest = 0.02 * float(np.minimum(along, across).min(initial=np.inf))
    for _ in range(ROUNDS):
        first, second, push, overlap = _overlaps(places, directions, swell * along, swell * across, gap)
        if overlap.max(initial=0) < smallest:
            break
        push *= overlap[:, None] / 2
        for axis in range(places.shape[1]):
            places[:, axis] += np.bincount(second, push[:, axis], len(places))
            places[:, axis] -= np.bincount(first, push[:, axis], len(places))
        places = hold(places)
    first, second, _, overlap = _overlaps(places, directions, along, across, 0.0)
    stays = np.ones(len(places), dtype=bool)
    together = np.minimum(along, across)[first] + np.minimum(along, across)[second]
    for one, other in zip(first[overlap > TOUCHING * together], second[overlap > TOUCHING * together], strict=True):
        if stays[one]:
            stays[other] = False
    return places, stays


def _overlaps(
    places: Places,
    directions: Places,
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    gap: float,
) -> tuple[NDArray[np.intp], NDArray[np.intp], Places, NDArray[np.float64]]:
    """Pairs that overlap: first, second, unit vector from first to second, and by how many um."""
    from scipy.spatial import cKDTree

    longest = float(np.maximum(along, across).max(initial=0))
    pairs = cKDTree(places).query_pairs(2 * longest + gap, output_type="ndarray") if len(places) > 1 else None
    if pairs is None or not len(pairs):
        none = np.zeros(0, dtype=np.intp)
        return none, none, np.zeros((0, places.shape[1])), np.zeros(0)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]  # the order of the tree is no promise
    first, second = pairs[:, 0], pairs[:, 1]
    vector = places[second] - places[first]
    distance = np.sqrt((vector**2).sum(1))
    vector /= np.maximum(distance, 1e-9)[:, None]
    reach = sum(
        1 / np.sqrt(part / along[which] ** 2 + (1 - part) / across[which] ** 2)
        for which in (first, second)
        for part in [np.minimum((vector * directions[which]).sum(1) ** 2, 1.0)]
    )
    overlap = reach + gap - distance
    close = overlap > 0
    return first[close], second[close], vector[close], overlap[close]
