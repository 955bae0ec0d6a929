"""An image taken apart for a model: frames that the network restores one by one, read in tiles beyond their borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope import axes as ax
from veriscope.errors import DataError, ModelError, warn
from veriscope.images.image import Image
from veriscope.images.lazy import Blank
from veriscope.images.resampling import resampled, zoomed
from veriscope.networks.recipe import Recipe
from veriscope.tiling import Span, padded
from veriscope.wording import counted

SIDE = {"Z": 16, "Y": 256, "X": 256}  # pixels of a chunk on disk, about
RATIOS_ALIKE = 0.05  # relative difference between voxels and model

Number = tuple[int, ...]  # of a frame: its place along each of Frames.outer


@dataclass(frozen=True)
class Frames:
    """`image` with its axes in the order `outer`, C, `whole`, `space`: one frame for each place along the outer axes.

    A frame is continued by reflection to multiples of the network's step, and tiles are laid over what results; its
    own first pixel lies there at `before`. Percentiles are taken of `measured`.

    `source` is the image as the user gave it (or the channel of it that was chosen), on the grid that the recipe asks
    for. `whole` are spatial axes that every tile has whole and the result no longer has: Z, when stacks are projected.
    """

    source: Image
    image: Image
    outer: str
    space: str
    measured: Image
    before: tuple[int, ...]
    whole: str = ""

    @property
    def counts(self) -> tuple[int, ...]:
        """Frames along each outer axis."""
        return self.image.shape[: len(self.outer)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels of one frame, along `space`."""
        return self.image.shape[-len(self.space) :]

    @property
    def depth(self) -> int:
        """Voxels that are read for each pixel of a frame."""
        return prod(self.source.size(letter) for letter in self.whole)

    @property
    def channels(self) -> int:
        return self.image.shape[len(self.outer)]

    @property
    def voxels(self) -> int:
        """Pixels of all frames, channels not counted."""
        return prod(self.counts) * prod(self.shape)

    def numbers(self) -> Iterator[Number]:
        return product(*(range(count) for count in self.counts))

    def result_axes(self, channels: int) -> str:
        """The axes of a restoration with so many channels: those of the input, with C before space if it is new.

        0 channels: an image without C.
        """
        axes = "".join(letter for letter in self.source.axes if letter not in self.whole)
        if channels == 0:
            return axes.replace("C", "")
        if channels == 1 or "C" in axes:
            return axes
        first = min(axes.index(letter) for letter in self.space)
        return axes[:first] + "C" + axes[first:]

    def outline(self, channels: int, dtype: DTypeLike = np.float32) -> Image:
        """The result without its pixels: its axes, sizes, voxel size, time step and name."""
        axes = self.result_axes(channels)
        shape = tuple(channels if letter == "C" else self.source.size(letter) for letter in axes)
        return self.source.with_array(Blank(shape, dtype), axes)

    def chunks(self, core: Sequence[int], channels: int) -> tuple[int, ...]:
        """Good chunks of a result whose tiles give `core` pixels of each frame: a tile is written as whole chunks."""
        good = {letter: chunk(size, SIDE[letter]) for letter, size in zip(self.space, core, strict=True)}
        shown = self.outline(channels)
        return tuple(min(size, good.get(letter, 1)) for letter, size in zip(shown.axes, shown.shape, strict=True))

    def arranged(self, answers: NDArray[Any], channels: int) -> NDArray[Any]:
        """Members' answers (M, outer axes, C, space), of a part or all, as a view with the result's axes behind M.

        Those of a tile may lack the outer axes: (M, C, space).
        """
        if answers.ndim == 2 + len(self.space):
            answers = answers.reshape(len(answers), *(1 for _ in self.outer), *answers.shape[1:])
        work = self.outer + "C" + self.space
        order = [1 + work.index(letter) for letter in self.result_axes(channels)]
        lost = [axis for axis in range(1, answers.ndim) if axis not in order]  # C, of size 1
        kept: tuple[Any, ...] = (..., *(0 for _ in lost))
        return np.asarray(answers.transpose([0, *order, *lost])[kept])

    def region(self, number: Number, core: Sequence[slice], channels: int) -> Span:
        """Where in the result the part `core` of a frame lies."""
        place = {letter: slice(n, n + 1) for letter, n in zip(self.outer, number, strict=True)}
        place |= {"C": slice(0, channels)} | dict(zip(self.space, core, strict=True))
        return tuple(place[letter] for letter in self.result_axes(channels))

    def read(self, number: Number, span: Sequence[slice]) -> NDArray[Any]:
        """The part `span` of a frame as continued, (C, *whole, *space)."""
        wanted = [
            _reflected(slice(part.start - before, part.stop - before), length)
            for part, before, length in zip(span, self.before, self.shape, strict=True)
        ]
        everything = [slice(None)] * (1 + len(self.whole))
        block = self.image.read(*number, *everything, *(region for region, _ in wanted))
        for axis, (_, places) in enumerate(wanted, start=len(everything)):
            if places is not None:
                block = np.take(block, places, axis=axis)
        return block


