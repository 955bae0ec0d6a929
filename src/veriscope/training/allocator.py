"""Keep freed memory in the process while training on a CPU: every step needs the same large blocks again.

By default glibc gives each large block back to the system when it is freed and gets it anew, page by page, in the
next step. What that costs varies, up to a fifth; benchmarks/training.py measures it.
Nothing happens on other systems.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_ALWAYS_KEEP = 2**31 - 1
_LARGE = 2**30
_USUAL = 2**17


@contextmanager
def kept_memory(wanted: bool = True) -> Iterator[None]:
    """Within the context blocks up to 1 GB are kept for the next step; afterwards they go back to the system."""
    libc = _glibc() if wanted else None
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_TRIM_THRESHOLD, _ALWAYS_KEEP)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
