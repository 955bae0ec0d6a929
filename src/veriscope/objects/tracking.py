"""Following cells through a movie by their overlap from frame to frame, and how well that goes (Supp. Fig. 11, ours).

The simplest tracking there is: nothing is predicted, nothing is repaired. So it shows what a segmentation is worth over
time, rather than what a tracking program can make of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as axes_of
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.labels import check as check_labels
from veriscope.objects.overlaps import Overlaps, fraction, overlaps

Labels = TypeVar("Labels", "Image", "NDArray[Any]")


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a movie in the order of their numbers, one entry for each."""

    number: NDArray[np.int64]
    start: NDArray[np.int64]  # its first frame, from 0
    end: NDArray[np.int64]  # its last frame
    length: NDArray[np.int64]  # frames in which it is seen


@dataclass(frozen=True)
class Followed:
    """How well tracks follow the true ones; fractions of nothing are NaN.

    A cell is recognised in a frame when more than half of it lies in a found object and more than half of that in it.
    It is followed for as long, from its first frame, as it is recognised in every frame, always in the same track. A
    true link joins a cell to itself in the next frame; it is found when both are recognised, in the same track. A cell
    that leaves and comes back is a new cell; cells seen in one frame only are not counted.
    """

    cells: int
    links: int  # true ones
    recall: float  # the fraction of true links that were found
    precision: float  # the fraction of found links that are true
    frames: float  # for how many a cell is followed, mean
    possible: float  # in how many it is seen, mean
    to_the_end: float  # the fraction of cells that are followed until they are no longer seen
    recall_of_step: tuple[float, ...]  # recall from frame 0 to 1, from 1 to 2, ...
    still: tuple[float, ...]  # for every frame, of the cells of the first that are there to be seen: still followed

    def __str__(self) -> str:
        return (
            f"{self.cells} cells, {self.links} links: recall {self.recall:.3f}, precision {self.precision:.3f}; "
            f"followed for {self.frames:.1f} of {self.possible:.1f} frames, {self.to_the_end:.1%} to the end"
        )


def track(labels: Labels) -> Labels:
    """Give the objects of a movie one number for each track: 1, 2, ... in the order in which they appear.

    `labels` are an Image with T, or an array (T, Y, X) or (T, Z, Y, X): 0 is background, and the same number in two
    frames means nothing. An object continues the one of the frame before with which it shares most pixels, if that
    shares most with it too and they share more than half of the smaller. So when one becomes two the larger part
    goes on and the other is new; when two become one the larger goes on and the other ends. What is gone for a frame
    is new when it comes back. Answers in kind, uint16 (uint32 beyond 65,535 tracks). Raises DataError for labels that
    are no whole numbers from 0, and where there is no time.
    """
    frames, order = _movie(labels, "The movie")
    tracked = np.zeros(frames.shape, np.int64)
    tracks, count = np.zeros(0, np.int64), 0
    before: NDArray[Any] = np.zeros(frames.shape[1:], np.int64)
    for at, after in enumerate(frames):
        table = overlaps(before, after)
        linked = links(table)
        following = np.zeros(len(table.found_labels), np.int64)
        following[table.found_at[linked]] = tracks[table.truth_at[linked]]
        new = following == 0
        following[new] = np.arange(count + 1, count + 1 + np.count_nonzero(new))
        count += int(np.count_nonzero(new))
        tracks = following
        before = after
        tracked[at] = np.append(0, tracks)[np.searchsorted(table.found_labels, after, side="right")]
    small = tracked.astype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)
    given: Any = labels
    return cast("Labels", small if order is None else given.with_array(axes_of.move(small, order, given.axes)))


def links(table: Overlaps) -> NDArray[np.bool_]:
    """Which pairs of `overlaps(before, after)` are the same object, by the rule of `track`."""
    smaller = np.minimum(table.truth_pixels[table.truth_at], table.found_pixels[table.found_at])
    enough = 2 * table.shared > smaller
    return enough & _largest(table.truth_at, table.shared) & _largest(table.found_at, table.shared)


def tracks(labels: Any) -> Tracks:
    """When each number of a movie, such as `track` gives it, is first and last seen, and in how many frames."""
    frames, _ = _movie(labels, "The movie")
    seen = [(number, at) for at, frame in enumerate(frames) for number in _present(frame)]
    pairs = np.array(seen, np.int64).reshape(-1, 2)
    numbers, first, length = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    _, last = np.unique(pairs[::-1, 0], return_index=True)
    return Tracks(numbers, pairs[first, 1], pairs[::-1][last, 1], length)


