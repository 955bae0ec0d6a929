"""A result appears whole or not at all: written beside its place under another name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from veriscope.errors import OutputError


def place(data: bytes, target: Path, what: str) -> None:
    """Put a file of `data` at `target`, in place of one that is there.

    Raises OutputError when the system refuses, with `what` it is ("report"); nothing is left behind then.
    """
    beside = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
        ) as file:
            beside = Path(file.name)
            file.write(data)
        beside.chmod(0o666 & ~_umask())
        beside.replace(target)
    except BaseException as problem:
        if beside is not None:
            beside.unlink(missing_ok=True)
        if not isinstance(problem, OSError):
            raise
        raise OutputError(
            f"The {what} {target} cannot be written: {problem.strerror or problem}. "
            f"Choose a folder that exists, may be written to, and has room for {len(data) / 1e6:.1f} MB."
        ) from problem


def check_target(target: Path, suffixes: Sequence[str], overwrite: bool = False, option: str = "") -> None:
    """Raise OutputError where a file, which the user named with `option`, cannot be written: known before long work."""
    given, other = f"{option} {target}".strip(), option or "name"
    if target.suffix.lower() not in suffixes:
        such = f"{option.lstrip('-') or 'result'}{suffixes[0]}"
        raise OutputError(f"{given} is written as {' or '.join(suffixes)}. Give it a name such as {such}.")
    if target.is_dir() or (target.exists() and not overwrite):
        raise OutputError(f"{target} exists already. Choose another {other}, or replace it with --overwrite.")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{given} cannot be written: there is no folder {target.absolute().parent}. Make it first.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
