"""Between grey values and the network's units: the normalisation of every frame, and the way back (SI 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError, ModelError, warn
from veriscope.images.image import Image
from veriscope.networks.facts import Facts
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Foreign, Recipe
from veriscope.normalize import Count, Normalization, counting, fit, fit_moments
from veriscope.restoring.frames import Frames, Number

PERCENTILES = (2.0, 99.8)  # at restoration one fixed pair (SI 2.2)


@dataclass(frozen=True)
class Known:
    """Normalisations that were fitted before: one for each place along the axes `apart` of `outer`."""

    outer: str
    apart: str
    places: Mapping[Number, Normalization]

    def __call__(self, number: Number) -> Normalization:
        return self.places[_place(self.outer, self.apart, number)]


Choice = Literal["image", "frame", "model"] | Normalization | Known
"""Where the percentiles come from: the whole image (all time points together; each sample its own), every frame on
its own, the images that the model was trained on, or given by the user."""


def normalizer(frames: Frames, ensemble: Ensemble, choice: Choice = "image") -> Callable[[Number], Normalization]:
    """The normalisation of each frame, fitted when it is first asked for.

    Raises DataError for constant images, NaN and infinite values, unknown choices and a wrong number of channels;
    ModelError when the model has stored no percentiles.
    """
    if isinstance(choice, Known):
        return choice
    foreign, same = ensemble.recipe.foreign, choice if isinstance(choice, Normalization) else None
    if choice == "model":
        same = stored_normalization(ensemble.facts, "low")
        if same is None:
            raise ModelError(
                "This model does not know the percentiles of the images it was trained on. Normalise by the image."
            )
    elif choice in ("image", "frame") and foreign is not None and foreign.scaling == "fixed":
        same = Normalization(foreign.low, foreign.high)
    if same is not None:
        if same.channels == 1:
            same = Normalization(same.low * frames.channels, same.high * frames.channels)
        if same.channels != frames.channels:
            raise DataError(
                f"The normalisation is for {same.channels} channels, but {frames.channels} are restored. "
                f"Give one pair of values per channel."
            )
        fixed = same
        return lambda number: fixed
    if choice not in ("image", "frame"):
        raise DataError(
            f"Normalising by '{choice}' is not known. Choose image, frame or model, or give a Normalization."
        )
    apart = frames.outer if choice == "frame" else frames.outer.replace("T", "").replace("Z", "")
    return Fitted(frames, apart, foreign)


def restorer(
    ensemble: Ensemble, normalization: Callable[[Number], Normalization], undo: bool
) -> Callable[[Number], Normalization | None]:
    """What takes each frame's restoration back to grey values; None where it stays normalised.

    The input's own normalisation when the network has as many channels in as out; that of the truth the model was
    trained on when it has not, and for planes made of stacks: the percentiles of a stack are not those of the surface
    in it, though csbdeep takes them. Warns when that is not known.
    """
    recipe = ensemble.recipe
    if undo and _by_input(recipe):
        return normalization
    target = _by_truth(ensemble) if undo else None
    if undo and target is None:
        made = (
            "it is the projection of a stack"
            if recipe.projects
            else f"it has {recipe.channels_out} channels, the input {recipe.channels_in}"
        )
        warn(f"The restored image stays normalised: {made}, and the model does not know the grey values of its truth.")
    return lambda number: target


def target_normalization(ensemble: Ensemble, low: Normalization) -> Normalization | None:
    """What takes restorations of images normalised by `low` back to grey values, as in `restorer`; None if unknown."""
    return low if _by_input(ensemble.recipe) else _by_truth(ensemble)


def _by_input(recipe: Recipe) -> bool:
    same = recipe.channels_in == recipe.channels_out
    return same and (not recipe.projects or recipe.combine == "csbdeep")


def _by_truth(ensemble: Ensemble) -> Normalization | None:
    target = stored_normalization(ensemble.facts, "high")
    return None if target is None or target.channels != ensemble.recipe.channels_out else target


def stored_normalization(facts: Facts, which: Literal["low", "high"]) -> Normalization | None:
    """The percentiles of the model's training images, None when they were not stored or were constant."""
    stored = facts.low if which == "low" else facts.high
    return None if stored is None else stored.normalization


def to_units(normalization: Normalization, block: NDArray[Any]) -> NDArray[np.float32]:
    """A block (C, ...) in the network's units. Raises DataError for NaN and infinite values."""
    if block.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(block)))
        if bad:
            raise DataError(
                f"{bad:,} of {block.size:,} values in a part of the image are NaN or infinite. Replace them first, "
                f"for example with numpy.nan_to_num."
            )
    return normalization.apply(block)


def from_units(
    normalization: Normalization | None, means: NDArray[np.float32], scales: NDArray[np.float32] | None
) -> None:
    """Take means and scales (M, C, ...) back to grey values, in place."""
    if normalization is None:
        return
    shape = (1, -1) + (1,) * (means.ndim - 2)
    span = np.array(normalization.range, np.float32).reshape(shape)
    means *= span
    means += np.array(normalization.low, np.float32).reshape(shape)
    if scales is not None:
        scales *= span


def _place(outer: str, apart: str, number: Number) -> Number:
    return tuple(place for letter, place in zip(outer, number, strict=True) if letter in apart)


class Fitted:
    """One normalisation for each place along the axes `apart`, over all the rest; a graph of others says how. A place
    that is constant, such as a blank frame of a movie, is taken with that of all together.

    `counting` is how the values of a part of the image are counted.
    """

    def __init__(self, frames: Frames, apart: str, foreign: Foreign | None) -> None:
        self.frames, self.apart, self.foreign = frames, apart, foreign
        self.known: dict[Number, Normalization] = {}
        self.counting: Callable[[Image], Count] = lambda part: counting(part.blocks_with_contrast)

    def __call__(self, number: Number) -> Normalization:
        key = _place(self.frames.outer, self.apart, number)
        if key not in self.known:
            letters = [letter for letter in self.frames.outer if letter in self.apart]
            self.known[key] = self._fit(dict(zip(letters, key, strict=True)))
        return self.known[key]

    def all(self) -> Known:
        """For every frame."""
        places = {_place(self.frames.outer, self.apart, number): number for number in self.frames.numbers()}
        return Known(self.frames.outer, self.apart, {key: self(number) for key, number in places.items()})

    def _fit(self, places: Mapping[str, int]) -> Normalization:
        part: Image = self.frames.measured.region(**places)
        try:
            if self.foreign is not None and self.foreign.scaling == "moments":
                return fit_moments(part.blocks_with_contrast())
            return fit(self.counting(part), PERCENTILES if self.foreign is None else self.foreign.percentiles)
        except DataError:
            if not places:
                raise
            if () not in self.known:
                self.known[()] = self._fit({})
            where = ", ".join(f"{letter} = {place}" for letter, place in places.items())
            warn(f"the frame at {where} has no contrast; it is normalised as the whole image.")
            return self.known[()]
