"""OME-XML: which image of the description has its planes in a file, and what it states of this image.

A description may be in the file, in a companion file beside it, or in each file of a set; it may be that of a file that
was renamed, and it may be broken. Errors are mended where the meaning is plain, and reported where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from veriscope.images.carried import Carried, as_number, micrometres, named, seconds
from veriscope.images.contents import Contents

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST = 2**28  # bytes of a companion file
REFERENCE = "reference frame"  # the unit of positions without one


@dataclass(frozen=True)
class Described:
    """OME-XML for one file, mended and cut down to the images that have planes in it.

    `xml` is "" where the description cannot be used, for the reason `trouble`; `files` are the names of all files
    with planes of the same images, in the folder of this one.
    """

    xml: str = ""
    images: tuple[Element, ...] = ()
    files: frozenset[str] = frozenset()
    trouble: str = ""
    note: str = ""


def described(path: Path, text: str, pages: int, pixels: int) -> Described:
    """What the OME-XML `text` in the file `path`, of so many pages of so many pixels, states of this file."""
    try:
        root = parsed(text)
    except ValueError as error:
        return Described(trouble=f"its description (OME-XML) cannot be understood: {error}")
    note, uuid = "", root.get("UUID")
    if (pointer := root.find("{*}BinaryOnly")) is not None:
        name = Path(pointer.get("MetadataFile", "").replace("\\", "/")).name
        companion = path.parent / name
        if not name or not companion.is_file():
            return Described(trouble=f"its description is in a companion file, '{name}', which is not beside it")
        if companion.stat().st_size > LARGEST:
            return Described(trouble=f"its companion file '{name}' is too large for a description")
        try:
            root = parsed(companion.read_bytes().decode("utf-8", "replace"))
        except ValueError as error:
            return Described(trouble=f"its companion file '{name}' cannot be understood: {error}")
        note = f"axes and voxel size are read from its companion file '{name}'"
        root.attrib.pop("UUID", None)  # a companion file has a mark of its own
        if uuid is not None:
            root.set("UUID", uuid)
    described = _for_file(root, path, uuid, pages, note, own=pointer is None)
    for image in described.images:
        if said := _too_much(image, pages * len(described.files), pixels):
            return Described(trouble=f"its description (OME-XML) {said}")
    return described


def parsed(text: str) -> Element:
    """The root of an XML text, mended where its meaning is plain. Raises ValueError where it is not."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.ElementTree import fromstring

    try:
        try:
            root: Element = fromstring(text.strip("\0 \t\r\n\ufeff"), forbid_dtd=True)
        except ParseError:
            root = fromstring(_mended(text), forbid_dtd=True)
    except (ParseError, RecursionError, LookupError) as error:
        raise ValueError(str(error)) from error
    return root


def _mended(text: str) -> str:
    """Without control characters; bare & and < as what they stand for."""
    text = re.sub(r"&#(x0*(?:[0-8bcBCefEF]|1[0-9a-fA-F])|0*(?:[0-8]|1[124-9]|2\d|3[01]));", "", text)
    text = re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]", "", text).strip().lstrip("\ufeff")
    text = re.sub(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)", "&amp;", text)
    return re.sub(r"<(?![A-Za-z_/!?])", "&lt;", text)


def _for_file(root: Element, path: Path, uuid: str | None, pages: int, note: str, own: bool) -> Described:
    """Only the images of `root` with planes in `path`."""
    from xml.etree.ElementTree import SubElement, tostring

    images = [image for image in root.findall("{*}Image") if image.find("{*}Pixels") is not None]
    every = [mark for image in images for mark in image.findall("{*}Pixels/{*}TiffData/{*}UUID")]
    names = {_name(mark).lower() for mark in every}
    known = any((uuid and mark.text == uuid) or _name(mark).lower() == path.name.lower() for mark in every)
    entries = root.findall("{*}Image/{*}Pixels/{*}TiffData")
    ends = [as_number(entry.get("IFD", 0)) + as_number(entry.get("PlaneCount", 1)) for entry in entries]
    if len(names) == 1 and len(every) == len(entries) and not known and pages >= max(ends, default=0) > 0:  # renamed
        for entry in entries:
            for mark in entry.findall("{*}UUID"):
                entry.remove(mark)
    if len(images) == 1 and own and images[0].find("{*}Pixels/{*}TiffData") is None:
        pixels = images[0].find("{*}Pixels")
        if pixels is not None and pixels.find("{*}MetadataOnly") is None:
            SubElement(pixels, f"{pixels.tag.removesuffix('Pixels')}TiffData", IFD="0", PlaneCount=str(pages))
    kept, files = [], set()
    for image in images:
        inside = [_file(entry, path, uuid) for entry in image.iterfind("{*}Pixels/{*}TiffData")]
        if path.name in inside:
            kept.append(image)
            files |= set(inside)
        else:
            root.remove(image)
    if not kept:
        elsewhere = ", ".join(sorted({mark.get("FileName", "?") for mark in every})[:3])
        where = f"says that its planes are in {elsewhere}" if elsewhere else "holds no image with pixels"
        return Described(trouble=f"its description (OME-XML) {where}")
    for mark in root.iterfind("{*}Image/{*}Pixels/{*}TiffData/{*}UUID"):  # never outside of the folder
        mark.set("FileName", _name(mark))
    return Described(tostring(root, encoding="unicode"), tuple(kept), frozenset(files), note=note)


