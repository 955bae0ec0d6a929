"""Where an export goes: written beside, and moved to its name when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from veriscope.errors import OutputError
from veriscope.networks.folder import cannot_write


def free(target: Path) -> Path:
    """`target` once it is known that nothing is there, and that its folder can be made. Raises OutputError."""
    if target.exists():
        raise OutputError(f"'{target}' exists already. Choose another name, or remove it first.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    return target


@contextmanager
def appearing(target: Path, keep: bool = True) -> Iterator[Path]:
    """An empty folder that becomes `target` at the end, or vanishes after an error, or anyway unless `keep`.

    Raises OutputError when there is something at `target` already, or it cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputError(f"'{target}' exists already. Choose another name, or remove it first.")
    beside = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        yield beside
        if keep:
            if target.exists():
                target.rmdir()
            beside.rename(target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        shutil.rmtree(beside, ignore_errors=True)
