"""How much of an image is coarse and how much fine: its power spectrum, along rings, and in sections with k_z.

Sections of input, restoration and truth side by side are those of Supp. Fig. 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image

LEAST = 8  # pixels along every axis
SLICES = 32  # transformed together
SECTIONS = ("xz", "yz", "xy")


@dataclass(frozen=True, eq=False)
class Section:
    """Mean power of all slices of a kind. `power` (rows, columns) has frequency 0 in the middle; white noise of
    variance v has about v.
    """

    power: NDArray[np.float64]
    rows: NDArray[np.float64]  # cycles per `unit`, ascending: k_z, or k_y
    columns: NDArray[np.float64]  # k_x, or k_y
    name: str  # "xz", "yz" or "xy"
    unit: str  # "um" or "pixels"

    @property
    def decibels(self) -> NDArray[np.float64]:
        """10 log10 of the power by its largest value, at least -100."""
        top = float(self.power.max())
        return np.asarray(10 * np.log10(np.maximum(self.power / top if top > 0 else self.power, 1e-10)))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean power in rings of frequencies; white noise of variance v has about v in all of them."""

    frequency: NDArray[np.float64]  # cycles per `unit`
    power: NDArray[np.float64]
    unit: str


def section(image: Image, name: str = "xz", channel: int = 0) -> Section:
    """The mean power spectrum of all slices `name` of one channel, over time points, less their mean, under Hann.

    "xz" and "yz" have k_z in rows; of a plane, or plane by plane, "xy" has k_y. Voxels are as they are: a stack whose
    planes lie far apart ends early along k_z. Raises AxesError for axes that are missing, DataError for tiny images
    and for NaN.
    """
    if name not in SECTIONS:
        raise DataError(f"There is no section '{name}'. Choose {', '.join(SECTIONS[:-1])} or {SECTIONS[-1]}.")
    row, column = name[1].upper(), name[0].upper()
    if not {row, column, "Y", "X"} <= set(image.axes):
        raise AxesError(f"A spectrum in {name} needs the axes {row} and {column}, but the image has {image.axes}.")
    if small := [letter for letter in (row, column) if image.size(letter) < LEAST]:
        raise DataError(
            f"A spectrum needs at least {LEAST} pixels along {row} and {column}; there are "
            f"{', '.join(f'{image.size(letter)} along {letter}' for letter in small)}. Give a larger image."
        )
    if not 0 <= channel < image.size("C"):
        raise DataError(f"The image has {image.size('C')} channels, counted from 0; there is no channel {channel}.")
    across = next(letter for letter in "ZYX" if letter not in (row, column))
    stacks = image.moved("STC" + across + row + column)
    window = np.outer(*(np.hanning(image.size(letter) + 2)[1:-1] for letter in (row, column)))
    power: Any = 0.0
    for sample, time in np.ndindex(*stacks.shape[:2]):
        for first in range(0, stacks.shape[3], SLICES):
            slices = stacks.read(sample, time, channel, slice(first, first + SLICES)).astype(np.float64)
            if not np.isfinite(slices).all():
                raise DataError("The image holds NaN or infinite values. Choose another region, or replace them first.")
            slices -= slices.mean(axis=(1, 2), keepdims=True)
            power = power + (np.abs(np.fft.fft2(slices * window)) ** 2).sum(axis=0)
    power = power / ((window**2).sum() * stacks.shape[0] * stacks.shape[1] * stacks.shape[3])
    voxels = image.voxel(row), image.voxel(column)
    known = None not in voxels
    rows, columns = (
        np.fft.fftshift(np.fft.fftfreq(length, step if known and step else 1.0))
        for length, step in zip(power.shape, voxels, strict=True)
    )
    return Section(np.fft.fftshift(power), rows, columns, name, "um" if known else "pixels")


def radial_spectrum(image: Image, channel: int = 0) -> Spectrum:
    """Mean power of the planes (Y X) of one channel in rings as wide as one frequency of the longer side."""
    found = section(image, "xy", channel)
    radius = np.hypot(found.rows[:, None], found.columns)
    step = min(found.rows[1] - found.rows[0], found.columns[1] - found.columns[0])
    finest = min(np.abs(found.rows).max(), np.abs(found.columns).max())
    ring = np.floor(radius / step + 0.5).astype(np.int64)
    counted = (ring > 0) & (radius <= finest + 1e-9)
    numbers = np.bincount(ring[counted])[1:]
    sums = (np.bincount(ring[counted], values[counted])[1:] for values in (radius, found.power))
    radii, power = (one / numbers for one in sums)
    return Spectrum(radii, power, found.unit)