def _too_much(image: Element, pages: int, pixels: int) -> str:
    """What is declared far beyond the pages that there are; "" where nothing is."""
    facts, most = _pixels(image), 1000 + 100 * pages  # planes may be missing
    planes = [as_number(facts.get(f"Size{letter}", 1)) for letter in "ZCT"]
    counts = [prod(planes)]
    for entry in image.iterfind("{*}Pixels/{*}TiffData"):
        usual = {"IFD": 0, "PlaneCount": 1, "NumPlanes": 0}
        counts.append(sum(as_number(entry.get(key, value)) for key, value in usual.items()))
        counts += [as_number(entry.get(f"First{letter}", 0)) for letter in "ZCT"]
    worst = max(counts)
    if worst > most:
        return f"declares {worst:,.0f} planes, but {pages:,} are there"
    size = prod(as_number(facts.get(f"Size{letter}", 1)) for letter in "YX")
    return f"declares planes of {size:,.0f} pixels, but they have {pixels:,}" if size > 100 * pixels else ""


def _name(mark: Element) -> str:
    """Without its folder: files are only looked for in the folder of the image."""
    return Path(mark.get("FileName", "").replace("\\", "/")).name


def _file(entry: Element, path: Path, uuid: str | None) -> str:
    """Name of the file with the planes: that of `path` where no other is stated."""
    mark = entry.find("{*}UUID")
    if mark is None or (uuid and mark.text == uuid) or _name(mark).lower() == path.name.lower():
        return path.name
    return _name(mark)


# What is stated of an image


def stated(image: Element) -> Contents:
    """Voxel size and time step (um and s are the default units), names of channels, position, acquisition, text."""
    facts = _pixels(image)
    units = {letter: facts.get(f"PhysicalSize{letter}Unit", "µm") for letter in "XYZ"}
    voxel = {a: micrometres(as_number(facts.get(f"PhysicalSize{a}")), unit) for a, unit in units.items()}
    sizes = {a: facts[f"PhysicalSize{a}"] for a in "XYZ" if f"PhysicalSize{a}" in facts}
    channels = image.findall("{*}Pixels/{*}Channel")
    names = [channel.get("Name") or channel.get("Fluor") or "" for channel in channels]
    carried = Carried(
        channels=named(names, [_colour(channel.get("Color")) for channel in channels]),
        position=dict(_position(image)),
        acquired=(image.findtext("{*}AcquisitionDate") or "").strip(),
        description=(image.findtext("{*}Description") or "").strip(),
    )
    return Contents(
        None,
        voxel=voxel,
        time_step=seconds(as_number(facts.get("TimeIncrement")), facts.get("TimeIncrementUnit", "s")),
        carried=carried,
        odd={a: f"{size} {units[a]}" for a, size in sizes.items() if voxel[a] is None},
    )


def _pixels(image: Element) -> dict[str, str]:
    pixels = image.find("{*}Pixels")
    return {} if pixels is None else pixels.attrib


def _position(image: Element) -> Iterator[tuple[str, tuple[float, str]]]:
    """Of the first plane; of the stage where planes have none."""
    label = image.find("{*}StageLabel")
    plane = image.find("{*}Pixels/{*}Plane")
    for letter in "ZYX":
        for place, key in ((plane, f"Position{letter}"), (label, letter)):
            if place is not None and key in place.attrib:
                yield letter, (as_number(place.get(key)), place.get(f"{key}Unit", REFERENCE))
                break


def _colour(value: str | None) -> str:
    """RRGGBB of a signed RGBA number; white, the default, counts as none."""
    try:
        colour = f"{(int(value or '-1') >> 8) & 0xFFFFFF:06X}"
    except ValueError:
        return ""
    return "" if colour == "FFFFFF" else colour
