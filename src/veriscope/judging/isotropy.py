"""Does a stack look as sharp along Z as along X and Y? Estimated from its power spectrum, without ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.resampling import resampled
from veriscope.judging.spectra import LEAST, Section, section
from veriscope.wording import lengths

FREQUENCIES = (0.01, 0.5)  # cycles per isotropic voxel that count
HALF_ANGLE = 30.0  # degrees around an axis


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
    sizes = dict(zip(image.spatial_axes, image.full_voxel_size, strict=True))
    smallest = min(sizes.values())
    finer = resampled(image, {letter: size / smallest for letter, size in sizes.items()})
    shape = [finer.size(letter) for letter in "ZYX"]
    if min(shape) < LEAST:
        raise DataError(
            f"A stack of {lengths(shape)} isotropic voxels is too small to measure its isotropy: at least "
            f"{LEAST} are needed along every axis. Give a larger one."
        )
    return Isotropy(_phi(section(finer, "xz", channel)), _phi(section(finer, "yz", channel)))


def _phi(found: Section) -> float:
    """Power near k_z by power near the lateral k."""
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(length)) for length in found.power.shape)
    kz, k = np.meshgrid(rows, columns, indexing="ij")
    radius = np.hypot(kz, k)
    counted = (radius >= FREQUENCIES[0]) & (radius <= FREQUENCIES[1])
    near = np.cos(np.deg2rad(HALF_ANGLE)) * radius
    below = float(found.power[counted & (np.abs(k) >= near)].sum())
    if not below > 0:
        raise DataError("The image is constant, or varies along Z only: there is nothing to compare.")
    return float(found.power[counted & (np.abs(kz) >= near)].sum()) / below
