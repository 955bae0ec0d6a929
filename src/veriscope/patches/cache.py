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

LIMIT_BYTES = 2**28  # of the chunks kept, over all images of a training set


class ChunkCache:
    """Keeps the chunks used last, decoded, in at most `limit_bytes`, for any number of images and threads."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._chunks: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[ChunkCache], tuple[int]]:
        return ChunkCache, (self.limit_bytes,)  # other processes begin with an empty one

    def read(self, image: Image, key: Any, region: tuple[slice, ...]) -> NDArray[Any]:
        """The pixels of `region` (one slice with start and stop per axis); `key` tells images apart."""
        chunks = image.chunks
        if chunks is None or 4 * prod(chunks) * image.dtype.itemsize > self.limit_bytes:
            return image.read(*region)
        spans = [range(part.start // size, -(-part.stop // size)) for part, size in zip(region, chunks, strict=True)]
        out = np.empty([part.stop - part.start for part in region], dtype=image.dtype)
        for corner in itertools.product(*spans):
            chunk = self._chunk(image, key, corner, chunks)
            inside, target = [], []
            for number, size, part in zip(corner, chunks, region, strict=True):
                first, last = max(part.start, number * size), min(part.stop, (number + 1) * size)
                inside.append(slice(first - number * size, last - number * size))
                target.append(slice(first - part.start, last - part.start))
            out[tuple(target)] = chunk[tuple(inside)]
        return out

    def _chunk(self, image: Image, key: Any, corner: tuple[int, ...], chunks: tuple[int, ...]) -> NDArray[Any]:
        name = (key, *corner)
        with self._lock:
            found = self._chunks.get(name)
            if found is not None:
                self._chunks.move_to_end(name)
                return found
        spans = (slice(number * size, (number + 1) * size) for number, size in zip(corner, chunks, strict=True))
        chunk = np.ascontiguousarray(image.read(*spans))
        with self._lock:
            if name not in self._chunks:
                self._chunks[name] = chunk
                self.held_bytes += chunk.nbytes
            while self.held_bytes > self.limit_bytes:
                self.held_bytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk
