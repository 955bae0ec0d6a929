"""Projection of a stack to the surface in it, as it was done before networks (SI, Supp. Fig. 10).

Each takes an Image with Z (time points one by one; all channels at the height found in one of them) or an array Z Y X,
and answers in kind: the flat image, float32, in the unit of the stack, and the height of the surface, in planes.
Scale and offset of the grey values do not change the height. Raises AxesError where there is no Z, DataError for NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veriscope.classical.method import Method
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.volumes import Picture, finite

__all__ = ["METHODS", "PROJECTIONS", "Projected", "at_height", "maximum", "minimum_cost", "premosa", "smooth_manifold"]

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
        return np.stack([at_height(volume, height, nearest) for volume in volumes]), height

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
    result: Any = flat[0], height
    if stack is image:
        axes = image.axes.replace("Z", "")
        seen, deep = moved.with_array(flat, outer + "CYX"), moved.with_array(height, outer + "YX")
        result = seen.moved(axes), deep.moved(axes.replace("C", ""))
    return Projected(*result)


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


def at_height(stack: NDArray[Any], height: NDArray[Any], nearest: bool = False) -> Flat:
    """The `stack` (Z Y X) on the surface `height` (Y X, in planes from 0), linear between planes; float32.

    Heights outside the stack mean its first or last plane. `nearest`: the nearest plane as it is.
    """
    stack, height = np.asarray(stack), np.asarray(height)
    height = np.clip(height, 0, len(stack) - 1)
    if nearest:
        height = np.rint(height)
    below = np.floor(height).astype(np.intp)
    planes = (below, np.minimum(below + 1, len(stack) - 1))
    first, second = (np.take_along_axis(stack, plane[None], axis=0)[0].astype(np.float64) for plane in planes)
    return np.asarray((first + (height - below) * (second - first)).astype(np.float32))


def maximum(stack: Picture, *, channel: int = 0) -> Projected[Picture]:
    """The brightest value above every pixel, wherever it lies; of several channels each its own.

    The height is that of `channel`: the first of its brightest planes.
    """

    def work(volumes: NDArray[Any]) -> tuple[Flat, Flat]:
        return np.asarray(volumes.max(axis=1), np.float32), np.asarray(volumes[channel].argmax(axis=0), np.float32)

    return by_stack(stack, channel, work)


def smooth_manifold(stack: Picture, *, channel: int = 0) -> Projected[Picture]:
    """SME: a smooth sheet through the brightest planes of those columns that show something (Shihavuddin et al. 2017).

    It has no settings. Pixels come from the nearest plane, as in the authors' program. Lumps of bright pixels that
    float beside the surface draw the sheet to them.
    """
    from veriscope.classical import surfaces

    return along(stack, channel, surfaces.smooth_manifold, nearest=True)


def minimum_cost(
    stack: Picture, *, blur: float = 2.0, step: int = 4, bend: int = 1, channel: int = 0
) -> Projected[Picture]:
    """The brightest of all sheets that bend no more than allowed, by a minimum cut (Wu and Chen 2002, Li et al. 2006).

    The brightness is that after a Gaussian of `blur` pixels (0: none). The sheet is found on a grid of `step` pixels,
    on which neighbours differ by `bend` planes at most, and is linear in between; so is the image between planes.
    Where there is only noise the search takes many times as long.
    """
    if not (np.isfinite(blur) and blur >= 0):
        raise DataError(f"The blur of the minimum-cost surface is 0 pixels or more, not {blur:g}. Try 2.")
    _at_least_one("step", step, 4)
    _at_least_one("bend", bend, 1)
    from veriscope.classical import surfaces

    return along(stack, channel, lambda volume: surfaces.minimum_cost(volume, blur, int(step), int(bend)))


def premosa(
    stack: Picture, *, block: int = 20, brightest: int = 50, reach: int = 2, channel: int = 0
) -> Projected[Picture]:
    """PreMosa: blocks of pixels vote for a plane, smaller cells move to where they have contrast (Blasse et al. 2017).

    `block` is the width of a block in pixels: somewhat more than a membrane and its surroundings, so that each holds
    some of the surface. Its `brightest` pixels vote. Cells look `reach` planes up and down for more contrast.
    """
    if not block >= 2:
        raise DataError(f"Blocks of PreMosa are at least 2 pixels wide, not {block:g}. Try 20.")
    _at_least_one("brightest", brightest, 50)
    _at_least_one("reach", reach, 2)
    from veriscope.classical import surfaces

    return along(stack, channel, lambda volume: surfaces.premosa(volume, int(block), int(brightest), int(reach)))


def _at_least_one(name: str, value: float, usual: int) -> None:
    if not value >= 1:
        raise DataError(f"The {name} of a projection is at least 1, not {value:g}. Try {usual}.")


PROJECTIONS: dict[str, Callable[..., Projected[Any]]] = {
    "max": maximum,
    "sme": smooth_manifold,
    "mincost": minimum_cost,
    "premosa": premosa,
}


def _image_of(project: Callable[..., Projected[Any]]) -> Callable[..., Any]:
    @wraps(project)  # reports show its docstring
    def flat(stack: Any, **parameters: Any) -> Any:
        return project(stack, **parameters).image

    return flat


METHODS = (  # speeds: benchmarks/projections.py
    Method("max", "maximum", "project", _image_of(maximum), library="numpy", speed=(100.0, 100.0)),
    Method("sme", "SME", "project", _image_of(smooth_manifold), source="Shihavuddin et al. 2017", speed=(1.0, 1.0)),
    Method(
        "mincost",
        "minimum-cost surface",
        "project",
        _image_of(minimum_cost),
        usual={"blur": 2.0},
        grid={"blur": (1.0, 2.0, 4.0)},
        source="Wu and Chen 2002, Li et al. 2006",
        speed=(2.0, 2.0),
    ),
    Method(
        "premosa",
        "PreMosa",
        "project",
        _image_of(premosa),
        usual={"block": 20},
        grid={"block": (10, 20, 40)},
        source="Blasse et al. 2017",
        speed=(25.0, 25.0),
    ),
)
