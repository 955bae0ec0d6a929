"""Writing OME-Zarr 0.5 and 0.4 by regions, with smaller levels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import stores
from veriscope.errors import AxesError, OutputError
from veriscope.images.carried import encodable, micrometres
from veriscope.images.casting import cast
from veriscope.images.image import Image, piece_shape
from veriscope.tiling import Grid
from veriscope.wording import lengths


def zarr_order(axes: str, final: Path) -> str:
    """Time, then samples or channels, then space: the only order that OME-Zarr allows."""
    if "S" in axes and "C" in axes:
        raise AxesError(
            f"OME-Zarr has room for samples or channels, not both, so axes '{axes}' cannot be written to '{final}'. "
            f"Write each sample to a file of its own."
        )
    return "".join(letter for letter in "TSCZYX" if letter in axes)


def moved_chunks(chunks: Sequence[int] | None, axes: str, order: str) -> tuple[int, ...] | None:
    if chunks is None:
        return None
    if len(chunks) != len(axes):
        raise AxesError(f"Chunks {tuple(chunks)} need one size for each of the axes '{axes}'.")
    return tuple(int(chunks[axes.index(letter)]) for letter in order)


def good_chunks(facts: Image) -> tuple[int, ...]:
    """About 1 to 4 MB: 16 x 256 x 256 in 3D, 512 x 512 in 2D, one for each sample, time and channel."""
    side = 256 if "Z" in facts.axes else 512
    wanted = {"Z": 16, "Y": side, "X": side}
    return tuple(min(size, wanted.get(letter, 1)) for letter, size in zip(facts.axes, facts.shape, strict=True))


@dataclass(frozen=True, eq=False)
class Layout:
    """What an OME-Zarr image at `place` is to be: all but its pixels (`facts`), its chunks, and how they are packed.

    `shards`, multiples of the chunks, are pieces that share a file. Plain values, which can be sent to other processes.
    Raises OutputError for another `version` than 0.4 and 0.5, and for shards that chunks do not divide.
    """

    place: Path
    facts: Image
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    version: str = "0.5"

    def __post_init__(self) -> None:
        if self.version not in ("0.4", "0.5"):
            raise OutputError(f"OME-Zarr can be written in version 0.4 or 0.5, not {self.version}.")
        if self.shards is not None and self.version == "0.4":
            raise OutputError("OME-Zarr 0.4 has no shards. Write version 0.5, or remove --shards.")
        if self.shards is not None and any(s % c for s, c in zip(self.shards, self.chunks, strict=True)):
            raise OutputError(
                f"Shards of {lengths(self.shards)} pixels ({self.facts.axes}) do not consist of whole chunks of "
                f"{lengths(self.chunks)}. Choose multiples of the chunks (--shards, --chunks)."
            )

    @cached_property
    def factors(self) -> list[tuple[int, ...]]:
        """How each smaller level is made from the one before."""
        return pyramid_factors(self.facts)

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of all levels."""
        found = [self.facts.shape]
        for factor in self.factors:
            found.append(tuple(ceil(size / step) for size, step in zip(found[-1], factor, strict=True)))
        return found

    def pieces(self, level: int) -> Grid:
        """Regions of a smaller level to be made one by one: about 32 MB, of whole chunks and whole shards."""
        shape = self.shapes[level]
        chunks, shards = self.packed(shape)
        unit = shards or chunks
        nbytes = prod(unit) * self.facts.dtype.itemsize
        return Grid(shape, piece_shape(shape, self.facts.dtype.itemsize, max(2**25, nbytes), unit))

    def packed(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Chunks and shards of a level of `shape`."""
        chunks = tuple(min(chunk, size) for chunk, size in zip(self.chunks, shape, strict=True))
        if self.shards is None:
            return chunks, None
        most = [-(-size // chunk) * chunk for size, chunk in zip(shape, chunks, strict=True)]
        whole = [shard // c * n for shard, c, n in zip(self.shards, self.chunks, chunks, strict=True)]
        return chunks, tuple(min(pair) for pair in zip(whole, most, strict=True))


class ZarrTarget:
    """An OME-Zarr image: level 0 is written by regions, the smaller levels are made from it, metadata come last.

    `begun` opens one that another process has created.
    """

    without: tuple[str, ...] = ("labels",)

    def __init__(self, layout: Layout, begun: bool = False) -> None:
        import zarr

        self.layout, self._facts, self.chunks = layout, layout.facts, layout.chunks
        self._store = stores.opened(layout.place)
        if begun:
            self._levels = [
                zarr.open_array(self._store, path=str(n), mode="r+") for n in range(1 + len(layout.factors))
            ]
            return
        stores.remove(layout.place) if stores.url(layout.place) else None
        zarr.open_group(self._store, mode="w", zarr_format=3 if layout.version == "0.5" else 2)
        self._levels = [self._create(number, shape) for number, shape in enumerate(layout.shapes)]

    def _create(self, number: int, shape: tuple[int, ...]) -> Any:
        import zarr

        chunks, shards = self.layout.packed(shape)
        shuffle = "shuffle" if self._facts.dtype.itemsize > 1 else "bitshuffle"
        common: dict[str, Any] = {"name": str(number), "shape": shape, "chunks": chunks, "dtype": self._facts.dtype}
        # zstd at level 1: five times faster than level 3 and as small, on noisy images
        if self.layout.version == "0.5":
            from zarr.codecs import BloscCodec

            names = list(self._facts.axes.lower())
            codec = BloscCodec(cname="zstd", clevel=1, shuffle=shuffle, typesize=self._facts.dtype.itemsize)
            common |= {"compressors": codec, "dimension_names": names, "shards": shards}
        else:
            from numcodecs import Blosc  # type: ignore[import-untyped]

            old = Blosc(cname="zstd", clevel=1, shuffle=getattr(Blosc, shuffle.upper()))
            separator = {"name": "v2", "separator": "/"}
            common |= {"compressors": old, "chunk_key_encoding": separator, "zarr_format": 2}
        return zarr.create_array(self._store, fill_value=0, **common)

    def put(self, spans: Sequence[slice], block: NDArray[Any]) -> None:
        _by_pieces(self._levels[0], spans, block)

    def shrink(self, level: int, spans: Sequence[slice]) -> None:
        """Make a region of a smaller level from the level before."""
        factor = self.layout.factors[level - 1]
        source = tuple(slice(s.start * f, s.stop * f) for s, f in zip(spans, factor, strict=True))
        _by_pieces(self._levels[level], spans, shrink(np.asarray(self._levels[level - 1][source]), factor))

    def finish(self) -> None:
        for level in range(1, len(self._levels)):
            for spans in self.layout.pieces(level):
                self.shrink(level, spans)
        self.describe()

    def describe(self) -> None:
        """Write the metadata that make it an image."""
        import zarr

        version = self.layout.version
        facts: dict[str, Any] = {"multiscales": [ome_zarr_metadata(self._facts, self.layout.factors, version)]}
        facts |= _omero(self._facts)
        if version == "0.5":
            facts = {"ome": {"version": "0.5", **facts}}
        carried = self._facts.carried
        own = {"acquired": carried.acquired, "description": carried.description, "position": dict(carried.position)}
        if any(own.values()):  # for which OME-Zarr has no place
            facts["veriscope"] = {name: value for name, value in own.items() if value}
        zarr.open_group(self._store, mode="r+").attrs.put(facts)

    def close(self) -> None:
        pass


def _by_pieces(level: Any, spans: Sequence[slice], block: NDArray[Any]) -> None:
    """One chunk or shard at a time: after an error (a full disk) zarr would go on writing others behind our back."""
    cuts = []
    for span, piece in zip(spans, level.shards or level.chunks, strict=True):
        edges = [span.start, *range((span.start // piece + 1) * piece, span.stop, piece), span.stop]
        cuts.append([slice(a, b) for a, b in itertools.pairwise(edges) if b > a])
    for part in itertools.product(*cuts):
        inside = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, spans, strict=True))
        level[part] = block[inside]


def pyramid_factors(facts: Image, smallest: int = 256) -> list[tuple[int, ...]]:
    """How each level is made from the one below: Y and X are halved until small, Z where it is sampled as finely."""
    sizes = dict(zip(facts.axes, facts.shape, strict=True))
    pixel = {letter: facts.voxel(letter) or 0.0 for letter in facts.spatial_axes}
    levels = []
    while max(sizes["Y"], sizes["X"]) > smallest:
        steps = {letter: 2 if letter in "YX" and sizes[letter] > 1 else 1 for letter in facts.axes}
        if sizes.get("Z", 1) > 1 and 0 < pixel["Z"] < 1.5 * min(pixel["Y"], pixel["X"]):
            steps["Z"] = 2
        for letter, step in steps.items():
            sizes[letter] = ceil(sizes[letter] / step)
            if letter in pixel:
                pixel[letter] *= step
        levels.append(tuple(steps[letter] for letter in facts.axes))
    return levels


def shrink(block: NDArray[Any], factor: Sequence[int]) -> NDArray[Any]:
    """Means over boxes of `factor` (1 or 2 per axis); a last single entry stays as it is. Integers are rounded."""
    odd = [(0, -size % step) for size, step in zip(block.shape, factor, strict=True)]
    mean = np.pad(block, odd, mode="edge") if any(after for _, after in odd) else block
    work = np.float32 if block.dtype.itemsize <= 2 or block.dtype == np.float32 else np.float64
    for axis, step in reversed(list(enumerate(factor))):  # sums of every other entry: six times faster than reshaping
        if step == 2:
            ahead = (slice(None),) * axis
            mean = np.add(mean[(*ahead, slice(0, None, 2))], mean[(*ahead, slice(1, None, 2))], dtype=work)
    mean = mean / work(prod(factor))
    return np.asarray(mean, block.dtype) if block.dtype.kind == "f" else cast(mean, block.dtype)[0]


def ome_zarr_metadata(facts: Image, factors: Sequence[Sequence[int]], version: str) -> dict[str, Any]:
    """The multiscales entry (NGFF 0.4 and 0.5): axes with types and units, and where each level lies, which is made
    from the one before by its `factors`.
    """
    kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
    axes: list[dict[str, str]] = []
    for letter in facts.axes:
        entry = {"name": letter.lower()} | ({"type": kinds[letter]} if letter in kinds else {})
        if letter in "ZYX" and facts.voxel(letter) is not None:
            entry["unit"] = "micrometer"
        if letter == "T" and facts.time_step is not None:
            entry["unit"] = "second"
        axes.append(entry)
    unit = [facts.voxel(a) or (facts.time_step if a == "T" else None) or 1.0 for a in facts.axes]
    start = [_start(facts, letter) for letter in facts.axes]
    datasets = []
    for number, total in enumerate(np.cumprod([[1] * len(unit), *factors], axis=0).tolist()):
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": [u * f for u, f in zip(unit, total, strict=True)]}]
        if number or any(start):  # the middle of the first box
            shift = [s + u * (f - 1) / 2 for s, u, f in zip(start, unit, total, strict=True)]
            moves.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(number), "coordinateTransformations": moves})
    entry_04 = {"version": "0.4"} if version == "0.4" else {}
    return {**entry_04, "name": encodable(facts.name), "axes": axes, "datasets": datasets, "type": "mean"}


def _start(facts: Image, letter: str) -> float:
    """Where the image begins along an axis, in um, as far as that is known in a unit of length."""
    value, unit = facts.carried.position.get(letter, (0.0, ""))
    known = facts.voxel(letter) is not None and micrometres(1.0, unit)
    return value * known if known else 0.0


def _omero(facts: Image) -> dict[str, Any]:
    """Names and colours of channels; the window is that of the type, since pixels may not be known yet."""
    if not facts.carried.channels:
        return {}
    kind = facts.dtype
    least, most = (0, 1) if kind.kind not in "ui" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    window = {"min": least, "max": most, "start": least, "end": most}
    channels = [
        {"label": encodable(one.name), "color": one.colour or "FFFFFF", "active": True, "window": window}
        for one in facts.carried.channels
    ]
    return {"omero": {"channels": channels}}
