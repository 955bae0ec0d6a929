"""Non-local means: scikit-image's, in the unit of the image, channel by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from skimage.restoration import denoise_nl_means

from veriscope.classical.denoise import noise_sigma, non_local_means
from veriscope.errors import DataError
from veriscope.images.image import Image


def stripes(shape: tuple[int, ...] = (24, 30), sigma: float = 5, seed: int = 0) -> Any:
    clean = 100 + 40 * np.sin(np.arange(shape[-1]) / 3) * np.ones(shape)
    return clean, clean + np.random.default_rng(seed).normal(0, sigma, shape)


@pytest.mark.parametrize("shape", [(24, 30), (8, 14, 13)])
def test_it_is_scikit_images_filter_in_the_unit_of_the_image(shape: tuple[int, ...]) -> None:
    _, noisy = stripes(shape)
    found = non_local_means(noisy, h=6, patch=3, distance=2)
    assert found.dtype == np.float32
    assert_allclose(found, denoise_nl_means(noisy, patch_size=3, patch_distance=2, h=6, fast_mode=True), rtol=1e-4)


def test_brightness_and_contrast_commute_with_the_filter() -> None:
    _, noisy = stripes()
    assert_allclose(non_local_means(1000 * noisy - 7, h=6000), 1000 * non_local_means(noisy, h=6) - 7, rtol=1e-4)


def test_noise_goes_and_stripes_stay() -> None:
    clean, noisy = stripes()
    assert np.std(non_local_means(noisy, h=5, distance=8) - clean) < 0.5 * np.std(noisy - clean)


def test_channels_and_frames_are_filtered_one_by_one() -> None:
    image = Image(np.stack([stripes(seed=seed)[1] for seed in range(4)]).reshape(2, 2, 24, 30), "TCYX", (0.2, 0.2))
    found = non_local_means(image, h=6)
    assert found.axes == "TCYX"
    assert found.voxel_size == (0.2, 0.2)
    for place in np.ndindex(2, 2):
        assert (np.asarray(found)[place] == non_local_means(image.array[place], h=6)).all()
    last = non_local_means(image.moved("YXCT"), h=6)
    assert (np.asarray(last.moved("TCYX")) == np.asarray(found)).all()


def test_a_constant_image_stays() -> None:
    assert (non_local_means(np.full((8, 9), 7, np.uint16), h=1) == 7).all()


@pytest.mark.parametrize("shape", [(80, 80), (20, 30, 30), (1, 80, 80)])
def test_the_noise_is_found_beside_structure(shape: tuple[int, ...]) -> None:
    assert_allclose(noise_sigma(stripes(shape, sigma=5)[1]), 5, rtol=0.1)


def test_the_noise_of_few_photons_is_not_zero() -> None:
    assert noise_sigma(np.random.default_rng(0).poisson(0.02, (50, 50))) > 0
    assert noise_sigma(np.full((8, 8), 3)) == 0


def test_bad_settings_are_refused() -> None:
    _, noisy = stripes()
    with pytest.raises(DataError, match="above 0, but 0"):
        non_local_means(noisy, h=0)
    with pytest.raises(DataError, match="at least 1 pixel, but 5 and 0"):
        non_local_means(noisy, h=1, distance=0)
    noisy[0, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        non_local_means(noisy, h=1)
