"""Judge a model on pairs it has not seen: how close it comes to the truth, and whether its uncertainty is right."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any, TypeAlias, Unpack

import numpy as np

from veriscope import axes as axes_of
from veriscope import notebook
from veriscope.calibrated import Calibration
from veriscope.comparing.facts import facts_of, facts_of_pairs, versions
from veriscope.comparing.picture import INPUT, INPUTS, INTERPOLATED, MAXIMUM, Picture, busiest_plane, one_plane, picture
from veriscope.errors import DataError, ModelError, VeriscopeWarning
from veriscope.expected import Expected, mean_of
from veriscope.familiarity import LEVELS, Verdict
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging import quality
from veriscope.judging.trust import EXPLAINED, Trust, measure, pool
from veriscope.networks.model import Ensemble
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.scaling import Choice
from veriscope.restoring.settings import Machine
from veriscope.tables import Column, Table, plain

Other: TypeAlias = Callable[[Pair], Image] | Sequence[Image]

RESTORATION = "restoration"
BAND = 0.9
FIGURES = ("nrmse", "psnr", "ssim")


class Settings(Machine, total=False):
    """How images are restored to be judged; see `restore`."""

    normalize: Choice
    calibrated: bool


@dataclass(frozen=True)
class Score:
    """One image by one method, in one channel; time points averaged."""

    image: str
    method: str
    nrmse: float
    psnr: float  # dB
    ssim: float
    coverage: float | None = None  # fraction of pixels whose truth lies in the 90 % band, where there is one
    channel: int | None = None  # None where the truth has one channel only
    expected: Expected | None = None  # error estimated without the truth, all channels together


@dataclass(frozen=True, eq=False)
class Judgement:
    """All figures, pictures of the first images, and what is needed to repeat it. Printing it gives a table."""

    rows: tuple[Score, ...]
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    history: tuple[dict[str, Any], ...] = field(default=(), repr=False)  # of the training, by round and member
    facts: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    settings: str = quality.SETTINGS
    trust: Trust | None = field(default=None, repr=False)  # over all images and channels; None without scales
    verdicts: dict[str, Verdict] = field(default_factory=dict, repr=False)  # by image, estimated without its truth
    plane: Restoration | None = field(default=None, repr=False)  # of the first image, in grey values, if asked for

    @property
    def methods(self) -> tuple[str, ...]:
        """What was compared, in order."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    @property
    def input(self) -> Score | None:
        """The mean row of what the networks were given; None where it cannot be compared with the truth."""
        return next((self._mean(method) for method in self.methods if method in INPUTS), None)

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.image for row in self.rows))

    @property
    def overall(self) -> tuple[Score, ...]:
        """One row per method: the means over images and channels."""
        return tuple(self._mean(method) for method in self.methods)

    def of(self, method: str) -> Score:
        """The mean row of one method, for example ``judgement.of("restoration").nrmse``."""
        if method not in self.methods:
            raise DataError(f"'{method}' was not judged. There are: {', '.join(self.methods)}.")
        return self._mean(method)

    def only(self, images: Collection[str]) -> Judgement:
        """The figures of some of the images, such as those of one condition."""
        return replace(self, rows=tuple(row for row in self.rows if row.image in images), trust=None, verdicts={})

    def _mean(self, method: str) -> Score:
        rows = [row for row in self.rows if row.method == method]
        covered = [row.coverage for row in rows if row.coverage is not None]
        nrmse, psnr, ssim = (float(np.mean([getattr(row, name) for row in rows])) for name in FIGURES)
        coverage = float(np.mean(covered)) if covered else None
        expected = mean_of([row.expected for row in rows if row.expected is not None])
        return Score(f"mean of {len(self.images)}", method, nrmse, psnr, ssim, coverage, None, expected)

    def by_image(self) -> dict[str, list[Score]]:
        """The rows of every image, and of each channel where there are several."""
        groups: dict[str, list[Score]] = {}
        for row in self.rows:
            name = row.image if row.channel is None else f"{row.image}, channel {row.channel}"
            groups.setdefault(name, []).append(row)
        return groups

    def table(self) -> Table:
        """A block of methods for every image, and the means where there is more than one."""
        groups = self.by_image()
        if len(groups) > 1:
            groups[f"mean of {len(self.images)}"] = list(self.overall)
        columns = [Column("image", left=True), Column("method", left=True)]
        columns += [Column("NRMSE", ".4f"), Column("PSNR", ".2f"), Column("SSIM", ".3f")]
        columns.append(Column(f"in {BAND:.0%} band", ".1%", optional=True))
        expected = Column(
            "expected NRMSE", lambda one: f"{one.nrmse:.4f} ({one.low:.4f}-{one.high:.4f})", optional=True
        )
        rows = [
            ("" if number else name, row.method, row.nrmse, row.psnr, row.ssim, row.coverage, row.expected)
            for name, own in groups.items()
            for number, row in enumerate(own)
        ]
        return Table([*columns, expected], rows, missing="", blocks=True)

    def __str__(self) -> str:
        parts = [self.table().text(), textwrap.fill(self.settings, 100)]
        if self.trust is not None:
            parts[1:1] = [str(self.trust), textwrap.fill(EXPLAINED, 100)]
        if self.verdicts:
            parts.insert(-1, "\n".join(self._said))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        return notebook.table(self.table()) + notebook.words([*self._said, self.settings])

    @property
    def _said(self) -> list[str]:
        """What the verdicts say; nothing where there are none."""
        alike = sum(not verdict.level for verdict in self.verdicts.values())
        first = [f"{alike} of {len(self.verdicts)} images are {LEVELS[0]}, judged without ground truth."]
        more = [f"{name}: {one}" for name, one in self.verdicts.items() if one.level or one.warnings]
        return [*first, *more] if self.verdicts else []

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; infinite PSNR becomes None."""
        return {
            "rows": plain(self.rows),
            "overall": plain(self.overall),
            "settings": self.settings,
            "trust": None if self.trust is None else self.trust.to_json(),
            "verdicts": {name: asdict(one) for name, one in self.verdicts.items()},
            "facts": self.facts,
        }


def judge(
    model: Ensemble,
    pairs: Iterable[Pair],
    *,
    others: Mapping[str, Other] | None = None,
    pictures: int = 3,
    keep_plane: bool = False,
    progress: Callable[[int, int], object] | None = None,
    **settings: Unpack[Settings],
) -> Judgement:
    """Restore every low image of `pairs` and compare it with its high image, beside the low image as it is.

    Where the model projects stacks, the maximum of the low image along Z stands beside it.

    `tile`, `memory`, `device`, `precision`, `normalize` and `calibrated` are those of `restore`. `others` adds rows:
    for each name a function of a pair that makes an image, or the images themselves, one per pair, such as the best of
    non-local means. The first `pictures` images are kept for the report. `keep_plane` keeps what is predicted for the
    plane of the first image that its picture shows, whole and in grey values, for `write_movie`.
    `progress(done, total)` hears of every pair. For models that make images finer the low images are on the grid of the
    high ones already: ``read_pairs(..., finer=model.recipe.finer)``.

    >>> judgement = judge(model, pairs, others={"smooth": lambda pair: smoothed(pair.low)})  # doctest: +SKIP
    """
    check_keywords("judge", settings)
    pairs, others = list(pairs), dict(others or {})
    if not pairs:
        raise DataError("There is nothing to judge: no pairs were given. Give at least one low and one high image.")
    for name, other in others.items():
        if name in (*INPUTS, RESTORATION):
            raise DataError(f"'{name}' is the name of what the model is given or makes. Choose another name.")
        if not callable(other) and len(other) != len(pairs):
            raise DataError(
                f"'{name}' has {len(other)} images for {len(pairs)} pairs. Give one image per pair, or a function."
            )
    rows: list[Score] = []
    kept: list[Picture] = []
    trusts: list[Trust] = []
    plane: Restoration | None = None
    verdicts: dict[str, Verdict] = {}
    as_given = INTERPOLATED if model.recipe.finer else INPUT
    for number, pair in enumerate(pairs):
        name = pair.name or f"image {number + 1}"
        check_pair(pair, model.recipe.projects)
        truth = pair.high.flat if model.recipe.projects else pair.high
        inputs = {MAXIMUM: maximum(pair.low)} if model.recipe.projects else {as_given: pair.low}
        # All figures are the same in any unit, so the network's own will do where none is kept.
        undo = keep_plane and number == 0
        restored = restored_in_memory(pair.low, model, undo=undo, **settings)
        if restored.verdict is not None:
            verdicts[name] = restored.verdict
        made = {method: other(pair) if callable(other) else other[number] for method, other in others.items()}
        methods = {**inputs, **made, RESTORATION: restored.mean}
        scores, shown = judge_one(name, truth, methods, restored, pictures - len(kept))
        rows += [replace(row, expected=restored.expected) if row.method == RESTORATION else row for row in scores]
        kept += shown
        trusts += _trusts(truth, restored, len(restored.means) // len(model))
        if undo:
            plane = _shown_plane(truth, restored)
        if progress is not None:
            progress(number + 1, len(pairs))
    judged = facts_of_pairs(pairs, model, settings.get("normalize", "image"))
    judged["scales"] = "calibrated" if settings.get("calibrated", True) else "as predicted"
    return Judgement(
        tuple(rows),
        tuple(kept),
        model.facts.history,
        {**facts_of(model), "Judged": judged, "Versions": versions()},
        trust=pool(trusts) if trusts else None,
        plane=plane,
        verdicts=verdicts,
    )


# -- one image --------------------------------------------------------------------------------------


def judge_one(
    name: str, truth: Image, methods: Mapping[str, Image], restored: Restoration | None, pictures: int
) -> tuple[list[Score], list[Picture]]:
    """Rows of all methods for one image, and pictures of its first time point, one per channel, at most so many."""
    truth = truth.in_memory()
    methods = {  # a network that makes other channels than it reads has an input that cannot be compared
        method: image for method, image in methods.items() if method not in INPUTS or image.size("C") == truth.size("C")
    }
    rows: list[Score] = []
    shown: list[Picture] = []
    channels = truth.size("C")
    for channel in range(channels):
        label = channel if channels > 1 else None
        pairs = {
            method: [pair for c, _, pair in quality.volumes(truth, image) if c == channel]
            for method, image in methods.items()
        }
        for method, own in pairs.items():
            found = quality.mean_quality(own)
            covered = _coverage(truth, restored, channel) if method == RESTORATION else None
            rows.append(Score(name, method, found.nrmse, found.psnr, found.ssim, covered, label))
        if len(shown) < pictures:
            shown.append(
                picture(
                    name if label is None else f"{name}, channel {channel}",
                    {method: own[0][1] for method, own in pairs.items()},
                    next(iter(pairs.values()))[0][0],
                    members_of(truth, restored, channel),
                    {axis: truth.voxel(axis) for axis in "ZYX"},
                    BAND,
                )
            )
    return rows, shown


def restored_in_memory(low: Image, model: Ensemble, **how: Any) -> Restoration:
    """The image restored on the grid of the truth. The verdicts are part of the answer, so nothing warns of them."""
    from veriscope.restoring.restore import restore

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        return restore(low, model.on_grid, lazy=False, **how)


def check_keywords(function: str, given: Mapping[str, Any], known: type = Settings) -> None:
    """Raise TypeError for a keyword that `known` does not have, as Python does."""
    if unknown := sorted(set(given) - set(known.__annotations__)):
        raise TypeError(f"{function}() got an unexpected keyword argument '{unknown[0]}'")


def check_pair(pair: Pair, projects: bool) -> None:
    """Whether the model makes of low what high is."""
    if pair.projects == projects:
        return
    low, high = pair.low.size("Z"), pair.high.size("Z")
    if projects:
        raise ModelError(
            f"This model projects stacks to planes, but pair '{pair.name}' has {low} planes in low and {high} in high. "
            f"Judge it on stacks with one plane for each."
        )
    raise ModelError(
        f"This model does not project stacks to planes, but in pair '{pair.name}' high is one plane for the {low} of "
        f"low. Judge it on images of the same planes."
    )


def maximum(stack: Image) -> Image:
    """The maximum along Z, read plane by plane."""
    planes = [stack.region(Z=z) for z in range(stack.size("Z"))]
    return planes[0].with_array(reduce(np.maximum, map(np.asarray, planes)))


def _shown_plane(truth: Image, restored: Restoration) -> Restoration:
    """What is predicted for the plane that the first picture of this image shows."""
    if "Z" not in truth.axes:
        return one_plane(restored)
    stack = truth.region(**{letter: 0 for letter in truth.axes if letter in "STC"}).moved("ZYX")
    return one_plane(restored, {"Z": busiest_plane(quality.normalize_truth(stack))})


def predictions(truth: Image, restored: Restoration | None, channel: int) -> Iterator[tuple[Any, ...]]:
    """Of one channel, for one time point after the other: truth, restored image (*space), means and scales (M, *space)
    and by how much their distributions are widened; nothing without scales.
    """
    if restored is None or restored.scales is None:
        return
    order = axes_of.canonical("STC" + truth.spatial_axes)  # that of `quality.volumes`
    means, scales = (
        np.stack([axes_of.move(one, restored.axes, order) for one in group])
        for group in (restored.means, restored.scales)
    )
    wide: Any = 1.0
    if restored.widening is not None:
        wide = axes_of.move(np.asarray(restored.widening), restored.axes, order)
    wide = np.broadcast_to(wide, means.shape[1:])
    pairs = (pair for c, _, pair in quality.volumes(truth, restored.mean) if c == channel)
    for place, pair in zip(np.ndindex(*means.shape[1:3]), pairs, strict=True):
        at = (*place, channel)
        yield *pair, means[:, *at], scales[:, *at], wide[at]


def members_of(truth: Image, restored: Restoration | None, channel: int) -> tuple[Any, Any] | None:
    """Means and scales of the first time point, if there are any."""
    first = next(predictions(truth, restored, channel), None)
    return None if first is None else (first[2], first[3])


def _trusts(truth: Image, restored: Restoration, views: int) -> Iterator[Trust]:
    """Of every channel, for one time point after the other; nothing without scales."""
    right = restored.distribution if isinstance(restored.distribution, Calibration) else None
    truth = truth.in_memory()
    for channel in range(truth.size("C")):
        for high, _, means, scales, wide in predictions(truth, restored, channel):
            if (trust := measure(means, scales, high, views, wide, right)) is not None:
                yield trust


def _coverage(truth: Image, restored: Restoration | None, channel: int) -> float | None:
    """Fraction of the truth in the 90 % band once truth and restoration are matched as for the other figures."""
    inside = []
    for high, mean, means, scales, wide in predictions(truth, restored, channel):
        assert restored is not None  # else there is nothing to go through
        y = quality.normalize_truth(high)
        a, b = quality.affine_match(y, np.asarray(mean, np.float64))
        if a == 0:
            return None
        error = np.abs((y - b) / a - mean).astype(np.float32)  # the truth in units of the restoration
        inside.append(np.mean(restored.distribution.half_width(means, scales, wide, BAND) >= error))
    return float(np.mean(inside)) if inside else None
