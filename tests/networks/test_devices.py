"""Devices are found or refused with the way out, and all ways to say "out of memory" are understood."""

from __future__ import annotations

import pytest
import torch

from veriscope.errors import DeviceError
from veriscope.networks import devices


def test_the_cpu_is_always_there() -> None:
    assert devices.choose("cpu") == torch.device("cpu")
    assert 10**6 < devices.free_memory(torch.device("cpu")) < 2**50


def test_a_gpu_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose(None) == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose(None) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "toaster:1"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(DeviceError, match=f"no device called '{name}'. Use cpu, cuda"):
        devices.choose(name)


def test_absent_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=r"2 CUDA GPUs \(cuda:0 to cuda:1\)"):
        devices.choose("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        devices.choose("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="Macs"):
        devices.choose("mps")
    with pytest.raises(DeviceError, match="cannot be used here"):
        devices.choose("meta")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_in_all_its_words(problem: Exception, expected: bool) -> None:
    assert devices.is_out_of_memory(problem) is expected


def test_torch_really_says_so() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float32)
    assert devices.is_out_of_memory(caught.value)
