"""Put the predicted distributions right: what images that were kept aside in training taught about them.

The networks' mixture of Laplace distributions has the wrong width in places (too wide where the image is dark, too
narrow where it is bright, by another amount for another noise level) and the wrong shape (the errors of a restoration
are nearer to a Gaussian). So on images kept aside, restored as a user would restore them, two things are measured: by
how much the distribution of a pixel must be widened around its mean, given its predicted scale and the noise of the
image and its contrast (`Level`); and, once that is done, how often what was said to be probable came true (`central`,
`cumulative`), as in quantile recalibration. The restored image itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope import laplace
from veriscope.chance import uniform
from veriscope.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

KNOTS = 12  # of the level along the logarithm of the predicted scale
RIDGE = 0.1  # images: how many must speak for a dependence on the texture before it counts by half
STEADY = 0.1  # the least deviation of the texture's logarithms between images
BEYOND = 0.2  # how far these logarithms may lie outside of what was seen and still count as they are
LARGEST = 10.0  # factor by which a distribution is widened or narrowed at most
LEAST_PIXELS = 2000  # of one channel, to know better than the networks
HALF = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
CUMULATIVE = np.array([0.0, *HALF, 0.5, *(1 - p for p in reversed(HALF)), 1.0])
CENTRAL = np.array([0.0, *(1 - 2 * p for p in reversed(HALF)), 1.0])  # the same tails on both sides together
TABLE = 2**14  # entries to look probabilities up in


@dataclass(frozen=True, eq=False)
class Sample:
    """Some pixels of one channel of an image kept aside, in the networks' units.

    `means` and `scales` are (M, n), `truth` (n,), brought to the restored image by least squares as for NRMSE.
    """

    means: Floats
    scales: Floats
    truth: Floats
    window: NDArray[np.intp]  # (n,), the number of the window of the image that each pixel lies in
    texture: NDArray[np.float64]  # (2,), noise and contrast of the input, see `noise`; NaN where not known
    image: int = 0  # samples of the same image have the same number
    trained_on: bool = False

    @cached_property
    def error(self) -> Floats:
        """|truth - mean of means|, (n,)."""
        return np.asarray(np.abs(self.truth - laplace.mixture_mean(self.means)))

    @cached_property
    def scale(self) -> Floats:
        """Predicted mean of `error`, (n,)."""
        return laplace.mixture_scale(self.means, self.scales)


@dataclass(frozen=True, eq=False)
class Level:
    """By how much the distributions of one channel are to be widened, linear between knots of the predicted scale."""

    log_scale: NDArray[np.float64]  # (knots,), natural logarithm, networks' units
    log_factor: NDArray[np.float64]  # (knots,), at the texture `centre`
    slope: NDArray[np.float64]  # (2, knots), of the factor's logarithm along those of `_described`
    centre: NDArray[np.float64]  # (2,)
    seen: NDArray[np.float64]  # (2, 2): the least and the largest of each that was seen

    def factor(self, scale: Floats, texture: NDArray[np.float64] | None = None) -> Floats:
        """The factor for pixels of the predicted mean error `scale`, any shape, in an image of that noise and contrast.

        Where the texture is not known it is taken to be as in the middle of the training.
        """
        steps = self.log_factor
        if texture is not None and np.isfinite(texture).all():
            least, largest = self.seen
            steps = steps + (np.clip(_described(texture), least - BEYOND, largest + BEYOND) - self.centre) @ self.slope
        bound = np.log(LARGEST)
        found = np.interp(np.log(scale), self.log_scale, np.clip(steps, -bound, bound))
        return np.asarray(np.exp(found.astype(np.float32)))


def _described(texture: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the level may depend on: logarithms of the noise, and of the noise in parts of the contrast."""
    noise, contrast = np.log(texture)
    return np.array([noise, noise - contrast])


