"""An image has a texture of its own, whatever the light: what filters answer beyond the directions of training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from veriscope.textures import IMAGES, Piece, Texture, textures

FILTERS = 12


def answers(image: int, seed: int = 0, odd: float = 0.0) -> Any:
    """(patches, 2 filters): images differ along two directions; `odd` along one that training never sees."""
    ways = np.random.default_rng(99).normal(size=(3, 2 * FILTERS))
    drawn = np.random.default_rng((image, 1)).normal(0, 0.4, 2)
    rng = np.random.default_rng((image, seed, 2))
    logs = drawn @ ways[:2] + odd * ways[2] + rng.normal(0, 0.05, (16, 2 * FILTERS))
    return np.exp(logs)


def learned(images: int, first: int = 0) -> tuple[Texture, ...]:
    pieces = [
        Piece(size, n, 64 >> size, answers(n + first, size), 2 * FILTERS)
        for n in range(images)
        for size in (1, 1, 2, 2)
    ]
    return textures(pieces, 0.02)


@pytest.mark.parametrize("images", [6, 12, 30])
def test_new_images_pass_and_odd_ones_do_not(images: int) -> None:
    largest, smaller = learned(images)
    assert (largest.windows, smaller.windows) == (32, 16)
    fresh = [largest.beyond(answers(1000 + n)) for n in range(100)]
    assert np.mean(np.array(fresh) > largest.threshold) <= 0.08
    assert largest.beyond(answers(5000, odd=0.5)) > largest.threshold


def test_many_images_set_the_threshold_themselves() -> None:
    (one, _) = learned(60)
    fresh = [one.beyond(answers(1000 + n)) for n in range(200)]
    assert np.mean(np.array(fresh) > one.threshold) <= 0.05


def test_few_images_say_nothing() -> None:
    assert learned(IMAGES - 1) == ()


def test_more_of_what_training_images_differ_by_is_nothing_odd() -> None:
    (one, _) = learned(30)
    ways = np.random.default_rng(99).normal(size=(3, 2 * FILTERS))
    brighter = answers(2000) * np.exp(1.0 * ways[0])
    assert one.beyond(brighter) < one.threshold


def test_it_survives_json() -> None:
    (one, _) = learned(10)
    stored = {name: getattr(value, "tolist", lambda v=value: v)() for name, value in asdict(one).items()}
    again, given = Texture.from_json(stored), answers(3000, odd=0.3)
    assert again.beyond(given) == pytest.approx(one.beyond(given))
    assert again.threshold == one.threshold
    stored.pop("faint")
    assert Texture.from_json(stored).faint == 1e-3  # as models have it that do not say
