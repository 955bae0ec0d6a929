"""How noisy an image is, and how much of it is signal, from its pixels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.tiling import Span, windows

SIDE = 256  # pixels of the pieces looked at, along Y and X
MOST = 16  # pieces, spread evenly over the image
WHITE = 36.0  # variance of the differences of white noise of variance 1: (1 + 4 + 1) squared
LEAST_SIGNAL = 0.01  # of the variance; less counts as none


def noise_and_contrast(read: Callable[[Span], NDArray[Any]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Standard deviations of the noise and of the rest, the structure, for each channel: (C, 2), in the pixels' unit.

    `read(span)` gives (C, ..., Y, X) of an image of `shape`, ending with Y X. The noise is the root mean square of the
    second differences along Y and X together, which smooth structure leaves at 0 (Immerkaer 1996). NaN for images
    of less than three pixels along Y or X, and where all pixels are equal.
    """
    pieces = windows(shape, (*(1 for _ in shape[:-2]), SIDE, SIDE))
    if len(pieces) > MOST:
        pieces = [pieces[at] for at in np.linspace(0, len(pieces) - 1, MOST).round().astype(int)]
    rough, sums, squares, count = [], [], [], []
    for piece in pieces:
        block = read(piece).astype(np.float64)
        across = tuple(range(1, block.ndim))
        if min(block.shape[-2:]) < 3:
            return np.full((len(block), 2), np.nan)
        second = np.diff(np.diff(block, 2, axis=-1), 2, axis=-2)
        rough.append(np.square(second).mean(across) / WHITE)
        sums.append(block.mean(across))
        squares.append(np.square(block).mean(across))
        count.append(block[0].size)
    noise, mean, square = (np.average(values, axis=0, weights=count) for values in (rough, sums, squares))
    whole = square - np.square(mean)
    signal = np.maximum(whole - noise, LEAST_SIGNAL * whole)
    deviations = np.sqrt(np.stack([noise, signal], axis=1))
    return np.asarray(np.where(deviations > 0, deviations, np.nan))
