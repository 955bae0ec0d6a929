"""TIFF, OME-TIFF and ImageJ hyperstacks: what a file holds and what its metadata says."""

from __future__ import annotations

import struct
import warnings
import weakref
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from veriscope.axes import ORDER
from veriscope.errors import ImageFormatError, VeriscopeWarning
from veriscope.images.contents import Contents, FileArray, foreseen, stamp
from veriscope.images.units import micrometres, seconds

PRINT_RESOLUTION = 50.0  # um: pixels this large, in inch or cm, are a printer's resolution (72 dpi), not a microscope's


def is_tiff(head: bytes) -> bool:
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(path: Path, choice: int | None) -> Contents:
    """Contents of series `choice` of a TIFF file. Raises ImageFormatError if damaged, cut short or holding several."""
    import tifffile

    with foreseen(path), tifffile.TiffFile(path) as tif:
        _check_chain(path, tif)
        number = _chosen(path, tif, choice)
        series = tif.series[number]
        _check_pixels(path, tif, series)
        axes, full_axes = _axes(tif, series)
        voxel, time_step = _scale(tif, number)
        array = FileArray(TiffSource(str(path), number, stamp(path)), series.shape, series.dtype)

    return Contents(array, axes, full_axes, voxel, time_step)


@dataclass(frozen=True)
class TiffSource:
    """One series of a TIFF file, opened as a chunked array."""

    path: str
    series: int
    stamp: tuple[int, int]

    def open(self) -> Any:
        import tifffile
        import zarr

        tif = tifffile.TiffFile(self.path)
        try:
            store = tif.series[self.series].aszarr(level=0)
            array = zarr.open_array(store, mode="r")
        except BaseException:
            tif.close()
            raise
        weakref.finalize(array, tif.close)
        return array

    def load(self) -> NDArray[Any]:
        import tifffile

        with tifffile.TiffFile(self.path) as tif:
            series = tif.series[self.series]
            whole: NDArray[Any] = series.asarray()
            return whole.reshape(series.shape)


def _check_chain(path: Path, tif: Any) -> None:
    """Follow the chain of pages: where it leads beyond the file, pages are missing (tifffile goes on without them)."""
    order, large = tif.byteorder, tif.is_bigtiff
    count_format, count_size, entry, offset_format, offset_size = (
        (order + "Q", 8, 20, order + "Q", 8) if large else (order + "H", 2, 12, order + "I", 4)
    )
    size, handle = tif.filehandle.size, tif.filehandle
    if tif.is_ndpi:  # has its own 64-bit offsets
        return
    handle.seek(8 if large else 4)
    (offset,) = struct.unpack(offset_format, handle.read(offset_size))
    seen: set[int] = set()
    while offset:
        if offset in seen:
            return
        seen.add(offset)
        if offset + count_size > size:
            raise _cut_short(path)
        handle.seek(offset)
        (entries,) = struct.unpack(count_format, handle.read(count_size))
        behind = offset + count_size + entries * entry
        if behind + offset_size > size:
            raise _cut_short(path)
        handle.seek(behind)
        (offset,) = struct.unpack(offset_format, handle.read(offset_size))
    if not seen:
        raise ImageFormatError(f"'{path}' is a TIFF file without any image. Export it again.")


def _cut_short(path: Path) -> ImageFormatError:
    return ImageFormatError(
        f"'{path}' is cut short: its pages or pixels go beyond the end of the file. Copy or export it again."
    )


def _chosen(path: Path, tif: Any, choice: int | None) -> int:
    """Number of the series to read; several full images need a choice."""
    whole = [
        number
        for number, series in enumerate(tif.series)
        if not (series.pages and getattr(series.pages[0], "is_reduced", False))
    ]
    if choice is not None:
        if not 0 <= choice < len(tif.series):
            raise ImageFormatError(f"'{path}' holds {len(tif.series)} images; '::{choice}' is not one of them.")
        return choice
    kinds_with_thumbnails = ("lsm", "svs", "scn", "ndpi", "philips", "bif", "qpi", "avs", "stk", "fluoview")
    if len(whole) > 1 and tif.series[whole[0]].kind not in kinds_with_thumbnails:
        found = ", ".join(f"::{number} ({' x '.join(map(str, tif.series[number].shape))})" for number in whole[:10]) + (
            ", ..." if len(whole) > 10 else ""
        )
        raise ImageFormatError(
            f"'{path}' holds {len(whole)} images: {found}. Choose one by its number, as in '{path}::{whole[0]}'."
        )
    return whole[0] if whole else 0


