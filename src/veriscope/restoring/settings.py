"""How to restore: the keywords of `restore`, declared once for everything that passes them on."""

from __future__ import annotations

from typing import TypedDict

from veriscope.restoring.plan import Memory, Pixels
from veriscope.restoring.scaling import Choice


class Limits(TypedDict, total=False):
    """What restoring may use of the machine; see `restore`."""

    tile: Pixels
    memory: Memory
    device: str | None


class Settings(Limits, total=False):
    """All of it; see `restore`. For `def judge(..., **settings: Unpack[Settings])`."""

    normalize: Choice
    undo: bool
    channel: int | None
    planes: bool
    calibrated: bool
    combine: str | None
