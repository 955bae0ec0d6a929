"""A measured point-spread function: the image of a bead, freed from its background and put in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.simulate.spread import PSF, checked_voxel_size, cut
from veriscope.wording import lengths

SAVE_IT = "Save it with its voxel size, for example in Fiji under Image > Properties."
NOISE = 3.0  # standard deviations of the background: light above it belongs to the bead
CORE = 0.25  # of the peak: what is brighter says where the bead is


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
    bead = _alone(pixels)
    return PSF(cut(_centred(bead)), sizes, {"kind": "measured"})


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
