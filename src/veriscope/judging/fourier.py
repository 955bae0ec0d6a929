"""Down to which detail do two images of one thing agree? Fourier ring and shell correlation.

Saxton and Baumeister 1982; thresholds of Rosenthal and Henderson 2003 (1/7) and van Heel and Schatz 2005 (half-bit,
3-sigma).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.judging.spectra import LEAST
from veriscope.wording import lengths

Criterion = Literal["1/7", "1/2", "half-bit", "3-sigma"]
Direction = Literal["all", "lateral", "axial"]

CONE = 30.0  # degrees around the optical axis, or to either side of the plane across it
SMOOTHED = 3  # neighbouring rings that are averaged, by their number of frequencies
FEWEST = 0.5  # rings are passed over whose threshold is above that
WIDENED = 4.5  # frequencies that say the same: each has its mirror image, and the window joins neighbours (2 x 1.5^2)


@dataclass(frozen=True, eq=False)
class Correlation:
    """How far two images agree, from coarse to fine; one entry per ring (shell) of frequencies."""

    frequency: NDArray[np.float64]  # cycles per `unit`, the mean of the ring
    value: NDArray[np.float64]  # 1 the same, 0 nothing in common; smoothed
    threshold: NDArray[np.float64]
    frequencies: NDArray[np.int64]  # how many there are in the ring
    criterion: Criterion
    direction: Direction
    unit: str  # "um" or "pixels"

    @property
    def begin(self) -> int:
        """The first ring that says anything: with few frequencies, noise alone asks for a threshold above 1/2."""
        return int(np.argmax(self.threshold <= FEWEST))

    @property
    def crossing(self) -> float | None:
        """The first frequency at which the correlation falls below the threshold; None where it never does."""
        above = self.value - self.threshold
        below = self.begin + np.flatnonzero(above[self.begin :] < 0)
        if not below.size:
            return None
        at = int(below[0])
        if at == self.begin:
            return float(self.frequency[at])
        part = above[at - 1] / (above[at - 1] - above[at])
        return float(self.frequency[at - 1] + part * (self.frequency[at] - self.frequency[at - 1]))

    @property
    def resolution(self) -> float:
        """The period of the finest detail in which both agree, in `unit`: 1 / `crossing`.

        Infinite where they agree in `nothing`; the period of the finest ring where they agree throughout (`limited`).
        """
        if self.nothing:
            return float("inf")
        crossing = self.crossing
        return 1 / (float(self.frequency[-1]) if crossing is None else crossing)

    @property
    def limited(self) -> bool:
        """Whether the pixels end before the agreement does: the resolution is at least as good as reported."""
        return self.crossing is None

    @property
    def nothing(self) -> bool:
        """Whether the agreement from the coarsest ring to any before the crossing is what noise may have (3 sigma)."""
        crossing = self.crossing
        before = self.frequency < (np.inf if crossing is None else crossing)
        if not before.any():
            return True
        count = np.cumsum(self.frequencies[before])
        mean = np.cumsum((self.value * self.frequencies)[before]) / count
        sigmas = np.arctanh(mean.clip(-1, 1 - 1e-9)) * np.sqrt(np.maximum(count / WIDENED - 1, 0))  # Fisher 1915
        return bool((sigmas < 3).all())

    def __str__(self) -> str:
        if self.nothing:
            return "none: both have no more in common than noise has by chance"
        least = "at least as fine as " if self.limited else ""
        return f"{least}{self.resolution:.3g} {self.unit}"


def ring_correlation(
    first: Image | NDArray[Any],
    second: Image | NDArray[Any],
    direction: Direction = "all",
    criterion: Criterion = "1/7",
    channel: int = 0,
) -> Correlation:
    """Fourier ring (planes) or shell (stacks) correlation of two images of the same thing with independent noise.

    In every ring of frequencies, sum(F G*) / sqrt(sum |F|^2 sum |G|^2), of both images less their mean under a Hann
    window (a flatter one lets what is cut off at the borders pass for fine detail along Z). Rings are as wide as one
    frequency of the longer of Y and X (for "axial": of the shortest side), in cycles per um, where voxels may be
    longer along Z; in cycles per pixel where the voxel size is unknown. They end where the finest axis does, and the
    curve is smoothed over 3 rings. Of a stack, "axial" takes only frequencies within 30 degrees of k_z, and ends where
    Z does; "lateral" those within 30 degrees of the plane across it. All time points together, of one channel. Arrays
    are planes (Y X) or stacks (Z Y X), in pixels.

    The resolution is where the curve first falls below the threshold: 1/7 for two noisy acquisitions, each with half
    of the light of their sum; 1/2, which asks the same of one image against a truth without noise; or what noise of so
    many frequencies may reach, "half-bit" and "3-sigma".

    Mind: it says what both have in common, not what is true. A pattern of the camera is common to both, and a network
    may make the same mistake twice; restored images want the comparison with a truth. Images registered or filtered in
    the same way have that in common too.

    Raises AxesError and DataError for images that do not match, are tiny, constant or hold NaN.
    """
    one, other = _image(first), _image(second)
    letters = _checked(one, other, channel)
    if direction != "all" and letters != "ZYX":
        raise AxesError(f"Only stacks have a direction such as {direction}, and these images have the axes {one.axes}.")
    _choose("direction", direction, get_args(Direction))
    _choose("criterion", criterion, get_args(Criterion))
    sizes, unit = _voxels(one, other, letters)
    shape = tuple(one.size(letter) for letter in letters)
    radius, allowed = _radii(shape, sizes, direction)
    steps = [1 / (side * size) for side, size in zip(shape, sizes, strict=True)]
    if direction == "axial":  # a finer ring would hold a frequency or two
        step, finest = max(steps), 1 / (2 * sizes[0])
    else:
        step, finest = min(steps[-2:]), 1 / (2 * min(sizes if direction == "all" else sizes[1:]))
    ring = np.floor(radius / step + 0.5 + 1e-9).astype(np.int64)
    count = max(1, int(finest / step + 1e-9))
    ring[~allowed | (ring < 1) | (ring > count)] = 0
    rings = count + 1

    def per_ring(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(ring.ravel(), values.ravel(), rings)[1:], np.float64)

    cross, of_first, of_second = np.zeros((3, count))
    for a, b in zip(_spectra(one, letters, channel), _spectra(other, letters, channel), strict=True):
        cross += per_ring((a * b.conj()).real)
        of_first += per_ring(np.abs(a) ** 2)
        of_second += per_ring(np.abs(b) ** 2)
    if not (of_first.sum() > 0 and of_second.sum() > 0):
        raise DataError("An image is constant: there is nothing to compare. Choose another region or channel.")
    numbers = np.bincount(ring.ravel(), minlength=rings)[1:]
    filled = numbers > 0  # close to the axis a cone holds no frequency
    both = of_first * of_second
    value = np.divide(cross, np.sqrt(both), out=np.zeros(count), where=both > 0)[filled]
    numbers = numbers[filled]
    ones = np.ones(min(SMOOTHED, len(value)))
    smooth = np.convolve(value * numbers, ones, "same") / np.convolve(numbers, ones, "same")
    curve = smooth.clip(-1, 1), _threshold(criterion, numbers)
    return Correlation(per_ring(radius)[filled] / numbers, *curve, numbers, criterion, direction, unit)


def split(image: Image | NDArray[Any], seed: int, gain: float = 1.0, offset: float = 0.0) -> tuple[Image, Image]:
    """Two images as if taken with half of the light each, from one: every photon goes to either by the toss of a coin.

    Photons are (value - `offset`) / `gain`, rounded, at least 0; both halves (uint32) count photons. Thinned Poisson
    counts are independent, so that `ring_correlation` of both gives the resolution at half of the light. That holds
    for photons alone: with a wrong gain, much read noise, or pixels that were smoothed, interpolated or compressed
    before, noise is shared by both and passes for detail, or is torn apart and hides it. Two acquisitions are better.
    """
    if not (isfinite(gain) and gain > 0 and isfinite(offset)):
        raise DataError(f"Grey values per photon are a number above 0 and the offset one, not {gain:g} and {offset:g}.")
    given = _image(image)
    pixels = np.asarray(given, np.float64)
    if not np.isfinite(pixels).all():
        raise DataError("The image holds NaN or infinite values. Choose another region.")
    photons = np.clip(np.rint((pixels - offset) / gain), 0, None).astype(np.int64)
    if photons.max() < 2:
        raise DataError(
            f"With {gain:g} grey values per photon and the offset {offset:g} there are no photons to divide. "
            "Check the gain and the offset of the camera."
        )
    half = np.random.default_rng(seed).binomial(photons, 0.5)
    return given.with_array(half.astype(np.uint32)), given.with_array((photons - half).astype(np.uint32))


def _image(given: Any) -> Image:
    if isinstance(given, Image):
        return given
    pixels = np.asarray(given)
    if pixels.ndim not in (2, 3):
        raise AxesError(f"An array to compare is a plane (Y X) or a stack (Z Y X), not {pixels.shape}. Give an Image.")
    return Image(pixels, "ZYX"[-pixels.ndim :])


def _checked(one: Image, other: Image, channel: int) -> str:
    """The axes in space, once both images can be compared."""
    letters = "".join(letter for letter in "ZYX" if one.size(letter) > 1)
    if letters not in ("YX", "ZYX"):
        raise AxesError(f"Resolution is defined for planes (Y X) and stacks (Z Y X), not for the axes {one.axes}.")
    sizes = [{letter: image.size(letter) for letter in "STCZYX"} for image in (one, other)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"Both images must show the same pixels, but they are {_described(one)} and {_described(other)}. "
            "Crop or resample one of them first."
        )
    if small := [letter for letter in letters if one.size(letter) < LEAST]:
        raise DataError(
            f"At least {LEAST} pixels along every axis are needed to measure resolution; there are "
            f"{', '.join(f'{one.size(letter)} along {letter}' for letter in small)}. Give larger images."
        )
    if not 0 <= channel < one.size("C"):
        raise DataError(f"The images have {one.size('C')} channels, counted from 0; there is no channel {channel}.")
    return letters


def _described(image: Image) -> str:
    return f"{lengths(image.shape)} ({image.axes})"


def _choose(what: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise DataError(f"There is no {what} '{given}'. Choose {', '.join(choices[:-1])} or {choices[-1]}.")


def _voxels(one: Image, other: Image, letters: str) -> tuple[list[float], str]:
    """Voxel sizes and their unit: pixels where one of the images does not know them."""
    first, second = ([image.voxel(letter) or 0.0 for letter in letters] for image in (one, other))
    if not all(first + second):
        return [1.0] * len(letters), "pixels"
    if any(abs(a - b) > 0.01 * a for a, b in zip(first, second, strict=True)):
        raise DataError(f"The images have voxels of different sizes, {first} and {second} um. Correct one of them.")
    return first, "um"


def _radii(shape: tuple[int, ...], sizes: list[float], direction: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """|k| of every frequency of a full transform, and whether its direction counts."""
    k = np.meshgrid(*(np.fft.fftfreq(n, size) for n, size in zip(shape, sizes, strict=True)), indexing="ij")
    radius = np.sqrt(sum(one**2 for one in k))
    if direction == "all":
        return radius, np.ones(shape, bool)
    least = np.cos(np.deg2rad(CONE)) if direction == "axial" else np.sin(np.deg2rad(CONE))
    near = np.abs(k[0]) >= least * radius
    return radius, near if direction == "axial" else ~near


def _spectra(image: Image, letters: str, channel: int) -> Iterator[NDArray[np.complex128]]:
    """Of every sample and time point, less its mean, under a Hann window."""
    from scipy import fft

    whole = image.moved("STCZYX")
    window: Any = reduce(np.multiply.outer, [np.hanning(image.size(letter) + 2)[1:-1] for letter in letters])
    for sample, time in np.ndindex(*whole.shape[:2]):
        values = whole.read(sample, time, channel).astype(np.float64)
        values = values[0] if len(letters) == 2 else values
        if not np.isfinite(values).all():
            raise DataError("An image holds NaN or infinite values. Choose another region, or replace them first.")
        flat = np.ptp(values) == 0
        values -= (values * window).sum() / window.sum()  # nothing of the mean leaks into the first rings
        yield np.asarray(fft.fftn(np.zeros_like(values) if flat else values * window, workers=-1))


def _threshold(criterion: Criterion, numbers: NDArray[Any]) -> NDArray[np.float64]:
    root = 1 / np.sqrt(numbers)
    if criterion == "half-bit":
        return np.asarray((0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root))
    if criterion == "3-sigma":
        return np.asarray(np.minimum(3 * np.sqrt(2) * root, 1.0))
    return np.full(len(numbers), 1 / 7 if criterion == "1/7" else 1 / 2)
