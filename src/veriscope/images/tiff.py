"""TIFF, OME-TIFF and ImageJ hyperstacks: their pixels and metadata."""

from __future__ import annotations

import struct
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.axes import sound
from veriscope.errors import ImageFormatError, warn
from veriscope.images.carried import Carried, as_number, micrometres, named, seconds
from veriscope.images.contents import Contents, FileArray, Source, foreseen, pick, stamp
from veriscope.images.lazy import LazyArray
from veriscope.images.ome import Described, described, stated
from veriscope.images.tiff_writing import runs
from veriscope.tiling import Span
from veriscope.wording import lengths
from veriscope.wording import size as data_size

PRINT_RESOLUTION = 20.0  # um: pixels this large, in inch or cm, are a printer's (1200 dpi: 21 um), not a microscope's


def is_tiff(head: bytes) -> bool:
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(path: Path, choice: int | None) -> Contents:
    """Contents of series `choice` of a TIFF file. Raises ImageFormatError if damaged, cut short or holding several."""
    with foreseen(path):
        tif, said = opened(path)
        with tif:
            _check_chain(path, tif)
            number = _chosen(path, tif, choice)
            series = series_of(tif)[number]
            _check_pixels(path, tif, series)
            axes, full_axes = _axes(tif, series, number)
            facts = _facts(path, tif, said, number)
            source = Source(str(path), number, stamp(path), _open_series, _load_series)
            array = FileArray(source, series.shape, series.dtype)
    known = facts.voxel.get("Z") is not None
    shown = "".join(letter for letter in full_axes if letter in axes or (letter == "Z" and known))
    return replace(facts, array=array, axes=axes, full_axes=full_axes, shown=shown)


def opened(path: Path | str) -> tuple[Any, Described]:
    """The file, and what its OME-XML states of it; nothing for other files. To be closed by the caller.

    The planes that an OME-XML names are found by its meaning, also where it is broken, or that of another file.
    """
    import tifffile

    path = Path(path)
    with ExitStack() as closing:
        tif = closing.enter_context(tifffile.TiffFile(path))
        text = tif.pages[0].description if tif.pages else ""
        if not (tif.is_ome or "<OME" in text[:2000]):
            if "<!ENTITY" in text:  # formats such as SCN are parsed by tifffile, not by defusedxml
                raise ImageFormatError(f"'{path}' has a description that declares XML entities. Export it again.")
            closing.pop_all()
            return tif, Described()
        _check_chain(path, tif)
        first = tif.pages[0]
        said = described(path, text, len(tif.pages), int(first.imagewidth) * int(first.imagelength))
    for name in said.files:
        other = path.parent / name
        if other.exists() and not other.is_file():
            raise ImageFormatError(f"'{path}' belongs to a set with '{name}', which is not a file. Remove '{name}'.")
    if said.xml:
        tif = tifffile.TiffFile(path, omexml=said.xml, is_ome=True)
        try:
            if series_of(tif):
                return tif, said
            reason = "it describes no planes that are here"
        except Exception as error:  # of whatever kind: tifffile met a description that contradicts itself
            reason = f"{type(error).__name__}: {error}"
        tif.close()
        said = Described(trouble=f"its description (OME-XML) cannot be understood ({reason})")
    return tifffile.TiffFile(path, is_ome=False), said


def series_of(tif: Any) -> Any:
    """All series of a file without axes of size 1, which tifffile from 2026.5.2 on leaves out when it is asked to."""
    return tif.series(squeeze=True) if callable(tif.series) else tif.series


def members(path: Path) -> frozenset[str]:
    """Names of all files, in the folder of `path`, that make one image together with it. Never reads pixels."""
    with foreseen(path):
        tif, said = opened(path)
        tif.close()
    return said.files or frozenset([path.name])


def _open_series(path: str, number: int) -> Any:
    """A series as a chunked array."""
    import zarr

    with ExitStack() as closing:
        tif = closing.enter_context(opened(path)[0])
        series = series_of(tif)[number]
        if series.dataoffset is not None and not series.is_multifile and series.pages[0].parent is tif:
            dtype = series.dtype.newbyteorder(tif.byteorder)
            return Flat(Path(path), series.dataoffset, series.shape, dtype)
        array = zarr.open_array(series.aszarr(level=0), mode="r")
        closing.pop_all()
    weakref.finalize(array, tif.close)
    return array


def _load_series(path: str, number: int) -> NDArray[Any]:
    tif, _ = opened(path)
    with tif:
        series = series_of(tif)[number]
        whole: NDArray[Any] = series.asarray()
        return whole.reshape(series.shape)


