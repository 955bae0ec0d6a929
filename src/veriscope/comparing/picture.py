"""What to show of an image: the plane, region and line that hold most structure, as they were judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as axes_of
from veriscope import laplace
from veriscope.errors import AxesError, DataError
from veriscope.judging import quality
from veriscope.restoring.restoration import Restoration

Plane = NDArray[np.float32]

INPUT, MAXIMUM = "input", "input (maximum)"  # of stacks that are projected the maximum along Z is compared
INTERPOLATED = "input, interpolated"  # to the grid of the ground truth, for models that make images finer
INPUTS = (INPUT, MAXIMUM, INTERPOLATED)
LARGEST = 320  # pixels of a region shown, each side
LONGEST = 160  # pixels of a profile


@dataclass(frozen=True, eq=False)
class Picture:
    """One image by all methods, in parts of the truth's range: 0 and 1 are its percentiles 0.1 and 99.9.

    Every image is matched to the truth as it was for NRMSE, so that grey means the same everywhere; only the input is
    stretched further, so that its signal is as bright as the truth's. (Least squares dims what is noisy.)
    """

    name: str
    where: str  # which plane and region
    planes: dict[str, Plane]  # method: (Y, X); "truth" comes last
    cuts: dict[str, Plane]  # method: (Z, X) through the line; empty for 2D
    scale: Plane | None  # the ensemble's predicted scale, (Y, X)
    line: tuple[int, int, int]  # row, first and last column + 1, within the region
    profiles: dict[str, Plane]  # method: intensities along the line
    band: tuple[Plane, Plane] | None  # lower and upper end of the interval along the line
    level: float  # its probability
    pixel: tuple[float | None, float | None, float | None]  # um, Z Y X
    disagreement: Plane | None = None  # of the members, 0 to 1, (Y, X); None for one alone
    members: tuple[Plane, Plane] | None = None  # their means and scales, (M, Y, X), to draw samples from


def picture(
    name: str,
    axes: str,
    images: Mapping[str, Any],
    truth: Any,
    members: tuple[Any, Any] | None,
    voxels: Mapping[str, float | None],
    level: float,
) -> Picture:
    """The part of one plane or volume with most structure; `images` are by method.

    `axes` are the letters of all arrays, "YX" or "ZYX" in any order. `members` are means and scales, M in front, that
    predict the image called "restoration".
    """
    order = [axes.index(letter) for letter in "ZYX" if letter in axes]

    def as_stack(array: Any) -> Any:
        moved = np.transpose(array, order)
        return moved if moved.ndim == 3 else moved[None]

    matched = {method: as_stack(as_shown(truth, image, method)) for method, image in images.items()}
    clean = as_stack(quality.normalize_truth(truth))
    depth = clean.shape[0]
    z = busiest_plane(clean)
    rows, columns = _busiest(clean[z])
    row, first, last = _line(clean[z, rows, columns])
    everything = {**matched, "truth": clean}
    left = columns.start
    along = (z, rows.start + row, slice(left + first, left + last))
    scale, band, disagreement, region = None, None, None, None
    if members is not None:
        a, b = quality.affine_match(quality.normalize_truth(truth), np.asarray(images["restoration"], np.float64))
        means, scales = (np.stack([as_stack(one) for one in group]) for group in members)
        window = (slice(None), z, rows, columns)
        scale = (abs(a) * laplace.mixture_scale(means[window], scales[window])).astype(np.float32)
        if len(means) > 1:
            disagreement = laplace.disagreement(means[window], scales[window])
        region = (a * means[window] + b).astype(np.float32), (abs(a) * scales[window]).astype(np.float32)
        mu, width = means[(slice(None), *along)], scales[(slice(None), *along)]
        half = abs(a) * laplace.symmetric_interval(mu, width, level)
        middle = a * mu.mean(0) + b
        band = ((middle - half).astype(np.float32), (middle + half).astype(np.float32))
    where = f"plane {z + 1} of {depth}" if depth > 1 else ""
    if clean[z].shape != clean[z, rows, columns].shape:
        part = f"Y {rows.start}–{rows.stop}, X {columns.start}–{columns.stop} px"
        where = f"{where}, {part}" if where else part
    return Picture(
        name,
        where,
        {method: stack[z, rows, columns].astype(np.float32) for method, stack in everything.items()},
        {method: stack[:, rows.start + row, columns].astype(np.float32) for method, stack in everything.items()}
        if depth > 1
        else {},
        scale,
        (row, first, last),
        {method: stack[along].astype(np.float32) for method, stack in everything.items()},
        band,
        level,
        (voxels.get("Z"), voxels.get("Y"), voxels.get("X")),
        disagreement,
        region if region is not None and (region[1] > 0).all() else None,  # a constant prediction matches with a = 0
    )


def busiest_plane(stack: Any) -> int:
    """Of a stack (Z, Y, X) the plane whose brightness varies most."""
    return int(np.argmax(stack.std(axis=(1, 2))))


def one_plane(restoration: Restoration, at: Mapping[str, int] | None = None) -> Restoration:
    """The prediction for a single plane, axes YX: that at the places `at`, such as {"Z": 12, "C": 1}, from 0.

    Of other axes the first entry is taken; of a stack the plane whose restored brightness varies most.
    """
    letters = [letter for letter in restoration.axes if letter not in "YX"]
    if unknown := sorted(set(at or {}) - set(letters)):
        raise AxesError(
            f"There is no choice of {', '.join(unknown)} in a restoration with the axes '{restoration.axes}'. "
            f"Choose out of: {', '.join(letters) or 'nothing'}."
        )
    places = {letter: 0 for letter in letters if letter != "Z"} | dict(at or {})
    for letter, number in places.items():
        size = restoration.means.shape[1 + restoration.axes.index(letter)]
        if not 0 <= number < size:
            raise DataError(f"{letter} {number} is not in the restoration. Choose from 0 to {size - 1}.")
    if "Z" in letters and "Z" not in places:
        places["Z"] = busiest_plane(np.asarray(restoration.mean.region(**places).moved("ZYX")))
    index = (slice(None), *(places.get(letter, slice(None)) for letter in restoration.axes))
    order = (0, 1, 2) if restoration.axes.index("Y") < restoration.axes.index("X") else (0, 2, 1)
    means, scales = (
        None if group is None else np.asarray(group[index]).transpose(order)
        for group in (restoration.means, restoration.scales)
    )
    assert means is not None
    voxels = dict(zip(axes_of.spatial(restoration.axes), restoration.voxel_size or (), strict=False))
    voxel_size = (voxels["Y"], voxels["X"]) if voxels else None
    return Restoration(means.copy(), None if scales is None else scales.copy(), "YX", voxel_size, name=restoration.name)


def as_shown(truth: Any, image: Any, method: str) -> Any:
    """`image` in parts of the truth's range as pictures show it: matched to it, what is an input stretched further."""
    y, x = quality.matched(truth, image)
    if method not in INPUTS:
        return x
    centred = y - y.mean()
    kept = float(np.vdot(centred, x) / np.vdot(centred, centred))  # how much of the truth's contrast is left, 0 to 1
    return y.mean() + (x - x.mean()) / max(kept, 0.05)


