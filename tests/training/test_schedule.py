from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers

from veriscope.training.schedule import Plateau, Schedule, average_decay, warm_cosine


def test_an_epoch_passes_once_over_the_patches() -> None:
    assert Schedule.of_epochs(epochs=3, patches=100, batch=8) == Schedule(steps=36, per_round=12)
    assert Schedule.of_epochs(epochs=2, patches=3, batch=8) == Schedule(steps=2, per_round=1)


@given(left=floats(0.0, 1e5), per_step=floats(1e-3, 10.0))
def test_a_plan_by_time_ends_within_half_a_step_of_the_budget(left: float, per_step: float) -> None:
    plan = Schedule.of_time(done=5, seconds_left=left, seconds_per_step=per_step)
    assert abs((plan.steps - 5) * per_step - left) <= per_step / 2 * (1 + 1e-9)


def test_a_plan_always_has_something_to_do_and_keeps_its_rounds() -> None:
    assert Schedule.of_time(done=0, seconds_left=-1.0, seconds_per_step=1.0) == Schedule(1, 1)
    assert Schedule.of_time(done=50, seconds_left=50.0, seconds_per_step=1.0, per_round=7) == Schedule(100, 7)


@given(progress=floats(0.0, 1.0), warmup=floats(0.0, 0.5))
def test_the_rate_stays_between_its_floor_and_its_peak(progress: float, warmup: float) -> None:
    assert 0.01 - 1e-9 <= warm_cosine(progress, warmup) <= 1.0


def test_the_rate_rises_to_the_peak_and_falls_to_the_floor() -> None:
    assert warm_cosine(0.05, 0.1) == pytest.approx(0.5)
    assert warm_cosine(0.1, 0.1) == pytest.approx(1.0)
    assert warm_cosine(0.55, 0.1) == pytest.approx(0.505)
    assert warm_cosine(1.0, 0.1) == pytest.approx(0.01)


def test_the_plateau_halves_after_patience_and_starts_waiting_anew() -> None:
    plateau = Plateau(patience=2)
    factors = []
    for loss in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5]:
        plateau.see(loss)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


@given(step=integers(0, 10**6), steps=integers(1, 10**6))
def test_the_average_forgets_its_first_weights(step: int, steps: int) -> None:
    assert average_decay(step, steps, 0.0) == 0.0
    assert 0 < average_decay(step, steps, 0.05) <= math.exp(-1 / (0.05 * 10**6))
