"""An image: pixels with axes, voxel size and time step; in memory, or left on disk and read piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as ax
from veriscope import notebook
from veriscope.errors import AxesError, DataError
from veriscope.images.carried import NOTHING, Carried
from veriscope.images.lazy import Cuts, LazyView, chunks_of, plain_index
from veriscope.wording import lengths
from veriscope.wording import size as data_size


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels and what they mean.

    `array` is a NumPy array or a lazy one: anything with .shape, .dtype and basic indexing. `voxel_size` is in um, one
    number per spatial axis in the order of `axes`, None where it is unknown along one; `time_step` is in seconds.
    `carried` is what else is known, such as names of channels. ``np.asarray(image)`` gives the pixels.
    Raises AxesError when the axes do not fit the array, DataError for an array without pixels or of no number type.

    >>> Image(np.zeros((8, 64, 64)), "ZYX", voxel_size=(0.3, 0.1, 0.1)).voxel("Z")
    0.3
    """

    array: Any
    axes: str
    voxel_size: tuple[float | None, ...] | None = None
    time_step: float | None = None
    name: str = ""
    carried: Carried = NOTHING

    def __post_init__(self) -> None:
        array = self.array
        indexed = hasattr(array, "shape") and hasattr(array, "__getitem__")
        if not (indexed and isinstance(getattr(array, "dtype", None), np.dtype)):
            array = np.asarray(array)  # lists, tensors, other images
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "axes", ax.check(self.axes, array.shape))
        if array.dtype.kind not in "buif":
            raise DataError(
                f"{self._called()} holds values of type {array.dtype}, but images are made of real numbers. "
                f"Convert them first, for example with abs() or astype('float32')."
            )
        if 0 in array.shape:
            raise DataError(f"{self._called()} has no pixels: its shape is {lengths(array.shape)} ({self.axes}).")
        if self.voxel_size is not None:
            object.__setattr__(self, "voxel_size", self._checked_voxel_size(self.voxel_size))
        if self.time_step is not None:
            step = float(self.time_step)
            if not (isfinite(step) and step > 0):
                raise DataError(f"A time step is a positive number of seconds, not {step:g}. Omit it if unknown.")
            object.__setattr__(self, "time_step", step)
        planes = prod(size for letter, size in zip(self.axes, self.shape, strict=True) if letter not in "YX")
        object.__setattr__(self, "carried", self.carried.fitting(self.size("C"), planes))

    def _checked_voxel_size(self, voxel_size: Any) -> tuple[float | None, ...] | None:
        sizes = tuple(None if size is None else float(size) for size in voxel_size)
        letters = ax.spatial(self.axes)
        if len(sizes) != len(letters):
            raise AxesError(
                f"Voxel size {sizes} has {len(sizes)} numbers, but axes '{self.axes}' have {len(letters)} in space "
                f"({letters}). Give one number in um for each of them, in this order."
            )
        if not all(isfinite(size) and size > 0 for size in sizes if size is not None):
            raise DataError(f"Voxel sizes are positive numbers in um, not {sizes}. Omit them if unknown.")
        return sizes if any(sizes) else None

    def _called(self) -> str:
        return f"Image '{self.name}'" if self.name else "The image"

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels when loaded."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_lazy(self) -> bool:
        """True when pixels are read from disk, or computed, as they are asked for."""
        return not isinstance(self.array, np.ndarray) or isinstance(self.array, np.memmap)

    @property
    def spatial_axes(self) -> str:
        """The spatial letters in the order of the image's axes, for example "ZYX"."""
        return ax.spatial(self.axes)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Size of the pieces on disk, or good for writing what is computed, per axis; None for arrays in memory."""
        return chunks_of(self.array) if self.is_lazy else None

    @property
    def cuts(self) -> Cuts | None:
        """Where the pieces begin in which the pixels are computed when read, per axis; None when they are stored."""
        return getattr(self.array, "cuts", None)

    def size(self, axis: str) -> int:
        """Number of entries along `axis`; 1 when the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def voxel(self, axis: str) -> float | None:
        """Voxel size along `axis` in um; None when unknown or when the image has no such axis."""
        letters = self.spatial_axes
        return self.voxel_size[letters.index(axis)] if self.voxel_size is not None and axis in letters else None

    @property
    def full_voxel_size(self) -> tuple[float, ...] | None:
        """`voxel_size` where it is known along all axes in space; None otherwise."""
        known = tuple(size for size in self.voxel_size or () if size is not None)
        return known if known and len(known) == len(self.spatial_axes) else None

    # Pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = np.asarray(self.array[...] if self.is_lazy else self.array)
        if dtype is not None and array.dtype != np.dtype(dtype):
            return array.astype(dtype)
        return array.copy() if copy and not self.is_lazy else array

    def read(self, *slices: slice | int) -> NDArray[Any]:
        """Load a region: one slice (or int, which drops the axis) per axis; missing trailing ones mean everything."""
        return np.asarray(self.array[plain_index(slices, self.shape)])

    def in_memory(self) -> Image:
        """The same image with its pixels loaded."""
        return self.with_array(np.asarray(self)) if self.is_lazy else self

    # Other views; none of them reads pixels

    def moved(self, axes: str) -> Image:
        """The image with its axes in another order; new axes get size 1, axes of size 1 may go. Lazy stays lazy.

        Raises AxesError when an axis with more than one entry would be dropped.
        """
        target = ax.check(axes)
        if target == self.axes:
            return self
        if not self.is_lazy:
            return self.with_array(ax.move(self.array, self.axes, target), target)
        return self.with_array(LazyView(self.array, ax.moves(self.axes, target, self.shape)), target)

    @property
    def flat(self) -> Image:
        """The image without its axis Z where that is a single plane."""
        return self.moved(self.axes.replace("Z", "")) if self.size("Z") == 1 else self

    def region(self, **spans: slice | int) -> Image:
        """A part of the image without loading it: ``image.region(Y=slice(0, 64), T=3)``. An int drops its axis."""
        if unknown := sorted(set(spans) - set(self.axes)):
            raise AxesError(f"{self._called()} has the axes '{self.axes}', not {', '.join(unknown)}. Remove it.")
        index = plain_index(tuple(spans.get(letter, slice(None)) for letter in self.axes), self.shape)
        parts = dict(zip(self.axes, index, strict=True))
        left = "".join(letter for letter, part in parts.items() if isinstance(part, slice))
        array = LazyView(self.array, range(self.ndim)).view(index) if self.is_lazy else self.array[index]
        chosen = parts.get("C")
        if isinstance(chosen, int):
            chosen = slice(chosen, chosen + 1)
        moved = [a for a in self.spatial_axes if (p := parts[a]) not in (0, slice(0, getattr(p, "stop", 0), 1))]
        return replace(self.with_array(array, left), carried=self.carried.of(chosen, moved))

    def with_array(self, array: Any, axes: str | None = None) -> Image:
        """Other pixels with the same voxel size, time step, name and whatever else is known of the image that still
        fits; `axes` where they changed.
        """
        word = self.axes if axes is None else ax.check(axes)
        voxel_size = tuple(self.voxel(letter) for letter in ax.spatial(word))
        return Image(array, word, voxel_size, self.time_step, self.name, self.carried)

    # Streaming

    def blocks(self, axes: str, limit_bytes: int = 2**26) -> Iterator[NDArray[Any]]:
        """All pixels once, in pieces of about `limit_bytes` at most, in order and in the given axes.

        Pieces follow the chunks on disk where they can. The channel axis is never cut, so every piece has all channels.
        Images that are computed when read come in the pieces in which they are computed, see `cuts`.
        """
        image = self.moved(axes)
        for spans in pieces(image, limit_bytes, image.chunks, image.axes.find("C")):
            yield image.read(*spans)

    def blocks_with_contrast(self) -> Iterator[NDArray[Any]]:
        """The pixels as `blocks`, channels first, without the blank frames of a movie: those of one value per channel.

        Frames whose chunks hold several time points, and movies of blank frames alone, come as they are.
        """
        time, rest = self.axes.find("T"), "C" + self.axes.replace("C", "").replace("T", "")
        if time < 0 or (self.chunks is not None and self.chunks[time] > 1):
            yield from self.blocks("C" + self.axes.replace("C", ""))
            return
        blank: list[NDArray[Any]] = []
        found = False
        for frame in range(self.shape[time]):
            blocks = self.region(T=frame).blocks(rest)
            held: list[NDArray[Any]] = []  # of this frame, while it may be blank
            for block in blocks:
                value = (held or [block])[0].reshape(len(block), -1)[:, 0].reshape((-1,) + (1,) * (block.ndim - 1))
                if not (block == value).all():
                    found = True
                    yield from itertools.chain(held, [block], blocks)
                    break
                held.append(np.broadcast_to(value.copy(), block.shape))
            else:
                blank += held
        if not found:
            yield from blank

    # For people

    def describe(self) -> dict[str, str]:
        """What a person wants to know, as words in order, without reading pixels."""
        step = "unknown" if self.time_step is None else f"{self.time_step:g} s"
        voxel_size = f"{lengths(self.voxel_size)} um ({self.spatial_axes})" if self.voxel_size else "unknown"
        known = {
            "name": self.name,
            "axes": self.axes,
            "shape": lengths(self.shape),
            "type": str(self.dtype),
            "size": data_size(self.nbytes),
            "voxel size": voxel_size if self.spatial_axes else "",
            "time step": step if "T" in self.axes or self.time_step is not None else "",
            **self.carried.describe(),
            "pixels": "in memory" if not self.is_lazy else "on disk" if self.cuts is None else "computed when read",
            "chunks": lengths(self.chunks or ()),
        }
        return {name: value for name, value in known.items() if value}

    def _repr_html_(self) -> str:
        """What a notebook shows: a picture where that is quickly read, and what is known of the image."""
        return notebook.figures(notebook.planes(self)) + notebook.facts(self.describe())

    def __repr__(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self.describe().items() if key not in ("name", "chunks"))
        return f"<Image{f' {self.name!r}' if self.name else ''}: {facts}>"


