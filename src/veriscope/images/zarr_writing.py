"""Writing OME-Zarr 0.5 and 0.4 by regions, with smaller levels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, OutputError
from veriscope.images.carried import encodable
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.images.units import micrometres


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


class ZarrTarget:
    """An OME-Zarr image: level 0 is written by regions, the smaller levels from it at the end."""

    def __init__(self, temporary: Path, facts: Image, chunks: tuple[int, ...] | None, version: str) -> None:
        import zarr

        if version not in ("0.4", "0.5"):
            raise OutputError(f"OME-Zarr can be written in version 0.4 or 0.5, not {version}.")
        self._facts, self._version = facts, version
        self.without: tuple[str, ...] = ("labels",)
        self.chunks = good_chunks(facts) if chunks is None else chunks
        self._group = zarr.open_group(str(temporary), mode="w", zarr_format=3 if version == "0.5" else 2)
        self._level = self._create(0, facts.shape)

    def _create(self, number: int, shape: tuple[int, ...]) -> Any:
        chunks = tuple(min(chunk, size) for chunk, size in zip(self.chunks, shape, strict=True))
        shuffle = "shuffle" if self._facts.dtype.itemsize > 1 else "bitshuffle"
        common = {"shape": shape, "chunks": chunks, "dtype": self._facts.dtype, "fill_value": 0}
        # zstd at level 1: five times faster than level 3 and as small, on noisy images
        if self._version == "0.5":
            from zarr.codecs import BloscCodec

            names = list(self._facts.axes.lower())
            codec = BloscCodec(cname="zstd", clevel=1, shuffle=shuffle, typesize=self._facts.dtype.itemsize)
            return self._group.create_array(str(number), compressors=codec, dimension_names=names, **common)
        from numcodecs import Blosc  # type: ignore[import-untyped]

        old = Blosc(cname="zstd", clevel=1, shuffle=getattr(Blosc, shuffle.upper()))
        separator = {"name": "v2", "separator": "/"}
        return self._group.create_array(str(number), compressors=old, chunk_key_encoding=separator, **common)

    def put(self, spans: Sequence[slice], block: NDArray[Any]) -> None:
        _by_chunks(self._level, spans, block)

    def finish(self) -> None:
        below, total = self._level, [1] * len(self._facts.shape)
        scales = [list(total)]
        for number, factor in enumerate(pyramid_factors(self._facts), 1):
            shape = tuple(ceil(size / step) for size, step in zip(below.shape, factor, strict=True))
            level = self._create(number, shape)
            for corner in itertools.product(*(range(0, n, c) for n, c in zip(shape, level.chunks, strict=True))):
                spans = [slice(a, min(a + c, n)) for a, c, n in zip(corner, level.chunks, shape, strict=True)]
                source = tuple(slice(s.start * f, s.stop * f) for s, f in zip(spans, factor, strict=True))
                _by_chunks(level, spans, shrink(np.asarray(below[source]), factor))
            total = [have * step for have, step in zip(total, factor, strict=True)]
            scales.append(list(total))
            below = level
        multiscales = [ome_zarr_metadata(self._facts, scales, self._version)]
        facts: dict[str, Any] = {"multiscales": multiscales} | _omero(self._facts)
        if self._version == "0.5":
            facts = {"ome": {"version": "0.5", **facts}}
        carried = self._facts.carried
        own = {"acquired": carried.acquired, "description": carried.description, "position": dict(carried.position)}
        if any(own.values()):  # for which OME-Zarr has no place
            facts["veriscope"] = {name: value for name, value in own.items() if value}
        self._group.attrs.update(facts)

    def close(self) -> None:
        pass


def _by_chunks(level: Any, spans: Sequence[slice], block: NDArray[Any]) -> None:
    """One chunk at a time: after an error (a full disk) zarr would go on writing others behind our back."""
    cuts = []
    for span, chunk in zip(spans, level.chunks, strict=True):
        edges = [span.start, *range((span.start // chunk + 1) * chunk, span.stop, chunk), span.stop]
        cuts.append([slice(a, b) for a, b in itertools.pairwise(edges) if b > a])
    for piece in itertools.product(*cuts):
        inside = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(piece, spans, strict=True))
        level[piece] = block[inside]


def pyramid_factors(facts: Image, smallest: int = 256) -> list[tuple[int, ...]]:
    """How each level is made from the one below: Y and X are halved until small, Z where it is sampled as finely."""
    sizes = dict(zip(facts.axes, facts.shape, strict=True))
    pixel = {letter: facts.voxel(letter) or 0.0 for letter in facts.spatial_axes}
    levels = []
    while max(sizes["Y"], sizes["X"]) > smallest:
        steps = dict.fromkeys(facts.axes, 1)
        lateral = min(pixel["Y"], pixel["X"])
        for letter in "YX":
            steps[letter] = 2 if sizes[letter] > 1 else 1
        if sizes.get("Z", 1) > 1 and 0 < pixel["Z"] < 1.5 * lateral:
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
    if block.dtype.kind == "f":
        return np.asarray(mean, block.dtype)
    return cast(mean, block.dtype)[0]


def ome_zarr_metadata(facts: Image, scales: Sequence[Sequence[int]], version: str) -> dict[str, Any]:
    """The multiscales entry (NGFF 0.4 and 0.5): axes with types and units, and where each level lies."""
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
    for number, factors in enumerate(scales):
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": [u * f for u, f in zip(unit, factors, strict=True)]}]
        if number or any(start):  # the middle of the first box
            shift = [s + u * (f - 1) / 2 for s, u, f in zip(start, unit, factors, strict=True)]
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
    return {
        "omero": {
            "channels": [
                {"label": encodable(one.name), "color": one.colour or "FFFFFF", "active": True, "window": window}
                for one in facts.carried.channels
            ]
        }
    }
