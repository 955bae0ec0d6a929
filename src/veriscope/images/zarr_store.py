"""The folder of an OME-Zarr image, as zarr reads it: regular files only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from veriscope.errors import ImageFormatError


class RegularFiles(LocalStore):  # type: ignore[misc]
    """A folder to read from. What is a pipe, socket or device would block for ever: it raises ImageFormatError."""

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)

    async def get(self, key: str, *options: Any, **named: Any) -> Any:
        path = self.root / key
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ImageFormatError(f"'{path}' is a pipe, socket or device, not a file. Copy the image again.")
        return await super().get(key, *options, **named)
