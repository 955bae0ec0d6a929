"""Is an image like those a network was trained on? Told from windows of it, without knowing the truth.

An ensemble that has never seen the like of an image may still agree with itself (Supp. Figs. 25 and 26 have such cases;
benchmarks/results/failures.txt has more). So beside the members' disagreement a few plain figures of every window are
compared with those of the training images: how bright, how noisy, how fine it is, how the noise is correlated, how
large the predicted error. What is far off names its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.tiling import Span

Floats = NDArray[np.float32]

# What is measured of every window and channel, and what it means to have less or more of it than in training.
FIGURES = {
    "brightness": ("darker", "brighter"),
    "contrast": ("structures of less contrast", "structures of more contrast"),
    "sharpness": ("coarser structures", "finer structures"),
    "scale": ("smaller predicted errors", "larger predicted errors"),
    "scale of contrast": ("smaller errors for its contrast", "hardly any structure above the predicted error"),
    "disagreement": ("less disagreement of the networks", "more disagreement of the networks"),
    "offset": ("an input darker than its restoration", "an input brighter than its restoration"),
    "noise": ("less noise", "more noise"),
    "grain": ("noise of finer grain", "noise of coarser grain (smoothed, resized or binned?)"),
    "input sharpness": ("a smoother input (smoothed, resized or out of focus?)", "a rougher input"),
    "saturation": ("fewer saturated pixels", "more saturated pixels"),
    "blackness": ("fewer pixels clipped to black", "more pixels clipped to black"),
}
RARE = 0.99  # of training: beyond are the 1 % of windows, and of pixels, that are least like the others
SHRINKAGE = 0.02  # of the covariance towards its diagonal, which keeps it regular
STEADY = 0.05  # the least deviation of a figure, for those that are nearly the same in all windows of training
MANY = 64  # windows of one tile
LEAST = 16  # windows, to say what training images look like
TINY = 1e-4  # of the normalised range: nothing is measured finer

# Share of the image that is unlike the training images, above which its restoration needs a look, or is not to be
# trusted; chosen by benchmarks/failures.py.
LOOK, REJECT = 0.1, 0.3
DISAGREE_LOOK, DISAGREE_REJECT = 0.03, 0.06  # the same for pixels that disagree more than 99 % in training
ONE_SIDED = 0.98  # share of windows in which a figure must be off to the same side to count, though in none very far
SIDED_LOOK, SIDED_REJECT = 1, 4  # such figures
ENOUGH = 16  # windows, to say so
LEVELS = ("like the training images", "unlike the training images in parts", "unlike the training images")
ADVICE = ("", "Look at it before you rely on it.", "Do not rely on this restoration.")


def windows(shape: Sequence[int], window: Sequence[int]) -> list[Span]:
    """Windows of the size `window` that cover `shape`, spread evenly; smaller where `shape` is."""
    spans: list[Span] = [()]
    for length, size in zip(shape, window, strict=True):
        size = min(length, size)
        count = -(-length // size)
        starts = np.linspace(0, length - size, count).round().astype(int).tolist()
        spans = [(*span, slice(start, start + size)) for span in spans for start in starts]
    return spans


@dataclass(frozen=True, eq=False)
class Look:
    """A patch or tile in windows: their places, the figures of each, and how far members disagree."""

    spans: list[Span]
    rows: list[dict[str, float]]
    disagreement: Floats | None  # (C_out, *space), every pixel or every second one; None without or for one member


def look(given: Floats, means: Floats, scales: Floats | None, window: Sequence[int], every_pixel: bool = False) -> Look:
    """Look at the networks' input (C_in, *space) and the members' answers (M, C_out, *space), normalised.

    To save time only every second pixel of each row and column is asked for disagreement, and of many windows only
    every second one, unless `every_pixel`.
    """
    spans = windows(given.shape[1:], window)
    if len(spans) > MANY and not every_pixel:
        spans = spans[::2]
    mean = laplace.mixture_mean(means)
    scale = disagreement = None
    thin = 1 if every_pixel else 2
    if scales is not None:
        scale = laplace.mixture_scale(means, scales)
        if len(means) > 1:
            some: Any = (..., slice(None, None, thin), slice(None, None, thin))
            disagreement = laplace.disagreement(means[some], scales[some])
    rows = []
    for span in spans:
        *outer, y, x = span
        part: Any = (..., *span)
        thinned: Any = (..., *outer, *(slice(-(-s.start // thin), -(-s.stop // thin)) for s in (y, x)))
        rows.append(
            figures(
                given[part],
                mean[part],
                None if scale is None else scale[part],
                None if disagreement is None or not disagreement[thinned].size else disagreement[thinned],
            )
        )
    return Look(spans, rows, disagreement)


def figures(given: Floats, mean: Floats, scale: Floats | None, disagreement: Floats | None) -> dict[str, float]:
    """FIGURES of one window: the networks' input (C_in, *space), and what they make of it (C_out, *space), normalised.

    Where as many channels go in as come out, noise is what the restoration took away.
    """
    found: dict[str, float] = {}

    def note(name: str, channel: int, value: Any) -> None:
        found[f"{name} {channel}" if channel else name] = float(value)

    for channel, image in enumerate(mean):
        contrast = image.std()
        note("brightness", channel, image.mean())
        note("contrast", channel, np.log(contrast + TINY))
        note("sharpness", channel, np.log((_roughness(image) + TINY) / (contrast + TINY)))
        if scale is not None:
            level = np.log(scale[channel]).mean()
            note("scale", channel, level)
            note("scale of contrast", channel, level - np.log(contrast + TINY))
        if disagreement is not None:
            note("disagreement", channel, np.log(disagreement[channel] + 1e-3).mean())
    for channel, image in enumerate(given):
        if len(mean) == len(given):
            noise = image - mean[channel]
            note("offset", channel, noise.mean())
            note("noise", channel, np.log(noise.std() + TINY))
            note("grain", channel, _grain(noise))
        note("input sharpness", channel, np.log((_roughness(image) + TINY) / (image.std() + TINY)))
        note("saturation", channel, np.log(np.mean(image == image.max()) + 1e-3))
        note("blackness", channel, np.log(np.mean(image == image.min()) + 1e-3))
    return found


def _roughness(image: Floats) -> float:
    """Root mean square of the steps between neighbours in a plane."""
    steps = [np.square(np.diff(image, axis=axis)).mean() for axis in (-2, -1) if image.shape[axis] > 1]
    return float(np.sqrt(np.mean(steps))) if steps else 0.0


def _grain(noise: Floats) -> float:
    """Correlation of neighbours in a plane: 0 for noise of a camera, towards 1 when pixels were smoothed."""
    noise = noise - noise.mean()
    variance = np.square(noise).mean() + TINY**2
    both = [(noise[..., 1:, :] * noise[..., :-1, :]), (noise[..., 1:] * noise[..., :-1])]
    return float(np.mean([values.mean() for values in both if values.size] or [0.0]) / variance)


@dataclass(frozen=True, eq=False)
class Familiar:
    """What the training images look like to a network: figures of their windows, and how much members disagree."""

    window: tuple[int, ...]  # pixels per spatial axis
    names: tuple[str, ...]
    centre: NDArray[np.float64]  # (figures,)
    deviation: NDArray[np.float64]  # (figures,)
    inverse: NDArray[np.float64]  # (figures, figures): of the covariance of standardised figures
    medians: NDArray[np.float64]  # (figures,)
    distances: NDArray[np.float64]  # of training windows from the others: percentiles 0, 1, ... 100
    disagreement: NDArray[np.float64] | None  # of pixels of images not trained on: percentiles 0, 1, ... 100
    count: int  # windows

    @property
    def far(self) -> float:
        """The distance beyond which lies one training window in a hundred."""
        return float(np.interp(100 * RARE, np.arange(101), self.distances))

    @property
    def strong(self) -> float | None:
        """The disagreement above which lies one pixel in a hundred of images like those of training."""
        return None if self.disagreement is None else float(np.interp(100 * RARE, np.arange(101), self.disagreement))

    def table(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Figures in the order of `names`, (windows, figures)."""
        usual = dict(zip(self.names, self.centre.tolist(), strict=True))  # for what a window is too small to tell
        values = [[row.get(name, usual[name]) for name in self.names] for row in rows]
        return np.array(values, float).reshape(-1, len(self.names))

    def distance(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far windows lie from those of training (Mahalanobis), (windows,)."""
        off = (table - self.centre) / self.deviation
        return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", off, self.inverse, off)))

    def to_json(self) -> dict[str, Any]:
        def short(values: NDArray[np.float64]) -> Any:
            return [float(f"{value:.6g}") for value in values]

        return {
            "window": list(self.window),
            "names": list(self.names),
            "centre": short(self.centre),
            "deviation": short(self.deviation),
            "inverse": [short(row) for row in self.inverse],
            "medians": short(self.medians),
            "distances": short(self.distances),
            "disagreement": None if self.disagreement is None else short(self.disagreement),
            "count": self.count,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Familiar:
        arrays = {name: np.array(stored[name], float) for name in ("centre", "deviation", "medians", "distances")}
        return cls(
            window=tuple(stored["window"]),
            names=tuple(stored["names"]),
            inverse=np.array(stored["inverse"], float),
            disagreement=None if stored["disagreement"] is None else np.array(stored["disagreement"], float),
            count=int(stored["count"]),
            **arrays,
        )


def familiar(
    window: Sequence[int], rows: Sequence[Mapping[str, float]], disagreement: NDArray[Any] | None
) -> Familiar | None:
    """What training images look like: figures of their windows, and disagreement of pixels (any shape) not trained on.

    None for fewer than LEAST windows.
    """
    if len(rows) < LEAST:
        return None
    names = tuple(rows[0])
    table = np.array([[row[name] for name in names] for row in rows], float)
    centre, deviation = table.mean(0), np.maximum(table.std(0), STEADY)
    standard = (table - centre) / deviation
    covariance = (1 - SHRINKAGE) * np.atleast_2d(np.cov(standard.T, bias=True))
    np.fill_diagonal(covariance, 1)
    inverse = np.asarray(np.linalg.inv(covariance), float)
    within = np.einsum("ni,ij,nj->n", standard, inverse, standard)
    distances = np.sqrt(_as_if_unseen(within, len(table)))
    levels = np.arange(101)
    return Familiar(
        tuple(int(size) for size in window),
        names,
        centre,
        deviation,
        inverse,
        np.median(table, axis=0),
        np.percentile(distances, levels),
        None if disagreement is None else np.percentile(disagreement, levels),
        len(table),
    )


def _as_if_unseen(squared: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Squared Mahalanobis distances of windows from all others, given those from a centre and covariance with them.

    A window draws both towards itself, the more so the fewer there are; what is new does not.
    """
    own = squared * (count - 1) / count  # with the covariance of count - 1
    left = np.maximum(1 - count * own / (count - 1) ** 2, 0.05)
    return np.asarray(own * count**2 * (count - 2) / ((count - 1) ** 3 * left))


@dataclass(frozen=True)
class Verdict:
    """How much a restoration can be trusted, told without the truth; printing it gives one or two sentences."""

    level: int  # 0: like the training images, 1: unlike them in parts, 2: unlike them
    unlike: float  # share of windows farther from the training images than 99 % of those
    disagreeing: float | None  # share of pixels that disagree more than 99 % of those of images like in training
    one_sided: int = 0  # figures that are off to the same side in nearly all windows
    reasons: tuple[str, ...] = ()  # what sets it apart, the strongest first
    warnings: tuple[str, ...] = field(default=())  # voxel size, intensities: whole sentences

    @property
    def words(self) -> str:
        """The level in words."""
        return LEVELS[self.level]

    @property
    def told(self) -> str:
        """The level with its figures, reasons and what to do, in one line."""
        shares = f"{self.unlike:.0%} of its windows lie beyond 99 % of those of training"
        if self.disagreeing is not None:
            shares += f", in {self.disagreeing:.1%} of the pixels the networks disagree more than in 99 % there"
        text = f"{self.words[0].upper()}{self.words[1:]}: {shares}."
        if self.level and self.reasons:
            text += f" It has {', '.join(self.reasons)}."
        return f"{text} {ADVICE[self.level]}".rstrip()

    def __str__(self) -> str:
        return " ".join([self.told, *self.warnings])


def verdict(
    known: Familiar, rows: Sequence[Mapping[str, float]], disagreeing: float | None, warnings: Sequence[str] = ()
) -> Verdict:
    """The verdict on an image: figures of its windows, and the share of its pixels with strong disagreement."""
    table = known.table(rows)
    far = known.distance(table) > known.far
    unlike, one_sided = float(far.mean()), _one_sided(known, table)
    level = max(
        int(unlike > LOOK) + int(unlike > REJECT),
        int(one_sided >= SIDED_LOOK) + int(one_sided >= SIDED_REJECT),
        0 if disagreeing is None else int(disagreeing > DISAGREE_LOOK) + int(disagreeing > DISAGREE_REJECT),
    )
    reasons = _reasons(known, table[far] if unlike > LOOK else table) if level else ()
    return Verdict(level, unlike, disagreeing, one_sided, reasons, tuple(warnings))


def _one_sided(known: Familiar, table: NDArray[np.float64]) -> int:
    """Figures that are off on the whole, and on the same side of their median in training in nearly every window."""
    if len(table) < ENOUGH:
        return 0
    off = np.abs(np.median((table - known.centre) / known.deviation, axis=0)) > 1
    sides = np.maximum((table > known.medians).mean(0), (table < known.medians).mean(0))
    return int(np.count_nonzero(off & (sides > ONE_SIDED)))


def _reasons(known: Familiar, table: NDArray[np.float64], most: int = 3) -> tuple[str, ...]:
    """The figures that are farthest off in the middle window, in words."""
    off = np.median((table - known.centre) / known.deviation, axis=0)
    words: list[str] = []
    for number in np.argsort(-np.abs(off)):
        name, _, channel = known.names[number].rpartition(" ")
        if name not in FIGURES:
            name, channel = known.names[number], ""
        if abs(off[number]) < 1 or len(words) == most:
            break
        words.append(FIGURES[name][int(off[number] > 0)] + (f" in channel {channel}" if channel else ""))
    return tuple(words)
