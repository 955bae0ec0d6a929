"""Patches in a file: the `.npz` with X, Y and axes that the field's tools write and read (axes SCZYX or SCYX)."""

from __future__ import annotations

import contextlib
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as ax
from veriscope import saving
from veriscope.errors import AxesError, DataError, ImageFormatError, OutputError
from veriscope.patches import augment
from veriscope.patches.patches import Patches, Supply
from veriscope.patches.scaling import percentile_facts
from veriscope.wording import lengths

UNREADABLE = (ValueError, EOFError, SyntaxError, tokenize.TokenError)  # what NumPy makes of a damaged header
DECLARED = 10**9  # bytes of an array that are believed only where they are there
Array = NDArray[np.float32]


def save_npz(
    path: str | os.PathLike[str],
    patches: Patches | ArrayPatches,
    count: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write `count` training patches (default: one epoch) of `seed`, neither flipped nor turned, as float32.

    X (low) and Y (high) are (S, C, [Z,] Y, X), axes says so; the planes that stacks are projected to have one entry
    along Z. Written patch by patch beside the file, then renamed.
    Raises OutputError when the file exists or cannot be written, DataError for a count below 1.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise OutputError(f"Patches are saved as .npz, not as '{target.name}'. Name it '{target.stem}.npz'.")
    if saving.exists(target) and not overwrite:
        raise OutputError(f"'{target}' exists already. Choose another name, or pass overwrite=True.")
    count = len(patches) if count is None else count
    if count < 1:
        raise DataError(f"The number of patches to save is at least 1, not {count}.")
    with (
        saving.beside(target, overwrite) as beside,
        zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        flat = (1,) * (len(patches.low_shape) - len(patches.shape))
        low, high = (patches.channels_in, *patches.low_shape), (patches.channels_out, *flat, *patches.shape)
        for which, (key, shape) in enumerate((("X", low), ("Y", high))):
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)}
                np.lib.format.write_array_header_1_0(member, header)
                for index in range(count):
                    patch = patches.plain(index, seed)[which]
                    member.write(np.ascontiguousarray(patch, dtype="<f4").tobytes())
        with archive.open("axes.npy", "w") as member:
            np.lib.format.write_array(member, np.array("SC" + patches.axes), allow_pickle=False)