def _busiest(plane: Any) -> tuple[slice, slice]:
    """The region of at most LARGEST pixels a side whose brightness varies most, on a coarse grid."""
    best, found = -1.0, (slice(0, plane.shape[0]), slice(0, plane.shape[1]))
    sizes = [min(LARGEST, size) for size in plane.shape]
    starts = [
        range(0, whole - part + 1, max(1, (whole - part) // 4)) for whole, part in zip(plane.shape, sizes, strict=True)
    ]
    for top in starts[0]:
        for left in starts[1]:
            part = (slice(top, top + sizes[0]), slice(left, left + sizes[1]))
            spread = float(plane[part].std())
            if spread > best:
                best, found = spread, part
    return found


def _line(region: Any) -> tuple[int, int, int]:
    """Row, first column and last column + 1 of the horizontal line along which the truth goes up and down most."""
    length = min(LONGEST, region.shape[1])
    margin = region.shape[0] // 8  # not at the very edge, where a line is hard to see
    best, found = -1.0, (region.shape[0] // 2, 0, length)
    for row in range(margin, region.shape[0] - margin):
        for first in range(0, region.shape[1] - length + 1, max(1, (region.shape[1] - length) // 4)):
            part = region[row, first : first + length]
            spread = float(np.abs(part[3:] - part[:-3]).sum())
            if spread > best:
                best, found = spread, (row, first, first + length)
    return found
