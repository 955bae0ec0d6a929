"""What the settings of a structure may be: declared with each, and checked when it is made."""

from __future__ import annotations

from dataclasses import field, fields
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError

Range = tuple[float, float]  # smallest and largest value; each object draws its own, uniformly between them


def setting(default: float | Range | None, what: str, least: float, most: float = inf, above: bool = False) -> Any:
    """A field of a structure: a number or Range with its default, called `what`; limits as in `check_number`."""
    return field(default=default, metadata={"limits": (what, least, most, above), "range": isinstance(default, tuple)})


def check(structure: Any) -> None:
    """Raise DataError unless every `setting` of a structure is within its limits, or None where that is the default."""
    for one in fields(structure):
        value = getattr(structure, one.name)
        if one.metadata and not (value is None and one.default is None):
            what, *limits = one.metadata["limits"]
            (check_range if one.metadata["range"] else check_number)(what, value, *limits)


class Checked:
    """A structure without further rules than those of its settings."""

    def __post_init__(self) -> None:
        check(self)


def check_number(what: str, value: float, least: float, most: float = inf, above: bool = False) -> None:
    """Raise DataError unless `least` <= `value` <= `most`; `above`: unless it is larger than `least`."""
    if not (isfinite(value) and least <= value <= most) or (above and value == least):
        lower = f"above {least:g}" if above else f"at least {least:g}"
        upper = f" and at most {most:g}" if most < inf else ""
        raise DataError(f"{what} must be {lower}{upper}, not {value}.")


def check_range(what: str, value: Range, least: float, most: float = inf, above: bool = False) -> None:
    """Raise DataError unless `value` is a pair, smaller first, of numbers that `check_number` accepts."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"{what} is a pair, the smallest and the largest value, not {value}.")
    for number in value:
        check_number(f"{what} (both ends)", number, least, most, above)
    if value[0] > value[1]:
        raise DataError(f"{what} begins with the smallest value, but {value[0]} is above {value[1]}. Swap them.")


def between(rng: np.random.Generator, ends: Range, count: int) -> NDArray[np.float64]:
    """`count` values, uniform between the two ends, with the six digits that are kept."""
    return np.round(rng.uniform(*ends, count), 6)
