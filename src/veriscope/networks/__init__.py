"""What a network is: its recipe, its layers, and the ensemble that is trained, saved and loaded.

``build(recipe)`` makes a network; it is loaded on first use, so that recipes can be read without torch.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriscope.networks.network import build

__all__ = ["build"]

if "torch" not in sys.modules:  # which reads them: threads that wait sleep instead of spinning ...
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # ... and large blocks of memory come in large pages (Linux)


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module 'veriscope.networks' has no attribute '{name}'")
    from veriscope.networks.network import build

    return build
