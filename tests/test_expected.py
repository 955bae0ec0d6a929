from __future__ import annotations

import json

import numpy as np
import pytest

from veriscope.expected import Expectation, Expected, Tally, fit, mean_of


def test_the_interval_holds_nine_of_ten_new_images() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        found = np.exp(rng.normal(0.2, 0.1, 13))
        known = fit([1.0] * 12, found[:12], [False] * 12)
        expected = known.of(1.0)
        inside.append(expected.low <= found[12] <= expected.high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


def test_images_trained_on_say_how_much_it_varies_but_not_how_much_it_is() -> None:
    known = fit([1.0] * 6, [1.2, 1.2, 0.5, 0.6, 0.4, 0.5], [False, False, True, True, True, True])
    assert np.exp(known.log_ratio) == pytest.approx(1.2)
    assert known.half_width > fit([1.0] * 2, [1.2, 1.2], [False, False]).half_width


def test_a_tally_in_pieces_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    mean, error = rng.random((2, 40, 50)).astype(np.float32), rng.random((2, 40, 50)).astype(np.float32)
    whole, parts = Tally(2), Tally(2)
    whole.add(mean, error)
    for rows in (slice(0, 13), slice(13, 40)):
        parts.add(mean[:, rows], error[:, rows])
    assert parts.nrmse == pytest.approx(whole.nrmse)
    spans = np.diff(np.percentile(mean.reshape(2, -1), [0.1, 99.9], axis=1), axis=0)[0]
    np.testing.assert_allclose(whole.nrmse, np.sqrt(np.square(error).mean((1, 2))) / spans, rtol=0.01)


def test_nrmse_and_psnr_are_told_in_one_sentence() -> None:
    expected = Expectation(0.0, np.log(1.25)).of(0.02)
    assert str(expected) == "Expected NRMSE 0.020 (between 0.016 and 0.025), PSNR 34.0 dB (32.0 to 35.9)."
    assert expected.psnr == pytest.approx(-20 * np.log10(0.02))
    assert Expectation.from_json(Expectation(0.1, 0.2, 0.03).to_json()) == Expectation(0.1, 0.2, 0.03)
    assert Expectation.from_json({"log_ratio": 0.1, "half_width": 0.2}).largest == np.inf


def test_the_mean_of_frames_is_that_of_each_figure() -> None:
    assert mean_of([Expected(1, 0, 2), Expected(3, 2, 4)]) == Expected(2, 1, 3)
    assert mean_of([]) is None


def test_small_crops_are_held_against_small_crops() -> None:
    """Crops of little structure have large errors in parts of their range; that is no reason for alarm."""
    known = Expectation(0.0, 0.1, 0.03).with_crops([(4096, 0.02), (256, 0.12), (4096, 0.028), (256, 0.05)])
    assert known.crops == ((4096, 0.028), (256, 0.12))
    assert known.times(0.06, 4096) == pytest.approx(2)
    assert known.times(0.06, 10**6) == pytest.approx(2)
    assert known.times(0.06, 256) == pytest.approx(0.5)
    assert Expectation.from_json(json.loads(json.dumps(known.to_json()))) == known
    assert Expectation(0.0, 0.1, 0.03).times(0.06, 256) == pytest.approx(2)
