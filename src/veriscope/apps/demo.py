"""veriscope demo: train, restore and judge on a real image, in minutes."""

from __future__ import annotations


def demo() -> None:
    """Train, restore and judge on a real image.

    Examples:
    veriscope demo
    """
