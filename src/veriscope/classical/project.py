"""Projection of a stack to the surface in it, as it was done before networks (SI, Supp. Fig. 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from veriscope.classical.method import Method
from veriscope.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from veriscope.images.image import Image

Picture = TypeVar("Picture", "Image", "NDArray[Any]")


class Projected(NamedTuple, Generic[Picture]):
    """The flat image (Y X, float32, the unit of the stack) and where each of its pixels was found (Y X, in planes)."""

    image: Picture
    height: Picture


def maximum(stack: Picture) -> Projected[Picture]:
    """The brightest value above every pixel, wherever it lies. `stack` is Z Y X."""
    pixels: Any = np.asarray(stack)
    if pixels.ndim != 3:
        raise DataError(f"A projection needs one stack with the axes Z Y X, but the shape given is {pixels.shape}.")
    flat, height = pixels.max(axis=0).astype(np.float32), pixels.argmax(axis=0).astype(np.float32)
    return Projected(flat, height)


METHODS = (Method("max", "maximum", "project", lambda stack: maximum(stack).image, library="numpy"),)
