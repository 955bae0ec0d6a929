"""The members' predictions, computed tile by tile when they are read: for images where memory does not hold them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import prod
from threading import RLock
from typing import Any

import numpy as np

from veriscope.images.lazy import Cuts, LazyArray, plain_index
from veriscope.restoring.frames import Number
from veriscope.restoring.outputs import Make, several
from veriscope.restoring.prepared import Prepared
from veriscope.restoring.running import Answers, Block
from veriscope.tiling import Span


@dataclass
class _Predicted:
    """A tile of the frame `number`: means and scales (M, C, *core) for `core`, of which `left` voxels are missing."""

    number: Number
    core: Span
    answers: Answers
    left: int
    widening: Block | None = None

    def inside(self, core: Span) -> Any:
        """Where the part `core` of the frame lies in the arrays."""
        return (..., *(slice(c.start - own.start, c.stop - own.start) for c, own in zip(core, self.core, strict=True)))

    @property
    def nbytes(self) -> int:
        return sum(values.nbytes for values in (*self.answers, self.widening) if values is not None)


class OnDemand:
    """What `prepared` predicts for an image, tile by tile of its plan, computed when it is asked for.

    The tiles used last are kept, up to `room` bytes of them but always one. One thread computes at a time.
    """

    def __init__(self, prepared: Prepared, room: int) -> None:
        self.prepared, self.parts, self.plan, self.room = prepared, prepared.parts, prepared.plan, room
        self.channels, self.members = prepared.channels, len(prepared.model)
        shown = self.parts.outline(self.channels)
        self.axes, self.shape = shown.axes, shown.shape
        self.chunks = self.parts.chunks(self.plan.core, self.channels)
        self.computed = 0  # tiles so far
        self.lock = RLock()
        self._tasks = prepared.queue.all
        self._kept: OrderedDict[int, _Predicted] = OrderedDict()  # by their numbers among all tasks

    @property
    def cuts(self) -> Cuts:
        """Where tiles begin along each axis of the result."""
        cores = dict(zip(self.parts.space, self.plan.core, strict=True)) | {"C": self.channels or 1}
        return tuple(tuple(range(0, n, cores.get(a, 1))) for a, n in zip(self.axes, self.shape, strict=True))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the tiles that are kept now."""
        return sum(tile.nbytes for tile in self._kept.values())

    def images(self, make: Make, placed: bool = False) -> list[Computed]:
        """Arrays of the images that `make` makes of means and scales (M, *axes) and widening (*axes).

        With `placed` it also gets the `corner` of its part in the `whole`. Settings that it refuses are refused now,
        not in the middle of the image.
        """
        tried = (self.members, *(1 for _ in self.shape))
        made = several(make(np.zeros(tried, np.float32), np.ones(tried, np.float32), 1.0))
        return [Computed(self, make, which, placed=placed) for which in range(len(made))]

    def predictions(self) -> tuple[Computed, Computed | None]:
        """Means and scales of all members, (M, *axes)."""
        means = Computed(self, lambda means, scales, widening: means, first=(self.members,))
        if not self.prepared.probabilistic:
            return means, None
        return means, Computed(self, lambda means, scales, widening: scales, first=(self.members,))

    def see_some(self, most: int) -> None:
        """Compute at most so many tiles, spread over all frames, so that they are settled and watched."""
        chosen = sorted({int(at) for at in np.linspace(0, len(self._tasks) - 1, most)})
        with self.lock:
            for _ in self._compute([at for at in chosen if at not in self._kept]):
                pass

    def pieces(self, region: Span) -> Iterator[tuple[Span, Block, Block | None, Block | None]]:
        """What lies within `region`, a slice for each axis, tile by tile: where, means, scales, and widening."""
        wanted = self._touched(region)
        missing = [at for at in wanted if at not in self._kept]
        for at in wanted:
            if at in self._kept:
                self._kept.move_to_end(at)
                yield self._piece(self._kept[at], region)
        for tile in self._compute(missing) if missing else ():
            yield self._piece(tile, region)

    def _touched(self, region: Span) -> list[int]:
        """The numbers of the tiles that hold something of `region`."""
        asked = {axis: range(part.start, part.stop, part.step) for axis, part in zip(self.axes, region, strict=True)}
        if not all(asked.values()):
            return []
        cores = dict.fromkeys(self.parts.outer, 1) | dict(zip(self.parts.space, self.plan.core, strict=True))
        places = np.ix_(*(sorted({at // core for at in asked[axis]}) for axis, core in cores.items()))
        counts = *self.parts.counts, *self._tasks.cores.counts
        found: list[int] = np.ravel_multi_index(places, counts).ravel().tolist()
        return found

    def _piece(self, tile: _Predicted, region: Span) -> tuple[Span, Block, Block | None, Block | None]:
        """The part of `tile` within `region`, in the axes of the result."""
        whole = self.parts.region(tile.number, tile.core, self.channels)
        where = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(whole, region, strict=True))
        inside = tuple(slice(w.start - a.start, w.stop - a.start) for w, a in zip(where, whole, strict=True))

        def part(values: Block | None) -> Block | None:
            return None if values is None else self.parts.arranged(values, self.channels)[(slice(None), *inside)]

        means, scales = map(part, tile.answers)
        widening = None if tile.widening is None else part(tile.widening[None])
        assert means is not None
        return where, means, scales, None if widening is None else widening[0]

    # Computing

    def _compute(self, wanted: Sequence[int]) -> Iterator[_Predicted]:
        """Tiles in the order in which they are `wanted`; each is kept as long as there is room."""

        def into(_: Number, core: Span) -> Answers:
            means, scales = tile.answers
            place = tile.inside(core)
            return means[place], None if scales is None else scales[place]

        with closing(self.prepared.tiles(wanted, into)) as finished:
            for at in wanted:
                tile = self._begin(at)
                while tile.left:  # tiles may come in parts, when memory was short
                    _, core, _, widening = next(finished)
                    if widening is not None:
                        if tile.widening is None:
                            tile.widening = np.empty(tile.answers[0].shape[1:], np.float32)
                        tile.widening[tile.inside(core)] = widening
                    tile.left -= prod(part.stop - part.start for part in core)
                self._kept[at] = tile
                self.computed += 1
                yield tile

    def _begin(self, at: int) -> _Predicted:
        """An empty tile, for which those that were used least recently have made room."""
        task = self._tasks[at]
        core = task.core(self.parts)
        size = (self.members, self.channels, *(part.stop - part.start for part in core))
        needed = 4 * prod(size) * (1 + self.prepared.probabilistic)
        while self._kept and self.kept_bytes + needed > self.room:
            self._kept.popitem(last=False)
        return _Predicted(task.number, core, self.prepared.empty(size), prod(size[2:]))


class Computed(LazyArray):
    """A lazy float32 array: what `make` makes of the members' predictions, computed where it is read.

    `which` of the images that it makes; `first` are axes that it puts before those of the image.
    """

    def __init__(
        self, source: OnDemand, make: Make, which: int = 0, placed: bool = False, first: tuple[int, ...] = ()
    ) -> None:
        self.source = source
        self.shape, self.dtype = (*first, *source.shape), np.dtype(np.float32)
        self._make, self._which, self._placed, self._first = make, which, placed, first

    @property
    def chunks(self) -> tuple[int, ...]:
        return (*self._first, *self.source.chunks)

    @property
    def cuts(self) -> Cuts:
        return (*((0,) for _ in self._first), *self.source.cuts)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Block]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: Any) -> Block:
        parts = plain_index(index, self.shape)
        region = tuple(part if isinstance(part, slice) else slice(part, part + 1, 1) for part in parts)
        shape = [len(range(part.start, part.stop, part.step)) for part in region]
        result = np.empty(shape, np.float32)
        first, region = region[: len(self._first)], region[len(self._first) :]
        with self.source.lock:
            for piece in self.source.pieces(region):
                where = piece[0]
                into, out = zip(*(_meeting(part, span) for part, span in zip(region, where, strict=True)), strict=True)
                result[(..., *into)] = self._made(*piece)[(*first, *out)]
        return result[tuple(slice(None) if isinstance(part, slice) else 0 for part in parts)]

    def _made(self, where: Span, means: Block, scales: Block | None, widening: Block | None) -> Block:
        place = {"corner": [part.start for part in where], "whole": self.source.shape} if self._placed else {}
        made: Block = several(self._make(means, scales, 1.0 if widening is None else widening, **place))[self._which]
        return made


def _meeting(asked: slice, piece: slice) -> tuple[slice, slice]:
    """Where the entries that `asked` takes out of `piece` of an axis belong in the answer, and where in the piece."""
    first, stop = (-((asked.start - edge) // asked.step) for edge in (piece.start, piece.stop))
    return slice(first, stop), slice(asked.start + first * asked.step - piece.start, None, asked.step)