class Flat(LazyArray):
    """Pixels that lie one after the other in a file: any region of them is read by plain reads.

    Libraries read whole strips, and the only strip of a large plane can be all of it. Through a memory map every page
    read would count as memory in use.
    """

    def __init__(self, path: Path, start: int, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self.dtype = path, tuple(shape), dtype
        self.chunks = (*(1 for _ in shape[:-2]), *(min(size, 256) for size in shape[-2:-1]), *shape[-1:])
        self._start, self._lock = start, threading.Lock()
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def region(self, spans: Span) -> NDArray[Any]:
        block = np.empty([span.stop - span.start for span in spans], self.dtype)
        with self._lock:
            for offset, run in runs(self.shape, spans, block):
                self._file.seek(self._start + offset * self.dtype.itemsize)
                left = run.reshape(-1).view(np.uint8).data
                while left:
                    count = self._file.readinto(left)
                    if not count:
                        raise _cut_short(self.path)
                    left = left[count:]
        return block[tuple(slice(None, None, span.step) for span in spans)]


def _check_chain(path: Path, tif: Any) -> None:
    """Follow the chain of pages: where it leads beyond the file, pages are missing, which tifffile ignores."""
    if tif.is_ndpi:  # has its own 64-bit offsets
        return
    large, handle = tif.is_bigtiff, tif.filehandle
    count_format, entry_size, offset_format = ("Q", 20, "Q") if large else ("H", 12, "I")

    def number(place: int, form: str) -> int:
        length = struct.calcsize(f"={form}")
        if place + length > handle.size:
            raise _cut_short(path)
        handle.seek(place)
        return int(struct.unpack(tif.byteorder + form, handle.read(length))[0])

    offset, seen = number(8 if large else 4, offset_format), set[int]()
    while offset and offset not in seen:
        seen.add(offset)
        entries = number(offset, count_format)
        offset = number(offset + struct.calcsize(f"={count_format}") + entries * entry_size, offset_format)
    if not seen:
        raise ImageFormatError(f"'{path}' is a TIFF file without any image. Export it again.")


def _cut_short(path: Path) -> ImageFormatError:
    return ImageFormatError(
        f"'{path}' is cut short: its pages or pixels go beyond the end of the file. Copy or export it again."
    )


def _chosen(path: Path, tif: Any, choice: int | None) -> int:
    """Number of the series to read; several full images need a choice."""
    reduced = [bool(series.pages) and getattr(series.pages[0], "is_reduced", False) for series in series_of(tif)]
    kinds_with_thumbnails = ("lsm", "svs", "scn", "ndpi", "philips", "bif", "qpi", "avs", "stk", "fluoview")
    first = reduced.index(False) if False in reduced else 0
    if choice is None and (reduced.count(False) < 2 or series_of(tif)[first].kind in kinds_with_thumbnails):
        return first
    sizes = [lengths(series.shape) + ", reduced" * small for series, small in zip(series_of(tif), reduced, strict=True)]
    return pick(path, len(series_of(tif)), choice, sizes)


def _check_pixels(path: Path, tif: Any, series: Any) -> None:
    """Every strip and tile must lie inside the file: a file copied in part is found here, before it is read."""
    if series.dtype is None or 0 in series.shape:
        raise ImageFormatError(f"'{path}' holds no pixels that can be read. Export it again as TIFF without extras.")
    nbytes = prod(series.shape) * series.dtype.itemsize
    if series.dataoffset is not None and series.dataoffset + nbytes > tif.filehandle.size:
        raise _cut_short(path)
    if series.kind == "imagej" and series.dataoffset is not None:
        return  # over 4 GB ImageJ writes one page and the rest behind it
    missing = stored = 0
    for page in series.pages:
        if page is None:
            missing += 1
            continue
        size = page.parent.filehandle.size if getattr(page, "parent", None) is not None else tif.filehandle.size
        stored += sum(page.databytecounts)
        ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise _cut_short(path)
    if nbytes > 10**10 and nbytes > 10**5 * max(stored, 1):
        raise ImageFormatError(
            f"'{path}' declares {lengths(series.shape)} pixels ({data_size(nbytes)}), but holds only {stored:,} bytes. "
            f"Copy or export it again."
        )
    if tif.is_imagej and series.kind != "imagej" and (tif.imagej_metadata or {}).get("images", 1) > len(tif.pages):
        raise _cut_short(path)
    if missing:
        warn(f"'{path}' lacks {missing} of its {len(series.pages)} planes; they are read as zeros.")


def _axes(tif: Any, series: Any, number: int) -> tuple[str, str]:
    """Axes that the file states ("": none), and the same with the axes of size 1 that tifffile omits."""
    all_axes = series.get_axes(False) if hasattr(series, "get_axes") else tif.series(squeeze=False)[number].axes
    axes, full = series.axes, all_axes
    colour = int(series.keyframe.samplesperpixel) > 1
    if colour:  # tifffile's S: the values of a colour pixel. They are channels here
        axes = full = axes.replace("S", "C")
    elif series.kind != "shaped":
        full = full.replace("S", "")  # of size 1
    in_text = any(str(one.get("axes", "")).upper() == all_axes for one in tif.shaped_metadata or ())
    stated = series.kind != "shaped" or in_text or set(axes) <= set("YXC")
    if not stated or not sound(axes):
        return "", ""
    return axes, full if sound(full) and set(axes) <= set(full) else axes


def _facts(path: Path, tif: Any, said: Described, number: int) -> Contents:
    """Voxel size in um per letter, time step in seconds and what is carried through, as far as they are stated."""
    if said.note or said.trouble:
        lost = "; axes and voxel size are unknown unless stated elsewhere" * bool(said.trouble)
        warn(f"'{path}': {said.note or said.trouble}{lost}.")
    if tif.is_ome and said.images:
        image = _image_of(tif, said, number)
        if image is None:
            warn(f"'{path}': it is not clear which image of its description is meant; the voxel size is unknown.")
            return Contents(None)
        facts = stated(image)
        if not any(facts.voxel.get(letter) for letter in "XY"):
            facts.voxel |= _resolution(tif)
        return facts
    if tif.is_lsm:
        lsm = tif.lsm_metadata or {}
        voxel = {letter: micrometres(lsm.get(f"VoxelSize{letter}", 0), "m") for letter in "XYZ"}
        return Contents(None, voxel=voxel, time_step=seconds(lsm.get("TimeIntervall", 0), "s"))
    if tif.is_imagej:
        return _of_imagej(tif)
    return Contents(None, voxel=_resolution(tif), trouble=said.trouble)


def _image_of(tif: Any, said: Described, number: int) -> Any:
    """The image of the description that series `number` shows; None where that is unclear."""
    if len(said.images) == 1 or len(said.images) == len(series_of(tif)):
        return said.images[min(number, len(said.images) - 1)]
    alike = [image for image in said.images if image.get("Name", "") == series_of(tif)[number].name]
    return alike[0] if len(alike) == 1 else None


def _resolution(tif: Any) -> dict[str, float | None]:
    """Of a plain TIFF: pixels per cm or inch, unless that is a printer's resolution."""
    unit = {2: "in", 3: "cm"}.get(int(tif.pages[0].tags.valueof(296) or 0))
    return _printless({letter: micrometres(_pixel(tif, code), unit) for letter, code in (("X", 282), ("Y", 283))})


def _pixel(tif: Any, code: int) -> float:
    """Size of a pixel in the unit of the resolution tag `code`, 0 when unknown."""
    try:
        pixels, per = tif.pages[0].tags.valueof(code)
        return float(per) / float(pixels)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _printless(voxel: dict[str, float | None]) -> dict[str, float | None]:
    return {} if (voxel.get("X") or 0) >= PRINT_RESOLUTION else voxel


def _of_imagej(tif: Any) -> Contents:
    """Scale and text; the labels of planes are names of channels where they repeat with the channels."""
    facts = tif.imagej_metadata or {}
    unit = str(facts.get("unit", ""))
    voxel = {
        "X": micrometres(_pixel(tif, 282), unit),
        "Y": micrometres(_pixel(tif, 283), str(facts.get("yunit", unit))),
    }
    large = (micrometres(1.0, unit) or 0) > 1000  # cm and inch: without a depth, ImageJ's 1 would be 1 cm
    voxel = _printless(voxel) if large else voxel
    # ImageJ omits the spacing when it is 1
    if (voxel or not large) and ("spacing" in facts or (not large and "Z" in series_of(tif)[0].axes)):
        voxel["Z"] = micrometres(abs(as_number(facts.get("spacing", 1.0))), str(facts.get("zunit", unit)))
    step = seconds(as_number(facts.get("finterval", 0)), str(facts.get("tunit", "s")))
    labels = tuple(str(label) for label in facts.get("Labels") or ())
    channels = int(as_number(facts.get("channels", 1))) or 1
    names = labels[:channels]
    if names and len(names) == channels and labels == names * (len(labels) // channels):
        labels = ()
    else:
        names = ("",) * channels
    colours = [_brightest(table) for table in facts.get("LUTs") or ()] if channels > 1 else []
    text = str(facts.get("Info", "") or "").strip()
    carried = Carried(named(names, colours), description=text, labels=labels)
    return Contents(None, voxel=voxel, time_step=step, carried=carried)


def _brightest(table: Any) -> str:
    """RRGGBB at the top of a colour table; grey, the default, counts as none."""
    try:
        colour = "".join(f"{int(value):02X}" for value in np.asarray(table)[:3, -1])
    except (IndexError, TypeError, ValueError):
        return ""
    return "" if colour == "FFFFFF" else colour
