"""What is measured of an image and its restoration, window by window, to compare it with those of training.

Plain figures: how bright, how noisy, how fine an image is, how the noise is correlated, how large the predicted error.
None needs the ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.tiling import Span, windows

Floats = NDArray[np.float32]
Numbers = NDArray[Any]  # one a window

# What is measured of every channel, and what it means to have less or more of it than in training. Of every window:
FIGURES = {
    "brightness": ("a darker signal", "a brighter signal"),
    "contrast": ("structures of less contrast", "structures of more contrast"),
    "sharpness": ("coarser structures", "finer structures"),
    "curvature": ("blurrier structures", "crisper structures"),
    "scale": ("smaller predicted errors", "larger predicted errors"),
    "scale of contrast": ("smaller errors for its contrast", "hardly any structure above the predicted error"),
    "disagreement": ("less disagreement of the networks", "more disagreement of the networks"),
    "offset": ("an input darker than its restoration", "an input brighter than its restoration"),
    "noise": ("less noise", "more noise"),
    "residue": ("less structure in what was taken away", "structure in what was taken away"),
    "grain": ("noise of finer grain", "noise of coarser grain (smoothed, resized or binned?)"),
    "input sharpness": ("a smoother input (smoothed, resized or out of focus?)", "a rougher input"),
    "saturation": ("fewer saturated pixels", "more saturated pixels"),
    "blackness": ("fewer pixels clipped to black", "more pixels clipped to black"),
    # of the image as a whole:
    "detail": ("a blurred input (out of focus, or another objective?)", "an input of finer detail (binned?)"),
    "seam": ("fewer seams", "a seam or stripes"),
    "unlike": ("fewer odd parts", "parts that none of the training images have"),
    "disagreeing": ("fewer pixels of disagreement", "pixels on which the networks disagree"),
}
# Of every window, to be summed over the image: products of neighbours of the input, near and further apart. White noise
# adds nothing to either, so that their ratio says how fine the structures are, whatever the noise.
NEAR, FURTHER = ("near", 1), ("further", 3)
MANY = 64  # windows of one tile
PIXELS = 2**18  # of a tile: in so many every fourth of a row says how far members disagree
AT_ONCE = 32  # windows: what is made of them stays in the processor's cache
LINES = 24  # that a tile must have, to see a seam between them
TINY = 1e-4  # of the normalised range: nothing is measured finer


@dataclass(frozen=True, eq=False)
class Look:
    """A patch or tile in windows: their places, the figures of each, and how far members disagree.

    Rows also hold what `of_image` makes figures of the whole from.
    """

    spans: list[Span]
    rows: list[dict[str, float]]
    disagreement: Floats | None  # (C_out, *space), every pixel, second or fourth; None without scales or for one member


def look(given: Floats, means: Floats, scales: Floats | None, window: Sequence[int], every_pixel: bool = False) -> Look:
    """Look at the networks' input (C_in, *space) and the members' answers (M, C_out, *space), normalised.

    To save time only every second pixel of each row and column, or every fourth of many, is asked for disagreement, and
    of many windows only every second one, unless `every_pixel`.
    """
    spans = windows(given.shape[1:], window)
    if len(spans) > MANY and not every_pixel:
        spans = spans[::2]
    mean = laplace.mixture_mean(means)
    scale = disagreement = None
    thin = 1 if every_pixel else 2 if means[0].size < PIXELS else 4
    if scales is not None:
        scale = laplace.mixture_scale(means, scales)
        if len(means) > 1:
            some: Any = (..., slice(None, None, thin), slice(None, None, thin))
            disagreement = laplace.disagreement(means[some], scales[some])
    seams = {f"seam{suffix(channel)}": _seam(image) for channel, image in enumerate(given)}
    rows: list[dict[str, float]] = []
    for some in (spans[at : at + AT_ONCE] for at in range(0, len(spans), AT_ONCE)):
        sparse = None
        if disagreement is not None:
            sparse = _stacked(disagreement, [(*outer, _thinned(y, thin), _thinned(x, thin)) for *outer, y, x in some])
        found = figures(
            _stacked(given, some), _stacked(mean, some), None if scale is None else _stacked(scale, some), sparse
        )
        rows += [dict(zip(found, row, strict=True)) | seams for row in np.array([*found.values()]).T.tolist()]
    return Look(spans, rows, disagreement)


def _stacked(image: Floats, spans: Sequence[Span]) -> Floats:
    """The parts of (C, *space) in windows of one size, (W, C, *size)."""
    return np.stack([image[(slice(None), *span)] for span in spans])


def _thinned(span: slice, thin: int) -> slice:
    """Where a window lies among every `thin`-th pixel."""
    start = span.start // thin
    return slice(start, start + max((span.stop - span.start) // thin, 1))


def counted(shape: Sequence[int], window: Sequence[int]) -> int:
    """How many windows of an image of `shape` are looked at, where it is one tile."""
    count = len(windows(shape, window))
    return count if count <= MANY else -(-count // 2)


def figures(given: Floats, mean: Floats, scale: Floats | None, disagreement: Floats | None) -> dict[str, Numbers]:
    """FIGURES of W windows: the networks' input (W, C_in, *space), and what they make of it (W, C_out, *space),
    normalised.

    Where as many channels go in as come out, noise is what the restoration took away.
    """
    found: dict[str, Numbers] = {}

    def note(name: str, channel: int, values: Any) -> None:
        found[name + suffix(channel)] = np.asarray(values, np.float64)

    for channel in range(mean.shape[1]):
        image = mean[:, channel]
        contrast = _spread(image)
        note("brightness", channel, _level(image))
        note("contrast", channel, np.log(contrast + TINY))
        rough = _roughness(image)
        note("sharpness", channel, np.log((rough + TINY) / (contrast + TINY)))
        note("curvature", channel, np.log((_bends(image) + TINY) / (rough + TINY)))
        if scale is not None:
            level = _level(np.log(scale[:, channel]))
            note("scale", channel, level)
            note("scale of contrast", channel, level - np.log(contrast + TINY))
        if disagreement is not None:
            note("disagreement", channel, _level(np.log(disagreement[:, channel] + 1e-3)))
    for channel in range(given.shape[1]):
        image = given[:, channel]
        if mean.shape[1] == given.shape[1]:
            noise = image - mean[:, channel]
            note("offset", channel, _level(noise))
            spread, apart = _spread(noise), _centred(mean[:, channel])
            note("noise", channel, np.log(spread + TINY))
            note("residue", channel, _product(noise, apart) / (spread * _spread(apart) + TINY**2))
            note("grain", channel, _grain(noise))
        note("input sharpness", channel, np.log((_roughness(image) + TINY) / (_spread(image) + TINY)))
        centred = _centred(image)
        for name, steps in (NEAR, FURTHER):
            note(name, channel, _products(centred, steps))
        flat = image.reshape(len(image), -1)
        note("saturation", channel, np.log(np.mean(flat == flat.max(1, keepdims=True), 1) + 1e-3))
        note("blackness", channel, np.log(np.mean(flat == flat.min(1, keepdims=True), 1) + 1e-3))
    return found


def of_image(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Figures of an image as a whole, from the rows of all its windows; those that they do not tell are left out."""
    found = {}
    for name in rows[0] if rows else ():
        channel = name.removeprefix(base(name))
        if base(name) == NEAR[0]:
            near, further = (float(np.mean([row[kind + channel] for row in rows])) for kind, _ in (NEAR, FURTHER))
            found["detail" + channel] = float(np.log((max(near, 0) + TINY**2) / (max(further, 0) + TINY**2)))
        elif base(name) == "seam":
            found[name] = float(np.log(max(row[name] for row in rows)))
    return found


