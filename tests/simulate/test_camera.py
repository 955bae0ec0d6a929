"""The camera: its noise has the mean and the variance of the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope import VeriscopeError
from veriscope.simulate.camera import Camera, to_integers

CAMERAS = st.builds(
    Camera,
    photons=st.floats(0.5, 500),
    read_noise=st.floats(0, 10),
    offset=st.floats(0, 500),
    gain=st.floats(0.2, 5),
    background=st.sampled_from([0.0, 0.3]),
)


@settings(deadline=None, max_examples=30)
@given(camera=CAMERAS, truth=st.floats(0, 2), seed=st.integers(0, 2**32))
def test_mean_and_variance_are_those_of_the_formula(camera: Camera, truth: float, seed: int) -> None:
    count = 40_000
    image = camera.apply(np.full(count, truth), camera.draw(np.random.default_rng(seed))).astype(np.float64)
    light = camera.photons * (truth + camera.background)
    mean, variance = camera.gain * light + camera.offset, camera.gain**2 * light + camera.read_noise**2
    # Six standard errors; the fourth moment of the sum bounds the error of the variance.
    fourth = camera.gain**4 * (light + 3 * light**2) + 6 * camera.gain**2 * light * camera.read_noise**2
    fourth += 3 * camera.read_noise**4
    assert abs(image.mean() - mean) <= 6 * np.sqrt(variance / count) + 1e-4 * (1 + mean)
    assert abs(image.var() - variance) <= 6 * np.sqrt(max(fourth - variance**2, 0) / count) + 1e-4 * (1 + variance)


@settings(max_examples=8)
@given(photons=st.floats(5, 200), gain=st.floats(0.3, 3), read_noise=st.floats(0.5, 5), seed=st.integers(0, 2**32))
def test_gain_and_read_noise_are_recovered_from_repeats_within_2_percent(
    photons: float, gain: float, read_noise: float, seed: int
) -> None:
    """The photon transfer of a real camera: the variance of repeats grows by `gain` with their mean."""
    camera, rng = Camera(photons, read_noise, gain=gain), np.random.default_rng(seed)
    truth = np.repeat(np.linspace(0, 1, 16), 500)
    repeats = np.stack([camera.apply(truth, camera.draw(rng)) for _ in range(100)]).astype(np.float64)
    levels = repeats.reshape(100, 16, 500)
    mean = levels.mean(axis=(0, 2)) - camera.offset
    variance = levels.var(axis=0, ddof=1).mean(axis=1)
    expected = gain * mean + read_noise**2
    # 50,000 samples a level: the variance of counts around 1 photon is known to about 1 %, so weigh all levels.
    slope = np.sum((variance - variance[0]) * mean / expected**2) / np.sum(mean**2 / expected**2)
    assert slope == pytest.approx(gain, rel=0.02)
    assert np.mean(variance / expected) == pytest.approx(1, abs=0.01)
    assert variance[0] == pytest.approx(read_noise**2, rel=0.03)


def test_dimming_takes_light_and_nothing_else() -> None:
    camera = Camera(photons=290, read_noise=2, offset=50, gain=3, background=0.1)
    dim = camera.dimmed(1 / 29)
    assert dim.photons == pytest.approx(10)
    assert (dim.read_noise, dim.offset, dim.gain, dim.background) == (2, 50, 3, 0.1)
    for ratio in (0, -1, float("nan"), float("inf")):
        with pytest.raises(VeriscopeError, match="fraction above 0"):
            camera.dimmed(ratio)


def test_the_same_draw_gives_the_same_image_and_another_draw_another() -> None:
    camera, rng = Camera(photons=10), np.random.default_rng(1)
    truth = np.linspace(0, 1, 300).reshape(3, 10, 10)
    first, second = camera.draw(rng), camera.draw(rng)
    assert np.array_equal(camera.apply(truth, first), camera.apply(truth, first))
    assert not np.array_equal(camera.apply(truth, first), camera.apply(truth, second))
    assert camera.apply(truth, first).shape == truth.shape
    assert camera.apply(truth, first).dtype == np.float32


def test_darkness_is_the_offset_with_read_noise_only() -> None:
    camera = Camera(photons=1000, read_noise=0, offset=7)
    assert np.all(camera.apply(np.zeros((5, 5)), {"seed": 3}) == 7)


@pytest.mark.parametrize(
    "wrong",
    [{"photons": 0}, {"photons": -1}, {"gain": 0}, {"read_noise": -1}, {"background": -1}, {"offset": float("nan")}],
)
def test_an_impossible_camera_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(VeriscopeError, match="photons and gain above 0"):
        Camera(**wrong)


@pytest.mark.parametrize("truth", [[-0.1, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_light_is_finite_and_not_negative(truth: list[float]) -> None:
    with pytest.raises(VeriscopeError, match="at least 0"):
        Camera().apply(np.array(truth), {"seed": 0})


def test_more_light_than_can_be_counted_is_refused() -> None:
    with pytest.raises(VeriscopeError, match=r"cannot count 1e\+20 photons"):
        Camera(photons=1e20).apply(np.ones(3), {"seed": 0})


def test_integers_are_rounded_and_clipped() -> None:
    assert to_integers(np.array([-3.0, 0.6, 41.4, 70000.0])).tolist() == [0, 1, 41, 65535]
