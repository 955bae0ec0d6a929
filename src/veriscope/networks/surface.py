"""The layers that find a surface in a stack: what they are, in numbers (SI 1.1, Supp. Fig. 12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from veriscope.errors import ModelError

Kernel = tuple[int, int, int]  # Z, Y, X


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
        odd = all(len(k) == 3 and all(n > 0 and n % 2 for n in k) for k in (self.first, self.kernel))
        sound = len(self.pool) == 2 and all(1 <= n <= 64 for n in self.pool) and 1 <= self.depth <= 8
        if not (odd and sound and 1 <= self.filters <= 4096 and 1 <= self.convolutions <= 16):
            raise ModelError(
                f"These layers cannot find a surface: kernels have three odd lengths, pools two from 1 to 64, depth "
                f"lies between 1 and 8, filters between 1 and 4096, convolutions between 1 and 16. Given: {self}."
            )

    @property
    def step(self) -> tuple[int, int]:
        """Y and X must be multiples of this."""
        along_y, along_x = self.pool
        return along_y**self.depth, along_x**self.depth

    def to_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SurfaceLayers:
        """The layers that `to_json` told of. Raises ModelError for anything else."""
        wanted = {field.name: field.type for field in fields(cls)}
        lists = {"first", "kernel", "pool"}
        if set(values) != set(wanted) or not all(
            isinstance(value, list) and all(type(n) is int for n in value) if name in lists else type(value) is int
            for name, value in values.items()
        ):
            raise ModelError("This recipe is damaged: the layers that find the surface are not described as they are.")
        given: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in values.items()}
        return cls(**given)


SURFACES = {
    "paper": SurfaceLayers(first=(5, 5, 5), kernel=(3, 5, 5), pool=(4, 4), depth=2),
    "compact": SurfaceLayers(first=(3, 3, 3), kernel=(3, 3, 3), pool=(2, 2), depth=4),  # the authors' later default
}
