"""Where in an image patches may start: everywhere, or only where the truth shows something.

The rule for foreground is the authors': a position counts when the maximum of the truth within half a patch around the
centre of the patch exceeds 0.4 of the truth's 99.9th percentile, so that what is seen does not hide at a border. The
map of such positions is made from maxima of small blocks, read piece by piece: memory follows the map, not the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.images.image import piece_shape
from veriscope.tiling import Grid

MOST_CELLS = 2**16  # cells of the map of one image; images that need no more have an exact map
PIECE_BYTES = 2**25  # of the image, read at once


@dataclass(frozen=True)
class Starts:
    """First corners that patches of `shape` may have in an image of `size`, in cells of `cell` voxels.

    `cells` holds the flat numbers of the cells that count, in the grid of `grid` cells; None means all of them.
    Where cells at the far border are cut off, `ends` is the running number of the positions they hold.
    """

    size: tuple[int, ...]
    shape: tuple[int, ...]
    cell: tuple[int, ...]
    cells: NDArray[np.integer[Any]] | None = None
    ends: NDArray[np.integer[Any]] | None = None

    @property
    def free(self) -> tuple[int, ...]:
        """Number of possible starts along each axis."""
        return tuple(size - patch + 1 for size, patch in zip(self.size, self.shape, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        return tuple(-(-free // cell) for free, cell in zip(self.free, self.cell, strict=True))

    def __len__(self) -> int:
        """How many positions count."""
        if self.cells is None:
            return math.prod(self.free)
        if self.ends is not None:
            return int(self.ends[-1]) if len(self.ends) else 0
        return len(self.cells) * math.prod(self.cell)

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """One start, every one that counts with the same chance."""
        if self.cells is None:
            return tuple(int(start) for start in rng.integers(self.free))
        if self.ends is None:
            number = int(self.cells[rng.integers(len(self.cells))])
        else:
            position = self.ends.dtype.type(rng.integers(self.ends[-1]))  # of the same type: no copy of `ends`
            number = int(self.cells[np.searchsorted(self.ends, position, side="right")])
        start = []
        for size, free, cell in zip(reversed(self.grid), reversed(self.free), reversed(self.cell), strict=True):
            number, place = divmod(number, size)
            first = place * cell
            inside = int(rng.integers(min(cell, free - first))) if cell > 1 else 0
            start.append(first + inside)
        return tuple(reversed(start))


def everywhere(size: Sequence[int], shape: Sequence[int]) -> Starts:
    """Every position at which a patch of `shape` fits into an image of `size`."""
    return Starts(tuple(size), tuple(shape), (1,) * len(size))


def on_foreground(
    read: Callable[[tuple[slice, ...]], NDArray[Any]],
    size: Sequence[int],
    shape: Sequence[int],
    threshold: Sequence[float],
    most_cells: int = MOST_CELLS,
    chunks: Sequence[int] | None = None,
) -> Starts:
    """The positions whose patch has, within its central half, a voxel brighter than the `threshold` of its channel.

    `read(slices)` gives (C, *region) of the truth for one slice per spatial axis; `chunks` are the pieces in which it
    is stored. Small images have an exact map (the authors' rule); large ones a map in cells of at most a quarter patch,
    in which a cell counts only if each of its positions does: a little stricter, never laxer.
    """
    size, shape = tuple(size), tuple(shape)
    cell = _cell(size, shape, most_cells)
    bright = _bright_blocks(read, size, cell, np.asarray(threshold, dtype=np.float64), chunks)
    starts = Starts(size, shape, cell)
    for axis, (patch, step, cells) in enumerate(zip(shape, cell, starts.grid, strict=True)):
        bright = _any_in_centre(bright, axis, patch, step, cells)
    kind: type[np.integer[Any]] = np.int32 if math.prod(starts.free) < 2**31 else np.int64
    chosen = np.flatnonzero(bright).astype(kind)
    if len(chosen) == bright.size:
        return everywhere(size, shape)
    if all(free % step == 0 for free, step in zip(starts.free, cell, strict=True)):
        return Starts(size, shape, cell, chosen)
    held = np.ones((), dtype=np.int64)
    for free, step, cells in zip(starts.free, cell, starts.grid, strict=True):
        held = np.multiply.outer(held, np.minimum(step, free - step * np.arange(cells)))
    return Starts(size, shape, cell, chosen, np.cumsum(held.ravel()[chosen], dtype=kind))


def _cell(size: tuple[int, ...], shape: tuple[int, ...], most_cells: int) -> tuple[int, ...]:
    """The smallest cells that leave at most `most_cells` of them, as far as every cell still sees a whole block."""
    cell = [1] * len(size)
    while math.prod(-(-length // step) for length, step in zip(size, cell, strict=True)) > most_cells:
        room = [(cell[axis] / patch, axis) for axis, patch in enumerate(shape) if _seen(patch, 2 * cell[axis])]
        if not room:
            break
        cell[min(room)[1]] *= 2
    return tuple(cell)


def _seen(patch: int, step: int) -> range:
    """Blocks of `step` voxels, counted from the cell's own, in the central half of every patch that starts in it."""
    length = max(patch // 2, 1)
    first = patch // 2 - length // 2
    return range(-(-(step - 1 + first) // step), (first + length) // step)


def _any_in_centre(bright: NDArray[np.bool_], axis: int, patch: int, step: int, cells: int) -> NDArray[np.bool_]:
    """For each of the cells of starts along `axis`: is a block bright that all its patches have at the centre?"""
    seen = _seen(patch, step)
    count = np.cumsum(np.moveaxis(bright, axis, 0), axis=0, dtype=np.int32)
    count = np.concatenate([np.zeros_like(count[:1]), count])
    last = len(count) - 1
    here = np.arange(cells)
    inside = count[np.minimum(here + seen.stop, last)] - count[np.minimum(here + seen.start, last)]
    return np.moveaxis(inside > 0, 0, axis)


def _bright_blocks(
    read: Callable[[tuple[slice, ...]], NDArray[Any]],
    size: tuple[int, ...],
    cell: tuple[int, ...],
    threshold: NDArray[np.float64],
    chunks: Sequence[int] | None,
) -> NDArray[np.bool_]:
    """Which blocks of `cell` voxels hold a voxel above the threshold of its channel."""
    bright = np.zeros([-(-length // step) for length, step in zip(size, cell, strict=True)], dtype=bool)
    for piece in _pieces(size, cell, len(threshold) * 8, chunks):
        blocks = read(piece)
        for axis, step in enumerate(cell, start=1):
            for _ in range(step.bit_length() - 1):  # cells are powers of two
                blocks = _halved(blocks, axis)
        above = np.any(blocks > threshold.reshape(-1, *[1] * len(size)), axis=0)
        where = tuple(
            slice(part.start // step, part.start // step + length)
            for part, step, length in zip(piece, cell, above.shape, strict=True)
        )
        bright[where] = above
    return bright


def _halved(blocks: NDArray[Any], axis: int) -> NDArray[Any]:
    """The larger of each two neighbours along `axis`; a last one without neighbour stays."""
    before = (slice(None),) * axis
    first, second = blocks[(*before, slice(0, None, 2))], blocks[(*before, slice(1, None, 2))]
    halved = first.copy()
    both = halved[(*before, slice(0, second.shape[axis]))]
    np.maximum(both, second, out=both)
    return halved


def _pieces(size: tuple[int, ...], cell: tuple[int, ...], voxel_bytes: int, chunks: Sequence[int] | None) -> Grid:
    """Regions that cover the image, begin on multiples of `cell`, follow the chunks and hold about 32 MB."""
    grain = list(map(math.lcm, cell, chunks)) if chunks else list(cell)
    if math.prod(map(min, grain, size)) * voxel_bytes > PIECE_BYTES:
        grain = list(cell)
    limit = max(PIECE_BYTES, math.prod(map(min, grain, size)) * voxel_bytes)
    piece = piece_shape(size, voxel_bytes, limit, grain)
    return Grid(size, piece)
