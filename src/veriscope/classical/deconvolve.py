"""Deconvolution as it was done before networks: cubic interpolation and Richardson-Lucy (SI, Supp. Figs. 15, 18).

Same shape of call as `restore`: an image or an array goes in, the same kind comes out, float32, in the same unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any, Generic, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as axes_of
from veriscope.classical.method import Method
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.volumes import Picture
from veriscope.simulate.psf import PSF
from veriscope.wording import lengths

Watch = Callable[[int, "NDArray[np.float32]"], object]

ITERATIONS = 70
TOLERANCE = 1e-3
GRID = (2, 5, 10, 20, 40, 70)  # iterations that tuning tries
SEEN = 1e-4  # of a place's light must fall on valid pixels for anything to be known of it
ROUNDING = 1e-8  # I-divergence per pixel that float32 leaves where there is nothing to sharpen, for a mean of 1


class Deconvolved(NamedTuple, Generic[Picture]):
    """The sharper image, and for each of its planes or volumes the number of steps and the remaining I-divergence.

    The I-divergence is the sum over valid pixels of x log(x / y) - x + y, with the image x and what the result looks
    like through the microscope, y.
    """

    image: Picture
    iterations: tuple[int, ...]
    divergence: tuple[float, ...]


def richardson_lucy(
    image: Picture,
    psf: PSF | NDArray[Any],
    background: float = 0.0,
    mask: Any = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    watch: Watch | None = None,
) -> Picture:
    """The most likely object for photon noise: the image of `deconvolved`."""
    return deconvolved(image, psf, background, mask, iterations, tolerance, watch).image


def deconvolved(
    image: Picture,
    psf: PSF | NDArray[Any],
    background: float = 0.0,
    mask: Any = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    watch: Watch | None = None,
) -> Deconvolved[Picture]:
    """Richardson-Lucy with a background and a mask of valid pixels: f <- f [H^T (M x / (H f + b))] / H^T M; 2D or 3D.

    It starts with a flat f, takes at most `iterations` steps, and stops after one that lowers the I-divergence by less
    than the fraction `tolerance` (0: never). With noise, more steps make the image sharper and grainier.

    A PSF is brought to the voxel size of the image, where that is known; planes get its plane in focus. An array (odd
    lengths, as many axes as the image has in space) is a kernel on the pixels of the image; its sum is made 1.

    `background` is the value of pixels without light from the object, such as the offset of the camera; it is not part
    of the result. Do not subtract it beforehand: noise around it would fall below 0, and values below 0 count as 0.
    Pixels where `mask` is False (of the image's shape, or of its space only), such as saturated ones, are ignored; they
    may be NaN. What lies beyond the borders within reach of the PSF is unknown, not dark: light may come from there
    (Bertero and Boccacci 2005). Where no valid pixel receives light, the result is 0.

    Without a background, what the result looks like through the microscope has the same sum as the image over valid
    pixels, after every step. `watch` is called after every step with its number and f (a view; copy what you keep).
    Channels and time points are deconvolved one by one. Raises DataError for NaN, for a PSF that is not one or is
    larger than the image, and for impossible numbers.
    """
    if not (isfinite(background) and background >= 0):
        raise DataError(f"A background is a grey value of at least 0, not {background:g}. Give the camera's offset.")
    if not iterations >= 1:
        raise DataError(f"Richardson-Lucy takes at least 1 step, not {iterations}. Usual are 5 to {ITERATIONS}.")
    if not 0 <= tolerance < 1:
        raise DataError(f"The tolerance is a fraction from 0 to below 1, not {tolerance:g}. Usual is {TOLERANCE}.")
    word: str | None = getattr(image, "axes", None)
    pixels = np.asarray(image)
    space = axes_of.canonical(axes_of.spatial(word)) if word is not None else "ZYX"[-pixels.ndim :]
    if not 2 <= len(space) <= 3 or (word is None and pixels.ndim > 3):
        raise AxesError(
            f"Deconvolution needs planes (Y X) or stacks (Z Y X), not {'axes ' + word if word else pixels.shape}. "
            f"Give an Image with its axes, or one plane or stack."
        )
    have = word or space
    order = "".join(letter for letter in have if letter not in space) + space
    moved = axes_of.move(pixels, have, order)
    valid = _valid(mask, pixels.shape, have, order)
    kernel = _kernel(psf, image, space)
    sides = moved.shape[-len(space) :]
    if any(length // 2 > side for length, side in zip(kernel.shape, sides, strict=True)):
        raise DataError(
            f"The PSF of {lengths(kernel.shape)} pixels is too large for an image of {lengths(sides)} ({space}): it "
            f"reaches beyond it. Crop it, for example with psf.cropped(0.9), or give a larger image."
        )
    result = np.empty(moved.shape, np.float32)
    counts, divergences = [], []
    for place in np.ndindex(*moved.shape[: -len(space)]):
        volume = moved[place]
        if not (np.isfinite(volume) | ~valid[place]).all():
            raise DataError("The image holds NaN or infinite values. Mask them, or replace them.")
        if not valid[place].any():
            raise DataError("The mask leaves no valid pixel. It is True where pixels are valid.")
        done = _steps(volume, kernel, background, valid[place], iterations, tolerance, watch)
        result[place], count, divergence = done
        counts.append(count)
        divergences.append(divergence)
    sharp: Any = result if word is None else cast("Any", image).with_array(axes_of.move(result, order, word))
    return Deconvolved(sharp, tuple(counts), tuple(divergences))


def _steps(
    volume: NDArray[Any],
    kernel: NDArray[np.float32],
    background: float,
    valid: NDArray[np.bool_],
    iterations: int,
    tolerance: float,
    watch: Watch | None,
) -> tuple[NDArray[np.float32], int, float]:
    """f, the number of steps, and the I-divergence left. On a grid with room for light from beyond the borders."""
    light = np.where(valid, volume, 0).astype(np.float64)
    total, brightest = float(np.clip(light, 0, None).sum()), float(light.max())
    if total == 0:
        return np.zeros(volume.shape, np.float32), 0, 0.0
    if background >= brightest:
        raise DataError(
            f"The background, {background:g}, is not below the brightest pixel, {brightest:g}. Give the grey value of "
            "pixels without light."
        )
    grid = _Grid(volume.shape, kernel)
    scale = total / int(valid.sum())  # so that rounding does not depend on the unit
    seen, x = grid.put(valid), grid.put(np.clip(light, 0, None) / scale)
    b = np.float32(background / scale)
    known = grid.backward(seen)
    inverse = np.where(known > SEEN, 1 / np.maximum(known, SEEN), 0).astype(np.float32)
    start = np.float32(max(1 - float(b), 1e-3))
    f = np.where(inverse > 0, start, np.float32(0))
    model = grid.forward(f, b)
    before = _divergence(x, model, seen)
    count = 0
    while count < iterations:
        f *= np.maximum(grid.backward(x / model), 0) * inverse  # x is 0 where a pixel is not valid
        count += 1
        if watch is not None:
            watch(count, grid.take(f) * np.float32(scale))
        model = grid.forward(f, b)
        now = _divergence(x, model, seen)
        done = tolerance > 0 and (before - now <= tolerance * before or now <= ROUNDING * seen.size)
        before = now
        if done:
            break
    return grid.take(f) * np.float32(scale), count, before * scale


class _Grid:
    """Convolution in float32 on a grid larger than the image by the reach of `kernel`, so that none wraps around."""

    def __init__(self, shape: tuple[int, ...], kernel: NDArray[np.float32]) -> None:
        from scipy import fft

        self.fft = fft
        halves = [length // 2 for length in kernel.shape]
        self.shape = [fft.next_fast_len(side + 2 * half, real=True) for side, half in zip(shape, halves, strict=True)]
        self.inside = tuple(slice(half, half + side) for side, half in zip(shape, halves, strict=True))
        wide = np.zeros(self.shape, np.float32)
        wide[tuple(slice(0, length) for length in kernel.shape)] = kernel
        wide = np.roll(wide, [-half for half in halves], range(kernel.ndim))
        self.transfer = fft.rfftn(wide, workers=-1)

    def put(self, values: NDArray[Any]) -> NDArray[np.float32]:
        wide = np.zeros(self.shape, np.float32)
        wide[self.inside] = values
        return wide

    def take(self, wide: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(wide[self.inside])

    def forward(self, f: NDArray[np.float32], background: np.float32) -> NDArray[np.float32]:
        """H f + b, kept above 0 by as much as rounding asks for; the mean of the image is about 1."""
        return np.asarray(np.maximum(self._times(f, self.transfer) + background, 1e-6), np.float32)

    def backward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._times(values, self.transfer.conj())

    def _times(self, values: NDArray[np.float32], transfer: NDArray[Any]) -> NDArray[np.float32]:
        spectrum = self.fft.rfftn(values, workers=-1)
        spectrum *= transfer
        return np.asarray(self.fft.irfftn(spectrum, self.shape, workers=-1, overwrite_x=True))


def _divergence(x: NDArray[np.float32], model: NDArray[np.float32], seen: NDArray[np.float32]) -> float:
    """I-divergence of x from the model over valid pixels, in units of the scaled image."""
    from scipy.special import kl_div

    return float((kl_div(x, model) * seen).sum(dtype=np.float64))


def _kernel(psf: Any, image: Any, space: str) -> NDArray[np.float32]:
    """The PSF on the pixels of the image (its axes in space, sum 1)."""
    if isinstance(psf, PSF):
        if getattr(image, "full_voxel_size", None) is not None:
            sizes = dict(zip("ZYX", psf.voxel_size, strict=True)) | {letter: image.voxel(letter) for letter in space}
            psf = psf.at(list(sizes.values()))
        return np.asarray(psf.lateral if len(space) == 2 else psf.kernel)
    kernel = np.asarray(psf, dtype=np.float64)
    if kernel.ndim != len(space) or not all(length % 2 for length in kernel.shape):
        raise DataError(
            f"A kernel for the axes {space} has {len(space)} odd lengths, so that it has a middle, not the shape "
            f"{kernel.shape}. Crop or pad it, or give a PSF of veriscope.simulate."
        )
    if not np.isfinite(kernel).all() or kernel.min() < 0 or not kernel.sum() > 0:
        raise DataError(
            f"A PSF is light: finite, at least 0, and not dark everywhere. This one goes from {kernel.min():g} to "
            f"{kernel.max():g} with the sum {kernel.sum():g}. Subtract its background and clip it first."
        )
    return np.asarray(kernel / kernel.sum(), np.float32)


def _valid(mask: Any, shape: tuple[int, ...], have: str, order: str) -> NDArray[np.bool_]:
    """The mask with the axes `order` of the image; of the image's space only, it holds for all channels and times."""
    valid = np.broadcast_to(True, shape) if mask is None else np.asarray(mask).astype(bool)
    space = axes_of.spatial(have)
    sides = tuple(side for letter, side in zip(have, shape, strict=True) if letter in space)
    if valid.shape not in (shape, sides):
        raise DataError(
            f"The mask has the shape {valid.shape}, the image {shape}. Give a mask of the same shape, or of {sides} "
            f"({space}) for all channels and time points."
        )
    if valid.shape != shape:
        valid = np.expand_dims(valid, [at for at, letter in enumerate(have) if letter not in space])
    return axes_of.move(np.broadcast_to(valid, shape), have, order)


# Stacks whose planes lie apart


def upsampled(image: Image, factor: float | None = None) -> Image:
    """`image` with `factor` times as many planes along Z, by cubic interpolation (Keys 1981), float32 and in memory.

    Without a `factor`, as many as make voxels as long along Z as along X. With Richardson-Lucy on the finer grid it is
    ``richardson_lucy(upsampled(stack), psf)``, on the raw one ``upsampled(richardson_lucy(stack, psf))``. Raises
    AxesError for an image without Z, DataError where its voxel size is needed and unknown.
    """
    from veriscope.images.resampling import resampled

    if "Z" not in image.axes:
        raise AxesError(f"Only stacks can be interpolated along Z, and the image has the axes {image.axes}.")
    if factor is None:
        long, short = image.voxel("Z"), image.voxel("X")
        if long is None or short is None:
            raise DataError("The voxel size of the image is unknown. Give it, or the factor along Z, such as 4.")
        factor = max(1.0, long / short)
    return resampled(image, {"Z": factor}).in_memory()


def interpolated(image: Picture) -> Picture:
    """The image as it is, float32: where images are compared on the finer grid, low is interpolated to it already."""
    pixels = np.asarray(image, np.float32)
    return cast("Picture", cast("Any", image).with_array(pixels) if hasattr(image, "axes") else pixels)


def on_raw_planes(image: Picture, psf: PSF, factor: float, **options: Any) -> Picture:
    """Deconvolution on the planes that were recorded, then cubic interpolation.

    It is Richardson-Lucy, with its `options`, on every `factor`-th plane of a stack that was interpolated along Z.
    """
    from veriscope.images.resampling import resampled
    from veriscope.simulate.optics import subsample

    fine = image if isinstance(image, Image) else Image(np.asarray(image), "ZYX", psf.voxel_size)
    if "Z" not in fine.axes:
        raise AxesError(f"Only stacks have planes along Z, and the image has the axes {fine.axes}. Give a stack.")
    z, y, x = psf.voxel_size
    sharp = richardson_lucy(subsample(fine, "Z", factor), psf.at((z * factor, y, x)), **options)
    again = resampled(sharp, {"Z": factor}, {"Z": fine.size("Z")})
    result: Any = again.in_memory() if isinstance(image, Image) else np.asarray(again)
    return cast("Picture", result)


def methods(psf: PSF, factor: float = 1.0, background: float = 0.0) -> tuple[Method, ...]:
    """What networks that make stacks isotropic are compared with, for images that are on the finer grid already.

    `psf` is that of the finer grid, and `factor` the number of its planes for each raw one (1: none is raw).
    `background` is the grey value of pixels without light, as for `deconvolved`.
    """
    from veriscope.images.resampling import checked_factor

    checked_factor(factor, "Z")
    fixed: dict[str, Any] = {"psf": psf, "background": background, "tolerance": 0.0}
    cubic = Method("cubic", "cubic interpolation", "isotropic", interpolated, source="Keys 1981", speed=(100.0, 100.0))
    fine = Method(
        "rl",
        "Richardson-Lucy",
        "isotropic",
        partial(_fine, **fixed),
        usual={"iterations": 20},
        grid={"iterations": GRID},
        source="Richardson 1972, Lucy 1974",
        speed=(0.4, 0.15),
    )
    if factor == 1:
        return cubic, fine
    raw = partial(on_raw_planes, factor=factor, **fixed)
    return cubic, fine, replace(fine, name="rl-raw", title="Richardson-Lucy on raw planes", run=raw)


def _fine(image: Any, **options: Any) -> Any:
    """Deconvolution on the interpolated planes: the most likely object, for photon noise."""
    return richardson_lucy(image, **options)
