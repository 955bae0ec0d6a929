"""Changed images are recognised by what the change does to images of training, where no figure by itself shows it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

from veriscope.changes import FADED, FAINT, WAYS, Changes, described, fit, photographs
from veriscope.textures import Piece

BLUR, SMALLER, LARGER, DARKER, FADING = WAYS
FILTERS, PATCHES, ALARMS = 6, 16, 0.004
SHIFT = np.array([1.2, -1.2, 0, 0, 0, 0])  # less than images differ by, but not in this direction


def answers(image: int, shift: Any = 0.0, seed: int = 0, patches: int = PATCHES) -> Any:
    """(patches, filters): two that go together from image to image, and four that say nothing."""
    rng = np.random.default_rng((image, 1))
    kind = rng.normal(0, 1)
    own = np.array([kind, kind + rng.normal(0, 0.1), *rng.normal(0, 1, FILTERS - 2)])
    return np.exp(own + shift + np.random.default_rng((image, seed)).normal(0, 0.1, (patches, FILTERS))) - FAINT


def learned(images: int = 30, shift: Any = SHIFT) -> Changes | None:
    usual = {n: np.array([described(answers(n, seed=view)) for view in (0, 1)]) for n in range(images)}
    shifts = [described(answers(n, shift)) - described(answers(n)) for n in range(min(images, 6))]
    pieces = [Piece(0, n, 64, answers(n), FILTERS) for n in range(images)]
    pieces += [Piece(1, n, 16, answers(n, seed=3 + k, patches=4), FILTERS) for n in range(images) for k in (0, 1)]
    return fit(usual, {BLUR: shifts, SMALLER: []}, pieces, ALARMS)


def alarms(known: Changes, images: range, shift: Any = 0.0, size: int = 0) -> float:
    seen = (answers(n, shift, seed=7, patches=(PATCHES, 4)[size]) for n in images)
    return float(np.mean([known.scores(one, known.sizes[size])[BLUR] > 1 for one in seen]))


def test_a_change_is_seen_that_no_figure_shows_by_itself() -> None:
    usual, wrong = (np.array([described(answers(n, by)) for n in range(500, 700)]) for by in (0, SHIFT))
    assert (np.abs(wrong - usual.mean(0)) < 4 * usual.std(0)).all(1).mean() > 0.9
    known = learned()
    assert known is not None
    assert alarms(known, range(500, 700), SHIFT) > 0.95


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("images", [6, 12, 30])
def test_images_and_crops_like_those_of_training_hardly_ever_look_changed(images: int, size: int) -> None:
    known = learned(images, 9 * SHIFT)
    assert known is not None
    assert alarms(known, range(1000, 2000), size=size) <= 0.02


def test_no_image_of_training_looks_changed_to_the_others() -> None:
    known = learned()
    assert known is not None
    assert alarms(known, range(30)) == 0


def test_a_change_that_cannot_be_seen_is_not_looked_for() -> None:
    assert learned(30, 0.01 * SHIFT) is None


def test_too_few_images_say_nothing() -> None:
    assert learned(4) is None


def test_it_survives_json() -> None:
    known = learned()
    assert known is not None
    again = Changes.from_json(json.loads(json.dumps(asdict(known), default=lambda array: array.tolist())))
    for one, other in zip(known.sizes, again.sizes, strict=True):
        assert again.scores(answers(1), other) == pytest.approx(known.scores(answers(1), one))


@pytest.mark.parametrize("broken", [{"centre": [0.0]}, {"directions": {}}, {"sizes": [{"windows": 3}]}])
def test_what_is_stored_wrongly_is_refused(broken: dict[str, Any]) -> None:
    known = learned()
    assert known is not None
    stored = json.loads(json.dumps(asdict(known), default=lambda array: array.tolist()))
    with pytest.raises((KeyError, ValueError)):
        Changes.from_json({**stored, **broken})


def test_photographs_hold_the_light_and_the_noise_that_goes_with_it() -> None:
    rng = np.random.default_rng(0)
    high = gaussian_filter(rng.random((1, 128, 129)), (0, 2, 2))
    light = 100 + 900 * (high - high.min()) / np.ptp(high)
    low = rng.poisson(light).astype(np.float32)
    taken = dict(photographs(low, high.astype(np.float32), rng))
    assert [*taken] == ["", *WAYS]
    middle = zoom(light[..., 32:96, 32:97], (1, 2, 2), order=1)[..., :128, :129]
    darker = light.min() + 0.1 * (light - light.min())
    halves = uniform_filter(light[..., :128], (0, 2, 2), origin=(0, -1, -1))[..., ::2, ::2]
    seen = {"": light, SMALLER: halves, LARGER: middle, DARKER: darker}
    for image, expected in ((taken[name], one) for name, one in seen.items()):
        noise = image - expected
        assert image.dtype == np.float32
        if image.shape == low.shape:
            assert np.corrcoef(noise.ravel(), (low - light).ravel())[0, 1] == pytest.approx(0, abs=0.03)
        for inside in (expected < np.quantile(expected, 0.3), expected > np.quantile(expected, 0.7)):
            assert noise[inside].mean() == pytest.approx(0, abs=3)
            assert noise[inside].std() == pytest.approx(np.sqrt(expected[inside].mean()), rel=0.2)
    left = gaussian_filter(taken[FADING] - light.min(), (0, 9, 9)) / gaussian_filter(light - light.min(), (0, 9, 9))
    assert (left.min(), left.max()) == pytest.approx((FADED, 1), abs=0.15)
    steps = [np.diff(left[0, 20:-20, 20:-20], axis=axis).mean() for axis in (0, 1)]
    assert np.hypot(*steps) > 0.5 * (1 - FADED) / np.hypot(*left.shape[1:])  # from one end to the other
    smooth = gaussian_filter(taken[BLUR] - taken[BLUR].mean(), (0, 3, 3))
    assert smooth.std() < 0.9 * gaussian_filter(light - light.mean(), (0, 3, 3)).std()


def test_an_image_is_described_by_what_its_patches_answer_and_how_they_differ() -> None:
    found = described(np.array([[1.0, 2.0], [3.0, 2.0]]) - FAINT)
    np.testing.assert_allclose(found[:2], [np.log(3) / 2, np.log(2)])
    assert found[2] > found[3]
