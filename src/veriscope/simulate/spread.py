"""A point-spread function as a value: a small kernel with its voxel size, cut, resampled and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.wording import lengths

VoxelSize = tuple[float, float, float]  # um, Z Y X
KEPT = 0.995  # of the light: kernels are cut where they hold it
LARGEST = 2**26  # voxels of a kernel


@dataclass(frozen=True, eq=False)
class PSF:
    """Where the light of one point goes: `kernel` (float32, Z Y X, odd lengths, at least 0, sum 1, the point in the
    middle) on voxels of `voxel_size` um.

    `described` says in plain JSON how it was made. `remade` makes the same PSF for other voxels, or only its section in
    the middle along Y, where its formula is known. Raises DataError for any other kernel; the sum is made 1.
    """

    kernel: NDArray[np.float32]
    voxel_size: VoxelSize
    described: dict[str, Any] = field(default_factory=dict)
    remade: Callable[..., PSF] | None = None  # (voxel_size, section=False)

    def __post_init__(self) -> None:
        kernel = np.asarray(self.kernel, dtype=np.float64)
        if kernel.ndim != 3 or not all(length % 2 for length in kernel.shape):
            raise DataError(
                f"The kernel of a PSF has three axes (Z Y X) of odd lengths, so that it has a middle, not the shape "
                f"{kernel.shape}. Crop or pad it."
            )
        middle = kernel[tuple(length // 2 for length in kernel.shape)]
        if not (np.isfinite(kernel).all() and (kernel >= 0).all() and middle > 0):
            raise DataError(
                "The kernel of a PSF is light: finite, at least 0, and above 0 in the middle, where the point is. "
                "Clip and centre it first."
            )
        object.__setattr__(self, "kernel", (kernel / kernel.sum()).astype(np.float32))
        object.__setattr__(self, "voxel_size", checked_voxel_size(self.voxel_size))

    @property
    def lateral(self) -> NDArray[np.float32]:
        """The plane in focus (Y, X), sum 1: what blurs an image of a single thin plane."""
        plane = self.kernel[self.kernel.shape[0] // 2]
        return np.asarray(plane / plane.sum())

    def at(self, voxel_size: Sequence[float]) -> PSF:
        """The same PSF on other voxels: computed where its formula is known, interpolated where it was measured."""
        size = checked_voxel_size(voxel_size)
        if np.allclose(size, self.voxel_size, rtol=1e-6):
            return self
        if self.remade is not None:
            return self.remade(size)
        return PSF(resampled(self.kernel, self.voxel_size, size).astype(np.float32), size, self.described)

    def rotated(self, pixel_um: float) -> NDArray[np.float32]:
        """The section through the middle along the optical axis, on square pixels: rows are Z, columns X, sum 1.

        Lateral slices that were blurred by it along their rows look like axial ones (SI 2.4).
        """
        pixels = checked_voxel_size((pixel_um, pixel_um, pixel_um))
        if self.remade is not None:
            section = self.remade(pixels, section=True).kernel[:, 0, :]
        else:
            kernel = self.at(pixels).kernel
            section = cut(kernel[:, kernel.shape[1] // 2, :])
        return np.asarray((section / section.sum()).astype(np.float32))

    def cropped(self, kept: float = KEPT) -> PSF:
        """Cut to the smallest box around the middle that holds about `kept` of the light (never less)."""
        return PSF(cut(self.kernel, kept), self.voxel_size, self.described, self.remade)

    def fwhm(self) -> VoxelSize:
        """Full width at half maximum along Z, Y and X through the middle, in um, between voxels by interpolation.

        It includes the width of the voxels themselves; a PSF that is narrower than a voxel measures one voxel.
        """
        middle = [length // 2 for length in self.kernel.shape]
        widths = []
        for axis, step in enumerate(self.voxel_size):
            index: list[Any] = list(middle)
            index[axis] = slice(None)
            widths.append(step * _half_width(self.kernel[tuple(index)].astype(np.float64)))
        return widths[0], widths[1], widths[2]


def checked_voxel_size(voxel_size: Sequence[float] | None) -> VoxelSize:
    """Three positive numbers in um, Z Y X; DataError otherwise."""
    sizes = tuple(map(float, voxel_size or ()))
    if len(sizes) != 3 or not all(isfinite(size) and size > 0 for size in sizes):
        raise DataError(
            f"A PSF needs voxels of a known size: three positive numbers in um for Z, Y and X, not {voxel_size}. "
            "Give the voxel size of the image."
        )
    return sizes[0], sizes[1], sizes[2]


def box(halves: Sequence[float], voxel_size: Sequence[float], section: bool = False) -> tuple[int, ...]:
    """How many voxels to either side of the middle reach as far as `halves` (um, Z Y X); none along Y of a `section`.

    Raises DataError where that is too many.
    """
    z, y, x = (max(0, ceil(half / step - 0.5)) for half, step in zip(halves, voxel_size, strict=True))
    sides = (z, 0 if section else y, x)
    count = prod(2 * side + 1 for side in sides)
    if count > LARGEST:
        raise DataError(
            f"On voxels of {lengths(voxel_size)} um this PSF has {count:,} of them, more "
            f"than {LARGEST:,}. Check the voxel size (um), or choose larger voxels."
        )
    return sides


def cut(kernel: NDArray[Any], kept: float = KEPT) -> NDArray[Any]:
    """The middle of `kernel` (odd lengths): every axis may lose an equal part of the light, together 1 - `kept`."""
    total, spans = float(kernel.sum(dtype=np.float64)), []
    for axis, length in enumerate(kernel.shape):
        others = tuple(other for other in range(kernel.ndim) if other != axis)
        profile = kernel.sum(axis=others, dtype=np.float64)
        middle = length // 2
        rings = profile[middle:] + profile[middle::-1]
        rings[0] /= 2
        enough = np.cumsum(rings) >= total * (1 - (1 - kept) / kernel.ndim)
        half = int(np.argmax(enough)) if enough.any() else middle
        spans.append(slice(middle - half, middle + half + 1))
    return kernel[tuple(spans)]


def resampled(kernel: NDArray[Any], have: Sequence[float], want: Sequence[float]) -> NDArray[np.float64]:
    """`kernel` on voxels of another size about the same middle: splines between voxels, averaged over larger ones."""
    from scipy.ndimage import map_coordinates

    halves = [(length / 2) * step for length, step in zip(kernel.shape, have, strict=True)]
    sides = box(halves, want)
    fine = [2 * ceil(new / old) + 1 for old, new in zip(have, want, strict=True)]  # odd: one lies in the middle
    places = []
    for side, count, old, new, length in zip(sides, fine, have, want, kernel.shape, strict=True):
        inside = (np.arange(count) - count // 2) / count
        um = (np.arange(-side, side + 1)[:, None] + inside).ravel() * new
        places.append(um / old + length // 2)
    padded = np.pad(kernel.astype(np.float64), 2)  # light fades out beyond the last voxel
    where = np.meshgrid(*[at + 2 for at in places], indexing="ij")
    dense = np.clip(map_coordinates(padded, where, order=3, mode="constant"), 0, None)  # splines overshoot
    shape = [part for side, count in zip(sides, fine, strict=True) for part in (2 * side + 1, count)]
    return np.asarray(dense.reshape(shape).mean(axis=tuple(range(1, 2 * kernel.ndim, 2))))


def _half_width(profile: NDArray[np.float64]) -> float:
    """Width in voxels at half of the middle's height, from the middle outwards, by cubics that do not overshoot."""
    from scipy.interpolate import PchipInterpolator

    padded = np.pad(profile / profile[len(profile) // 2], 2)  # beyond the kernel there is nothing
    middle = len(padded) // 2
    curve = PchipInterpolator(np.arange(-middle, middle + 1), padded - 0.5)
    roots = np.asarray(curve.roots(extrapolate=False), dtype=np.float64)
    right, left = roots[roots > 0], roots[roots < 0]
    return float(right.min() - left.max())
