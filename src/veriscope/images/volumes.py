"""Taking an image apart into the planes, volumes or slabs that methods work on, and putting results together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as axes_of
from veriscope import tiling
from veriscope.cores import available
from veriscope.errors import DataError
from veriscope.images.image import Image

Picture = TypeVar("Picture", Image, NDArray[Any])  # the answer is of the kind of what was given
Frames = list[list[Any]]  # time points, each a list of its channels: planes or volumes, Images or arrays
Filter = Callable[[NDArray[np.float32]], NDArray[np.float32]]
WORTH = 1 << 19  # pixels from which on slabs are worth their threads


def each(image: Any, function: Callable[[NDArray[Any]], NDArray[Any]], dtype: type = np.float32) -> Any:
    """`function` applied to each plane or volume of an Image; an array is one. Raises DataError for NaN and infinity.

    `function` keeps the shape; the result of an Image holds numbers of `dtype`.
    """
    word = getattr(image, "axes", None)
    pixels = finite(image)
    if word is None:
        return function(pixels)
    space = _space(word)
    order = "".join(letter for letter in word if letter not in space) + space
    moved = axes_of.move(pixels, word, order)
    outer = moved.shape[: len(order) - len(space)]
    result: NDArray[Any] = np.empty(moved.shape, dtype)
    for place in np.ndindex(*outer):
        result[place] = function(moved[place])
    return image.with_array(axes_of.move(result, order, word))


def _space(word: str) -> str:
    return axes_of.spatial(axes_of.canonical(axes_of.image_axes(word, "A classical method")))


def finite(image: Any, what: str = "image") -> NDArray[Any]:
    """The pixels of an image or array, called `what` in messages. Raises DataError where there are none, and for NaN
    and infinite values.
    """
    pixels = np.asarray(image)
    if pixels.size == 0:
        raise DataError(f"The {what} has no pixels: its shape is {pixels.shape}. Check how it was made.")
    if pixels.dtype.kind not in "buif":
        raise DataError(f"The {what} must hold real numbers, but its pixels are of type {pixels.dtype}.")
    if not np.isfinite(pixels).all():
        raise DataError(f"The {what} holds NaN or infinite values. Mask or replace them first.")
    return pixels


def split(image: Any, flat: bool = True) -> Frames:
    """The planes (Y X) and volumes (Z Y X) of an Image, as Images; an array is one. Stacks of one plane are planes,
    unless `flat` is False.
    """
    word = getattr(image, "axes", None)
    if word is None:
        pixels = np.asarray(image)
        return [[pixels[0] if flat and pixels.ndim == 3 and len(pixels) == 1 else pixels]]
    space = _space(word)
    if flat and image.size("Z") == 1:
        space = space.replace("Z", "")
    moved = image.in_memory().moved(f"TC{space}")
    return [[moved.region(T=t, C=c) for c in range(moved.size("C"))] for t in range(moved.size("T"))]


def join(frames: Frames, like: Any, flat: bool = True) -> Any:
    """One image of the kind of `like`, which the frames were split from. Only where `flat` is False, as it was for
    `split`, they may have lost Z or changed its length.
    """
    first = frames[0][0]
    word = getattr(like, "axes", None)
    if word is None:
        return first.reshape(like.shape) if flat else first
    stack, order = np.stack([[np.asarray(one) for one in row] for row in frames]), f"TC{first.axes}"
    if flat:
        return like.with_array(axes_of.move(stack, order, word))
    whole = type(like)(stack, order, first.voxel_size, like.time_step, like.name, like.carried)
    return whole.moved("".join(letter for letter in word if letter in order))


def run_on(run: Callable[..., Any], one: Any, parameters: dict[str, float]) -> Any:
    """`run` on one plane or volume of `split`; a result without axes gets those of the image, the last ones."""
    result = run(one, **parameters)
    word = getattr(one, "axes", None)
    if word is None or hasattr(result, "axes"):
        return result
    return one.with_array(result, word[-np.ndim(result) :])


def by_slabs(
    volume: NDArray[np.float32], reach: int, function: Filter, threads: int | None = None
) -> NDArray[np.float32]:
    """`function(volume)` (Y X or Z Y X) for a filter that looks no further than `reach` pixels along every axis.

    The longest axis is cut into one slab per thread; each is computed with `reach` more pixels on both sides, or up to
    the border, where the filter continues the image in its own way. The filter must keep the shape, and should let go
    of Python while it works. Slabs have at least four times the reach, so that little is computed twice. `threads` is
    by default as many as there are cores for this process.
    """
    longest = int(np.argmax(volume.shape))
    length = volume.shape[longest]
    if threads is None:
        threads = available() if volume.size >= WORTH else 1
    slabs = min(threads, length // max(4 * reach, 1))
    if slabs < 2:
        return function(volume)
    core, halo = list(volume.shape), [0] * volume.ndim
    core[longest], halo[longest] = -(-length // slabs), reach
    result = np.empty(volume.shape, np.float32)

    def work(tile: tiling.Tile) -> None:
        result[tile.core] = function(volume[tile.read])[tile.inner]

    at_once(work, tiling.tiles(volume.shape, core, halo, [1] * volume.ndim), slabs)
    return result


def at_once(function: Callable[[Any], object], values: Iterable[Any], threads: int = 2) -> None:
    """Call `function` with every value, in threads. The first error is raised."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, values))
