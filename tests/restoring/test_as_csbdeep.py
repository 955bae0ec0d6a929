"""Restoring as csbdeep does (combine="csbdeep"): borders, interpolation and both directions, by NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import zoom

from veriscope.errors import ModelError
from veriscope.images.image import Image
from veriscope.images.resampling import zoomed
from veriscope.networks.model import Ensemble
from veriscope.normalize import Normalization
from veriscope.restoring.restore import restore

AS_IT_IS = Normalization((0.0,), (1.0,))
Make = Callable[..., Ensemble]


def around(image: NDArray[Any], step: tuple[int, ...]) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """`image` continued by reflection on both sides, half of what is missing before it, and where it lies within."""
    missing = [-length % n for length, n in zip(image.shape, step, strict=True)]
    ends = [(n // 2, n - n // 2) for n in missing]
    place = tuple(slice(a, a + length) for (a, _), length in zip(ends, image.shape, strict=True))
    return np.pad(image, ends, mode="reflect"), place


@torch.inference_mode()
def answer(network: Any, image: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = network(torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None])[0].numpy()
    return found


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    tile=st.one_of(st.none(), st.integers(1, 32)),
    lazy=st.booleans(),
)
def test_images_are_continued_on_both_sides(
    make_ensemble: Make, shape: tuple[int, int], tile: int | None, lazy: bool
) -> None:
    model = make_ensemble("YX", members=1, depth=3, combine="csbdeep")
    image = np.random.default_rng(0).random(shape, np.float32)
    padded, place = around(image, (8, 8))
    expected = answer(model.members[0], padded)[(slice(None), *place)]
    found = restore(Image(image, "YX"), model, tile=tile, normalize=AS_IT_IS, lazy=lazy)
    np.testing.assert_allclose(found.means[0], expected[0], atol=2e-6)
    assert found.scales is not None
    np.testing.assert_allclose(found.scales[0], expected[1], atol=2e-6)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 6)),
    factor=st.floats(1, 7),
    kind=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
)
def test_images_are_made_finer_as_scipy_does(shape: tuple[int, int], factor: float, kind: str) -> None:
    array = np.random.default_rng(0).integers(0, 250, shape).astype(kind)
    expected = zoom(array, (factor, 1), order=1, mode="nearest")  # else rounding can put the last pixel outside
    found = zoomed(Image(array[:, None], "ZYX"), {"Z": factor}, whole=True)
    made = np.asarray(found.array)[:, 0]
    assert made.dtype == array.dtype
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, atol=1 if kind != "float32" else 1e-3)  # halves may fall either way
    assert np.mean(made != expected) < 0.2 or kind == "float32"
    exact = zoom(array.astype(np.float64), (factor, 1), order=1, mode="nearest")
    as_floats = zoomed(Image(array[:, None], "ZYX"), {"Z": factor}, whole=False).array
    np.testing.assert_allclose(np.asarray(as_floats)[:, 0], exact, atol=1e-3)


def test_both_directions_make_one_answer(make_ensemble: Make) -> None:
    """The geometric mean of the means, the larger scale; slices along X are shown with Z reversed."""
    model = make_ensemble("YX", members=2, task="isotropic", upsample=(3, 1, 1), combine="csbdeep")
    stack = np.random.default_rng(0).random((5, 9, 7), np.float32)
    fine = zoom(stack, (3, 1, 1), order=1, mode="nearest")
    padded, place = around(fine, (2, 2, 2))
    for tile in (None, 4):
        found = restore(Image(stack, "ZYX"), model, tile=tile, normalize=AS_IT_IS)
        assert found.scales is not None
        for number, network in enumerate(model.members):
            one = np.stack([answer(network, padded[:, y]) for y in range(padded.shape[1])], 2)
            other = np.stack([answer(network, padded[::-1, :, x])[:, ::-1] for x in range(padded.shape[2])], 3)
            mean = np.sqrt(np.maximum(one[0], 0) * np.maximum(other[0], 0))[place]
            np.testing.assert_allclose(found.means[number], mean, atol=3e-6)
            np.testing.assert_allclose(found.scales[number], np.maximum(one[1], other[1])[place], atol=3e-6)


def test_a_model_can_be_restored_either_way(make_ensemble: Make) -> None:
    image = Image(np.random.default_rng(0).random((45, 37), np.float32), "YX")
    ours, theirs = (make_ensemble("YX", depth=3, combine=way) for way in ("mixture", "csbdeep"))
    for model in (ours, theirs):
        for way, same in (("mixture", ours), ("csbdeep", theirs)):
            found = restore(image, model, combine=way).mean.array
            assert np.array_equal(found, restore(image, same).mean.array)
    assert not np.array_equal(restore(image, ours).mean.array, restore(image, theirs).mean.array)
    with pytest.raises(ModelError, match="combine is mixture or csbdeep"):
        restore(image, ours, combine="both")
