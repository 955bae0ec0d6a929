"""What to show of an image: the plane, region and line that hold most structure, as they were judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
    images: Mapping[str, Any],
    truth: Any,
    members: tuple[Any, Any] | None,
    voxels: Mapping[str, float | None],
    level: float,
) -> Picture:
    """The part of one plane (Y, X) or volume (Z, Y, X) with most structure; `images` are by method.

    `members` are means and scales, M in front, that predict the image called "restoration".
    """
    clean = _stack(quality.normalize_truth(truth))
    stacks = {method: _stack(as_shown(truth, image, method)) for method, image in images.items()} | {"truth": clean}
    z = busiest_plane(clean)
    rows, columns = busiest_region(clean[z], LARGEST, [(size - LARGEST) // 4 for size in clean[z].shape])
    planes = {method: stack[z, rows, columns].astype(np.float32) for method, stack in stacks.items()}
    row, first, last = _line(clean[z, rows, columns])
    cuts = {method: stack[:, rows.start + row, columns].astype(np.float32) for method, stack in stacks.items()}
    scale, band, disagreement, drawn = None, None, None, None
    if members is not None:
        a, b = quality.affine_match(clean, _stack(np.asarray(images["restoration"], np.float64)))
        mu, width = (np.asarray(one).reshape(len(one), *clean.shape)[:, z, rows, columns] for one in members)
        scale = (abs(a) * laplace.mixture_scale(mu, width)).astype(np.float32)
        if len(mu) > 1:
            disagreement = laplace.disagreement(mu, width)
        drawn = (a * mu + b).astype(np.float32), (abs(a) * width).astype(np.float32)
        on_line = mu[:, row, first:last], width[:, row, first:last]
        half = abs(a) * laplace.symmetric_interval(*on_line, level)
        middle = a * on_line[0].mean(0) + b
        band = ((middle - half).astype(np.float32), (middle + half).astype(np.float32))
    where = [f"plane {z + 1} of {len(clean)}"] if len(clean) > 1 else []
    if clean[z].shape != planes["truth"].shape:
        where.append(f"Y {rows.start}–{rows.stop}, X {columns.start}–{columns.stop} px")
    return Picture(
        name,
        ", ".join(where),
        planes,
        cuts if len(clean) > 1 else {},
        scale,
        (row, first, last),
        {method: plane[row, first:last] for method, plane in planes.items()},
        band,
        level,
        (voxels.get("Z"), voxels.get("Y"), voxels.get("X")),
        disagreement,
        drawn if drawn is not None and (drawn[1] > 0).all() else None,  # a constant prediction matches with a = 0
    )


def _stack(array: Any) -> Any:
    return array.reshape(-1, *array.shape[-2:])


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
    left = "".join(letter for letter in restoration.axes if letter in "YX")
    means, scales = (
        None if group is None else np.stack([axes_of.move(one, left, "YX") for one in np.asarray(group[index])])
        for group in restoration.members
    )
    assert means is not None
    voxels = dict(zip(axes_of.spatial(restoration.axes), restoration.voxel_size or (), strict=False))
    voxel_size = (voxels["Y"], voxels["X"]) if voxels else None
    return Restoration(means, scales, "YX", voxel_size, name=restoration.name)


def as_shown(truth: Any, image: Any, method: str) -> Any:
    """`image` in parts of the truth's range as pictures show it: matched to it, what is an input stretched further."""
    y, x = quality.matched(truth, image)
    if method not in INPUTS:
        return x
    centred = y - y.mean()
    kept = float(np.vdot(centred, x) / np.vdot(centred, centred))  # how much of the truth's contrast is left, 0 to 1
    return y.mean() + (x - x.mean()) / max(kept, 0.05)


def busiest_region(plane: Any, side: int, steps: Sequence[int]) -> tuple[slice, slice]:
    """Of the regions of `side` pixels (or less, where the plane is smaller) the one whose brightness varies most.

    They begin so many `steps` apart along Y and X.
    """
    sizes = [min(side, size) for size in plane.shape]
    starts = [
        range(0, whole - part + 1, max(1, step)) for whole, part, step in zip(plane.shape, sizes, steps, strict=True)
    ]
    regions = [(slice(y, y + sizes[0]), slice(x, x + sizes[1])) for y, x in product(*starts)]
    return max(regions, key=lambda region: float(plane[region].std()))


def _line(region: Any) -> tuple[int, int, int]:
    """Row, first column and last column + 1 of the horizontal line along which the truth goes up and down most."""
    height, width = region.shape
    length = min(LONGEST, width)
    margin = height // 8  # not at the very edge, where a line is hard to see

    def change(place: tuple[int, int]) -> float:
        part = region[place[0], place[1] : place[1] + length]
        return float(np.abs(part[3:] - part[:-3]).sum())

    places = product(range(margin, height - margin), range(0, width - length + 1, max(1, (width - length) // 4)))
    row, first = max(places, key=change)
    return row, first, first + length
