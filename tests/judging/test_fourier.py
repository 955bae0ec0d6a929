"""Ring correlation: S / (S + N) where signal and noise are known, and its resolution where the signal ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.judging.fourier import ring_correlation, split


def white_up_to(cutoff: float, shape: tuple[int, ...], seed: int, sizes: tuple[float, ...] | None = None) -> Any:
    """Noise of variance 1 before all frequencies from `cutoff` on were taken away."""
    k = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(shape, sizes or (1.0,) * len(shape), strict=True)), indexing="ij"
    )
    spectrum = np.fft.fftn(np.random.default_rng(seed).normal(size=shape))
    return np.fft.ifftn(spectrum * (np.sqrt(sum(one**2 for one in k)) < cutoff)).real


def twice(signal: Any, sigma: float, seed: int = 1000) -> tuple[Any, Any]:
    """Two acquisitions of it, each with white noise of its own."""
    noise = np.random.default_rng(seed).normal(0, sigma, (2, *signal.shape))
    return signal + noise[0], signal + noise[1]


@settings(max_examples=10)
@given(sigma=st.sampled_from([0.3, 0.5, 1.0]), cutoff=st.sampled_from([0.15, 0.25, 0.35]), seed=st.integers(0, 9))
def test_the_curve_is_signal_by_signal_and_noise_and_ends_with_the_signal(
    sigma: float, cutoff: float, seed: int
) -> None:
    found = ring_correlation(*twice(white_up_to(cutoff, (192, 200), seed), sigma))
    within, beyond = found.frequency < cutoff - 0.03, found.frequency > cutoff + 0.03
    assert found.value[within][8:].mean() == pytest.approx(1 / (1 + sigma**2), abs=0.05)
    assert abs(found.value[beyond].mean()) < 0.05
    assert found.resolution == pytest.approx(1 / cutoff, rel=0.08)
    assert not found.limited


@pytest.mark.parametrize("criterion", ["1/7", "half-bit", "3-sigma"])
@pytest.mark.parametrize("shape", [(160, 160), (16, 40, 40)])
def test_noise_has_nothing_in_common_with_other_noise(shape: tuple[int, ...], criterion: Any) -> None:
    for seed in range(10):
        found = ring_correlation(*twice(np.zeros(shape), 1.0, seed), criterion=criterion)
        assert found.nothing
        assert found.resolution == np.inf
        assert str(found) == "none: both have no more in common than noise has by chance"
        assert np.abs(found.value[14:]).mean() < 0.1


@pytest.mark.parametrize("shape", [(40, 50), (12, 30, 34)])
def test_an_image_agrees_with_itself_down_to_the_pixel(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).normal(size=shape)
    found = ring_correlation(pixels, 3 * pixels + 100)
    assert_allclose(found.value, 1)
    assert found.limited
    assert found.resolution == pytest.approx(2, rel=0.05)
    assert str(found).startswith("at least as fine as 2")
    assert_allclose(ring_correlation(pixels, -pixels).value, -1)


def test_smoothing_both_images_changes_nothing() -> None:
    """It takes signal and noise alike from every ring."""
    pair = twice(white_up_to(0.25, (128, 128), 4), 0.7)
    plain = ring_correlation(*pair)
    smooth = ring_correlation(*(gaussian_filter(one, 1.0) for one in pair))
    assert smooth.resolution == pytest.approx(plain.resolution, rel=0.03)


def test_thresholds_that_know_the_noise_are_stricter_where_there_are_few_frequencies() -> None:
    pair = twice(white_up_to(0.25, (128, 128), 1), 0.5)
    by_name = {name: ring_correlation(*pair, criterion=name) for name in ("1/7", "1/2", "half-bit", "3-sigma")}
    assert_allclose(by_name["1/7"].threshold, 1 / 7)
    assert_allclose(by_name["1/2"].threshold, 1 / 2)
    for name, least in (("half-bit", 0.1716), ("3-sigma", 0.0)):
        limits = by_name[name].threshold
        assert limits[0] > 0.5
        assert limits[-1] > least
        # 3-sigma by van Heel and Schatz 2005: 3 / sqrt(n / 2)
        assert limits[-1] < 0.3
    rings = by_name["3-sigma"].frequencies
    assert by_name["3-sigma"].threshold[-1] == pytest.approx(3 / np.sqrt(rings[-1] / 2))
    for found in by_name.values():
        assert found.resolution == pytest.approx(4, rel=0.1)


def test_half_against_a_truth_asks_for_what_a_seventh_asks_of_two_noisy_images() -> None:
    """Rosenthal and Henderson 2003: sqrt(2 c / (1 + c)) = 1/2 at c = 1/7 says it for the mean of both."""
    truth = gaussian_filter(np.random.default_rng(3).normal(size=(256, 256)), 1.5)
    one, other = twice(truth, 0.1)
    alone = ring_correlation(one, other).crossing
    known = ring_correlation((one + other) / 2, truth, criterion="1/2").crossing
    assert alone is not None
    assert known == pytest.approx(alone, rel=0.05)


# Voxels, directions, axes


def test_frequencies_are_in_um_where_both_images_know_their_voxels() -> None:
    pair = twice(white_up_to(0.2, (96, 120), 2), 0.5)
    plain = ring_correlation(*pair)
    in_um = ring_correlation(*(Image(one, "YX", (0.1, 0.1)) for one in pair))
    assert in_um.resolution == pytest.approx(0.1 * plain.resolution)
    assert (plain.unit, in_um.unit) == ("pixels", "um")
    assert ring_correlation(Image(pair[0], "YX", (0.1, 0.1)), pair[1]).unit == "pixels"


def test_pixels_that_are_longer_one_way_are_measured_in_um() -> None:
    sizes = (0.2, 0.1)
    pair = twice(white_up_to(2.0, (100, 200), 2, sizes), 0.5)
    found = ring_correlation(*(Image(one, "YX", sizes) for one in pair))
    assert found.resolution == pytest.approx(0.5, rel=0.08)


def test_stacks_are_told_across_and_along_the_optical_axis() -> None:
    """A signal that ends at 2 cycles per um across and at 0.5 along Z, on voxels of 0.4 x 0.1 x 0.1 um."""
    shape, sizes = (48, 128, 128), (0.4, 0.1, 0.1)
    noise = np.random.default_rng(0).normal(size=shape)
    k = np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(shape, sizes, strict=True)), indexing="ij")
    signal = np.fft.ifftn(np.fft.fftn(noise) * ((np.abs(k[0]) < 0.5) & (np.hypot(k[1], k[2]) < 2))).real
    images = [Image(one, "ZYX", sizes) for one in twice(signal, 0.6)]
    lateral, axial = (ring_correlation(*images, direction) for direction in ("lateral", "axial"))
    assert lateral.resolution == pytest.approx(0.5, rel=0.15)
    assert axial.resolution == pytest.approx(2, rel=0.25)
    assert axial.frequency[-1] <= 1.3  # planes 0.4 um apart hold no more than 1.25
    assert ring_correlation(*images).resolution < axial.resolution


def test_time_points_count_together_and_channels_apart() -> None:
    signals = [white_up_to(0.25, (64, 64), seed) for seed in range(4)]
    pairs = [twice(signal, 0.5, 100 + seed) for seed, signal in enumerate(signals)]
    movies = [np.stack([pair[which] for pair in pairs]) for which in (0, 1)]
    together = ring_correlation(*(Image(movie, "TYX") for movie in movies))
    assert together.resolution == pytest.approx(4, rel=0.1)
    noise = np.random.default_rng(9).normal(size=(2, 64, 64))
    channels = [Image(np.stack([movie[0], one]), "CYX") for movie, one in zip(movies, noise, strict=True)]
    assert not ring_correlation(*channels).nothing
    assert ring_correlation(*channels, channel=1).nothing
    assert_allclose(ring_correlation(*channels).value, ring_correlation(movies[0][0], movies[1][0]).value)


def test_it_agrees_with_another_program() -> None:
    """nanopyx 2.1.5, calculate_frc(a, b): 4.63294 pixels, under another window and by LOESS smoothing."""
    rng = np.random.default_rng(0)
    truth = gaussian_filter((rng.random((256, 256)) > 0.98).astype(float), 2.0) * 400 + 5
    a, b = (rng.poisson(truth) for _ in range(2))
    assert ring_correlation(a, b).resolution == pytest.approx(4.63294, rel=0.03)


# Splitting


def test_photons_are_divided_without_losing_one_and_halves_are_independent() -> None:
    flat = np.random.default_rng(1).poisson(20, (200, 200))
    image = Image(100 + 2.5 * flat, "YX", (0.1, 0.1))
    first, second = split(image, seed=0, gain=2.5, offset=100)
    assert (first.array + second.array == flat).all()
    assert abs(np.corrcoef(first.array.ravel(), second.array.ravel())[0, 1]) < 0.02
    assert ring_correlation(first, second).nothing
    assert first.voxel_size == (0.1, 0.1)
    again = split(image, seed=0, gain=2.5, offset=100)[0]
    assert (again.array == first.array).all()
    assert (split(image, seed=1, gain=2.5, offset=100)[0].array != first.array).any()


def test_halves_tell_about_the_resolution_that_two_acquisitions_tell() -> None:
    rng = np.random.default_rng(2)
    truth = gaussian_filter((rng.random((256, 256)) > 0.98).astype(float), 2.0) * 400 + 5
    two = ring_correlation(rng.poisson(truth / 2), rng.poisson(truth / 2))
    assert ring_correlation(*split(rng.poisson(truth), seed=0)).resolution == pytest.approx(two.resolution, rel=0.1)


def test_a_wrong_gain_lets_noise_pass_for_detail() -> None:
    """As split says: halves of photons counted too often still share their noise."""
    flat = 5 * np.random.default_rng(1).poisson(20, (128, 128))
    assert not ring_correlation(*split(flat, seed=0)).nothing


# Bad input

A = np.random.default_rng(0).normal(size=(16, 16))
STACK = np.random.default_rng(0).normal(size=(9, 16, 16))


@pytest.mark.parametrize(
    ("first", "second", "options", "error", "message"),
    [
        (A, A[:12], {}, DataError, r"same pixels, but they are 16 x 16 \(YX\) and 12 x 16"),
        (A[:5], A[:5], {}, DataError, "At least 8 pixels.*5 along Y"),
        (A, np.ones((16, 16)), {}, DataError, "constant"),
        (A, np.where(A > 2, np.nan, A), {}, DataError, "NaN"),
        (A, A, {"direction": "axial"}, AxesError, "Only stacks have a direction such as axial"),
        (STACK, STACK, {"direction": "up"}, DataError, "no direction 'up'. Choose all, lateral or axial"),
        (A, A, {"criterion": "1/3"}, DataError, "no criterion '1/3'. Choose 1/7, 1/2, half-bit or 3-sigma"),
        (A, A, {"channel": 1}, DataError, "1 channels, counted from 0; there is no channel 1"),
        (A[0], A[0], {}, AxesError, r"not \(16,\)"),
        (Image(A, "YX", (0.1, 0.1)), Image(A, "YX", (0.2, 0.2)), {}, DataError, "voxels of different sizes"),
        (Image(A, "ZY"), Image(A, "ZY"), {}, AxesError, "not for the axes ZY"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    first: Any, second: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ring_correlation(first, second, **options)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (A, {"gain": 0}, "number above 0"),
        (A, {"offset": 1000}, "no photons to divide"),
        (A * np.nan, {}, "NaN"),
    ],
)
def test_what_holds_no_photons_is_not_split(pixels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(pixels, 0, **options)
