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
LINES = 24  # that a tile must have, to see a seam between them
TINY = 1e-4  # of the normalised range: nothing is measured finer


@dataclass(frozen=True, eq=False)
class Look:
    """A patch or tile in windows: their places, the figures of each, and how far members disagree.

    Rows also hold what `of_image` makes figures of the whole from.
    """

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
    seams = {f"seam{suffix(channel)}": _seam(image) for channel, image in enumerate(given)}
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
            | seams
        )
    return Look(spans, rows, disagreement)


def counted(shape: Sequence[int], window: Sequence[int]) -> int:
    """How many windows of an image of `shape` are looked at, where it is one tile."""
    count = len(windows(shape, window))
    return count if count <= MANY else -(-count // 2)


def figures(given: Floats, mean: Floats, scale: Floats | None, disagreement: Floats | None) -> dict[str, float]:
    """FIGURES of one window: the networks' input (C_in, *space), and what they make of it (C_out, *space), normalised.

    Where as many channels go in as come out, noise is what the restoration took away.
    """
    found: dict[str, float] = {}

    def note(name: str, channel: int, value: Any) -> None:
        found[name + suffix(channel)] = float(value)

    for channel, image in enumerate(mean):
        contrast = image.std()
        note("brightness", channel, image.mean())
        note("contrast", channel, np.log(contrast + TINY))
        rough = _roughness(image)
        note("sharpness", channel, np.log((rough + TINY) / (contrast + TINY)))
        note("curvature", channel, np.log((_bends(image) + TINY) / (rough + TINY)))
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
            spread, apart = noise.std(), mean[channel] - mean[channel].mean()
            note("noise", channel, np.log(spread + TINY))
            note("residue", channel, (noise * apart).mean() / (spread * apart.std() + TINY**2))
            note("grain", channel, _grain(noise))
        note("input sharpness", channel, np.log((_roughness(image) + TINY) / (image.std() + TINY)))
        for name, steps in (NEAR, FURTHER):
            note(name, channel, _products(image, steps))
        note("saturation", channel, np.log(np.mean(image == image.max()) + 1e-3))
        note("blackness", channel, np.log(np.mean(image == image.min()) + 1e-3))
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


def _products(image: Floats, steps: int) -> float:
    """Mean product of pixels that are so many `steps` apart in a plane, the mean of the window taken off."""
    apart = image - image.mean()
    both = apart[..., steps:, :] * apart[..., :-steps, :], apart[..., steps:] * apart[..., :-steps]
    return float(np.mean([values.mean() for values in both if values.size] or [0.0]))


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


def _roughness(image: Floats) -> float:
    """Root mean square of the steps between neighbours in a plane."""
    steps = [np.square(np.diff(image, axis=axis)).mean() for axis in (-2, -1) if image.shape[axis] > 1]
    return float(np.sqrt(np.mean(steps))) if steps else 0.0


def _bends(image: Floats) -> float:
    """Root mean square of how much the steps between neighbours change."""
    bends = [np.square(np.diff(image, 2, axis=axis)).mean() for axis in (-2, -1) if image.shape[axis] > 2]
    return float(np.sqrt(np.mean(bends))) if bends else 0.0


def _grain(noise: Floats) -> float:
    """Correlation of neighbours in a plane: 0 for noise of a camera, towards 1 when pixels were smoothed."""
    noise = noise - noise.mean()
    variance = np.square(noise).mean() + TINY**2
    both = [(noise[..., 1:, :] * noise[..., :-1, :]), (noise[..., 1:] * noise[..., :-1])]
    return float(np.mean([values.mean() for values in both if values.size] or [0.0]) / variance)