def of_windows(row: Mapping[str, float]) -> tuple[str, ...]:
    """The names of a row's figures that say something of a window by itself."""
    return tuple(name for name in row if base(name) not in (NEAR[0], FURTHER[0], "seam"))


def base(name: str) -> str:
    """The figure's name without the number of its channel."""
    return name.rstrip("0123456789").rstrip()


def suffix(channel: int) -> str:
    """The number of a channel as figures carry it: nothing for the first."""
    return f" {channel}" if channel else ""


def _level(images: Floats) -> Numbers:
    """The mean of each of (W, *size)."""
    levels: Numbers = images.reshape(len(images), -1).mean(1)
    return levels


def _spread(images: Floats) -> Numbers:
    """The standard deviation of each of (W, *size)."""
    centred = _centred(images)
    return np.sqrt(_product(centred, centred))


def _centred(images: Floats) -> Floats:
    """Each of (W, *size) less its mean."""
    centred: Floats = images - _level(images).reshape(-1, *[1] * (images.ndim - 1))
    return centred


def _product(one: Floats, other: Floats) -> Numbers:
    """Mean of the product of all pixels, for each of (W, *size), faster than by a product of images."""
    one, other = one.reshape(len(one), 1, -1), other.reshape(len(other), -1, 1)
    return (one @ other)[:, 0, 0] / one.shape[-1]


def _products(apart: Floats, steps: int) -> Numbers:
    """Mean product of pixels that are so many `steps` apart in a plane, for each of (W, *size); their mean is 0."""
    both = (apart[..., steps:, :], apart[..., :-steps, :]), (apart[..., steps:], apart[..., :-steps])
    return _mean_of([_product(*pair) for pair in both if pair[0].size], apart)


def _mean_of(values: list[Numbers], images: Floats) -> Numbers:
    """Of all directions in which the images are long enough; 0 where there is none."""
    return np.mean(values, 0) if values else np.zeros(len(images))


def _seam(image: Floats) -> float:
    """The largest step between neighbouring rows or columns, as means over them, in parts of the usual one."""
    largest = 1.0
    for axis in (-2, -1):
        if image.shape[axis] < LINES:
            continue
        steps = np.diff(image.mean(axis=tuple(other for other in range(image.ndim) if other != image.ndim + axis)))
        steps = np.abs(steps - np.median(steps))
        largest = max(largest, float(steps.max() / (np.median(steps) + TINY**2)))
    return largest


def _roughness(images: Floats, order: int = 1) -> Numbers:
    """Root mean square of the steps between neighbours in a plane, for each of (W, *size)."""
    steps = [_product(step, step) for axis in (-2, -1) if (step := np.diff(images, order, axis=axis)).size]
    rough: Numbers = np.sqrt(_mean_of(steps, images))
    return rough


def _bends(images: Floats) -> Numbers:
    """Root mean square of how much the steps between neighbours change."""
    return _roughness(images, 2)


def _grain(noise: Floats) -> Numbers:
    """Correlation of neighbours in a plane: 0 for noise of a camera, towards 1 when pixels were smoothed."""
    noise = _centred(noise)
    return _products(noise, 1) / (_product(noise, noise) + TINY**2)
