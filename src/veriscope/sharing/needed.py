"""Libraries that only some formats need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from veriscope.errors import ModelError

NAMES = {"onnx": "ONNX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def needed(library: str) -> Any:
    """The library. Raises ModelError, saying what to install, where it is missing."""
    try:
        return import_module(library)
    except ImportError as problem:
        raise ModelError(
            f"{NAMES[library]} is not installed, and this needs it. Install it: pip install 'veriscope[sharing]'"
        ) from problem
