"""OME-Zarr (NGFF) 0.4 and 0.5, and plain Zarr arrays: what they hold and what their metadata says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.axes import ORDER
from veriscope.errors import ImageFormatError
from veriscope.images.contents import Contents, FileArray, foreseen, stamp
from veriscope.images.units import micrometres, seconds

MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Whether the folder `path` is a Zarr group or array."""
    return path.is_dir() and any((path / marker).is_file() for marker in MARKERS)


@dataclass(frozen=True)
class ZarrSource:
    """An array inside a Zarr folder."""

    path: str
    inside: str
    stamp: tuple[int, int]

    def open(self) -> Any:
        import zarr

        return zarr.open_array(self.path, path=self.inside, mode="r")

    def load(self) -> NDArray[Any]:
        return np.asarray(self.open()[...])


def read_zarr(path: Path, choice: int | None) -> Contents:
    """Contents of the full-size level of an OME-Zarr image, or of a plain Zarr array."""
    import zarr

    with foreseen(path):
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            names = "".join(str(name or "?") for name in getattr(node.metadata, "dimension_names", None) or ()).upper()
            axes = names if names and not set(names) - set(ORDER) and len(set(names)) == len(names) == node.ndim else ""
            return Contents(FileArray(ZarrSource(str(path), "", stamp(path)), node.shape, node.dtype), axes, axes)
        inside, multiscale = _multiscale(path, node, choice)
        datasets = multiscale.get("datasets") or []
        if not datasets or "path" not in datasets[0]:
            raise ImageFormatError(
                f"'{path}' lists no levels in its multiscales. Write it again as OME-Zarr 0.4 or 0.5."
            )
        source = ZarrSource(str(path), f"{inside}{datasets[0]['path']}", stamp(path))
        level = source.open()
        array = FileArray(source, level.shape, level.dtype)
        letters, units = _axes(multiscale.get("axes") or [])
        if len(letters) != array.ndim:
            letters = ""
        scale = _scale(multiscale, datasets[0], array.ndim)
        voxel = {a: micrometres(s, u) for a, s, u in zip(letters, scale, units, strict=False) if a in "ZYX"}
        steps = [seconds(s, u) for a, s, u in zip(letters, scale, units, strict=False) if a == "T"]
    return Contents(array, letters, letters, voxel, steps[0] if steps else None)


def _multiscale(path: Path, group: Any, choice: int | None) -> tuple[str, Mapping[str, Any]]:
    """Where the image is inside the group ("" or "0/"), and its multiscales entry."""
    facts = _facts(group)
    several = facts.get("multiscales") or []
    if several:
        if choice is not None and not 0 <= choice < len(several):
            raise ImageFormatError(f"'{path}' holds {len(several)} images; '::{choice}' is not one of them.")
        if len(several) > 1 and choice is None:
            raise ImageFormatError(
                f"'{path}' holds {len(several)} images. Choose one by its number, as in '{path}::0'."
            )
        return "", several[choice or 0]
    inner = sorted((key for key in group.group_keys() if key.isdecimal()), key=int)
    images = [key for key in inner if _facts(group[key]).get("multiscales")]  # the layout of bioformats2raw
    if not images:
        wells = " It is a plate: give one of its fields instead, such as A/1/0." if "plate" in facts else ""
        raise ImageFormatError(
            f"'{path}' is a Zarr folder, but no OME-Zarr image: its metadata has no 'multiscales'.{wells} "
            f"Give an OME-Zarr image, or a Zarr array inside it together with its axes."
        )
    if choice is None and len(images) > 1:
        raise ImageFormatError(
            f"'{path}' holds {len(images)} images: {', '.join(images[:10])}. Choose one, as in '{path}/{images[0]}'."
        )
    wanted = images[0] if choice is None else str(choice)
    if wanted not in images:
        raise ImageFormatError(f"'{path}' holds the images {', '.join(images[:10])}; '::{choice}' is not one of them.")
    return f"{wanted}/", _facts(group[wanted])["multiscales"][0]


def _facts(group: Any) -> Mapping[str, Any]:
    attributes = group.attrs.asdict()
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _axes(described: Sequence[Any]) -> tuple[str, list[str | None]]:
    """Letters and units; version 0.3 has plain names. "" when a name is none of ours."""
    names = [str(axis.get("name", "?") if isinstance(axis, Mapping) else axis).upper() for axis in described]
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in described]
    letters = "".join(names)
    sound = all(name in ORDER and len(name) == 1 for name in names) and len(set(names)) == len(names)
    return (letters if sound else ""), units


def _scale(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int) -> list[float]:
    """Size of a voxel of this level: the product of the scale of the level and that of the whole."""
    total = [1.0] * ndim
    for place in (dataset, multiscale):
        for transform in place.get("coordinateTransformations") or []:
            if transform.get("type") == "scale" and len(transform.get("scale", ())) == ndim:
                total = [have * float(more) for have, more in zip(total, transform["scale"], strict=True)]
    return total
