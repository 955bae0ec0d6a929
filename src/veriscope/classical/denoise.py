"""Denoising as it was done before networks (SI, Supp. Table 1): the filters a network has to beat.

Same shape of call as `restore`: an image or an array (Y X, Z Y X) of any number type goes in, the same kind comes out,
float32, in the same unit. Channels and time points are filtered one by one, stacks of one plane as planes, and what is
the same everywhere stays as it is. NaN and infinite values raise DataError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from veriscope.classical.method import Method
from veriscope.cores import available
from veriscope.errors import DataError
from veriscope.images.volumes import Picture, at_once, by_slabs, each

Pixels = NDArray[np.float32]

SMALLEST = {2: 16, 3: 8}  # pixels along every axis; bm3d 4.0.3 ends the program on planes of 8 x 8
LOOKED_UP = 400  # places in SimpleITK's table of the Gaussian over brightness, up to four standard deviations
NON_COMMERCIAL = "free for non-commercial use"


def low_pass(image: Picture, sigma: float) -> Picture:
    """Gaussian filter, `sigma` in pixels along every axis (scipy). The image is continued by its mirror image."""
    _positive("sigma of a low-pass filter", sigma, "1 pixel")
    from scipy.ndimage import gaussian_filter

    reach = int(4 * sigma + 0.5)  # where scipy cuts the Gaussian off
    smooth = partial(gaussian_filter, sigma=sigma, mode="reflect", radius=reach)
    return _filtered(image, lambda pixels: by_slabs(pixels, reach, smooth))


def median(image: Picture, size: int) -> Picture:
    """The median of `size` x `size` (x `size`) pixels, `size` odd (scipy). Beyond its border the image is mirrored."""
    if size < 1 or int(size) != size or size % 2 == 0:
        raise DataError(f"The window of a median filter is an odd number of pixels wide, not {size}. Try 3.")
    from scipy.ndimage import median_filter

    middle = partial(median_filter, size=int(size), mode="reflect")
    return _filtered(image, lambda pixels: by_slabs(pixels, int(size) // 2, middle))


def bilateral(image: Picture, sigma: float, tolerance: float) -> Picture:
    """Gaussian filter, `sigma` in pixels, over pixels of similar brightness only (SimpleITK, in its own threads).

    `tolerance` is the standard deviation of a second Gaussian, over differences of brightness in the unit of the image.
    """
    _positive("sigma of a bilateral filter", sigma, "1 pixel")
    _positive("tolerance of a bilateral filter", tolerance, "twice noise_sigma")
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(available())  # by default all that the machine has

    def smooth(unit: Pixels, span: float) -> Any:
        picture = SimpleITK.GetImageFromArray(unit)
        return SimpleITK.GetArrayFromImage(SimpleITK.Bilateral(picture, float(sigma), tolerance / span, LOOKED_UP))

    return _in_unit(image, smooth)


def non_local_means(image: Picture, h: float, patch: int = 5, distance: int = 3) -> Picture:
    """Every pixel becomes the mean of those nearby whose surroundings look alike (scikit-image, fast mode).

    `h` is how different surroundings may be, in the image's own unit; the standard deviation of the noise is a start
    (`noise_sigma`). `patch` is the odd width of the surroundings and `distance` how far to look, both in pixels along
    every axis. Large images are filtered in slabs, equal to the whole but for rounding.
    """
    _positive("strength h of non-local means", h, "noise_sigma")
    if patch < 1 or distance < 1:
        raise DataError(f"Patch and distance are at least 1 pixel, not {patch} and {distance}. Try 5 and 3.")
    from skimage.restoration import denoise_nl_means

    smooth = partial(denoise_nl_means, fast_mode=True, patch_size=int(patch), patch_distance=int(distance))
    reach = int(patch) // 2 + int(distance) + 1
    return _in_unit(image, lambda unit, span: by_slabs(unit, reach, partial(smooth, h=h / span)))


def total_variation(image: Picture, weight: float) -> Picture:
    """The image with the least variation among those about as close (Chambolle; scikit-image).

    Half the sum of squared differences plus `weight`, in the unit of the image, times the sum of gradients is least.
    Every pixel has a say in every other, so large images are not cut.
    """
    _positive("weight of total variation", weight, "noise_sigma")
    from skimage.restoration import denoise_tv_chambolle

    return _in_unit(image, lambda unit, span: denoise_tv_chambolle(unit, weight / span))


def bm3d(image: Picture, sigma: float) -> Picture:
    """Blocks that look alike, shrunk together (PyPI bm3d). `sigma` is the noise in the unit of the image.

    A stack is denoised plane by plane, two at once. Raises DataError where the package is not installed: it is free for
    non-commercial use only, so it comes with the extra `nonfree`.
    """
    return _by_blocks(image, sigma, BM3D, 2)


def bm4d(image: Picture, sigma: float) -> Picture:
    """Cubes that look alike, shrunk together (PyPI bm4d), in a stack Z Y X. `sigma` as for `bm3d`, and the same extra.

    Raises DataError for a plane.
    """
    return _by_blocks(image, sigma, BM4D, 3)


def _by_blocks(image: Picture, sigma: float, method: Method, dimensions: int) -> Picture:
    """BM3D or BM4D of every plane or stack; where that is too small for blocks, its mirror image continues it."""
    _positive(f"sigma of {method.title}", sigma, "noise_sigma")
    method.check()
    package = import_module(method.module)
    denoise, profile = getattr(package, method.module), getattr(package, f"{method.title}Profile")()
    # With threads of its own, repeated runs differ by rounding, and calls from two threads of ours end the program
    # (4.2.5: "Assertion `_threads.empty()' failed").
    profile.num_threads = 1

    def smooth(unit: Pixels, span: float) -> Any:
        if unit.ndim < dimensions:
            raise DataError("BM4D denoises stacks of several planes, but this image is one plane. Use BM3D instead.")
        pieces = unit.reshape(-1, *unit.shape[-dimensions:])
        result = np.empty(pieces.shape)
        beyond = [(0, max(SMALLEST[dimensions] - size, 0)) for size in pieces.shape[1:]]
        inside = tuple(slice(size) for size in pieces.shape[1:])

        def work(number: int) -> None:
            wide = np.pad(pieces[number], beyond, mode="symmetric")
            result[number] = denoise(wide, sigma / span, profile)[inside]

        at_once(work, range(len(pieces)))
        return result.reshape(unit.shape)

    return _in_unit(image, smooth)


def noise_sigma(volume: Any) -> float:
    """The noise's standard deviation, from the finest diagonal differences: their median size / 0.6745.

    The same idea as scikit-image's estimate_sigma, with Haar wavelets. Where most pixels are equal (few photons) the
    differences' standard deviation is used instead. 0 for a constant image.
    """
    detail = np.asarray(volume, dtype=np.float64).squeeze()
    for axis in range(detail.ndim):
        detail = np.diff(detail, axis=axis) / np.sqrt(2)
    return float(np.median(np.abs(detail)) / 0.6745 or detail.std()) if detail.size else 0.0


def _positive(what: str, value: float, start: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise DataError(f"The {what} must be above 0, not {value}. Try {start}.")


def _filtered(image: Picture, function: Callable[[Pixels], Pixels]) -> Picture:
    """`function` on every plane or volume as float32, where there is anything to filter."""

    def one(volume: NDArray[Any]) -> Pixels:
        pixels = volume.astype(np.float32)
        if pixels.ndim not in (2, 3):
            raise DataError(f"A denoiser takes planes (Y X) or stacks (Z Y X), not the shape {volume.shape}.")
        if pixels.min() == pixels.max():
            return pixels
        flat = pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels
        return function(flat).reshape(pixels.shape)

    return cast("Picture", each(image, one))


def _in_unit(image: Picture, function: Callable[[Pixels, float], Any]) -> Picture:
    """`function(unit, span)` on every plane or volume shifted and scaled to the range 0 to 1, and back.

    That changes nothing but the rounding, as the filters here commute with it; `span` is the range in the image's unit.
    """

    def one(pixels: Pixels) -> Pixels:
        wide = pixels.astype(np.float64)
        low, span = wide.min(), wide.max() - wide.min()
        smooth = np.asarray(function(((wide - low) / span).astype(np.float32), float(span)), np.float64)
        return np.asarray((smooth * span + low).astype(np.float32))

    return _filtered(image, one)


LOW_PASS = Method(
    "lowpass",
    "Gaussian low-pass",
    "restore",
    low_pass,
    usual={"sigma": 1.0},
    grid={"sigma": (0.5, 0.7, 1.0, 1.4, 2.0)},
    climbs="sigma",
    library="scipy",
    speed=(50.0, 50.0),
)
MEDIAN = Method(
    "median",
    "median",
    "restore",
    median,
    usual={"size": 3},
    grid={"size": (3, 5, 7)},
    source="Tukey 1977",
    library="scipy",
    speed=(12.0, 3.0),
)
BILATERAL = Method(
    "bilateral",
    "bilateral",
    "restore",
    bilateral,
    usual={"sigma": 1.5, "tolerance": 2.0},
    grid={"sigma": (1.0, 1.5, 2.0), "tolerance": (1.0, 2.0, 3.0, 5.0)},
    in_noise=frozenset({"tolerance"}),
    climbs="tolerance",
    source="Tomasi and Manduchi 1998",
    library="SimpleITK",
    licence="Apache-2.0",
    speed=(2.0, 0.25),
)
NON_LOCAL_MEANS = Method(
    "nlm",
    "non-local means",
    "restore",
    non_local_means,
    usual={"h": 1.3, "patch": 5, "distance": 3},
    grid={"h": (0.6, 0.9, 1.3, 1.8, 2.5), "patch": (3, 5), "distance": (2, 3, 5)},
    in_noise=frozenset({"h"}),
    climbs="h",
    source="Buades, Coll and Morel 2005",
    library="scikit-image",
    speed=(4.0, 0.4),
)
TOTAL_VARIATION = Method(
    "tv",
    "total variation",
    "restore",
    total_variation,
    usual={"weight": 1.0},
    grid={"weight": (0.25, 0.5, 1.0, 2.0, 4.0)},
    in_noise=frozenset({"weight"}),
    climbs="weight",
    source="Chambolle 2004",
    library="scikit-image",
    speed=(10.0, 8.0),
)
BM3D = Method(
    "bm3d",
    "BM3D",
    "restore",
    bm3d,
    usual={"sigma": 1.0},
    grid={"sigma": (1.0, 1.5, 2.0, 3.0)},
    in_noise=frozenset({"sigma"}),
    climbs="sigma",
    source="Dabov et al. 2007; Mäkinen, Azzari and Foi 2020",
    library="bm3d",
    licence=NON_COMMERCIAL,
    extra="nonfree",
    module="bm3d",
    speed=(0.02, 0.01),
)
BM4D = replace(
    BM3D, name="bm4d", title="BM4D", run=bm4d, source="Maggioni et al. 2013", library="bm4d", module="bm4d",
    dimensions=(3,), speed=(0.01, 0.01),
)  # fmt: skip

METHODS = (LOW_PASS, MEDIAN, BILATERAL, NON_LOCAL_MEANS, TOTAL_VARIATION, BM3D, BM4D)
