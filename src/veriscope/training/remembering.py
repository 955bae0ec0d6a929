"""After training: what the images of training look like to the ensemble, so that others can be told apart later."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from veriscope import laplace
from veriscope.familiarity import familiar, look
from veriscope.training.answers import Answers

LARGEST = 2**12  # pixels of a window, about


def remembered(trained: Answers, checked: Answers) -> dict[str, Any] | None:
    """`Familiar` as JSON: windows of patches trained on and of others alike, and disagreement on those others only.

    Patches are looked at in their central half: near the padding at their border networks answer otherwise than within
    an image. None when there are too few windows to say anything.
    """
    seen = trained.centre, checked.centre
    window = window_of(seen[0].low.shape[2:])
    rows = [row for answers in seen for row in _rows(answers, window)]
    others = seen[1]
    disagreement = None
    if others.scales is not None and len(others.means) > 1:
        disagreement = laplace.disagreement(others.means, others.scales)
    known = familiar(window, rows, disagreement)
    return None if known is None else known.to_json()


def window_of(shape: Sequence[int]) -> tuple[int, ...]:
    """A window of the shape given, or half or a quarter of it, ... until it is small."""
    window = tuple(shape)
    while prod(window) > LARGEST:
        window = tuple(-(-size // 2) for size in window)
    return window


def _rows(answers: Answers, window: Sequence[int]) -> list[dict[str, float]]:
    rows = []
    for number, low in enumerate(answers.low):
        scales = None if answers.scales is None else answers.scales[:, number]
        rows += look(low, answers.means[:, number], scales, window).rows
    return rows
