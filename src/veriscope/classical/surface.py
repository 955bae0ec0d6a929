"""What all projections have in common: which stack of an image they search, and how to read it along a surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.volumes import Picture, finite

Flat = NDArray[np.float32]
Finder = Callable[[Flat], NDArray[Any]]  # a stack (Z Y X) scaled to 0 .. 1 -> the plane of the surface (Y X)

LEAST = 3  # planes: with fewer no surface can be found


class Projected(NamedTuple, Generic[Picture]):
    """The flat image (the stack's axes without Z) and the height of each of its pixels (also without C).

    Both are float32: the image in the unit of the stack, the height in planes counted from 0.
    """

    image: Picture
    height: Picture


def along(stack: Picture, channel: int, find: Finder, nearest: bool = False) -> Projected[Picture]:
    """Every time point of `stack` at the height that `find` finds in its `channel`; see `at_height`.

    A stack without contrast has its surface in plane 0. Raises DataError for NaN and for fewer than three planes.
    """

    def work(volumes: NDArray[Any]) -> tuple[Flat, Flat]:
        if volumes.shape[1] < LEAST:
            raise DataError(
                f"A surface needs at least {LEAST} planes, not {volumes.shape[1]}. Use the maximum instead."
            )
        height = _height(volumes[channel], find)
        return np.stack([_read(volume, height, nearest) for volume in volumes]), height

    return by_stack(stack, channel, work)


def _height(volume: NDArray[Any], find: Finder) -> Flat:
    low, high = (float(end) for end in (volume.min(), volume.max()))
    if low == high:
        return np.zeros(volume.shape[1:], np.float32)
    scaled = np.empty(volume.shape, np.float32)
    for plane, target in zip(volume, scaled, strict=True):  # in double precision one by one, to spare memory
        target[...] = (plane.astype(np.float64) - low) / (high - low)
    return np.clip(find(scaled), 0, len(volume) - 1).astype(np.float32)


def by_stack(
    stack: Picture, channel: int, work: Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]
) -> Projected[Picture]:
    """`work` on every time point of an Image, or on an array Z Y X; it makes C Y X and a height Y X of C Z Y X.

    Images are read time point by time point. Raises AxesError where there is no Z, DataError for NaN and for
    values that float32 cannot hold.
    """
    image = _as_image(stack)
    if not 0 <= channel < image.size("C"):
        raise DataError(f"The image has no channel {channel} to find the surface in: it has {image.size('C')}.")
    outer = "".join(letter for letter in image.axes if letter in "ST")
    moved: Image = image.moved(outer + "CZYX")
    places: tuple[int, ...] = moved.shape[: len(outer)]
    flat = np.empty((*places, image.size("C"), *moved.shape[-2:]), np.float32)
    height = np.empty((*places, *moved.shape[-2:]), np.float32)
    for place in np.ndindex(*places):
        volumes = finite(moved.read(*place), "stack")
        with np.errstate(over="ignore"):
            flat[place], height[place] = work(volumes)
        if not np.isfinite(flat[place]).all():
            raise DataError("The stack holds values too large for 32-bit floats. Divide them by a constant first.")
    pictures: list[Any] = [flat[0], height]
    if stack is image:
        axes = image.axes.replace("Z", "")
        pictures = [moved.with_array(flat, outer + "CYX").moved(axes), moved.with_array(height, outer + "YX")]
        pictures[1] = pictures[1].moved(axes.replace("C", ""))
    return Projected(*pictures)


def _as_image(stack: Any) -> Image:
    if not isinstance(stack, Image):
        pixels = np.asarray(stack)
        if pixels.ndim != 3:
            raise AxesError(
                f"A projection needs a stack (Z Y X), not an array of shape {pixels.shape}. Give one stack, or an "
                f"Image with its axes."
            )
        return Image(pixels, "ZYX")
    if missing := [letter for letter in "ZYX" if letter not in stack.axes]:
        raise AxesError(
            f"A projection needs stacks, but this image has the axes {stack.axes}, without {', '.join(missing)}. "
            f"Give stacks, or state their axes, such as ZYX."
        )
    return stack


def at_height(stack: NDArray[Any], height: NDArray[Any]) -> Flat:
    """The `stack` (Z Y X) on the surface `height` (Y X, in planes from 0), linear between planes; float32.

    Heights outside the stack mean its first or last plane.
    """
    return _read(np.asarray(stack), np.asarray(height), nearest=False)


def _read(stack: NDArray[Any], height: NDArray[Any], nearest: bool) -> Flat:
    height = np.clip(height, 0, len(stack) - 1)
    if nearest:
        height = np.rint(height)
    below = np.floor(height).astype(np.intp)
    planes = (below, np.minimum(below + 1, len(stack) - 1))
    first, second = (np.take_along_axis(stack, plane[None], axis=0)[0].astype(np.float64) for plane in planes)
    return np.asarray((first + (height - below) * (second - first)).astype(np.float32))


def edges_of(size: int, width: int) -> NDArray[np.intp]:
    """Where parts of about `width` begin, and the end of the last: at least one part, and none much smaller."""
    parts = max(1, round(size / width))
    return np.round(np.linspace(0, size, parts + 1)).astype(np.intp)


def mean_of_parts(plane: NDArray[Any], edges: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Means of the rectangles that `edges` (along Y, along X) cut a plane into."""
    rows, columns = (part[:-1] for part in edges)
    sums: NDArray[np.float64] = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    return sums / np.outer(*(np.diff(part) for part in edges))
