"""About how long a comparison takes, and the crops to which slow methods are limited; told before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from veriscope.classical import tune
from veriscope.classical.method import Method
from veriscope.errors import DataError

if TYPE_CHECKING:
    from veriscope.images.image import Image
    from veriscope.images.pairing import Pair

BEYOND = 6  # more settings tried than the grid has, where the search goes on beyond it
CONFIRMED = 5  # settings tried on the larger region
SMALLEST, STEP = 64, 16  # pixels: sides of crops
NETWORK_SPEED = {2: 1.0, 3: 0.1}  # Mvoxel/s of one network on two cores, before anything is known


@dataclass(frozen=True)
class Planned:
    """One method of a comparison, and about how long it takes for all images."""

    method: Method
    seconds: tuple[float, ...]  # for every image, tuning included
    side: int | None = None  # of the central square it is limited to; None: whole images

    @property
    def total(self) -> float:
        return sum(self.seconds)


def plan(methods: Sequence[Method], pairs: Sequence[Pair], tuned: bool, minutes: float | None) -> tuple[Planned, ...]:
    """Every method on whole images, or on a central square that it manages in so many minutes; None: however long."""
    return tuple(_planned(method, pairs, tuned, minutes) for method in methods)


def cropped(image: Image, side: int | None, margin: int = 0) -> Image:
    """The central `side` x `side` pixels, and `margin` more where the image has them; planes and channels whole."""
    if side is None:
        return image
    return image.region(**{letter: _span(image.size(letter), side, margin) for letter in "YX"})


def without_margin(image: Image, whole: Image, side: int | None, margin: int) -> Image:
    """The central square of what was made of ``cropped(whole, side, margin)``."""
    if side is None:
        return image
    spans = {}
    for letter in "YX":
        inner, outer = (_span(whole.size(letter), side, more) for more in (0, margin))
        spans[letter] = slice(inner.start - outer.start, inner.stop - outer.start)
    return image.region(**spans)


def check_side(side: int, pairs: Sequence[Pair]) -> None:
    """Raise DataError for a crop that is too small to be judged, or no crop of some image."""
    if side < SMALLEST // 4:
        raise DataError(f"A crop of {side} pixels is too small to compare methods. Give at least {SMALLEST // 4}.")
    small = next((pair for pair in pairs if max(pair.high.size("Y"), pair.high.size("X")) < side), None)
    if small is not None:
        size = f"{small.high.size('Y')} x {small.high.size('X')}"
        raise DataError(f"Image '{small.name}' has {size} pixels, less than the crop of {side}. Give a smaller crop.")


def network_seconds(pair: Pair, members: int) -> float:
    """A guess, until the first image has told."""
    return members * prod(pair.low.shape) / 1e6 / NETWORK_SPEED[_dimensions(pair.low)]


def seconds(method: Method, image: Image, tuned: bool) -> float:
    """About how long `method` takes for one image, with the search for its parameters if `tuned`."""
    total, voxels, dimensions = 0.0, prod(image.shape), _dimensions(image)
    for step in method.steps:
        speed = 1e6 * step.speed[dimensions - 2]
        total += voxels / speed
        if step is method and tuned and method.grid:
            places = image.size("C")
            each = voxels / places / image.size("T")
            tries = BEYOND + prod(len(values) for values in method.grid.values())
            sizes = zip((tune.SEARCH, tune.CONFIRM), tune.SECONDS, strict=True)
            small, large = (min(each, size[dimensions], speed * most) for size, most in sizes)
            total += places * (tries * small + CONFIRMED * large) / speed
        if method.task == "project" and dimensions == 3:
            voxels, dimensions = voxels // image.size("Z"), 2
    return total


def in_words(seconds: float) -> str:
    """A time for people: "5 s", "12 min", "3 h"."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def region_name(side: int | None, whole: str) -> str:
    return whole if side is None else f"central {side} x {side} px"


def _planned(method: Method, pairs: Sequence[Pair], tuned: bool, minutes: float | None) -> Planned:
    def at(side: int | None) -> Planned:
        return Planned(method, tuple(seconds(method, cropped(pair.low, side), tuned) for pair in pairs), side)

    whole = at(None)
    if minutes is None or whole.total <= 60 * minutes:
        return whole
    largest = max(max(pair.low.size("Y"), pair.low.size("X")) for pair in pairs)
    sides = list(range(SMALLEST, largest, STEP))
    fitting = [side for side in sides if at(side).total <= 60 * minutes]
    return at(max(fitting, default=SMALLEST)) if sides else whole


def _span(length: int, side: int, margin: int) -> slice:
    start = max(0, (length - side) // 2)
    stop = min(length, start + side)
    return slice(max(0, start - margin), min(length, stop + margin))


def _dimensions(image: Image) -> int:
    return 3 if image.size("Z") > 1 else 2
