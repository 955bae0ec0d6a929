"""Label images: whole numbers, 0 for the background and one for each object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError


def check(labels: NDArray[Any], name: str) -> None:
    """Raise DataError, naming `name` ("The truth"), unless `labels` are whole numbers from 0; a mask is not."""
    if labels.dtype.kind == "b":
        raise DataError(
            f"{name} is a mask of True and False, without numbers for its objects. Number its connected components "
            f"first, with skimage.measure.label."
        )
    if labels.dtype.kind not in "ui":
        raise DataError(
            f"{name} is not a label image: its pixels are {labels.dtype}, but labels are whole numbers, 0 for the "
            f"background and one for each object. Save it as uint16 or uint32."
        )
    if labels.size == 0:
        raise DataError(f"{name} has no pixels. Give a label image.")
    if int(labels.min()) < 0:
        raise DataError(f"{name} holds {int(labels.min())}, but labels are 0 or more. Use 0 for the background.")


def pieces_of_one(labels: NDArray[Any], dimensions: int) -> int:
    """How many separate pieces a frame holds, at most, where all pixels but the background have one number.

    Space is the last `dimensions` axes. 1 where there are several numbers: then it is not a mask mistaken for labels.
    """
    from scipy import ndimage

    foreground = labels[labels > 0]
    if not foreground.size or int(foreground.min()) != int(foreground.max()):
        return 1
    join = np.ones((3,) * dimensions)
    frames = (labels > 0).reshape(-1, *labels.shape[-dimensions:])
    return max(1, *(int(ndimage.label(frame, join)[1]) for frame in frames))


def label_type(count: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type of number that can label `count` objects."""
    return np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32
