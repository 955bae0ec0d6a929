"""What there is to see before optics and camera: light with known truth, and the field in which it is drawn.

Every structure is a small set of settings with `draw`, which decides all that chance decides and gives it as plain
values, and `apply`, which makes the light from them. Lengths are in um; the centre of voxel i lies at i * voxel size,
so that a field of n voxels reaches from -1/2 to n - 1/2 voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.wording import listed

Drawn = dict[str, Any]  # what chance decided: plain values that survive JSON


@dataclass(frozen=True, eq=False)
class Scene:
    """Light, about 1 where a structure is bright, and which voxel belongs to which object."""

    light: Image  # float32, at least 0; ZYX, YX or CZYX, with voxel size
    labels: Image | None = None  # uint16, or uint32 beyond 65,535 objects: 0 background, 1.. objects; ZYX or YX


@dataclass(frozen=True)
class Field:
    """The voxels in which a structure is drawn.

    Raises DataError for sizes that are not numbers of voxels or not lengths, and for axes that the structure lacks.
    """

    shape: tuple[int, ...]  # voxels along Z Y X or Y X
    voxel_size: tuple[float, ...]  # um, in the same order

    @classmethod
    def of(cls, shape: Sequence[int], voxel_size: Sequence[float], axes: Sequence[str], what: str) -> Field:
        """A checked field with as many axes as one of `axes` ("YX", "ZYX"); `what` is drawn in it."""
        field = cls(tuple(int(size) for size in shape), tuple(float(size) for size in voxel_size))
        if len(field.shape) not in map(len, axes):
            raise DataError(
                f"{what} have the axes {listed(axes, 'or')}, but the shape {field.shape} has {len(field.shape)}. "
                f"Give one number of voxels for each axis."
            )
        if len(field.voxel_size) != len(field.shape):
            raise DataError(
                f"A voxel has one size in um for each axis, not {field.voxel_size} for a shape of {len(field.shape)} "
                f"axes. Give {len(field.shape)} numbers in the order {field.axes}."
            )
        if min(field.shape) < 1 or tuple(shape) != field.shape:
            raise DataError(f"A field has a whole number of voxels, at least 1, along each axis, not {tuple(shape)}.")
        if not all(isfinite(size) and size > 0 for size in field.voxel_size):
            raise DataError(f"Voxel sizes are positive numbers in um, not {field.voxel_size}.")
        return field

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
    def low(self) -> NDArray[np.float64]:
        """Where the field begins along each axis, um: half a voxel before the first centre."""
        return np.asarray(-np.array(self.voxel_size) / 2)

    @property
    def high(self) -> NDArray[np.float64]:
        """Where the field ends along each axis, um."""
        return self.low + self.size

    @property
    def size(self) -> NDArray[np.float64]:
        """Length along each axis, um."""
        return np.asarray(np.array(self.shape) * np.array(self.voxel_size))

    def box(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[slice, ...] | None:
        """The voxels whose centres lie between two corners (um), as far as they are in the field; None for none."""
        spans = []
        for first, last, step, length in zip(low.tolist(), high.tolist(), self.voxel_size, self.shape, strict=True):
            start, stop = max(int(np.ceil(first / step)), 0), min(int(np.floor(last / step)) + 1, length)
            if start >= stop:
                return None
            spans.append(slice(start, stop))
        return tuple(spans)

    def places(self, box: Sequence[slice], centre: Sequence[float] | NDArray[np.float64]) -> list[NDArray[np.float32]]:
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


def label_type(count: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type of number that can label `count` objects."""
    return np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32


def soft_edge(distance: NDArray[np.float32], width: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """How much of a voxel is covered, 0 .. 1, at a `distance` (um, negative inside) from an edge `width` um soft.

    Smooth from 1 to 0 and odd around the edge, so that a shape keeps its volume wherever it lies between voxels.
    """
    step = np.clip(np.float32(0.5) - distance / width, 0, 1)
    return np.asarray(step * step * (3 - 2 * step))