def _reflected(span: slice, length: int) -> tuple[slice, NDArray[np.intp] | None]:
    """The smallest region of an axis that holds what `span` shows of its reflected continuation, and where in it.

    As ``np.pad(mode="reflect")``: the border pixel is not repeated, reflections repeat, one pixel continues as itself.
    """
    if span.start >= 0 and span.stop <= length:
        return span, None
    places = np.pad(np.arange(length), (max(-span.start, 0), max(span.stop - length, 0)), mode="reflect")
    places = places[max(span.start, 0) :][: span.stop - span.start]
    first = int(places.min())
    return slice(first, int(places.max()) + 1), places - first


def chunk(core: int, about: int) -> int:
    """A length of chunks near `about` that divides `core`, so that no tile writes a part of a chunk."""
    if core <= about:
        return core
    dividing = [n for n in range(1, core + 1) if core % n == 0]
    near = [n for n in dividing if about // 3 <= n <= about * 3 // 2]
    return min(near, key=lambda n: abs(n - about)) if near else min(dividing, key=lambda n: max(n / about, about / n))


def padded_shape(shape: Sequence[int], step: Sequence[int]) -> tuple[int, ...]:
    return tuple(padded(length, n) for length, n in zip(shape, step, strict=True))


def frames(image: Image, recipe: Recipe, channel: int | None = None, planes: bool = False) -> Frames:
    """Take `image` apart for the networks of `recipe`, once it is interpolated as the recipe says.

    `channel` picks one channel; `planes` lets a network for planes restore a stack plane by plane. Raises ModelError
    when the image has other spatial axes or channels than the model was trained for, AxesError without Y and X.
    """
    if not isinstance(image, Image):
        raise DataError(f"Restoring needs an Image, not {type(image).__name__}. Say Image(array, axes='YX').")
    ax.image_axes(image.axes, "Restoring")
    if channel is not None:
        if not 0 <= channel < image.size("C"):
            raise DataError(
                f"The image has {counted(image.size('C'), 'channel')}, counted from 0; there is no channel {channel}."
            )
        image = image.region(C=slice(channel, channel + 1)) if "C" in image.axes else image
    given, space = recipe.space, recipe.space if recipe.isotropic else recipe.axes_out
    does = "projects" if recipe.projects else "restores"
    depth = image.size("Z")
    if planes and "Z" in given:
        raise ModelError(f"This model {does} whole stacks (ZYX), not plane by plane. Remove planes=True (--planes).")
    if "Z" not in given and depth > 1 and not planes:
        raise ModelError(
            f"This model restores planes (YX), but the image is a stack of {depth} planes (axes {image.axes}). "
            f"Restore it plane by plane (planes=True, veriscope restore --planes), or train a model with axes ZYX."
        )
    if "Z" in given and "Z" not in image.axes:
        raise ModelError(
            f"This model {does} stacks (ZYX), but the image has the axes {image.axes}. "
            f"Give a stack, or train a model with axes YX."
        )
    channels = image.size("C")
    if channels != recipe.channels_in:
        way = "Pick one (channel=0, --channel 0)" if recipe.channels_in == 1 else "Give an image that has them"
        trained, here = counted(recipe.channels_in, "channel"), counted(channels, "channel")
        raise ModelError(
            f"This model was trained on images with {trained}, but this image has {here} (axes {image.axes}). {way}, "
            f"or train a model for {here}."
        )
    if recipe.isotropic:
        _check_ratio(image, recipe)
    coarse = image
    if recipe.combine == "mixture":
        image = resampled(image, recipe.finer)
    else:  # csbdeep normalises first where slices are restored
        image = zoomed(image, recipe.finer, whole=not recipe.isotropic)
    outer = "".join(letter for letter in ax.canonical(image.axes) if letter not in "C" + given)
    whole = "".join(letter for letter in given if letter not in space)
    ready = image.moved(outer + "C" + whole + space)
    measured, before = ready, (0,) * len(space)
    if recipe.combine == "csbdeep":
        measured = coarse.moved(ready.axes) if recipe.isotropic else ready
        step = (recipe.step[0], recipe.step[1], recipe.step[1]) if recipe.isotropic else recipe.step
        before = tuple(-length % n // 2 for length, n in zip(ready.shape[-len(space) :], step, strict=True))
    return Frames(image, ready, outer, space, measured, before, whole)


def _check_ratio(image: Image, recipe: Recipe) -> None:
    """Warn where the voxels are not as much longer along Z as those that an isotropic model was trained for."""
    long, short = image.voxel("Z"), image.voxel("X")
    if long is None or short is None:
        return
    factor, ratio = recipe.finer.get("Z", 1.0), long / short
    if abs(ratio / factor - 1) > RATIOS_ALIKE:
        warn(
            f"The voxels of {image.name or 'the image'} are {ratio:.3g} times as long along Z as along X, but this "
            f"model interpolates by {factor:.3g} along Z: the result is not isotropic, and may not be right. Train a "
            f"model for such stacks, or correct the voxel size."
        )
