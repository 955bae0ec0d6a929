"""A window onto an array that stays where it is: axes moved, added or dropped, cropped; read only when asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope.images.casting import pixel_type
from veriscope.tiling import Span

Cuts = tuple[tuple[int, ...], ...]
"""Where the pieces of a lazy array that is computed piece by piece begin along each axis: its attribute `cuts`. Read
all of it piece by piece, so that none is computed twice."""


class Blank:
    """Stands for pixels that do not exist yet, in an image to be written. Raises DataError for a type of no pixels."""

    def __init__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> None:
        self.shape, self.dtype = tuple(int(size) for size in shape), pixel_type(dtype)

    def __getitem__(self, index: Any) -> Any:
        raise IndexError("there are no pixels here yet")


def plain_index(index: Any, shape: Sequence[int]) -> tuple[slice | int, ...]:
    """`index` as one non-negative int or forward slice per axis of `shape`; Ellipsis and missing axes are filled.

    Raises IndexError for anything else (arrays, newaxis, backward slices, integers out of range).
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is Ellipsis for part in parts):
        at = next(number for number, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    if len(parts) != len(shape):
        raise IndexError(f"{len(parts)} indices for {len(shape)} axes")
    return tuple(_one(part, size) for part, size in zip(parts, shape, strict=True))


def _one(part: Any, size: int) -> slice | int:
    if isinstance(part, slice):
        start, stop, step = part.indices(size)
        if step < 1:
            raise IndexError(f"lazy images are read forwards; the step {step} is not possible")
        return slice(start, max(start, stop), step)
    number = int(part.__index__())
    if not -size <= number < size:
        raise IndexError(f"index {number} is outside an axis of {size}")
    return number % size


def as_slice(part: slice | int) -> slice:
    """A part of an axis as a slice, also where it is a single entry."""
    return part if isinstance(part, slice) else slice(part, part + 1, 1)


def shape_of(spans: Iterable[slice]) -> tuple[int, ...]:
    """The shape of what `spans` show; they have a start, a stop and a step."""
    return tuple(len(range(span.start, span.stop, span.step)) for span in spans)


class LazyArray:
    """What all lazy arrays have in common: they have a `shape` and a `dtype`, and read what is indexed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def region(self, spans: Span) -> NDArray[Any]:
        """The pixels at `spans`, a forward slice for each axis."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts = plain_index(index, self.shape)
        block = self.region(tuple(as_slice(part) for part in parts))
        return block[tuple(slice(None) if isinstance(part, slice) else 0 for part in parts)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


def chunks_of(array: Any) -> tuple[int, ...] | None:
    """The size of the pieces that `array` is stored in, or computed in, per axis; None where there are none."""
    chunks = getattr(array, "chunks", None)
    if chunks is None or not all(isinstance(size, int) for size in chunks):
        return None
    return tuple(chunks)


class LazyView(LazyArray):
    """A lazy array seen with other axes. `source` needs .shape, .dtype and basic indexing; only indexing reads.

    `order` gives for each axis of the view the axis of the source, or None for a new axis of size 1. `window` gives
    for each source axis the part that is seen: a slice, or an int for an axis that is not part of the view.
    """

    source: Any
    order: tuple[int | None, ...]

    def __init__(self, source: Any, order: Sequence[int | None], window: Sequence[slice | int] | None = None) -> None:
        if window is None:
            window = [slice(0, size, 1) if axis in order else 0 for axis, size in enumerate(source.shape)]
        if isinstance(source, LazyView):  # one view of the bottom, never views of views
            outer = source._behind(window)
            order = [None if axis is None else source.order[axis] for axis in order]
            source, window = source.source, outer
        self.source = source
        self.order = tuple(order)
        self.window = tuple(window)
        self.dtype = np.dtype(source.dtype)
        self.shape = shape_of(slice(0, 1, 1) if axis is None else as_slice(self.window[axis]) for axis in self.order)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Chunk of the source in the view's axes, None when the source has none."""
        chunks = chunks_of(self.source)
        return None if chunks is None else tuple(1 if axis is None else chunks[axis] for axis in self.order)

    @property
    def cuts(self) -> Cuts | None:
        """Where the source's pieces begin, in the view's axes; None when the source computes nothing."""
        cuts: Cuts | None = getattr(self.source, "cuts", None)
        if cuts is None:
            return None
        return tuple((0,) if axis is None else _seen(cuts[axis], as_slice(self.window[axis])) for axis in self.order)

    def _behind(self, window: Sequence[slice | int]) -> list[slice | int]:
        """The window of the source that belongs to a window of this view."""
        behind = list(self.window)
        for axis, part in zip(self.order, window, strict=True):
            if axis is None:
                continue
            seen = as_slice(self.window[axis])
            if isinstance(part, slice):
                start, stop = (seen.start + end * seen.step for end in (part.start, part.stop))
                behind[axis] = slice(start, max(start, min(stop, seen.stop)), seen.step * part.step)
            else:
                behind[axis] = seen.start + part * seen.step
        return behind

    def view(self, index: Any) -> LazyView:
        """The part at `index` (one slice or int per axis; an int drops its axis) without reading it."""
        parts = plain_index(index, self.shape)
        order = [axis for axis, part in zip(self.order, parts, strict=True) if isinstance(part, slice)]
        return LazyView(self.source, order, self._behind(parts))

    def region(self, spans: Span) -> NDArray[Any]:
        behind = self._behind(spans)
        block = np.asarray(self.source[tuple(behind)])
        left = [axis for axis, part in enumerate(behind) if isinstance(part, slice)]  # source axes still in block
        # axes of the source that the view does not show are ints in the window, so `left` is what the order names
        block = block.transpose([left.index(axis) for axis in self.order if axis is not None])
        block = block[tuple(np.newaxis if axis is None else slice(None) for axis in self.order)]
        return block[tuple(span if axis is None else slice(None) for axis, span in zip(self.order, spans, strict=True))]


def _seen(starts: Sequence[int], part: slice) -> tuple[int, ...]:
    """Where the pieces that begin at `starts` begin in what `part` shows of their axis."""
    first = {max(0, -((part.start - start) // part.step)) for start in starts if start < part.stop}
    return tuple(sorted(at for at in first if part.start + at * part.step < part.stop)) or (0,)
