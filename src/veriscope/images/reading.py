"""Reading images: TIFF, OME-TIFF, ImageJ hyperstacks, OME-Zarr, NumPy files, and vendor files with the extra `vendor`.

The kind of file is recognised by its first bytes, not by its name. In a file with several images, one is chosen by
its number: ``"embryo.czi::1"``.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Hashable
from math import prod
from pathlib import Path

import numpy as np

from veriscope import axes as ax
from veriscope import stores
from veriscope.errors import AxesError, ImageFormatError, VeriscopeError, warn
from veriscope.images import tiff, vendor
from veriscope.images.contents import Contents, foreseen
from veriscope.images.image import Image
from veriscope.images.omezarr import is_zarr, read_zarr
from veriscope.wording import lengths, shortened

LAZY_OVER = 256 * 2**20  # bytes: larger images stay on disk unless asked otherwise
SUFFIXES = (
    ".ome.tif", ".ome.tiff", ".ome.zarr", ".tif", ".tiff", ".tf8", ".btf", ".lsm", ".stk", ".zarr", ".npy",
    ".nd2", ".czi", ".lif", ".ome.zarr.zip", ".zarr.zip", ".ozx",
)  # fmt: skip
_NOT_OURS = {
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture",
    b"BM": "a BMP picture", b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a ZIP archive", b"%PDF": "a PDF document", b"\x1f\x8b": "a gzip archive",
}  # fmt: skip


def read_image(path: str | Path, axes: str | None = None, lazy: bool | None = None) -> Image:
    """The image in a file or OME-Zarr folder, with voxel size (um) and time step (s) where the file states them.

    `axes` names the dimensions, slowest first, where the file does not (a plain TIFF with more than two). It may
    relabel what a file states (a Z stack saved as time) and add or drop axes of size 1, but not contradict it.
    `lazy` leaves the pixels on disk; None does so over 256 MB. Raises ImageFormatError for what is not a readable
    image, AxesError for missing or unfit axes.
    """
    if axes is not None:
        axes = ax.check(axes)
    file, choice = split_choice(path)
    contents = _contents(file, choice)
    letters = _letters(file, contents, axes)
    name = stem(file) if choice is None else f"{stem(file)}-{choice}"
    array = contents.array
    if lazy is None:
        lazy = prod(array.shape) * array.dtype.itemsize > LAZY_OVER
    pixels = Image(array, letters, name=name).moved(axes or contents.shown or letters)
    voxel_size = _voxel_size(file, contents, pixels.axes)
    image = Image(pixels.array, pixels.axes, voxel_size, contents.time_step, name, contents.carried)
    return image if lazy else image.in_memory()


def _voxel_size(file: Path, contents: Contents, letters: str) -> tuple[float | None, ...]:
    """One number per spatial letter, None where the file does not state it."""
    wanted = ax.spatial(letters)
    missing = [letter for letter in wanted if contents.voxel.get(letter) is None]
    odd = [f"{contents.odd[letter]} along {letter}" for letter in missing if letter in contents.odd]
    if (missing and len(missing) < len(wanted)) or odd:
        stated = f" (it states {', '.join(odd)})" if odd else ""
        warn(f"'{file}' does not state the voxel size along {', '.join(missing)}{stated}; it is unknown there.")
    return tuple(contents.voxel.get(letter) for letter in wanted)


def _letters(file: Path, contents: Contents, axes: str | None) -> str:
    """The letters of the array's dimensions; `axes` are those of the user."""
    stated, shape = contents.axes, tuple(contents.array.shape)
    text = lengths(shape)
    if axes is None:
        if stated:
            return stated
        example = {2: "YX", 3: "ZYX", 4: "TZYX"}.get(len(shape), "TZCYX")
        why = f": {contents.trouble}" if contents.trouble else ""
        raise AxesError(
            f"'{file}' does not state its {len(shape)} axes ({text}){why}. "
            f"Name them with axes, slowest first, for example axes='{example}' (--axes {example})."
        )
    if len(axes) == len(shape):
        if axes != stated and set(axes) == set(stated):
            raise AxesError(
                f"'{file}' states that its axes ({text}) are {stated}, which '{axes}' contradicts. "
                f"Omit axes or give {stated}; for another order use image.moved('{axes}')."
            )
        return axes
    gone = [size for letter, size in zip(stated, shape, strict=False) if letter not in axes]
    if stated and set(axes) <= set(contents.full_axes) and all(size == 1 for size in gone):
        return stated
    known = f", which the file states to be {stated}" if stated else ""
    raise AxesError(
        f"Axes '{axes}' name {len(axes)} dimensions, but '{file}' has {len(shape)}: {text}{known}. "
        f"Give one letter per dimension, slowest first."
    )


