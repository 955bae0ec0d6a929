"""A restoration in tasks that any process can do: each writes whole chunks of the results, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from veriscope import saving
from veriscope.errors import OutputError
from veriscope.images.image import Image
from veriscope.images.zarr_writing import Layout, ZarrTarget
from veriscope.normalize import Counted, Leaders
from veriscope.restoring.journal import Done, owner
from veriscope.restoring.making import Work
from veriscope.restoring.plan import Plan
from veriscope.restoring.running import Queue
from veriscope.tiling import Span

BLOCK = 2**26  # bytes of an image read at once to count its values


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
        self.queues = [Queue(one.prepared.parts, one.prepared.plan) for one in self.passes]
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
        making, queue = self.passes[index], self.queues[index]
        prepared, one = making.prepared, queue.all[number]
        clipped: Counter[str] = Counter()
        ready: list[tuple[Span, dict[str, NDArray[Any]]]] = []
        with self.turn:
            queue.begin([one])
            with closing(prepared.tiles(queue=queue)) as tiles:
                for _, core, answers, widening in tiles:
                    ready.append((core, making(answers, widening, clipped)))
            tally = None if prepared.settling is None else prepared.settling.tallies.pop(one.number, None)
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


def count(task: CountTask) -> tuple[Counted, tuple[Any, ...] | None]:
    """Count digits of all values in a part of an image, (C, ...); also its value in each channel if it has just one."""
    found, value = Counted(), None
    for number, block in enumerate(task.part.blocks(task.part.axes, BLOCK)):
        found.see([block], task.leaders, task.done)
        first = block.reshape(len(block), -1)[:, :1]
        own = tuple(first[:, 0].tolist()) if (block.reshape(len(block), -1) == first).all() else None
        value = own if number == 0 or own == value else None
    return found, value
