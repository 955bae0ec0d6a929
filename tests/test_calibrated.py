from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from veriscope import laplace
from veriscope.calibrated import AsPredicted, Calibration, Sample, fit
from veriscope.errors import DataError
from veriscope.judging.calibration import reliability_of

TEXTURES = np.array([[0.05, 0.5], [0.1, 0.4], [0.2, 0.5], [0.1, 0.2]])  # noise and contrast of four kinds of image


def wrong(scale: Any, texture: Any) -> Any:
    """By how much errors really are larger than predicted: more where the scale is large, and in noisy images."""
    return (scale / 0.03) ** 0.4 * (texture[0] / texture[1] / 0.3) ** 0.3


def sample(image: int, pixels: int = 6000, trained_on: bool = False) -> Sample:
    """Three networks that agree but for a little, whose errors are Gaussian and of another size than they say."""
    rng = np.random.default_rng(image)
    texture = TEXTURES[image % len(TEXTURES)]
    scale = np.exp(rng.uniform(np.log(0.005), np.log(0.1), pixels))
    centre = rng.random(pixels)
    means = centre + rng.normal(0, 0.1, (3, pixels)) * scale
    error = np.sqrt(np.pi / 2) * scale * wrong(scale, texture) * rng.normal(size=pixels)
    error *= 0.7 if trained_on else 1  # what was learned by heart
    scales = np.broadcast_to(scale, means.shape)
    window = np.arange(pixels) // 100
    arrays = [values.astype(np.float32) for values in (means, scales, means.mean(0) + error)]
    return Sample(*arrays, window, texture, image, trained_on)


def put_right(found: Calibration, one: Sample) -> tuple[Any, Any, Any]:
    return one.means, one.scales, found.levels[0].factor(one.scale, one.texture)


@pytest.fixture(scope="module")
def found() -> Calibration:
    made = fit([[*(sample(image) for image in range(8)), *(sample(20 + n, trained_on=True) for n in range(8))]])
    assert made is not None
    return made


NEW = [sample(image) for image in range(100, 108)]


@pytest.mark.parametrize("eps", [0.01, 0.025, 0.05, 0.1])
def test_probabilities_of_new_images_come_true(found: Calibration, eps: float) -> None:
    true = np.concatenate([one.error <= eps for one in NEW])
    before = np.concatenate([laplace.interval_probability(one.means, one.scales, eps) for one in NEW])
    after = np.concatenate([found.probability(*put_right(found, one), eps) for one in NEW])
    errors = [reliability_of(said, true, eps).ece for said in (before, after)]
    assert errors[1] < 0.015
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_intervals_hold_what_they_promise(found: Calibration, p: float) -> None:
    held = [one.error <= found.half_width(*put_right(found, one), p) for one in NEW]
    assert np.mean(held) == pytest.approx(p, abs=0.012)


@pytest.mark.parametrize("u", [0.05, 0.3, 0.5, 0.8])
def test_quantiles_lie_above_as_many_as_they_say(found: Calibration, u: float) -> None:
    below = [one.truth <= found.quantile(*put_right(found, one), u) for one in NEW]
    assert np.mean(below) == pytest.approx(u, abs=0.012)
    (one,) = NEW[:1]
    value = found.quantile(*put_right(found, one), u)
    np.testing.assert_allclose(found.below(*put_right(found, one), value), u, atol=2e-3)


def test_what_is_expected_on_average_is_found(found: Calibration) -> None:
    for one in NEW:
        assert found.scale(*put_right(found, one)).mean() == pytest.approx(one.error.mean(), rel=0.08)
        squares = np.square(found.root_mean_square(*put_right(found, one))).mean()
        assert np.sqrt(squares) == pytest.approx(np.sqrt(np.square(one.error).mean()), rel=0.08)


def test_the_truth_becomes_more_likely(found: Calibration) -> None:
    for one in NEW:
        raw = AsPredicted().log_likelihood(one.means, one.scales, 1.0, one.truth).mean()
        assert found.log_likelihood(*put_right(found, one), one.truth).mean() > raw


