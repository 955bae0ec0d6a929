"""Point-spread functions (SI 2.5): Gaussian, scalar Debye for widefield and confocal microscopes, a measured bead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import asin, ceil, isfinite, log, prod, sqrt, tan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError, VeriscopeError
from veriscope.images.image import Image
from veriscope.wording import lengths

VoxelSize = tuple[float, float, float]  # um, Z Y X
Floats = NDArray[np.float64]

KEPT = 0.995  # of the light: kernels are cut where they hold it
LARGEST = 2**26  # voxels of a kernel
WATER = 1.33  # refractive index
GREEN = 0.52  # um, emission
EXCITED_AT = 0.488 / GREEN  # excitation over emission, where the excitation is not given
NODES = 300  # of the Gauss-Legendre rule
# How far the Debye PSF is followed: it has no end, as every plane of a widefield PSF holds the same light.
AXIAL_REACH, LATERAL_REACH = 3.0, 5.0  # in widths at half maximum, to each side
STEEPEST = 4.0  # tangent of the cone's angle: what grazes the plane of focus is followed no further
FINE = 6  # samples per width at half maximum, to take the mean over a voxel
COARSEST = 30  # widths at half maximum in a voxel
SAVE_IT = "Save it with its voxel size, for example in Fiji under Image > Properties."
NOISE = 3.0  # standard deviations of the background: light above it belongs to the bead
CORE = 0.25  # of the peak: what is brighter says where the bead is


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
        z, y, x = (length // 2 for length in self.kernel.shape)
        lines = self.kernel[:, y, x], self.kernel[z, :, x], self.kernel[z, y]
        deep, high, wide = (step * _half_width(line) for step, line in zip(self.voxel_size, lines, strict=True))
        return deep, high, wide


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
    """Voxels to either side of the middle that reach as far as `halves` (um, Z Y X), none along Y of a `section`;
    DataError where there are too many."""
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


def resampled(kernel: NDArray[Any], have: Sequence[float], want: Sequence[float]) -> Floats:
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


def _half_width(profile: NDArray[np.float32]) -> float:
    """Width in voxels at half of the middle's height, from the middle outwards, by cubics that do not overshoot."""
    from scipy.interpolate import PchipInterpolator

    padded = np.pad(
        profile.astype(np.float64) / float(profile[len(profile) // 2]), 2
    )  # beyond the kernel there is nothing
    middle = len(padded) // 2
    curve = PchipInterpolator(np.arange(-middle, middle + 1), padded - 0.5)
    roots = np.asarray(curve.roots(extrapolate=False), dtype=np.float64)
    right, left = roots[roots > 0], roots[roots < 0]
    return float(right.min() - left.max())


@dataclass(frozen=True)
class Objective:
    """What decides how sharp a microscope sees: numerical aperture, wavelength (um), refractive index.

    Raises DataError for an aperture that no lens in this medium has, and for wavelengths that are not in um.
    """

    na: float
    wavelength: float = GREEN
    index: float = WATER

    def __post_init__(self) -> None:
        if not (isfinite(self.index) and 1 <= self.index <= 4):
            raise DataError(f"A refractive index lies between 1 (air) and 4, not at {self.index:g}. Water has 1.33.")
        if not 0.01 <= self.na < self.index:
            raise DataError(
                f"A numerical aperture is at least 0.01 and below the refractive index, here {self.index:g}, not "
                f"{self.na:g}. Lower na, or give the index of the immersion (water 1.33, oil 1.515)."
            )
        if not 0.1 <= self.wavelength <= 2.5:
            raise DataError(f"Wavelengths are in um, from 0.1 to 2.5, not {self.wavelength:g}. Green light is 0.52.")

    @property
    def fwhm(self) -> VoxelSize:
        """Width at half maximum in theory, um, Z Y X: 0.88 lambda / (n - sqrt(n^2 - NA^2)) and 0.51 lambda / NA."""
        lateral = 0.51 * self.wavelength / self.na
        return 0.88 * self.wavelength / (self.index - sqrt(self.index**2 - self.na**2)), lateral, lateral

    @property
    def half_angle(self) -> float:
        """Of the cone of light that is collected, in radians."""
        return asin(self.na / self.index)


def gaussian(na: float, wavelength: float, index: float, voxel_size: Sequence[float], section: bool = False) -> PSF:
    """A Gaussian with the theoretical width at half maximum, see `Objective`; lengths in um.

    Every voxel holds the light that falls into it, not the value at its centre: correct for large voxels too.
    `section`: only what lies in the middle along Y.
    """
    from scipy.special import erf

    objective, size = Objective(na, wavelength, index), checked_voxel_size(voxel_size)
    sigmas = [width / sqrt(8 * log(2)) for width in objective.fwhm]
    profiles = []
    for sigma, step, side in zip(sigmas, size, box([4 * sigma for sigma in sigmas], size, section), strict=True):
        half = np.diff(erf((np.arange(side + 2) - 0.5) * step / (sqrt(2) * sigma)))
        profiles.append(np.pad(half, (side, 0), mode="reflect"))
    z, y, x = profiles
    described = {"kind": "gaussian", "na": na, "wavelength": wavelength, "index": index}
    return PSF(cut(z[:, None, None] * y[:, None] * x), size, described, partial(gaussian, na, wavelength, index))


def debye(
    na: float,
    wavelength: float,
    index: float,
    voxel_size: Sequence[float],
    confocal: bool = False,
    excitation: float | None = None,
    section: bool = False,
) -> PSF:
    """The PSF of a lens by the scalar Debye integral; confocal: that of the `excitation` times that of the emission.

    h(r, z) = |int_0^alpha sqrt(cos t) sin t J0(k r sin t) exp(i k z cos t) dt|^2 with k = 2 pi n / lambda and
    alpha = asin(NA / n), averaged over each voxel; lengths in um. It is followed for 3 axial and 5 lateral widths to
    each side, or as far as the cone of light spreads meanwhile, and cut where it holds 99.5 % of that. `section`: only
    what lies in the middle along Y.
    """
    emission, size = Objective(na, wavelength, index), checked_voxel_size(voxel_size)
    light = [emission]
    described: dict[str, Any] = {"kind": "widefield", "na": na, "wavelength": wavelength, "index": index}
    if confocal:
        excitation = EXCITED_AT * wavelength if excitation is None else excitation
        light.append(Objective(na, excitation, index))
        described |= {"kind": "confocal", "excitation": excitation}
    axial, lateral, _ = emission.fwhm
    axial_reach, lateral_reach = AXIAL_REACH * axial, LATERAL_REACH * lateral
    if not confocal:  # the product of two PSFs has next to nothing out of focus
        lateral_reach = max(lateral_reach, axial_reach * min(tan(emission.half_angle), STEEPEST))
    sides = box((axial_reach, lateral_reach, lateral_reach), size, section)

    # All on the positive side of the middle, and mirrored at the end: exactly symmetric.
    sampled = (_inside_voxels(*axis) for axis in zip(sides, size, emission.fwhm, strict=True))
    (z, of_z), (y, of_y), (x, of_x) = sampled
    step = lateral / (4 * FINE)
    radii = np.arange(int(np.hypot(abs(y).max(), abs(x).max()) / step) + 2) * step
    table = np.ones((z.size, radii.size))
    for one in light:
        table *= _debye_table(one, z, radii)
    planes = table.reshape(-1, of_z, radii.size).mean(axis=1)
    at = np.hypot(y[:, None], x)
    shape = (y.size // of_y, of_y, x.size // of_x, of_x)
    quarter = np.stack([np.interp(at, radii, plane).reshape(shape).mean(axis=(1, 3)) for plane in planes])
    whole = np.pad(quarter, [(length - 1, 0) for length in quarter.shape], mode="reflect")
    remade = partial(debye, na, wavelength, index, confocal=confocal, excitation=excitation)
    return PSF(cut(whole).astype(np.float32), size, described, remade)


def _inside_voxels(side: int, step: float, width: float) -> tuple[Floats, int]:
    """Places (um) within the middle voxel and the `side` behind it, and how many are in each: enough for `width`."""
    if step > COARSEST * width:
        raise DataError(
            f"Voxels of {step:g} um are more than {COARSEST} times as wide as this PSF, {width:.3g} um. "
            "Check the voxel size (um), or omit the PSF: it blurs nothing here."
        )
    count = 2 * int(FINE * step / width / 2) + 1
    inside = (np.arange(count) - count // 2) / count
    return (np.arange(side + 1)[:, None] + inside).ravel() * step, count


def _debye_table(objective: Objective, z: NDArray[Any], r: NDArray[Any]) -> Floats:
    """h at all `z` (rows) and radii `r` (columns), um; 1 at the focus."""
    from scipy.special import j0

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    alpha = objective.half_angle
    angle, weights = alpha / 2 * (nodes + 1), alpha / 2 * weights
    k = 2 * np.pi * objective.index / objective.wavelength
    ring = weights * np.sqrt(np.cos(angle)) * np.sin(angle)
    wave = np.exp(1j * k * np.outer(z, np.cos(angle)))
    field = (wave * ring) @ j0(k * np.outer(np.sin(angle), r))
    return np.asarray(np.abs(field / ring.sum()) ** 2)


# Words

KINDS = {
    "gaussian": ("na", "wavelength", "index"),
    "widefield": ("na", "wavelength", "index"),
    "confocal": ("na", "wavelength", "index", "excitation"),
}
EXAMPLE = "gaussian:na=1.1,wavelength=0.52,index=1.33"


def from_words(text: str, voxel_size: Sequence[float] | None) -> PSF:
    """The PSF that a text names, for voxels of `voxel_size` (um, Z Y X).

    ``gaussian:na=1.1,wavelength=0.52,index=1.33``, ``widefield:na=0.8``, ``confocal:na=1.05,excitation=0.488``, or the
    path of a bead image with a voxel size. Only na has no default. Raises VeriscopeError for anything else.
    """
    kind, _, settings = str(text).partition(":")
    kind = kind.strip().lower()
    if kind not in KINDS:
        return _from_file(text, voxel_size)
    if voxel_size is None:
        raise DataError(f"The PSF {text} needs the voxel size of the image, which it does not state. {SAVE_IT}")
    values: dict[str, Any] = {"wavelength": GREEN, "index": WATER}
    for setting in filter(None, (part.strip() for part in settings.split(","))):
        name, _, word = (part.strip() for part in setting.partition("="))
        name = name.lower()
        if name not in KINDS[kind]:
            raise VeriscopeError(f"A {kind} PSF has no setting '{name}' (in {text}): only {', '.join(KINDS[kind])}.")
        try:
            values[name] = float(word)
        except ValueError:
            raise VeriscopeError(
                f"'{word}' is not a number, as {name} of a {kind} PSF must be (in {text}). Write for example {EXAMPLE}."
            ) from None
    if "na" not in values:
        raise VeriscopeError(f"A {kind} PSF needs the numerical aperture, na (in {text}). Write for example {EXAMPLE}.")
    if kind == "gaussian":
        return gaussian(**values, voxel_size=voxel_size)
    return debye(**values, voxel_size=voxel_size, confocal=kind == "confocal")


def _from_file(text: str, voxel_size: Sequence[float] | None) -> PSF:
    from veriscope.images.reading import read_image, split_choice

    if not split_choice(text)[0].exists():
        raise VeriscopeError(
            f"The PSF '{text}' is neither a kind of PSF ({', '.join(KINDS)}) nor a file. "
            f"Write for example {EXAMPLE}, or the path of a bead image."
        )
    bead = measured(read_image(text))
    psf = PSF(bead.kernel, bead.voxel_size, {**bead.described, "file": Path(text).name})
    return psf if voxel_size is None else psf.at(voxel_size)


def measured(image: Image) -> PSF:
    """The PSF that a stack with a small bead shows; the brightest bead where there are several.

    The background (median of the stack's outermost voxels) is subtracted; what stands clearly out of its noise and
    hangs together with the bead is kept, moved between voxels so that its centre of mass lies in the middle, and cut
    where it holds 99.5 % of the light. Raises AxesError for what is not a single stack, DataError for stacks without a
    bead or a voxel size.
    """
    if any(image.size(letter) > 1 for letter in "STC") or image.size("Z") < 3:
        raise AxesError(
            f"A PSF is measured from one stack of a bead (ZYX, at least 3 planes), not from axes '{image.axes}' with "
            f"{lengths(image.shape)} voxels. Choose one channel and time point, or state the axes."
        )
    stack = image.moved("ZYX")
    if stack.full_voxel_size is None:
        raise DataError(f"The bead image does not state its voxel size, which a PSF needs. {SAVE_IT}")
    pixels = np.asarray(stack, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise DataError("The bead image holds NaN or infinite values. Crop or replace them.")
    return PSF(cut(_centred(_alone(pixels))), checked_voxel_size(stack.full_voxel_size), {"kind": "measured"})


def _alone(pixels: Floats) -> Floats:
    """The light of the brightest bead, 0 elsewhere."""
    from scipy.ndimage import binary_dilation, gaussian_filter, label

    border = np.ones(pixels.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    dark = float(np.median(pixels[border]))
    noise = 1.4826 * float(np.median(abs(pixels[border] - dark)))
    light = pixels - dark
    smooth = gaussian_filter(light, 0.7)
    peak = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    if light[peak] <= NOISE * noise or light[peak] <= 0:
        raise DataError(
            "The bead image shows no bead: nothing in it is clearly brighter than its border. "
            "Crop a single bead with some dark background around it."
        )
    if any(at in (0, length - 1) for at, length in zip(peak, pixels.shape, strict=True)):
        raise DataError(
            f"The brightest voxel of the bead image lies on its border, at {tuple(map(int, peak))} (ZYX). "
            "Crop the bead with dark background on all sides."
        )
    parts, _ = label(smooth > max(NOISE * noise, 0.0))
    mine = binary_dilation(parts == parts[peak])
    return np.asarray(np.where(mine, np.clip(light, 0, None), 0))


def _centred(bead: Floats) -> Floats:
    """`bead` in a box of odd lengths, its centre of mass in the middle."""
    from scipy.ndimage import center_of_mass, shift

    middle = np.asarray(center_of_mass(np.where(bead >= CORE * bead.max(), bead, 0)))
    nearest = np.rint(middle).astype(int)
    half = np.max(np.abs(np.argwhere(bead > 0) - nearest), axis=0) + 1
    wide = np.pad(bead, [(side, side) for side in half])
    spans = tuple(slice(at, at + 2 * side + 1) for at, side in zip(nearest, half, strict=True))
    moved: Floats = shift(wide[spans], nearest - middle, order=3, mode="constant")
    return np.clip(moved, 0, None)
