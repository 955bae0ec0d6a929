"""Few photons: noise that grows with brightness, made the same everywhere, and back (generalised Anscombe transform).

image = gain * Poisson(photons) + Normal(0, read_noise^2) + offset, see `veriscope.noise.Noise`. Denoisers expect
noise of one strength; transformed images have it, with a standard deviation of 1, down to about one photon per pixel.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.classical.method import Method
from veriscope.errors import DataError
from veriscope.images.volumes import each, finite
from veriscope.noise import Noise

__all__ = ["Noise", "estimate", "with_anscombe"]

Floats = NDArray[np.float64]

BLOCK = 8  # pixels along Y and X over which brightness and noise are compared
BINS = 24  # of brightness, with equally many blocks
DARK = 0.01  # fraction of the blocks that count as darkness where no offset is given
LEAST = 0.01  # variance may grow no slower than this many standard deviations of the noise; see estimate


def estimate(image: Any, offset: float | None = None) -> Noise:
    """The noise of an image, from the image alone: the variance in small blocks against their mean, fitted by a line.

    The variance is that of the finest diagonal differences in blocks of 8 x 8 pixels, of which the median is used
    among blocks of similar brightness: most of them must be without fine structure. All planes, channels and time
    points count as one camera's. Without `offset`, in grey values, the darkest hundredth of the blocks counts as
    darkness; if some light falls there, read_noise holds its noise, and the transform is the same. Where the variance
    does not grow with brightness, the gain is a small one, for which the transform is almost linear. Raises DataError
    for images without noise, or too small (less than 8 such blocks).
    """
    pixels = finite(image)
    if (word := getattr(image, "axes", None)) is not None:
        order = "".join(letter for letter in word if letter not in "YX") + "YX"
        pixels = np.asarray(image.moved(order))
    pixels = np.atleast_2d(pixels)
    variances, black, white = _blocks(pixels.reshape(-1, *pixels.shape[-2:]).astype(np.float64))
    if len(variances) < 8 or not variances.any():
        raise DataError(
            f"Noise is estimated from at least 8 blocks of {BLOCK} x {BLOCK} pixels with noise, but the image, of "
            f"shape {np.shape(image)}, has {np.count_nonzero(variances)}. Give the camera's gain, offset and "
            f"read_noise."
        )
    gain, intercept = _line(*_bins(variances, black, white))
    least = LEAST * sqrt(float(np.median(variances[variances > 0])))
    if gain < least:
        gain, intercept = least, float(np.median(variances)) - least * float(np.median(white))
    dark = float(np.quantile((black + white) / 2, DARK)) if offset is None else float(offset)
    return Noise(gain, dark, sqrt(max(intercept + gain * dark, 0.0)))


def with_anscombe(method: Method, noise: Noise | None = None) -> Method:
    """The method on transformed images, such as "gat+nlm". Parameters that count noise then count the 1 that it is.

    Without `noise` that of every plane or volume is estimated, also where the method is tuned on a part of it. The
    camera's own is better. Raises DataError for methods that do not denoise.
    """
    if method.task != "restore":
        raise DataError(f"The Anscombe transform is for denoisers, but {method.title} has another task. Use it alone.")

    def run(image: Any, **parameters: float) -> Any:
        """Noise made alike everywhere (generalised Anscombe transform), denoised, and back without bias."""

        def one(volume: NDArray[Any]) -> NDArray[np.float32]:
            if volume.min() == volume.max():
                return volume.astype(np.float32)
            known = estimate(volume) if noise is None else noise
            return known.inverse(method.run(known.forward(volume), **parameters))

        return each(image, one)

    return replace(
        method,
        name=f"gat+{method.name}",
        title=f"Anscombe, {method.title}",
        run=run,
        in_noise=frozenset(),
        fit=(lambda image: with_anscombe(method, estimate(image))) if noise is None else None,
        source=f"Mäkitalo and Foi 2013{'; ' * bool(method.source)}{method.source}",
    )


def _blocks(planes: Floats) -> tuple[Floats, ...]:
    """The noise's variance in every block of the planes (plane, Y, X), and the means of its black and white squares."""
    rows, columns = (size // BLOCK for size in planes.shape[1:])
    cut = planes[:, : rows * BLOCK, : columns * BLOCK].reshape(len(planes), rows, BLOCK, columns, BLOCK)
    blocks = cut.swapaxes(2, 3).reshape(-1, BLOCK, BLOCK)
    fine = (blocks[:, 1:, 1:] - blocks[:, 1:, :-1] - blocks[:, :-1, 1:] + blocks[:, :-1, :-1]) / 2
    black = np.indices((BLOCK, BLOCK)).sum(axis=0) % 2 == 0
    return (fine**2).mean(axis=(1, 2)), blocks[:, black].mean(axis=1), blocks[:, ~black].mean(axis=1)


def _bins(variances: Floats, black: Floats, white: Floats) -> tuple[Floats, Floats]:
    """Brightness and median variance of blocks of similar brightness.

    They are sorted by one half of their pixels and measured by the other: the noise of their own means would make the
    line less steep.
    """
    parts = np.array_split(np.argsort(black, kind="stable"), min(BINS, len(black) // 2))
    # The median of chi^2 lies below its mean. Neighbouring differences share pixels, which leaves about one in 2.25.
    freedom = (BLOCK - 1) ** 2 / 2.25
    typical = (1 - 2 / (9 * freedom)) ** 3
    middles = [(white[part].mean(), np.median(variances[part]) / typical) for part in parts]
    levels, noise = np.transpose(middles)
    return levels, noise


def _line(levels: Floats, noise: Floats) -> tuple[float, float]:
    """Slope and intercept of the line through the bins, outliers counting little; errors grow with the variance."""
    from scipy.optimize import least_squares

    spread = noise + 1e-3 * noise.max()
    start = np.polyfit(levels, noise, 1, w=1 / spread) if np.ptp(levels) > 0 else np.array([0.0, noise.mean()])
    scale = np.maximum(np.abs(start), 1e-12)
    fitted = least_squares(
        lambda line: (line[0] * levels + line[1] - noise) / spread, start, x_scale=scale, loss="soft_l1", f_scale=0.1
    )
    return float(fitted.x[0]), float(fitted.x[1])
