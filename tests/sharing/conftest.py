"""Networks of every kind that can be shared, tiny and untrained, and models that the real csbdeep made."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from veriscope.errors import VeriscopeWarning
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe, SurfaceLayers
from veriscope.sharing import csbdeep

UNUSUAL = SurfaceLayers((5, 3, 3), (3, 3, 5), (3, 4), 1, 3, 2)
KINDS: dict[str, dict[str, Any]] = {
    "2D": {"axes": "YX", "kernel": 5},
    "3D": {"axes": "ZYX"},
    "two channels": {"axes": "YX", "channels_in": 2, "channels_out": 2},
    "two to one": {"axes": "YX", "channels_in": 2, "channels_out": 1, "probabilistic": False},
    "stem": {"axes": "YX", "stem": 2},
    "stem in 3D": {"axes": "ZYX", "stem": 2},
    "relu": {"axes": "YX", "activation": "relu", "residual": False},
    "projection": {"axes": "ZYX", "task": "project"},
    "unusual projection": {
        "axes": "ZYX", "task": "project", "projection": UNUSUAL, "channels_in": 2, "channels_out": 2,
    },
    "isotropic": {"axes": "YX", "task": "isotropic", "upsample": (3, 1, 1)},
    "upsampling": {"axes": "ZYX", "upsample": (2, 1, 1), "probabilistic": False},
}  # fmt: skip


def recipe_of(kind: str, depth: int = 2) -> Recipe:
    choices = {"depth": depth, "base": 4, **KINDS[kind]}
    flat = 2 if choices.get("task") == "project" else len(choices["axes"])
    return Recipe(**choices, patch=(192,) * flat)


def ensemble_of(recipe: Recipe, members: int = 2, facts: dict[str, Any] | None = None) -> Ensemble:
    torch.manual_seed(1)
    made = tuple(build(recipe).requires_grad_(False).eval() for _ in range(members))
    for network in made:  # biases that matter, and scales of several sizes
        for weights in network.parameters():
            if weights.dim() == 1:
                weights += 0.1 * torch.randn_like(weights)
    return Ensemble(recipe, made, facts or {})


@pytest.fixture(params=list(KINDS))
def any_kind(request: pytest.FixtureRequest) -> Ensemble:
    """An untrained ensemble of two members: every kind of network in turn."""
    return ensemble_of(recipe_of(request.param))


@pytest.fixture
def make() -> Callable[..., Ensemble]:
    """``make("3D", members=1)``"""
    return lambda kind="2D", members=2, facts=None, depth=2: ensemble_of(recipe_of(kind, depth), members, facts)


@pytest.fixture
def image_for() -> Callable[..., NDArray[np.float32]]:
    """``image_for(ensemble, steps=2)``: normalised, as the networks take it, (1, channels_in, *space)."""

    def make(ensemble: Ensemble, steps: int = 2, seed: int = 0) -> NDArray[np.float32]:
        recipe = ensemble.recipe
        space = tuple(n * (steps + place) for place, n in enumerate(recipe.step))
        shape = (1, recipe.channels_in, *((5,) if recipe.projects else ()), *space)
        return np.random.default_rng(seed).random(shape, dtype=np.float32)

    return make


@pytest.fixture
def apart() -> Callable[[Any, Any], float]:
    """The largest difference of two images, in parts of the range of the second."""

    def measure(one: Any, other: Any) -> float:
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert one.shape == other.shape
        return float(np.abs(one - other).max() / np.ptp(other))

    return measure


@dataclass(frozen=True, eq=False)
class Made:
    """A model that csbdeep made, with what csbdeep says of it and what it answered."""

    folder: Path
    facts: dict[str, Any]
    numbers: dict[str, NDArray[Any]]

    @property
    def options(self) -> dict[str, Any]:
        """What must be said to import it."""
        task = {"IsotropicCARE": "isotropic", "UpsamplingCARE": "upsample"}.get(self.facts["class"])
        return {} if task is None else {"task": task, "factor": self.facts["predict_arguments"]["factor"]}

    def given(self, model: Ensemble) -> NDArray[np.float32]:
        """What csbdeep gave to its network, as ours takes it: (batch, channels, *space)."""
        return self._turned("normalized", self.facts["network_axes"], model.recipe.axes)

    def answered(self, model: Ensemble) -> NDArray[np.float32]:
        """What its network said, as ours says it."""
        return self._turned("network", self.facts["network_axes_out"], model.recipe.axes_out)

    def _turned(self, name: str, axes: str, ours: str) -> NDArray[np.float32]:
        array, axes = self.numbers[name], axes.replace("C", "")
        if self.facts["class"] == "IsotropicCARE":  # the network's last axis is Z, here it is the first
            axes = axes[::-1]
        array = array if array.ndim == len(axes) + 2 else array[None]
        return np.ascontiguousarray(array.transpose(0, array.ndim - 1, *(1 + axes.index(letter) for letter in ours)))

    def read(self) -> Ensemble:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)
            return csbdeep.read(self.folder, **self.options)


MADE = [
    "care2d_1to1_plain", "care2d_2ch_prob", "care2d_2to1", "care2d_counters", "care2d_counters_keras3",
    "care2d_interrupted", "care2d_k5", "care2d_prob", "care2d_prob_keras3", "care2d_relu", "care2d_xy", "care3d_prob",
    "isotropic_prob", "projection", "projection_keras3", "projection_unusual", "projection_yxz", "upsampling3d",
]  # fmt: skip


@pytest.fixture
def open_made(shared_data: Path) -> Callable[[str], Made]:
    def of(name: str) -> Made:
        folder = shared_data / "csbdeep" / name
        if not folder.is_dir():
            pytest.skip("models of csbdeep are not present on this machine")
        with np.load(folder / "numbers.npz") as numbers:
            return Made(folder, json.loads((folder / "facts.json").read_text()), dict(numbers))

    return of


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, open_made: Callable[[str], Made]) -> Made:
    """Every model that csbdeep made, in turn."""
    return open_made(request.param)
