"""Freed memory is kept for the next step, yet never beyond the limit."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from veriscope.training import allocator
with allocator.kept_memory(at_most={limit}) as tidy:
    began = allocator._held()
    blocks = [np.ones(1_000_000) for _ in range(40)]  # 320 MB in pieces
    last = np.ones(1_000_000)  # lies behind them, so that the heap cannot shrink from its end
    del blocks
    kept = allocator._held() - began
    tidy()
    print(kept, allocator._held() - began)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize(("limit", "remains"), [(100_000_000, False), (None, True), (1_000_000_000, True)])
def test_memory_beyond_the_limit_goes_back_between_steps(limit: int | None, remains: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(limit=limit)], capture_output=True, text=True, check=True
    )
    kept, after = map(int, done.stdout.split())
    assert kept > 300e6
    assert (after > 300e6) == remains
