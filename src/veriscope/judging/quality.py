"""How close a restored image comes to the truth: NRMSE, PSNR and SSIM as the paper compares them (SI 2.2).

Images arrive in arbitrary units (camera counts, network units), so both are brought to one scale first: the truth is
normalised by its own percentiles, and the restored image is shifted and scaled to fit the normalised truth best.
Whatever a brightness and a contrast slider could mend is thus no error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriscope import axes as axes_of
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.wording import lengths

Picture: TypeAlias = Image | ArrayLike
Floats: TypeAlias = NDArray[np.float64]

PERCENTILES = (0.1, 99.9)
WINDOW = 7

SETTINGS = (
    f"The ground truth is normalised by its percentiles {PERCENTILES[0]} and {PERCENTILES[1]} (range 1); the compared "
    "image is matched to it by the scale and offset of least squares. "
    "NRMSE: root mean squared difference. PSNR: -10 log10 of the mean squared difference, in dB. "
    f"SSIM: scikit-image, data range 1, uniform window of {WINDOW} pixels a side (smaller and odd where an axis is "
    "shorter), 3D window for 3D images, K1 = 0.01, K2 = 0.03, sample covariance. "
    "Channels and time points are compared one by one."
)


@dataclass(frozen=True)
class Quality:
    """The three figures of one comparison; several channels or time points are averaged."""

    nrmse: float  # in parts of the truth's range, 0 is perfect
    psnr: float  # dB, infinite when perfect
    ssim: float  # at most 1, which is perfect


def nrmse(truth: Picture, restored: Picture) -> float:
    """Normalised root mean squared error, in parts of the truth's percentile range: 0 is perfect, 1 is hopeless."""
    return _average(_rmse(*matched(*pair)) for *_, pair in volumes(truth, restored))


def psnr(truth: Picture, restored: Picture) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for a perfect match."""
    return _average(_decibel(_rmse(*matched(*pair))) for *_, pair in volumes(truth, restored))


def ssim(truth: Picture, restored: Picture) -> float:
    """Structural similarity, at most 1, with the settings stated in `SETTINGS`."""
    return _average(_similarity(*matched(*pair)) for *_, pair in volumes(truth, restored))


def quality(truth: Picture, restored: Picture) -> Quality:
    """All three figures at once.

    Images are compared channel by channel and time point by time point; plain arrays are one volume each. Raises
    DataError for images of different shape, for NaN or infinite values, for a truth without contrast, and for images
    thinner than 3 pixels (an axis of a single pixel is no axis).
    """
    return mean_quality(pair for *_, pair in volumes(truth, restored))


def mean_quality(pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> Quality:
    """The mean figures of planes or volumes, each with its truth first."""
    each = []
    for y, x in itertools.starmap(matched, pairs):
        error = _rmse(y, x)
        each.append((error, _decibel(error), _similarity(y, x)))
    return Quality(*map(_average, zip(*each, strict=True)))


# -- bringing both images to one scale --------------------------------------------------------------


def matched(truth: ArrayLike, restored: ArrayLike) -> tuple[Floats, Floats]:
    """The normalised truth and the restored image matched to it, both float64, ready to be compared pixel by pixel."""
    y = normalize_truth(truth)
    x = _finite(restored, "restored image")
    if x.shape != y.shape:
        raise DataError(
            f"The ground truth and the compared image must have the same shape, but they have {_times(y.shape)} and "
            f"{_times(x.shape)} pixels. Crop or resample one of them first."
        )
    a, b = affine_match(y, x)
    return y, a * x + b


def normalize_truth(truth: ArrayLike) -> Floats:
    """The truth with its percentile 0.1 at 0 and its percentile 99.9 at 1, not clipped, float64."""
    y = _finite(truth, "truth")
    low, high = truth_range(y)
    return (y - low) / (high - low)


def truth_range(truth: ArrayLike) -> tuple[float, float]:
    """The percentiles 0.1 and 99.9 of the truth, in its own units."""
    low, high = (float(value) for value in np.percentile(np.asarray(truth), PERCENTILES))
    if not low < high:
        raise DataError(
            f"The ground truth has no contrast: its percentiles {PERCENTILES[0]} and {PERCENTILES[1]} are both "
            f"{low:g}, so there is nothing to compare with. Choose a region that holds structure."
        )
    return low, high


def affine_match(truth: Floats, restored: Floats) -> tuple[float, float]:
    """The a and b for which a * restored + b is closest to `truth` (least squares). A constant image gets a = 0."""
    mean_y, mean_x = float(truth.mean()), float(restored.mean())
    if float(restored.min()) == float(restored.max()):
        return 0.0, mean_y
    centred = restored - mean_x
    a = float(np.vdot(centred, truth - mean_y) / np.vdot(centred, centred))
    return a, mean_y - a * mean_x


def volumes(truth: Picture, restored: Picture) -> Iterator[tuple[int, int, tuple[Any, Any]]]:
    """(channel, number of the frame, (truth, restored)) for each plane or volume the two images hold.

    Plain arrays are one volume. A plain array beside an Image is taken to have its axes.
    """
    word: str | None = getattr(truth, "axes", None) or getattr(restored, "axes", None)
    y, x = np.asarray(truth), np.asarray(restored)
    if word is None:
        yield 0, 0, (y, x)
        return
    order = axes_of.canonical(f"STC{word}")
    y = axes_of.move(y, getattr(truth, "axes", word), order)
    x = axes_of.move(x, getattr(restored, "axes", word), order)
    if y.shape != x.shape:
        raise DataError(
            f"The ground truth and the compared image must have the same shape, but as {order} they have "
            f"{_times(y.shape)} and {_times(x.shape)} pixels. Crop or resample one of them first."
        )
    for channel in range(y.shape[2]):
        for frame, place in enumerate(np.ndindex(*y.shape[:2])):
            yield channel, frame, (y[*place, channel], x[*place, channel])


# -- the figures ------------------------------------------------------------------------------------


def _rmse(y: Floats, x: Floats) -> float:
    difference = (y - x).ravel()
    return math.sqrt(float(np.vdot(difference, difference)) / difference.size)


def _decibel(error: float) -> float:
    return -20 * math.log10(error) if error > 0 else math.inf


def _similarity(y: Floats, x: Floats) -> float:
    from skimage.metrics import structural_similarity

    y, x = y.squeeze(), x.squeeze()  # one plane of a stack is a 2D image
    thinnest = min(y.shape, default=1)
    if thinnest < 3:
        raise DataError(
            f"SSIM needs at least 3 pixels along every axis, but the image has {_times(y.shape)}. "
            f"Compare a larger region, or plane by plane."
        )
    window = min(WINDOW, thinnest - (thinnest + 1) % 2)
    return float(structural_similarity(y, x, data_range=1.0, win_size=window))


def _finite(image: ArrayLike, name: str) -> Floats:
    given = np.asarray(image)
    if given.size == 0 or given.dtype.kind not in "buif":
        raise DataError(f"The {name} must hold real numbers, but it has {given.size} pixels of type {given.dtype}.")
    values = given.astype(np.float64)
    if wrong := values.size - int(np.isfinite(values).sum()):
        raise DataError(
            f"The {name} holds {wrong} NaN or infinite values of {values.size}. Mask or replace them first."
        )
    return values


def _average(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _times(shape: tuple[int, ...]) -> str:
    return lengths(shape) or "no"
