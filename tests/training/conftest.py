"""A source of patches that needs no images: blobs under noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Blobs:
    """Smooth random fields as truth, the same with noise as low; patch `index` of `seed` is always the same."""

    axes: str = "YX"
    shape: tuple[int, ...] = (16, 16)
    channels_in: int = 1
    channels_out: int = 1
    count: int = 16
    broken: bool = False

    def __len__(self) -> int:
        return self.count

    def _patch(self, index: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng = np.random.default_rng((seed, index))
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in self.shape], indexing="ij"))
        centre = rng.uniform(-0.5, 0.5, (len(self.shape), *[1] * len(self.shape)))
        truth = np.exp(-((grid - centre) ** 2).sum(0) / 0.1)
        low = truth + rng.normal(0, 0.3, self.shape)
        if self.broken:
            low[...] = np.nan
        return low[None].astype(np.float32), truth[None].astype(np.float32)

    def batch(self, indices: Iterable[int], seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        lows, highs = zip(*[self._patch(index, seed) for index in indices], strict=True)
        return np.stack(lows), np.stack(highs)

    def check_batch(self, indices: Iterable[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.batch(indices, 2**31)

    def summary(self) -> dict[str, Any]:
        return {"low": None, "high": None, "voxel_size": [0.1, 0.1]}


@pytest.fixture
def blobs() -> type[Blobs]:
    return Blobs
