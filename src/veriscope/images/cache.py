"""Regions of images that stay on disk, read through a small store of the chunks that were needed last."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from math import prod
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.images.image import Image

Corner = tuple[int, ...]  # number of a chunk along each axis

LIMIT_BYTES = 2**28  # of the chunks kept, over all images of a training set


class ChunkCache:
    """Keeps the chunks used last, decoded, in at most `limit_bytes`, for any number of images and threads."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._chunks: OrderedDict[tuple[Any, Corner], NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[ChunkCache], tuple[int]]:
        return ChunkCache, (self.limit_bytes,)  # other processes begin with an empty one

    def read(self, image: Image, key: Any, region: tuple[slice, ...]) -> NDArray[Any]:
        """The pixels of `region` (one slice with start and stop per axis); `key` distinguishes images."""
        chunks = image.chunks
        if chunks is None or 4 * prod(chunks) * image.dtype.itemsize > self.limit_bytes:
            return image.read(*region)
        spans = [range(part.start // size, -(-part.stop // size)) for part, size in zip(region, chunks, strict=True)]
        corners = list(itertools.product(*spans))
        with self._lock:
            found = {corner: self._chunks[key, corner] for corner in corners if (key, corner) in self._chunks}
            for corner in found:
                self._chunks.move_to_end((key, corner))
        if missing := [corner for corner in corners if corner not in found]:
            found |= self._load(image, key, missing, chunks)
        out = np.empty([part.stop - part.start for part in region], dtype=image.dtype)
        for corner in corners:
            inside, target = [], []
            for number, size, part in zip(corner, chunks, region, strict=True):
                first, last = max(part.start, number * size), min(part.stop, (number + 1) * size)
                inside.append(slice(first - number * size, last - number * size))
                target.append(slice(first - part.start, last - part.start))
            out[tuple(target)] = found[corner][tuple(inside)]
        return out

    def _load(
        self, image: Image, key: Any, missing: list[Corner], chunks: tuple[int, ...]
    ) -> dict[Corner, NDArray[Any]]:
        """Read the chunks between the `missing` ones in one go, which is faster than one by one, and keep them."""
        first, stop = np.min(missing, axis=0), np.max(missing, axis=0) + 1
        box = image.read(*map(slice, (first * chunks).tolist(), (stop * chunks).tolist()))
        loaded = {}
        for place in np.ndindex(*(stop - first).tolist()):
            inside = tuple(slice(at * size, (at + 1) * size) for at, size in zip(place, chunks, strict=True))
            loaded[tuple((first + place).tolist())] = box[inside].copy()
        with self._lock:
            for corner, chunk in loaded.items():
                if (key, corner) not in self._chunks:
                    self._chunks[key, corner] = chunk
                    self.held_bytes += chunk.nbytes
            while self.held_bytes > self.limit_bytes:
                self.held_bytes -= self._chunks.popitem(last=False)[1].nbytes
        return loaded
