"""Learning from noisy images alone: from two images of each field, from neighbours, or from blind spots.

Noise2Noise (Lehtinen et al. 2018): where noise is new in each image, the mean of what others may show is the truth.
Noise2Void (Krull et al. 2019): with one image, some pixels are hidden and predicted from those around them; noise that
runs along lines is hidden along them (Broaddus et al. 2020). Both need noise without a bias.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from veriscope.errors import DataError, TrainingError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs, read_pairs
from veriscope.images.reading import list_images, read_image, stem
from veriscope.networks.recipe import Recipe
from veriscope.patches.patches import Array, Field, Supply
from veriscope.patches.scaling import FIXED
from veriscope.training.material import Aside, Cutting, Found, FromPairs
from veriscope.wording import lengths

BLIND, TWO = "blind spots", "two images of each field"
CELL = {"YX": (4, 4), "ZYX": (2, 4, 4)}  # pixels of a patch of which one is hidden
NEAR = 2  # pixels along Y and X: how far away a hidden pixel takes its value from
ALONG = 4  # pixels hidden to either side along a line
BRIGHTNESSES = 16  # at which noise is measured


@dataclass(frozen=True)
class FromNoisy:
    """Noisy images to learn from; `pairs` are two images of a place, or the same image twice (blind spots)."""

    pairs: Pairs
    how: str
    stripes: str = ""  # axis along which noise runs
    title: ClassVar[str] = "Noisy images"
    notes: ClassVar[tuple[str, ...]] = ()

    def settings(self) -> dict[str, Any]:
        return FromPairs(self.pairs).settings()

    def fitting(self, recipe: Recipe, typed: Collection[str], notes: list[str]) -> Recipe:
        """As for pairs; networks with blind spots do not add the image, whose hidden pixels hold nothing."""
        recipe = FromPairs(self.pairs).fitting(recipe, typed, notes)
        if recipe.projects or recipe.isotropic or recipe.upsample:
            raise TrainingError("Noisy images teach to denoise only. Use Recipe(axes=...) without a task or factors.")
        only = self.pairs[0].low
        half = max(only.size("Y"), only.size("X")) // 2
        if len(self.pairs) == 1 and max(recipe.patch[-2:]) > half and "patch" not in typed:  # one half is for checking
            fits = [max(min(n, half // step * step), step) for n, step in zip(recipe.patch, recipe.step, strict=True)]
            recipe = recipe.change(patch=(*recipe.patch[:-2], *fits[-2:]))
            notes.append(
                f"patches are {lengths(recipe.patch)}, so that a part of the only image is left to check with."
            )
        return recipe.change(residual=False) if self.how == BLIND else recipe

    def sources(self, recipe: Recipe, check: Aside, cutting: Cutting, notes: list[str]) -> Found:
        if isinstance(check, Pairs):
            raise TrainingError("Noisy images are checked with some of themselves: give check as a fraction.")
        cutting = cutting if cutting.normalize else replace(cutting, normalize=FIXED)
        sources, found = FromPairs(self.pairs).sources(recipe, check, cutting, notes)
        noisy: list[Any] = [Noisy(one, self.how, self.stripes) for one in sources]
        return noisy, found | {"learned by": self.how + f", hidden along {self.stripes}" * bool(self.stripes)}


def read_noisy(
    images: str | Path,
    again: str | Path | None = None,
    axes: str | None = None,
    neighbours: str | None = None,
    stripes: str | None = None,
) -> FromNoisy:
    """Noisy images to give to `train`: a file, folder or pattern, and how to learn from them.

    `again` holds a second noisy image of each field, under the same names. `neighbours="T"` or "Z" takes the next time
    point or plane as the second one: only where hardly anything changes from one to the next. Without either, pixels
    are hidden and predicted from those around them; `stripes="X"` or "Y" hides lines, where noise runs along them.
    Raises DataError, TrainingError for options that exclude each other.
    """
    if again is not None:
        return noisy_images([], read_pairs(images, again, axes=axes), neighbours, stripes)
    read = [read_image(path, axes=axes) for path in list_images(images)]
    named = [replace(one, name=one.name or stem(path)) for one, path in zip(read, list_images(images), strict=True)]
    return noisy_images(named, None, neighbours, stripes)


def noisy_images(
    images: Sequence[Image], pairs: Pairs | None = None, neighbours: str | None = None, stripes: str | None = None
) -> FromNoisy:
    """The same for images in memory, or for `pairs` of two noisy images."""
    if (pairs is not None) + (neighbours is not None) + (stripes is not None) > 1:
        raise TrainingError(
            "A second image of each field, --neighbours and --stripes are three ways to learn from noisy images. "
            "Choose one."
        )
    for name, value, known in (("neighbours", neighbours, "TZ"), ("stripes", stripes, "XY")):
        if value is not None and (len(value) != 1 or value.upper() not in known):
            raise TrainingError(f"--{name} is {known[0]} or {known[1]}, not {value}.")
    if pairs is not None:
        for pair in pairs:
            if pair.projects or pair.low.size("C") != pair.high.size("C"):
                raise DataError(f"The two noisy images of '{pair.name}' differ in planes or channels. Give the same.")
        return FromNoisy(pairs, TWO)
    if neighbours is None:
        return FromNoisy(Pairs([Pair(one, one, one.name) for one in images]), BLIND, (stripes or "").upper())
    letter = neighbours.upper()
    return FromNoisy(Pairs([_neighbours(one, letter) for one in images]), f"neighbours along {letter}")


def _neighbours(image: Image, letter: str) -> Pair:
    """All entries along an axis but the last, and all but the first; planes become samples."""
    count = image.size(letter)
    if count < 3:
        raise DataError(
            f"--neighbours {letter} needs at least 3 entries along {letter}, but {image.name or 'an image'} has "
            f"{count} (axes {image.axes}). Remove it, or state the axes with --axes."
        )
    halves = [image.region(**{letter: part}) for part in (slice(0, count - 1), slice(1, count))]
    if letter == "Z":
        if image.size("S") > 1:
            raise DataError(f"{image.name} has samples (S) and planes (Z). Give stacks one by one.")
        halves = [one.moved(one.axes.replace("S", "")) for one in halves]
        halves = [one.with_array(one.array, one.axes.replace("Z", "S")) for one in halves]
    return Pair(halves[0], halves[1], image.name)


class Noisy(Supply):
    """Patches of noisy images: with two images either may be the one that is given; with blind spots the truth is NaN
    but for the pixels that are hidden, as many in every patch. All is drawn with one seed for each patch.
    """

    def __init__(self, inner: Any, how: str, stripes: str) -> None:  # of Patches
        self.inner, self.how, self.stripes, self.hides = inner, how, stripes, how == BLIND
        self.axes, self.axes_out, self.low_shape, self.shape = inner.axes, inner.axes_out, inner.low_shape, inner.shape
        self.channels_in, self.channels_out = inner.channels_in, inner.channels_out

    def __len__(self) -> int:
        return len(self.inner)

    def training(self, index: int, seed: int) -> tuple[Array, Array]:
        return self._taught(np.random.default_rng((seed, index, 3)), *self.inner.training(index, seed))

    def checking(self, index: int) -> tuple[Array, Array]:
        return self._taught(np.random.default_rng((index, 4)), *self.inner.checking(index))

    def _taught(self, rng: np.random.Generator, low: Array, high: Array) -> tuple[Array, Array]:
        """What networks are given and what they are to predict."""
        if self.hides:
            return hidden(low, CELL[self.axes], self.stripes, rng)
        return (high, low) if rng.random() < 0.5 else (low, high)

    def fields(self) -> list[Field]:
        return [replace(one, noisy=True) for one in self.inner.fields()]

    def summary(self) -> dict[str, Any]:
        known: dict[str, Any] = self.inner.summary()
        return known | {"training": known["training"] | {"noisy": self.how, "stripes": self.stripes or None}}


def hidden(patch: Array, cell: Sequence[int], stripes: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """`patch` (C, *space) with one pixel of every `cell` replaced by one nearby, and the pixels that were, else NaN.

    With `stripes` those to either side of it are replaced too, and all by pixels of other lines.
    """
    shape = patch.shape[1:]
    cells = np.indices([max(n // c, 1) for n, c in zip(shape, cell, strict=True)]).reshape(len(shape), -1)
    places = cells * np.array(cell)[:, None]
    places += rng.integers(np.minimum(cell, shape)[:, None], size=places.shape)
    across = len(shape) - (1 if stripes == "Y" else 2)  # the axis that leads to other lines
    steps = rng.integers(-NEAR, NEAR + 1, places.shape)
    steps[:-2] = 0  # never along Z, whose voxels are long
    nowhere = (steps == 0).all(0) if not stripes else steps[across] == 0
    steps[across, nowhere] = rng.choice([-1, 1], int(nowhere.sum()))
    run = np.arange(-ALONG, ALONG + 1) if stripes else np.zeros(1, np.intp)
    along = np.zeros((len(shape), 1, len(run)), np.intp)
    if stripes:
        along[-1 if stripes == "X" else -2, 0] = run
    last = np.array(shape)[:, None, None] - 1
    lines = np.clip(places[:, :, None] + along, 0, last)
    beside = lines + steps[:, :, None]
    beside = np.clip(np.where((beside < 0) | (beside > last), lines - steps[:, :, None], beside), 0, last)
    given, wanted = patch.copy(), np.full_like(patch, np.nan)
    given[(slice(None), *lines)] = patch[(slice(None), *beside)]
    wanted[(slice(None), *places)] = patch[(slice(None), *places)]
    return given, wanted


def as_if_restored(low: Array, high: Array, mean: Array, rng: np.random.Generator) -> Array:
    """A noisy image whose truth is known to be `mean`, all (C, *space): what was restored, under noise as it was.

    The noise is what `high` differs by, in standard deviations at each brightness, moved elsewhere by one shift, so
    that it is as skewed and as much in lines as it was. This is a bootstrap (Efron 1979): it says how far off a
    restoration of `mean` is, but nothing of what is not in `mean` any more.
    """
    made = np.empty_like(low)
    axes = tuple(range(low.ndim - 1))
    for channel, (noisy, truth) in enumerate(zip(high, mean, strict=True)):
        left = noisy - truth
        edges = np.quantile(truth, np.linspace(0, 1, BRIGHTNESSES + 1)[1:-1])
        which = np.searchsorted(edges, truth)
        counts = np.maximum(np.bincount(which.ravel(), minlength=BRIGHTNESSES), 1)
        squares = np.bincount(which.ravel(), np.square(left, dtype=np.float64).ravel(), BRIGHTNESSES)
        deviation = np.maximum(np.sqrt(squares / counts), 1e-6).astype(np.float32)[which]
        shift = [int(rng.integers(max(n // 4, 1), max(3 * n // 4, 1) + 1)) for n in truth.shape]
        made[channel] = truth + deviation * np.roll(left / deviation, shift, axes)
    return made
