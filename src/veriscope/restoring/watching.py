"""What restoring notices on the way: whether the image is like those of training, and which parts of it are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isnan
from typing import Any, Literal

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
    """Looks at every restored tile, in the networks' units, and gives the verdict at the end.

    With `masking`, `mask` is that of the tile seen last, (C_out, *space). It costs a few percent of the restoration.
    Tiles are looked at each for itself, in windows of the size used before; of so many `tiles` that memory would grow
    with them, only some windows are kept. `seen` is by frame.

    Of stacks restored `by` slices it looks at slices as training looked at planes, each with the M networks that
    restored it, or all where one stands for "both" directions: of each tile SLICES in either direction, all where a
    mask is asked for.
    """

    def __init__(
        self, known: Familiar, masking: bool, filters: Filters | None, by: Literal["", "slices", "both"] = ""
    ) -> None:
        self.known = known
        self.masking = masking
        self.filters = filters if known.textures or known.changes else None
        self.by = by
        self.mask: NDArray[np.uint8] = np.empty((0,), np.uint8)
        self.seen: defaultdict[Number, Seen] = defaultdict(Seen)
        self.tiles = 1

    def __call__(self, number: Number, given: Block, answers: Answers) -> None:
        """See one tile of a frame: the networks' input (C_in, *space) and answers (M, C_out, *space).

        Of a stack that was projected the maximum along Z is looked at, as after training. Of one restored by slices
        there are 2 M answers, those of xz slices first.
        """
        if self.by:
            self.mask = self._look_at_slices(number, given, *answers)
        else:
            shown = given.max(axis=1) if given.ndim == answers[0].ndim else given
            self.mask = self._look(number, shown, *answers)

    def _look(self, number: Number, given: Block, means: Block, scales: Block | None) -> NDArray[np.uint8]:
        """Look at a plane or volume; its mask."""
        found = look(given, means, scales, self.known.window, every_pixel=self.masking)
        seen, step = self.seen[number], max(1, self.tiles * MANY // (4 * MOST_WINDOWS))
        seen.rows.append(Rows.of(found.rows[::step]))
        if self.filters is not None:
            seen.answers.append(self.filters(given)[::step])
        mask = self._unmarked(means)
        if found.disagreement is not None and self.known.strong is not None:
            strong = found.disagreement > self.known.strong
            seen.pixels += strong.size
            seen.strong += int(np.count_nonzero(strong))
            if self.masking:
                mask[strong] = DOUBTFUL
        if self.masking:
            far = self.known.distance(self.known.table(found.rows)) > self.known.far
            for span, doubtful in zip(found.spans, far, strict=True):
                if doubtful:
                    mask[(slice(None), *span)] = DOUBTFUL
        return mask

    def _look_at_slices(self, number: Number, given: Block, means: Block, scales: Block | None) -> NDArray[np.uint8]:
        real, count = _before_edge(given), len(means) // 2
        mask = self._unmarked(means)
        given, means, scales = given[:, :real], means[:, :, :real], None if scales is None else scales[:, :, :real]
        ways = (slice(None), slice(None)) if self.by == "both" else (slice(0, count), slice(count, None))
        for own, across in zip(ways, (-2, -1), strict=True):
            for at in self._chosen(means.shape[across]):
                place: Any = (..., at, slice(None)) if across == -2 else (..., at)
                scale = None if scales is None else scales[own][place]
                found = self._look(number, given[place], means[own][place], scale)
                if self.masking:
                    seen = mask[:, :real]
                    seen[place] = np.minimum(seen[place], found)
        mask[:, real:] = mask[:, real - 1 : real]
        return mask

    def _unmarked(self, means: Block) -> NDArray[np.uint8]:
        """A mask without doubts for (M, C_out, *space); empty where none is asked for."""
        shape = means.shape[1:]
        return np.full(shape if self.masking else (0,) * len(shape), TRUSTED, np.uint8)

    def _chosen(self, length: int) -> list[int]:
        if self.masking:
            return list(range(length))
        return sorted({int(at) for at in (np.arange(SLICES) + 0.5) * length / SLICES})

    def verdict(self, warnings: Sequence[str] = (), number: Number | None = None) -> Verdict:
        """On all tiles seen so far, or on those of one frame; of very many windows on some, evenly spread."""
        whole = Seen()
        for one in sorted(self.seen) if number is None else [number]:
            whole.merge(self.seen[one])
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


def _before_edge(given: Block) -> int:
    """Planes of (C_in, Z, Y, X) up to the last that was taken: beyond it the image is continued by its edge values,
    which would look like saturation.
    """
    real = int(given.shape[1])
    while real > 1 and np.array_equal(given[:, real - 1], given[:, real - 2]):
        real -= 1
    return real


def watcher(ensemble: Ensemble, masking: bool = False) -> Watcher | None:
    """A watcher for `ensemble`; None when it does not know its training images.

    The mask is DOUBTFUL where members disagree more than in 99 % of training, and in windows that lie farther from
    those of training than 99 % of them.
    """
    known, recipe = ensemble.facts.familiar, ensemble.recipe
    if known is None:
        return None
    by: Literal["", "slices", "both"] = ""
    if recipe.isotropic:
        by = "both" if recipe.combine == "csbdeep" else "slices"
    return Watcher(known, masking, filters_of(ensemble.members, recipe.patch), by)


def warnings_about(
    frames: Frames, ensemble: Ensemble, normalization: Callable[[Number], Normalization] | None
) -> tuple[str, ...]:
    """What can be seen before restoring: voxel size and intensities unlike those of training, in whole sentences.

    `normalization` is None when the intensities were not taken from the image.
    """
    found, space, trained = [], ensemble.recipe.axes, ensemble.facts.voxel_size or []
    here = [size for letter in space if (size := frames.source.voxel(letter)) is not None]
    alike = len(trained) == len(here) == len(space)
    if alike and max(max(a / b, b / a) for a, b in zip(here, trained, strict=True)) > VOXELS_ALIKE:
        now, then = (" x ".join(f"{size:.3g}" for size in sizes) for sizes in (here, trained))
        found.append(
            f"Its voxels measure {now} um ({space}), those of the training images {then} um: structures "
            f"have another size than the networks know. Resize the image, or train on images with such voxels."
        )
    new = None if normalization is None else normalization(next(frames.numbers()))
    old = stored_normalization(ensemble.facts, "low")
    if new is not None and old is not None and new.channels == old.channels:
        ratios = [a / b for a, b in zip(new.range, old.range, strict=True)]
        for channel in [at for at, ratio in enumerate(ratios) if max(ratio, 1 / ratio) > RANGES_ALIKE][:1]:
            where = f" in channel {channel}" if new.channels > 1 else ""
            now, then = (f"{one.low[channel]:.4g} and {one.high[channel]:.4g}" for one in (new, old))
            found.append(
                f"Its intensities{where} (percentiles 2 and 99.8: {now}) span {_times(ratios[channel])} those of the "
                f"training images ({then}). Was it normalised or converted, or taken with other settings?"
            )
    return tuple(found)


def _times(ratio: float) -> str:
    larger = max(ratio, 1 / ratio)
    number = f"{larger:.1f}" if larger < 10 else f"{larger:,.0f}"
    return f"{number} times" if ratio > 1 else f"1/{number} of"
