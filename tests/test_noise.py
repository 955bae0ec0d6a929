"""One camera noise: photons and electronics add up as they should, and the same seed gives the same image."""

from __future__ import annotations

import numpy as np
import pytest

from veriscope.noise import Noise
from veriscope.simulate.camera import Camera

FLAT = np.full((256, 256), 500.0)


@pytest.mark.parametrize("noise", [Noise(2.0, 100.0, 3.0), Noise(0.5, 0.0, 0.0), Noise(0.0, 100.0, 5.0)])
def test_mean_and_variance_are_those_of_photons_and_electronics(noise: Noise) -> None:
    image = noise.apply(FLAT, seed=0)
    expected = noise.gain * (500 - noise.offset) + noise.read_noise**2
    assert image.mean() == pytest.approx(500, abs=0.3)
    assert image.var(dtype=np.float64) == pytest.approx(expected, rel=0.03)
    assert (image == noise.apply(FLAT, seed=0)).all()
    assert (image != noise.apply(FLAT, seed=1)).any()


def test_a_camera_exposes_with_the_same_noise() -> None:
    camera = Camera(photons=50, read_noise=2, offset=10, gain=3, background=0.5)
    light = np.random.default_rng(0).random((32, 32))
    photons = 50 * (light + 0.5)
    expected = Noise(gain=3, offset=10, read_noise=2).expose(photons, np.random.default_rng(7))
    assert (camera.apply(light, {"seed": 7}) == expected.astype(np.float32)).all()


def test_what_is_darker_than_darkness_brings_no_photons() -> None:
    assert (Noise(2.0, 100.0, 0.0).apply(np.zeros((4, 4)), seed=0) == 100).all()