def load_npz(path: str | os.PathLike[str], axes: str | None = None) -> ArrayPatches:
    """Patches from an `.npz` with X, Y and axes; `axes` says what they are where the file does not.

    Stacks in X with a single plane each in Y are for networks that project. Nothing in the file is unpickled. Raises
    ImageFormatError when it is missing, damaged or not such a file, AxesError and DataError for axes or arrays that do
    not fit.
    """
    name = f"'{Path(path)}'"
    try:
        with _open(path) as found:
            if missing := sorted({"X", "Y"} - set(found.files)):
                held = ", ".join(found.files) or "nothing"
                raise ImageFormatError(
                    f"{name} has no {' and no '.join(missing)} (it holds {held}). Training patches are X (low) and Y "
                    f"(high); save them with save_npz."
                )
            if axes is None and "axes" not in found.files:
                raise AxesError(f"{name} does not say its axes. Pass axes, for example axes='SCYX' or 'SCZYX'.")
            word = str(found["axes"]) if axes is None else axes
            low, high = found["X"], found["Y"]
    except (AxesError, ImageFormatError):
        raise
    except FileNotFoundError as error:
        raise ImageFormatError(f"There is no file {name}. Check the path.") from error
    except (*UNREADABLE, OSError, KeyError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageFormatError(
            f"{name} is not a readable .npz file of arrays ({error}). Copy or make it again."
        ) from error
    return array_patches(low, high, word, name)


@contextlib.contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[Any]:
    stream: IO[bytes]
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError("it is no file, but a folder, pipe or device")
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError("it is no zip archive, or incomplete")
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                _check_declared(archive, member)
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as found:
            yield found


def _check_declared(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise ValueError where an array declares more than is there, before it is given memory."""
    if member.file_size > DECLARED and member.file_size > 100 * member.compress_size:
        raise ValueError(
            f"{member.filename} declares {member.file_size / 1e9:.3g} GB, but holds {member.compress_size / 1e6:.3g} MB"
        )
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename} declares {lengths(shape)} values, but is cut short")


def array_patches(low: NDArray[Any], high: NDArray[Any], axes: str, name: str = "The patches") -> ArrayPatches:
    """Patches that are already cut and normalised, checked: `low` and `high` with the letters `axes` (S and C in it).

    Raises AxesError and DataError where they do not fit each other.
    """
    word = ax.image_axes(axes, name)
    if "S" not in word or low.ndim != high.ndim:
        raise AxesError(
            f"{name}: X is {lengths(low.shape)}, Y is {lengths(high.shape)} and the axes are '{word}'. Training "
            f"patches have the axis S (one entry per patch) and as many axes in X as in Y, such as SCYX or SCZYX."
        )
    target = "SC" + ("ZYX" if "Z" in word else "YX")
    moved = []
    for array, what in ((low, "X"), (high, "Y")):
        if array.dtype.kind not in "buif":
            raise DataError(f"{name}: {what} holds values of type {array.dtype}, not real numbers.")
        if 0 in array.shape:
            raise DataError(f"{name}: {what} is empty, its shape is {lengths(array.shape)}. Save at least one patch.")
        array = ax.move(array, word, target).astype(np.float32, copy=False)
        if bad := array.size - int(np.count_nonzero(np.isfinite(array))):
            raise DataError(f"{name}: {what} has {bad} values that are NaN or infinite. Cut the patches again.")
        moved.append(np.ascontiguousarray(array))
    if "Z" in word and moved[1].shape[2] == 1 < moved[0].shape[2]:
        moved[1] = moved[1][:, :, 0]
    if moved[0].shape[0] != moved[1].shape[0] or moved[0].shape[2 - moved[1].ndim :] != moved[1].shape[2:]:
        raise DataError(
            f"{name}: X is {lengths(low.shape)} and Y is {lengths(high.shape)} ({word}). Both need the same number of "
            f"patches of the same size; only their channels may differ."
        )
    return ArrayPatches(moved[0], moved[1], target[2:], Path(name.strip("'")).name)


class ArrayPatches(Supply):
    """Patches (low, high) that are cut and normalised already, with the interface of `Patches`; see `load_npz`.

    `axes` are those of low; high may lack Z. Training draws entries at random, flipped and (if square) turned; checking
    takes them in order, as they stand.
    """

    def __init__(self, low: Array, high: Array, axes: str, name: str = "") -> None:
        self.low, self.high, self.axes, self.name = low, high, axes, name
        self.low_shape, self.shape = tuple(low.shape[2:]), tuple(high.shape[2:])
        self.axes_out = axes[-len(self.shape) :]
        self.channels_in, self.channels_out = int(low.shape[1]), int(high.shape[1])
        self.orientations = augment.allowed(self.axes_out, self.shape, None)

    def __len__(self) -> int:
        return len(self.low)

    def __repr__(self) -> str:
        return f"<ArrayPatches: {len(self)} of {self._called()}>"

    def split(self, check: float = 0.1) -> tuple[ArrayPatches, ArrayPatches]:
        """(training, checking): the last `check` of the entries, at least one, are for checking. Views, no copies."""
        count = max(round(len(self) * check), 1)
        if not 0 < check < 1 or count >= len(self):
            raise DataError(
                f"Of {len(self)} patches {check:g} cannot be split off for checking: both parts need at least one. "
                f"Use a fraction between 0 and 1, or save more patches."
            )
        parts = slice(None, -count), slice(-count, None)
        training, checking = (ArrayPatches(self.low[one], self.high[one], self.axes, self.name) for one in parts)
        return training, checking

    def drawn(self, index: int, seed: int) -> dict[str, Any]:
        """{"entry", "orientation"}."""
        rng = np.random.default_rng((seed, index))
        return {"entry": int(rng.integers(len(self))), "orientation": self.orientations.draw(rng)}

    def drawn_check(self, index: int) -> dict[str, Any]:
        """Entry `index`, counted round."""
        return {"entry": index % len(self), "orientation": augment.AS_IT_IS}

    def cut(self, drawn: dict[str, Any]) -> tuple[Array, Array]:
        low, high = (
            augment.apply(array[drawn["entry"]], self.axes_out, drawn["orientation"]) for array in (self.low, self.high)
        )
        return np.array(low, order="C"), np.array(high, order="C")

    def summary(self) -> dict[str, Any]:
        """What a model should remember of its training patches, ready for JSON; percentiles are of the patches."""
        choices = {"per_image": 1, "seed": None, "foreground": None, "foreground_share": None, "normalize": "as saved"}
        return {
            "low": percentile_facts(lambda: iter([np.moveaxis(self.low, 1, 0)])),
            "high": percentile_facts(lambda: iter([np.moveaxis(self.high, 1, 0)])),
            "voxel_size": None,
            "time_step": None,
            "training": self._remembered(len(self), len(self), [self.name], **choices),
        }
