"""Random numbers by place: a pixel's number does not depend on the part of the image that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError


def uniform(
    shape: Sequence[int],
    seed: int | Sequence[int] = 0,
    corner: Sequence[int] | None = None,
    whole: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Numbers from [0, 1) for the pixels of the part of `shape` at `corner` of an image of the shape `whole`.

    The pixel that comes n-th in the whole image gets the n-th number of the seed's stream, whichever part is asked for.
    """
    shape = tuple(shape)
    corner, whole = _within(shape, corner, whole)
    inner = len(shape)  # the axes from here on lie without gaps in the whole image
    while inner > 0 and shape[inner - 1] == whole[inner - 1]:
        inner -= 1
    inner = max(inner - 1, 0)
    strides = [math.prod(whole[axis + 1 :]) for axis in range(len(whole))]
    first = sum(start * stride for start, stride in zip(corner, strides, strict=True))
    philox = np.random.Philox(seed)
    generator = np.random.Generator(philox)
    result = np.empty((math.prod(shape[:inner]), math.prod(shape[inner:])))
    step = 0  # of the stream, four numbers each
    for row, outer in zip(result, np.ndindex(*shape[:inner]), strict=True):
        number = first + sum(at * stride for at, stride in zip(outer, strides, strict=False))
        philox.advance(number // 4 - step)
        generator.random(number % 4)
        generator.random(out=row)
        step = -(-(number + row.size) // 4)
    return result.reshape(shape)


def _within(
    shape: tuple[int, ...], corner: Sequence[int] | None, whole: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`corner` and `whole`, those of the whole image where they are not given, once they are known to hold `shape`."""
    corner = (0,) * len(shape) if corner is None else tuple(corner)
    whole = shape if whole is None else tuple(whole)
    if not len(corner) == len(whole) == len(shape) or not all(
        0 <= start <= start + size <= length for start, size, length in zip(corner, shape, whole, strict=True)
    ):
        raise DataError(f"A part of {shape} pixels at {corner} does not lie within an image of {whole} pixels.")
    return corner, whole
