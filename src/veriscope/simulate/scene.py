"""What there is to see before optics and camera: light with known truth, and the field in which it is drawn.

Every structure is a small set of settings with `draw`, which decides all that chance decides and gives it as plain
values, and `apply`, which makes the light from them. Lengths are in um; the centre of voxel i lies at i * voxel size,
so that a field of n voxels reaches from -1/2 to n - 1/2 voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.wording import listed

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Range = tuple[float, float]  # smallest and largest value; each object draws its own, uniformly between them
Drawn = dict[str, Any]  # what chance decided: plain values that survive JSON


@dataclass(frozen=True, eq=False)
class Scene:
    """Light, about 1 where a structure is bright, and which voxel belongs to which object."""

    light: Image  # float32, at least 0; ZYX, YX or CZYX, with voxel size
    labels: Image | None = None  # uint16, or uint32 beyond 65,535 objects: 0 background, 1.. objects; ZYX or YX


@dataclass(frozen=True)
class Field:
    """The voxels in which a structure is drawn."""

    shape: tuple[int, ...]  # voxels along Z Y X or Y X
    voxel_size: tuple[float, ...]  # um, in the same order

    @classmethod
    def of(cls, shape: Sequence[int], voxel_size: Sequence[float], axes: Sequence[str], what: str) -> Field:
        """A field with as many axes as one of `axes` ("YX", "ZYX"), in which `what` is drawn; DataError for others."""
        made = cls(tuple(int(size) for size in shape), tuple(float(size) for size in voxel_size))
        if len(made.shape) not in map(len, axes):
            raise DataError(
                f"{what} have the axes {listed(axes, 'or')}, but the shape {made.shape} has {len(made.shape)}. "
                f"Give one number of voxels for each axis."
            )
        if len(made.voxel_size) != len(made.shape):
            raise DataError(
                f"A voxel has one size in um for each axis, not {made.voxel_size} for a shape of {len(made.shape)} "
                f"axes. Give {len(made.shape)} numbers in the order {made.axes}."
            )
        if min(made.shape) < 1 or tuple(shape) != made.shape:
            raise DataError(f"A field has a whole number of voxels, at least 1, along each axis, not {tuple(shape)}.")
        if not all(isfinite(size) and size > 0 for size in made.voxel_size):
            raise DataError(f"Voxel sizes are positive numbers in um, not {made.voxel_size}.")
        return made

    @classmethod
    def drawn(cls, drawn: Drawn) -> Field:
        """The field that was drawn for, see `plain`."""
        return cls(tuple(drawn["shape"]), tuple(drawn["voxel_size"]))

    def plain(self) -> Drawn:
        """The field as plain values: what every `draw` begins with."""
        return {"shape": list(self.shape), "voxel_size": list(self.voxel_size)}

    @property
    def axes(self) -> str:
        return "ZYX"[-len(self.shape) :]

    @property
    def low(self) -> Floats:
        """Where the field begins along each axis, um: half a voxel before the first centre."""
        return np.asarray(-np.array(self.voxel_size) / 2)

    @property
    def high(self) -> Floats:
        """Where the field ends along each axis, um."""
        return self.low + self.size

    @property
    def size(self) -> Floats:
        """Length along each axis, um."""
        return np.asarray(np.array(self.shape) * np.array(self.voxel_size))

    def box(self, low: Floats, high: Floats) -> tuple[slice, ...] | None:
        """The voxels whose centres lie between two corners (um), as far as they are in the field; None for none."""
        spans = []
        for first, last, step, length in zip(low.tolist(), high.tolist(), self.voxel_size, self.shape, strict=True):
            start, stop = max(int(np.ceil(first / step)), 0), min(int(np.floor(last / step)) + 1, length)
            if start >= stop:
                return None
            spans.append(slice(start, stop))
        return tuple(spans)

    def places(self, box: Sequence[slice], centre: Sequence[float] | Floats) -> list[Pixels]:
        """Distance of the voxels of `box` from `centre` along each axis, um, ready for broadcasting."""
        return [
            (np.arange(span.start, span.stop) * step - middle)
            .astype(np.float32)
            .reshape([-1 if axis == own else 1 for axis in range(len(box))])
            for own, (span, step, middle) in enumerate(zip(box, self.voxel_size, centre, strict=True))
        ]

    def image(self, array: NDArray[Any], axes: str | None = None) -> Image:
        """Pixels of this field as an image with its voxel size."""
        return Image(array, self.axes if axes is None else axes, self.voxel_size)


def soft_edge(distance: Pixels, width: Pixels | float) -> Pixels:
    """How much of a voxel is covered, 1 .. 0, at a `distance` (um, negative inside) from an edge `width` um soft.

    It is odd around the edge, so that a shape keeps its volume wherever it lies between voxels.
    """
    step = np.clip(np.float32(0.5) - distance / width, 0, 1)
    return np.asarray(step * step * (3 - 2 * step))


# What the settings of a structure may be: declared with each, and checked when it is made.


def setting(default: float | Range | None, what: str, least: float, most: float = inf, above: bool = False) -> Any:
    """A field of a structure: a number or Range with its default, called `what`; limits as in `check_number`."""
    return field(default=default, metadata={"limits": (what, least, most, above), "range": isinstance(default, tuple)})


class Checked:
    """A structure; DataError unless every `setting` is within its limits, or None where that is the default."""

    def __post_init__(self) -> None:
        structure: Any = self
        for one in fields(structure):
            value = getattr(structure, one.name)
            if one.metadata and not (value is None and one.default is None):
                what, *limits = one.metadata["limits"]
                (check_range if one.metadata["range"] else check_number)(what, value, *limits)


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


def between(rng: np.random.Generator, ends: Range, count: int) -> Floats:
    """`count` values, uniform between the two ends, with the six digits that are kept."""
    return np.round(rng.uniform(*ends, count), 6)
