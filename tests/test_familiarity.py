from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from veriscope.familiarity import FIGURES, Familiar, Verdict, _as_if_unseen, familiar, look, verdict, windows

WINDOW = (32, 32)


def scene(seed: int, blur: float = 3, noise: float = 0.1) -> tuple[Any, Any, Any]:
    """A normalised window: a network's input, and means and scales of three members that restore it well."""
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.random((32, 32)), blur) * blur * 2
    low = (truth + rng.normal(0, noise, truth.shape)).astype(np.float32)[None]
    means = (truth + rng.normal(0, 0.01, (3, 1, *truth.shape))).astype(np.float32)
    return low, means, np.full_like(means, 0.02) * rng.uniform(0.9, 1.1)


def figures(low: Any, means: Any, scales: Any) -> dict[str, float]:
    """Those of an image that is one window."""
    (row,) = look(low, means, scales, low.shape[1:]).rows
    return row


def rows(seeds: Any, **how: Any) -> list[dict[str, float]]:
    return [figures(*scene(seed, **how)) for seed in seeds]


@pytest.fixture(scope="module")
def known() -> Familiar:
    found = familiar(WINDOW, rows(range(200)), np.random.default_rng(0).random(10_000))
    assert found is not None
    return found


@given(shape=st.lists(st.integers(1, 200), min_size=2, max_size=3), size=st.integers(1, 70))
def test_windows_cover_every_pixel_and_stay_within(shape: list[int], size: int) -> None:
    seen = np.zeros([min(n, 40) for n in shape], bool)
    for span in windows(seen.shape, [size] * len(shape)):
        assert all(part.stop - part.start == min(size, n) for part, n in zip(span, seen.shape, strict=True))
        seen[span] = True
    assert seen.all()


def test_images_like_those_of_training_are_familiar(known: Familiar) -> None:
    found = verdict(known, rows(range(1000, 1100)), 0.01)
    assert (found.level, found.reasons, found.warnings) == (0, (), ())
    assert found.unlike < 0.06
    assert str(found).startswith("Like the training images: ")


@pytest.mark.parametrize("count", [30, 60, 200])
def test_few_windows_of_training_raise_no_false_alarm(count: int) -> None:
    unlike = []
    for first in range(0, 5000, 1000):
        found = familiar(WINDOW, rows(range(first, first + count)), None)
        assert found is not None
        unlike.append(verdict(found, rows(range(first + 500, first + 600)), None).unlike)
    assert np.mean(unlike) < 0.05


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"noise": 0.4}, "more noise"),
        ({"noise": 0.01}, "less noise"),
        ({"blur": 8}, "coarser structures"),
        ({"blur": 1}, "finer structures"),
    ],
)
def test_what_is_different_is_noticed_and_named(known: Familiar, how: dict[str, float], reason: str) -> None:
    found = verdict(known, rows(range(30), **how), 0.01)
    assert found.level == 2
    assert reason in found.reasons
    assert "Do not rely on" in str(found)


def change(name: str, low: Any, means: Any, scales: Any) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(5)
    if name == "smoothed input":
        return gaussian_filter(low, (0, 1.5, 1.5)), means, scales
    if name == "members contradict each other":
        return low, (means + rng.normal(0, 0.2, means.shape)).astype(np.float32), scales
    if name == "large predicted errors":
        return low, means, 10 * scales
    if name == "saturated":
        return np.minimum(low, np.quantile(low, 0.7)), means, scales
    return low + 1, means + 1, scales  # another normalisation


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("smoothed input", "grain"),
        ("members contradict each other", "disagreement"),
        ("large predicted errors", "predicted errors"),
        ("saturated", "saturated"),
        ("another normalisation", "brighter"),
    ],
)
def test_every_kind_of_failure_is_noticed(known: Familiar, name: str, reason: str) -> None:
    found = verdict(known, [figures(*change(name, *scene(seed))) for seed in range(30)], 0.01)
    assert found.level == 2
    assert any(reason in one for one in found.reasons)


def test_disagreement_alone_raises_the_level(known: Familiar) -> None:
    levels = [verdict(known, rows(range(1000, 1030)), share).level for share in (0.01, 0.05, 0.3)]
    assert levels == [0, 1, 2]


