"""How to restore: the keywords of `restore`, declared once for everything that passes them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, cast

from veriscope.restoring.engines import Precision
from veriscope.restoring.plan import Memory, Pixels
from veriscope.restoring.scaling import Choice

Progress = Callable[[int, int], object]  # voxels done, voxels in all


class Limits(TypedDict, total=False):
    """What restoring may use of the machine; see `restore`."""

    tile: Pixels
    memory: Memory
    device: str | None


class Machine(Limits, total=False):
    """The same, and how exactly it computes."""

    precision: Precision


class Details(TypedDict, total=False):
    """What of an image, and how its predictions are put together; see `restore`."""

    channel: int | None
    planes: bool
    calibrated: bool
    combine: str | None
    precision: Precision


class Settings(Limits, Details, total=False):
    """All of it; see `restore`. For `def judge(..., **settings: Unpack[Settings])`."""

    normalize: Choice
    undo: bool


USUAL: Settings = {
    "tile": None, "memory": None, "device": None, "precision": "auto", "channel": None, "planes": False,
    "calibrated": True, "combine": None, "normalize": "image", "undo": True,
}  # fmt: skip


def complete(settings: Settings) -> Settings:
    """`settings` with the usual value of each that is not among them. Raises TypeError for a name that is none."""
    for name in settings:
        if name not in USUAL:
            raise TypeError(f"got an unexpected keyword argument '{name}'. Restoring takes {', '.join(USUAL)}.")
    return cast(Settings, {**USUAL, **settings})
