"""The layers that find a surface in a stack: what they are, in numbers (SI 1.1, Supp. Fig. 12)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from veriscope.errors import ModelError
from veriscope.networks.checking import Whole, made, wrong

Kernel = tuple[int, int, int]  # Z, Y, X
_SIZE = Whole(1, 63)
_FORM = {"first": [_SIZE], "kernel": [_SIZE], "pool": [Whole(1, 64)], "depth": Whole(1, 8), "filters": Whole(1, 4096),
         "convolutions": Whole(1, 16)}  # fmt: skip


@dataclass(frozen=True)
class SurfaceLayers:
    """[convs, pool] `depth` times, [convs, upsample] `depth` times, convs, and a linear conv to one channel of logits.

    Pooling and upsampling are lateral only, so a stack may have any number of planes. No skips.
    """

    first: Kernel  # of the first convolution
    kernel: Kernel  # of all others
    pool: tuple[int, int]  # pixels along Y and along X that become one
    depth: int
    filters: int = 8
    convolutions: int = 1  # one after the other, before each pooling and each upsampling

    def __post_init__(self) -> None:
        said = wrong(asdict(self), _FORM, "layers")
        if (
            said
            or len(self.pool) != 2
            or any(len(k) != 3 or not all(n % 2 for n in k) for k in (self.first, self.kernel))
        ):
            said = said or "kernels have three odd lengths, pools two"
            raise ModelError(f"These layers cannot find a surface: {said}. Given: {self}.")

    @property
    def step(self) -> tuple[int, int]:
        """Y and X must be multiples of this."""
        along_y, along_x = self.pool
        return along_y**self.depth, along_x**self.depth

    @classmethod
    def from_json(cls, values: Any) -> SurfaceLayers:
        """The layers that `checking.to_json` wrote. Raises ModelError for anything else."""
        return made(cls, values, _FORM)


SURFACES = {
    "paper": SurfaceLayers(first=(5, 5, 5), kernel=(3, 5, 5), pool=(4, 4), depth=2),
    "compact": SurfaceLayers(first=(3, 3, 3), kernel=(3, 3, 3), pool=(2, 2), depth=4),  # the authors' later default
}
