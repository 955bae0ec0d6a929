"""The noise of a camera that counts photons, and how noisy an image is by its pixels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.tiling import Span, windows

SIDE = 256  # pixels of the pieces looked at, along Y and X
MOST = 16  # pieces, spread evenly over the image
WHITE = 36.0  # variance of the differences of white noise of variance 1: (1 + 4 + 1) squared
LEAST_SIGNAL = 0.01  # of the variance; less counts as none


@dataclass(frozen=True)
class Noise:
    """image = gain * Poisson(photons) + Normal(0, read_noise^2) + offset, in grey values.

    The variance grows with brightness: it is gain * (mean - offset) + read_noise^2. Raises DataError for other numbers.
    """

    gain: float = 0.0  # grey values per photon; 0: photons bring no noise
    offset: float = 0.0  # grey value of darkness
    read_noise: float = 0.0  # standard deviation in darkness, grey values

    def __post_init__(self) -> None:
        if not (isfinite(self.offset) and 0 <= self.gain < np.inf and 0 <= self.read_noise < np.inf):
            raise DataError(
                f"Noise has a gain and a read noise of at least 0 grey values, and a finite offset, not gain "
                f"{self.gain:g}, read noise {self.read_noise:g} and offset {self.offset:g}. See its data sheet."
            )

    def expose(self, photons: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
        """An image, where so many `photons` are expected at each pixel (any shape)."""
        return self._read(np.asarray(self.gain * rng.poisson(photons), np.float64), rng)

    def apply(self, image: NDArray[Any], seed: int | tuple[int, ...]) -> NDArray[np.float32]:
        """`image` (grey values, any shape) as a camera would have recorded it; the same for the same `seed`."""
        rng, light = np.random.default_rng(seed), np.asarray(image, np.float64) - self.offset
        noisy = self.expose(np.maximum(light, 0) / self.gain, rng) if self.gain else self._read(light, rng)
        return noisy.astype(np.float32)

    def _read(self, image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        return image + (rng.normal(0.0, self.read_noise, image.shape) if self.read_noise else 0.0) + self.offset

    def forward(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The image (any shape) in a unit in which the noise has the standard deviation 1, whatever the brightness.

        The generalised Anscombe transform, 2 / gain * sqrt(gain * (image - offset) + 3/8 gain^2 + read_noise^2); values
        below the root's range give 0. Raises DataError for a gain of 0.
        """
        if not self.gain:
            raise DataError("The Anscombe transform needs a gain above 0. Give the camera's, or try estimate(image).")
        light = (np.asarray(image, dtype=np.float64) - self.offset) / self.gain
        inside = light + 3 / 8 + (self.read_noise / self.gain) ** 2
        return np.asarray(2 * np.sqrt(np.maximum(inside, 0)), np.float32)

    def inverse(self, mean: NDArray[Any]) -> NDArray[np.float32]:
        """The brightness whose transformed image has this mean: of a denoised image, without bias.

        The closed form of the exact unbiased inverse (Mäkitalo and Foi 2011, 2013): D^2/4 - 1/8 - (read_noise/gain)^2 +
        sqrt(3/2)/4 D^-1 - 11/8 D^-2 + 5/8 sqrt(3/2) D^-3 photons. Squaring alone would be too dark by a quarter of a
        photon. No brightness is below the offset.
        """
        root = sqrt(3 / 2)
        d = np.maximum(np.asarray(mean, dtype=np.float64), root)  # its value without any light
        photons = d**2 / 4 - 1 / 8 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3
        photons -= (self.read_noise / self.gain) ** 2
        return np.asarray(self.gain * np.maximum(photons, 0) + self.offset, np.float32)


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
