"""Sizes in words."""

from __future__ import annotations

from collections.abc import Iterable


def times(lengths: Iterable[object]) -> str:
    """Lengths along several axes: 16 x 64 x 64."""
    return " x ".join(map(str, lengths))
