"""Local filters in slabs, one thread each: the result is that of the whole image, sooner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import tiling
from veriscope.cores import available

Filter = Callable[[NDArray[np.float32]], NDArray[np.float32]]

WORTH = 1 << 19  # pixels from which on slabs are worth their threads


def by_slabs(
    volume: NDArray[np.float32], reach: int, function: Filter, threads: int | None = None
) -> NDArray[np.float32]:
    """`function(volume)` (Y X or Z Y X) for a filter that looks no further than `reach` pixels along every axis.

    The longest axis is cut into one slab per thread; each is computed with `reach` more pixels on both sides, or up to
    the border, where the filter continues the image in its own way. The filter must keep the shape, and should let go
    of Python while it works. Slabs have at least four times the reach, so that little is computed twice. `threads` is
    by default as many as there are cores for this process.
    """
    longest = int(np.argmax(volume.shape))
    length = volume.shape[longest]
    if threads is None:
        threads = available() if volume.size >= WORTH else 1
    slabs = min(threads, length // max(4 * reach, 1))
    if slabs < 2:
        return function(volume)
    core, halo = list(volume.shape), [0] * volume.ndim
    core[longest], halo[longest] = -(-length // slabs), reach
    result = np.empty(volume.shape, np.float32)

    def work(tile: tiling.Tile) -> None:
        result[tile.core] = function(volume[tile.read])[tile.inner]

    at_once(work, tiling.tiles(volume.shape, core, halo, [1] * volume.ndim), slabs)
    return result


def at_once(function: Callable[[Any], object], values: Iterable[Any], threads: int = 2) -> None:
    """Call `function` with every value, in threads. The first error is raised."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, values))
