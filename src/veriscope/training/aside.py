"""After training: images and crops of them, restored as a user would restore them, say how far to trust later ones.

Those kept aside say how often predictions come true; with those trained on beside them there are enough to know what
such images look like.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope import calibrated, changes, expected, laplace
from veriscope.calibrated import Calibration, Level, Sample
from veriscope.changes import Changes, Values
from veriscope.familiarity import ALARMS, CHANGED, familiar
from veriscope.judging.calibration import EPS, reliability_of
from veriscope.looking import counted, look
from veriscope.networks.filters import Filters, filters_of
from veriscope.networks.model import Ensemble
from veriscope.networks.network import by_onednn
from veriscope.noise import noise_and_contrast
from veriscope.patches.patches import Field
from veriscope.patches.scaling import FIXED_PERCENTILES
from veriscope.textures import Piece
from veriscope.tiling import Span, windows
from veriscope.training import axial
from veriscope.training.noisy import as_if_restored
from veriscope.training.setup import Source

Block = NDArray[np.float32]

LARGEST = 2**19  # voxels of a piece, about: what is restored at once
SMALLEST = 24  # pixels along Y or X of a piece
COUNTS = 1, 2, 4  # pieces of each size from an image
PIECES, TEXTURES, CHANGING = 0.65, 0.15, 0.2  # parts of the time: for images and crops, textures, changed images
SECTIONS = TEXTURES + CHANGING  # the same for sections of stacks, of which neither is asked
WHOLE = 0.75  # of the time and voxels of PIECES is for images as a whole and their crops, the rest for crops of others
MANY = 64  # images whose textures are looked at, at most
CROPS = 6  # of each size of such an image, the first of all images before the second of any
PIXELS = 2**16  # of a piece and channel, whose predictions are held against the truth
WINDOW = 2**12  # pixels of a window, at most
ENOUGH = 4  # images, to compare predictions with the truth on the largest pieces only
TURNS = 3  # in which images are changed, each time from another side,
PHOTOGRAPHED = 96  # until there are so many
TINY = 1e-6  # of the normalised range


@dataclass(frozen=True, eq=False)
class Seen:
    """One piece of an image: what the networks were given and should have made of it, (channels, *space), and did.

    Of stacks that are projected `given` is the maximum along Z.
    """

    given: Block
    high: Block
    means: Block  # (M, channels_out, *space)
    scales: Block | None
    texture: NDArray[np.float64]  # (C_in, 2), see `noise`; NaN where it says nothing of what is restored
    size: int = 0  # 0 for the largest pieces, 1 for the next, ...
    image: int = 0
    trained_on: bool = False
    first: Seen | None = None  # of noisy images: as they are, where this is what was restored under noise again


def measured(
    ensemble: Ensemble, check: Source, patches: Source | None, voxels: int, seconds: float | None = None
) -> dict[str, Any]:
    """What images and crops of them say of a trained ensemble, for its facts: about `voxels` of them, for `seconds`.

    `check` was kept aside in training, `patches` were learned from.

    "calibration": `Calibration.to_json` with the expected calibration errors before and after; "expected":
    `Expectation.to_json`; both None where there are too few pixels to know better than the networks; "familiar":
    `Familiar.to_json`, or None where there are too few windows to know what such images look like.
    """
    ensemble, window = _quick(ensemble), window_of(check.shape)
    aside, learned = _fields(check), [] if patches is None else _fields(patches)
    smallest = 0 if len(aside) + len(learned) >= ENOUGH else len(COUNTS)  # pieces that predictions are compared for
    channels: list[list[Sample]] = [[] for _ in range(ensemble.recipe.channels_out)]
    looks, spans, errors, trained = [], [], [], []
    crops: list[tuple[int, list[tuple[Sample, float]]]] = []  # pixels, and of each channel the sample and its range
    sections = getattr(check, "sections", None) if ensemble.recipe.probabilistic else None
    apart = []  # members, on whole images kept aside
    for seen in _pieces(ensemble, aside, learned, voxels, seconds):
        own = seen.first or seen
        looks.append((seen.size, seen.image, seen.trained_on, look(own.given, own.means, own.scales, window)))
        if seen.scales is None:
            continue
        ranges = [_range(laplace.mixture_mean(seen.means[:, channel])) for channel in range(len(channels))]
        pairs = [_sample(seen, channel, window) for channel in range(len(channels))]
        crops.append((prod(seen.high.shape[1:]), [(one, span) for (one, _), span in zip(pairs, ranges, strict=True)]))
        if sections is not None and seen.size == 0 and not seen.trained_on:
            apart.append(axial.spread_of(seen.means, seen.scales))
        if seen.size > smallest:
            continue
        spans += ranges
        for samples, (one, error) in zip(channels, pairs, strict=True):
            samples.append(one)
            errors.append(error)
            trained.append(seen.trained_on)
    if sections is not None:
        device = next(ensemble.members[0].parameters()).device
        budget = None if seconds is None else SECTIONS * seconds
        there = axial.look_at(sections(), lambda image: _answers(ensemble, image, device), window, budget)
        beyond = len(aside) + len(learned)  # what restoring sees later is no degraded plane
        looks += [(0, beyond + number, True, one) for number, one in enumerate(there.looks)]
    pieces = _textures(ensemble, aside, learned, window, seconds)
    known = familiar(
        window,
        looks,
        pieces,
        _changes(ensemble, aside, learned, pieces, seconds),
    )
    facts: dict[str, Any] = {"familiar": None if known is None else known.to_json()}
    if not ensemble.recipe.probabilistic:
        return facts
    right = calibrated.fit(channels)
    if right is None:
        return facts | {"calibration": None, "expected": None}
    if any(field.noisy for field in aside):  # nothing can be guaranteed that was not compared with a truth
        right = right.unguaranteed()
    each = [pair for of_piece in zip(*channels, strict=True) for pair in zip(of_piece, right.levels, strict=True)]
    predicted = [_predicted(right, level, one, span) for span, (one, level) in zip(spans, each, strict=True)]
    expectation = expected.fit(predicted, errors, trained)
    of_crops = [
        (
            pixels,
            float(np.mean([_predicted(right, level, *pair) for pair, level in zip(one, right.levels, strict=True)])),
        )
        for pixels, one in crops
    ]
    expectation = expectation.with_crops(of_crops)
    ece = _errors(right, channels)
    if sections is not None and apart and len(ensemble) > 1:
        right, less = axial.narrowed(axial.widened(right, apart, there), there)
        # a reserve: few bright structures make most of an NRMSE, and are harder than the networks know
        expectation = replace(expectation, log_ratio=expectation.log_ratio + less)
    return facts | {"calibration": {**right.to_json(), "ece": ece}, "expected": expectation.to_json()}


def _quick(ensemble: Ensemble) -> Ensemble:
    """The same networks as they restore: on a processor with the convolutions that are fastest there."""
    members = deepcopy(ensemble.members)
    for member in members:
        if next(member.parameters()).device.type == "cpu":
            by_onednn(member)
    return replace(ensemble, members=members)


def _predicted(right: Calibration, level: Level, one: Sample, span: float) -> float:
    """The NRMSE that the calibrated distributions of a piece predict; `span` is the range that it is a part of."""
    rms = right.root_mean_square(one.means, one.scales, level.factor(one.scale, one.texture))
    return float(np.sqrt(np.square(rms, dtype=np.float64).mean())) / span


def window_of(shape: Sequence[int]) -> tuple[int, ...]:
    """A window of half the `shape` of a patch, or a quarter of it, ... until it is small."""
    window = tuple(-(-size // 2) for size in shape)
    while prod(window) > WINDOW:
        window = tuple(-(-size // 2) for size in window)
    return window


def _pieces(
    ensemble: Ensemble, aside: Sequence[Field], learned: Sequence[Field], voxels: int, seconds: float | None
) -> Iterator[Seen]:
    """Images kept aside, then images trained on, each as a whole (or what of it fits) and in smaller and smaller crops.

    Every piece is normalised by its own percentiles and restored on its own, as if a user had just that. The last
    part of the time goes to crops alone, of as many further images as it allows: the more, the sharper the verdicts.
    """
    began, done = time.monotonic(), 0
    device = next(ensemble.members[0].parameters()).device
    seconds = None if seconds is None else PIECES * seconds
    rng = np.random.default_rng(0)
    for count, (number, one) in enumerate(_mixed(aside, learned)):
        whole = done <= voxels and not (seconds is not None and time.monotonic() - began > WHOLE * seconds)
        for size, span in _spans(one.shape, one.depth, ensemble.recipe.step, rng):
            late = seconds is not None and time.monotonic() - began > seconds
            if count and (late or done > voxels / WHOLE):
                return
            if count and size == 0 and not whole:
                continue
            done += one.depth * prod(part.stop - part.start for part in span)
            seen = _restored(ensemble, one, span, device)
            if seen is not None:
                yield replace(seen, size=size, image=number, trained_on=number >= len(aside))


def _mixed(aside: Sequence[Field], learned: Sequence[Field]) -> list[tuple[int, Field]]:
    """All images with their numbers, those kept aside first; both in no order: the first ones stand for all kinds."""
    rng, fields = np.random.default_rng(0), [*aside, *learned]
    order = [*rng.permutation(len(aside)).tolist(), *(len(aside) + rng.permutation(len(learned))).tolist()]
    return [(number, fields[number]) for number in order]


def _spans(
    shape: Sequence[int], depth: int, step: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[int, Span]]:
    """Crops of an image of `shape`, with the number of their size: COUNTS of each, each size a quarter of the last."""
    size = [max(length // n * n, min(n, length)) for length, n in zip(shape, step, strict=True)]
    for number, count in enumerate(COUNTS):
        while number == 0 and depth * prod(size) > LARGEST and max(size) > SMALLEST:
            _halve(size, step)
        for _ in range(count):
            starts = [int(rng.integers(length - part + 1)) for length, part in zip(shape, size, strict=True)]
            yield number, tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
        for _ in range(2):
            if max(size[-2:]) < 2 * SMALLEST:
                return
            _halve(size, step)


def _halve(size: list[int], step: Sequence[int]) -> None:
    """Halve the longer of Y and X, in whole steps of the network."""
    axis = len(size) - (1 if size[-1] >= size[-2] else 2)
    size[axis] = max(size[axis] // (2 * step[axis]), 1) * step[axis]


def _textures(
    ensemble: Ensemble, aside: Sequence[Field], learned: Sequence[Field], window: Sequence[int], seconds: float | None
) -> list[Piece]:
    """What a network's filters answer on images and crops of them, of many more than there is time to restore: the more
    images, the better is known how far off one may be.
    """
    filters = _filters(ensemble)
    if filters is None:
        return []
    began = time.monotonic()
    found: list[Piece] = []
    rng, some = np.random.default_rng(1), _mixed(aside, learned)[:MANY]
    for turn in range(CROPS):
        for number, field in some:
            spans = dict(_spans(field.shape, field.depth, ensemble.recipe.step, rng))  # the last of each size
            for size, span in list(spans.items())[turn > 0 :]:  # whole images once
                if seconds is not None and time.monotonic() - began > TEXTURES * seconds:
                    return found
                given = _normalized(ensemble, field, span)
                if given is not None:
                    windows_seen = counted(given[0].shape[1:], window)
                    found.append(Piece(size, number, windows_seen, filters(given[0]), filters.first))
    return found


def _filters(ensemble: Ensemble) -> Filters | None:
    """None where restoring shows them something else than training: surfaces of stacks, or axial sections, which are
    noisier than the degraded planes that stand for them.
    """
    if ensemble.recipe.projects or ensemble.recipe.isotropic:
        return None
    return filters_of(ensemble.members, ensemble.recipe.patch)


def _changes(
    ensemble: Ensemble,
    aside: Sequence[Field],
    learned: Sequence[Field],
    pieces: Sequence[Piece],
    seconds: float | None,
) -> Changes | None:
    """What it does to what the filters answer when images are taken out of focus, at another magnification, ..."""
    filters = _filters(ensemble)
    if filters is None:
        return None
    began, rng = time.monotonic(), np.random.default_rng(2)
    usual: dict[int, list[Values]] = {}
    shifts: dict[str, list[Values]] = {name: [] for name in changes.WAYS}
    for turn, (number, field) in [*product(range(TURNS), _mixed(aside, learned)[:MANY])][:PHOTOGRAPHED]:
        if seconds is not None and time.monotonic() - began > CHANGING * seconds:
            break
        if not field.alike or field.noisy:
            continue
        pair = _normalized(ensemble, field, next(_spans(field.shape, field.depth, ensemble.recipe.step, rng))[1])
        if pair is None or pair[0].shape != pair[1].shape:
            continue
        low, high = (_turned(one, turn) for one in pair)
        usual.setdefault(number, []).append(changes.described(filters(low)))
        taken = {name: _renormalized(one, one) for name, one in changes.photographs(low, high, rng)}
        seen = {name: changes.described(filters(one[0])) for name, one in taken.items() if one is not None}
        for name in shifts:
            if "" in seen and name in seen:
                shifts[name].append(seen[name] - seen[""])
    views = {number: np.array(one) for number, one in usual.items()}
    return changes.fit(views, shifts, pieces, CHANGED * ALARMS)


def _turned(image: Block, turn: int) -> Block:
    """As it is, or mirrored along Y or X."""
    return image if turn == 0 else np.ascontiguousarray(np.flip(image, -turn))


def _normalized(ensemble: Ensemble, field: Field, span: Span) -> tuple[Block, Block] | None:
    """A crop as a user would have it normalised who has just that, and its truth; None for one without contrast."""
    low, high = field.read(span)
    if not field.alike:
        return low, high
    return _renormalized(low, high, len(low) == len(high) and not ensemble.recipe.projects)


def _renormalized(low: Block, high: Block, alike: bool = False) -> tuple[Block, Block] | None:
    """An image by its own percentiles, its truth too where they are `alike`; None for one without contrast."""
    bottom, top = np.percentile(low.reshape(len(low), -1), FIXED_PERCENTILES, axis=1)
    if not (top - bottom > TINY).all():
        return None
    return _rescaled(low, bottom, top), _rescaled(high, bottom, top) if alike else high


def _restored(ensemble: Ensemble, field: Field, span: Span, device: torch.device) -> Seen | None:
    """One piece, without its numbers; None for one without contrast, which nobody can restore."""
    pair = _normalized(ensemble, field, span)
    if pair is None:
        return None
    low, high = pair
    seen = _predicted_of(ensemble, field, low, high, device)
    if not field.noisy:
        return seen
    truth = laplace.mixture_mean(seen.means)
    again = as_if_restored(low, high, truth, np.random.default_rng(low.size))
    return replace(_predicted_of(ensemble, field, again, truth, device), texture=seen.texture, first=seen)


def _predicted_of(ensemble: Ensemble, field: Field, low: Block, high: Block, device: torch.device) -> Seen:
    texture = noise_and_contrast(lambda where: _part(low, where), high.shape[1:])
    return Seen(
        low.max(axis=1) if ensemble.recipe.projects else low,
        high,
        *_answers(ensemble, low, device),
        texture if field.alike else np.full((len(low), 2), np.nan),
    )


def _answers(ensemble: Ensemble, low: Block, device: torch.device) -> tuple[Block, Block | None]:
    """Means and scales (M, channels_out, *space) of an image that need not be as long as networks take."""
    step = ensemble.recipe.step
    lengths = low.shape[-len(step) :]
    beyond: list[tuple[int, int]] = [(0, -length % n) for length, n in zip(lengths, step, strict=True)]
    padded = np.pad(low, [(0, 0)] * (low.ndim - len(beyond)) + beyond, mode="reflect")
    means, scales = ensemble.predict(torch.from_numpy(padded).to(device)[None])
    inner: Any = (..., *(slice(0, length) for length in lengths))
    return means[:, 0].cpu().numpy()[inner], None if scales is None else scales[:, 0].cpu().numpy()[inner]


def _part(block: Block, span: Span) -> Block:
    place: Any = (..., *span)
    return np.asarray(block[place])


def _rescaled(values: Block, bottom: NDArray[Any], top: NDArray[Any]) -> Block:
    across = (-1, *(1 for _ in values.shape[1:]))
    return np.asarray((values - bottom.reshape(across)) / (top - bottom).reshape(across), np.float32)


def _fields(source: Source) -> list[Field]:
    """The images of a source as a whole, or its patches where it has nothing else."""
    whole = getattr(source, "fields", None)
    if whole is not None:
        return list(whole())

    flat = getattr(source, "axes_out", source.axes) != source.axes
    depth = int(getattr(source, "low_shape", (1,))[0]) if flat else 1

    def patch(number: int) -> Field:
        def read(span: Span) -> tuple[Block, Block]:
            low, high = (one[0] for one in source.check_batch([number]))
            return _part(low, span), _part(high, span)

        return Field(tuple(source.shape), read, depth, alike=False)

    return [patch(number) for number in range(len(source))]


def _sample(seen: Seen, channel: int, window: Sequence[int]) -> tuple[Sample, float]:
    """Some pixels of a piece, spread evenly over it, and the piece's NRMSE; truth and restoration matched as for it."""
    assert seen.scales is not None
    both = laplace.mixture_mean(seen.means)[channel], seen.high[channel]
    mean, truth = (one.ravel().astype(np.float64) for one in both)
    slope, offset = _line(mean, truth)
    error = float(np.sqrt(np.square(truth - slope * mean - offset).mean())) / _range(truth)
    labels = np.zeros(seen.high.shape[1:], np.intp)
    for number, span in enumerate(windows(labels.shape, window)):
        labels[span] = number
    some = np.random.default_rng(seen.size).permutation(truth.size)[:PIXELS]
    matched = (truth[some] - offset) / (slope if slope > 0 else 1.0)
    means, scales = (one[:, channel].reshape(len(one), -1)[:, some] for one in (seen.means, seen.scales))
    texture = seen.texture[min(channel, len(seen.texture) - 1)]
    sample = Sample(
        means, scales, matched.astype(np.float32), labels.ravel()[some], texture, seen.image, seen.trained_on
    )
    return sample, error


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of y along x by least squares; a slope of 0 where x is constant."""
    spread = float(np.square(x - x.mean()).mean())
    slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())


def _range(values: NDArray[Any]) -> float:
    low, high = np.percentile(values, expected.RANGE)
    return max(float(high - low), 1e-3)


def _errors(right: Calibration, channels: Sequence[Sequence[Sample]]) -> dict[str, list[float]]:
    """Expected calibration errors (3.18) as predicted and put right, on images kept aside; means over channels."""
    found: dict[str, list[float]] = {}
    for eps in EPS:
        pairs = []
        for samples, level in zip(channels, right.levels, strict=True):
            own = [one for one in samples if not one.trained_on] or list(samples)
            true = np.concatenate([one.error <= eps for one in own])
            said = [laplace.interval_probability(one.means, one.scales, eps) for one in own]
            put = [right.probability(o.means, o.scales, level.factor(o.scale, o.texture), eps) for o in own]
            pairs.append([reliability_of(np.concatenate(each), true, eps).ece for each in (said, put)])
        found[f"{eps:g}"] = np.mean(pairs, axis=0).tolist()
    return found
