"""Where images and results lie: folders, stores in the network (s3://, gs://, https://), memory:// and zip.

`pathlib.Path` writes ``s3:/bucket/image`` for ``s3://bucket/image``: both are understood. zarr's stores do the work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from veriscope.errors import ImageFormatError, OutputError, VeriscopeError, addresses

ROOTS = ("zarr.json", ".zgroup", ".zarray")  # of what zarr keeps at an address
MARKERS = (*ROOTS, ".zattrs")
ZIPPED = (".zarr.zip", ".ozx")
_URL = re.compile(r"(s3|gs|az|https?|memory):/+(.*)", re.DOTALL)
_RETRIES = 4
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "status code: 403", "status code: 401")
KEYS = {  # the variables with keys for a kind of store, and the one for data that need none
    "s3": ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY", "AZURE_SKIP_SIGNATURE"),
}

PathLike = str | os.PathLike[str]


def url(place: PathLike) -> str | None:
    """The address of something in the network or memory, None for what lies in a folder."""
    found = _URL.fullmatch(str(place))
    return f"{found[1]}://{found[2]}" if found else None


def absolute(place: PathLike) -> Path:
    """A path that means the same in every folder; addresses do."""
    return Path(place) if url(place) is not None else Path(place).absolute()


def is_zip(place: PathLike) -> bool:
    return str(place).lower().endswith(ZIPPED)


def opened(place: PathLike, read_only: bool = False) -> Any:
    """zarr's store for a folder, a zip file or an address. Raises VeriscopeError where a library is missing."""
    from zarr import storage

    address = url(place)
    if address is None and is_zip(place):
        return storage.ZipStore(str(place), mode="r", read_only=True)
    if address is None:
        return _regular_files()(str(place), read_only=True) if read_only else storage.LocalStore(str(place))
    if address.startswith("memory:"):
        return storage.FsspecStore.from_url(address, read_only=read_only)
    try:
        from obstore.store import from_url
    except ImportError as problem:
        raise VeriscopeError(
            f"'{address}' lies in the network, for which obstore is needed. Install it: pip install "
            f"'veriscope[remote]'."
        ) from problem
    from datetime import timedelta

    patience = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=60)}
    store = from_url(address, client_options={"allow_http": True}, retry_config=patience)
    return storage.ObjectStore(store, read_only=read_only)


@cache
def _regular_files() -> Any:
    """A folder to read from. What is a pipe, socket or device would block for ever: it raises ImageFormatError."""
    from zarr.storage import LocalStore

    class RegularFiles(LocalStore):  # type: ignore[misc]
        async def get(self, key: str, *options: Any, **named: Any) -> Any:
            path = self.root / key
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ImageFormatError(f"'{path}' is a pipe, socket or device, not a file. Copy the image again.")
            return await super().get(key, *options, **named)

    return RegularFiles


def get(folder: PathLike, name: str) -> bytes | None:
    """What lies under `name` in a folder or at an address; None where nothing does."""
    if url(folder) is None:
        file = Path(folder) / name
        return file.read_bytes() if file.exists() else None
    from zarr.core.buffer import default_buffer_prototype

    found = _run(opened(folder, read_only=True).get, name, default_buffer_prototype())
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
        return [name.rstrip("/") async for name in opened(folder, read_only=True).list_dir("")]

    return sorted(_run(listed))


def exists(place: PathLike) -> bool:
    """Whether there is anything of this name, even a dangling link; at an address: an image or an object."""
    if url(place) is None:
        return os.path.lexists(place)
    path = Path(place)
    return any(get(place, name) is not None for name in ROOTS) or get(path.parent, path.name) is not None


def is_finished(place: PathLike) -> bool:
    """Whether what zarr keeps at an address is more than an image that was begun."""
    root, old = get(place, "zarr.json"), get(place, ".zgroup")
    if root is not None:
        return bool(json.loads(root).get("attributes")) or json.loads(root).get("node_type") == "array"
    return get(place, ".zattrs") is not None if old is not None else exists(place)


def remove(place: PathLike) -> None:
    """A file or folder, or all that lies at an address, if it is there."""
    if url(place) is not None:
        _run(opened(place).delete_dir, "")
        return
    path = Path(place)
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    for _ in range(50):  # after an error zarr's threads may still be writing: until it is gone and stays away
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.02)
        if not path.exists():
            return


def pack(folder: Path, file: Path) -> None:
    """Put a folder of zarr into a zip file as it is, metadata first."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, strict_timestamps=False) as packed:
        paths = (path for path in folder.rglob("*") if path.is_file())
        for path in sorted(paths, key=lambda path: (path.name not in ROOTS, str(path))):
            packed.write(path, path.relative_to(folder).as_posix())


@contextmanager
def explained(place: PathLike, kind: type[VeriscopeError] = OutputError) -> Iterator[None]:
    """What a store in the network refuses, in plain words."""
    try:
        yield
    except Exception as problem:
        if (said := refusal(place, problem)) is None:
            raise
        raise kind(said) from problem


def refusal(place: PathLike, problem: BaseException) -> str | None:
    """Why a store in the network refused something at `place`, and what to do; None for other problems."""
    address = url(place)
    text = " ".join(str(problem).split())
    if address is None or not ("obstore" in type(problem).__module__ or isinstance(problem, OSError)):
        return None
    kind, bucket = address.split(":")[0], address.split("/")[2]
    endpoint = ", and AWS_ENDPOINT_URL, which names a store of your own" if kind == "s3" else ""
    keys, public = KEYS.get(kind, ("", ""))
    if "NoSuchBucket" in text or "bucket does not exist" in text:
        return f"There is no bucket '{bucket}' for '{address}'. Check its name, or create it."
    alone = any(word in text for word in ("169.254.169.254", "metadata.google", "no credentials"))
    if alone or any(word in text for word in _REFUSED):
        if not keys:
            return (
                f"The server does not give '{address}' to everybody. Ask for an address that can be read without keys."
            )
        said = (
            "There are no credentials for '{}'. Set" if alone else "'{}' may not be used with these credentials. Check"
        )
        return f"{said.format(address)} {keys}; for public data set {public}=true."
    if "InvalidCertificate" in text:
        return (
            f"The certificate of '{address}' is not one that this machine trusts. If it is your institute's own, "
            f"set SSL_CERT_FILE to the file with it (.pem)."
        )
    if "error sending request" in text or "dns error" in text:
        return f"'{address}' cannot be reached. Check the address and the network{endpoint}."
    return f"'{address}' cannot be used ({addresses(text)[:200]}). Check the address and the credentials."


def _run(function: Callable[..., Any], *values: Any) -> Any:
    from zarr.core.sync import sync

    return sync(function(*values))
