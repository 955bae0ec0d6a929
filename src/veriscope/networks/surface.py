"""The layers that find a surface in a stack: what they are, in numbers (SI 1.1, Supp. Fig. 12)."""

from __future__ import annotations

from dataclasses import dataclass

Kernel = tuple[int, int, int]  # Z, Y, X


@dataclass(frozen=True)
class SurfaceLayers:
    """[conv, pool] `depth` times, [conv, upsample] `depth` times, conv, and a linear conv to one channel of logits.

    Pooling and upsampling are lateral only, so a stack may have any number of planes. No skips.
    """

    first: Kernel  # of the first convolution
    kernel: Kernel  # of all others
    pool: int  # pixels along Y and X that become one
    depth: int
    filters: int = 8

    @property
    def step(self) -> int:
        """Y and X must be multiples of this."""
        return int(self.pool**self.depth)


SURFACES = {
    "paper": SurfaceLayers(first=(5, 5, 5), kernel=(3, 5, 5), pool=4, depth=2),
    "compact": SurfaceLayers(first=(3, 3, 3), kernel=(3, 3, 3), pool=2, depth=4),  # the authors' later default
}
