"""The tuned filter is as good as trying everything."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope.classical import tune
from veriscope.classical.denoise import non_local_means
from veriscope.classical.tune import best_non_local_means
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.judging.quality import nrmse


def blobs(shape: tuple[int, ...] = (40, 40), sigma: float = 0.2, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    clean = np.prod([np.sin(axis / 3) for axis in grid], axis=0).clip(0) + 0.1
    return rng.normal(clean, sigma), clean


def test_no_setting_of_the_grid_is_better() -> None:
    low, truth = blobs()
    found = best_non_local_means(low, truth)
    sigma = found.settings[0].sigma
    for strength, patch, distance in itertools.product(tune.STRENGTHS, tune.PATCHES, tune.DISTANCES):
        tried = nrmse(truth, non_local_means(low, strength * sigma, patch, distance))
        assert found.nrmse <= tried * 1.01  # h is refined to 8 %, not further
    assert found.nrmse < 0.8 * nrmse(truth, low)


def test_the_score_and_the_image_belong_to_the_settings() -> None:
    low, truth = blobs()
    image, (settings,), score = best_non_local_means(low, truth)
    again = non_local_means(low, settings.h, settings.patch, settings.distance)
    assert (image == again).all()
    assert_allclose(score, nrmse(truth, again), rtol=1e-6)
    assert f"patch {settings.patch}, distance {settings.distance}" in str(settings)


def test_the_strength_goes_beyond_both_ends_of_the_grid() -> None:
    for optimum in (0.01, 0.1, 1, 7, 100):
        errors = tune._Errors(lambda h, optimum=optimum: abs(np.log(h / optimum)))  # type: ignore[misc]
        _, h = errors.climb([0.6, 0.9, 1.3, 1.8, 2.5], 1.35)
        assert abs(np.log(h / optimum)) <= np.log(1.35) / 2 + 0.1


def test_a_large_stack_is_searched_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def watched(image: Any, h: float, patch: int, distance: int) -> Any:
        seen.append(image.shape)
        return image.astype(np.float32)

    monkeypatch.setattr(tune, "non_local_means", watched)
    best_non_local_means(*blobs((20, 60, 200)))
    assert set(seen) == {(20, 36, 36), (20, 60, 200)}
    assert tune._central((60, 256, 256), 30**3) == (slice(15, 45), slice(113, 143), slice(113, 143))


def test_each_channel_gets_its_own_settings() -> None:
    pairs = [blobs(sigma=sigma) for sigma in (0.05, 0.6)]
    low, truth = (Image(np.stack([pair[k] for pair in pairs]), "CYX", (0.1, 0.1)) for k in (0, 1))
    found = best_non_local_means(low, truth, patches=(3,), distances=(2,))
    assert found.image.axes == "CYX"
    assert found.image.voxel_size == (0.1, 0.1)
    assert found.settings[0].h < found.settings[1].h
    assert_allclose(found.nrmse, nrmse(truth, found.image), rtol=1e-6)


def test_bad_input_is_refused() -> None:
    low, truth = blobs()
    with pytest.raises(DataError, match="same shape"):
        best_non_local_means(low, truth[1:])
    with pytest.raises(DataError, match="NaN"):
        best_non_local_means(low * np.nan, truth)
    with pytest.raises(DataError, match="no contrast"):
        best_non_local_means(np.ones((8, 8)), truth[:8, :8])
    with pytest.raises(DataError, match="1 dimensions"):
        best_non_local_means(low[0], truth[0])
