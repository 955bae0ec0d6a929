"""What lies between light and camera: blur, loss of light and of sharpness with depth, planes far apart (SI 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.simulate.psf import PSF, checked_voxel_size
from veriscope.wording import listed

Borders = Literal["reflect", "dark"]
_MODES: dict[Borders, Literal["symmetric", "constant"]] = {"reflect": "symmetric", "dark": "constant"}


def convolve(light: NDArray[Any], psf: PSF | NDArray[Any], borders: Borders = "reflect") -> NDArray[np.float32]:
    """`light` as it looks through a microscope: the same shape (..., Z, Y, X) or (Y, X), float32, never negative.

    A kernel (odd lengths, sum 1, its middle stays where it is) blurs as many of the last axes as it has; a PSF blurs
    volumes in 3D, and a single plane as if all light came from the plane in focus. What lies beyond the borders is a
    mirror image, or dark. Light far from the borders keeps its sum. Raises DataError for light that is negative or not
    finite.
    """
    from scipy.signal import oaconvolve

    light = np.asarray(light, dtype=np.float32)
    if isinstance(psf, PSF):
        psf = psf.lateral if light.ndim == 2 else psf.kernel
    kernel = np.asarray(psf, dtype=np.float32)
    if kernel.ndim > light.ndim or not all(length % 2 for length in kernel.shape):
        raise DataError(
            f"A kernel has odd lengths, so that it has a middle, and at most as many axes as the light it blurs, not "
            f"the shape {kernel.shape} for light of shape {light.shape}."
        )
    if not np.isfinite(light).all() or (light < 0).any():
        raise DataError("Only light of at least 0 can be blurred by a PSF. Clip the image and remove NaN first.")
    outer = light.shape[: light.ndim - kernel.ndim]
    sides = [(length // 2, length // 2) for length in kernel.shape]
    result = np.empty_like(light)
    for place in np.ndindex(*outer):  # one volume at a time
        wide = np.pad(light[place], sides, mode=_MODES[borders])
        np.clip(oaconvolve(wide, kernel, mode="valid"), 0, None, out=result[place])
    return result


@dataclass(frozen=True)
class Depth:
    """What thick tissue does to light from below its surface (the plane Z = 0): it gets dimmer, and blurred laterally.

    Light falls as exp(-depth / `decay_um`); the standard deviation of the blur grows by `blur_um_per_um` of depth. The
    blur alone leaves the sum of every plane as it is. Raises DataError for numbers that no tissue has.
    """

    decay_um: float = 40.0  # infinite: nothing gets lost
    blur_um_per_um: float = 0.01

    def __post_init__(self) -> None:
        if not self.decay_um > 0 or not (isfinite(self.blur_um_per_um) and self.blur_um_per_um >= 0):
            raise DataError(
                f"Light falls to 1/e within a depth above 0 um, and blur grows by 0 or more, not {self}. "
                "For clear tissue use decay_um=inf and blur_um_per_um=0."
            )

    def apply(self, light: NDArray[Any], voxel_size: Sequence[float]) -> NDArray[np.float32]:
        """`light` (..., Z, Y, X; voxels in um) as it arrives at the surface, float32."""
        from scipy.ndimage import gaussian_filter

        step, *pixel = checked_voxel_size(voxel_size)
        if np.ndim(light) < 3:
            raise DataError(f"Depth needs a stack (Z Y X), not light of shape {np.shape(light)}. Give a stack.")
        arriving = np.array(light, dtype=np.float32)
        for number in range(arriving.shape[-3]):
            depth = number * step
            plane = arriving[..., number, :, :]
            if depth and self.blur_um_per_um:
                sigmas = [self.blur_um_per_um * depth / width for width in pixel]
                plane = gaussian_filter(plane, [0.0] * (plane.ndim - 2) + sigmas, mode="reflect")
            arriving[..., number, :, :] = plane * np.float32(np.exp(-depth / self.decay_um))
        return arriving


def subsample(image: Image, axis: str, factor: float) -> Image:
    """`image` with its planes along `axis` at 0, factor, 2 factor, ...; any factor of at least 1, such as 10.2.

    Between planes values are interpolated linearly (float32, where the image has integers). The first plane stays where
    it is, and the voxel size along `axis` grows by `factor`. Lazy images stay lazy for whole factors. Raises AxesError
    for an axis that is not in space, DataError for a factor that leaves fewer than two planes.
    """
    axis = axis.upper()
    if axis not in image.spatial_axes or len(axis) != 1:
        raise AxesError(
            f"Planes are removed along an axis in space, here {listed(image.spatial_axes, 'or')}, not along '{axis}'. "
            f"The image has the axes '{image.axes}'."
        )
    size = image.size(axis)
    if not (isfinite(factor) and factor >= 1):
        raise DataError(f"Planes are removed by a factor of at least 1, not {factor:g}. Use for example 5 or 10.2.")
    if lines(size, factor) < 2:
        raise DataError(
            f"Of the {size} planes along {axis}, a factor of {factor:g} leaves only one. "
            f"Use a factor of at most {size - 1}, or a larger image."
        )
    if float(factor).is_integer():
        thin = image.region(**{axis: slice(None, None, int(factor))})
    else:
        thin = image.with_array(at_lines(np.asarray(image), image.axes.index(axis), factor))
    voxel_size = image.voxel_size and tuple(
        step and step * (factor if letter == axis else 1)
        for letter, step in zip(image.spatial_axes, image.voxel_size, strict=True)
    )
    return replace(thin, voxel_size=voxel_size)


def lines(length: int, step: float) -> int:
    """How many lines are left of `length` pixels: those at 0, step, 2 step, ... up to the last pixel."""
    return int((length - 1) / step + 1e-9) + 1


def at_lines(pixels: NDArray[Any], axis: int, step: float) -> NDArray[Any]:
    """`pixels` at 0, `step`, 2 `step`, ... along `axis`, linear between entries; whole numbers become float32."""
    kind = pixels.dtype if pixels.dtype.kind == "f" else np.dtype(np.float32)
    places = np.arange(lines(pixels.shape[axis], step)) * float(step)
    nearest = np.rint(places)
    places = np.where(np.abs(places - nearest) < 1e-9 * np.maximum(1, nearest), nearest, places)
    below = np.minimum(np.floor(places).astype(int), pixels.shape[axis] - 1)
    above = np.minimum(below + 1, pixels.shape[axis] - 1)
    weight = np.expand_dims(places - below, [other for other in range(pixels.ndim) if other != axis]).astype(kind)
    near, far = (pixels.take(entries, axis).astype(kind, copy=False) for entries in (below, above))
    return np.asarray(near * (1 - weight) + far * weight)
