"""Figures that see blur and seams whatever the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from veriscope.looking import counted, look, of_image, of_windows

WINDOW = (32, 32)


def scene(blur: float, noise: float, seed: int = 0) -> tuple[Any, Any]:
    """Input and restoration, (1, 128, 128) and (1, 1, 128, 128), of structures as fine as `blur`."""
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.random((128, 128)), blur)
    truth = (truth - truth.mean()) / truth.std()
    low = truth + rng.normal(0, noise, truth.shape)
    return low[None].astype(np.float32), truth[None, None].astype(np.float32)


def whole(low: Any, means: Any) -> dict[str, float]:
    return of_image(look(low, means, None, WINDOW).rows)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0])
def test_detail_depends_on_the_blur_and_not_on_the_noise(noise: float) -> None:
    sharp, blurred = (whole(*scene(blur, noise))["detail"] for blur in (2, 3))
    assert sharp == pytest.approx(whole(*scene(2, 0))["detail"], abs=0.08)
    assert blurred < sharp - 0.25


def test_a_seam_stands_out_along_either_axis_and_only_then() -> None:
    low, means = scene(2, 0.2)
    usual = whole(low, means)["seam"]
    for axis in (1, 2):
        stitched = low.copy()
        np.moveaxis(stitched, axis, 0)[64:] += 0.5
        assert whole(stitched, means)["seam"] > usual + 0.4


def test_structure_that_was_taken_away_is_seen() -> None:
    low, means = scene(3, 0.3)
    residues = [np.mean([row["residue"] for row in look(low, part * means, None, WINDOW).rows]) for part in (1.0, 0.5)]
    assert abs(residues[0]) < 0.05
    assert residues[1] > 0.5


def test_blurrier_restorations_bend_less() -> None:
    values = []
    for blur in (2, 3):
        _, means = scene(blur, 0)
        values.append(np.mean([row["curvature"] for row in look(means[0], means, None, WINDOW).rows]))
    assert values[1] < values[0] - 0.2


def test_figures_of_the_whole_are_none_of_a_window() -> None:
    (row, *_) = look(*scene(2, 0.1), None, WINDOW).rows
    assert set(row) - set(of_windows(row)) == {"near", "further", "seam"}
    assert of_image([]) == {}


@pytest.mark.parametrize("shape", [(40, 56), (300, 300), (5, 31, 200)])
def test_windows_are_counted_as_they_are_looked_at(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    window = (4, 16, 16)[-len(shape) :]
    assert counted(shape, window) == len(look(image, image[None], None, window).rows)
