"""Small untrained ensembles, and an image that tells what was read of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from veriscope.images.image import Image
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe


class Lazy:
    """An array that is read only by indexing, and remembers the largest region that was asked for."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, index: Any) -> NDArray[Any]:
        block = self.array[index]
        self.largest = max(self.largest, block.size)
        return np.array(block)


@pytest.fixture(scope="session")
def make_ensemble() -> Callable[..., Ensemble]:
    """Members of a small untrained network: ``make_ensemble("YX", members=2, channels_in=2)``."""

    def make(axes: str = "YX", members: int = 2, facts: dict[str, Any] | None = None, **choices: Any) -> Ensemble:
        torch.manual_seed(7)
        recipe = Recipe(**{"axes": axes, "depth": 1, "base": 2, **choices})
        return Ensemble(recipe, tuple(build(recipe) for _ in range(members)), facts or {})

    return make


@pytest.fixture(scope="session")
def ensemble(make_ensemble: Callable[..., Ensemble]) -> Ensemble:
    """Two members for planes: depth 1, reach 8, step 2."""
    return make_ensemble()


@pytest.fixture
def noise() -> Callable[..., NDArray[Any]]:
    """Random pixels: ``noise(shape, dtype)``, integers from 100 to 1000, floats from 0 to 1."""

    def make(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> NDArray[Any]:
        rng = np.random.default_rng(seed)
        if np.dtype(dtype).kind == "f":
            return rng.random(shape).astype(dtype)
        return rng.integers(100, 1000, shape).astype(dtype)

    return make


@pytest.fixture
def lazy() -> Callable[[NDArray[Any], str], tuple[Image, Lazy]]:
    """An image whose pixels are read only when asked for, and the array behind it."""

    def make(array: NDArray[Any], axes: str, **facts: Any) -> tuple[Image, Lazy]:
        behind = Lazy(array)
        return Image(behind, axes, **facts), behind

    return make
