from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from veriscope.images.noise import noise_by_light


@pytest.mark.parametrize(("gain", "read"), [(1.0, 2.0), (4.0, 5.0), (0.0, 3.0)])
@pytest.mark.parametrize("across", [True, False])
def test_the_camera_is_found_in_a_photograph(gain: float, read: float, across: bool) -> None:
    rng = np.random.default_rng(0)
    light = gaussian_filter(rng.random((256, 256)), 6)
    light = 20 + 400 * (light - light.min()) / np.ptp(light)
    noise = np.sqrt(gain * light + read**2)
    found = noise_by_light(light + rng.normal(size=light.shape) * noise, across)
    for brightness in (100.0, 200.0, 380.0):
        assert found.variance(np.array([brightness]))[0] == pytest.approx(gain * brightness + read**2, rel=0.2)


def test_smooth_structure_is_no_noise() -> None:
    light = 300 * gaussian_filter(np.random.default_rng(0).random((128, 128)), 5)
    assert noise_by_light(light).variance(light).max() < 1e-3 * light.var()
    assert noise_by_light(light, across=False).variance(light).max() < 1e-2 * light.var()


@pytest.mark.parametrize("shape", [(2, 40), (40, 4)])
def test_too_small_images_have_none(shape: tuple[int, int]) -> None:
    assert (noise_by_light(np.ones(shape)).variance(np.ones(3)) == 0).all()
