"""What is made of each tile's predictions, and where it belongs in the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.restoring.frames import Number
from veriscope.restoring.outputs import Wanted, several
from veriscope.restoring.plan import Plan
from veriscope.restoring.prepared import Prepared
from veriscope.restoring.running import Answers, Block
from veriscope.tiling import Span


@dataclass(frozen=True)
class Written:
    """One file that was written: what it shows, and how many values did not fit into its type."""

    kind: str  # "mean", or one of the files of an output, such as "lower"
    path: Path
    clipped: int
    values: int  # in all


class Making:
    """Makes what is `asked` of the predictions of a tile. The files have so many `channels`; 0: no axis C."""

    def __init__(self, prepared: Prepared, asked: Sequence[Wanted], channels: int, kind: np.dtype[Any]) -> None:
        self.prepared, self.asked, self.channels = prepared, asked, channels
        self.kinds = {name: one.output.written_as(kind) for one in asked for name in one.output.files}
        self.paths = {name: path for one in asked for name, path in zip(one.output.files, one.paths, strict=True)}
        self.values = prepared.parts.voxels * max(channels, 1)  # of each file
        networks = [one for one in asked if one.output.by != "watcher"]
        self._made = {one.output.name: one.make(prepared.distribution) for one in networks}

    def outline(self, name: str) -> Image:
        """A file without its pixels."""
        return self.prepared.parts.outline(self.channels, self.kinds[name])

    def __call__(self, answers: Answers, widening: Block | None, clipped: Counter[str]) -> dict[str, NDArray[Any]]:
        """The images of the tile that was restored last, by the names of their files, (C, *core)."""
        ready = {}
        for one in self.asked:
            if one.output.by == "watcher":
                assert self.prepared.watcher is not None
                images = self.prepared.watcher.mask
            else:
                images = self._made[one.output.name](*answers, 1.0 if widening is None else widening)
            for name, values in zip(one.output.files, several(images), strict=True):
                ready[name], lost = cast(values, self.kinds[name])
                clipped[name] += lost
        return ready

    def placed(self, number: Number, core: Span, values: NDArray[Any]) -> tuple[Span, NDArray[Any]]:
        """Where in a file an image of a tile belongs, and its pixels in the order of the file's axes."""
        parts = self.prepared.parts
        return parts.region(number, core, self.channels), parts.arranged(values[None], self.channels)[0]


def makings(
    prepared: Prepared, asked: Sequence[Wanted], kind: np.dtype[Any], plans: Sequence[Plan] | None = None
) -> list[Making]:
    """What is made in each pass over the image: of the networks, and of what finds the surface. `plans` if known."""
    second = [one for one in asked if one.output.by == "surface"]
    found = [Making(prepared, [one for one in asked if one not in second], prepared.channels, kind)]
    found += [Making(prepared.surface(), second, 0, kind)] if second else []
    for making, plan in zip(found, plans or (), strict=plans is not None):
        making.prepared = replace(making.prepared, planned=plan)
    return found


def check_units(kind: np.dtype[Any], prepared: Prepared) -> None:
    """Integers cannot hold an image that lies between 0 and 1."""
    if kind.kind in "iu" and prepared.back(next(prepared.parts.numbers())) is None:
        raise DataError(
            f"A restoration that stays normalised lies mostly between 0 and 1 and cannot be written as {kind}. "
            f"Write it as float32, or take it back to grey values (undo=True, --undo)."
        )