def _contents(file: Path, choice: int | None) -> Contents:
    with foreseen(file):
        if is_zarr(file):
            return read_zarr(file, choice)
        if stores.url(file) is not None:
            names_there(file)  # raises what is wrong with the store
            raise ImageFormatError(f"There is no OME-Zarr at '{file}'. Check the address.")
        if not file.exists():
            raise ImageFormatError(f"'{file}' does not exist. Check the name and the folder.")
        if not (file.is_file() or file.is_dir()):
            raise ImageFormatError(f"'{file}' is a pipe, socket or device, not a file. Give an image.")
        if file.is_dir():
            if file.suffix.lower() == ".zarr":
                raise ImageFormatError(f"'{file}' is an empty or damaged Zarr folder, without metadata. Copy it again.")
            raise ImageFormatError(f"'{file}' is a folder, not an image. Give one of the images in it.")
        with file.open("rb") as stream:
            head = stream.read(16)
    if head.startswith(b"PK\x03\x04") and stores.is_zip(file):
        return read_zarr(file, choice)
    if not head:
        raise ImageFormatError(f"'{file}' is empty (0 bytes). Copy or export it again.")
    if (kind := vendor.kind(head, file)) is not None:
        return vendor.read_vendor(file, kind, choice)
    if tiff.is_tiff(head):
        return tiff.read_tiff(file, choice)
    if head.startswith(b"\x93NUMPY"):
        with foreseen(file):
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        axes = "YX" if array.ndim == 2 else ""
        return Contents(array, axes, axes)
    known = next((what for start, what in _NOT_OURS.items() if head.startswith(start)), None)
    raise ImageFormatError(
        f"'{file}' is {known or 'not an image of a known kind'}. Images are TIFF, OME-TIFF, OME-Zarr, NumPy (.npy), or "
        f"ND2, CZI, LIF; Fiji and other programs can save as TIFF."
    )


def split_choice(path: str | Path) -> tuple[Path, int | None]:
    """``"a.czi::1"`` means image 1 in a.czi; a file that is really called so comes first."""
    found = re.fullmatch(r"(.+)::(\d+)", str(path))
    if found is None or Path(path).exists():
        return Path(path), None
    return Path(found[1]), int(found[2])


def stem(path: str | Path) -> str:
    """File name without the suffix of its image format: "cell.ome.tif" -> "cell"."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def list_images(path: str | Path, *more: str | Path) -> list[Path]:
    """The images that `path` means, sorted by name: a file or .zarr, the images in a folder, or a glob's matches.

    An image that has several names, such as an OME-TIFF of several files, is listed once, under the first, with a
    warning. Raises ImageFormatError when there are none.
    """
    names_of: dict[Hashable, list[Path]] = {}
    for found in dict.fromkeys(name for place in (path, *more) for name in list_names(place)):
        names_of.setdefault(identity(found), []).append(found)
    for first, *others in names_of.values():
        if others:
            names = shortened([f"'{other}'" for other in others], 3)
            warn(f"'{first}' and {names} are one image, which is used once, under the first name.")
    return [first for first, *_ in names_of.values()]


def identity(path: str | Path) -> Hashable:
    """The same for all names of one image: links, spellings of a path, files of a set. Never reads pixels."""
    file, choice = split_choice(path)
    place = file.parent
    try:
        if not file.is_file():
            folder = file.stat()
            return folder.st_dev, folder.st_ino, choice or 0
        with file.open("rb") as stream:
            head = stream.read(16)
        names = tiff.members(file) if tiff.is_tiff(head) else [file.name]
        facts = [(place / name).stat() for name in names if (place / name).exists()]
        return frozenset((one.st_dev, one.st_ino) for one in facts), choice or 0
    except (OSError, VeriscopeError):
        return str(path)  # reading it will explain what is wrong


def list_names(path: str | Path) -> list[Path]:
    """As `list_images`, but every name, also where several mean one image."""
    place, choice = split_choice(path)
    if stores.url(place) is not None:
        if choice is not None or place.name.lower().endswith(".zarr") or is_zarr(place):
            return [Path(path)]
        found = [place / name for name in names_there(place) if name.lower().endswith(".zarr")]
        if not found:
            raise ImageFormatError(f"There are no images (.zarr) at '{place}'. Check the address.")
        return found
    if choice is not None and place.exists():
        return [Path(path)]
    if place.is_dir() and not is_zarr(place) and place.suffix.lower() != ".zarr":
        images = [entry for entry in sorted(place.iterdir()) if _looks_like_image(entry)]
        if not images:
            raise ImageFormatError(f"Folder '{place}' has no images ({', '.join(SUFFIXES)}). Check the folder.")
        return images
    if place.exists():
        return [place]
    if glob.has_magic(str(path)):
        images = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if _looks_like_image(Path(name))]
        if not images:
            raise ImageFormatError(f"No image matches '{path}'. Check the pattern.")
        return images
    raise ImageFormatError(f"'{place}' does not exist. Check the name and the folder.")


def names_there(place: Path) -> list[str]:
    """What lies at an address. Raises ImageFormatError where it cannot be listed."""
    if str(stores.url(place)).startswith("http"):
        raise ImageFormatError(f"What lies at '{place}' cannot be listed. Give the address of an OME-Zarr image in it.")
    with stores.explained(place, ImageFormatError):
        return stores.names(place)


def holds_images(folder: Path) -> bool:
    """Whether `folder` is a folder with images in it, and not an image itself."""
    return folder.is_dir() and not _looks_like_image(folder) and any(map(_looks_like_image, folder.iterdir()))


def _looks_like_image(path: Path) -> bool:
    """By name; files that begin with a dot belong to the system."""
    return not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)
