"""SRRF by nanopyx: two blinking points that one image shows as one come apart, and nothing is left behind."""

from __future__ import annotations

import os
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope.classical.superresolution import esrrf, srrf
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image

needs_nanopyx = pytest.mark.skipif(util.find_spec("nanopyx") is None, reason="nanopyx is not installed")


def blinking(frames: int = 24, size: int = 20, apart: float = 3.0) -> Any:
    """Two points in the middle row, `apart` pixels from each other, which take turns at random; sigma 1.5 pixels."""
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size))
    middle = (size - 1) / 2
    spots = [np.exp(-((y - middle) ** 2 + (x - middle - side * apart / 2) ** 2) / (2 * 1.5**2)) for side in (-1, 1)]
    on = rng.random((frames, 2)) > 0.5
    return rng.poisson(2 + 400 * sum(o[:, None, None] * spot for o, spot in zip(on.T, spots, strict=True)))


@needs_nanopyx
def test_points_come_apart_where_they_are_on_finer_pixels_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pixels = blinking()
    movie = Image(pixels, "TYX", (0.1, 0.1), 0.05, "blinking")
    plain = pixels.mean(axis=0)[9:11].mean(axis=0)
    assert plain[9:11].min() > min(plain[8], plain[11])  # one blob
    found = srrf(movie, magnification=4, combine="correlation")
    assert (found.shape, found.axes, found.name) == ((80, 80), "YX", "blinking")
    assert found.voxel_size == pytest.approx((0.025, 0.025))
    row = np.asarray(found)[36:44].mean(axis=0)
    left, right = (int(np.argmax(row[:40])), 40 + int(np.argmax(row[40:])))
    assert row[39:41].mean() < 0.7 * min(row[left], row[right])
    assert ((left + right) / 2 + 0.5) / 4 - 0.5 == pytest.approx(9.5, abs=0.3)  # the middle stays
    assert (right - left) / 4 == pytest.approx(3, abs=1)
    assert not {".nanopyx", ".liquid_engine"} & set(os.listdir(tmp_path))
    assert capfd.readouterr() == ("", "")


@needs_nanopyx
def test_esrrf_shows_light_where_it_is() -> None:
    found = np.asarray(esrrf(blinking(), magnification=2, combine="variance"))
    assert found.shape == (40, 40)
    assert found[16:24, 12:28].mean() > 20 * found[:8].mean()


def test_without_nanopyx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veriscope.classical.superresolution.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'veriscope\[srrf\]'"):
        srrf(blinking())


MOVIE = np.ones((4, 20, 20))


@pytest.mark.parametrize(
    ("movie", "options", "error", "message"),
    [
        (MOVIE[0], {}, AxesError, r"not an array of shape \(20, 20\)"),
        (Image(MOVIE, "ZYX"), {}, AxesError, "axes T Y X, but the movie has ZYX"),
        (Image(MOVIE[None], "CTYX").region(T=slice(0, 1)), {}, DataError, "at least 2 frames"),
        (MOVIE[:, :8], {}, DataError, "at least 2 frames of 12 x 12 pixels, not 4 x 8 x 20"),
        (MOVIE * np.nan, {}, DataError, "NaN"),
        (MOVIE, {"magnification": 0}, DataError, "whole number from 1 to 20, not 0"),
        (MOVIE, {"magnification": 2.5}, DataError, "whole number from 1 to 20, not 2.5"),
        (MOVIE, {"radius": -1}, DataError, "above 0.*not -1"),
        (MOVIE, {"combine": "median"}, DataError, "combined by 'median'. Choose mean, maximum or correlation"),
    ],
)
def test_what_is_no_movie_is_refused(movie: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        srrf(movie, **options)


def test_a_sensitivity_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="sensitivity of eSRRF is a number above 0, not 0"):
        esrrf(MOVIE, sensitivity=0)
