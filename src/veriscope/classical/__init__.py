"""What people used before: the methods that networks are compared with.

The modules here are loaded on first use: ``vs.classical.denoise.median(image, 3)`` needs no further import.
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