def test_densities_are_slopes_of_probabilities(found: Calibration) -> None:
    one = NEW[0]
    step = 1e-4 * one.scale
    up, down = (found.below(*put_right(found, one), one.truth + side * step).astype(float) for side in (1, -1))
    likelihood = found.log_likelihood(*put_right(found, one), one.truth)
    middling = np.abs(found.below(*put_right(found, one), one.truth) - 0.5) < 0.4
    slope = ((up - down) / (2 * step))[middling]
    np.testing.assert_allclose(np.median(np.log(slope.clip(1e-9)) - likelihood[middling]), 0, atol=0.02)


def test_samples_are_distributed_as_the_quantiles_say(found: Calibration) -> None:
    one = NEW[0]
    drawn = found.sample(*put_right(found, one), seed=3)
    for u in (0.1, 0.5, 0.9):
        assert np.mean(drawn <= found.quantile(*put_right(found, one), u)) == pytest.approx(u, abs=0.02)


def test_entropy_is_minus_the_mean_logarithm_of_the_density(found: Calibration) -> None:
    one = NEW[0]
    drawn = found.sample(*put_right(found, one), seed=4)
    surprise = -found.log_likelihood(*put_right(found, one), drawn).mean()
    assert found.entropy(*put_right(found, one)).mean() == pytest.approx(surprise, abs=0.02)


def test_guaranteed_intervals_are_wider_and_hold_at_least_as_much(found: Calibration) -> None:
    for p in (0.5, 0.9):
        for one in NEW:
            wide = found.half_width(*put_right(found, one), p, guaranteed=True)
            assert (wide >= found.half_width(*put_right(found, one), p) - 1e-6).mean() > 0.5
        held = [one.error <= found.half_width(*put_right(found, one), p, guaranteed=True) for one in NEW]
        assert np.mean(held) > p - 0.012


def test_too_few_windows_guarantee_little() -> None:
    few = fit([[sample(0, pixels=3000)]])
    assert few is not None
    few.half_width(*put_right(few, sample(1)), 0.9, guaranteed=True)
    with pytest.raises(DataError, match=r"cannot be guaranteed to hold 0.99 .* too few images"):
        few.half_width(*put_right(few, sample(1)), 0.99, guaranteed=True)


def test_too_few_pixels_change_nothing() -> None:
    assert fit([[sample(0, pixels=500)]]) is None
    assert fit([]) is None


def test_images_trained_on_do_not_make_it_bold() -> None:
    """Errors of images learned by heart are smaller; they teach what depends on the texture, not the level."""
    mixed = fit([[*(sample(image) for image in range(4)), *(sample(20 + n, trained_on=True) for n in range(12))]])
    assert mixed is not None
    held = [one.error <= mixed.half_width(*put_right(mixed, one), 0.9) for one in NEW]
    assert np.mean(held) > 0.88


def test_an_unknown_texture_counts_as_the_middle_one(found: Calibration) -> None:
    level, scale = found.levels[0], np.array([0.01, 0.05], np.float32)
    unknown = level.factor(scale, np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(unknown, level.factor(scale))
    noisy, calm = (level.factor(scale, TEXTURES[number]) for number in (2, 0))
    assert (noisy > calm).all()


def test_it_survives_json(found: Calibration) -> None:
    again = Calibration.from_json(json.loads(json.dumps(found.to_json())))
    for one in NEW[:2]:
        np.testing.assert_allclose(
            again.half_width(*put_right(again, one), 0.9), found.half_width(*put_right(found, one), 0.9), rtol=1e-3
        )
    assert (again.pixels, again.images) == (found.pixels, found.images)
    with pytest.raises(ValueError, match="another number of knots"):
        Calibration.from_json({**found.to_json(), "central": [0, 1]})


def test_as_predicted_is_what_the_networks_say() -> None:
    one, plain = NEW[0], AsPredicted()
    given = one.means, one.scales
    np.testing.assert_array_equal(plain.half_width(*given, 1.0, 0.9), laplace.symmetric_interval(*given, 0.9))
    np.testing.assert_array_equal(plain.probability(*given, 1.0, 0.05), laplace.interval_probability(*given, 0.05))
    np.testing.assert_array_equal(plain.sample(*given, 1.0, seed=1), laplace.sample(*given, 1))
    with pytest.raises(DataError, match="nothing was measured"):
        plain.half_width(*given, 1.0, 0.9, guaranteed=True)
