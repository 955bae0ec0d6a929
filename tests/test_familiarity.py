from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from veriscope.familiarity import (
    ALARMS,
    TOO_LITTLE,
    TOO_SMALL,
    Familiar,
    Verdict,
    familiar,
    verdict,
    with_error,
)
from veriscope.looking import FIGURES, FURTHER, NEAR, Look, look
from veriscope.textures import NAME, Piece
from veriscope.tiling import windows

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


def piece(image: int, count: int = 30, make: Any = figures, **how: Any) -> Look:
    """An image of so many windows; images differ in their noise and in what is seen."""
    rng = np.random.default_rng(image)
    how = {"noise": 0.1 * np.exp(rng.normal(0, 0.1)), "blur": 3 * np.exp(rng.normal(0, 0.05)), **how}
    spans = [(slice(0, 32), slice(0, 32))] * count
    return Look(spans, [make(*scene(1000 * image + n, **how)) for n in range(count)], rng.random((1, 40, 40)))


def looks(images: Any, **how: Any) -> list[tuple[int, int, bool, Look]]:
    """Every image as a whole, and two crops of a quarter of its size."""
    found = []
    for image in images:
        found.append((0, image, image % 2 == 0, piece(image, **how)))
        for number in (1, 2):
            crop = piece(image, **how)
            found.append(
                (1, image, image % 2 == 0, Look(crop.spans[:8], crop.rows[8 * number :][:8], crop.disagreement))
            )
    return found


def learned(images: Any = range(40), **how: Any) -> Familiar:
    found = familiar(WINDOW, looks(images, **how))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def known() -> Familiar:
    return learned()


@given(shape=st.lists(st.integers(1, 200), min_size=2, max_size=3), size=st.integers(1, 70))
def test_windows_cover_every_pixel_and_stay_within(shape: list[int], size: int) -> None:
    seen = np.zeros([min(n, 40) for n in shape], bool)
    for span in windows(seen.shape, [size] * len(shape)):
        assert all(part.stop - part.start == min(size, n) for part, n in zip(span, seen.shape, strict=True))
        seen[span] = True
    assert seen.all()


def test_images_like_those_of_training_are_familiar(known: Familiar) -> None:
    found = verdict(known, piece(1001).rows, 0.01)
    assert (found.level, found.reasons, found.warnings) == (0, (), ())
    assert found.unlike < 0.06
    assert str(found) == "Like the training images."


@pytest.mark.parametrize(("images", "allowed"), [(5, 0.05), (12, 0.05), (40, 0.05)])
def test_false_alarms_are_as_rare_as_promised(images: int, allowed: float) -> None:
    alarms = []
    for first in (0, 200, 400):
        found = learned(range(first, first + images))
        for number in range(30):
            fresh = piece(5000 + first + number)
            alarms += [verdict(found, fresh.rows, 0.01).level > 0, verdict(found, fresh.rows[:8], 0.01).level > 0]
    assert np.mean(alarms) <= allowed
    assert allowed >= ALARMS


def test_an_image_is_compared_with_pieces_of_its_size(known: Familiar) -> None:
    whole, crop = known.sizes
    assert (whole.windows, crop.windows) == (30, 8)
    assert verdict(known, piece(1001).rows[:3], 0.01).unknown == TOO_SMALL
    assert verdict(known, piece(1001).rows[:6], 0.01).unknown == ""


def test_those_who_know_two_images_only_say_that_they_cannot_tell() -> None:
    found = verdict(learned(range(2)), piece(50, noise=0.5).rows, 0.01)
    assert (found.level, found.score, str(found)) == (0, None, TOO_LITTLE)


def test_less_saturation_than_in_training_raises_no_alarm(known: Familiar) -> None:
    fresh = [{**row, "saturation": np.log(1e-3), "blackness": np.log(1e-3)} for row in piece(1001).rows]
    assert verdict(known, fresh, 0.0).level == 0


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
    levels = [verdict(known, piece(1001).rows, fraction).level for fraction in (0.01, 0.5)]
    assert levels[0] == 0
    assert levels[1] > 0


def test_single_networks_and_those_without_scales_are_judged_by_what_they_have() -> None:
    for cut in (lambda low, means, scales: (low, means[:1], scales[:1]), lambda low, means, scales: (low, means, None)):

        def alone(low: Any, means: Any, scales: Any, cut: Any = cut) -> dict[str, float]:
            return figures(*cut(low, means, scales))

        seen = [(*one[:3], Look(one[3].spans, one[3].rows, None)) for one in looks(range(20), make=alone)]
        found = familiar(WINDOW, seen)
        assert found is not None
        assert found.strong is None
        strange = verdict(found, piece(99, make=alone, noise=0.5).rows, None)
        assert strange.level == 2
        assert "disagree" not in str(strange)


