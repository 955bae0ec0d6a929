"""What a restoration knows of every pixel: the members' Laplace distributions, and the images made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.errors import DataError, ModelError
from veriscope.images.image import Image

Block = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Restoration:
    """The predictions of all members (SI 3): `means` and `scales` (M, *axes), float32, scales > 0.

    In grey values of the input (or of the truth, see `restore`) unless it was left normalised. `scales` is None when
    the networks are not probabilistic; then only `mean` is known.
    """

    means: Block = field(repr=False)
    scales: Block | None = field(repr=False)
    axes: str
    voxel_size: tuple[float, ...] | None = None
    time_step: float | None = None
    name: str = ""

    @property
    def members(self) -> tuple[Block, Block | None]:
        """Means and scales of every member, (M, *axes)."""
        return self.means, self.scales

    @cached_property
    def mean(self) -> Image:
        """The restored image: the mean of the members' means (3.13)."""
        return self._image(mixture_mean(self.means))

    @cached_property
    def scale(self) -> Image:
        """How far the truth lies from `mean` on average, |truth - mean|, if the ensemble is right.

        That is also the scale of the one Laplace distribution around `mean` that is closest to the mixture: for a
        single member its scale b; for several mean_m[d_m + b_m exp(-d_m / b_m)] with d_m = |mean_m - mean|, so that it
        grows when members contradict each other.
        """
        return self._image(mixture_scale(self.means, self._scales()))

    def interval(self, p: float = 0.9) -> tuple[Image, Image]:
        """Lower and upper end of the interval around `mean` that holds the truth with probability `p` (3.15)."""
        half = laplace.symmetric_interval(self.means, self._scales(), checked_probability(p))
        mean = np.asarray(self.mean)
        return self._image(mean - half), self._image(mean + half)

    def quantile(self, u: float) -> Image:
        """The value below which the truth lies with probability `u`."""
        return self._image(laplace.quantile(self.means, self._scales(), checked_probability(u)))

    def probability(self, eps: float) -> Image:
        """Probability that the truth lies within `eps` (in units of `mean`) of `mean` (3.15)."""
        return self._image(laplace.interval_probability(self.means, self._scales(), eps))

    def sample(self, seed: int = 0) -> Image:
        """One image drawn from the prediction, each pixel independent of its neighbours (Supp. Vid. 9)."""
        return self._image(laplace.sample(self.means, self._scales(), seed))

    def entropy(self) -> Image:
        """Differential entropy of every pixel's prediction in nat, of grey values in units of `mean` (3.20)."""
        return self._image(laplace.entropy(self.means, self._scales()))

    def disagreement(self) -> Image:
        """How far the members contradict each other, from 0 to 1 (3.20-3.29); 0 for a single member."""
        return self._image(laplace.disagreement(self.means, self._scales()))

    def _scales(self) -> Block:
        if self.scales is None:
            raise ModelError(
                "This model predicts no distribution, only the restored image, because it was trained with "
                "probabilistic=False. Train one with probabilistic=True to learn how far to trust it."
            )
        return self.scales

    def _image(self, array: NDArray[np.floating]) -> Image:
        pixels = np.asarray(array, np.float32)
        return Image(pixels, self.axes, self.voxel_size, self.time_step, self.name)


def mixture_mean(means: Block) -> Block:
    """Mean of the members' means (3.13), (M, ...) -> (...)."""
    return np.asarray(means[0] if len(means) == 1 else np.mean(means, axis=0, dtype=np.float32))


def mixture_scale(means: Block, scales: Block) -> Block:
    """Mean distance of the mixture from its mean, see `Restoration.scale`; (M, ...) -> (...)."""
    if len(means) == 1:
        return np.asarray(scales[0])
    centre = mixture_mean(means)
    total = np.zeros_like(centre)
    for mean, scale in zip(means, scales, strict=True):
        distance = np.abs(mean - centre)
        total += distance
        total += scale * np.exp(-distance / scale)
    total /= len(means)
    return total


def checked_probability(p: float) -> float:
    """`p` once it is known to be a probability strictly between 0 and 1."""
    if not 0 < p < 1:
        raise DataError(f"A probability lies between 0 and 1, both excluded, not {p}. Use for example 0.9.")
    return float(p)
