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

_ROOMS = ("classical", "networks", "sharing")  # for vs.classical.denoise.median(...)
__all__ = [*_HOME, *_ROOMS]

if TYPE_CHECKING:
    from veriscope import classical as classical
    from veriscope import networks as networks
    from veriscope import sharing as sharing
    from veriscope.comparing.compare import compare as compare
    from veriscope.comparing.judge import judge as judge
    from veriscope.errors import VeriscopeError as VeriscopeError
    from veriscope.images.image import Image as Image
    from veriscope.images.pairing import read_pairs as read_pairs
    from veriscope.images.reading import read_image as read_image
    from veriscope.images.writing import save_image as save_image
    from veriscope.networks.folder import save as save
    from veriscope.networks.recipe import Recipe as Recipe
    from veriscope.patches.cutting import cut_patches as cut_patches
    from veriscope.restoring.restore import restore as restore
    from veriscope.sharing.opening import load as load
    from veriscope.training.loop import train as train
    from veriscope.training.noisy import read_noisy as read_noisy


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"veriscope.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'veriscope' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up does not come here again
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
