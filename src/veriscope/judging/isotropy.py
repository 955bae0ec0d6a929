"""Does a stack look as sharp along Z as along X and Y? Told from its power spectrum, without the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.resampling import resampled

FREQUENCIES = (0.01, 0.5)  # cycles per isotropic voxel that count
HALF_ANGLE = 30.0  # degrees around an axis
SLICES = 32  # transformed together
LEAST = 8  # voxels along every axis


@dataclass(frozen=True)
class Isotropy:
    """Power along Z by power along the lateral axis, in xz and in yz slices: 1 where they are alike, less for blur
    along Z.
    """

    xz: float
    yz: float

    def __str__(self) -> str:
        return f"{self.xz:.2f} (xz), {self.yz:.2f} (yz)"


def isotropy(image: Image, channel: int = 0) -> Isotropy:
    """How alike the axial and the lateral spectrum of a stack are: Phi, of one channel and all time points.

    The image is interpolated to isotropic voxels. Every xz (yz) slice, less its mean and under a 2D Hann window, gives
    a power spectrum; of their mean P over frequencies from 0.01 to 0.5 cycles per voxel, Phi = (sum of P within 30
    degrees of k_z) / (sum of P within 30 degrees of k_x (k_y)). White noise and round things have 1. What is longer
    along Z than along X for its own sake lowers it too: compare images of the same kind. (Our measure; it reproduces
    the range of the SI, 2.4.)

    Raises AxesError without Z, Y and X, DataError for unknown voxel sizes, tiny stacks and constant images.
    """
    if not {"Z", "Y", "X"} <= set(image.axes):
        raise AxesError(f"Isotropy is a matter of stacks with Z, Y and X, but the image has the axes {image.axes}.")
    if image.full_voxel_size is None:
        raise DataError(
            "Isotropy needs the voxel size of the image, which is unknown. Give voxel_size in um (--voxel-size)."
        )
    if not 0 <= channel < image.size("C"):
        raise DataError(f"The image has {image.size('C')} channels, counted from 0; there is no channel {channel}.")
    sizes = dict(zip(image.spatial_axes, image.full_voxel_size, strict=True))
    smallest = min(sizes.values())
    finer = resampled(image, {letter: size / smallest for letter, size in sizes.items()})
    stacks = finer.moved("STCZYX")
    if min(stacks.shape[3:]) < LEAST:
        raise DataError(
            f"A stack of {' x '.join(map(str, stacks.shape[3:]))} isotropic voxels is too small to tell its isotropy: "
            f"at least {LEAST} are needed along every axis. Give a larger one."
        )
    return Isotropy(_phi(stacks, channel, across=4), _phi(stacks, channel, across=5))


def _phi(stacks: Image, channel: int, across: int) -> float:
    """Of all slices of S T C Z Y X that hold Z and the lateral axis that is not `across`."""
    power: Any = 0.0
    for sample, time in np.ndindex(*stacks.shape[:2]):
        for first in range(0, stacks.shape[across], SLICES):
            part: list[slice | int] = [sample, time, channel, slice(None), slice(None), slice(None)]
            part[across] = slice(first, first + SLICES)
            power = power + _power(np.moveaxis(stacks.read(*part), across - 3, 0))
    near_z, near_lateral = _wedges(power.shape)
    below = float(power[near_lateral].sum())
    if not below > 0:
        raise DataError("The image is constant, or varies along Z only: there is nothing to compare.")
    return float(power[near_z].sum()) / below


def _power(slices: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the power spectra of `slices` (slices, Z, lateral)."""
    values = slices.astype(np.float64)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values *= np.outer(*(np.hanning(length + 2)[1:-1] for length in values.shape[1:]))
    return np.asarray((np.abs(np.fft.fft2(values)) ** 2).sum(axis=0))


def _wedges(shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Frequencies near k_z and near the lateral k."""
    kz, k = np.meshgrid(*(np.fft.fftfreq(length) for length in shape), indexing="ij")
    radius = np.hypot(kz, k)
    counted = (radius >= FREQUENCIES[0]) & (radius <= FREQUENCIES[1])
    near = np.cos(np.deg2rad(HALF_ANGLE)) * radius
    return counted & (np.abs(kz) >= near), counted & (np.abs(k) >= near)
