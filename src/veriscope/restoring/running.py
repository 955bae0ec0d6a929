"""The networks of an ensemble at work on a tile, and the tiles that wait; they shrink when memory was short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.errors import DeviceError
from veriscope.networks.model import Ensemble
from veriscope.networks.threads import in_restoring
from veriscope.restoring import engines
from veriscope.restoring.frames import Frames, Number, padded_shape
from veriscope.restoring.plan import ROOMY, Plan
from veriscope.tiling import Grid, Span, Tile, padded, reading
from veriscope.wording import counted, lengths

Block = NDArray[np.float32]
Answers = tuple[Block, Block | None]  # means and scales (members, channels_out, *space)


@dataclass(frozen=True)
class Task:
    """One tile of one frame, as continued by reflection. Its core counts from the frame's own first pixel, so that
    cores are whole chunks of the result; what it reads, from the first that was added.
    """

    number: Number
    tile: Tile

    def core(self, frames: Frames) -> Span:
        """The part of the frame that this tile gives, without what was added by reflection."""
        return tuple(slice(s.start, min(s.stop, n)) for s, n in zip(self.tile.core, frames.shape, strict=True))

    def inner(self, frames: Frames) -> Span:
        """Where that part lies in what the tile reads."""
        places = zip(self.core(frames), frames.before, self.tile.read, strict=True)
        return tuple(slice(c.start + before - r.start, c.stop + before - r.start) for c, before, r in places)


class Tasks(Sequence[Task]):
    """All tiles of a plan, frame by frame, each made when it is asked for."""

    def __init__(self, frames: Frames, plan: Plan) -> None:
        self.plan, self.shape = plan, padded_shape(frames.shape, plan.step)
        self.numbers = Grid(frames.counts, (1,) * len(frames.counts))
        self.cores = Grid(self.shape, plan.core)

    def __len__(self) -> int:
        return len(self.numbers) * len(self.cores)

    def __getitem__(self, number: Any) -> Any:
        frame, tile = divmod(number, len(self.cores))
        place = tuple(part.start for part in self.numbers[frame])
        return Task(place, reading(self.cores[tile], self.shape, self.plan.halo, self.plan.step))


class Networks:
    """An ensemble's networks on a device, run by the engine that `engines.ready` finds: PyTorch on as many threads as
    are fastest where the work is worth a trial, OpenVINO on all."""

    def __init__(self, ensemble: Ensemble, device: torch.device, precision: engines.Precision, plan: Plan) -> None:
        self.members, self.device, self.precision = ensemble.members, device, precision
        self.work = int(plan.voxels * (1 + plan.overhead)) * len(ensemble)  # pixels times networks
        self.roomy, self.kept = plan.allowed >= ROOMY, plan.kept
        self.channels = ensemble.recipe.channels_out
        self.engine: engines.Engine | None = None
        self.run: engines.Run | None = None
        self.threads = 0

    def __str__(self) -> str:
        """What ran them, such as "OpenVINO, float32, 2 threads"; empty before they have run."""
        where = counted(self.threads, "thread") if self.device.type == "cpu" else self.device.type
        return f"{self.engine}, {where}" if self.engine else ""

    def __call__(self, block: Block, inner: Span, into: Answers) -> None:
        """Restore a normalised `block`, as networks take it, and put the part `inner` of the answers into `into`."""
        exact: AbstractContextManager[Any] = nullcontext()
        if self.device.type == "cuda":  # no 19-bit floats in convolutions: tiled and whole results would differ
            exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        means, scales = into
        with torch.inference_mode(), exact:
            image = torch.from_numpy(block)[None].to(self.device)
            if self.run is None:
                work = self.work if self.roomy else 0
                self.engine, self.run = engines.ready(self.members, self.precision, image, work)
            run, trial = self.run, None
            by_torch = self.engine is not None and self.engine.name == "torch"  # threads of OpenVINO do not wait
            if by_torch and self.device.type == "cpu" and self.work >= engines.WORTH:
                trial = partial(engines.answers, run, *engines.piece(self.members[0], image))
            with in_restoring(torch.get_num_threads()).held(trial):
                self.threads = torch.get_num_threads()
                for number, answer in enumerate(run(image, inner)):
                    torch.from_numpy(means[number]).copy_(answer[: self.channels])
                    if scales is not None:
                        torch.from_numpy(scales[number]).copy_(answer[self.channels :])
                    del answer
            if not self.kept:
                self.rest()

    def rest(self) -> None:
        """Hand back the memory that is held from one tile to the next."""
        if self.run is not None:
            self.run.rest()


class Queue:
    """Tasks in order, never larger than the limit, which sinks when memory was short."""

    def __init__(self, frames: Frames, plan: Plan) -> None:
        self.plan = plan
        self.all = Tasks(frames, plan)
        self.limit = plan.core
        self.waiting: list[Task] = []  # last in, first out: parts of tiles that were too large
        self.rest: Iterator[Task] = iter(())

    def begin(self, wanted: Iterable[int] | None) -> None:
        """Take the tasks of these numbers, or all, instead of those that are left; the limit stays."""
        self.waiting.clear()
        self.rest = iter(self.all) if wanted is None else (self.all[number] for number in wanted)

    def take(self) -> Task | None:
        task = self.waiting.pop() if self.waiting else next(self.rest, None)
        if task is None or all(s.stop - s.start <= most for s, most in zip(task.tile.core, self.limit, strict=True)):
            return task
        self.waiting += reversed(list(self._parts(task)))
        return self.waiting.pop()

    def put_back(self, failed: Task, following: Task | None, why: str) -> None:
        """Do `failed` again in smaller tiles, then go on with `following`."""
        sizes = [s.stop - s.start for s in failed.tile.core]
        halves = [max(n, padded(-(-size // 2), n)) for size, n in zip(sizes, self.plan.step, strict=True)]
        gains = [size if half < size else 0 for size, half in zip(sizes, halves, strict=True)]
        if not any(gains):
            reads = [s.stop - s.start for s in failed.tile.read]
            raise DeviceError(
                f"Memory ran out on {self.plan.device} even for the smallest tile, which reads "
                f"{lengths(reads)} pixels ({why}). "
                f"Close other programs, or use another device (device='cpu', --device cpu)."
            )
        axis = gains.index(max(gains))
        self.limit = tuple(halves[a] if a == axis else min(most, sizes[a]) for a, most in enumerate(self.limit))
        if following is not None:
            self.waiting.append(following)
        self.waiting.append(failed)

    def _parts(self, task: Task) -> Iterator[Task]:
        """The same core in cores no larger than the limit."""
        begin = [s.start for s in task.tile.core]
        sizes = [s.stop - s.start for s in task.tile.core]
        for part in Grid(tuple(sizes), self.limit):
            core = tuple(slice(a + s.start, a + s.stop) for a, s in zip(begin, part, strict=True))
            yield Task(task.number, reading(core, self.all.shape, self.plan.halo, self.plan.step))
