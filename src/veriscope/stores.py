"""Where images and results lie: folders, stores in the network (s3://, gs://, https://), memory:// and zip.

`pathlib.Path` writes ``s3:/bucket/image`` for ``s3://bucket/image``: both are understood. zarr's stores do the work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from veriscope import saving

_URL = re.compile(r"(s3|gs|az|https?|memory):/+(.*)", re.DOTALL)

PathLike = str | os.PathLike[str]


def url(place: PathLike) -> str | None:
    """The address of something in the network or memory, None for what lies in a folder."""
    found = _URL.fullmatch(str(place))
    return f"{found[1]}://{found[2]}" if found else None


def opened(place: PathLike, read_only: bool = False) -> Any:
    """zarr's store for a folder or an address."""
    from zarr.storage import LocalStore

    return LocalStore(str(place), read_only=read_only)


def get(folder: PathLike, name: str) -> bytes | None:
    """What lies under `name` in a folder or at an address; None where nothing does."""
    if url(folder) is None:
        file = Path(folder) / name
        return file.read_bytes() if file.exists() else None
    from zarr.core.buffer import default_buffer_prototype

    found = _run(opened(folder).get, name, default_buffer_prototype())
    return None if found is None else bytes(found.to_bytes())


def put(folder: PathLike, name: str, data: bytes) -> None:
    """Write `data` under `name`, whole or not at all."""
    if url(folder) is None:
        file = Path(folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{name}.{os.getpid()}.partial")
        beside.write_bytes(data)
        beside.replace(file)
        return
    from zarr.core.buffer import default_buffer_prototype

    _run(opened(folder).set, name, default_buffer_prototype().buffer.from_bytes(data))


def names(folder: PathLike) -> list[str]:
    """What lies in a folder or at an address, sorted."""
    if url(folder) is None:
        return sorted(entry.name for entry in Path(folder).iterdir()) if Path(folder).is_dir() else []

    async def listed() -> list[str]:
        return [name async for name in opened(folder).list_dir("")]

    return sorted(_run(listed))


def remove(folder: PathLike) -> None:
    """All that lies in a folder or at an address, and the folder itself."""
    if url(folder) is None:
        saving.remove(Path(folder))
    else:
        _run(opened(folder).delete_dir, "")


def _run(function: Callable[..., Any], *values: Any) -> Any:
    from zarr.core.sync import sync

    return sync(function(*values))
