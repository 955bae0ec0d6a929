"""Segmentation as people did it before networks: a threshold and connected components, or a watershed.

Label images come out: int32, 0 is background, objects are numbered from 1 in every plane or volume. An Image goes in
and comes out with its axes and voxel size; plain arrays (Y X or Z Y X) answer in kind. Channels and time points are
segmented one by one.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.volumes import Picture, each, finite

PERCENTILES = (0.1, 99.9)  # of an image: its range, from 0 to 1 where thresholds are parts of it
AUTOMATIC = ("otsu", "li", "triangle", "yen", "isodata")


def components(
    image: Picture,
    threshold: float,
    min_size: int = 0,
    connectivity: int = 1,
    fill: bool = False,
    split: float | None = None,
) -> Picture:
    """The connected regions above `threshold` (in the image's unit), without those of fewer pixels than `min_size`.

    Pixels that touch by a face are connected; with `connectivity` 2 also by an edge, with 3 by a corner. `fill` closes
    holes. `split` cuts objects that touch, such as nuclei, at their necks (watershed of the distance to the
    background): the higher, the deeper a neck must be, in pixels, 1 is a good start. Where an Image says how large
    its voxels are, these are pixels of the finest axis.
    """
    if not np.isfinite(threshold):
        raise DataError(f"The threshold must be a number, but {threshold} was given. Try automatic(image, 'otsu').")
    if connectivity not in (1, 2, 3):
        raise DataError(f"connectivity must be 1, 2 or 3, but {connectivity} was given. 1 joins faces only.")
    if split is not None and not (np.isfinite(split) and split > 0):
        raise DataError(f"split must be above 0, but {split:g} was given. 1 pixel is a good start.")
    spacing = _spacing(image)

    def one(volume: NDArray[Any]) -> NDArray[np.int32]:
        from scipy import ndimage

        bright = volume > threshold
        if fill:
            bright = ndimage.binary_fill_holes(bright)
        join = ndimage.generate_binary_structure(volume.ndim, min(connectivity, volume.ndim))
        labels = ndimage.label(bright, join)[0] if split is None else _cut(bright, split, spacing, join)
        return without_small(labels, min_size)

    return cast("Picture", each(image, one, np.int32))


def cells(image: Picture, sigma: float = 2.0, h: float = 0.02, min_size: int = 0) -> Picture:
    """The dark cells between bright membranes, such as an epithelium: a watershed that leaves no background.

    The image is smoothed by `sigma` pixels; every valley at least `h` deep, in parts of the image's range (percentiles
    0.1 to 99.9), becomes a cell. Too many cells: raise either; merged cells: lower them. Cells of fewer pixels than
    `min_size` become background.
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise DataError(f"sigma must be 0 pixels or more, but {sigma:g} was given. Try 2.")
    if not 0 < h < 1:
        raise DataError(f"h must be between 0 and 1, in parts of the image's range, but {h:g} was given. Try 0.02.")

    def one(volume: NDArray[Any]) -> NDArray[np.int32]:
        from scipy import ndimage
        from skimage.segmentation import watershed

        smooth = ndimage.gaussian_filter(volume.astype(np.float32), sigma)
        low, high = span(volume)
        if low == high:
            return np.zeros(volume.shape, np.int32)
        join = ndimage.generate_binary_structure(volume.ndim, 1)
        return without_small(watershed(smooth, _peaks(-smooth, h * (high - low), join)), min_size)

    return cast("Picture", each(image, one, np.int32))


def thresholds(image: Image | NDArray[Any], count: int = 40) -> NDArray[np.float64]:
    """`count` thresholds in equal steps within the image's range, from just above its percentile 0.1 to just below
    its percentile 99.9; so the k-th threshold means about the same in a noisy and in a restored image.
    """
    low, high = span(np.asarray(image))
    return low + (high - low) * fractions(count)


def fractions(count: int = 40) -> NDArray[np.float64]:
    """Where `thresholds` lie, in parts of the range: equal steps, without 0 and 1."""
    if count < 1:
        raise DataError(f"At least one threshold is needed, but {count} were asked for. Try 40.")
    return np.arange(1, count + 1) / (count + 1)


def automatic(image: Image | NDArray[Any], method: str = "otsu") -> float:
    """The threshold that a rule of scikit-image finds for the whole image: otsu, li, triangle, yen or isodata."""
    from skimage import filters

    if method not in AUTOMATIC:
        raise DataError(f"No rule for thresholds is called '{method}'. Choose {', '.join(AUTOMATIC)}, or a number.")
    pixels = finite(image)
    if pixels.min() == pixels.max():
        raise DataError(
            f"The image is constant ({float(pixels.min()):g}), so no threshold separates objects from background. "
            f"Give a number, or another image."
        )
    return float(getattr(filters, f"threshold_{method}")(pixels))


def span(pixels: NDArray[Any]) -> tuple[float, float]:
    """The percentiles 0.1 and 99.9: the range that thresholds are parts of."""
    low, high = (float(value) for value in np.percentile(finite(pixels), PERCENTILES))
    return low, high


def without_small(labels: NDArray[Any], min_size: int) -> NDArray[np.int32]:
    """Labels numbered anew from 1, without objects of fewer pixels than `min_size`."""
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(min_size, 1)
    keep[0] = False
    renumbered: NDArray[np.int32] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    return renumbered


def _cut(bright: NDArray[Any], depth: float, spacing: tuple[float, ...] | None, join: NDArray[Any]) -> NDArray[Any]:
    """Connected regions, cut at necks that are at least `depth` narrower than what they join."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    if bright.all():
        return np.ones(bright.shape, np.int32)  # there is no background to be distant from
    distance = ndimage.distance_transform_edt(bright, sampling=spacing).astype(np.float32)
    return np.asarray(watershed(-distance, _peaks(distance, depth, join), mask=bright, connectivity=join))


def _peaks(height: NDArray[np.float32], depth: float, join: NDArray[Any]) -> NDArray[np.int32]:
    """A number for every summit that rises at least `depth` above the saddle to a higher one; 0 elsewhere."""
    from scipy import ndimage
    from skimage.morphology import local_maxima, reconstruction

    filled = reconstruction(height - np.float32(depth), height, footprint=join)
    return np.asarray(ndimage.label(local_maxima(filled, footprint=join), join)[0], np.int32)


def _spacing(image: Image | NDArray[Any]) -> tuple[float, ...] | None:
    """Voxel size in units of its finest axis, where it is known."""
    sizes: tuple[float, ...] | None = getattr(image, "full_voxel_size", None)
    return None if sizes is None else tuple(size / min(sizes) for size in sizes)
