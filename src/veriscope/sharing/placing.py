"""Where an export goes: a place where nothing is yet, in a folder that is there."""

from __future__ import annotations

from pathlib import Path

from veriscope import saving
from veriscope.errors import OutputError


def free(target: Path) -> Path:
    """`target` once it is known that nothing is there, and its folder is made. Raises OutputError."""
    if saving.exists(target):
        raise OutputError(f"'{target}' exists already. Choose another name, or remove it first.")
    with saving.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target
