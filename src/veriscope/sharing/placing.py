"""Where an export goes: written beside, and moved to its name when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from veriscope.errors import OutputError
from veriscope.networks.folder import cannot_write


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` at the end, or vanishes after an error.

    Raises OutputError when there is something at `target` already, or it cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputError(f"'{target}' exists already. Choose another name, or remove it first.")
    beside = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        yield beside
        if target.exists():
            target.rmdir()
        beside.rename(target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        shutil.rmtree(beside, ignore_errors=True)
