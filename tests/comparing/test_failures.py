"""The largest relative error is where something was planted, and what is dark does not count more than it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope.comparing.failures import FLOOR, WINDOW, largest_relative_error, relative_error
from veriscope.images.image import Image
from veriscope.judging import quality


def field(shape: tuple[int, ...] = (120, 140)) -> Any:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    return np.broadcast_to(500 + 400 * np.sin(x / 5) * np.cos(y / 7), shape).astype(np.float32).copy()


@pytest.mark.parametrize("shape", [(120, 140), (3, 120, 140)])
def test_it_is_found_where_it_was_planted(shape: tuple[int, ...]) -> None:
    truth = field(shape)
    wrong = truth.copy()
    at = (*(1 for _ in shape[:-2]), 100, 30)
    wrong[(*at[:-2], slice(97, 104), slice(27, 34))] += 300
    axes = "ZYX"[-len(shape) :]
    images = {"input": Image(truth, axes), "restoration": Image(wrong, axes)}
    found = largest_relative_error("field", Image(truth, axes), images, "restoration")
    assert np.abs(np.array(found.place) - at).max() <= 5
    assert set(found.planes) == {"input", "restoration", "truth"}
    assert found.planes["truth"].shape == (96, 96)
    inside = (found.place[-2] - found.corner[0], found.place[-1] - found.corner[1])
    assert_allclose(found.errors[inside], found.error, rtol=1e-6)
    assert f"Y {found.place[-2]}, X {found.place[-1]}" in str(found)


def test_the_error_is_what_the_definition_says() -> None:
    truth, image = field(), field() + np.random.default_rng(0).normal(0, 50, (120, 140))
    y, x = quality.matched(truth, image)
    half = WINDOW // 2
    window = (slice(60 - half, 61 + half), slice(70 - half, 71 + half))
    expected = np.abs(x - y)[window].mean() / max(float(y[window].mean()), FLOOR)
    assert_allclose(relative_error(truth, image)[60, 70], expected)


def test_the_same_error_weighs_more_where_the_truth_is_darker_down_to_the_floor() -> None:
    rows = np.repeat(np.linspace(0, 1, 101), 1)[:, None] * np.ones((101, 101))
    image = rows + 0.05 * (np.indices(rows.shape).sum(0) % 2 - 0.5)
    found = relative_error(rows, image).mean(axis=1)
    assert found[30] > 1.5 * found[60] > 2 * found[90]
    assert_allclose(found[5], found[15], rtol=0.05)


def test_windows_cut_by_the_border_do_not_count() -> None:
    truth = field()
    wrong = truth.copy()
    wrong[0, 0] += 5000
    found = largest_relative_error("a", Image(truth, "YX"), {"made": Image(wrong, "YX")}, "made")
    assert min(found.place) >= WINDOW // 2


def test_the_worst_channel_is_told() -> None:
    truth = np.stack([field(), field()])
    wrong = truth.copy()
    wrong[1, 50:57, 60:67] += 400
    found = largest_relative_error("a", Image(truth, "CYX"), {"made": Image(wrong, "CYX")}, "made")
    assert found.image == "a, channel 1"
