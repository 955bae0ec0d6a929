"""Denoising as it was done before networks (SI, Supp. Table 1): for now non-local means.

Same shape of call as `restore`: an image or an array goes in, the same kind comes out, float32, in the same unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from veriscope.classical.method import Method
from veriscope.classical.volumes import each
from veriscope.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from veriscope.images.image import Image

Picture = TypeVar("Picture", "Image", "NDArray[Any]")


def non_local_means(image: Picture, h: float, patch: int = 5, distance: int = 3) -> Picture:
    """Every pixel becomes the mean of those nearby whose surroundings look alike (scikit-image, fast mode); 2D or 3D.

    `h` is how different surroundings may be, in the image's own unit; the standard deviation of the noise is a start
    (`noise_sigma`). `patch` is the odd width of the surroundings and `distance` how far to look, both in pixels along
    every axis. Inside, the image is shifted and scaled to the range 0 to 1, and back: that changes nothing but the
    rounding, as the filter commutes with it. Channels and time points are filtered one by one.
    """
    if not (np.isfinite(h) and h > 0):
        raise DataError(f"The strength h of non-local means must be above 0, but {h} was given. Try noise_sigma.")
    if patch < 1 or distance < 1:
        raise DataError(
            f"The patch of non-local means and the distance searched are at least 1 pixel, but {patch} and {distance} "
            f"were given. Try 5 and 3."
        )
    return cast("Picture", each(image, lambda volume: _filter(volume, h, patch, distance)))


def _filter(volume: NDArray[Any], h: float, patch: int, distance: int) -> NDArray[np.float32]:
    from skimage.restoration import denoise_nl_means

    low, high = float(volume.min()), float(volume.max())
    if low == high:
        return volume.astype(np.float32)
    scaled = ((volume.astype(np.float64) - low) / (high - low)).astype(np.float32)
    smooth = denoise_nl_means(
        scaled.squeeze(), patch_size=patch, patch_distance=distance, h=h / (high - low), fast_mode=True
    )
    wide = smooth.reshape(volume.shape).astype(np.float64) * (high - low) + low
    result: NDArray[np.float32] = wide.astype(np.float32)
    return result


def noise_sigma(volume: NDArray[Any]) -> float:
    """The noise's standard deviation, from the finest diagonal differences: their median size / 0.6745.

    The same idea as scikit-image's estimate_sigma, with Haar wavelets. Where most pixels are equal (few photons) the
    differences' standard deviation is taken instead. 0 for a constant image.
    """
    detail = np.asarray(volume, dtype=np.float64).squeeze()
    for axis in range(detail.ndim):
        detail = np.diff(detail, axis=axis) / np.sqrt(2)
    if detail.size == 0:
        return 0.0
    return float(np.median(np.abs(detail)) / 0.6745 or detail.std())


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
)

METHODS = (NON_LOCAL_MEANS,)
