"""Flips and quarter turns that do not change what a microscope could have seen.

Z is only ever flipped: the blur along it differs from the lateral blur. Y and X change places only where their voxels
have the same size. Draw first, apply later; low and high receive the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

SAME_VOXEL = 0.01  # relative difference up to which two voxel sizes count as the same


class Orientation(TypedDict):
    """`flips`: letters of the axes that are reversed; `turned`: whether Y and X change places before that."""

    flips: str
    turned: bool


AS_IT_IS: Orientation = {"flips": "", "turned": False}


@dataclass(frozen=True)
class Orientations:
    """All orientations that are allowed: every flip of the spatial `axes`, and Y-X turns if `turns`.

    With turns the eight symmetries of the square are drawn with equal chance (an exchange of Y and X followed by
    flips), without them the four of the rectangle; along Z the two of the line.
    """

    axes: str
    turns: bool

    def __len__(self) -> int:
        return int(2 ** len(self.axes)) * (2 if self.turns else 1)

    def __getitem__(self, number: int) -> Orientation:
        if not 0 <= number < len(self):
            raise IndexError(f"There are {len(self)} orientations; number {number} is not among them.")
        flips = "".join(letter for bit, letter in enumerate(self.axes) if number >> bit & 1)
        return {"flips": flips, "turned": bool(number >> len(self.axes))}

    def draw(self, rng: np.random.Generator) -> Orientation:
        return self[int(rng.integers(len(self)))]


def allowed(axes: str, shape: Sequence[int], voxel_size: Sequence[float | None] | None) -> Orientations:
    """The orientations of patches of `shape` (voxels along the spatial `axes`) with voxels of `voxel_size` (um).

    Quarter turns need a patch that is square in Y and X and voxel sizes of Y and X that agree within 1 %. A voxel size
    that nobody wrote down is taken as equal in Y and X, as it is on every camera.
    """
    y, x = axes.index("Y"), axes.index("X")
    height, width = (voxel_size[y], voxel_size[x]) if voxel_size is not None else (None, None)
    alike = height is None or width is None or abs(height - width) <= SAME_VOXEL * max(height, width)
    return Orientations(axes, alike and shape[y] == shape[x])


def apply(patch: NDArray[Any], axes: str, drawn: Orientation) -> NDArray[Any]:
    """`patch` (..., *axes) in the orientation that was drawn: a view. Only spatial axes change."""
    if drawn["turned"]:
        first = patch.ndim - len(axes)
        patch = np.swapaxes(patch, first + axes.index("Y"), first + axes.index("X"))
    steps = tuple(slice(None, None, -1) if letter in drawn["flips"] else slice(None) for letter in axes)
    return patch[(..., *steps)]
