"""Is an image like those a network was trained on? Estimated from windows of it, without ground truth.

An ensemble that has never seen the like of an image may still agree with itself (Supp. Figs. 25 and 26 have such cases;
benchmarks/results/failures.txt has more). So beside the members' disagreement a few plain figures of every window are
compared with those of the training images: how bright, how noisy, how fine it is, how the noise is correlated, how
large the predicted error. How far an image is off as a whole is held against how far images of training, and crops
of them of like size, are off when they are compared with the others: that sets the rate of false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.tiling import Span, windows

Floats = NDArray[np.float32]

# What is measured of every window and channel, and what it means to have less or more of it than in training.
FIGURES = {
    "brightness": ("a darker signal", "a brighter signal"),
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
    "unlike": ("fewer odd parts", "parts that none of the training images have"),
    "disagreeing": ("fewer pixels of disagreement", "pixels on which the networks disagree"),
}
RARE = 0.99  # of training: beyond are the 1 % of windows, and of pixels, that are least like the others
SHRINKAGE = 0.02  # of the covariance towards its diagonal, which keeps it regular
STEADY = 0.05  # the least deviation of a figure, for those that are nearly the same in all windows of training
MANY = 64  # windows of one tile
LEAST = 16  # windows, to say what training images look like
TINY = 1e-4  # of the normalised range: nothing is measured finer

ALARMS = 0.02  # fraction of images like those of training that are to be called unlike them
HARM = 1.5  # times the largest error of the training images: a restoration that is to be looked at
FAR_BEYOND = 1.5  # times the threshold: not partly, but wholly unlike
IMAGES, PIECES = 3, 6  # of one size that must be known, to say how much such images differ from each other
LIKE_SIZE = 1.5  # ratio of windows up to which an image is compared with larger crops
SPREAD = ("scale", "contrast", "sharpness", "input sharpness")  # whose distribution over an image is looked at
HARMLESS = {"saturation": -1, "blackness": -1, "unlike": -1, "disagreeing": -1, "disagreement": -1}  # to have less of
LEVELS = ("like the training images", "partly unlike the training images", "unlike the training images")
ADVICE = ("", "Check it before you rely on it.", "Do not rely on this restoration.")
TOO_SMALL = "Too small to say whether it is like the training images."
TOO_LITTLE = "Whether it is like the training images cannot be said: this model knows too few of them."


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
    distances: NDArray[np.float64]  # of training windows from the others: percentiles 0, 1, ... 100
    disagreement: NDArray[np.float64] | None  # of pixels of images not trained on: percentiles 0, 1, ... 100
    count: int  # windows
    sizes: tuple[Size, ...]  # of pieces, the largest first

    @property
    def far(self) -> float:
        """The distance beyond which lies one training window in a hundred."""
        return float(np.interp(100 * RARE, np.arange(101), self.distances))

    @property
    def strong(self) -> float | None:
        """The disagreement above which lies one pixel in a hundred of images like those of training."""
        return None if self.disagreement is None else float(np.interp(100 * RARE, np.arange(101), self.disagreement))

    def disagreeing(self, one: Look) -> float | None:
        """Fraction of the pixels looked at that disagree strongly."""
        if one.disagreement is None or self.strong is None:
            return None
        return float((one.disagreement > self.strong).mean())

    def table(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Figures in the order of `names`, (windows, figures)."""
        usual = dict(zip(self.names, self.centre.tolist(), strict=True))  # for what a window is too small to tell
        values = [[row.get(name, usual[name]) for name in self.names] for row in rows]
        return np.array(values, float).reshape(-1, len(self.names))

    def distance(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far windows lie from those of training (Mahalanobis), (windows,)."""
        return _distance(self.names, table, self.centre, self.deviation, self.inverse)

    def unlike(self, table: NDArray[np.float64]) -> float:
        """Fraction of windows that lie farther from those of training than 99 % of them."""
        return float((self.distance(table) > self.far).mean()) if len(table) else 0.0

    def to_json(self) -> dict[str, Any]:
        def short(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: short(inner) for name, inner in value.items()}
            if isinstance(value, np.ndarray | tuple | list):
                return [short(inner) for inner in value]
            return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value

        return dict(short(asdict(self)))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Familiar:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        arrays = {name: np.array(stored[name], float) for name in ("centre", "deviation", "inverse", "distances")}
        return cls(
            window=tuple(stored["window"]),
            names=tuple(stored["names"]),
            disagreement=None if stored["disagreement"] is None else np.array(stored["disagreement"], float),
            count=int(stored["count"]),
            sizes=tuple(Size.from_json(one) for one in stored["sizes"]),
            **arrays,
        )

    def described(self, table: NDArray[np.float64], unlike: float, disagreeing: float | None) -> NDArray[np.float64]:
        """One piece by its windows' figures, in the order of `described_names`: their means, how they are spread over
        the piece, sharpness where there is contrast, the fractions that are `unlike` and that disagree strongly.
        """
        weight = np.exp(table[:, self.names.index("contrast")])
        values = [table.mean(0), [weight @ table[:, self.names.index("sharpness")] / weight.sum()]]
        spread = [table[:, self.names.index(name)] for name in SPREAD if name in self.names]
        values += [np.quantile(column, (0.1, 0.9)) for column in spread]
        values.append([np.log(unlike + 0.02), np.log((disagreeing or 0.0) + 0.003)])
        return np.concatenate(values)

    @property
    def described_names(self) -> tuple[str, ...]:
        spread = [name for name in SPREAD if name in self.names for _ in range(2)]
        return (*self.names, "sharpness", *spread, "unlike", "disagreeing")


@dataclass(frozen=True, eq=False)
class Size:
    """What pieces of one size are like, as `Familiar.described`, and how far off one may be."""

    windows: int  # of one piece
    count: int  # pieces
    centre: NDArray[np.float64]
    deviation: NDArray[np.float64]
    inverse: NDArray[np.float64]  # of the covariance of standardised values
    threshold: float  # of `score`, above which ALARMS of such pieces lie

    def offsets(self, described: NDArray[np.float64], harmless: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each value is off, in deviations; then how far it is off what the other values let expect."""
        off = (described - self.centre) / self.deviation
        off = np.where(off * harmless > 0, 0, off)
        given_others = self.inverse @ off / np.sqrt(np.diag(self.inverse))
        return np.stack([off, given_others])

    def score(self, described: NDArray[np.float64], harmless: NDArray[np.float64]) -> float:
        return float(np.abs(self.offsets(described, harmless)).max())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Size:
        arrays = {name: np.array(stored[name], float) for name in ("centre", "deviation", "inverse")}
        return cls(int(stored["windows"]), int(stored["count"]), threshold=float(stored["threshold"]), **arrays)


def familiar(window: Sequence[int], looks: Sequence[tuple[int, int, bool, Look]]) -> Familiar | None:
    """What training images look like, from pieces of them: number of the size (0 the largest), number of the image,
    whether it was trained on, and the look. None for fewer than LEAST windows.
    """
    rows = [row for *_, one in looks for row in one.rows]
    if len(rows) < LEAST:
        return None
    names = tuple(rows[0])
    table = np.array([[row[name] for name in names] for row in rows], float)
    owners = np.repeat([image for _, image, *_ in looks], [len(one.rows) for *_, one in looks])
    distances = _from_others(names, table, owners)
    aside = [one.disagreement.ravel() for *_, trained, one in looks if one.disagreement is not None and not trained]
    levels = np.arange(101)
    known = Familiar(
        tuple(int(size) for size in window),
        names,
        *_middle(table),
        np.percentile(distances, levels),
        np.percentile(np.concatenate(aside), levels) if aside else None,
        len(table),
        (),
    )
    ends = np.cumsum([len(one.rows) for *_, one in looks])
    described = [
        known.described(table[end - len(one.rows) : end], unlike, known.disagreeing(one))
        for (*_, one), end in zip(looks, ends, strict=True)
        for unlike in [float((distances[end - len(one.rows) : end] > known.far).mean())]
    ]
    sizes = []
    for number in sorted({size for size, *_ in looks}):
        own = [at for at, (size, *_) in enumerate(looks) if size == number]
        counts, images = (
            [value(looks[at]) for at in own] for value in (lambda one: len(one[3].rows), lambda one: one[1])
        )
        found = _size(counts, images, [described[at] for at in own], known)
        if found is not None:
            sizes.append(found)
    return replace(known, sizes=tuple(sizes))


def _middle(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre and deviation of windows, and the inverse of the covariance of their standardised figures."""
    centre, deviation = table.mean(0), np.maximum(table.std(0), STEADY)
    inverse = np.linalg.inv(_covariance((table - centre) / deviation, SHRINKAGE))
    return centre, deviation, np.asarray(inverse, float)


def _distance(
    names: Sequence[str],
    table: NDArray[np.float64],
    centre: NDArray[np.float64],
    deviation: NDArray[np.float64],
    inverse: NDArray[np.float64],
) -> NDArray[np.float64]:
    off = (table - centre) / deviation
    off = np.where(off * harmless_sides(names) > 0, 0, off)
    return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", off, inverse, off)))


def _from_others(names: Sequence[str], table: NDArray[np.float64], owners: NDArray[Any]) -> NDArray[np.float64]:
    """Distances of the windows of each image from those of all other images; of an only image, from its own."""
    groups = np.unique(owners)
    if len(groups) == 1:
        return _distance(names, table, *_middle(table))
    found = np.empty(len(table))
    for one in groups:
        found[owners == one] = _distance(names, table[owners == one], *_middle(table[owners != one]))
    return found


def _size(
    windows: Sequence[int], images: Sequence[int], described: Sequence[NDArray[np.float64]], known: Familiar
) -> Size | None:
    """What pieces of one size are like; None where too few are known.

    The threshold comes from the scores of the pieces of each image against the pieces of all others: their quantile
    where there are enough of them for it to be one of them (conformal). Before that it is the bound for one more image
    if each of its values is normal (Student, Bonferroni).
    """
    from scipy.stats import t

    values, owners = np.array(described), np.array(images)
    groups = np.unique(owners)
    if len(groups) < IMAGES or len(values) < PIECES:
        return None
    harmless = harmless_sides(known.described_names)
    scores = np.concatenate(
        [
            [_of_pieces(windows, values[owners != one]).score(piece, harmless) for piece in values[owners == one]]
            for one in groups
        ]
    )
    rank = int(np.ceil((1 - ALARMS) * (len(scores) + 1)))
    one_of_many = t.isf(ALARMS / (2 * values.shape[1]), len(groups) - 1) * np.sqrt(1 + 1 / len(groups))
    threshold = np.sort(scores)[rank - 1] if rank <= len(scores) else one_of_many
    return replace(_of_pieces(windows, values), threshold=float(threshold))


def _of_pieces(windows: Sequence[int], values: NDArray[np.float64]) -> Size:
    centre = values.mean(0)
    deviation = np.sqrt(values.var(0) + STEADY**2)
    count, length = values.shape
    covariance = _covariance((values - centre) / deviation, length / (count + length))
    inverse = np.asarray(np.linalg.inv(covariance), float)
    return Size(int(np.median(windows)), count, centre, deviation, inverse, np.inf)


def _covariance(standard: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """Of standardised values (n, p), drawn towards its diagonal, which is 1."""
    found = (1 - shrinkage) * np.atleast_2d(np.cov(standard.T, bias=True))
    np.fill_diagonal(found, 1)
    return np.asarray(found)


def harmless_sides(names: Sequence[str]) -> NDArray[np.float64]:
    """-1 for what does no harm when there is less of it than in training, 0 for all else."""
    return np.array([HARMLESS.get(base(name), 0) for name in names], float)


def base(name: str) -> str:
    """The figure's name without the number of its channel."""
    return name.rstrip("0123456789").rstrip()


@dataclass(frozen=True)
class Verdict:
    """How much a restoration can be trusted, estimated without ground truth; printing it gives one or two sentences."""

    level: int  # 0: like the training images, 1: partly unlike them, 2: unlike them
    unlike: float  # fraction of windows farther from the training images than 99 % of those
    disagreeing: float | None  # fraction of pixels that disagree more than 99 % of those of images like in training
    score: float | None = None  # in parts of what is usual, see `ALARMS`; above 1 it is called unlike; None: not known
    reasons: tuple[str, ...] = ()  # what sets it apart, the strongest first
    warnings: tuple[str, ...] = field(default=())  # voxel size, intensities: whole sentences
    unknown: str = ""  # why nothing can be said, a whole sentence

    @property
    def words(self) -> str:
        """The level in words."""
        return LEVELS[self.level]

    @property
    def summary(self) -> str:
        """The level with its reasons and what to do, in one line."""
        if self.unknown:
            return self.unknown
        text = f"{self.words[0].upper()}{self.words[1:]}."
        if self.level and self.reasons:
            text = f"{text[:-1]}: it has {', '.join(self.reasons)}."
        return f"{text} {ADVICE[self.level]}".rstrip()

    def __str__(self) -> str:
        return " ".join([self.summary, *self.warnings])


def verdict(
    known: Familiar, rows: Sequence[Mapping[str, float]], disagreeing: float | None, warnings: Sequence[str] = ()
) -> Verdict:
    """The verdict on an image: figures of its windows, and the fraction of its pixels with strong disagreement."""
    table = known.table(rows)
    unlike = known.unlike(table)
    size = _like(known, len(table))
    if size is None:
        unknown = TOO_SMALL if known.sizes else TOO_LITTLE
        return Verdict(0, unlike, disagreeing, None, (), tuple(warnings), unknown)
    names = known.described_names
    off = size.offsets(known.described(table, unlike, disagreeing), harmless_sides(names))
    score = float(np.abs(off).max()) / size.threshold
    level = int(score > 1) + int(score > FAR_BEYOND)
    reasons = _reasons(names, off / size.threshold) if level else ()
    return Verdict(level, unlike, disagreeing, score, reasons, tuple(warnings))


def with_error(found: Verdict, times: float) -> Verdict:
    """The verdict on an image whose expected error is so many `times` the largest of the training images.

    Also where nothing else can be said of the image.
    """
    level = int(times > HARM) + int(times > FAR_BEYOND * HARM)
    if not level:
        return found
    reason = f"an expected error {times:.1f} times that of any training image"
    reasons = (reason, *found.reasons) if level > found.level else (*found.reasons, reason)
    return replace(found, level=max(level, found.level), reasons=reasons, unknown="")


def _like(known: Familiar, windows: int) -> Size | None:
    """Pieces of about so many windows, or the largest ones that are smaller; None where all are too large."""
    return next((size for size in known.sizes if size.windows <= LIKE_SIZE * windows), None)


def _reasons(names: Sequence[str], off: NDArray[np.float64], most: int = 3) -> tuple[str, ...]:
    """The figures that are off by more than their threshold, which is 1, in words, the strongest first.

    That there are odd parts is said only where no figure says what is odd about them.
    """
    words: list[str] = []
    largest = np.abs(off).max(0)
    ranked = [number for number in np.argsort(-largest) if largest[number] > 1]
    for number in [at for at in ranked if names[at] != "unlike"] or ranked:
        name, side = names[number], off[np.abs(off[:, number]).argmax(), number] > 0
        channel = name.removeprefix(base(name)).strip()
        said = FIGURES[base(name)][int(side)] + (f" in channel {channel}" if channel else "")
        if said not in words:
            words.append(said)
    return tuple(words[:most])