def test_single_networks_and_those_without_scales_are_judged_by_what_they_have() -> None:
    for cut in (lambda low, means, scales: (low, means[:1], scales[:1]), lambda low, means, scales: (low, means, None)):
        found = familiar(WINDOW, [figures(*cut(*scene(seed))) for seed in range(100)], None)
        assert found is not None
        assert found.strong is None
        strange = [figures(*cut(*scene(seed, noise=0.5))) for seed in range(20)]
        assert verdict(found, strange, None).level == 2
        assert "disagree" not in str(verdict(found, strange, None))


def test_channels_are_told_apart() -> None:
    def two(seed: int, noise: float) -> dict[str, float]:
        parts = [scene(seed), scene(seed + 999, noise=noise)]
        low, means, scales = (np.concatenate([a, b], axis=-3) for a, b in zip(*parts, strict=True))
        return figures(low, means, scales)

    found = familiar(WINDOW, [two(seed, 0.1) for seed in range(200)], None)
    assert found is not None
    assert "more noise in channel 1" in verdict(found, [two(seed, 0.5) for seed in range(20)], None).reasons


def test_another_number_of_channels_out_needs_no_noise() -> None:
    low, means, scales = scene(0)
    found = figures(np.concatenate([low, low]), means, scales)
    assert "noise" not in found
    assert "input sharpness 1" in found


@pytest.mark.parametrize("shape", [(40, 56), (33, 35), (5, 31, 20), (1, 7)])
def test_windows_of_a_tile_are_looked_at_as_if_alone(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    low, means = rng.random((1, *shape)).astype(np.float32), rng.random((2, 1, *shape)).astype(np.float32)
    scales = means + 0.1
    window = (4, 16, 16)[-len(shape) :]
    whole = look(low, means, scales, window, every_pixel=True)
    assert whole.spans == windows(shape, window)
    for span, row in zip(whole.spans, whole.rows, strict=True):
        part = (..., *span)
        (alone,) = look(low[part], means[part], scales[part], window, every_pixel=True).rows
        assert alone == pytest.approx(row, rel=1e-4, abs=1e-5)
    thinned = look(low, means, scales, window)
    for name in ("disagreement", "noise"):
        values = [np.mean([row[name] for row in seen.rows if name in row]) for seen in (whole, thinned)]
        assert values[0] == pytest.approx(values[1], rel=0.3)


def test_it_survives_json(known: Familiar) -> None:
    again = Familiar.from_json(json.loads(json.dumps(known.to_json())))
    table = known.table(rows(range(20)))
    np.testing.assert_allclose(again.distance(table), known.distance(table), rtol=1e-3)
    assert (again.window, again.names, again.count) == (known.window, known.names, known.count)


def test_brightness_does_not_depend_on_the_order_of_windows(known: Familiar) -> None:
    some = rows(range(30), noise=0.2)
    assert verdict(known, some, 0.0) == verdict(known, some[::-1], 0.0)


def test_too_few_windows_say_nothing() -> None:
    assert familiar(WINDOW, rows(range(5)), None) is None


def test_constant_windows_have_finite_figures() -> None:
    flat = np.ones((1, 8, 8), np.float32)
    found = figures(flat, flat[None], flat[None])
    assert all(np.isfinite(value) for value in found.values())
    assert set(found) <= set(FIGURES)


def test_what_a_window_cannot_tell_counts_as_usual(known: Familiar) -> None:
    (row,) = rows([0])
    usual = dict(zip(known.names, known.centre, strict=True))
    without = {name: value for name, value in row.items() if name != "grain"}
    np.testing.assert_array_equal(known.table([without]), known.table([row | {"grain": usual["grain"]}]))


def test_a_verdict_prints_its_warnings_last() -> None:
    found = Verdict(1, 0.3, 0.05, reasons=("more noise",), warnings=("Its voxels are large.",))
    assert str(found).endswith("Look at it before you rely on it. Its voxels are large.")
    assert "in 5.0% of the pixels" in str(found)


def test_distances_of_training_are_those_from_all_other_windows() -> None:
    values = np.random.default_rng(0).normal(size=(40, 12))
    off = values - values.mean(0)
    within = np.einsum("ni,ij,nj->n", off, np.linalg.inv(np.cov(values.T, bias=True)), off)
    alone = []
    for number, value in enumerate(values):
        others = np.delete(values, number, 0)
        away = value - others.mean(0)
        alone.append(away @ np.linalg.inv(np.cov(others.T)) @ away)
    np.testing.assert_allclose(_as_if_unseen(within, 40), alone, rtol=1e-9)
