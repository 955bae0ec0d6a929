"""From one pixel type to another, counting the values that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope.errors import DataError


def cast(array: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], int]:
    """`array` as `dtype`, and how many values had to be clipped. For integers values are rounded and clipped to the
    range of the type; NaN becomes 0 and counts as clipped. Raises DataError for a type that images cannot have.
    """
    target = pixel_type(dtype)
    array = np.asarray(array)
    if array.dtype == target:
        return array, 0
    if target.kind == "f":
        limit = float(np.finfo(target).max)
        if target.itemsize >= max(4, array.dtype.itemsize):
            return array.astype(target), 0  # everything fits
        over = np.isfinite(array) & ((array > limit) | (array < -limit))
        return np.where(over, np.copysign(limit, array), array).astype(target), int(np.count_nonzero(over))
    least, most = (0, 1) if target.kind == "b" else (int(np.iinfo(target).min), int(np.iinfo(target).max))
    if array.dtype.kind == "f":
        # the largest 64-bit integers are no floats: stay below
        top = float(most) if int(float(most)) <= most else float(np.nextafter(float(most), 0))
        exact = np.result_type(array, np.float32) if target.itemsize <= 2 else np.float64  # of all numbers in range
        values = np.rint(array, dtype=exact)
        lost = np.count_nonzero(~((values >= least) & (values <= most)))  # NaN is not within
        if lost:
            values = np.clip(values, least, top, out=np.asarray(values))
            values[np.isnan(values)] = 0
        return values.astype(target), int(lost)
    if array.dtype.kind == "b":
        return array.astype(target), 0
    have = np.iinfo(array.dtype)
    low, high = max(least, int(have.min)), min(most, int(have.max))
    out = (array < low) | (array > high)
    return np.clip(array, low, high).astype(target), int(np.count_nonzero(out))


def pixel_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        target = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        target = np.dtype(object)
    if target.kind not in "buif" or target.itemsize > 8:
        raise DataError(f"'{dtype}' is not a pixel type. Use uint8, uint16, int16, float32 or another real type.")
    return target