def followed(truth: Any, found: Any) -> Followed:
    """How well the tracks `found` follow the `truth`: movies of labels in which a number is the same cell throughout.

    Raises DataError as `track`, and for movies of different shape.
    """
    (true, _), (ours, _) = _movie(truth, "The ground truth"), _movie(found, "The segmentation")
    if true.shape != ours.shape:
        raise DataError(
            f"True and found tracks must have the same shape, but they have {true.shape} and {ours.shape} as T and "
            f"space. Crop or resample one of them first."
        )
    recognised = [_recognised(*frames) for frames in zip(true, ours, strict=True)]
    there, found_there = ([set(_present(frame)) for frame in frames] for frames in (true, ours))
    steps = []
    for (now, then), (seen, seen_then) in zip(pairwise(there), pairwise(recognised), strict=True):
        both = now & then
        kept = sum(cell in seen and seen.get(cell) == seen_then.get(cell) for cell in both)
        steps.append((kept, len(both)))
    right, wanted = sum(kept for kept, _ in steps), sum(both for _, both in steps)
    linked = sum(len(now & then) for now, then in pairwise(found_there))
    stays = list(_stays(there, recognised))
    begun = [(full, kept) for first, full, kept in stays if first == 0]
    return Followed(
        cells=len(stays),
        links=wanted,
        recall=fraction(right, wanted),
        precision=fraction(right, linked),
        frames=fraction(sum(kept for *_, kept in stays), len(stays)),
        possible=fraction(sum(full for _, full, _ in stays), len(stays)),
        to_the_end=fraction(sum(kept == full for _, full, kept in stays), len(stays)),
        recall_of_step=tuple(fraction(*step) for step in steps),
        still=tuple(
            fraction(sum(kept > at for _, kept in begun), sum(full > at for full, _ in begun))
            for at in range(len(there))
        ),
    )


# -- one frame, one cell ----------------------------------------------------------------------------


def _recognised(truth: NDArray[Any], found: NDArray[Any]) -> dict[int, int]:
    """Which cells are recognised in a frame, each with the number of its object."""
    table = overlaps(truth, found)
    match = table.covering & table.covered
    numbers = table.truth_labels[table.truth_at[match]], table.found_labels[table.found_at[match]]
    return dict(zip(*(column.tolist() for column in numbers), strict=True))


def _stays(there: list[set[int]], recognised: list[dict[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Of every stay of a cell of two frames or more, in the order in which they begin: the first frame, in how many
    the cell is seen, and for how many it is followed.
    """
    for first, now in enumerate(there):
        before = there[first - 1] if first else set()
        for cell in sorted(now - before):
            full = next((at for at, frame in enumerate(there[first:]) if cell not in frame), len(there) - first)
            own = recognised[first].get(cell)
            lost = (at for at, frame in enumerate(recognised[first:]) if own is None or frame.get(cell) != own)
            if full > 1:
                yield first, full, min(next(lost, full), full)


def _present(frame: NDArray[Any]) -> list[int]:
    return list(np.unique(frame[frame > 0]).tolist())


def _largest(group: NDArray[np.int64], shared: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each pair, whether it shares most of all in its group; of equals the first."""
    order = np.lexsort((-shared, group))
    _, first = np.unique(group[order], return_index=True)
    best = np.zeros(len(group), bool)
    best[order[first]] = True
    return best


# -- movies -----------------------------------------------------------------------------------------


def _movie(labels: Any, name: str) -> tuple[NDArray[Any], str | None]:
    """Frames first, then space; and for an Image the order of these axes."""
    word: str | None = getattr(labels, "axes", None)
    frames = np.asarray(labels)
    order = None
    if word is not None:
        order = "T" + axes_of.spatial(word)
        several = [letter for letter, size in zip(word, frames.shape, strict=True) if letter in "SC" and size > 1]
        if "T" not in word or several:
            raise DataError(
                f"{name} has the axes {word}, but tracks are made of labels with time and space, such as TYX or TZYX. "
                f"Choose one channel and sample, and give all frames together."
            )
        frames = axes_of.move(frames, word, order)
    elif frames.ndim not in (3, 4):
        raise DataError(
            f"{name} has the shape {frames.shape}, but a movie of labels is T Y X or T Z Y X. Stack the frames."
        )
    check_labels(frames, name)
    return frames, order
