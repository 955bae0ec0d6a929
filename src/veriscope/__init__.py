"""Restore fluorescence microscopy images with content-aware networks, and see how far to trust the result.

The names below are loaded on first use, so that ``import veriscope`` stays fast and does not need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veriscope.version import __version__ as __version__

_HOME = {
    "Image": "veriscope.images.image",
    "read_image": "veriscope.images.reading",
    "save_image": "veriscope.images.writing",
    "read_pairs": "veriscope.images.pairing",
    "read_noisy": "veriscope.training.noisy",
    "cut_patches": "veriscope.patches.cutting",
    "Recipe": "veriscope.networks.recipe",
    "train": "veriscope.training.loop",
    "restore": "veriscope.restoring.restore",
    "judge": "veriscope.comparing.judge",
    "compare": "veriscope.comparing.compare",
    "save": "veriscope.networks.folder",
    "load": "veriscope.sharing.opening",
    "VeriscopeError": "veriscope.errors",
}

__all__ = [  # noqa: RUF022 - in the order of the work
    "Image",
    "read_image",
    "save_image",
    "read_pairs",
    "read_noisy",
    "cut_patches",
    "Recipe",
    "train",
    "restore",
    "judge",
    "compare",
    "save",
    "load",
    "VeriscopeError",
    "classical",
    "networks",
    "sharing",
]

if TYPE_CHECKING:
    from veriscope import classical, networks, sharing
    from veriscope.comparing.compare import compare
    from veriscope.comparing.judge import judge
    from veriscope.errors import VeriscopeError
    from veriscope.images.image import Image
    from veriscope.images.pairing import read_pairs
    from veriscope.images.reading import read_image
    from veriscope.images.writing import save_image
    from veriscope.networks.folder import save
    from veriscope.networks.recipe import Recipe
    from veriscope.patches.cutting import cut_patches
    from veriscope.restoring.restore import restore
    from veriscope.sharing.opening import load
    from veriscope.training.loop import train
    from veriscope.training.noisy import read_noisy


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("classical", "networks", "sharing"):  # rooms of their own, for vs.classical.denoise.median(...)
        return import_module(f"veriscope.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'veriscope' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up does not come here again
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
