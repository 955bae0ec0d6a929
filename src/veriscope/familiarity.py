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
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from veriscope import notebook
from veriscope.changes import Changes, Usual
from veriscope.looking import FIGURES, Look, base, of_image, of_windows
from veriscope.textures import NAME, Piece, Texture, textures

RARE = 0.99  # of training: beyond are the 1 % of windows, and of pixels, that are least like the others
SHRINKAGE = 0.02  # of the covariance towards its diagonal, which keeps it regular
STEADY = 0.05  # the least deviation of a figure, for those that are nearly the same in all windows of training
FEW = 0.02  # windows that are unlike count little up to this fraction
ALIKE = ("curvature", "residue", "detail")  # figures that images of one kind share to a few percent
ALIKE_STEADY = 0.02  # the least deviation of these between images
LEAST = 16  # windows, to say what training images look like

ALARMS = 0.02  # fraction of images like those of training that are to be called unlike them,
CHANGED = 0.4  # and the part of these that is for images changed in a known way; figures and textures share the rest
HARM = 1.5  # times the largest error of the training images: a restoration that is to be looked at
FAR_BEYOND = 1.5  # times the threshold: not partly, but wholly unlike
IMAGES, PIECES = 3, 6  # of one size that must be known, to say how much such images differ from each other
MOST_REASONS = 3  # that are said
LIKE_SIZE = 1.5  # ratio of windows up to which an image is compared with larger crops
SPREAD = ("scale", "contrast", "sharpness", "input sharpness")  # whose distribution over an image is looked at
HARMLESS = dict.fromkeys(
    ("saturation", "blackness", "unlike", "disagreeing", "disagreement", "seam"), -1
)  # to have less of
Rows = Sequence[Mapping[str, float]]  # figures of windows
LEVELS = ("like the training images", "partly unlike the training images", "unlike the training images")
ADVICE = ("", "Check it before you rely on it.", "Do not rely on this restoration.")
TOO_SMALL = "Too small to say whether it is like the training images."
TOO_LITTLE = "Whether it is like the training images cannot be said: this model knows too few of them."


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
    whole: tuple[str, ...]  # figures of the image as a whole
    sizes: tuple[Size, ...]  # of pieces, the largest first
    textures: tuple[Texture, ...] = ()  # the same
    changes: Changes | None = None

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
            whole=tuple(stored.get("whole", ())),
            sizes=tuple(Size.from_json(one) for one in stored["sizes"]),
            textures=tuple(Texture.from_json(one) for one in stored.get("textures", ())),
            changes=Changes.from_json(stored["changes"]) if stored.get("changes") else None,
            **arrays,
        )

    def described(
        self, rows: Sequence[Mapping[str, float]], unlike: float, disagreeing: float | None
    ) -> NDArray[np.float64]:
        """One piece by its windows' figures, in the order of `described_names`: their means, how they are spread over
        the piece, sharpness where there is contrast, the fractions that are `unlike` and that disagree strongly, and
        figures of the piece as a whole.
        """
        table = self.table(rows)
        weight = np.exp(table[:, self.names.index("contrast")])
        values = [table.mean(0), [weight @ table[:, self.names.index("sharpness")] / weight.sum()]]
        spread = [table[:, self.names.index(name)] for name in SPREAD if name in self.names]
        values += [np.quantile(column, (0.1, 0.9)) for column in spread]
        values.append([np.log(unlike + FEW), np.log((disagreeing or 0.0) + 0.003)])
        whole = of_image(rows)
        values.append([whole[name] for name in self.whole])
        return np.concatenate(values)

    @property
    def described_names(self) -> tuple[str, ...]:
        spread = [name for name in SPREAD if name in self.names for _ in range(2)]
        return (*self.names, "sharpness", *spread, "unlike", "disagreeing", *self.whole)


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


