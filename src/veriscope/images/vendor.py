"""Files of microscope makers, read through the extra ``vendor``: Nikon ND2, Zeiss CZI, Leica LIF.

In a file with several scenes or positions, one is chosen by its number: ``"embryo.czi::1"``.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.axes import ORDER, sound
from veriscope.errors import ImageFormatError
from veriscope.images.carried import Carried, as_number, micrometres, named, seconds
from veriscope.images.contents import Contents, FileArray, Source, foreseen, pick, stamp
from veriscope.images.lazy import LazyArray, shape_of
from veriscope.images.ome import parsed
from veriscope.tiling import Span

_NEEDS = {"ND2": "nd2", "CZI": "czifile", "LIF": "liffile"}


def kind(head: bytes, path: Path) -> str | None:
    """ "ND2", "CZI" or "LIF" by the first bytes of a file; None for anything else."""
    if head[:4] == b"\xda\xce\xbe\x0a" or (head[4:8] == b"jP  " and path.suffix.lower() == ".nd2"):
        return "ND2"
    if head[:10] == b"ZISRAWFILE":
        return "CZI"
    if head[:4] == b"\x70\0\0\0" and head[8:9] == b"\x2a":
        return "LIF"
    return None


def read_vendor(path: Path, what: str, choice: int | None) -> Contents:
    """Contents of an ND2, CZI or LIF file. Raises ImageFormatError when its reader is not installed."""
    try:
        reader = import_module(_NEEDS[what])
    except ImportError as error:
        raise ImageFormatError(
            f"'{path}' is a {what} file; reading it needs the package {_NEEDS[what]}. "
            f'Install it with: pip install "veriscope[vendor]"'
        ) from error
    with foreseen(path):
        return {"ND2": _read_nd2, "CZI": _read_czi, "LIF": _read_lif}[what](reader, path, choice)


def _word(path: Path, axes: str) -> str:
    if not sound(axes):
        unknown = sorted(set(axes) - set(ORDER))
        raise ImageFormatError(
            f"'{path}' has the dimensions '{axes}', of which {', '.join(unknown) or 'one twice'} cannot be used here. "
            f"Export the part you need as OME-TIFF with the maker's program or Fiji."
        )
    return axes


# Nikon


def _open_nd2(path: str, position: int) -> Any:
    """One position of an ND2 file as an array, read frame by frame."""
    import nd2

    file = nd2.ND2File(path)
    try:
        frames = _Nd2Frames(file, position)
    except BaseException:
        file.close()
        raise
    weakref.finalize(frames, file.close)
    return frames


class _Nd2Frames(LazyArray):
    """Pixels of an open ND2 file: loops (T, P, Z in the file's order) outside, frames (C, Y, X, or Y, X, S) inside."""

    def __init__(self, file: Any, position: int) -> None:
        sizes = dict(file.sizes)
        self._file, self._position = file, position
        inner = [letter for letter in sizes if letter in "CYXS"]
        self._loops = [letter for letter in sizes if letter not in inner]
        self._loop_sizes = [sizes[letter] for letter in self._loops]
        outer = [letter for letter in self._loops if letter != "P"]
        self._outer = len(outer)
        self.axes = "".join(outer + inner).replace("S", "C" if "C" not in inner else "?")
        self.shape = tuple(sizes[letter] for letter in outer + inner)
        self.chunks = (1,) * len(outer) + self.shape[len(outer) :]
        self.dtype: np.dtype[Any] = np.dtype(file.dtype)

    def region(self, spans: Span) -> NDArray[Any]:
        outer = [range(span.start, span.stop, span.step) for span in spans[: self._outer]]
        result = np.empty(shape_of(spans), self.dtype)
        for place, where in zip(np.ndindex(*map(len, outer)), itertools.product(*outer), strict=True):
            result[place] = self._frame(where)[spans[self._outer :]]
        return result

    def _frame(self, where: Sequence[int]) -> NDArray[Any]:
        rest = iter(where)
        index = tuple(self._position if letter == "P" else next(rest) for letter in self._loops)
        number = int(np.ravel_multi_index(index, self._loop_sizes)) if index else 0
        return np.asarray(self._file.read_frame(number)).reshape(self.shape[self._outer :])


def _read_nd2(nd2: ModuleType, path: Path, choice: int | None) -> Contents:
    with nd2.ND2File(path) as file:
        count = file.sizes.get("P", 1)
        position = pick(path, count, choice, [f"position {number}" for number in range(count)])
        frames = _Nd2Frames(file, position)
        axes, shape, dtype = _word(path, frames.axes), frames.shape, frames.dtype
        size = file.voxel_size()
        calibrated = bool(file.metadata.channels and file.metadata.channels[0].volume.axesCalibrated[0])
        voxel = {a: micrometres(getattr(size, a.lower()), "um") if calibrated else None for a in "XYZ"}
        step = None
        for loop in file.experiment or []:
            if loop.type == "TimeLoop":
                step = seconds(loop.parameters.periodMs or loop.parameters.periodDiff.avg, "ms")
        carried = Carried(named([str(one.channel.name or "") for one in file.metadata.channels or []]))
    array = FileArray(Source(str(path), position, stamp(path), _open_nd2), shape, dtype)
    return Contents(array, axes, axes, voxel, step, carried=carried)


# Zeiss


def _read_czi(czifile: ModuleType, path: Path, choice: int | None) -> Contents:
    """One scene, put together from its full-size tiles and read into memory; overlapping tiles: the last one wins."""
    with czifile.CziFile(str(path)) as file:
        tiles = [_czi_tile(file, entry) for entry in file.filtered_subblock_directory]
        if not tiles:
            raise ImageFormatError(f"'{path}' holds no pixels. Export it again.")
        scenes = sorted({tile.start("S") for tile in tiles})
        number = pick(path, len(scenes), choice, [f"scene {scene}" for scene in scenes])
        tiles = [tile for tile in tiles if tile.start("S") == scenes[number]]
        letters = [letter for letter in tiles[0].axes if letter not in "SM"]
        first = {a: min(tile.start(a) for tile in tiles) for a in letters}
        stop = {a: max(one.start(a) + int(one.shape[one.axes.index(a)]) for one in tiles) for a in letters}
        sizes = {a: stop[a] - first[a] for a in letters}
        array = np.zeros([sizes[a] for a in letters], tiles[0].dtype)
        for tile in tiles:
            block = np.asarray(tile.read())
            block = block.reshape([size for a, size in zip(tile.axes, block.shape, strict=True) if a not in "SM"])
            corner = [tile.start(a) - first[a] for a in letters]
            array[tuple(slice(c, c + n) for c, n in zip(corner, block.shape, strict=True))] = block
        root = parsed(file.metadata())
    colour = sizes.get("0", 1) > 1
    kept = [a for a in letters if sizes[a] > 1 or a in "YX"]
    axes = _word(path, "".join("C" if a == "0" and colour else a for a in kept))
    array = array.reshape([sizes[a] for a in kept])
    voxel = {
        a: micrometres(as_number(root.findtext(f".//Scaling/Items/Distance[@Id='{a}']/Value")), "m") for a in "XYZ"
    }
    increment = root.findtext(".//Dimensions/T/Positions/Interval/Increment")
    full = "".join(a for a in ORDER if a != "S")
    names = [one.get("Name") or "" for one in root.findall(".//Information/Image/Dimensions/Channels/Channel")]
    carried = Carried(named(names))
    return Contents(array, axes, full, voxel, seconds(as_number(increment), "s"), carried=carried)


@dataclass(frozen=True)
class _CziTile:
    """A tile of a file: S is its scene, 0 the values of a colour pixel."""

    axes: str
    starts: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Any]

    def start(self, letter: str) -> int:
        return int(self.starts[self.axes.index(letter)]) if letter in self.axes else 0


