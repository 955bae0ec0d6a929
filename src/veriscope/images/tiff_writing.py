"""Writing TIFF by regions: OME-TIFF, and ImageJ hyperstacks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.carried import encodable, micrometres
from veriscope.images.image import Image

CLASSIC_LIMIT = 2**32 - 2**25  # bytes of pixels: more needs BigTIFF; the rest of 4 GB is room for the metadata
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def imagej_can(facts: Image) -> bool:
    return str(_stored(facts.dtype)) in _IMAGEJ_TYPES and facts.nbytes <= CLASSIC_LIMIT


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Truth values are stored as bytes 0 and 1: packed bits have no place for regions, and few programs read them."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


class TiffTarget:
    """An uncompressed TIFF whose pixels lie one after the other, so that any region can be written with plain writes.

    Not through a memory map: a full disk would kill the process, and every page written would count as memory in use.
    """

    def __init__(self, temporary: Path, final: Path, facts: Image, ome: bool, uuid: str | None = None) -> None:
        import tifffile

        dtype = _stored(facts.dtype)
        if "S" in facts.axes:
            raise AxesError(
                f"TIFF has no axis for samples, so axes '{facts.axes}' cannot be written to '{final}'. "
                f"Write each sample to a file of its own, or all to a .zarr."
            )
        if str(dtype) not in _OME_TYPES:
            raise DataError(
                f"TIFF cannot hold values of type {dtype} in a way that other programs read ('{final}'). "
                f"Write to .zarr, or as one of {', '.join(_OME_TYPES)} (--dtype)."
            )
        if facts.nbytes > shutil.disk_usage(temporary.parent).free:
            raise OSError(errno.ENOSPC, "No space left on device")
        big = facts.nbytes > CLASSIC_LIMIT
        kind = _ome_metadata(facts, uuid) if ome else _imagej_metadata(facts)
        # ImageJ's five axes and the one of colours, all spelled out: tifffile takes a width of 1 for colours otherwise
        shape = facts.shape if ome else (*(facts.size(letter) for letter in "TZCYX"), 1)
        tifffile.imwrite(
            temporary, shape=shape, dtype=dtype, bigtiff=big, photometric="minisblack", contiguous=True,
            software="veriscope", **kind,
        )  # fmt: skip
        with tifffile.TiffFile(temporary) as tif:
            self._start = int(tif.series[0].dataoffset)
            self._dtype = dtype.newbyteorder(tif.byteorder)
        self._shape = facts.shape
        self._file = temporary.open("r+b", buffering=0)
        try:
            if hasattr(os, "posix_fallocate"):  # find out now that the disk is too small, not after hours
                os.posix_fallocate(self._file.fileno(), self._start, facts.nbytes)
        except BaseException:
            self._file.close()
            raise
        self.without: tuple[str, ...] = ("labels",) if ome else ("position", "acquired")
        self.chunks = tuple(
            1 if letter in "TC" else min(size, 16 if letter == "Z" else size if letter == "X" else 1024)
            for letter, size in zip(facts.axes, facts.shape, strict=True)
        )

    def put(self, spans: Sequence[slice], block: NDArray[Any]) -> None:
        stored = np.ascontiguousarray(block.astype(self._dtype, copy=False))
        for offset, run in runs(self._shape, spans, stored):
            self._file.seek(self._start + offset * self._dtype.itemsize)
            _write_all(self._file, run)

    def finish(self) -> None:
        """Metadata are there from the beginning."""

    def close(self) -> None:
        self._file.close()


def _write_all(file: IO[bytes], run: NDArray[Any]) -> None:
    """An unbuffered file may take less than it is given."""
    left = run.reshape(-1).view(np.uint8).data
    while left:
        left = left[file.write(left) :]


def runs(shape: Sequence[int], spans: Sequence[slice], block: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The pieces of `block` that lie without gaps in an array of `shape` in C order, each with its position there."""
    inner = len(shape)
    while inner > 0 and block.shape[inner - 1] == shape[inner - 1]:
        inner -= 1
    inner = max(inner - 1, 0)  # the axis before the complete ones is without gaps too
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = sum(span.start * stride for span, stride in zip(spans, strides, strict=True))
    for outer in np.ndindex(block.shape[:inner]):
        yield first + sum(at * stride for at, stride in zip(outer, strides, strict=False)), block[outer]


