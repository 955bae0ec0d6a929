"""What veriscope segment tells of its scores: tables to read, and every figure for spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriscope.objects.overlaps import Scores
    from veriscope.objects.tracking import Followed

SCORED = ["image", "objects", "SEG", "ERROR", "precision", "recall", "AP"]
FOLLOWED = ["image", "cells", "frames followed", "to the end", "recall", "precision"]


@dataclass(frozen=True)
class Outcome:
    """How well the objects of one image agree with the true ones."""

    name: str
    scores: Scores
    followed: Followed | None  # through the movie

    def row(self) -> list[str]:
        """As SCORED names them."""
        one = self.scores
        shares = one.seg, one.error, one.precision, one.recall, one.average_precision
        return [self.name, f"{one.found} of {one.truth}", *map(_told, shares)]

    def followed_row(self) -> list[str]:
        """As FOLLOWED names them; nothing where there is no time."""
        one = self.followed
        if one is None:
            return []
        kept = "-" if one.cells == 0 else f"{one.frames:.1f} of {one.possible:.1f}"
        return [self.name, str(one.cells), kept, *map(_told, (one.to_the_end, one.recall, one.precision))]

    def facts(self) -> dict[str, str]:
        """Every figure by its name, for spreadsheets."""
        told = {"image": self.name, **_plain(asdict(self.scores))}
        if self.followed is not None:
            told |= _plain({f"tracks_{name}": value for name, value in asdict(self.followed).items()})
        return told


def table_of(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """All figures of all images, as a table with a heading, for spreadsheets."""
    return [list(outcomes[0].facts()), *[list(one.facts().values()) for one in outcomes]]


def _plain(figures: Mapping[str, Any]) -> dict[str, str]:
    """Numbers as text; lists of numbers, such as one for each frame, are left out."""
    kept = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
    return {name: str(value) if isinstance(value, int) else f"{value:.6g}" for name, value in kept.items()}


def _told(share: float) -> str:
    return "-" if share != share else f"{share:.3f}"
