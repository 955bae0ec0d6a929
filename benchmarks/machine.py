"""What a benchmark says of itself: machine, date, commit, the speed of a large matrix product and of a convolution."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def matrix_peak(dtype: str = "float32", size: int = 3072) -> float:
    """GFLOP/s of a product of two `size` x `size` matrices: the fastest of five."""
    import torch

    a = torch.rand(size, size).to(getattr(torch, dtype))
    return 2 * size**3 / _fastest(lambda: a @ a) / 1e9


def convolution_peak(dtype: str = "float32") -> float:
    """GFLOP/s of a 3D convolution from 64 channels to 64, kernel 3: libraries of matrix products do not suit all
    processors, and then that of convolutions is nearer to what the processor can do.
    """
    import torch

    kind = getattr(torch, dtype)
    layer = torch.nn.Conv3d(64, 64, 3, padding=1).to(kind, memory_format=torch.channels_last_3d)
    image = torch.rand(1, 64, 16, 96, 96).to(kind, memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return 2 * layer.weight.numel() * image[0, 0].numel() / _fastest(lambda: layer(image)) / 1e9


def _fastest(work: Callable[[], object]) -> float:
    """Seconds: the fastest of five, after one that warms up."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


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
        f"matrix product: {matrix_peak():.0f} GFLOP/s float32, {matrix_peak('bfloat16'):.0f} GFLOP/s bfloat16; "
        f"convolution: {convolution_peak():.0f} and {convolution_peak('bfloat16'):.0f}"
    )
