"""Integer geometry of tiles: cores that cover an image once, and the wider spans a network reads to compute them.

No arrays. All lengths are in pixels, per axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

Span = tuple[slice, ...]


@dataclass(frozen=True)
class Tile:
    """One piece of the work: `core` is computed once, by reading `read`; both in the padded image."""

    read: Span
    core: Span

    @property
    def inner(self) -> Span:
        """Where the core lies within what was read."""
        return tuple(
            slice(core.start - read.start, core.stop - read.start)
            for read, core in zip(self.read, self.core, strict=True)
        )


@dataclass(frozen=True)
class Grid(Sequence[Span]):
    """Pieces of the size `piece` that cover `shape` once, last axis fastest; the last along an axis may be smaller."""

    shape: tuple[int, ...]
    piece: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(-(-length // size) for length, size in zip(self.shape, self.piece, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        places: list[int] = []
        for count in reversed(self.counts):
            number, place = divmod(number, count)
            places.insert(0, place)
        return tuple(
            slice(place * size, min((place + 1) * size, length))
            for place, size, length in zip(places, self.piece, self.shape, strict=True)
        )


def reading(core: Span, shape: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> Tile:
    """The tile that computes `core` of a padded image of `shape`, by reading multiples of `step` around it.

    It ends at the borders of the image: there the network pads as it would for the whole image.
    """
    read = tuple(
        slice(max(part.start - padded(reach, n), 0), min(part.stop + padded(reach, n), length))
        for part, length, reach, n in zip(core, shape, halo, step, strict=True)
    )
    return Tile(read, core)


def padded(length: int, step: int) -> int:
    """The smallest multiple of `step` that is at least `length`."""
    return -(-length // step) * step


def tiles(shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> Iterator[Tile]:
    """All tiles of a padded image of `shape`, last axis fastest; `core` is rounded up to multiples of `step`."""
    if any(length % n for length, n in zip(shape, step, strict=True)):
        raise ValueError(f"The padded shape {tuple(shape)} must be a multiple of the step {tuple(step)}.")
    if any(length < 1 for length in core):
        raise ValueError(f"A tile has at least one pixel along each axis, not {tuple(core)}.")
    for part in Grid(tuple(shape), tuple(map(padded, core, step))):
        yield reading(part, shape, halo, step)


def overhead(shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> float:
    """How many voxels are computed for each voxel of the padded image: 1 for a single tile, more with halos."""
    ratio = 1.0
    for length, size, reach, n in zip(shape, map(padded, core, step), halo, step, strict=True):
        wide = padded(reach, n)
        read = (min(start + size + wide, length) - max(start - wide, 0) for start in range(0, length, size))
        ratio *= sum(read) / length
    return ratio


def windows(shape: Sequence[int], window: Sequence[int]) -> list[Span]:
    """Windows of the size `window` that cover `shape`, spread evenly; smaller where `shape` is."""
    spans_so_far: list[Span] = [()]
    for length, size in zip(shape, window, strict=True):
        size = min(length, size)
        count = -(-length // size)
        starts = [round(number * (length - size) / max(count - 1, 1)) for number in range(count)]
        spans_so_far = [(*span, slice(start, start + size)) for span in spans_so_far for start in starts]
    return spans_so_far
