"""Keep freed memory in the process while networks run on a CPU: every layer and step needs the same large blocks again.

By default glibc gives each large block back to the system when it is freed and gets it anew, page by page, in the
next step. What that costs varies, up to a fifth; benchmarks/training.py measures it. Kept memory falls to pieces over
hundreds of tiles, so what is held beyond a limit goes back to the system between them.
Nothing happens on other systems.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_ALWAYS_KEEP = 2**31 - 1
_LARGE = 2**30
_USUAL = 2**17
_MEMORY_NOW = Path("/proc/self/statm")


@contextmanager
def kept_memory(wanted: bool = True, at_most: int | None = None) -> Iterator[Callable[[], None]]:
    """Within the context blocks up to 1 GB are kept for the next step; afterwards they go back to the system.

    Gives a function to call between the steps: it hands free blocks back when the process has grown by more than
    `at_most` bytes since the context began.
    """
    libc = _glibc() if wanted else None
    if libc is None:
        yield lambda: None
        return
    began = _held()

    def tidy() -> None:
        if at_most is not None and _held() - began > at_most:
            libc.malloc_trim(0)

    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_TRIM_THRESHOLD, _ALWAYS_KEEP)
    try:
        yield tidy
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL)
        libc.malloc_trim(0)


def _held() -> int:
    """Bytes of memory that this process holds now."""
    return int(_MEMORY_NOW.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # on other systems
        return None
    return libc if hasattr(libc, "malloc_trim") else None
