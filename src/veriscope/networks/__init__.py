"""What a network is: its recipe, its layers, and the ensemble that is trained, saved and loaded.

``build(recipe)`` makes a network; it is loaded on first use, so that recipes can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veriscope.networks.threads import wait_passively

if TYPE_CHECKING:
    from veriscope.networks.network import build

__all__ = ["build"]

wait_passively()  # before torch is loaded


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module 'veriscope.networks' has no attribute '{name}'")
    from veriscope.networks.network import build

    return build
