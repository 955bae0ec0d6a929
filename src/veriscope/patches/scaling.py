"""What becomes 0 and 1 in a pair of patches: each way to normalise is a small object (SI 2.2).

Words such as "matched" become objects in `scaling`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from veriscope import normalize as norm
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.normalize import Normalization

FIXED_PERCENTILES = (2.0, 99.8)  # of low, which become 0 and 1 in checking and at restoration
LOW_PERCENTILES = (1.0, 3.0)  # training may draw the percentile that becomes 0 in this range, ...
HIGH_PERCENTILES = (99.5, 99.9)  # ... the one that becomes 1 in this
SUMMARY_PERCENTILES = (0.1, 1.0, 2.0, 3.0, 50.0, 99.5, 99.8, 99.9)
FOREGROUND_PERCENTILE = 99.9

_AT = np.array(  # percentiles taken of every image; those in between are interpolated
    sorted(
        {0.0, 100.0, *SUMMARY_PERCENTILES}
        | {value for pair in norm.WIDER for value in pair}
        | {round(float(p), 6) for p in np.linspace(*LOW_PERCENTILES, 9)}
        | {round(float(p), 6) for p in np.linspace(*HIGH_PERCENTILES, 9)}
    )
)

Table: TypeAlias = NDArray[np.float64]  # percentiles of an image at _AT, (C, len(_AT))
Drawn: TypeAlias = tuple[float, float] | None  # two percentiles, where a patch has some
Values: TypeAlias = NDArray[np.float64]  # one per channel
Ends: TypeAlias = Callable[[Drawn], tuple[Values, Values]]  # what becomes 0, and what 1
Word = Literal["random", "fixed", "matched", "shared"]
LEAST_AGREEMENT = 0.05  # correlation below which low and high are taken for different fields
MOST_VOXELS = 2**23  # compared at once


@dataclass(frozen=True)
class Scaling:
    """One way to normalise, by its `word`: by two percentiles of the whole image, those of high being its own, or
    brought over from low; without a word by the same `numbers` in all images, for low and high.
    """

    word: Word | None
    numbers: tuple[Normalization, ...] = ()

    @property
    def usual(self) -> Drawn:
        """The percentiles of patches for checking; None where there are none."""
        return None if self.numbers else FIXED_PERCENTILES

    @property
    def alike(self) -> bool:
        """Whether images are normalised like this when they are restored."""
        return self.word not in (None, "shared")

    def check(self, channels: tuple[int, int], projects: bool) -> None:
        """Raise DataError where pairs of so many channels, or of stacks and planes, cannot be normalised like this."""
        for what, one, wanted in zip(("low", "high"), self.numbers, channels, strict=False):
            if one.channels != wanted:
                raise DataError(
                    f"The normalisation for {what} is for {one.channels} channels, but the {what} images have {wanted}."
                )
        if self.word == "matched" and projects:
            raise DataError(
                "normalize='matched' compares low and high pixel by pixel, but low is a stack and high a plane. "
                "Use 'random' or 'fixed'."
            )
        if self.word in ("matched", "shared") and channels[0] != channels[1]:
            raise DataError(
                f"normalize='{self.word}' compares low and high channel by channel, but there are {channels[0]} and "
                f"{channels[1]}. Use 'random' or 'fixed'."
            )

    def draw(self, rng: np.random.Generator) -> Drawn:
        """The percentiles of a patch for training."""
        if self.word != "random":
            return self.usual
        return float(rng.uniform(*LOW_PERCENTILES)), float(rng.uniform(*HIGH_PERCENTILES))

    def ends(self, images: tuple[Image, Image], tables: tuple[Table, Table], name: str) -> tuple[Ends, ...]:
        """What becomes 0 and 1 in low and high (S T C [Z] Y X) of the pair called `name`."""
        if self.numbers:
            return tuple(partial(_constant, one) for one in self.numbers)
        low, high = tables
        if self.word == "matched":
            high = matched(*images, low, name)
        return partial(_interpolated, low), partial(_interpolated, low if self.word == "shared" else high)

    def to_json(self) -> str | list[dict[str, list[float]]]:
        """As a model remembers it."""
        return self.word or [one.to_json() for one in self.numbers]


RANDOM, FIXED, MATCHED, SHARED = Scaling("random"), Scaling("fixed"), Scaling("matched"), Scaling("shared")
WORDS = {known.word: known for known in (RANDOM, FIXED, MATCHED, SHARED)}
Normalize = Word | Scaling | tuple[Normalization, Normalization]


def scaling(normalize: Normalize) -> Scaling:
    """The object for what a user wrote: a word, a pair of Normalizations, or an object already. Raises DataError."""
    if isinstance(normalize, Scaling):
        return normalize
    if isinstance(normalize, str) and normalize in WORDS:
        return WORDS[normalize]
    if isinstance(normalize, tuple) and len(normalize) == 2 and all(isinstance(n, Normalization) for n in normalize):
        return Scaling(None, normalize)
    raise DataError(
        f"normalize is 'random', 'fixed', 'matched', 'shared' or a pair (low, high) of Normalizations, "
        f"not {normalize!r}."
    )


def _interpolated(table: Table, drawn: Drawn) -> tuple[Values, Values]:
    assert drawn is not None
    values = np.array([np.interp(drawn, _AT, row) for row in table])
    return values[:, 0], values[:, 1]


def _constant(given: Normalization, drawn: Drawn) -> tuple[Values, Values]:
    return np.array(given.low), np.array(given.high)


def table_of(image: Image, name: str, widen: bool, empty: list[str]) -> Table:
    """Percentiles of the whole image (all frames), read piece by piece. Raises DataError for constant images.

    With `widen` an image that is nearly empty has two values only, and is added to those that are `empty`.
    """
    try:
        table = norm.percentiles(image.blocks_with_contrast, _AT.tolist())
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    bottom, top = percentile(table, 3.0), percentile(table, 99.5)
    for channel in np.flatnonzero(top <= bottom):
        where = f", channel {channel}" if len(table) > 1 else ""
        if table[channel, 0] == table[channel, -1]:
            raise DataError(f"{name}{where} is constant: every pixel is {table[channel, 0]:g}. Leave this image out.")
        if widen:  # few spots on an empty background: as `normalize.fit` does when restoring
            least, most = norm.widened(np.array([np.interp(sum(norm.WIDER, ()), _AT, table[channel])]))[0]
            table[channel] = np.where(_AT < 50, least, most)
            empty.append(f"{name}{where}")
    return table


def percentile(table: Table, wanted: float) -> Values:
    """One of the percentiles in a `table`, per channel."""
    return np.asarray(table[:, np.searchsorted(_AT, wanted)])


def percentile_facts(pieces: Callable[[], Iterator[NDArray[Any]]]) -> dict[str, Any]:
    """{"percentiles": {"2.0": [one per channel], ...}, "minimum": [...], "maximum": [...]} of pieces (C, ...)."""
    wanted = [0.0, *SUMMARY_PERCENTILES, 100.0]
    table = norm.percentiles(pieces, wanted)
    return {
        "percentiles": {str(p): table[:, at].tolist() for at, p in enumerate(wanted) if 0 < p < 100},
        "minimum": table[:, 0].tolist(),
        "maximum": table[:, -1].tolist(),
    }


def matched(low: Image, high: Image, values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The intensities of `high` that stand for `values` of `low`, by the line low = gain * high + offset.

    Noise widens the percentiles of a dim image, each image by another amount. When both images of a pair are normalised
    by their own percentiles, the gain between them differs from pair to pair, and a network would have to guess it.

    Both images have the axes S T C [Z] Y X; `values` and the answer are (C, n). Least squares with the noisy image as
    the one explained, so that noise does not flatten the line (regression dilution). Raises DataError, with the `name`
    of the pair, where low and high have nothing in common.
    """
    sums = np.zeros((5, low.shape[2]))  # per channel: low, high, high^2, low * high, low^2
    count = 0
    across = tuple(axis for axis in range(low.ndim) if axis != 2)
    step = max(1, MOST_VOXELS // (int(np.prod(low.shape[2:])) // low.shape[3]))
    for sample, time, start in product(*map(range, low.shape[:2]), range(0, low.shape[3], step)):
        where = slice(sample, sample + 1), slice(time, time + 1), slice(None), slice(start, start + step)
        here, there = (image.read(*where).astype(np.float64) for image in (low, high))
        sums += [one.sum(across) for one in (here, there, there * there, here * there, here * here)]
        count += here.size // here.shape[2]
    mean_low, mean_high, square, both, square_low = sums / count
    covariance = both - mean_low * mean_high
    variances = np.maximum((square - mean_high**2) * (square_low - mean_low**2), np.finfo(float).tiny)
    agreement = covariance / np.sqrt(variances)
    if not (agreement > LEAST_AGREEMENT).all():
        raise DataError(
            f"Low and high image of pair '{name}' have a correlation of {agreement.min():.2f}: they hardly show "
            f"the same field. Check the pair and its registration, or normalise each image by itself: --normalize "
            f"random."
        )
    gain = covariance / (square - mean_high**2)
    offset = mean_low - gain * mean_high
    answer: NDArray[np.float64] = (values - offset[:, None]) / gain[:, None]
    return answer
