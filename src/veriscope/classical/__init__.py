"""What people used before: the methods that networks are compared with.

The modules here are loaded on first use: ``vs.classical.denoise.median(image, 3)`` needs no further import.
"""

from __future__ import annotations

from typing import Any

_OBJECTS = ("segment", "pixels")  # modules of another room, under the names that they had here


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __dir__():
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(f"veriscope.objects.{name}" if name in _OBJECTS else f"{__name__}.{name}")


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    return sorted([*_OBJECTS, *(module.name for module in iter_modules(__path__))])
