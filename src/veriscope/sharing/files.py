"""Files of all formats: on the way out a free place and whole files, on the way in zip files, read as data.

Of zip files from other programs there is no path out of them, no bombs, and every file is checked by its hash.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from veriscope import saving
from veriscope.errors import ModelError, OutputError
from veriscope.networks.folder import DESCRIPTION, write_file

NAMES = {"onnx": "ONNX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "yaml": "PyYAML"}
FILES = 1000
GROWS = 200  # times that contents may be larger than the packed file; weights hardly shrink at all
SMALL = 2**20  # bytes that any file may have
LARGEST = 8 * 2**30


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


def needed(library: str) -> Any:
    """The library. Raises ModelError, saying what to install, where it is missing."""
    try:
        return import_module(library)
    except ImportError as problem:
        raise ModelError(
            f"This needs {NAMES[library]}, which is not installed. Install it: pip install 'veriscope[sharing]'"
        ) from problem


def is_own(name: str) -> bool:
    """Whether veriscope itself loads the model from the file `name` of a package."""
    return name == DESCRIPTION or name.endswith(".safetensors")


def write_zip(target: Path, files: Mapping[str, bytes]) -> None:
    """A zip of `files`, contents by name. Raises OutputError."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    write_file(target, packed.getvalue())


@contextmanager
def opened(path: Path) -> Iterator[Zipped]:
    """The zip file at `path`. Raises ModelError where there is none, or it is hostile or damaged."""
    if not path.is_file():
        raise ModelError(f"There is no package '{path}'. Check the path.")
    try:
        packed = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as problem:
        raise ModelError(f"'{path}' is not a zip file, or is damaged ({problem}). Get it again.") from problem
    with packed:
        yield Zipped(packed, path)


class Zipped:
    """The files of a zip by their names."""

    def __init__(self, packed: zipfile.ZipFile, path: Path) -> None:
        self.packed, self.path = packed, path
        infos = packed.infolist()
        if len(infos) > FILES:
            raise ModelError(f"'{path}' holds {len(infos):,} files, more than any model. It is not opened.")
        self.infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename.replace("\\", "/")
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or (parts and ":" in parts[0]) or "\0" in name:
                raise ModelError(f"'{path}' holds a file that lies outside of it ('{name[:80]}'). It is not opened.")
            if name in self.infos:
                raise ModelError(f"'{path}' holds '{name[:80]}' twice, which is ambiguous. It is not opened.")
            self.infos[name] = info

    def read(self, name: str, sha256: object = None, most: int = LARGEST) -> bytes:
        """The contents of a file of up to `most` bytes, checked against `sha256` where that is given."""
        info = self.infos.get(name.removeprefix("./"))
        where = f"'{name[:80]}' in '{self.path}'"
        if info is None:
            raise ModelError(f"'{self.path}' is incomplete: '{name[:80]}' is missing. Get the package again.")
        if info.flag_bits & 1:
            raise ModelError(f"{where} is encrypted. It is not opened.")
        if info.file_size > min(most, max(SMALL, GROWS * info.compress_size)):
            raise ModelError(f"{where} would take {info.file_size:,} bytes unpacked. It is not opened.")
        try:
            with self.packed.open(info) as file:
                contents = file.read(info.file_size + 1)
        except Exception as problem:  # decompressors have errors of their own, such as zlib.error
            raise ModelError(f"{where} is damaged ({problem}). Get it again.") from problem
        if len(contents) != info.file_size:
            raise ModelError(f"{where} is damaged: its size is wrong. Get it again.")
        if sha256 is not None and hashlib.sha256(contents).hexdigest() != sha256:
            raise ModelError(f"{where} is not the stated file (SHA-256). Get it again.")
        return contents
