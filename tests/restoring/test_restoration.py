"""What a restoration says of each pixel agrees with the distributions of its members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope import laplace
from veriscope.errors import DataError, ModelError
from veriscope.restoring.restoration import Restoration

MEANS = np.array([[[0.0, 5.0]], [[2.0, 5.0]]], np.float32)
SCALES = np.array([[[1.0, 0.5]], [[1.0, 0.5]]], np.float32)
TWO = Restoration(MEANS, SCALES, "YX", (0.1, 0.2), name="two")


def test_images_by_hand() -> None:
    assert np.asarray(TWO.mean).tolist() == [[1, 5]]
    # members one scale away on both sides: 1 + exp(-1); members that agree: their scale
    np.testing.assert_allclose(np.asarray(TWO.scale), [[1 + np.exp(-1), 0.5]], rtol=1e-6)
    lower, upper = TWO.interval(0.5)
    np.testing.assert_allclose(
        [np.asarray(lower)[0, 1], np.asarray(upper)[0, 1]], 5 + 0.5 * np.log(2) * np.array([-1, 1])
    )
    np.testing.assert_allclose(np.asarray(TWO.quantile(0.5)), [[1, 5]], atol=1e-5)
    np.testing.assert_allclose(np.asarray(TWO.probability(0.5))[0, 1], 1 - np.exp(-1), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(TWO.entropy())[0, 1], 1, rtol=1e-2)  # 1 + ln(2 x 0.5)
    disagreement = np.asarray(TWO.disagreement())[0]
    assert disagreement[0] > 0.1
    assert disagreement[1] == pytest.approx(0, abs=1e-2)


def test_everything_is_an_image_with_the_facts_of_the_input() -> None:
    for image in (TWO.mean, TWO.scale, *TWO.interval(), TWO.quantile(0.1), TWO.sample(3), TWO.entropy()):
        assert (image.axes, image.voxel_size, image.name, image.dtype) == ("YX", (0.1, 0.2), "two", np.float32)


members = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 3)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(members)
def test_the_scale_is_the_mean_distance_of_the_truth(pairs: list[tuple[float, float]]) -> None:
    means, scales = (np.array(values, np.float32).reshape(-1, 1, 1) for values in zip(*pairs, strict=True))
    restored = Restoration(means, scales, "YX")
    centre = float(np.asarray(restored.mean)[0, 0])
    z = centre + np.linspace(-120, 120, 400_001)
    density = sum(np.exp(-np.abs(z - m) / b) / (2 * b) for m, b in pairs) / len(pairs)
    expected = np.trapezoid(np.abs(z - centre) * density, z)
    assert float(np.asarray(restored.scale)[0, 0]) == pytest.approx(expected, rel=1e-3)


@settings(deadline=None, max_examples=40)
@given(members, st.floats(0.01, 0.99))
def test_intervals_hold_what_they_promise(pairs: list[tuple[float, float]], p: float) -> None:
    means, scales = (np.array(values, np.float64).reshape(-1, 1, 1) for values in zip(*pairs, strict=True))
    lower, upper = Restoration(means, scales, "YX").interval(p)  # type: ignore[arg-type]
    inside = laplace.cdf(means, scales, np.asarray(upper)) - laplace.cdf(means, scales, np.asarray(lower))
    assert float(inside[0, 0]) == pytest.approx(p, abs=2e-3)


def test_samples_repeat_by_seed() -> None:
    np.testing.assert_array_equal(np.asarray(TWO.sample(1)), np.asarray(TWO.sample(1)))
    assert not np.array_equal(np.asarray(TWO.sample(1)), np.asarray(TWO.sample(2)))


@pytest.mark.parametrize("p", [0, 1, -0.1, 1.5, float("nan")])
def test_probabilities_lie_between_0_and_1(p: float) -> None:
    for ask in (TWO.interval, TWO.quantile):
        with pytest.raises(DataError, match="between 0 and 1"):
            ask(p)


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.scale,
        lambda r: r.interval(0.9),
        lambda r: r.quantile(0.5),
        lambda r: r.probability(0.1),
        lambda r: r.sample(0),
        lambda r: r.entropy(),
        lambda r: r.disagreement(),
    ],
)
def test_without_scales_only_the_mean_is_known(ask: Callable[[Restoration], Any]) -> None:
    plain = Restoration(MEANS, None, "YX")
    assert np.asarray(plain.mean).tolist() == [[1, 5]]
    with pytest.raises(ModelError, match="probabilistic=False"):
        ask(plain)