def _czi_tile(file: Any, entry: Any) -> _CziTile:
    """What an entry says, in the words of czifile before 2026 or in those since."""
    if hasattr(entry, "axes"):
        return _CziTile(
            entry.axes, entry.start, entry.shape, entry.dtype, lambda: entry.data_segment().data(resize=False)
        )
    axes, scene = "".join(entry.dims).replace("S", "0"), int(entry.scene_index)
    return _CziTile(
        "S" + axes, (scene, *entry.start), (1, *entry.shape), entry.dtype,
        lambda: entry.read_segment_data(file).data()[None],
    )  # fmt: skip


# Leica


def _read_lif(liffile: ModuleType, path: Path, choice: int | None) -> Contents:
    with liffile.LifFile(path) as file:
        images = list(file.images)
        if not images:
            raise ImageFormatError(f"'{path}' holds no images. Export it again.")
        image = images[pick(path, len(images), choice, [str(entry.name) for entry in images])]
        dims = ["C" if name == "S" and "C" not in image.dims else str(name) for name in image.dims]
        axes = _word(path, "".join(name if len(name) == 1 else "?" for name in dims))
        array = np.asarray(image.asarray())
        spacing = {name: _spacing(values) for name, values in image.coords.items()}
    voxel = {a: micrometres(spacing.get(a, 0.0), "m") for a in "XYZ"}
    return Contents(array, axes, axes, voxel, seconds(spacing.get("T", 0.0), "s"))


def _spacing(values: Any) -> float:
    return abs(float(values[-1] - values[0])) / (len(values) - 1) if len(values) > 1 else 0.0
