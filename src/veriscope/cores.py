"""How many cores of the processor this process may use."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path


def available() -> int:
    """Cores that this process may use: those it is bound to, and no more than the quota of its container (cgroup)."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return bound if quota is None else max(1, min(bound, ceil(quota)))


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that this process and its container may use; None where nothing limits it."""
    limits = []
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: of each group up to the root
            place = root / path.lstrip("/")
            for folder in (place, *place.parents):
                limits.append(_text(folder / "cpu.max").split())
                if folder == root:
                    break
        elif "cpu" in controllers.split(","):
            for folder in {root / "cpu" / path.lstrip("/"), root / "cpu"}:
                limits += [[_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]]
    known = [pair for pair in limits if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() and int(pair[1])]
    return min((int(quota) / int(period) for quota, period in known), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
