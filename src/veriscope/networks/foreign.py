"""What must be known of a graph of others (ONNX) to use it as a network: sizes, axes, and how images are prepared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from veriscope.errors import ModelError
from veriscope.networks.checking import Real, Whole, made, wrong

_FORM: dict[str, Any] = {
    "sha256": str, "step": [Whole(1, 4096)], "least": [Whole(0, 2**16)], "halo": [Whole(0, 2**16)], "axes_in": str,
    "axes_out": str, "bytes": Real(1e-9, 2**40), "scaling": ("percentiles", "moments", "fixed"),
    "percentiles": [Real(0, 100)], "low": [Real()], "high": [Real()],
}  # fmt: skip


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
            not wrong(asdict(self), _FORM, "graph")
            and len(self.least) == len(self.halo) == space
            and space in (2, 3)
            and all(a % n == 0 for a, n in zip(self.least, self.step, strict=True))
            and all(set(axes) <= set("bczyx") and set("yx") <= set(axes) for axes in (self.axes_in, self.axes_out))
            and len(self.low) == len(self.high)
            and all(low < high for low, high in zip(self.low, self.high, strict=True))
            and (len(self.percentiles) == 2 and self.percentiles[0] < self.percentiles[1])
        )
        if not sound:
            raise ModelError(f"This graph cannot be used: its description makes no sense ({self}).")

    @classmethod
    def from_json(cls, values: Any) -> Foreign:
        """What `checking.to_json` wrote. Raises ModelError for anything else."""
        return made(cls, values, _FORM)
