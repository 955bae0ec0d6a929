"""Reliability and coverage: what the network said, counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope import laplace
from veriscope.errors import DataError
from veriscope.judging.calibration import coverage, reliability


def drawn(members: int = 3, pixels: int = 40000, seed: int = 0) -> Any:
    """An ensemble and a truth that was drawn from it, so perfectly calibrated."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 0.05, (members, pixels))
    scale = 10 ** rng.uniform(-2, 0, pixels) * rng.uniform(0.8, 1.2, (members, pixels))
    return mean, scale, laplace.sample(mean, scale, seed)


def test_four_pixels_by_hand() -> None:
    # One network, scale 1: within eps = ln 2 lies half of the probability, so all share a bin and half come true.
    mean, scale = np.zeros((1, 4)), np.ones((1, 4))
    found = reliability(mean, scale, np.array([0.1, -0.2, 5.0, -5.0]), eps=np.log(2), bins=10)
    bins_used = np.flatnonzero(found.share)
    assert len(bins_used) == 1
    assert_allclose(
        [found.confidence[bins_used[0]], found.accuracy[bins_used[0]], found.ece], [0.5, 0.5, 0], atol=1e-12
    )
    assert np.isnan(found.confidence).sum() == 9


def test_an_ensemble_that_knows_itself_lies_on_the_diagonal() -> None:
    found = reliability(*drawn(), eps=0.1)
    assert_allclose(found.share.sum(), 1)
    assert (np.diff(found.confidence) > 0).all()
    assert_allclose(found.accuracy, found.confidence, atol=0.04)
    assert found.ece < 0.01


def test_overconfidence_shows() -> None:
    mean, scale, truth = drawn()
    bold, honest = reliability(mean, scale / 4, truth, eps=0.1), reliability(mean, scale, truth, eps=0.1)
    assert bold.ece > 0.1 > honest.ece
    assert coverage(mean, scale / 4, truth, 0.9) < 0.7


def test_calibration_error_is_the_weighted_gap() -> None:
    mean, scale, truth = drawn()
    found = reliability(mean, scale / 2, truth, eps=0.05, bins=7)
    assert found.share.shape == (7,)
    assert_allclose(found.ece, np.nansum(found.share * np.abs(found.accuracy - found.confidence)))


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_coverage_counts_what_lies_in_the_band(p: float) -> None:
    mean, scale, truth = drawn()
    half = laplace.symmetric_interval(mean, scale, p)
    assert_allclose(coverage(mean, scale, truth, p), np.mean(np.abs(truth - mean.mean(0)) <= half), atol=1e-4)
    assert_allclose(coverage(mean, scale, truth, p), p, atol=0.01)


def test_certainty_of_one_falls_into_the_last_bin() -> None:
    found = reliability(np.zeros((1, 3)), np.full((1, 3), 1e-9), np.zeros(3), eps=1.0)
    assert found.share[-1] == found.confidence[-1] == found.accuracy[-1] == 1


def test_bad_input_is_refused() -> None:
    mean, scale, truth = drawn(pixels=5)
    with pytest.raises(DataError, match="members in front"):
        coverage(mean[0], scale[0], truth)
    with pytest.raises(DataError, match="between 0 and 1, but 90"):
        coverage(mean, scale, truth, 90)
    with pytest.raises(DataError, match="at least 1 bin, but 0"):
        reliability(mean, scale, truth, 0.1, bins=0)
    with pytest.raises(DataError, match="NaN"):
        reliability(mean, scale, truth * np.nan, 0.1)


def test_a_single_network_wrong_by_two_has_the_error_of_the_formula() -> None:
    # Said: within eps lies 1 - exp(-eps / b). True: the scale is 2 b.
    rng = np.random.default_rng(0)
    b, eps = 0.1, 0.1
    mean, truth = np.zeros((1, 200_000)), rng.laplace(0, 2 * b, 200_000)
    found = reliability(mean, np.full_like(mean, b), truth, eps)
    assert_allclose(found.ece, abs(np.exp(-eps / b) - np.exp(-eps / (2 * b))), atol=5e-3)
