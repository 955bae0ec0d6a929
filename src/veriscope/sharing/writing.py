"""Common to all exports: a free place, whole files, and the libraries that only some formats need."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from veriscope import saving
from veriscope.errors import ModelError, OutputError
from veriscope.networks.folder import write_file

NAMES = {"onnx": "ONNX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "yaml": "PyYAML"}


def free(path: str | os.PathLike[str], suffix: str = "", what: str = "") -> Path:
    """`path` once it is known that nothing is there, and its folder is created.

    Raises OutputError where something is, and ModelError for a name without the `suffix` of `what` is written.
    """
    target = Path(path)
    if suffix and target.suffix.lower() != suffix:
        raise ModelError(f"{what} is a {suffix} file. Name it {target}{suffix}.")
    if saving.exists(target):
        raise OutputError(f"'{target}' exists already. Choose another name, or remove it first.")
    with saving.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def write_zip(target: Path, files: Mapping[str, bytes]) -> None:
    """A zip of `files`, contents by name. Raises OutputError."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    write_file(target, packed.getvalue())


def needed(library: str) -> Any:
    """The library. Raises ModelError, saying what to install, where it is missing."""
    try:
        return import_module(library)
    except ImportError as problem:
        raise ModelError(
            f"This needs {NAMES[library]}, which is not installed. Install it: pip install 'veriscope[sharing]'"
        ) from problem