def test_channels_are_told_apart() -> None:
    def two(seed: int, noise: float) -> dict[str, float]:
        parts = [scene(seed), scene(seed + 999, noise=noise)]
        low, means, scales = (np.concatenate([a, b], axis=-3) for a, b in zip(*parts, strict=True))
        return figures(low, means, scales)

    def image(number: int, noise: float = 0.1) -> Look:
        noise *= np.exp(np.random.default_rng(number).normal(0, 0.1))
        return Look([()] * 20, [two(100 * number + n, noise) for n in range(20)], None)

    found = familiar(WINDOW, [(0, number, False, image(number)) for number in range(12)])
    assert found is not None
    assert "more noise in channel 1" in verdict(found, image(50, 0.5).rows, None).reasons


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
        assert alone | {"seam": row["seam"]} == pytest.approx(row, rel=1e-4, abs=1e-5)  # that is one of the tile
    thinned = look(low, means, scales, window)
    for name in ("disagreement", "noise"):
        values = [np.mean([row[name] for row in seen.rows if name in row]) for seen in (whole, thinned)]
        assert values[0] == pytest.approx(values[1], rel=0.3)


def test_an_odd_texture_raises_the_level_and_is_named() -> None:
    rng = np.random.default_rng(0)

    def answers(seed: int, odd: float = 0.0) -> Any:
        drawn = np.random.default_rng(seed).normal(0, 0.3)
        return np.exp(drawn + odd * np.arange(16) + rng.normal(0, 0.02, (9, 16)))

    pieces = [Piece(1, image, 8, answers(image), 16) for image in range(12)]
    found = familiar(WINDOW, looks(range(12)), pieces)
    assert found is not None
    fresh = piece(1001).rows
    assert verdict(found, fresh, 0.01, answers=answers(50)).level == 0
    odd = verdict(found, fresh, 0.01, answers=answers(50, 0.05))
    assert odd.level == 2
    assert odd.reasons == (NAME,)


def test_it_survives_json(known: Familiar) -> None:
    again = Familiar.from_json(json.loads(json.dumps(known.to_json())))
    table = known.table(rows(range(20)))
    np.testing.assert_allclose(again.distance(table), known.distance(table), rtol=1e-3)
    assert (again.window, again.names, again.count) == (known.window, known.names, known.count)
    assert verdict(again, rows(range(30), noise=0.4), 0.01).level == 2


def test_models_of_before_give_the_verdict_of_before() -> None:
    """They know neither figures of the image as a whole, nor textures; what is measured besides changes nothing."""
    later = ("near", "further", "seam", "curvature", "residue")

    def plain(*scene: Any) -> dict[str, float]:
        return {name: value for name, value in figures(*scene).items() if name not in later}

    stored = learned(range(12), make=plain).to_json()
    del stored["whole"], stored["textures"]
    old = Familiar.from_json(json.loads(json.dumps(stored)))
    assert (old.whole, old.textures) == ((), ())
    for how in ({}, {"noise": 0.3}, {"blur": 5}):
        now, then = (verdict(old, piece(77, make=make, **how).rows, 0.01) for make in (figures, plain))
        assert now == then


def test_brightness_does_not_depend_on_the_order_of_windows(known: Familiar) -> None:
    some = rows(range(30), noise=0.2)
    assert verdict(known, some, 0.0) == verdict(known, some[::-1], 0.0)


def test_too_few_windows_say_nothing() -> None:
    assert familiar(WINDOW, [(0, 0, True, Look([], rows(range(5)), None))]) is None


def test_constant_windows_have_finite_figures() -> None:
    flat = np.ones((1, 8, 8), np.float32)
    found = figures(flat, flat[None], flat[None])
    assert all(np.isfinite(value) for value in found.values())
    assert set(found) <= {*FIGURES, NEAR[0], FURTHER[0]}


def test_what_a_window_cannot_tell_counts_as_usual(known: Familiar) -> None:
    (row,) = rows([0])
    usual = dict(zip(known.names, known.centre, strict=True))
    without = {name: value for name, value in row.items() if name != "grain"}
    np.testing.assert_array_equal(known.table([without]), known.table([row | {"grain": usual["grain"]}]))


def test_a_verdict_prints_its_warnings_last() -> None:
    found = Verdict(1, 0.3, 0.05, 1.2, reasons=("more noise",), warnings=("Its voxels are large.",))
    assert str(found) == (
        "Partly unlike the training images: it has more noise. Check it before you rely on it. Its voxels are large."
    )


def test_an_expected_error_beyond_those_of_training_raises_the_level(known: Familiar) -> None:
    usual = verdict(known, piece(1001).rows, 0.01)
    assert with_error(usual, 1.2) == usual
    doubtful, wrong = with_error(usual, 1.8), with_error(usual, 3.0)
    assert (usual.level, doubtful.level, wrong.level) == (0, 1, 2)
    assert "it has an expected error 3.0 times that of any training image. Do not rely" in str(wrong)
    small = verdict(known, piece(1001).rows[:3], 0.01)
    assert str(with_error(small, 1.8)).startswith("Partly unlike the training images")
