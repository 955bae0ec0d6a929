"""Point-spread functions (SI 2.5): Gaussian, scalar Debye for widefield and confocal microscopes, a measured bead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import asin, isfinite, log, sqrt, tan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError, VeriscopeError
from veriscope.images.image import Image
from veriscope.simulate.spread import PSF, VoxelSize, box, checked_voxel_size, cut
from veriscope.wording import lengths

__all__ = ["PSF", "Objective", "VoxelSize", "debye", "from_words", "gaussian", "measured"]

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
        edges = erf((np.arange(side + 2) - 0.5) * step / (sqrt(2) * sigma))
        half = np.diff(edges)
        profiles.append(np.concatenate([half[:0:-1], half]))
    z, y, x = profiles
    return PSF(
        cut(z[:, None, None] * y[:, None] * x),
        size,
        {"kind": "gaussian", "na": na, "wavelength": wavelength, "index": index},
        partial(gaussian, na, wavelength, index),
    )


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
    axial_reach = AXIAL_REACH * axial
    lateral_reach = LATERAL_REACH * lateral
    if not confocal:  # the product of two PSFs has next to nothing out of focus
        lateral_reach = max(lateral_reach, axial_reach * min(tan(emission.half_angle), STEEPEST))
    sides = box((axial_reach, lateral_reach, lateral_reach), size, section)

    # All on the positive side of the middle, and mirrored at the end: exactly symmetric.
    z, of_z = _inside_voxels(sides[0], size[0], axial)
    y, of_y = _inside_voxels(sides[1], size[1], lateral)
    x, of_x = _inside_voxels(sides[2], size[2], lateral)
    step = lateral / (4 * FINE)
    radii = np.arange(int(np.hypot(abs(y).max(), abs(x).max()) / step) + 2) * step
    table = np.ones((z.size, radii.size))
    for one in light:
        table *= _debye_table(one, z, radii)
    planes = table.reshape(-1, of_z, radii.size).mean(axis=1)
    at = np.hypot(y[:, None], x)
    shape = (y.size // of_y, of_y, x.size // of_x, of_x)
    quarter = np.stack([np.interp(at, radii, plane).reshape(shape).mean(axis=(1, 3)) for plane in planes])
    for axis in range(3):
        mirrored = np.flip(quarter, axis).take(range(quarter.shape[axis] - 1), axis)
        quarter = np.concatenate([mirrored, quarter], axis)
    remade = partial(debye, na, wavelength, index, confocal=confocal, excitation=excitation)
    return PSF(cut(quarter).astype(np.float32), size, described, remade)


def _inside_voxels(side: int, step: float, width: float) -> tuple[NDArray[np.float64], int]:
    """Places (um) within the middle voxel and the `side` behind it, and how many are in each: enough for `width`."""
    if step > COARSEST * width:
        raise DataError(
            f"Voxels of {step:g} um are more than {COARSEST} times as wide as this PSF, {width:.3g} um. "
            "Check the voxel size (um), or omit the PSF: it blurs nothing here."
        )
    count = 2 * int(FINE * step / width / 2) + 1
    inside = (np.arange(count) - count // 2) / count
    return (np.arange(side + 1)[:, None] + inside).ravel() * step, count


def _debye_table(objective: Objective, z: NDArray[Any], r: NDArray[Any]) -> NDArray[np.float64]:
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
    values: dict[str, float] = {"wavelength": GREEN, "index": WATER}
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
    optics = values["na"], values["wavelength"], values["index"]
    if kind == "gaussian":
        return gaussian(*optics, voxel_size)
    return debye(*optics, voxel_size, kind == "confocal", values.get("excitation"))


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


def measured(image: Image, voxel_size: Sequence[float] | None = None) -> PSF:
    """The PSF that a stack with a small bead shows; the brightest bead where there are several.

    The background (median of the stack's outermost voxels) is subtracted; what stands clearly out of its noise and
    hangs together with the bead is kept, moved between voxels so that its centre of mass lies in the middle, and cut
    where it holds 99.5 % of the light. `voxel_size` (um, Z Y X) is by default that of the image. Raises AxesError for
    what is not a single stack, DataError for stacks without a bead.
    """
    if any(image.size(letter) > 1 for letter in "STC") or image.size("Z") < 3:
        raise AxesError(
            f"A PSF is measured from one stack of a bead (ZYX, at least 3 planes), not from axes '{image.axes}' with "
            f"{lengths(image.shape)} voxels. Choose one channel and time point, or state the axes."
        )
    stack = image.moved("ZYX")
    size = stack.full_voxel_size if voxel_size is None else tuple(voxel_size)
    if size is None:
        raise DataError(f"The bead image does not state its voxel size, which a PSF needs. {SAVE_IT}")
    sizes = checked_voxel_size(size)
    pixels = np.asarray(stack, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise DataError("The bead image holds NaN or infinite values. Crop or replace them.")
    return PSF(cut(_centred(_alone(pixels))), sizes, {"kind": "measured"})


def _alone(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
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


def _centred(bead: NDArray[np.float64]) -> NDArray[np.float64]:
    """`bead` in a box of odd lengths, its centre of mass in the middle."""
    from scipy.ndimage import center_of_mass, shift

    core = np.where(bead >= CORE * bead.max(), bead, 0)
    middle = np.asarray(center_of_mass(core))
    nearest = np.rint(middle).astype(int)
    filled = np.argwhere(bead > 0)
    half = np.max(np.abs(filled - nearest), axis=0) + 1
    wide = np.pad(bead, [(side, side) for side in half])
    spans = tuple(slice(at, at + 2 * side + 1) for at, side in zip(nearest, half, strict=True))
    moved: NDArray[np.float64] = shift(wide[spans], nearest - middle, order=3, mode="constant")
    return np.clip(moved, 0, None)
