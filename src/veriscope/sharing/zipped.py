"""Zip files from other programs, read as data: no path out of them, no bombs, every file checked by its hash."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from veriscope.errors import ModelError

FILES = 1000
GROWS = 200  # times that contents may be larger than the packed file; weights hardly shrink at all
SMALL = 2**20  # bytes that any file may have
LARGEST = 8 * 2**30


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

    @property
    def names(self) -> list[str]:
        return sorted(self.infos)

    def read(self, name: str, sha256: object = None, most: int = LARGEST) -> bytes:
        """The contents of a file of up to `most` bytes, checked against `sha256` where that is given."""
        place = name[2:] if name.startswith("./") else name
        info = self.infos.get(place)
        if info is None:
            raise ModelError(f"'{self.path}' is incomplete: '{name[:80]}' is missing. Get the package again.")
        allowed = min(most, max(SMALL, GROWS * info.compress_size))
        if info.file_size > allowed or info.flag_bits & 1:
            why = "is encrypted" if info.flag_bits & 1 else f"would take {info.file_size:,} bytes unpacked"
            raise ModelError(f"'{name[:80]}' in '{self.path}' {why}. It is not opened.")
        try:
            with self.packed.open(info) as file:
                contents = file.read(info.file_size + 1)
        except Exception as problem:  # decompressors have errors of their own, such as zlib.error
            raise ModelError(f"'{name[:80]}' in '{self.path}' is damaged ({problem}). Get it again.") from problem
        if len(contents) != info.file_size:
            raise ModelError(f"'{name[:80]}' in '{self.path}' is damaged: its size is wrong. Get it again.")
        if sha256 is not None and hashlib.sha256(contents).hexdigest() != sha256:
            raise ModelError(f"'{name[:80]}' in '{self.path}' is not the stated file (SHA-256). Get it again.")
        return contents


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