def familiar(
    window: Sequence[int],
    looks: Sequence[tuple[int, int, bool, Look]],
    pieces: Sequence[Piece] = (),
    changes: Changes | None = None,
) -> Familiar | None:
    """What training images look like, from pieces of them: number of the size (0 the largest), number of the image,
    whether it was trained on, and the look; from `pieces` that filters have answered; and from `changes` of them. None
    for fewer than LEAST windows.
    """
    rows = [row for *_, one in looks for row in one.rows]
    if len(rows) < LEAST:
        return None
    names = of_windows(rows[0])
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
        tuple(of_image(rows)),
        (),
        changes=changes,
    )
    ends = np.cumsum([len(one.rows) for *_, one in looks])
    values = [
        known.described(one.rows, unlike, known.disagreeing(one))
        for (*_, one), end in zip(looks, ends, strict=True)
        for unlike in [float((distances[end - len(one.rows) : end] > known.far).mean())]
    ]
    alarms = (ALARMS if changes is None else (1 - CHANGED) * ALARMS) / 2
    known = replace(known, textures=textures(pieces, alarms))
    alarms *= 1 if known.textures else 2  # of the figures alone
    sizes = []
    for number in sorted({size for size, *_ in looks}):
        own = [at for at, (size, *_) in enumerate(looks) if size == number]
        counts, images = (
            [value(looks[at]) for at in own] for value in (lambda one: len(one[3].rows), lambda one: one[1])
        )
        found = _size(counts, images, [values[at] for at in own], known, alarms)
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
    windows: Sequence[int], images: Sequence[int], pieces: Sequence[NDArray[np.float64]], known: Familiar, alarms: float
) -> Size | None:
    """What pieces of one size are like; None where too few are known.

    The threshold comes from the scores of the pieces of each image against the pieces of all others: their quantile
    where there are enough of them for it to be one of them (conformal). Before that it is the bound for one more image
    if each of its values is normal (Student, Bonferroni).
    """
    from scipy.stats import t

    values, owners = np.array(pieces), np.array(images)
    groups = np.unique(owners)
    if len(groups) < IMAGES or len(values) < PIECES:
        return None
    names = known.described_names
    harmless = harmless_sides(names)
    scores = np.concatenate(
        [
            [
                _of_pieces(windows, values[owners != one], names).score(piece, harmless)
                for piece in values[owners == one]
            ]
            for one in groups
        ]
    )
    rank = int(np.ceil((1 - alarms) * (len(scores) + 1)))
    one_of_many = t.isf(alarms / (2 * values.shape[1]), len(groups) - 1) * np.sqrt(1 + 1 / len(groups))
    threshold = np.sort(scores)[rank - 1] if rank <= len(scores) else one_of_many
    return replace(_of_pieces(windows, values, names), threshold=float(threshold))


def _of_pieces(windows: Sequence[int], values: NDArray[np.float64], names: Sequence[str]) -> Size:
    centre = values.mean(0)
    one_window = np.log1p(1 / (FEW * np.median(windows)))  # more or less of them that are unlike is chance
    floors = {"unlike": one_window, **dict.fromkeys(ALIKE, ALIKE_STEADY)}
    least = np.array([floors.get(base(name), STEADY) for name in names])
    deviation = np.sqrt(values.var(0) + np.square(least))
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

    def _repr_html_(self) -> str:
        return notebook.words([self.summary, *self.warnings], None if self.unknown else self.level)


def verdict(
    known: Familiar,
    rows: Sequence[Mapping[str, float]],
    disagreeing: float | None,
    warnings: Sequence[str] = (),
    answers: NDArray[np.float64] | None = None,
) -> Verdict:
    """The verdict on an image: figures of its windows, the fraction of its pixels with strong disagreement, and what
    filters answered in its patches.
    """
    table = known.table(rows)
    unlike = known.unlike(table)
    size = _like(known.sizes, len(table))
    texture = None if answers is None else _like(known.textures, len(table))
    beyond = 0.0 if texture is None or answers is None else texture.beyond(answers) / texture.threshold
    if size is None:
        unknown = TOO_SMALL if known.sizes else TOO_LITTLE
        return Verdict(0, unlike, disagreeing, None, (), tuple(warnings), unknown)
    names = known.described_names
    off = size.offsets(known.described(rows, unlike, disagreeing), harmless_sides(names))
    score = max(float(np.abs(off).max()) / size.threshold, beyond)
    reasons = _reasons(names, off / size.threshold)
    if beyond > 1:
        reasons = (*reasons[: MOST_REASONS - 1], NAME)
    usual = None if known.changes is None or answers is None else _like(known.changes.sizes, len(table))
    if known.changes is not None and answers is not None and usual is not None:
        scores = known.changes.scores(answers, usual)
        said = sorted((name for name, one in scores.items() if one > 1), key=lambda name: -scores[name])
        most = max(scores.values())
        first, then = (said, reasons) if most > score else (reasons[: max(MOST_REASONS - len(said), 1)], said)
        reasons = (*first, *then)[:MOST_REASONS]
        score = max(score, most)
    level = int(score > 1) + int(score > FAR_BEYOND)
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


_Kind = TypeVar("_Kind", Size, Texture, Usual)


def _like(sizes: Sequence[_Kind], windows: int) -> _Kind | None:
    """Pieces of about so many windows, or the largest ones that are smaller; None where all are too large."""
    return next((size for size in sizes if size.windows <= LIKE_SIZE * windows), None)


def _reasons(names: Sequence[str], off: NDArray[np.float64]) -> tuple[str, ...]:
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
    return tuple(words[:MOST_REASONS])
