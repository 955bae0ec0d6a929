"""Perlin noise: smooth, centred, within its bounds, of the width asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope import VeriscopeError
from veriscope.simulate.perlin import Background, perlin


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**63 - 1),
    shape=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    scale=st.floats(0.3, 100),
    octaves=st.integers(1, 4),
)
def test_noise_stays_between_minus_one_and_one(seed: int, shape: list[int], scale: float, octaves: int) -> None:
    noise = perlin(seed, shape, scale, octaves)
    assert noise.shape == tuple(shape)
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 1 + 1e-5


@pytest.mark.parametrize("shape", [(512, 512), (64, 80, 80)])
def test_noise_is_centred_and_uses_its_range(shape: tuple[int, ...]) -> None:
    noise = perlin(3, shape, 6.3)
    assert abs(noise.mean()) < 0.02
    assert 0.2 < noise.std() < 0.4
    assert noise.max() > 0.75
    assert noise.min() < -0.75


@pytest.mark.parametrize("octaves", [1, 2])
def test_noise_is_smooth_across_the_lattice(octaves: int) -> None:
    """Its slope is bounded, so halving the pixels halves the largest step between neighbours."""
    steps = [np.abs(np.diff(perlin(5, (400,), scale, octaves))).max() for scale in (20.0, 40.0)]
    assert steps[0] < 0.3
    assert steps[1] == pytest.approx(steps[0] / 2, rel=0.35)


def test_the_same_lattice_seen_with_finer_pixels_is_the_same_noise() -> None:
    coarse, fine = perlin(7, (20, 30), (4, 6)), perlin(7, (39, 59), (8, 12))
    np.testing.assert_allclose(fine[::2, ::2], coarse, atol=1e-5)


def test_each_axis_has_its_own_width() -> None:
    noise = perlin(1, (300, 300), (20, 5))
    along_y, along_x = (np.abs(np.diff(noise, axis=axis)).mean() for axis in (0, 1))
    assert along_x / along_y == pytest.approx(4, rel=0.15)


def test_further_octaves_add_finer_detail() -> None:
    one, three = (perlin(2, (200, 200), 32, octaves) for octaves in (1, 3))
    bends = [np.abs(np.diff(noise, n=2)).mean() / np.abs(np.diff(noise)).mean() for noise in (one, three)]
    assert bends[1] > 2 * bends[0]


@pytest.mark.parametrize(("scale", "octaves"), [(0, 1), (-3, 1), (float("nan"), 1), ((4, 0), 1), (4, 0)])
def test_noise_without_width_is_refused(scale: float, octaves: int) -> None:
    with pytest.raises(VeriscopeError, match="scale above 0"):
        perlin(0, (8, 8), scale, octaves)


def test_background_has_the_amount_asked_for_as_its_mean() -> None:
    background = Background(amount=0.2, scale_um=3.0)
    light = background.apply(background.draw(np.random.default_rng(0), (200, 200), (0.5, 0.5))).light
    assert np.asarray(light).mean() == pytest.approx(0.2, rel=0.05)
    assert np.asarray(light).min() >= 0
    assert np.asarray(light).max() <= 0.4 + 1e-6
    none = Background(amount=0)
    assert not np.asarray(none.apply(none.draw(np.random.default_rng(0), (9, 9), (1, 1))).light).any()
