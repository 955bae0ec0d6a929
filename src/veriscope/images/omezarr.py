"""OME-Zarr (NGFF) 0.4 and 0.5, and plain Zarr arrays: their pixels and metadata."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from veriscope import stores
from veriscope.axes import SPACE, sound
from veriscope.errors import ImageFormatError, warn
from veriscope.images.carried import Carried, as_number, micrometres, named, seconds
from veriscope.images.contents import Contents, FileArray, Source, foreseen, pick, stamp
from veriscope.wording import lengths, shortened
from veriscope.wording import size as data_size

LARGEST_CHUNK = 2**33  # bytes of a chunk that is read
SUSPICIOUS_BYTES, SUSPICIOUS_PIECES = 10**10, 10**6  # of arrays whose files are counted before anything is read


def is_zarr(path: Path) -> bool:
    """Whether the folder, or what lies at the address, `path` is a Zarr group or array."""
    if stores.url(path) is not None:
        with stores.explained(path, ImageFormatError):
            return any(stores.get(path, marker) is not None for marker in stores.MARKERS)
    return path.is_dir() and any((path / marker).is_file() for marker in stores.MARKERS)


def read_zarr(path: Path, choice: int | None) -> Contents:
    """Contents of the full-size level of an OME-Zarr image, or of a plain Zarr array."""
    import zarr

    with foreseen(path):
        node = zarr.open(stores.opened(path, read_only=True), mode="r")
        if isinstance(node, zarr.Array):
            names = "".join(str(name or "?") for name in getattr(node.metadata, "dimension_names", None) or ()).upper()
            axes = names if len(names) == node.ndim and sound(names) else ""
            _check_declared(path, path, node)
            source = Source(str(path), "", stamp(path), _opened)
            return Contents(FileArray(source, node.shape, node.dtype), axes, axes)
        inside, multiscale = _multiscale(path, node, choice)
        datasets = multiscale.get("datasets") or []
        if not datasets or "path" not in datasets[0]:
            raise ImageFormatError(f"'{path}' lists no levels in its multiscales. Write it again as OME-Zarr.")
        place = f"{inside}{datasets[0]['path']}"
        level = _opened(str(path), place)
        _check_declared(path, path / place, level)
        array = FileArray(Source(str(path), place, stamp(path), _opened), level.shape, level.dtype)
        letters, units = _axes(multiscale, array.ndim)
        letters = letters if len(letters) == array.ndim else ""
        scales = _transforms("scale", multiscale, datasets[0], array.ndim)
        scale = [prod(values) for values in zip([1.0] * array.ndim, *scales, strict=True)]
        voxel, step, odd = _sizes(path, letters, units, scale)
        start = [*_transforms("translation", multiscale, datasets[0], array.ndim), [0.0] * array.ndim][0]
        carried = _carried(node[inside.rstrip("/")] if inside else node, letters, start, voxel)
    return Contents(array, letters, letters, voxel, step, carried=carried, odd=odd)


def _opened(path: str, inside: str) -> Any:
    import zarr

    return zarr.open_array(stores.opened(path, read_only=True), path=inside, mode="r")


def _check_declared(path: Path, folder: Path, level: Any) -> None:
    """Raise ImageFormatError for an array that declares much more than is there, before memory is used for it."""
    piece = level.shards if getattr(level, "shards", None) else level.chunks
    pieces = prod(-(-size // step) for size, step in zip(level.shape, piece, strict=True))
    nbytes = prod(level.shape) * level.dtype.itemsize
    size = f"{lengths(level.shape)} pixels ({data_size(nbytes)})"
    if prod(level.chunks) * level.dtype.itemsize > LARGEST_CHUNK:
        raise ImageFormatError(
            f"'{path}' declares {size} in chunks of {lengths(level.chunks)}, too large to be read. Write it again in "
            f"smaller chunks, or with its real size."
        )
    if folder.is_dir() and (nbytes > SUSPICIOUS_BYTES or pieces > SUSPICIOUS_PIECES):
        wanted = pieces // 1000 + 1
        files = (name for *_, names in os.walk(folder) for name in names if name not in (*stores.MARKERS, ".zmetadata"))
        stored = sum(1 for _ in itertools.islice(files, wanted))
        if stored < wanted:
            raise ImageFormatError(
                f"'{path}' declares {size} in {pieces:,} pieces, of which only {stored:,} are there. Copy it again, or "
                f"write it with its real size."
            )


def _multiscale(path: Path, group: Any, choice: int | None) -> tuple[str, Mapping[str, Any]]:
    """Where the image is inside the group ("" or "0/"), and its multiscales entry."""
    facts = _facts(group)
    if several := facts.get("multiscales") or []:
        return "", several[pick(path, len(several), choice)]
    inner = sorted((key for key in group.group_keys() if key.isdecimal()), key=int)
    images = [key for key in inner if _facts(group[key]).get("multiscales")]  # the layout of bioformats2raw
    if not images:
        wells = " It is a plate: give one of its fields instead, such as A/1/0." if "plate" in facts else ""
        raise ImageFormatError(
            f"'{path}' is a Zarr folder, but not an OME-Zarr image: its metadata has no 'multiscales'.{wells} "
            f"Give an OME-Zarr image, or a Zarr array inside it together with its axes."
        )
    if choice is None and len(images) > 1:
        raise ImageFormatError(
            f"'{path}' holds {len(images)} images: {shortened(images)}. Choose one, as in '{path}/{images[0]}'."
        )
    wanted = images[0] if choice is None else str(choice)
    if wanted not in images:
        raise ImageFormatError(f"'{path}' holds the images {shortened(images)}; '::{choice}' is not one of them.")
    return f"{wanted}/", _facts(group[wanted])["multiscales"][0]


def _facts(group: Any) -> Mapping[str, Any]:
    attributes = group.attrs.asdict()
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _axes(multiscale: Mapping[str, Any], ndim: int) -> tuple[str, list[str | None]]:
    """Letters and units; version 0.3 has plain names, those before have always the same five. By the type of an axis
    where it is stated, whatever its name; "" where neither is known.
    """
    described = multiscale.get("axes") or []
    if not described and ndim == 5 and str(multiscale.get("version", "0.1")) in ("0.1", "0.2"):
        return "TCZYX", [None] * 5
    entries = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in described]
    names = [str(axis.get("name", "?")).upper() for axis in entries]
    types = [str(axis.get("type", "")) for axis in entries]
    letters = [{"time": "T", "channel": "C"}.get(kind, name) for kind, name in zip(types, names, strict=True)]
    free = [letter for letter in "XYZ" if letter not in letters]  # the last is X, then Y, then Z
    for place in reversed(range(len(letters))):
        if types[place] == "space" and letters[place] not in "XYZ" and free:
            letters[place] = free.pop(0)
    whole = all(len(letter) == 1 for letter in letters) and sound("".join(letters))
    return ("".join(letters) if whole else ""), [
        None if (unit := axis.get("unit")) is None else str(unit) for axis in entries
    ]


def _sizes(
    path: Path, letters: str, units: Sequence[str | None], scale: Sequence[float]
) -> tuple[dict[str, float | None], float | None, dict[str, str]]:
    """Voxel size in um, time step in s, and what is stated but not a length. A scale without unit is read as um; 1
    without unit states nothing.
    """
    sizes = dict(zip(letters, zip(scale, units, strict=False), strict=False))
    space = {letter: sizes[letter] for letter in letters if letter in SPACE}
    bare = [letter for letter, (_, unit) in space.items() if not unit]
    meant = any(space[letter][0] != 1 for letter in bare)
    if len(bare) < len(space):  # others have a unit: 1 without one was not measured
        bare = [letter for letter in bare if space[letter][0] != 1]
    if bare and meant:
        text = lengths(float(space[letter][0]) for letter in bare)
        warn(f"'{path}' states the voxel size along {', '.join(bare)} without a unit; {text} is read as um.")
        space |= {letter: (space[letter][0], "um") for letter in bare}
    voxel = {letter: micrometres(size, unit) for letter, (size, unit) in space.items()}
    odd = {a: f"{size:g} {unit}" for a, (size, unit) in space.items() if unit and voxel[a] is None}
    step = sizes.get("T", (1.0, None))
    if step[0] != 1 and seconds(*step) is None:
        warn(f"'{path}' states a time step of {step[0]:g} {step[1] or 'without a unit'}; it is treated as unknown.")
    return voxel, seconds(*step), odd


def _carried(group: Any, letters: str, start: Sequence[float], voxel: Mapping[str, float | None]) -> Carried:
    """Channels as OMERO names them, where the image begins, and what this program added."""
    omero = _facts(group).get("omero")
    entries = omero.get("channels") if isinstance(omero, Mapping) else None
    channels = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    names = [str(channel.get("label") or "") for channel in channels]
    colours = [str(channel.get("color") or "").upper().lstrip("#") for channel in channels]
    colours = [colour if re.fullmatch("(?!FFFFFF)[0-9A-F]{6}", colour) else "" for colour in colours]
    own = group.attrs.get("veriscope")
    own = own if isinstance(own, Mapping) else {}
    place = {letter: (at, "um") for letter, at in zip(letters, start, strict=False) if at and voxel.get(letter)}
    for letter, entry in (own.get("position") or {}).items():
        if letter in SPACE and isinstance(entry, list) and len(entry) == 2:
            place[letter] = (as_number(entry[0]), str(entry[1]))
    acquired, description = (str(own.get(name) or "") for name in ("acquired", "description"))
    return Carried(named(names, colours), place, acquired, description)


def _transforms(kind: str, multiscale: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int) -> list[list[float]]:
    """The numbers of the transformations of a level, then of the whole, whose type is `kind`."""
    transforms = (one for place in (dataset, multiscale) for one in place.get("coordinateTransformations") or [])
    numbers = [one.get(kind, ()) for one in transforms if one.get("type") == kind]
    return [[as_number(value) for value in values] for values in numbers if len(values) == ndim]