def _check_pixels(path: Path, tif: Any, series: Any) -> None:
    """Every strip and tile must lie inside the file: a file copied in part is found here, before it is read."""
    if series.dtype is None or 0 in series.shape:
        raise ImageFormatError(f"'{path}' holds no pixels that can be read. Export it again as TIFF without extras.")
    nbytes = prod(series.shape) * series.dtype.itemsize
    if series.dataoffset is not None and series.dataoffset + nbytes > tif.filehandle.size:
        raise _cut_short(path)
    if series.kind == "imagej" and series.dataoffset is not None:
        return  # over 4 GB ImageJ writes one page and the rest behind it
    missing = 0
    for page in series.pages:
        if page is None:
            missing += 1
            continue
        size = page.parent.filehandle.size if getattr(page, "parent", None) is not None else tif.filehandle.size
        ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise _cut_short(path)
    if tif.is_imagej and series.kind != "imagej" and (tif.imagej_metadata or {}).get("images", 1) > len(tif.pages):
        raise _cut_short(path)
    if missing:
        warnings.warn(
            f"'{path}' lacks {missing} of its {len(series.pages)} planes; they are read as zeros.",
            VeriscopeWarning,
            stacklevel=2,
        )


def _axes(tif: Any, series: Any) -> tuple[str, str]:
    """Axes that the file states ("": none), and the same with the axes of size 1 that tifffile leaves out."""
    axes, full = series.axes, series.get_axes(False)
    colour = int(series.keyframe.samplesperpixel) > 1
    if colour:  # tifffile's S: the values of a colour pixel. They are channels here
        axes = full = axes.replace("S", "C")
    elif series.kind != "shaped":
        full = full.replace("S", "")  # of size 1
    stated = series.kind != "shaped" or _says_axes(tif, series) or set(axes) <= set("YXC")
    if not stated or not _sound(axes):
        return "", ""
    return axes, full if _sound(full) and set(axes) <= set(full) else axes


def _sound(axes: str) -> bool:
    return not set(axes) - set(ORDER) and len(set(axes)) == len(axes)


def _says_axes(tif: Any, series: Any) -> bool:
    described = tif.shaped_metadata or ()
    return any(str(entry.get("axes", "")).upper() == series.get_axes(False) for entry in described)


def _scale(tif: Any, number: int) -> tuple[dict[str, float | None], float | None]:
    """Voxel size in um per letter and time step in seconds, as far as the metadata says."""
    if tif.is_ome:
        return ome_scale(tif.ome_metadata, number)
    if tif.is_lsm:
        facts = tif.lsm_metadata or {}
        voxel = {letter: micrometres(facts.get(f"VoxelSize{letter}", 0), "m") for letter in "XYZ"}
        return voxel, seconds(facts.get("TimeIntervall", 0), "s")
    if tif.is_imagej:
        return _imagej_scale(tif)
    if tif.pages[0].tags.valueof(296) == 3:  # plain TIFF, pixels per cm
        return _printless(
            {letter: micrometres(_pixel(tif, code), "cm") for letter, code in (("X", 282), ("Y", 283))}
        ), None
    return {}, None


def _pixel(tif: Any, code: int) -> float:
    """Size of a pixel in the unit of the resolution tag `code`, 0 when unknown."""
    value = tif.pages[0].tags.valueof(code)
    try:
        pixels, per = value
        return float(per) / float(pixels)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _printless(voxel: dict[str, float | None]) -> dict[str, float | None]:
    return {} if (voxel.get("X") or 0) >= PRINT_RESOLUTION else voxel


def _imagej_scale(tif: Any) -> tuple[dict[str, float | None], float | None]:
    facts = tif.imagej_metadata or {}
    unit = str(facts.get("unit", ""))
    voxel = {
        "X": micrometres(_pixel(tif, 282), unit),
        "Y": micrometres(_pixel(tif, 283), str(facts.get("yunit", unit))),
    }
    large = micrometres(1.0, unit) or 0
    if large > 1000:  # cm and inch: where the depth is not given, ImageJ's 1 would be 1 cm
        voxel = _printless(voxel)
    if "spacing" in facts:
        voxel["Z"] = micrometres(abs(_number(facts["spacing"])), str(facts.get("zunit", unit)))
    elif large <= 1000:
        voxel["Z"] = micrometres(1.0, unit)  # ImageJ leaves the spacing out when it is 1
    return voxel, seconds(_number(facts.get("finterval", 0)), str(facts.get("tunit", "s")))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def ome_scale(xml: str, number: int) -> tuple[dict[str, float | None], float | None]:
    """Voxel size (um) and time step (s) of image `number` in an OME-XML text, where um and s are the units left out."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return {}, None
    pixels = root.findall("{*}Image/{*}Pixels")
    if number >= len(pixels):
        return {}, None
    facts = pixels[number].attrib
    voxel = {
        letter: micrometres(_number(facts.get(f"PhysicalSize{letter}")), facts.get(f"PhysicalSize{letter}Unit", "µm"))
        for letter in "XYZ"
    }
    return voxel, seconds(_number(facts.get("TimeIncrement")), facts.get("TimeIncrementUnit", "s"))
