"""What restoring notices on the way: whether the image is like those of training, and which parts of it are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.familiarity import Familiar, Verdict, verdict
from veriscope.looking import MANY, look
from veriscope.networks.filters import Filters, filters_of
from veriscope.networks.model import Ensemble
from veriscope.normalize import Normalization
from veriscope.restoring.frames import Frames, Number
from veriscope.restoring.running import Answers, Block
from veriscope.restoring.scaling import stored_normalization

VOXELS_ALIKE = 1.15  # ratio of voxel sizes; beyond it the networks see other sizes than they learned
RANGES_ALIKE = 5.0  # ratio of intensity ranges
SLICES = 4  # of a tile in each direction, that are looked at of an isotropic restoration
MOST_WINDOWS = 2**15  # that a verdict is taken from: their mean is known well enough, and memory stays small
TRUSTED, DOUBTFUL = 255, 0  # in the mask, as Fiji has it


@dataclass
class Seen:
    """What was seen of one frame: figures of windows, what filters answer, and pixels on which networks disagree."""

    rows: list[Rows] = field(default_factory=list)
    answers: list[NDArray[np.float64]] = field(default_factory=list)
    pixels: int = 0
    strong: int = 0

    def merge(self, other: Seen) -> None:
        self.rows += other.rows
        self.answers += other.answers
        self.pixels += other.pixels
        self.strong += other.strong


class Watcher:
    """Looks at every restored tile, in the network's units, and gives the verdict at the end.

    With `masking`, `mask` is that of the tile seen last, (C_out, *space). It costs a few percent of the restoration.
    Tiles are looked at each for itself, in windows of the size used before; of so many `tiles` that memory would grow
    with them, only some windows are kept.
    """

    def __init__(self, known: Familiar, masking: bool = False, filters: Filters | None = None) -> None:
        self.known = known
        self.masking = masking
        self.filters = filters if known.textures else None
        self.mask: NDArray[np.uint8] = np.empty((0,), np.uint8)
        self.seen: dict[Number, Seen] = {}
        self.tiles = 1

    def __call__(self, number: Number, given: Block, answers: Answers) -> None:
        """See one tile of a frame: the networks' input (C_in, *space) and answers (M, C_out, *space).

        Of a stack that was projected the maximum along Z is looked at, as after training.
        """
        means, scales = answers
        if given.ndim == means.ndim:
            given = given.max(axis=1)
        found = look(given, means, scales, self.known.window, every_pixel=self.masking)
        seen, step = self.seen.setdefault(number, Seen()), max(1, self.tiles * MANY // (4 * MOST_WINDOWS))
        seen.rows.append(Rows.of(found.rows[::step]))
        if self.filters is not None:
            seen.answers.append(self.filters(given)[::step])
        strong = None
        if found.disagreement is not None and self.known.strong is not None:
            strong = found.disagreement > self.known.strong
            seen.pixels += strong.size
            seen.strong += int(np.count_nonzero(strong))
        if self.masking:
            self.mask = np.full(means.shape[1:], TRUSTED, np.uint8)
            if strong is not None:
                self.mask[strong] = DOUBTFUL
            far = self.known.distance(self.known.table(found.rows)) > self.known.far
            for span, doubtful in zip(found.spans, far, strict=True):
                if doubtful:
                    self.mask[(slice(None), *span)] = DOUBTFUL

    def expect(self, tiles: int) -> None:
        """So many tiles will be seen in all."""
        self.tiles = tiles

    @property
    def numbers(self) -> list[Number]:
        """The frames seen so far."""
        return list(self.seen)

    def take(self, number: Number) -> Seen | None:
        """What was seen of a frame so far, which is forgotten."""
        return self.seen.pop(number, None)

    def add(self, number: Number, seen: Seen) -> None:
        """Count what was taken elsewhere; tiles in their order."""
        self.seen.setdefault(number, Seen()).merge(seen)

    def verdict(self, warnings: Sequence[str] = (), number: Number | None = None) -> Verdict:
        """On all tiles seen so far, or on those of one frame; of very many windows on some, evenly spread."""
        whole = Seen()
        for one in sorted(self.seen) if number is None else [number]:
            whole.merge(self.seen.get(one, Seen()))
        step = max(1, sum(map(len, whole.rows)) // MOST_WINDOWS)
        rows = [row for tile in whole.rows for row in tile.every(step)]
        answered = np.concatenate(whole.answers) if whole.answers else None
        disagree = whole.strong / whole.pixels if whole.pixels else None
        return verdict(self.known, rows, disagree, warnings, answered)


class Rows:
    """Figures of windows, kept in a tenth of the memory: large images have hundreds of thousands of them."""

    def __init__(self, names: Iterable[str], values: NDArray[np.float64]) -> None:
        self.names, self.values = _same(tuple(names)), values

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float]]) -> Rows:
        names = dict.fromkeys(name for row in rows for name in row)
        return cls(names, np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64))

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self.names, self.values)

    def __len__(self) -> int:
        return len(self.values)

    def every(self, step: int) -> Iterator[dict[str, float]]:
        """The windows one by one, or every second, third ... of them."""
        for values in self.values[::step].tolist():
            yield {name: value for name, value in zip(self.names, values, strict=True) if not isnan(value)}


@lru_cache
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple of names for all tiles."""
    return names


