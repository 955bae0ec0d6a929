"""What a file holds, as its reader found it, before anybody said how to see it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import ImageFormatError, VeriscopeError
from veriscope.images.lazy import plain_index

_EXPECTED = (
    OSError, ValueError, TypeError, RuntimeError, LookupError, EOFError, AttributeError, ArithmeticError,
    struct.error, zlib.error, SyntaxError, AssertionError,
)  # fmt: skip
_READERS = {"tifffile", "zarr", "numcodecs", "imagecodecs", "nd2", "czifile", "liffile"}


@dataclass
class Contents:
    """An array in a file. `axes` is what the file states, "" when it does not.

    `full_axes` also names the axes of size 1 that the array leaves out; `voxel` gives um for spatial letters.
    """

    array: Any
    axes: str = ""
    full_axes: str = ""
    voxel: dict[str, float | None] = field(default_factory=dict)
    time_step: float | None = None
    load: Callable[[], NDArray[Any]] | None = None  # a faster way to all pixels


class Source(Hashable, Protocol):
    """A hashable recipe for opening a file; the result has .shape, .dtype and basic indexing."""

    @property
    def path(self) -> str: ...

    def open(self) -> Any: ...


def stamp(path: str | Path) -> tuple[int, int]:
    """Changes when a file or folder is replaced."""
    facts = os.stat(path)
    return facts.st_ino, facts.st_mtime_ns


@lru_cache(maxsize=64)
def _opened(source: Source, process: int) -> Any:
    return source.open()


class FileArray:
    """A lazy array in a file, opened when read (at most 64 stay open), picklable, in this machine's byte order.

    A file that turns out to be damaged raises ImageFormatError, whatever its library says.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        array = self._array()
        self.shape: tuple[int, ...] = tuple(int(size) for size in array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype).newbyteorder("=")
        chunks = getattr(array, "chunks", None)
        self.chunks: tuple[int, ...] | None = None if chunks is None else tuple(int(size) for size in chunks)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _array(self) -> Any:
        with foreseen(self.source.path):
            return _opened(self.source, os.getpid())  # a forked process must not share file positions

    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts = plain_index(index, self.shape)
        array = self._array()
        with foreseen(self.source.path):
            block = np.asarray(array[parts])
        return block.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


@contextmanager
def foreseen(path: str | Path) -> Iterator[None]:
    """What a library says about a damaged or unreadable file becomes an ImageFormatError; its logging is silenced."""
    import logging

    logger = logging.getLogger("tifffile")
    disabled = logger.disabled
    logger.disabled = True
    try:
        yield
    except VeriscopeError:
        raise
    except FileNotFoundError as error:
        raise ImageFormatError(f"'{path}' does not exist, or parts of it are gone. Check the name.") from error
    except PermissionError as error:
        raise ImageFormatError(
            f"'{path}' may not be read. Check the permissions of the file and its folder."
        ) from error
    except Exception as error:
        if not isinstance(error, _EXPECTED) and type(error).__module__.split(".")[0] not in _READERS:
            raise
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ImageFormatError(
            f"'{path}' cannot be read; it seems to be damaged or cut short ({reason}). Copy or export it again."
        ) from error
    finally:
        logger.disabled = disabled
