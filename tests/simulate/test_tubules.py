"""Tubules: bends within bounds, light that does not depend on where between pixels they lie, pairs as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.simulate.scene import Drawn
from veriscope.simulate.tubules import Tubules, pair

PIXEL = (0.08, 0.08)


def one(start: tuple[float, float], angle: float, steps: int = 60, shape: tuple[int, int] = (80, 80)) -> Drawn:
    """A single straight filament (start YX in um, direction in turns)."""
    values = {"angle": angle, "bend": 0.0, "curvature": 0.0, "wander": 0.0, "steps": steps, "light": 1.0}
    lists = {name: [value] for name, value in values.items()}
    return {"shape": list(shape), "voxel_size": list(PIXEL), "start": [list(start)], "width": 0.03, "walk": 0, **lists}


@settings(max_examples=30)
@given(
    kmax=st.floats(0.0005, 0.02),
    bend=st.sampled_from([(0.1, 0.8), (1.0, 1.0), (0.0, 0.3)]),
    wander=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_the_curvature_never_leaves_its_bounds(
    kmax: float, bend: tuple[float, float], wander: float, seed: int
) -> None:
    tubules = Tubules(kmax=kmax, bend=bend, wander=(wander / 2, wander), density=(0.2, 0.4), steps=(5, 300))
    drawn = tubules.draw(np.random.default_rng(seed), (64, 64), PIXEL)
    curvature = tubules.curvature(drawn)
    assert (np.abs(curvature) <= kmax * bend[1] + 1e-12).all()
    paths = tubules.paths(drawn)
    ways = np.diff(paths, axis=1)
    np.testing.assert_allclose(np.abs(ways)[np.isfinite(ways)], tubules.step_um, rtol=1e-9)
    turned = np.angle(ways[:, 1:] * ways[:, :-1].conj()) / (2 * np.pi)  # what the path itself says
    seen = np.isfinite(turned)
    np.testing.assert_allclose(turned[seen], curvature[:, 2:][seen], atol=1e-9)


def test_the_curvature_is_the_clipped_sum_of_its_changes() -> None:
    """The formula as it stands in the SI, in a plain loop."""
    tubules = Tubules(bend=(1.0, 1.0), density=(0.5, 0.5), steps=(50, 80))
    drawn = tubules.draw(np.random.default_rng(4), (40, 40), PIXEL)
    changes = np.random.default_rng(drawn["walk"]).standard_normal((len(drawn["start"]), max(drawn["steps"])))
    curvature, clipped = tubules.curvature(drawn), 0
    for row, (first, wander) in enumerate(zip(drawn["curvature"], drawn["wander"], strict=True)):
        total = first
        for step, change in enumerate(changes[row]):
            total += wander * change
            assert curvature[row, step] == pytest.approx(max(-0.004, min(total, 0.004)), abs=1e-12)
            clipped += abs(total) > 0.004
    assert clipped > 0


def test_a_filament_of_constant_curvature_is_a_circle() -> None:
    drawn = {**one((3.2, 4.8), 0.25, steps=250), "bend": [0.004], "curvature": [0.004]}
    path = Tubules().paths(drawn)[0]
    radius = np.abs(path - path.mean())
    np.testing.assert_allclose(radius, 1.6, rtol=0.01)  # 20 pixels
    assert abs(path[-1] - path[0]) < 0.05


@settings(max_examples=40)
@given(y=st.floats(-0.5, 0.5), x=st.floats(-0.5, 0.5), angle=st.floats(0, 1))
def test_light_is_the_same_wherever_between_pixels_a_tubule_lies(y: float, x: float, angle: float) -> None:
    tubules = Tubules()
    total = np.asarray(tubules.apply(one((3.2, 3.2), 0.0)).light).sum()
    moved = np.asarray(tubules.apply(one((3.2 + 0.08 * y, 3.2 + 0.08 * x), angle)).light)
    assert moved.sum() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("angle", [0.0, 0.07, 0.125, 0.25])
def test_a_tubule_is_as_bright_as_drawn_along_its_middle(angle: float) -> None:
    across = 0.008 * np.array([np.cos(2 * np.pi * angle), -np.sin(2 * np.pi * angle)])
    places = [2.56 + across * part for part in range(10)]  # on average over a pixel
    scenes = [pair((64, 64), PIXEL, 0.0, angle, centre_um=place, brightness=0.5) for place in places]
    along = [float(np.median(np.asarray(scene.light).max(axis=0 if angle <= 0.125 else 1))) for scene in scenes]
    assert np.mean(along) == pytest.approx(1, abs=0.15)  # two of 0.5 on top of each other


def test_what_leaves_the_field_comes_back_as_a_whole() -> None:
    """A small field sees the same as the same part of a large one."""
    tubules = Tubules()
    drawn = tubules.draw(np.random.default_rng(0), (96, 96), PIXEL)
    large, small = (np.asarray(tubules.apply({**drawn, "shape": [n, n]}).light) for n in (96, 50))
    np.testing.assert_allclose(small, large[:50, :50], atol=1e-5)


def test_as_many_start_as_asked_also_outside() -> None:
    tubules = Tubules(density=(0.4, 0.4), surround_um=3.0)
    drawn = tubules.draw(np.random.default_rng(0), (256, 256), PIXEL)
    start = np.array(drawn["start"])
    assert len(start) == pytest.approx(0.4 * (256 * 0.08 + 6) ** 2, abs=1)
    inside = np.all((start > -0.04) & (start < 255.5 * 0.08), axis=1)
    assert inside.sum() == pytest.approx(0.4 * (256 * 0.08) ** 2, rel=0.15)
    assert start.min() < -2
    assert 200 <= min(drawn["steps"]) <= max(drawn["steps"]) <= 600


def test_no_tubules_are_no_light() -> None:
    tubules = Tubules(density=(0, 0))
    assert not np.asarray(tubules.apply(tubules.draw(np.random.default_rng(0), (20, 20), PIXEL)).light).any()


@pytest.mark.parametrize("angle", [0.0, 0.25, 0.1])
@pytest.mark.parametrize("distance", [0.3, 0.48, 0.9])
def test_a_pair_is_as_far_apart_as_asked(distance: float, angle: float) -> None:
    light = np.asarray(pair((101, 101), PIXEL, distance, angle).light, dtype=np.float64)
    y, x = (np.indices(light.shape) - 50) * 0.08
    aside = y * np.cos(2 * np.pi * angle) - x * np.sin(2 * np.pi * angle)
    middle = np.hypot(y, x) < 3
    sides = [np.average(aside[part], weights=light[part]) for part in (middle & (aside > 0), middle & (aside < 0))]
    assert sides[0] - sides[1] == pytest.approx(distance, abs=0.02)
