"""What a benchmark says of itself: machine, date, commit, and the speed of a large matrix product."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path


def matrix_peak(dtype: str = "float32", size: int = 3072) -> float:
    """GFLOP/s of a product of two `size` x `size` matrices: the fastest of five."""
    import torch

    a = torch.rand(size, size).to(getattr(torch, dtype))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def commit() -> str:
    """Short hash of the checked-out commit, with a + where files differ from it."""
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def processor() -> str:
    """Name of the processor and number of cores."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def header(title: str) -> str:
    """The first lines of every benchmark's output."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{title}\n"
        f"commit {commit()}, {datetime.date.today()}, {processor()}{gpu}, torch {torch.__version__}\n"
        f"matrix product: {matrix_peak():.0f} GFLOP/s float32, {matrix_peak('bfloat16'):.0f} GFLOP/s bfloat16"
    )