def fit(channels: Sequence[Sequence[Sample]]) -> Calibration | None:
    """What the samples of each channel teach; None where they are too few to know better than the networks."""
    if not channels or any(sum(len(one.truth) for one in samples) < LEAST_PIXELS for samples in channels):
        return None
    levels, central, cumulative, missed = [], [], [], []
    for samples in channels:
        level, of_trained = _fit_level(samples)
        levels.append(level)
        for one in samples:
            widening = (of_trained if one.trained_on else level).factor(one.scale, one.texture)
            centre = laplace.mixture_mean(one.means)
            inner = laplace.interval_probability(one.means, one.scales, one.error / widening)
            central.append(inner)
            cumulative.append(laplace.cdf(one.means, one.scales, centre + (one.truth - centre) / widening))
            if not one.trained_on:
                missed.append(inner)
    seen = np.concatenate(central)
    windows = sum(len(np.unique(one.window)) for samples in channels for one in samples if not one.trained_on)
    return Calibration(
        tuple(levels),
        _knots(seen, CENTRAL),
        _knots(np.concatenate(cumulative), CUMULATIVE),
        _guaranteed(np.concatenate(missed) if missed else seen[:0], windows // len(channels)),
        seen.size,
        len({one.image for samples in channels for one in samples}),
    )


def _knots(seen: NDArray[Any], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The predicted probabilities that came true with the `levels`, from 0 to 1 and strictly increasing."""
    knots = np.quantile(seen.astype(np.float64), levels)
    knots[0], knots[-1] = 0.0, 1.0
    least = 1e-6 * np.arange(len(knots))
    return np.asarray(np.maximum.accumulate(np.minimum(knots, 1 - least[::-1]) - least) + least)


def _guaranteed(seen: NDArray[Any], windows: int) -> NDArray[np.float64]:
    """The predicted probabilities of intervals that hold at least CENTRAL of the truth, by conformal risk control.

    Angelopoulos et al. 2022: of a new window, exchangeable with the `windows` n kept aside, no more than 1 - p is
    missed on average where n / (n + 1) of what those miss and 1 / (n + 1) are no more than that.
    """
    if not windows:
        return np.append(0.0, np.ones(len(CENTRAL) - 1))
    held = 1 - ((1 - CENTRAL) * (windows + 1) - 1) / windows
    knots = np.where(held <= 1, np.quantile(seen.astype(np.float64), np.clip(held, 0, 1)), 1.0)
    knots[0] = 0.0
    return np.asarray(knots)


def _fit_level(samples: Sequence[Sample]) -> tuple[Level, Level]:
    """The level that makes the predicted mean error that of the samples, bin by bin of the predicted scale.

    In each bin the logarithm of the ratio found is explained by a constant, the image's texture, and whether the image
    was trained on: ridge regression, so that few images say little about the last two. The second level is that of
    images trained on.
    """
    logs = np.concatenate([np.log(one.scale) for one in samples]).astype(np.float64)
    bins = min(KNOTS, max(1, len(logs) // (LEAST_PIXELS // 8)))
    edges = np.quantile(logs, np.linspace(0, 1, bins + 1))
    texture = np.array([_described(one.texture) for one in samples])
    known = np.isfinite(texture).all(axis=1)
    centre = texture[known].mean(0) if known.any() else np.zeros(2)
    texture[~known] = centre
    deviation = np.maximum(texture.std(0), STEADY)
    images = np.array([one.image for one in samples])
    shared = np.array([1 / np.count_nonzero(images == one) for one in images])  # parts of an image count as one
    trained = np.array([float(one.trained_on) for one in samples])
    explained_by = np.column_stack([np.ones(len(samples)), (texture - centre) / deviation, trained])
    unseen = 0 < trained.sum() < len(samples)
    penalty = np.diag([1e-9, RIDGE, RIDGE, RIDGE / 4 if unseen else 1e9])
    knots = []
    for low, high in pairwise(edges):
        ratio, count, place = (np.array(row) for row in zip(*(_in_bin(one, low, high) for one in samples), strict=True))
        if not count.any():
            continue
        weight = count * shared
        weight *= len(np.unique(images[count > 0])) / weight.sum()
        weighed = explained_by * weight[:, None]
        found = np.linalg.solve(explained_by.T @ weighed + penalty, weighed.T @ ratio)
        knots.append((np.average(place, weights=count), *found))
    if not knots:  # every error is 0
        knots = [(float(logs.mean()), -np.log(LARGEST), 0.0, 0.0, 0.0)]
    at, factor, *slope, of_trained = np.array(knots).T
    level = Level(at, factor, np.array(slope) / deviation[:, None], centre, np.array([texture.min(0), texture.max(0)]))
    return level, replace(level, log_factor=factor + of_trained)


def _in_bin(one: Sample, low: float, high: float) -> tuple[float, int, float]:
    """Logarithm of found over predicted mean error, pixels, and mean logarithm of the scale, of one bin."""
    logs = np.log(one.scale)
    inside = (logs >= low) & (logs <= high)
    count = int(np.count_nonzero(inside))
    if count == 0 or not (wrong := float(one.error[inside].mean(dtype=np.float64))) > 0:
        return 0.0, 0, low
    predicted = float(one.scale[inside].mean(dtype=np.float64))
    return float(np.log(wrong / predicted)), count, float(logs[inside].mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was measured on the images kept aside; applied to means and scales (M, ...) of any shape and unit.

    `widening` is the factor of each pixel, (...), as `Level.factor` gives it, or 1.
    """

    levels: tuple[Level, ...]  # one per channel
    central: NDArray[np.float64]  # predicted probabilities of central intervals that came true with CENTRAL
    cumulative: NDArray[np.float64]  # the same for "the truth lies below", and CUMULATIVE
    guaranteed: NDArray[np.float64]  # predicted probabilities of intervals that hold CENTRAL at least; 1: not to be had
    pixels: int = 0
    images: int = 0

    def widened(self, more: NDArray[np.float64]) -> Calibration:
        """The same, each channel widened by a factor, whose natural logarithms are `more` (channels,)."""
        levels = (replace(one, log_factor=one.log_factor + by) for one, by in zip(self.levels, more, strict=True))
        return replace(self, levels=tuple(levels))

    def unguaranteed(self) -> Calibration:
        """The same where nothing was compared with a truth."""
        return replace(self, guaranteed=np.append(0.0, np.ones(len(self.guaranteed) - 1)))

    def right(self, predicted: Any) -> Any:
        """How often a central interval of the `predicted` probability holds the truth; any shape."""
        place = np.asarray(predicted * TABLE).astype(np.int32)
        return np.asarray(np.take(self._table, place))

    @cached_property
    def _table(self) -> Floats:
        middles = np.minimum((np.arange(TABLE + 1) + 0.5) / TABLE, 1)
        return np.asarray(np.interp(middles, self.central, CENTRAL), np.float32)

    def probability(self, means: Floats, scales: Floats, widening: Any, eps: float) -> Floats:
        """Probability that the truth lies within `eps` of the mean of means (3.15), put right."""
        return np.asarray(self.right(laplace.interval_probability(means, scales, eps / widening)))

    def half_width(self, means: Floats, scales: Floats, widening: Any, p: float, guaranteed: bool = False) -> Floats:
        """Half of the interval around the mean of means that holds the truth with probability `p`.

        `guaranteed`: at least with that probability, on average over images like those kept aside. Raises DataError
        where too little was kept aside to promise that.
        """
        knots = self.guaranteed if guaranteed else self.central
        asked = float(np.interp(p, CENTRAL, knots))
        if guaranteed and asked >= 1:
            most = float(CENTRAL[np.flatnonzero(knots < 1)[-1]])
            raise DataError(
                f"An interval cannot be guaranteed to hold {p:g} of the ground truth: too few images with "
                f"ground truth were kept aside in training. Ask for {most:g} or less, or train with more images."
            )
        asked = min(max(asked, 1e-6), 1 - 1e-6)
        return np.asarray(widening * laplace.symmetric_interval(means, scales, asked), np.float32)

    def quantile(self, means: Floats, scales: Floats, widening: Any, u: Any) -> Floats:
        """The value below which the truth lies with probability `u`, one number or one per pixel, put right."""
        asked = np.clip(np.interp(u, CUMULATIVE, self.cumulative), 1e-6, 1 - 1e-6)
        centre = laplace.mixture_mean(means)
        shape = asked.astype(np.float32) if np.ndim(asked) else float(asked)
        return np.asarray(centre + widening * (laplace.quantile(means, scales, shape) - centre), np.float32)

    def below(self, means: Floats, scales: Floats, widening: Any, value: Any) -> Floats:
        """Probability that the truth lies below `value`, put right."""
        centre = laplace.mixture_mean(means)
        raw = laplace.cdf(means, scales, centre + (value - centre) / widening)
        return np.asarray(np.interp(raw, self.cumulative, CUMULATIVE), np.float32)

    def sample(self, means: Floats, scales: Floats, widening: Any, **which: Any) -> Floats:
        """One image drawn, each pixel independent of its neighbours; `which` as in `laplace.sample`."""
        drawn = uniform(means.shape[1:], **which).clip(1e-6, 1 - 1e-6)
        return self.quantile(means, scales, widening, drawn)

    def log_likelihood(self, means: Floats, scales: Floats, widening: Any, value: Any) -> Floats:
        """Natural logarithm of the density at `value`, put right; constant slopes between the knots."""
        centre = laplace.mixture_mean(means)
        inner = centre + (value - centre) / widening
        place = np.searchsorted(self.cumulative[1:-1], laplace.cdf(means, scales, inner), side="right")
        density = np.log(self._slopes[place] / widening)
        return np.asarray(laplace.log_likelihood(means, scales, inner) + density, np.float32)

    def scale(self, means: Floats, scales: Floats, widening: Any) -> Floats:
        """How far the truth lies from the mean of means on average, put right."""
        return np.asarray(laplace.mixture_scale(means, scales) * (widening * np.float32(self._moments[0])), np.float32)

    def entropy(self, means: Floats, scales: Floats, widening: Any) -> Floats:
        """Differential entropy in nat, put right: exact where the members agree, and near it elsewhere."""
        return np.asarray(laplace.entropy(means, scales) + np.log(widening) + np.float32(self._moments[2]), np.float32)

    def root_mean_square(self, means: Floats, scales: Floats, widening: Any) -> Floats:
        """Root of the mean squared error to be expected of every pixel."""
        root = np.float32(np.sqrt(self._moments[1]))
        return np.asarray(laplace.mixture_scale(means, scales) * (widening * root), np.float32)

    @cached_property
    def _moments(self) -> tuple[float, float, float]:
        """Of a Laplace distribution of scale 1, put right: mean |error|, mean squared error, change of the entropy."""
        u = (np.arange(2**16) + 0.5) / 2**16
        distance = -np.log1p(-np.minimum(np.interp(u, CENTRAL, self.central), 1 - 1e-6))
        below = np.interp(u, CUMULATIVE, self.cumulative)
        right = np.diff(CUMULATIVE)
        log_density = np.log(np.minimum(below, 1 - below).clip(1e-9)).mean() + right @ np.log(self._slopes)
        return float(distance.mean()), float(np.square(distance).mean()), float(-log_density - 1 - np.log(2))

    @property
    def _slopes(self) -> NDArray[np.float64]:
        """Of what came true over what was predicted, between the knots of `cumulative`."""
        return np.diff(CUMULATIVE) / np.diff(self.cumulative)

    def to_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return [float(f"{number:.6g}") if np.ndim(number) == 0 else plain(number) for number in value]
            if isinstance(value, dict):
                return {name: plain(inner) for name, inner in value.items()}
            return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

        return {name: plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        names = ("log_scale", "log_factor", "slope", "centre", "seen")
        levels = tuple(Level(*(np.array(one[name], float) for name in names)) for one in stored["levels"])
        knots = [np.array(stored[name], float) for name in ("central", "cumulative", "guaranteed")]
        if [len(one) for one in knots] != [len(CENTRAL), len(CUMULATIVE), len(CENTRAL)] or not levels:
            raise ValueError("another number of knots")
        counts = {name: int(stored[name]) for name in ("pixels", "images")}
        return cls(levels, knots[0], knots[1], knots[2], **counts)


class AsPredicted:
    """The same answers as the networks gave them: nothing was measured, or nothing shall be changed."""

    def probability(self, means: Floats, scales: Floats, widening: Any, eps: float) -> Floats:
        return laplace.interval_probability(means, scales, eps)

    def half_width(self, means: Floats, scales: Floats, widening: Any, p: float, guaranteed: bool = False) -> Floats:
        if guaranteed:
            raise DataError(
                "This interval cannot be guaranteed: nothing was measured on images kept aside. Restore with a "
                "calibrated model, and with calibrated=True."
            )
        return laplace.symmetric_interval(means, scales, p)

    def quantile(self, means: Floats, scales: Floats, widening: Any, u: Any) -> Floats:
        return laplace.quantile(means, scales, u)

    def sample(self, means: Floats, scales: Floats, widening: Any, **which: Any) -> Floats:
        return laplace.sample(means, scales, **which)

    def below(self, means: Floats, scales: Floats, widening: Any, value: Any) -> Floats:
        return laplace.cdf(means, scales, value)

    def log_likelihood(self, means: Floats, scales: Floats, widening: Any, value: Any) -> Floats:
        return laplace.log_likelihood(means, scales, value)

    def scale(self, means: Floats, scales: Floats, widening: Any) -> Floats:
        return laplace.mixture_scale(means, scales)

    def entropy(self, means: Floats, scales: Floats, widening: Any) -> Floats:
        return laplace.entropy(means, scales)


Distribution = Calibration | AsPredicted
