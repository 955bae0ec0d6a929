"""Models from and for other programs: one module a format, loaded on first use, as in ``vs.sharing.csbdeep.read``.

Nothing that comes in is executed or unpickled: HDF5, JSON, safetensors and ONNX are read as data, everything else is
refused.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __dir__():
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    return sorted(module.name for module in iter_modules(__path__))
