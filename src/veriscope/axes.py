"""The letters of image axes and their order: the only place that knows them.

S sample, T time, C channel, Z Y X space. Images carry their axes as a word such as ``"TCZYX"``; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError
from veriscope.wording import lengths

ORDER = "STCZYX"
SPACE = "ZYX"
MEANING = {"S": "sample", "T": "time", "C": "channel", "Z": "depth", "Y": "height", "X": "width"}


def check(axes: str, shape: Sequence[int] | None = None) -> str:
    """The word `axes` in capitals, checked, and with a `shape` also for its length.

    Raises AxesError for unknown or repeated letters and for a word whose length is not the number of dimensions.
    """
    word = str(axes).upper()
    unknown = sorted(set(word) - set(ORDER))
    if not word or unknown:
        known = ", ".join(f"{letter} {meaning}" for letter, meaning in MEANING.items())
        what = f"has the unknown letter{'s' * (len(unknown) > 1)} {', '.join(unknown)}" if word else "is empty"
        raise AxesError(f"Axes '{axes}' {what}. Axes are letters out of {known}; for example YX, ZYX or TCZYX.")
    if repeated := sorted({letter for letter in word if word.count(letter) > 1}):
        raise AxesError(
            f"Axes '{axes}' name {', '.join(repeated)} more than once. Each letter may appear once; "
            f"give one letter per dimension, such as ZYX or TCZYX."
        )
    if shape is not None and len(word) != len(shape):
        raise AxesError(
            f"Axes '{word}' name {len(word)} dimensions, but the image has {len(shape)}: "
            f"{lengths(shape)}. Give one letter per dimension, slowest first."
        )
    return word


def sound(word: str) -> bool:
    """Whether every letter is that of an axis and appears once."""
    return not set(word) - set(ORDER) and len(set(word)) == len(word)


def spatial(axes: str) -> str:
    """The spatial letters of `axes`, in their order: ``spatial("TCZYX") == "ZYX"``."""
    return "".join(letter for letter in axes if letter in SPACE)


def canonical(axes: str) -> str:
    """The same letters in the order S T C Z Y X."""
    return "".join(letter for letter in ORDER if letter in axes)


def moves(source: str, target: str, shape: Sequence[int]) -> list[int | None]:
    """For each letter of `target` its position in `source`, or None where a new axis of size 1 belongs.

    Raises AxesError when a letter of `source` with more than one entry would be lost.
    """
    if lost := [letter for letter, size in zip(source, shape, strict=True) if letter not in target and size != 1]:
        raise AxesError(
            f"An image with axes '{source}' cannot be read as '{target}': {', '.join(lost)} would be dropped, "
            f"with {', '.join(str(shape[source.index(letter)]) for letter in lost)} entries. Choose one entry first."
        )
    return [source.index(letter) if letter in source else None for letter in target]


def move(array: NDArray[Any], source: str, target: str) -> NDArray[Any]:
    """`array` with its axes rearranged from `source` to `target`, as a view; axes of size 1 come and go as needed."""
    source, target = check(source, array.shape), check(target)
    order = moves(source, target, array.shape)
    kept = [position for position in order if position is not None]
    shown = array[tuple(slice(None) if position in kept else 0 for position in range(array.ndim))]
    moved = np.transpose(shown, [sorted(kept).index(position) for position in kept])
    return moved[tuple(np.newaxis if position is None else slice(None) for position in order)]


def image_axes(axes: str, what: str = "This") -> str:
    """Check that `axes` name a 2D or 3D image (Y and X present) and return them."""
    word = check(axes)
    if missing := [letter for letter in "YX" if letter not in word]:
        raise AxesError(f"{what} needs the axes Y and X, but '{word}' lacks {', '.join(missing)}. Use YX or ZYX.")
    return word
