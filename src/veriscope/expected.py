"""How large the error of a restoration will turn out to be, from the predicted distributions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, inf, isfinite, log10, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVAL = 0.9  # probability that the error found lies in the interval
RANGE = (0.1, 99.9)  # percentiles of the truth that the error is a part of (SI 2.2)
BINS, START, STOP = 4096, -1.0, 7.0  # of the histogram of the restored image, in the networks' units
LIKE_SIZE = 1.5  # ratio of pixels up to which pieces are of like size
EXACT = 2**40  # parts of 1 that sums are kept in
STEADY = 0.05  # the least deviation of the logarithm: errors are not known better than that


@dataclass(frozen=True)
class Expected:
    """The NRMSE that a restoration is expected to have, and the interval that will hold it 9 times out of 10."""

    nrmse: float
    low: float
    high: float

    @property
    def psnr(self) -> float:
        """In dB, of a range of 1, as in `judging.quality`."""
        return -20 * log10(self.nrmse)

    def __str__(self) -> str:
        best, worst = (-20 * log10(value) for value in (self.low, self.high))
        return (
            f"Expected NRMSE {self.nrmse:.3f} (between {self.low:.3f} and {self.high:.3f}), "
            f"PSNR {self.psnr:.1f} dB ({worst:.1f} to {best:.1f})."
        )


@dataclass(frozen=True)
class Expectation:
    """How errors found on images kept aside compare with what was predicted for them: a ratio, and how it varies."""

    log_ratio: float
    half_width: float  # of the logarithm's interval
    largest: float = inf  # NRMSE found of all these images
    crops: tuple[tuple[int, float], ...] = ()  # pixels of such pieces, largest first; the largest NRMSE expected of one

    def times(self, nrmse: float, pixels: int) -> float:
        """An expected NRMSE in parts of the largest of training, of images that have about as many `pixels` or more.

        Small crops hold little structure for their noise now and then: errors are large in parts of their range.
        """
        likely = [one for count, one in self.crops if count * LIKE_SIZE >= pixels] or [one for _, one in self.crops[:1]]
        return nrmse / max(self.largest, *likely, 1e-9)

    def with_crops(self, predicted: Sequence[tuple[int, float]]) -> Expectation:
        """The same with what is `predicted` of images and crops of them: pixels, and NRMSE as `of` takes it."""
        found: dict[int, float] = {}
        for pixels, nrmse in predicted:
            found[pixels] = max(found.get(pixels, 0.0), self.of(nrmse).nrmse)
        return replace(self, crops=tuple(sorted(found.items(), reverse=True)))

    def of(self, predicted: float) -> Expected:
        """What to expect where the calibrated distributions say `predicted`."""
        low, middle, high = (predicted * exp(self.log_ratio + side * self.half_width) for side in (-1, 0, 1))
        return Expected(middle, low, high)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Expectation:
        largest = float(stored.get("largest", inf))
        crops = tuple((int(pixels), float(one)) for pixels, one in stored.get("crops", ()))
        return cls(float(stored["log_ratio"]), float(stored["half_width"]), largest, crops)


def fit(predicted: Sequence[float], found: Sequence[float], trained_on: Sequence[bool]) -> Expectation:
    """From the predicted and the found NRMSE of images, some of which were trained on and only say how much it varies.

    The interval is that of one more image, by Student's distribution.
    """
    from scipy.stats import t

    ratios = np.log(np.maximum(found, 1e-9)) - np.log(np.maximum(predicted, 1e-9))
    trained = np.asarray(trained_on, bool)
    if trained.all():
        trained = ~trained
    middle = float(ratios[~trained].mean())
    left = np.concatenate([group - group.mean() for group in (ratios[trained], ratios[~trained]) if group.size])
    freedom = max(1, len(left) - 1 - int(trained.any()))
    deviation = max(sqrt(float(np.square(left).sum()) / freedom), STEADY)
    known = int(np.count_nonzero(~trained))
    half = float(t.ppf((1 + INTERVAL) / 2, max(freedom, 3)) * deviation * sqrt(1 + 1 / known))
    return Expectation(middle, half, float(max(found)))


class Tally:
    """Adds up, block by block, what is needed to say how large the error of one image will be; by channel."""

    def __init__(self, channels: int) -> None:
        self.squares: list[float] = [0] * channels  # whole numbers of 1 / EXACT, whose sum has no order
        self.pixels = 0
        self.counts = np.zeros((channels, BINS), np.int64)

    def add(self, mean: NDArray[Any], error: NDArray[Any]) -> None:
        """Restored pixels and their root mean squared errors as predicted, (channels, ...), in the networks' units."""
        for channel, (values, wrong) in enumerate(zip(mean, error, strict=True)):
            found = float(np.square(wrong, dtype=np.float64).sum())
            self.squares[channel] += round(found * EXACT) if isfinite(found) else found
            place = np.clip((values - START) * (BINS / (STOP - START)), 0, BINS - 1).astype(np.intp)
            self.counts[channel] += np.bincount(place.ravel(), minlength=BINS)
        self.pixels += mean[0].size

    def merge(self, other: Tally) -> None:
        """Add what another one counted of the same image."""
        self.squares = [a + b for a, b in zip(self.squares, other.squares, strict=True)]
        self.counts += other.counts
        self.pixels += other.pixels

    @property
    def nrmse(self) -> list[float]:
        """Of each channel, as predicted."""
        spans = [max(_percentile(row, RANGE[1]) - _percentile(row, RANGE[0]), 1e-3) for row in self.counts]
        squares = (total / EXACT / max(self.pixels, 1) for total in self.squares)
        return [sqrt(mean) / span for mean, span in zip(squares, spans, strict=True)]


def _percentile(counts: NDArray[np.int64], percent: float) -> float:
    total = np.cumsum(counts)
    return START + (int(np.searchsorted(total, percent / 100 * total[-1])) + 0.5) * (STOP - START) / BINS


def mean_of(several: Sequence[Expected]) -> Expected | None:
    """Of frames and channels together: the mean of each figure; None where there are none."""
    known = [one for one in several if isfinite(one.nrmse)]
    if not known:
        return None
    nrmse, low, high = (float(np.mean([getattr(one, name) for one in known])) for name in ("nrmse", "low", "high"))
    return Expected(nrmse, low, high)