def _ome_metadata(facts: Image, uuid: str | None) -> dict[str, Any]:
    known: dict[str, Any] = {"axes": facts.axes, "Name": encodable(facts.name)}
    if uuid is not None:
        known["UUID"] = uuid
    for letter in facts.spatial_axes:
        if (size := facts.voxel(letter)) is not None:
            known |= {f"PhysicalSize{letter}": size, f"PhysicalSize{letter}Unit": "µm"}
    if facts.time_step is not None:
        known |= {"TimeIncrement": facts.time_step, "TimeIncrementUnit": "s"}
    carried = facts.carried
    if carried.channels:
        names = [encodable(channel.name) or f"channel {number}" for number, channel in enumerate(carried.channels)]
        known["Channel"] = {"Name": names}
        if any(channel.colour for channel in carried.channels):
            colours = (bytes.fromhex(f"{channel.colour or 'FFFFFF'}FF") for channel in carried.channels)
            known["Channel"]["Color"] = [int.from_bytes(colour, signed=True) for colour in colours]
    if carried.acquired:
        known["AcquisitionDate"] = encodable(carried.acquired)
    if carried.description:
        known["Description"] = encodable(carried.description)
    planes = prod(size for letter, size in zip(facts.axes, facts.shape, strict=True) if letter not in "YX")
    if carried.position:
        known["Plane"] = {}
        for letter, (value, unit) in carried.position.items():
            places = [value] * planes
            if letter == "Z" and (step := facts.voxel("Z")) and (factor := micrometres(1.0, unit)):
                depth = facts.size("Z")  # the fastest axis but Y and X in this order
                places = [value + (plane % depth) * step / factor for plane in range(planes)]
            known["Plane"] |= {f"Position{letter}": places, f"Position{letter}Unit": [encodable(unit)] * planes}
    return {"ome": True, "metadata": known}


def _imagej_metadata(facts: Image) -> dict[str, Any]:
    known: dict[str, Any] = {"axes": "TZCYXS"}
    settings: dict[str, Any] = {"imagej": True, "metadata": known}
    y, x = facts.voxel("Y"), facts.voxel("X")
    if x is not None and y is not None:
        settings["resolution"] = (1 / x, 1 / y)
        known["unit"] = "um"
        if "Z" in facts.axes:  # without a depth ImageJ takes 1 unit, here 1 um
            known |= {"spacing": z} if (z := facts.voxel("Z")) else {"spacing": 1.0, "zunit": "pixel"}
    elif facts.voxel("Z") is not None:
        known |= {"spacing": facts.voxel("Z"), "unit": "pixel", "zunit": "um"}
    if facts.time_step is not None:
        known["finterval"] = facts.time_step
    channels = facts.size("C")
    if 1 < channels <= 7:  # ImageJ overlays no more
        known["mode"] = "composite"
    carried = facts.carried
    planes = facts.size("T") * facts.size("Z")
    if carried.channel_names:
        known["Labels"] = [encodable(channel.name) for channel in carried.channels] * planes
    elif carried.labels:
        known["Labels"] = [encodable(label) for label in carried.labels]
    if any(channel.colour for channel in carried.channels) and channels > 1:
        known["LUTs"] = [_table(channel.colour) for channel in carried.channels]
    if carried.description:
        known["Info"] = encodable(carried.description)
    return settings


def _table(colour: str) -> NDArray[np.uint8]:
    """From black to RRGGBB in 256 steps."""
    top = np.array([int((colour or "FFFFFF")[at : at + 2], 16) for at in (0, 2, 4)])
    return np.asarray((np.arange(256) * top[:, None] / 255).round(), np.uint8)