def pieces(
    image: Image, limit_bytes: int, chunks: Sequence[int] | None = None, whole: int = -1
) -> Iterator[tuple[slice, ...]]:
    """Regions that cover `image` once and are best read one after the other; their sizes are those of `piece_shape`."""
    cuts = image.cuts or ((0,),) * image.ndim
    parts = [itertools.pairwise((*starts, size)) for starts, size in zip(cuts, image.shape, strict=True)]
    for part in itertools.product(*parts):
        piece = piece_shape([stop - start for start, stop in part], image.dtype.itemsize, limit_bytes, chunks, whole)
        starts = [range(*ends, step) for ends, step in zip(part, piece, strict=True)]
        for corner in itertools.product(*starts):
            yield tuple(slice(at, min(at + n, stop)) for at, n, (_, stop) in zip(corner, piece, part, strict=True))


def piece_shape(
    shape: Sequence[int], itemsize: int, limit_bytes: int, chunks: Sequence[int] | None = None, whole: int = -1
) -> tuple[int, ...]:
    """Shape of pieces that cover `shape` in order: at most `limit_bytes` and made of whole chunks, where possible.

    The axis `whole` (-1: none) is never cut.
    """
    piece = [1] * len(shape) if chunks is None else [min(c, size) for c, size in zip(chunks, shape, strict=True)]
    if whole >= 0:
        piece[whole] = shape[whole]
    for axis in range(len(shape)):  # chunks that are too large: cut, slowest axis first
        while prod(piece) * itemsize > limit_bytes and piece[axis] > 1 and axis != whole:
            piece[axis] = ceil(piece[axis] / 2)
    for axis in reversed(range(len(shape))):  # chunks that are small: join, fastest axis first
        times = max(1, limit_bytes // (prod(piece) * itemsize))
        piece[axis] = min(piece[axis] * times, shape[axis])
        if piece[axis] < shape[axis]:
            break
    return tuple(piece)
