"""A result appears whole or not at all: written beside its place under another name, then renamed. The only place.

The other name cannot be guessed and belongs to this process. Nothing is replaced unasked, even if it appeared
meanwhile, and what a killed process left is removed by the next one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from veriscope import stores
from veriscope.errors import OutputError, warn
from veriscope.stores import exists as exists
from veriscope.stores import remove as remove
from veriscope.wording import listed

LONGEST = 255  # bytes of a file's name, in nearly every file system
_HERE = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_OURS = re.compile(r"\.veriscope-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.partial")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV)


def check_target(target: Path, suffixes: Sequence[str], overwrite: bool = False, option: str = "") -> None:
    """Raise OutputError where a file, which the user named with `option`, cannot be written: known before long work."""
    given, other = f"{option} {target}".strip(), option or "name"
    if target.suffix.lower() not in suffixes:
        such = f"{option.lstrip('-') or 'result'}{suffixes[0]}"
        raise OutputError(f"{given} is written as {listed(suffixes, 'or')}. Give it a name such as {such}.")
    if target.is_dir() or (exists(target) and not overwrite):
        raise OutputError(f"{target} exists already. Choose another {other}, or replace it with --overwrite.")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{given} cannot be written: there is no folder {target.absolute().parent}. Make it first.")
    if not os.access(target.absolute().parent, os.W_OK):
        raise OutputError(f"{given} cannot be written: its folder is not writable. Choose another, or permit it.")


def check_free(target: Path) -> None:
    """Raise OutputError where something is already."""
    if exists(target):
        raise OutputError(
            f"{target} exists already. Choose another name, or pass overwrite=True (--overwrite) to replace it."
        )


@contextmanager
def beside(final: Path, overwrite: bool, folder: bool = False) -> Iterator[Path]:
    """A fresh empty file or folder beside `final`, which takes its place when the block is left without an exception.

    Raises OutputError when `final` exists by then and must not be replaced, or cannot be written.
    """
    with explained(final):
        temporary = fresh(final, folder)
        try:
            yield temporary
            put(temporary, final, overwrite)
        except OutputError as problem:
            raise OutputError(str(problem).replace(str(temporary), str(final))) from problem
        finally:
            remove(temporary)


def write(final: Path, data: bytes | str, overwrite: bool = True, keep: bool = False) -> None:
    """A file of `data`, whole or not at all; `keep` waits until the disk has it. Raises OutputError.

    Text is UTF-8; halves of characters, such as names in another encoding give, become "?".
    """
    whole = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if stores.url(final) is not None:
        with explained(final):
            stores.put(final.parent, final.name, whole)
        return
    with beside(final, overwrite) as temporary, temporary.open("wb") as file:
        file.write(whole)
        file.flush()
        if keep:
            os.fsync(file.fileno())


def fresh(final: Path, folder: bool = False) -> Path:
    """A new empty file or folder beside `final`, created exclusively; what killed processes left there is removed."""
    sweep(final.parent)
    temporary = final.with_name(f".veriscope-{_HERE}-{os.getpid()}-{secrets.token_hex(4)}.partial")
    if folder:
        temporary.mkdir()
    else:
        temporary.touch(exist_ok=False)
    return temporary


def put(temporary: Path, final: Path, overwrite: bool) -> None:
    """Give `temporary` its final name. Without `overwrite`, what appeared there meanwhile stays, even a dangling link.

    A folder that is replaced is moved aside first and removed last. Raises OutputError.
    """
    with explained(final):
        if not overwrite:
            _put_new(temporary, final)
        elif final.is_dir() and not final.is_symlink():
            aside = _aside(temporary)
            os.replace(final, aside)
            os.replace(temporary, final)
            remove(aside)
        else:
            if temporary.is_dir():
                final.unlink(missing_ok=True)
            os.replace(temporary, final)


def _put_new(temporary: Path, final: Path) -> None:
    try:
        if temporary.is_dir():
            if os.path.lexists(final):  # a folder would take the place of an empty one
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.rename(temporary, final)
            return
        try:
            os.link(temporary, final)  # unlike a rename this replaces nothing
            temporary.unlink()
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            final.touch(exist_ok=False)  # the name is ours from here on
            os.replace(temporary, final)
    except OSError as problem:
        if problem.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise OutputError(
                f"'{final}' appeared in the meantime, so it is not replaced. Choose another name, or replace it with "
                f"overwrite (--overwrite)."
            ) from problem
        raise


def _aside(temporary: Path) -> Path:
    """Where a folder is while `temporary` takes its place; both stay if the process is killed then."""
    return temporary.with_suffix(".replaced.partial")


_swept: set[Path] = set()


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are gone left unfinished in `folder`, once, and say so."""
    if folder in _swept:
        return
    _swept.add(folder)
    gone = []
    with suppress(OSError):
        for entry in sorted(folder.glob(".veriscope-*.partial")):
            ours = _OURS.fullmatch(entry.name)
            if ours and ours[1] == _HERE and not alive(int(ours[2])) and not exists(_aside(entry)):
                remove(entry)
                gone.append(entry)
    if gone:
        many = f"{len(gone)} unfinished results that earlier runs" if len(gone) > 1 else "a result that an earlier run"
        warn(f"removed {many} left in '{folder}' when stopped by force.")


def alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def explained(final: Path) -> Iterator[None]:
    """Errors of the system while writing become an OutputError."""
    try:
        with stores.explained(final):
            yield
    except OSError as error:
        raise refused(final, error) from error


def refused(final: Path, error: OSError) -> OutputError:
    """The error for a file that the system refuses to write, with advice that fits the reason."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"The disk is full ({error.strerror}): '{final}' could not be written, and no part of it was kept. "
            f"Free some space or choose another folder."
        )
    if error.errno == errno.ENAMETOOLONG:
        count = len(os.fsencode(final.name))
        return OutputError(
            f"The name '{final.name[:60]}...' of {count} bytes is too long; most disks take {LONGEST}. "
            f"Choose a shorter one, or rename the image."
        )
    reason = error.strerror or str(error) or type(error).__name__
    return OutputError(f"'{final}' cannot be written ({reason}). Choose another folder or check its permissions.")
