"""Writing images: OME-TIFF, ImageJ hyperstacks, OME-Zarr 0.5 and 0.4, whole or region by region.

Everything is written under a temporary name beside the final one and renamed when it is complete; after an error
nothing is left. The format follows the suffix: .ome.tif OME-TIFF, .tif ImageJ hyperstack (OME-TIFF where ImageJ lacks
the type or the file exceeds 4 GB), .zarr OME-Zarr.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as ax
from veriscope import saving, stores
from veriscope.errors import DataError, OutputError, warn
from veriscope.images.image import Image, pieces
from veriscope.images.lazy import Blank, as_slice, plain_index, shape_of
from veriscope.images.omezarr import is_zarr
from veriscope.images.reading import stem
from veriscope.images.tiff_writing import TiffTarget, imagej_can
from veriscope.images.zarr_writing import Layout, ZarrTarget, good_chunks, moved_chunks, zarr_order
from veriscope.wording import listed


def save_image(
    path: str | Path, image: Image, overwrite: bool = False, *, version: str = "0.5", uuid: str | None = None
) -> Path:
    """Write an image with its axes, voxel size, time step and whatever else is known of it; returns the path.

    The suffix names the format.

    Lazy images are copied piece by piece; what is computed when read is computed once. Truth values become 0 and 1 in
    TIFF. `version` is that of OME-Zarr, 0.5 or 0.4; `uuid` the mark that tells an OME-TIFF from all others, drawn if
    left out. Raises OutputError when the file exists, cannot be written or the disk is full, AxesError or DataError for
    what the format cannot hold.
    """
    chunks = None if image.cuts is None else image.chunks
    with open_writer(path, image, overwrite, chunks, version=version, uuid=uuid) as writer:
        for spans in pieces(image, 2**26, writer.chunks):
            writer.write(spans, image.read(*spans))
    return writer.path


def open_writer(
    path: str | Path,
    image: Image,
    overwrite: bool = False,
    chunks: Sequence[int] | None = None,
    *,
    version: str = "0.5",
    uuid: str | None = None,
) -> Writer:
    """A file to be written region by region, for images larger than memory. Use it in a ``with`` block.

    `image` says all but the pixels, which may not exist yet: its array can be a `Blank`. `chunks` (OME-Zarr only) and
    the regions are in the order of its axes, whatever the order in the file. Leaving the block completes the file
    (pyramid, rename); leaving it by an exception deletes what was written. Raises like save_image.
    """
    final = Path(path)
    facts = replace(image, array=Blank(image.shape, image.dtype), name=image.name or stem(final))
    axes = ax.image_axes(facts.axes, f"'{final}'")
    suffix = final.name.lower()
    zarr = suffix.endswith((".zarr", *stores.ZIPPED))
    if not zarr and not suffix.endswith((".tif", ".tiff")):
        raise OutputError(
            f"'{final}' names no format that can be written. "
            f"Use .ome.tif for OME-TIFF, .tif for ImageJ, or .ome.zarr for OME-Zarr."
        )
    check_place(final, overwrite, folder=zarr)
    with saving.explained(final):
        temporary = final if stores.url(final) is not None else saving.fresh(final, zarr)
        target: TiffTarget | ZarrTarget
        try:
            if zarr:
                order = zarr_order(axes, final)
                target = ZarrTarget(zarr_layout(temporary, facts, chunks, version=version))
            else:
                ome = suffix.endswith((".ome.tif", ".ome.tiff")) or not imagej_can(facts)
                order = "".join(letter for letter in ("TCZYX" if ome else "TZCYX") if letter in axes)
                target = TiffTarget(temporary, final, facts.moved(order) if "S" not in axes else facts, ome, uuid)
        except BaseException:
            stores.remove(temporary)
            raise
    if gone := [_WORDS[name] for name in target.without if getattr(facts.carried, name)]:
        warn(f"'{final.name}' has no place for {listed(gone)}, which the image had.")
    return Writer(final, temporary, target, facts, order, overwrite)


def zarr_layout(
    place: Path,
    facts: Image,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    version: str = "0.5",
) -> Layout:
    """How an OME-Zarr image is laid out at `place`; chunks and shards are in the order of the axes of `facts`."""
    order = zarr_order(facts.axes, place)
    moved = facts.moved(order)
    return Layout(
        place, moved, moved_chunks(chunks, facts.axes, order) or good_chunks(moved),
        moved_chunks(shards, facts.axes, order), version,
    )  # fmt: skip


class Writer:
    """A file in the making. `chunks`: a good size for regions, in the order of the axes that were asked for."""

    def __init__(
        self, path: Path, temporary: Path, target: TiffTarget | ZarrTarget, facts: Image, order: str, overwrite: bool
    ) -> None:
        self.path, self._overwrite = path, overwrite
        self.axes, self.shape, self.dtype = facts.axes, facts.shape, facts.dtype
        self.chunks: tuple[int, ...] = tuple(target.chunks[order.index(letter)] for letter in facts.axes)
        self._temporary, self._target = temporary, target
        self._complete = False
        self._transpose = [facts.axes.index(letter) for letter in order]

    def write(self, slices: Sequence[slice | int], array: NDArray[Any]) -> None:
        """Put `array` into the region `slices` (one per axis, in the order of `axes`; an int means one entry).

        `array` has the type of the file or one that goes into it without rounding; see `cast`.
        """
        parts = plain_index(tuple(slices), self.shape)
        spans = [as_slice(part) for part in parts]
        wanted = shape_of(spans)
        given = np.asarray(array)
        taken = tuple(size for size, part in zip(wanted, parts, strict=True) if isinstance(part, slice))
        if given.shape not in (wanted, taken):
            raise DataError(
                f"An array of shape {given.shape} does not fit the region of shape {wanted} in '{self.path}'."
            )
        if not np.can_cast(given.dtype, self.dtype, "same_kind"):
            raise DataError(
                f"Values of type {given.dtype} do not go into '{self.path}', which holds {self.dtype}, without "
                f"rounding. Use cast(array, '{self.dtype}') first."
            )
        if any(span.step != 1 for span in spans):
            raise DataError(f"Regions of '{self.path}' are written without gaps: slices need step 1.")
        block = given.reshape(wanted).astype(self.dtype, copy=False)
        with saving.explained(self.path):
            self._target.put([spans[axis] for axis in self._transpose], block.transpose(self._transpose))

    def complete(self) -> None:
        """Finish the file under its temporary name, so that several files can be put in place together.

        Nothing can be written afterwards; leaving the ``with`` block does the rest.
        """
        if not self._complete:
            with saving.explained(self.path):
                self._target.finish()
                self._target.close()
                if stores.is_zip(self.path):
                    folder, self._temporary = self._temporary, saving.fresh(self.path)
                    stores.pack(folder, self._temporary)
                    stores.remove(folder)
            self._complete = True

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with saving.explained(self.path):
                if kind is None:
                    self.complete()
                    if self._temporary != self.path:
                        saving.put(self._temporary, self.path, self._overwrite)
        finally:
            self._target.close()
            if self._temporary != self.path or not self._complete:
                stores.remove(self._temporary)


# Places, names and errors


def check_place(final: Path, overwrite: bool, folder: bool) -> None:
    """Raise OutputError where nothing can be written, a `folder` of Zarr or a file: known before long work."""
    address = stores.url(final)
    with saving.explained(final):
        if address is not None:
            if address.startswith("http") or not folder or stores.is_zip(final):
                what = "can be read, not written" if address.startswith("http") else "can only hold OME-Zarr"
                raise OutputError(f"'{address}' {what}. Write an OME-Zarr to s3://, gs://, memory:// or a folder.")
            if not address.startswith("memory:"):
                stores.names(final)  # raises what is wrong with the bucket
            taken = not overwrite and stores.exists(final) and stores.is_finished(final)
        else:
            folder = folder and not stores.is_zip(final)
            if not final.parent.is_dir():
                raise OutputError(
                    f"The folder '{final.parent}' does not exist, so '{final.name}' cannot be written. Create it."
                )
            if final.is_dir() and not (folder and (is_zarr(final) or not any(final.iterdir()))):
                raise OutputError(f"'{final}' is a folder{' with other things in it' * folder}. Choose another name.")
            taken = not overwrite and (final.exists() or final.is_symlink())
        if taken:
            raise OutputError(
                f"'{address or final}' exists already. Choose another name, or replace it with overwrite (--overwrite)."
            )
        if address is None and not os.access(final.parent, os.W_OK):
            raise OutputError(
                f"The folder '{final.parent}' is not writable. Choose another one or change its permissions."
            )


_WORDS = {"position": "the stage position", "acquired": "the time of acquisition", "labels": "the labels of planes"}
_WORDS |= {"description": "the description", "channels": "names and colours of channels"}
