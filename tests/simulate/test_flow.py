"""The flow of a sheet: what was drawn is what happens, area is kept, nobody strays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.errors import DataError
from veriscope.simulate.flow import Flow

STILL = {"drift": [0.0, 0.0], "shear": [0.0, 0.0], "rotation": 0.0, "jostle": 1}
MIDDLE = np.array([20.0, 30.0])
CALM = Flow(jostle_um=0.0)


def places(count: int = 50) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 60, (count, 2))


def test_a_drift_moves_all_cells_alike() -> None:
    moved = CALM.apply({**STILL, "drift": [0.5, -1.0]}, places(), MIDDLE, 4)
    np.testing.assert_allclose(moved - places(), np.broadcast_to([2.0, -4.0], (50, 2)))


def test_a_quarter_turn_is_a_quarter_turn_about_the_middle() -> None:
    moved = CALM.apply({**STILL, "rotation": np.pi / 20}, np.array([MIDDLE, MIDDLE + np.array([0, 5])]), MIDDLE, 10)
    np.testing.assert_allclose(moved, [MIDDLE, MIDDLE + np.array([-5, 0])], atol=1e-9)


def test_shear_makes_longer_and_narrower_by_the_same_factor() -> None:
    corners = MIDDLE + np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
    moved = CALM.apply({**STILL, "shear": [0.0, 0.1]}, corners, MIDDLE, 2)
    np.testing.assert_allclose(moved - MIDDLE, [(0, 0), (0, np.exp(-0.2)), (np.exp(0.2), 0)], atol=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), frame=st.integers(1, 60))
def test_the_sheet_keeps_its_area_and_nobody_goes_farther_than_foretold(seed: int, frame: int) -> None:
    flow = Flow(jostle_um=0.1)
    drawn = flow.draw(np.random.default_rng(seed))
    corners = MIDDLE + np.array([(0.0, 0.0), (0.0, 20.0), (20.0, 0.0)])
    origin, one, other = CALM.apply(drawn, corners, MIDDLE, frame)
    area = np.linalg.det([one - origin, other - origin])
    assert abs(area) == pytest.approx(400, rel=1e-6)
    # What is seen within 30 um of the middle came from no farther away than this
    start = places(400) * 3 - 60
    seen = np.hypot(*(flow.apply(drawn, start, MIDDLE, frame) - MIDDLE).T) < 30
    came = np.hypot(*(start[seen] - MIDDLE).T)
    assert came.max(initial=0) <= 30 + flow.farthest(drawn, 30, frame + 1)


def test_jostled_cells_go_each_their_own_way_but_not_far() -> None:
    flow = Flow(jostle_um=0.2)
    start = places(400)
    steps = [flow.apply(STILL, start, MIDDLE, frame) - start for frame in range(60)]
    assert np.abs(steps[0]).max() < 1e-9
    assert np.std(steps[1]) == pytest.approx(0.2, rel=0.1)
    assert np.std(steps[59]) == pytest.approx(0.2 * 2.3, rel=0.1)
    assert np.std(steps[59] - steps[58]) < 0.3  # and smoothly
    np.testing.assert_array_equal(steps[7], flow.apply(STILL, start, MIDDLE, 7) - start)


@pytest.mark.parametrize("wrong", [{"drift_um": (-1, 0)}, {"shear": (0.2, 0.1)}, {"rotation": 1}, {"jostle_um": -1}])
def test_impossible_flows_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"must be at least|begins with the smallest|is a pair"):
        Flow(**wrong)  # type: ignore[arg-type]
