"""NRMSE, PSNR and SSIM on images small enough to draw, and against scikit-image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from skimage import metrics

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.judging import quality as q


def scene(shape: tuple[int, ...] = (24, 31), seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.gamma(2, 100, shape)


def noisy(truth: Any, sigma: float = 60, seed: int = 1) -> Any:
    return truth + np.random.default_rng(seed).normal(0, sigma, truth.shape)


# -- drawn by hand ----------------------------------------------------------------------------------


def test_a_known_error_gives_the_known_figures() -> None:
    # Half black, half white; the restoration sees half of each half as grey. The percentiles are 0 and 1, so y = truth,
    # and least squares leave x as it is by symmetry. Half of the pixels are wrong by one half.
    truth = np.repeat([0.0, 1.0], 32).reshape(8, 8)
    restored = np.repeat([0.0, 0.5, 0.5, 1.0], 16).reshape(8, 8)
    a, b = q.affine_match(truth, restored)
    assert_allclose((a, b), (1, 0), atol=1e-12)
    assert_allclose(q.nrmse(truth, restored), math.sqrt(0.5 * 0.25))
    assert_allclose(q.psnr(truth, restored), -10 * math.log10(0.125))


def test_percentiles_of_the_truth_set_the_range() -> None:
    truth = np.arange(10001.0).reshape(73, 137)  # percentiles 0.1 and 99.9 are 10 and 9990
    assert_allclose(q.truth_range(truth), (10, 9990))
    y = q.normalize_truth(truth)
    assert_allclose([y.flat[10], y.flat[9990], y.flat[0]], [0, 1, -10 / 9980], atol=1e-15)


@given(a=st.floats(0.01, 100), b=st.floats(-1000, 1000), c=st.floats(0.01, 100), d=st.floats(-1000, 1000))
@settings(deadline=None, max_examples=25)
def test_brightness_and_contrast_of_either_image_do_not_matter(a: float, b: float, c: float, d: float) -> None:
    truth = scene()
    plain = q.quality(truth, noisy(truth))
    other = q.quality(c * truth + d, a * noisy(truth) + b)
    assert_allclose([other.nrmse, other.psnr, other.ssim], [plain.nrmse, plain.psnr, plain.ssim], rtol=1e-6)


def test_the_match_is_the_best_there_is() -> None:
    y = q.normalize_truth(scene())
    x = noisy(scene())
    a, b = q.affine_match(y, x)
    assert_allclose((a, b), np.polyfit(x.ravel(), y.ravel(), 1), rtol=1e-9)


def test_a_perfect_restoration() -> None:
    truth = scene().astype(np.uint16)
    found = q.quality(truth, 3.0 * truth + 100)
    assert found.nrmse < 1e-12
    assert found.psnr > 200
    assert_allclose(found.ssim, 1)


def test_a_constant_restoration_is_as_good_as_the_mean() -> None:
    truth = scene()
    y = q.normalize_truth(truth)
    assert q.affine_match(y, np.full(y.shape, 0.1)) == (0, y.mean())
    assert_allclose(q.nrmse(truth, np.full(truth.shape, 0.1)), y.std())


def test_integers_do_not_wrap_around() -> None:
    truth = scene().astype(np.uint8)
    restored = noisy(scene()).clip(0, 255).astype(np.uint8)
    assert q.quality(truth, restored) == q.quality(truth.astype(float), restored.astype(float))


# -- against scikit-image ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 31), (9, 16, 17)])
def test_scikit_image_agrees(shape: tuple[int, ...]) -> None:
    truth = scene(shape)
    y, x = q.matched(truth, noisy(truth))
    found = q.quality(truth, noisy(truth))
    assert_allclose(found.psnr, metrics.peak_signal_noise_ratio(y, x, data_range=1))
    assert_allclose(found.ssim, metrics.structural_similarity(y, x, data_range=1))
    span = y.max() - y.min()
    assert_allclose(found.nrmse, metrics.normalized_root_mse(y, x, normalization="min-max") * span)
    assert found == q.Quality(q.nrmse(truth, noisy(truth)), q.psnr(truth, noisy(truth)), q.ssim(truth, noisy(truth)))


@pytest.mark.parametrize(
    ("shape", "window"), [((3, 20, 20), 3), ((4, 20, 20), 3), ((6, 20), 5), ((7, 20), 7), ((1, 20, 20), 7)]
)
def test_thin_images_get_a_smaller_window(shape: tuple[int, ...], window: int) -> None:
    truth = scene(shape)
    y, x = q.matched(truth, noisy(truth))
    expected = metrics.structural_similarity(y.squeeze(), x.squeeze(), data_range=1, win_size=window)
    assert_allclose(q.ssim(truth, noisy(truth)), expected)


# -- channels and time points -----------------------------------------------------------------------


def test_channels_and_frames_are_compared_one_by_one_and_averaged() -> None:
    truth = scene((3, 2, 20, 20)) * np.array([1, 50])[:, None, None]  # a bright channel must not hide a dim one
    restored = noisy(truth)
    found = q.quality(Image(truth, "TCYX"), Image(restored, "TCYX"))
    single = [q.quality(truth[t, c], restored[t, c]) for t in range(3) for c in range(2)]
    assert_allclose(found.ssim, np.mean([one.ssim for one in single]))
    assert_allclose(found.nrmse, np.mean([one.nrmse for one in single]))
    places = [(channel, frame) for channel, frame, _ in q.volumes(Image(truth, "TCYX"), Image(restored, "TCYX"))]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_the_order_of_axes_does_not_matter() -> None:
    truth = scene((8, 20, 21))
    restored = noisy(truth)
    plain = q.quality(Image(truth, "ZYX"), Image(restored, "ZYX"))
    assert q.quality(Image(truth, "ZYX"), Image(restored.transpose(2, 0, 1)[None], "CXZY")) == plain
    assert q.quality(Image(truth, "ZYX"), restored) == plain


# -- bad input --------------------------------------------------------------------------------------


def with_nan() -> Any:
    image = scene()
    image[3, 4] = np.nan
    return image


@pytest.mark.parametrize(
    ("truth", "restored", "says"),
    [
        (scene((8, 9)), scene((9, 8)), "same shape.*8 x 9 and 9 x 8"),
        (with_nan(), scene(), "truth holds 1 NaN or infinite values of 744"),
        (scene(), with_nan(), "restored image holds 1 NaN"),
        (np.full((8, 8), 5), scene((8, 8)), "no contrast.*both 5"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "real numbers"),
        (scene((9, 9)) + 1j, scene((9, 9)), "real numbers"),
        (scene((2, 30, 30)), scene((2, 30, 30)), "at least 3 pixels.*2 x 30 x 30"),
        (Image(scene((8, 9)), "YX"), Image(scene((9, 8)), "YX"), "same shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth: Any, restored: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        q.quality(truth, restored)


def test_the_settings_name_every_metric() -> None:
    for word in ("0.1", "99.9", "NRMSE", "PSNR", "SSIM", "window of 7", "data range 1", "3D"):
        assert word in q.SETTINGS
