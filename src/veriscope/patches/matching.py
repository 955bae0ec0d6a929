"""Bring the grey values of a good image to those of the bad one beside it.

Noise widens the percentiles of a dim image, each image by another amount. When both images of a pair are normalised by
their own percentiles, the gain between them differs from pair to pair, and a network would have to guess it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image

LEAST_AGREEMENT = 0.05  # correlation below which low and high are taken for different fields
MOST_VOXELS = 2**23  # compared at once


def matched(low: Image, high: Image, values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The intensities of `high` that stand for `values` of `low`, by the line low = gain * high + offset.

    Both images have the axes S T C [Z] Y X; `values` and the answer are (C, n). Least squares with the noisy image as
    the one explained, so that noise does not flatten the line (regression dilution). Raises DataError, with the `name`
    of the pair, where low and high have nothing in common.
    """
    sums = np.zeros((5, low.shape[2]))  # per channel: low, high, high^2, low * high, low^2
    count = 0
    across = tuple(axis for axis in range(low.ndim) if axis != 2)
    step = max(1, MOST_VOXELS // (int(np.prod(low.shape[2:])) // low.shape[3]))
    for sample, time, start in product(*map(range, low.shape[:2]), range(0, low.shape[3], step)):
        where = slice(sample, sample + 1), slice(time, time + 1), slice(None), slice(start, start + step)
        here, there = (image.read(*where).astype(np.float64) for image in (low, high))
        sums += [
            here.sum(across),
            there.sum(across),
            (there * there).sum(across),
            (here * there).sum(across),
            (here * here).sum(across),
        ]
        count += here.size // here.shape[2]
    mean_low, mean_high, square, both, square_low = sums / count
    covariance = both - mean_low * mean_high
    variances = np.maximum((square - mean_high**2) * (square_low - mean_low**2), np.finfo(float).tiny)
    agreement = covariance / np.sqrt(variances)
    if not (agreement > LEAST_AGREEMENT).all():
        raise DataError(
            f"Low and high image of pair '{name}' have a correlation of {agreement.min():.2f}: they hardly show "
            f"the same field. Check the pair and its registration, or normalise each image by itself: --normalize "
            f"random."
        )
    gain = covariance / (square - mean_high**2)
    offset = mean_low - gain * mean_high
    answer: NDArray[np.float64] = (values - offset[:, None]) / gain[:, None]
    return answer
