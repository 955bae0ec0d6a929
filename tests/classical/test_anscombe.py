"""The transform makes photon noise even and comes back without bias; a camera is known by its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from veriscope.classical import anscombe, tune
from veriscope.classical.anscombe import Noise, estimate, with_anscombe
from veriscope.classical.denoise import BM3D, NON_LOCAL_MEANS, TOTAL_VARIATION
from veriscope.classical.tune import best, find
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.judging.quality import nrmse
from veriscope.simulate.camera import Camera

CAMERAS = [Noise(1.0, 0.0, 0.0), Noise(2.0, 100.0, 3.0), Noise(0.5, 10.0, 1.0)]


def spots(shape: tuple[int, ...] = (128, 128), seed: int = 0) -> Any:
    """Light with dark gaps, 0 to 1."""
    light = gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    return np.clip((light - light.min()) / np.ptp(light) * 2 - 0.8, 0, None) / 1.2


def seen(light: Any, noise: Noise, photons: float, seed: int = 0) -> Any:
    camera = Camera(photons=photons, gain=noise.gain, offset=noise.offset, read_noise=noise.read_noise)
    return camera.apply(light, {"seed": seed})


@pytest.mark.parametrize("noise", CAMERAS)
@pytest.mark.parametrize("photons", [1, 2, 5, 20, 100])
def test_the_mean_of_transformed_counts_comes_back_without_bias(noise: Noise, photons: float) -> None:
    counts = seen(np.ones(400_000), noise, photons).astype(np.float64)
    even = noise.forward(counts).astype(np.float64)
    assert abs((noise.inverse(even.mean()) - noise.offset) / noise.gain - photons) < 0.02 * photons + 0.03
    if photons >= 2:
        assert_allclose(even.std(), 1, atol=0.12)
    else:  # squaring, without care, is too dark by a quarter of a photon
        assert even.mean() ** 2 / 4 - 3 / 8 - (noise.read_noise / noise.gain) ** 2 < photons - 0.15


@pytest.mark.parametrize("noise", CAMERAS)
def test_brighter_is_brighter_and_darkness_is_the_offset(noise: Noise) -> None:
    levels = noise.offset + noise.gain * np.linspace(-5, 200, 500)
    assert (np.diff(noise.forward(levels)) >= 0).all()
    assert (np.diff(noise.inverse(np.linspace(-3, 40, 500))) >= 0).all()
    assert_allclose(noise.inverse(np.zeros(3)), noise.offset)


@pytest.mark.parametrize("noise", [Noise(1.0, 100.0, 1.5), Noise(2.2, 100.0, 4.0), Noise(0.5, 100.0, 0.3)])
@pytest.mark.parametrize("photons", [5, 50])
@pytest.mark.parametrize("shape", [(192, 192), (8, 96, 96)])
def test_a_camera_is_known_by_its_image(noise: Noise, photons: float, shape: tuple[int, ...]) -> None:
    image = seen(spots(shape), noise, photons)
    found = estimate(image, offset=100)
    assert_allclose(found.gain, noise.gain, rtol=0.2)
    assert_allclose(found.read_noise, noise.read_noise, rtol=0.2, atol=0.3 * noise.gain)
    guessed = estimate(image)  # darkness guessed: the line is the same
    assert guessed.gain == found.gain
    assert_allclose(guessed.offset, 100, atol=noise.gain)
    flat = guessed.forward(seen(np.full(10_000, 0.5), noise, photons, seed=1))
    assert_allclose(flat.std(), 1, atol=0.15)


def test_channels_and_frames_are_one_camera() -> None:
    image = seen(spots((4, 64, 64)), Noise(2.0, 100.0, 2.0), 20)
    assert estimate(Image(image, "TYX")) == estimate(image)
    assert estimate(Image(image.transpose(1, 2, 0), "YXC")) == estimate(image)


def test_noise_that_does_not_grow_is_left_even() -> None:
    image = 100 + 400 * spots() + np.random.default_rng(0).normal(0, 5, (128, 128))
    even = estimate(image).forward(image)
    slope, start = np.polyfit(image.ravel(), even.ravel(), 1)
    assert_allclose(slope, 1 / 5, rtol=0.2)
    assert np.abs(even - slope * image - start).max() < 0.1 * np.ptp(even)


def test_it_helps_where_photons_are_few() -> None:
    noise = Noise(2.0, 100.0, 2.0)
    light = 100 * (0.05 + spots(seed=1) ** 2)
    low = seen(light, noise, 1.0)
    plain = best(NON_LOCAL_MEANS, low, light)
    for method in (with_anscombe(NON_LOCAL_MEANS, noise), with_anscombe(NON_LOCAL_MEANS)):
        helped = best(method, low, light)
        assert helped.nrmse < 0.96 * plain.nrmse < 0.5 * nrmse(light, low)
        # brightness is kept: no bias in the mean
        assert_allclose(helped.image.mean(), low.mean(), atol=0.05 * (low.mean() - 100) + 0.1)


def test_the_method_on_transformed_images_keeps_its_word() -> None:
    method = with_anscombe(NON_LOCAL_MEANS)
    assert (method.name, method.title) == ("gat+nlm", "Anscombe, non-local means")
    assert (method.grid, method.climbs, method.in_noise) == (NON_LOCAL_MEANS.grid, "h", frozenset())
    image = Image(seen(spots((2, 64, 64)), CAMERAS[1], 20), "CYX", (0.1, 0.1))
    found = method.run(image, **method.usual)
    assert (found.axes, found.voxel_size, found.dtype) == ("CYX", (0.1, 0.1), np.float32)
    for plane, one in zip(np.asarray(image), np.asarray(found), strict=True):
        assert (method.run(plane, **method.usual) == one).all()
    assert (method.run(np.full((9, 9), 7), **method.usual) == 7).all()
    with pytest.raises(DataError, match="not installed"):
        with_anscombe(replace(BM3D, module="no_such_module")).check()


def test_bad_input_is_refused() -> None:
    for wrong in ((-1, 0, 1), (1, 0, -1), (1, np.nan, 1)):
        with pytest.raises(DataError, match="gain and a read noise of at least 0"):
            Noise(*wrong)
    with pytest.raises(DataError, match="gain above 0"):
        Noise(0, 0, 1).forward(np.ones((9, 9)))
    with pytest.raises(DataError, match="NaN"):
        estimate(np.full((64, 64), np.nan))
    for image in (np.ones((64, 64)), np.random.default_rng(0).random((10, 10)), np.arange(5)):
        with pytest.raises(DataError, match="at least 8 blocks"):
            estimate(image)
    with pytest.raises(DataError, match="for denoisers, but non-local means"):
        with_anscombe(replace(NON_LOCAL_MEANS, task="project"))


def test_tuning_on_a_part_takes_the_noise_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def watched(image: Any) -> Noise:
        asked.append(np.shape(image))
        return estimate(image)

    monkeypatch.setattr(anscombe, "estimate", watched)
    monkeypatch.setattr(tune, "SEARCH", {2: 32 * 32})
    light = spots((96, 96))
    low = seen(light, CAMERAS[1], 50)
    find(with_anscombe(TOTAL_VARIATION), low, light)
    assert asked == [(96, 96)]
