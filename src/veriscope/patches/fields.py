"""Whole images of pairs in the networks' units, part by part, as they are given to the networks at restoration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from veriscope.tiling import Span

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Field:
    """One time point of a pair: `read(span)` gives low (C, ..., Y, X) and high (C, *shape) of a part of `shape`.

    Both float32, normalised as at restoration. `alike`: restored images are normalised like this, and look like this;
    not so planes that stand for slices of a stack, nor patches that came without their image.
    """

    shape: tuple[int, ...]
    read: Callable[[Span], tuple[Array, Array]]
    depth: int = 1  # planes of low for each of high
    alike: bool = True
    noisy: bool = False  # high too, with noise of its own or as low itself
