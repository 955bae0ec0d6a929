"""What the settings of a structure may be, checked where they are made."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError

Range = tuple[float, float]  # smallest and largest value; each object draws its own, evenly between them


def check_number(what: str, value: float, least: float, most: float = inf, above: bool = False) -> None:
    """Raise DataError unless `least` <= `value` <= `most`; `above`: unless it is larger than `least`."""
    if not (isfinite(value) and least <= value <= most) or (above and value == least):
        lower = f"above {least:g}" if above else f"at least {least:g}"
        upper = f" and at most {most:g}" if most < inf else ""
        raise DataError(f"{what} must be {lower}{upper}, but {value} was given.")


def check_range(what: str, value: Range, least: float, most: float = inf, above: bool = False) -> None:
    """Raise DataError unless `value` is a pair, smaller first, of numbers that `check_number` lets pass."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"{what} is a pair: the smallest and the largest value. Given: {value}.")
    for number in value:
        check_number(f"{what} (both ends)", number, least, most, above)
    if value[0] > value[1]:
        raise DataError(f"{what} begins with the smallest value, but {value[0]} is above {value[1]}. Swap them.")


def between(rng: np.random.Generator, ends: Range, count: int) -> NDArray[np.float64]:
    """`count` values, evenly between the two ends, with the six digits that are kept."""
    return np.round(rng.uniform(*ends, count), 6)
