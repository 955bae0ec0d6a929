"""What is to be restored into files: what is made of each tile's predictions, where it belongs, and what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.familiarity import Verdict
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import Number
from veriscope.restoring.outputs import Wanted, several
from veriscope.restoring.plan import Plan
from veriscope.restoring.prepared import Prepared, prepare
from veriscope.restoring.running import Answers, Block
from veriscope.restoring.settings import Settings
from veriscope.restoring.settling import Trust
from veriscope.tiling import Span


@dataclass(frozen=True)
class Written:
    """One file that was written: what it shows, and how many values did not fit into its type."""

    kind: str  # "mean", or one of the files of an output, such as "lower"
    path: Path
    clipped: int
    values: int  # in all


@dataclass(frozen=True)
class Report:
    """What `restore_to_file` did."""

    outputs: tuple[Written, ...]
    plan: Plan
    tiles: int  # computed; more than planned when memory was short
    voxels: int
    seconds: float
    trust: Trust = field(default_factory=Trust)  # the error to expect and the verdict, estimated without ground truth
    engine: str = ""  # what ran the networks and on how many threads, where this process did

    @property
    def verdict(self) -> Verdict | None:
        return self.trust.verdict

    @property
    def clipped(self) -> int:
        """Values of all outputs that did not fit into their type."""
        return sum(output.clipped for output in self.outputs)

    def __str__(self) -> str:
        speed = self.voxels / max(self.seconds, 1e-9) / 1e6
        lines = [f"{self.voxels:,} voxels in {self.tiles:,} tiles, {self.seconds:.1f} s ({speed:.3g} million a second)"]
        for output in self.outputs:
            lost = f", {output.clipped:,} of {output.values:,} values clipped" if output.clipped else ""
            lines.append(f"{output.kind:<12} {output.path}{lost}")
        return "\n".join([*lines, *([str(self.trust)] if str(self.trust) else [])])


class Making:
    """Makes what is `asked` of the predictions of a tile. The files have so many `channels`; 0: no axis C."""

    def __init__(self, prepared: Prepared, asked: Sequence[Wanted], channels: int, kind: np.dtype[Any]) -> None:
        self.prepared, self.asked, self.channels = prepared, asked, channels
        self.kinds = {name: one.output.written_as(kind) for one in asked for name in one.output.files}
        self.paths = {name: path for one in asked for name, path in zip(one.output.files, one.paths, strict=True)}
        self.values = prepared.parts.voxels * max(channels, 1)  # of each file
        networks = [one for one in asked if one.output.by != "watcher"]
        self._made = {one.output.name: one.make(prepared.distribution) for one in networks}

    @property
    def chunks(self) -> tuple[int, ...]:
        """Good chunks of its files."""
        return self.prepared.parts.chunks(self.prepared.plan.core, self.channels)

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


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be restored into files of the type `kind`, and how; everything in it can be sent."""

    image: Image
    model: Ensemble
    asked: Sequence[Wanted]
    kind: np.dtype[Any]
    settings: Settings
    overwrite: bool

    @property
    def finals(self) -> list[Path]:
        return [path for one in self.asked for path in one.paths]

    def passes(self, plans: Sequence[Plan] | None = None) -> list[Making]:
        """What is made in each pass over the image: of the networks, and of what finds the surface. `plans` if known.

        No pixel is read. Raises as `prepare`.
        """
        prepared = prepare(self.image, self.model, [one.output for one in self.asked], **self.settings)
        second = [one for one in self.asked if one.output.by == "surface"]
        first = [one for one in self.asked if one.output.by != "surface"]
        found = [Making(prepared, first, prepared.channels, self.kind)]
        found += [Making(prepared.surface(), second, 0, self.kind)] if second else []
        for making, plan in zip(found, plans or (), strict=plans is not None):
            making.prepared = replace(making.prepared, planned=plan)
        return found


def checked(passes: Sequence[Making], kind: np.dtype[Any]) -> None:
    """Raise now, and not after hours, what is wrong with the model's facts, or with writing the result as `kind`."""
    prepared = passes[0].prepared
    if kind.kind in "iu" and prepared.back(next(prepared.parts.numbers())) is None:
        raise DataError(
            f"A restoration that stays normalised lies mostly between 0 and 1 and cannot be written as {kind}. "
            f"Write it as float32, or take it back to grey values (undo=True, --undo)."
        )
    _ = prepared.warnings


def reported(passes: Sequence[Making], clipped: Counter[str], tiles: int, engine: str = "") -> Report:
    """The report of all `passes`, without the time that they took."""
    written = (Written(name, path, clipped[name], one.values) for one in passes for name, path in one.paths.items())
    prepared = passes[0].prepared
    return Report(tuple(written), prepared.plan, tiles, prepared.parts.voxels, 0.0, prepared.trust(), engine)
