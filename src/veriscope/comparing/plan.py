"""What a comparison will do and about how long it takes, settled and checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from veriscope.classical import methods as methods_of
from veriscope.classical import tune as tuning
from veriscope.classical.method import Method, Task
from veriscope.comparing import blind
from veriscope.comparing.comparison import WHOLE
from veriscope.comparing.judge import RESTORATION, check_pair
from veriscope.comparing.picture import INPUTS, INTERPOLATED, MAXIMUM
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging import quality
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import frames
from veriscope.wording import duration, listed

MINUTES = 10.0  # a method may take for all images before it is limited to a crop
SLOW = 60.0  # seconds: what is expected to take longer is said before it starts
BEYOND = 6  # more settings tried than the grid has, where the search goes on beyond it
CONFIRMED = 5  # settings tried on the larger region
SMALLEST, STEP = 64, 16  # pixels: sides of crops
NETWORK_SPEED = {2: 1.0, 3: 0.1}  # Mvoxel/s of one network on two cores, before anything is known
AS_INPUT = {"max": MAXIMUM, "cubic": INTERPOLATED}  # methods that stand for the input; the latter are made in reading


@dataclass(frozen=True)
class MethodPlan:
    """One method of a comparison, and about how long it takes for all images."""

    method: Method
    seconds: tuple[float, ...]  # for every image, tuning included
    side: int | None = None  # of the central square it is limited to; None: whole images

    @property
    def total(self) -> float:
        return sum(self.seconds)


@dataclass(frozen=True, eq=False)
class Design:
    """What a comparison will do: settled before anything runs."""

    task: Task
    pairs: tuple[Pair, ...]
    model: Ensemble | None
    planned: tuple[MethodPlan, ...]
    tune: bool
    tune_on: Pair | None
    crop: int | None
    notes: tuple[str, ...]
    psf: Any = None
    background: float = 0.0

    @property
    def tuned_words(self) -> str:
        if not self.tune:
            return "the usual ones of each method; nothing was tuned."
        if self.tune_on is None:
            return (
                "tuned on each test image itself, towards its ground truth (NRMSE), as the paper did: that favours "
                "these methods. The network has not seen the ground truth."
            )
        return f"tuned on one image for all, {self.tune_on.name or 'unnamed'}, towards its ground truth (NRMSE)."

    @property
    def region(self) -> str:
        """What is judged of every image by methods that are not limited."""
        return region_name(self.crop, WHOLE)

    @property
    def limits(self) -> list[int]:
        """The crops of methods that are limited, the largest first."""
        return sorted({one.side for one in self.planned if one.side is not None}, reverse=True)

    def truth(self, pair: Pair) -> Image:
        """What a method should make of the low image of a pair: a plane where stacks are projected."""
        return pair.high.flat if self.task == "project" else pair.high

    def label(self, method: Method) -> str:
        """What tables call it: what stands for the input is named so."""
        return AS_INPUT.get(method.name, method.title)

    @property
    def seconds(self) -> dict[str, tuple[float, ...]]:
        """About how long every method takes for every image, until the first one has been timed."""
        known = {self.label(one.method): one.seconds for one in self.planned}
        if self.model is not None:
            sizes = [(prod(pair.low.shape) / 1e6, _dimensions(pair.low)) for pair in self.pairs]
            known[RESTORATION] = tuple(len(self.model) * size / NETWORK_SPEED[n] for size, n in sizes)
        return known


def prepare(
    pairs: Sequence[Pair],
    model: Ensemble | None = None,
    methods: str | Sequence[Method | str] | None = None,
    tune: bool = True,
    tune_on: Pair | None = None,
    crop: int | None = None,
    minutes: float | None = MINUTES,
    psf: Any = None,
    background: float = 0.0,
) -> Design:
    """Check everything that `compare` was given, and say how long it may take. Raises as `compare`."""
    if not pairs:
        raise DataError("There is nothing to compare: no pairs were given. Give at least one low and one high image.")
    task = _task(pairs, model)
    for pair in (*pairs, *(() if tune_on is None else (tune_on,))):
        check_pair(pair, task == "project")
        _check_channels(pair, pairs[0], model)
        if model is not None:  # raises what `restore` would raise in the middle of the work
            frames(pair.low, model.on_grid.in_space().recipe)
    if crop is not None:
        check_side(crop, pairs)
        pairs = [replace(pair, low=cropped(pair.low, crop), high=cropped(pair.high, crop)) for pair in pairs]
    optics = (psf, None if model is None else model.recipe.finer.get("Z"), background)
    chosen, notes = _chosen(methods, task, _dimensions(pairs[0].low), optics)
    if task == "project" and not any(method.name == "max" for method in chosen):
        chosen = (methods_of.from_words("max", task), *chosen)  # stands for the input
    if psf is not None and task != "isotropic":
        notes.append("The PSF is not used: methods that deconvolve are for models that make stacks isotropic.")
    planned = tuple(_planned(method, pairs, tune and tune_on is None, minutes) for method in chosen)
    for one in planned:
        if one.side is not None:
            whole = duration(sum(seconds_for(one.method, pair.low, tune and tune_on is None) for pair in pairs))
            notes.append(
                f"{one.method.title} would take about {whole}, more than the {duration(60 * (minutes or 0))} allowed: "
                f"it is limited to the {region_name(one.side, WHOLE)} of each image, where all others are judged too."
            )
        elif one.total > SLOW:
            notes.append(f"{one.method.title} is slow: about {duration(one.total)} for all images.")
    return Design(task, tuple(pairs), model, planned, tune, tune_on, crop, tuple(notes), psf, background)


def _task(pairs: Sequence[Pair], model: Ensemble | None) -> Task:
    if model is None:
        return "project" if pairs[0].projects else "restore"
    tasks: dict[str, Task] = {"project": "project", "isotropic": "isotropic"}
    return tasks.get(model.recipe.task, "isotropic" if "Z" in model.recipe.finer else "restore")


def _check_channels(pair: Pair, first: Pair, model: Ensemble | None) -> None:
    low, high = pair.low.size("C"), pair.high.size("C")
    if low != high:
        raise DataError(
            f"Pair '{pair.name}' has {low} channels in low and {high} in high, but methods without a network make as "
            f"many channels as they are given. Give the channels that belong together."
        )
    if low != first.low.size("C"):
        raise DataError(
            f"Pair '{pair.name}' has {low} channels, but '{first.name}' has {first.low.size('C')}. Images that are "
            f"compared, and the one that parameters are tuned on, have the same channels."
        )
    if model is not None and low != model.recipe.channels_in:
        raise DataError(
            f"Pair '{pair.name}' has {low} channels, but the model takes {model.recipe.channels_in}. Choose another "
            f"model, or the channels that it was trained on."
        )


def check_pixels(design: Design) -> None:
    """Raise DataError, with the image's name, where nothing can be compared: NaN, or a truth without contrast.

    Every image is read for that once, so that the last of many does not end what has taken hours.
    """
    for pair in (*design.pairs, *(() if design.tune_on is None else (design.tune_on,))):
        low = np.asarray(pair.low.in_memory())
        if wrong := low.size - np.count_nonzero(np.isfinite(low)):
            raise DataError(
                f"The low image of pair '{pair.name}' holds {wrong} NaN or infinite values of {low.size}. Replace "
                f"them, or leave this pair out."
            )
        try:
            for _, _, (truth, _) in quality.volumes(pair.high, pair.high):
                quality.normalize_truth(truth)
        except DataError as problem:
            raise DataError(f"Pair '{pair.name}': {problem}") from None


def _chosen(
    methods: str | Sequence[Method | str] | None, task: Task, dimensions: int, optics: tuple[Any, float | None, float]
) -> tuple[tuple[Method, ...], list[str]]:
    """The methods that were asked for, all of which must be able to run; by default those that can, with notes."""
    if methods is None:
        fitting = [one for one in methods_of.for_task(task, *optics) if dimensions in one.steps[0].dimensions]
        able, missing = methods_of.installed(fitting)
        return able, [f"{name} is left out: {why}" for name, why in missing.items()]
    chosen: list[Method] = []
    for one in [methods] if isinstance(methods, str) else methods:
        if isinstance(one, str):
            words = [word.strip() for word in one.split(",")]
            chosen += [blind.METHOD] * (blind.METHOD.name in words)
            one = ",".join(word for word in words if word != blind.METHOD.name)
            chosen += methods_of.several(one, task, *optics) if one or not chosen else ()
        else:
            chosen.append(one)
    titles = [method.title for method in chosen]
    for method in chosen:
        if method.task != task:
            raise DataError(
                f"'{method.name}' {methods_of.WORDS[method.task]}, but what is wanted here {methods_of.WORDS[task]}."
            )
        if dimensions not in method.steps[0].dimensions:
            kinds = {2: "planes", 3: "stacks"}
            raise DataError(
                f"{method.title} works on {listed(kinds[n] for n in method.steps[0].dimensions)}, but these are "
                f"{kinds[dimensions]}. Leave it out."
            )
        if titles.count(method.title) > 1 or method.title in (*INPUTS, RESTORATION):
            raise DataError(f"Two methods would be called '{method.title}' in the tables. Give each its own title.")
        method.check()
    return tuple(chosen), []


# -- sizes and times --------------------------------------------------------------------------------


def _planned(method: Method, pairs: Sequence[Pair], tuned: bool, minutes: float | None) -> MethodPlan:
    """On whole images, or on a central square that it manages in so many minutes; None: however long."""

    def at(side: int | None) -> MethodPlan:
        return MethodPlan(method, tuple(seconds_for(method, cropped(pair.low, side), tuned) for pair in pairs), side)

    whole = at(None)
    if minutes is None or whole.total <= 60 * minutes:
        return whole
    largest = max(max(pair.low.size("Y"), pair.low.size("X")) for pair in pairs)
    sides = list(range(SMALLEST, largest, STEP))
    fitting = [side for side in sides if at(side).total <= 60 * minutes]
    return at(max(fitting, default=SMALLEST)) if sides else whole


def cropped(image: Image, side: int | None, margin: int = 0) -> Image:
    """The central `side` x `side` pixels, and `margin` more where the image has them; planes and channels whole.

    The margin goes when what was made of such a part is cropped once more, without one.
    """
    return image if side is None else image.region(**spans_of(image, side, margin))


def spans_of(image: Image, side: int, margin: int = 0) -> dict[str, slice]:
    """Where ``cropped`` finds its pixels along Y and X."""
    spans = {}
    for letter in "YX":
        start = max(0, (image.size(letter) - side) // 2)
        spans[letter] = slice(max(0, start - margin), min(image.size(letter), start + side + margin))
    return spans


def check_side(side: int, pairs: Sequence[Pair]) -> None:
    """Raise DataError for a crop that is too small to be judged, or no crop of some image."""
    if side < SMALLEST // 4:
        raise DataError(f"A crop of {side} pixels is too small to compare methods. Give at least {SMALLEST // 4}.")
    small = next((pair for pair in pairs if max(pair.high.size("Y"), pair.high.size("X")) < side), None)
    if small is not None:
        size = f"{small.high.size('Y')} x {small.high.size('X')}"
        raise DataError(f"Image '{small.name}' has {size} pixels, less than the crop of {side}. Give a smaller crop.")


def seconds_for(method: Method, image: Image, tuned: bool) -> float:
    """About how long `method` takes for one image, with the search for its parameters if `tuned`."""
    total, voxels, dimensions = 0.0, prod(image.shape), _dimensions(image)
    for step in method.steps:
        speed = 1e6 * step.speed[dimensions - 2]
        total += voxels / speed
        if step is method and tuned and method.grid:
            places = image.size("C")
            each = voxels / places / image.size("T")
            tries = BEYOND + prod(len(values) for values in method.grid.values())
            sizes = zip((tuning.SEARCH, tuning.CONFIRM), tuning.SECONDS, strict=True)
            small, large = (min(each, size[dimensions], speed * most) for size, most in sizes)
            total += places * (tries * small + CONFIRMED * large) / speed
        if method.task == "project" and dimensions == 3:
            voxels, dimensions = voxels // image.size("Z"), 2
    return total


def region_name(side: int | None, whole: str) -> str:
    return whole if side is None else f"central {side} x {side} px"


def _dimensions(image: Image) -> int:
    return 3 if image.size("Z") > 1 else 2
