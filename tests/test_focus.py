"""Images out of focus are recognised by what a blur does to images of training, where no figure by itself shows it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from veriscope.focus import SIGMA, Focus, described, fit, photographs

SHIFT = np.array([0.7, -0.7, 0, 0])  # less than images differ by, but not in this direction


def images(count: int, seed: int = 0) -> np.ndarray:
    """Two figures that go together, and two that say nothing."""
    rng = np.random.default_rng(seed)
    kind = rng.normal(0, 1, count)
    return np.stack([kind, kind + rng.normal(0, 0.1, count), *rng.normal(0, 1, (2, count))], axis=1)


def learned(count: int = 30) -> Focus:
    found = fit([*images(count)], [SHIFT] * 3, 16, 0.004)
    assert found is not None
    return found


def test_a_blur_is_seen_that_no_figure_shows_by_itself() -> None:
    usual, wrong = images(500, 2), images(500, 1) + SHIFT
    assert (np.abs(wrong - usual.mean(0)) < 4 * usual.std(0)).all(1).mean() > 0.98
    assert np.mean([learned().score(one) > 1 for one in wrong]) > 0.95


@pytest.mark.parametrize("count", [6, 12, 30])
def test_images_like_those_of_training_hardly_ever_look_blurred(count: int) -> None:
    known = fit([*images(count)], [SHIFT * 9], 16, 0.004)
    assert known is not None
    assert np.mean([known.score(one) > 1 for one in images(2000, 2)]) <= 0.02


def test_a_blur_that_cannot_be_seen_is_not_looked_for() -> None:
    assert fit([*images(30)], [SHIFT * 0.01], 16, 0.004) is None


def test_too_few_images_say_nothing() -> None:
    assert fit([*images(4)], [SHIFT], 16, 0.004) is None
    assert fit([*images(30)], [], 16, 0.004) is None


def test_it_survives_json() -> None:
    known = learned()
    again = Focus.from_json(json.loads(json.dumps(asdict(known), default=lambda array: array.tolist())))
    assert again.score(images(1)[0]) == pytest.approx(known.score(images(1)[0]))


def test_photographs_hold_the_light_and_the_noise_that_goes_with_it() -> None:
    rng = np.random.default_rng(0)
    high = gaussian_filter(rng.random((1, 128, 128)), (0, 2, 2))
    light = 100 + 900 * (high - high.min()) / np.ptp(high)
    low = rng.poisson(light).astype(np.float32)
    sharp, blurred = photographs(low, high.astype(np.float32), rng)
    soft = gaussian_filter(light, (0, SIGMA, SIGMA))
    for image, expected in ((sharp, light), (blurred, soft)):
        noise = image - expected
        assert np.corrcoef(noise.ravel(), (low - light).ravel())[0, 1] == pytest.approx(0, abs=0.03)
        for inside in (expected < np.quantile(expected, 0.3), expected > np.quantile(expected, 0.7)):
            assert noise[inside].mean() == pytest.approx(0, abs=3)
            assert noise[inside].std() == pytest.approx(np.sqrt(expected[inside].mean()), rel=0.1)


def test_an_image_is_described_by_its_windows_and_its_detail() -> None:
    table = np.array([[0.0, 1.0], [2.0, 3.0]])
    found = described(table, {"detail": 5.0, "seam": 7.0})
    np.testing.assert_allclose(found, [1, 2, 0.2, 1.2, 1.8, 2.8, 5])
