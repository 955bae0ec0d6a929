"""Tiled restoration gives what the whole image would, for every network, shape, tile and channel count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from veriscope.images.image import Image
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.normalize import Normalization
from veriscope.restoring.restore import restore

AS_IT_IS = Normalization((0.0,), (1.0,))


def whole(ensemble: Ensemble, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answers (M, channels, *space) of the networks to (C, *space), continued by reflection at the far ends."""
    space = image.shape[1:]
    ends = [(0, -length % step) for length, step in zip(space, ensemble.step, strict=True)]
    continued = np.pad(image, [(0, 0), *ends], mode="reflect")
    with torch.inference_mode():
        answers = [member(torch.from_numpy(continued)[None])[0].numpy() for member in ensemble.members]
    return np.stack(answers)[(..., *(slice(0, length) for length in space))]


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    axes = draw(st.sampled_from(["YX", "YX", "ZYX"]))
    flat = axes == "YX"
    given: dict[str, Any] = {
        "axes": axes,
        "depth": draw(st.integers(1, 3 if flat else 2)),
        "kernel": draw(st.sampled_from([1, 3, 5] if flat else [1, 3])),
        "base": draw(st.integers(2, 4)),
        "stem": draw(st.integers(1, 3 if flat else 2)),
        "channels_in": draw(st.integers(1, 2)),
        "channels_out": draw(st.integers(1, 2)),
        "probabilistic": draw(st.booleans()),
    }
    if draw(st.booleans()):
        given["residual"] = False
    step = [given["stem"] * 2 ** given["depth"]] * 2
    return Recipe(patch=tuple([2 ** given["depth"], *step][-len(axes) :]), **given)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Recipe, tuple[int, ...], Any]:
    recipe = draw(recipes())
    longest = 70 if recipe.axes == "YX" else 20
    shape = tuple(draw(st.integers(1, longest)) for _ in recipe.axes)
    tile = draw(st.one_of(st.integers(1, 40), st.tuples(*[st.integers(1, 40)] * len(recipe.axes))))
    return recipe, shape, tile


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), seed=st.integers(0, 2**16))
def test_tiles_agree_with_the_whole(case: tuple[Recipe, tuple[int, ...], Any], seed: int) -> None:
    recipe, shape, tile = case
    torch.manual_seed(seed)
    ensemble = Ensemble(recipe, tuple(build(recipe) for _ in range(2)))
    pixels = np.random.default_rng(seed).random((recipe.channels_in, *shape), np.float32)

    answers = whole(ensemble, pixels)
    tiled = restore(Image(pixels, "C" + recipe.axes), ensemble, tile=tile, normalize=AS_IT_IS, undo=False)

    means, scales = tiled.members
    n = recipe.channels_out
    close = 1e-5 * max(1.0, float(np.ptp(answers[:, :n])))
    np.testing.assert_allclose(means, answers[:, :n], rtol=0, atol=close)
    if recipe.probabilistic:
        assert scales is not None
        np.testing.assert_allclose(scales, answers[:, n:], rtol=0, atol=close)
    else:
        assert scales is None


@pytest.mark.parametrize("depth", [1, 2])
def test_a_smaller_halo_would_not_do(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above would notice: with one step less, and weights that let everything through, tiles differ."""
    recipe = Recipe("YX", depth=depth, base=2)
    torch.manual_seed(0)
    ensemble = Ensemble(recipe, (build(recipe),))
    with torch.no_grad():
        for weights in ensemble.members[0].parameters():
            weights.abs_()
    pixels = np.random.default_rng(0).random((1, 96, 96), np.float32)
    answers = whole(ensemble, pixels)[:, :1]

    def difference() -> float:
        tiled = restore(Image(pixels, "CYX"), ensemble, tile=16, normalize=AS_IT_IS, undo=False)
        return float(np.abs(tiled.members[0] - answers).max() / np.ptp(answers))

    assert difference() < 1e-6
    short = tuple(halo - recipe.step[0] for halo in ensemble.halo)
    monkeypatch.setattr(Ensemble, "halo", short)
    assert difference() > 1e-6
