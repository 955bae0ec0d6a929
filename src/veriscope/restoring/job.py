"""What is to be restored into files, what is made of each tile's predictions, and what is reported in the end.

The same in tasks that any process can do: each writes whole chunks of the results, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import saving
from veriscope.errors import DataError, OutputError
from veriscope.familiarity import Verdict
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.images.zarr_writing import Layout, ZarrTarget
from veriscope.networks.model import Ensemble
from veriscope.normalize import Counted, Leaders
from veriscope.restoring.frames import Number
from veriscope.restoring.journal import Done, owner
from veriscope.restoring.outputs import Wanted, several
from veriscope.restoring.plan import Plan
from veriscope.restoring.prepared import Prepared, prepare
from veriscope.restoring.running import Answers, Block
from veriscope.restoring.settings import Settings
from veriscope.restoring.settling import Trust
from veriscope.tiling import Span

BLOCK = 2**26  # bytes of an image read at once to count its values


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


# Tasks


@dataclass(frozen=True)
class Task:
    """Restore tile `number` in pass `of` over the image and write it, or make that piece of a smaller `level` of the
    result called `of`."""

    of: int | str
    number: int
    level: int = 0

    @property
    def key(self) -> str:
        return f"{self.of}-{self.level}-{self.number}"


@dataclass(frozen=True)
class CountTask:
    """Count digits of the values in a part of the image, its axes in some order, for percentiles."""

    part: Image
    leaders: Leaders
    done: int
    key: str
    group: int  # a frame, or all frames together


@dataclass(frozen=True, eq=False)
class Job:
    """What a process must know to do its part of a restoration; everything in it can be sent."""

    name: str  # of this run, unlike any other
    work: Work
    plans: Sequence[Plan]  # one for each pass
    layouts: dict[str, Layout]  # of the files by their names
    guard: Path  # the journal, which names the run that may write


class Opened:
    """A job in a process that works on it, with its networks ready. One tile is computed at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.passes = job.work.passes(job.plans)
        self.targets = {name: ZarrTarget(layout, begun=True) for name, layout in job.layouts.items()}
        self.turn = Lock()

    def do(self, task: Task) -> Done | None:
        """Do a task; raises OutputError when another run has taken over."""
        if isinstance(task.of, int):
            return self._tile(task.of, task.number)
        self._check_guard()
        layout = self.job.layouts[task.of]
        with saving.explained(layout.place):
            self.targets[task.of].shrink(task.level, layout.pieces(task.level)[task.number])
        return None

    def _tile(self, index: int, number: int) -> Done:
        making, prepared = self.passes[index], self.passes[index].prepared
        one = prepared.queue.all[number]
        clipped: Counter[str] = Counter()
        ready: list[tuple[Span, dict[str, NDArray[Any]]]] = []
        with self.turn:
            with closing(prepared.tiles([number])) as tiles:
                for _, core, answers, widening in tiles:
                    ready.append((core, making(answers, widening, clipped)))
            tally = prepared.settling.tallies.pop(one.number, None)
            seen = None if prepared.watcher is None else prepared.watcher.seen.pop(one.number, None)
        self._check_guard()
        axes = prepared.parts.result_axes(making.channels)
        for core, images in ready:
            for name, values in images.items():
                layout = self.job.layouts[name]
                region, block = making.placed(one.number, core, values)
                order = [axes.index(letter) for letter in layout.facts.axes]
                with saving.explained(layout.place):
                    self.targets[name].put([region[axis] for axis in order], block.transpose(order))
        return Done({name: lost for name, lost in clipped.items() if lost}, tally, seen)

    def _check_guard(self) -> None:
        """Raise OutputError where another run has begun to write the same results."""
        if owner(self.job.guard).get("run") != self.job.name:
            raise OutputError(f"'{self.job.guard}' belongs to another run now, which continues to write these results.")


def count(task: CountTask) -> tuple[Counted, set[Any]]:
    """Count digits of all values in a part of an image, (C, ...); also the values of blocks that have just one in each
    channel, and None for others.
    """
    found, values = Counted(), set()
    for block in task.part.blocks(task.part.axes, BLOCK):
        found.see([block], task.leaders, task.done)
        flat = block.reshape(len(block), -1)
        values.add(tuple(flat[:, 0].tolist()) if (flat == flat[:, :1]).all() else None)
    return found, values
