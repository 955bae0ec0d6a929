"""Whether the predicted uncertainty can be believed, and by how much it is off (SI 3, 3.16-3.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriscope import laplace
from veriscope.errors import DataError

EPS = (0.01, 0.025, 0.05, 0.1)  # half-widths of Supp. Figs. 22 and 23, in parts of the normalised intensity range


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the truth lay within ±eps of the restored pixel, against how often the network said it would."""

    eps: float  # half-width of the interval, in the unit of mean and truth
    confidence: NDArray[np.float64]  # mean predicted probability per bin, NaN in empty bins
    accuracy: NDArray[np.float64]  # fraction of its pixels where the truth did lie within, NaN in empty bins
    share: NDArray[np.float64]  # fraction of all pixels per bin, together 1
    ece: float  # expected calibration error: mean gap between the two, weighted by share; 0 is perfect


def reliability(mean: ArrayLike, scale: ArrayLike, truth: ArrayLike, eps: float, bins: int = 10) -> Reliability:
    """Sort pixels into `bins` by their predicted probability of ±eps and count how often it came true (3.16-3.18).

    `mean` and `scale` are (M, ...) with members first, `truth` is (...), all in one unit.
    """
    mu, b, y = _together(mean, scale, truth)
    return reliability_of(laplace.interval_probability(mu, b, eps), np.abs(y - mu.mean(0)) <= eps, eps, bins)


def reliability_of(predicted: ArrayLike, came_true: ArrayLike, eps: float, bins: int = 10) -> Reliability:
    """The same from the probabilities `predicted` for ±eps and whether the truth did lie within, of any one shape."""
    if bins < 1:
        raise DataError(f"A reliability curve needs at least 1 bin, but {bins} were asked for. The paper uses 10.")
    said, true = np.ravel(predicted), np.ravel(came_true)
    index = np.minimum((said * bins).astype(np.intp), bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins is the NaN that is promised
        confidence = np.bincount(index, said, bins) / count
        accuracy = np.bincount(index, true, bins) / count
    share = count / count.sum()
    gap = np.abs(accuracy - confidence)[count > 0]
    return Reliability(float(eps), confidence, accuracy, share, float(gap @ share[count > 0]))


def coverage(mean: ArrayLike, scale: ArrayLike, truth: ArrayLike, p: float = 0.9) -> float:
    """Fraction of pixels whose truth lies inside the interval of probability `p` around the mean of means (3.15).

    A calibrated network gives p. The interval is the one that `Restoration.interval(p)` draws.
    """
    if not 0 < p < 1:
        raise DataError(f"The probability p of an interval must lie between 0 and 1, but {p} was given. Try 0.9.")
    mu, b, y = _together(mean, scale, truth)
    distance = np.abs(y - mu.mean(0))  # the truth is inside when the interval that just reaches it is no more probable
    return float(np.mean(laplace.interval_probability(mu, b, distance) <= p))


def _together(mean: ArrayLike, scale: ArrayLike, truth: ArrayLike) -> tuple[Any, Any, Any]:
    mu, b, y = np.asarray(mean), np.asarray(scale), np.asarray(truth)
    if mu.shape[1:] != y.shape or mu.shape != b.shape:
        raise DataError(
            f"Means and scales have the shape of the ground truth with the members in front, but they have "
            f"{mu.shape} and {b.shape} for a truth of {y.shape}. For a single network add an axis: mean[None], "
            f"scale[None]."
        )
    if not np.isfinite(y).all():
        raise DataError("The ground truth holds NaN or infinite values. Mask or replace them first.")
    return mu, b, y
