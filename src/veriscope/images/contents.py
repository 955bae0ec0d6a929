"""What a file holds, as its reader found it, before the user's axes and choices."""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope import stores
from veriscope.errors import ImageFormatError, VeriscopeError
from veriscope.images.carried import NOTHING, Carried
from veriscope.images.lazy import LazyArray, chunks_of
from veriscope.tiling import Span
from veriscope.wording import shortened

_EXPECTED = (
    OSError, ValueError, TypeError, RuntimeError, LookupError, EOFError, AttributeError, ArithmeticError,
    struct.error, zlib.error, SyntaxError, AssertionError,
)  # fmt: skip
_READERS = {"tokenize", "tifffile", "zarr", "numcodecs", "imagecodecs", "nd2", "czifile", "liffile"}


@dataclass
class Contents:
    """An array in a file. `axes` is what the file states, "" when it does not.

    `full_axes` also names the axes of size 1 that the array omits, `shown` those that the image shall have all the same
    ("": none); `voxel` is in um, by spatial letter. `trouble` is the reason why a file states nothing where it should,
    and `odd` what it states for a voxel that is not a length.
    """

    array: Any
    axes: str = ""
    full_axes: str = ""
    voxel: dict[str, float | None] = field(default_factory=dict)
    time_step: float | None = None
    shown: str = ""
    carried: Carried = NOTHING
    trouble: str = ""
    odd: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """How to open what is `inside` a file: ``open(path, inside)`` has .shape, .dtype and basic indexing.

    ``load(path, inside)`` gives all pixels, where that is faster than indexing. `stamp` changes when the file does.
    """

    path: str
    inside: Hashable
    stamp: tuple[int, int]
    open: Callable[[str, Any], Any] = field(repr=False)
    load: Callable[[str, Any], NDArray[Any]] | None = field(default=None, repr=False)


def stamp(path: str | Path) -> tuple[int, int]:
    """Changes when a file or folder is replaced."""
    if stores.url(path) is not None:
        found = [stores.get(path, name) or b"" for name in stores.MARKERS]
        return len(b"".join(found)), zlib.crc32(b"".join(found))
    facts = os.stat(path)
    return facts.st_ino, facts.st_mtime_ns


@lru_cache(maxsize=64)
def _opened(source: Source, process: int) -> Any:
    return source.open(source.path, source.inside)


class FileArray(LazyArray):
    """A lazy array in a file, opened when read (at most 64 stay open), picklable, in this machine's byte order.

    A file that turns out to be damaged raises ImageFormatError, whatever its library says.
    """

    def __init__(self, source: Source, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.source = source
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return chunks_of(self._array())

    def _array(self) -> Any:
        with foreseen(self.source.path):
            return _opened(self.source, os.getpid())  # a forked process must not share file positions

    def region(self, spans: Span) -> NDArray[Any]:
        source, everything = self.source, spans == tuple(slice(0, size, 1) for size in self.shape)
        with foreseen(source.path):
            load = source.load if everything else None
            block = np.asarray(self._array()[spans] if load is None else load(source.path, source.inside))
        return block.astype(self.dtype, copy=False)


def pick(path: Path, count: int, choice: int | None, names: Sequence[str] = ()) -> int:
    """Which of the `count` images in a file to read. Raises ImageFormatError where several need a `choice`."""
    if choice is not None and not 0 <= choice < count:
        raise ImageFormatError(f"'{path}' holds {count} image(s), numbered from 0; '::{choice}' is not one of them.")
    if choice is None and count > 1:
        some = shortened([f"::{number} ({name})" for number, name in enumerate(names)])
        raise ImageFormatError(f"'{path}' holds {count} images{': ' * bool(some)}{some}. Choose one: '{path}::0'.")
    return choice or 0


@contextmanager
def foreseen(path: str | Path) -> Iterator[None]:
    """What a library says about a damaged or unreadable file becomes an ImageFormatError; its logging is silenced."""
    try:
        with _silence():
            yield
    except VeriscopeError:
        raise
    except Exception as error:
        said = None if isinstance(error, FileNotFoundError) else stores.refusal(path, error)
        if (said := said or _said(path, error)) is None:
            raise
        raise ImageFormatError(said) from error


def _said(path: str | Path, error: Exception) -> str | None:
    """What is wrong with a file, by the error of a library; None for a fault of the program."""
    if isinstance(error, FileNotFoundError):
        return f"'{path}' does not exist, or parts of it are gone. Check the name."
    if isinstance(error, PermissionError):
        return f"'{path}' may not be read. Check its permissions and those of its folder."
    if not isinstance(error, _EXPECTED) and type(error).__module__.split(".")[0] not in _READERS:
        return None
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"'{path}' cannot be read; it seems to be damaged or cut short ({reason}). Copy or export it again."


@contextmanager
def _silence() -> Iterator[None]:
    """Silences tifffile's logging in this thread only, and leaves nothing behind."""
    here, logger = threading.get_ident(), logging.getLogger("tifffile")

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)
