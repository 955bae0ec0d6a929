"""What must be known of a graph of others (ONNX) to use it as a network: sizes, axes, and how images are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any

from veriscope.errors import ModelError


@dataclass(frozen=True)
class Foreign:
    """What must be known of a graph to use it. Lengths are pixels along the spatial axes, Z Y X or Y X."""

    sha256: str  # of the file
    step: tuple[int, ...]  # lengths are multiples of this
    least: tuple[int, ...]  # and no smaller than this
    halo: tuple[int, ...]  # how far a tile is read beyond its borders
    axes_in: str  # the graph's own: letters of b (batch), c, z, y, x
    axes_out: str
    bytes: float  # memory per voxel while it runs, about
    scaling: str = "percentiles"  # of images: by two `percentiles`, by mean and deviation ("moments"), or "fixed"
    percentiles: tuple[float, ...] = (2.0, 99.8)
    low: tuple[float, ...] = ()  # of fixed scaling: what becomes 0 and 1, per channel
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        space = len(self.step)
        sound = (
            space in (2, 3)
            and len(self.least) == len(self.halo) == space
            and all(1 <= n <= 4096 for n in self.step)
            and all(0 <= n <= 2**16 for n in (*self.least, *self.halo))
            and all(a % n == 0 for a, n in zip(self.least, self.step, strict=True))
            and all(set(axes) <= set("bczyx") and set("yx") <= set(axes) for axes in (self.axes_in, self.axes_out))
            and self.scaling in ("percentiles", "moments", "fixed")
            and len(self.low) == len(self.high)
            and all(-inf < low < high < inf for low, high in zip(self.low, self.high, strict=True))
            and (len(self.percentiles) == 2 and 0 <= self.percentiles[0] < self.percentiles[1] <= 100)
            and 0 < self.bytes < 2**40
        )
        if not sound:
            raise ModelError(f"This graph cannot be used: what is told of it makes no sense ({self}).")

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Foreign:
        """What `to_json` told of. Raises ModelError for anything else."""
        try:
            if set(values) != {field.name for field in fields(cls)}:
                raise TypeError("other fields")
            given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
            return cls(**given)
        except TypeError as problem:
            raise ModelError(
                f"This recipe is damaged: its graph is not described as graphs are ({problem})."
            ) from problem
