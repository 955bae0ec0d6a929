"""Granules: blobs of noise, each with a light of its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from veriscope.simulate.granules import Granules

PIXEL = (0.08, 0.08)


def test_every_granule_is_one_label_with_one_light() -> None:
    granules = Granules()
    drawn = granules.draw(np.random.default_rng(0), (96, 96), PIXEL)
    scene = granules.apply(drawn)
    light, labels = np.asarray(scene.light), np.asarray(scene.labels)
    assert labels.max() == len(drawn["light"]) == ndimage.label(light > 0)[1]
    assert np.array_equal(labels > 0, light > 0)
    height = np.asarray(granules.apply({**drawn, "light": [1.0] * len(drawn["light"])}).light)
    for number, glow in enumerate(drawn["light"], start=1):
        np.testing.assert_allclose(light[labels == number], glow * height[labels == number], rtol=1e-5)


def test_granules_have_the_size_asked_for() -> None:
    def width(size_um: float) -> float:
        granules = Granules(size_um=size_um)
        scene = granules.apply(granules.draw(np.random.default_rng(1), (300, 300), PIXEL))
        area = np.bincount(np.asarray(scene.labels).ravel())[1:]
        return float(np.sqrt(np.average(area, weights=area) * 4 / np.pi) * 0.08)  # of a typical lit pixel's granule

    assert width(0.3) == pytest.approx(0.45, rel=0.4)
    assert width(0.6) == pytest.approx(2 * width(0.3), rel=0.2)


def test_a_higher_threshold_leaves_fewer_granules() -> None:
    lit = []
    for threshold in (0.2, 0.35, 0.6):
        granules = Granules(threshold=threshold)
        lit.append(
            float(
                (
                    np.asarray(granules.apply(granules.draw(np.random.default_rng(2), (200, 200), PIXEL)).light) > 0
                ).mean()
            )
        )
    assert lit[0] > lit[1] > lit[2] > 0
    assert 0.05 < lit[1] < 0.25
