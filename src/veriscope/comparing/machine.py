"""The machine that times were measured on, in words."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from veriscope.cores import available


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, threads of torch and the GPU, where there is one."""
    import torch

    known: dict[str, Any] = {
        "processor": _processor(),
        "cores": available(),
        "threads of torch": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        known["GPU"] = torch.cuda.get_device_name()
    return {**known, "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
