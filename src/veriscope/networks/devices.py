"""Where networks run: which device, how much memory it has free, and how it says that this was not enough."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from veriscope.errors import DeviceError
from veriscope.wording import counted


def choose(name: str | torch.device | None = None) -> torch.device:
    """The device called "cpu", "cuda", "cuda:1" or "mps"; None is the first GPU if there is one, else the CPU.

    Raises DeviceError for names that torch does not know and for devices that are absent.
    """
    if name is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise DeviceError(f"There is no device called '{name}'. Use cpu, cuda, cuda:1 or mps.") from problem
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"{counted(count, 'CUDA GPU')} (cuda:0 to cuda:{count - 1})" if count else "no CUDA GPU"
            raise DeviceError(f"The device '{name}' is not here: torch sees {found}. Remove the device, or use cpu.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("The device 'mps' is not here: it exists on Macs with Apple chips. Use cpu instead.")
        return device
    if device.type != "cpu":
        raise DeviceError(f"The device '{name}' cannot be used here. Use cpu, cuda, cuda:1 or mps.")
    return torch.device("cpu")


def fast_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware, at about twice the rate of float32 or more."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def free_memory(device: torch.device) -> int:
    """Bytes that `device` could still hand out."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    return _free_of_machine()


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether `problem` says that memory was short, in the words of Python, NumPy, or torch on any device."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(problem).lower()
    known = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "cudnn_status_alloc_failed")
    return isinstance(problem, RuntimeError) and any(word in words for word in known)


def release(device: torch.device) -> None:
    """Give back what torch keeps for later, so that a smaller tile finds room."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _free_of_machine() -> int:
    """Free memory of this computer, or of the container it runs in where that allows less."""
    free = []
    with suppress(OSError):
        known = re.search(r"^MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
        free = [int(known[1]) * 1024] if known else []
    if not free:  # no Linux: half of what the machine has
        try:
            free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
        except (AttributeError, ValueError, OSError):
            free = [4 * 10**9]
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        (group / "memory.max", group / "memory.current"),
        (group / "memory" / "memory.limit_in_bytes", group / "memory" / "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such limit, or "max"
            free.append(int(limit.read_text()) - int(used.read_text()))
    return max(min(free), 0)