class SliceWatcher:
    """Looks at slices of restored tiles as training looked at planes: each with the M networks that restored it.

    Of each tile SLICES in either direction, all where a mask is asked for; otherwise as `Watcher`, which sees them.
    `combined` where each of the answers stands for both directions.
    """

    def __init__(self, watcher: Watcher, combined: bool = False) -> None:
        self.watcher = watcher
        self.combined = combined
        self.mask: NDArray[np.uint8] = np.empty((0,), np.uint8)

    def __call__(self, number: Number, given: Block, answers: Answers) -> None:
        """See one tile of a frame: the input (C_in, Z, Y, X) and answers (2 M, C_out, Z, Y, X), those of xz first."""
        means, scales = answers
        real = _before_edge(given)
        given, means, scales = given[:, :real], means[:, :, :real], None if scales is None else scales[:, :, :real]
        count = len(means) // 2
        ways = (slice(None), slice(None)) if self.combined else (slice(0, count), slice(count, None))
        if self.watcher.masking:
            self.mask = np.full(answers[0].shape[1:], TRUSTED, np.uint8)
        for own, across in zip(ways, (-2, -1), strict=True):
            for at in self._chosen(means.shape[across]):
                place: Any = (..., at, slice(None)) if across == -2 else (..., at)
                scale = None if scales is None else scales[own][place]
                self.watcher(number, given[place], (means[own][place], scale))
                if self.watcher.masking:
                    seen = self.mask[:, :real]
                    seen[place] = np.minimum(seen[place], self.watcher.mask)
        if self.watcher.masking:
            self.mask[:, real:] = self.mask[:, real - 1 : real]

    def expect(self, tiles: int) -> None:
        self.watcher.expect(tiles)

    @property
    def numbers(self) -> list[Number]:
        return self.watcher.numbers

    def take(self, number: Number) -> Seen | None:
        return self.watcher.take(number)

    def add(self, number: Number, seen: Seen) -> None:
        self.watcher.add(number, seen)

    def _chosen(self, length: int) -> list[int]:
        if self.watcher.masking:
            return list(range(length))
        return sorted({int(at) for at in (np.arange(SLICES) + 0.5) * length / SLICES})

    def verdict(self, warnings: Sequence[str] = (), number: Number | None = None) -> Verdict:
        return self.watcher.verdict(warnings, number)


def _before_edge(given: Block) -> int:
    """Planes of (C_in, Z, Y, X) up to the last that was taken: beyond it the image is continued by its edge values,
    which would look like saturation.
    """
    real = int(given.shape[1])
    while real > 1 and np.array_equal(given[:, real - 1], given[:, real - 2]):
        real -= 1
    return real


def watcher(ensemble: Ensemble, masking: bool = False) -> Watcher | SliceWatcher | None:
    """A watcher for `ensemble`; None when it does not know its training images.

    The mask is DOUBTFUL where members disagree more than in 99 % of training, and in windows that lie farther from
    those of training than 99 % of them.
    """
    if ensemble.facts.familiar is not None:
        found = Watcher(ensemble.facts.familiar, masking, filters_of(ensemble.members, ensemble.recipe.patch))
        combined = ensemble.recipe.combine == "csbdeep"
        return SliceWatcher(found, combined) if ensemble.recipe.isotropic else found
    return None


def warnings_about(
    frames: Frames, ensemble: Ensemble, normalization: Callable[[Number], Normalization] | None
) -> tuple[str, ...]:
    """What can be seen before restoring: voxel size and intensities unlike those of training, in whole sentences.

    `normalization` is None when the intensities were not taken from the image.
    """
    found = _voxels(frames, ensemble)
    if normalization is not None:
        found += _intensities(normalization(next(frames.numbers())), ensemble)
    return tuple(found)


def _voxels(frames: Frames, ensemble: Ensemble) -> list[str]:
    trained = ensemble.facts.voxel_size
    space = ensemble.recipe.axes
    here = [size for letter in space if (size := frames.source.voxel(letter)) is not None]
    if not trained or not len(trained) == len(here) == len(space):
        return []
    ratios = [max(a / b, b / a) for a, b in zip(here, trained, strict=True)]
    if max(ratios) <= VOXELS_ALIKE:
        return []
    now, then = (" x ".join(f"{size:.3g}" for size in sizes) for sizes in (here, trained))
    return [
        f"Its voxels measure {now} um ({space}), those of the training images {then} um: structures "
        f"have another size than the networks know. Resize the image, or train on images with such voxels."
    ]


def _intensities(here: Normalization, ensemble: Ensemble) -> list[str]:
    trained = stored_normalization(ensemble.facts, "low")
    if trained is None or trained.channels != here.channels:
        return []
    for channel, (new, old) in enumerate(zip(here.range, trained.range, strict=True)):
        if max(new / old, old / new) > RANGES_ALIKE:
            where = f" in channel {channel}" if here.channels > 1 else ""
            now, then = (f"{one.low[channel]:.4g} and {one.high[channel]:.4g}" for one in (here, trained))
            return [
                f"Its intensities{where} (percentiles 2 and 99.8: {now}) span {_times(new / old)} those of the "
                f"training images ({then}). Was it normalised or converted, or taken with other settings?"
            ]
    return []


def _times(ratio: float) -> str:
    larger = max(ratio, 1 / ratio)
    number = f"{larger:.1f}" if larger < 10 else f"{larger:,.0f}"
    return f"{number} times" if ratio > 1 else f"1/{number} of"
