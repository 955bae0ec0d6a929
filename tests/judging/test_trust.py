from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope import laplace
from veriscope.judging.calibration import EPS
from veriscope.judging.trust import LEVELS, measure, pool


def field(seed: int, pixels: int = 20_000, members: int = 3) -> Any:
    """Members' means and scales and a truth drawn from them, over an image that spans much more than its errors."""
    rng = np.random.default_rng(seed)
    centre = 1000 * rng.random(pixels)
    mean = centre + rng.normal(0, 10, (members, pixels))
    scale = np.broadcast_to(10 ** rng.uniform(0.5, 1.7, pixels), (members, pixels))
    return mean, scale, laplace.sample(mean, scale, seed)


def test_an_ensemble_that_knows_itself_is_trusted() -> None:
    found = measure(*field(0))
    assert found is not None
    assert found.members == 3
    assert_allclose(found.coverage[3], LEVELS, atol=0.01)
    assert all(one.ece < 0.02 for one in found.reliability[3])
    assert [one.eps for one in found.reliability[1]] == list(EPS)
    assert found.log_likelihood[3] > found.log_likelihood[1]
    assert_allclose(found.disagreement.sum(), 1)


def test_figures_do_not_depend_on_the_unit() -> None:
    mean, scale, truth = field(1)
    one, other = measure(mean, scale, truth), measure(7 * mean + 50, 7 * scale, truth)
    assert one is not None
    assert other is not None
    assert_allclose(one.log_likelihood[3], other.log_likelihood[3], rtol=1e-3)
    assert_allclose(one.coverage[2], other.coverage[2], atol=1e-3)


def test_images_together_are_the_mean_of_their_pixels() -> None:
    mean, scale, truth = field(2, 30_000)
    # both parts have the truth's range of the whole, so that they are judged in one unit
    truth[[0, 1, 2, 3, -1, -2, -3, -4]] = np.repeat([-500, 1500, -500, 1500], 2)
    parts = [measure(mean[:, s], scale[:, s], truth[s]) for s in (slice(10_000), slice(10_000, None))]
    both = pool([part for part in parts if part is not None])
    assert both.pixels == 30_000
    for n in (1, 3):
        expected = sum(part.log_likelihood[n] * part.pixels for part in parts if part) / 30_000
        assert_allclose(both.log_likelihood[n], expected)
        for k in range(len(EPS)):
            assert_allclose(both.reliability[n][k].share.sum(), 1)
            assert both.reliability[n][k].ece < 0.02 or n == 1
    assert_allclose(pool([both]).reliability[3][0].accuracy, both.reliability[3][0].accuracy)


def test_bins_that_nobody_fills_stay_empty() -> None:
    found = measure(*field(3))
    assert found is not None
    alone = pool([found])
    assert np.array_equal(np.isnan(alone.reliability[3][0].confidence), alone.reliability[3][0].share == 0)
    assert json.loads(json.dumps(found.to_json()))["reliability"][0]["share"] == found.reliability[3][0].share.tolist()


@pytest.mark.parametrize("members", [1, 4])
def test_it_reads_as_a_table(members: int) -> None:
    found = measure(*field(4, members=members))
    lines = str(found).splitlines()
    assert len(lines) == 1 + members
    assert len({len(line) for line in lines}) == 1


def test_a_constant_prediction_is_not_trusted() -> None:
    mean, scale, truth = field(5)
    assert measure(np.ones_like(mean), scale, truth) is None


def test_the_views_of_a_network_count_as_one_network() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 40))
    means = truth + rng.normal(scale=[[[0.1]], [[0.2]], [[0.3]], [[0.4]]], size=(4, 40, 40))  # a, b from one side; a, b
    scales = np.full(means.shape, 0.2)
    seen = measure(means, scales, truth, views=2)
    assert seen is not None
    assert list(seen.reliability) == [1, 2]
    both = measure(means[[0, 2]], scales[[0, 2]], truth)
    assert both is not None
    everything = measure(means, scales, truth)
    assert everything is not None
    assert seen.log_likelihood[2] == pytest.approx(everything.log_likelihood[4], rel=1e-6)
    assert seen.reliability[2][0].ece == pytest.approx(everything.reliability[4][0].ece, rel=1e-5)
    assert seen.log_likelihood[1] == pytest.approx(both.log_likelihood[2], rel=0.02)  # matched to the truth apart
