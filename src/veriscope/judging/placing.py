"""Where a result may go, known before long work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from veriscope import saving
from veriscope.errors import OutputError


def check_target(target: Path, suffixes: Sequence[str], overwrite: bool = False, option: str = "") -> None:
    """Raise OutputError where a file, which the user named with `option`, cannot be written: known before long work."""
    given, other = f"{option} {target}".strip(), option or "name"
    if target.suffix.lower() not in suffixes:
        such = f"{option.lstrip('-') or 'result'}{suffixes[0]}"
        raise OutputError(f"{given} is written as {' or '.join(suffixes)}. Give it a name such as {such}.")
    if target.is_dir() or (saving.exists(target) and not overwrite):
        raise OutputError(f"{target} exists already. Choose another {other}, or replace it with --overwrite.")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{given} cannot be written: there is no folder {target.absolute().parent}. Make it first.")
