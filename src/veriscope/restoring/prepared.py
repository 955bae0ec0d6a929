"""A restoration that is prepared: everything is decided before its first tile; then it goes tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, Unpack

import numpy as np
import torch

from veriscope.calibrated import Distribution
from veriscope.images.image import Image
from veriscope.networks import devices
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Heights, Projection
from veriscope.normalize import Normalization
from veriscope.restoring.engines import Precision, checked
from veriscope.restoring.frames import Frames, Number, frames
from veriscope.restoring.outputs import SURFACE, Output, check
from veriscope.restoring.plan import Memory, Plan, lengths, plan_frames
from veriscope.restoring.running import Answers, Block, Networks, Queue, Task
from veriscope.restoring.scaling import normalizer, restorer, to_units
from veriscope.restoring.settings import Settings, complete
from veriscope.restoring.settling import Settling, Trust
from veriscope.restoring.watching import Watcher, warnings_about, watcher
from veriscope.tiling import Span
from veriscope.training.allocator import kept_memory

ROOM = 0.8  # of the memory planned may be held when a tile begins: it may need other blocks than those kept

Into = Callable[[Number, Span], Answers]  # where to put the answers for a part of a frame


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image taken apart for a model, with all that turns its tiles into predictions in grey values.

    `forward` takes each frame to the networks' units, `back` its restoration to grey values, where it is not None.
    `settling` corrects predictions and takes them back. `watcher` sees each tile before that; None for models that do
    not know their training images. So many `images` are made of the predictions and held beside them, as far as the
    plan is concerned.
    """

    parts: Frames
    model: Ensemble
    device: torch.device
    tile: tuple[int, ...] | None
    memory: Memory
    forward: Callable[[Number], Normalization]
    back: Callable[[Number], Normalization | None]
    settling: Settling
    watcher: Watcher | None
    measured: bool  # `forward` was taken from the image or the model, not given
    images: int = 1
    precision: Precision = "auto"
    planned: Plan | None = None  # by somebody else

    @property
    def channels(self) -> int:
        """Of the result."""
        return self.model.recipe.channels_out

    @property
    def probabilistic(self) -> bool:
        return self.model.recipe.probabilistic

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all predicted means: members, outer axes, channels, space."""
        return len(self.model), *self.parts.counts, self.channels, *self.parts.shape

    @property
    def nbytes(self) -> int:
        """Of all predictions."""
        return 4 * prod(self.shape) * (1 + self.probabilistic) + 4 * prod(self.shape[1:]) * self.settling.widens

    @property
    def distribution(self) -> Distribution:
        """What is predicted for a pixel by means, scales and widening."""
        return self.settling.distribution

    @cached_property
    def plan(self) -> Plan:
        """Raises DataError for memory that is no amount, DeviceError when not even the smallest tile fits."""
        return self.planned or plan_frames(self.parts, self.model, self.tile, self.memory, self.device, self.images)

    @cached_property
    def queue(self) -> Queue:
        """Of the tiles; it remembers that they had to shrink."""
        return Queue(self.parts, self.plan)

    @cached_property
    def networks(self) -> Networks:
        return Networks(self.model, self.device, self.precision, self.plan)

    def empty(self, size: Sequence[int]) -> Answers:
        """Room for predictions of `size`, (members, ...)."""
        return np.empty(size, np.float32), np.empty(size, np.float32) if self.probabilistic else None

    def tiles(
        self, wanted: Iterable[int] | None = None, into: Into | None = None
    ) -> Generator[tuple[Number, Span, Answers, Block | None]]:
        """Restore tile by tile: its frame, its part of the frame, its predictions and their widening (C, *core).

        `wanted` are numbers of tasks of the queue; None: all. Predictions, (M, C, *core), are put where `into` says,
        each time into new arrays without it. The next tile is read while this one is computed. After an out-of-memory
        error tiles are halved along their longest axis. Raises DeviceError when the smallest tile is too large still.
        """
        if self.watcher is not None:
            self.watcher.tiles = self.plan.tiles

        def anew(number: Number, core: Span) -> Answers:
            return self.empty((len(self.model), self.channels, *(part.stop - part.start for part in core)))

        def read(task: Task) -> Block:
            return to_units(self.forward(task.number), self.parts.read(task.number, task.tile.read))

        queue, into = self.queue, into or anew
        queue.begin(wanted)
        with (
            kept_memory(self.plan.kept, at_most=int(ROOM * self.plan.memory)) as tidy,
            ThreadPoolExecutor(1, thread_name_prefix="veriscope-read") as reader,
            ExitStack() as after,
        ):
            after.callback(self.networks.rest)
            task = queue.take()
            reading = None if task is None else reader.submit(read, task)
            while task is not None and reading is not None:
                following = queue.take()
                try:
                    block = reading.result()
                    reading = None if following is None else reader.submit(read, following)
                    core, inner = task.core(self.parts), task.inner(self.parts)
                    answers = into(task.number, core)
                    tidy()
                    self.networks(block, inner, answers)
                    short = None
                except (RuntimeError, MemoryError) as problem:
                    if not devices.is_out_of_memory(problem):
                        raise
                    short = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
                if short is not None:  # outside of the handler, which keeps the tensors of the failed attempt alive
                    block = answers = None  # type: ignore[assignment]
                    if reading is not None:
                        reading.cancel()
                    self.networks.rest()
                    devices.release(self.device)
                    queue.put_back(task, following, short)
                    task = queue.take()
                    reading = None if task is None else reader.submit(read, task)
                    continue
                if self.watcher is not None:
                    seen: Any = (..., *inner)
                    self.watcher(task.number, block[seen], answers)
                yield task.number, core, answers, self.settling(task.number, answers)
                del block, answers
                task = following

    def trust(self) -> Trust:
        """What the tiles restored so far say without ground truth."""
        return self.settling.trust(self.watcher, self.warnings)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is unlike the training images before anything is restored."""
        return warnings_about(self.parts, self.model, self.forward if self.measured else None)

    def surface(self) -> Prepared:
        """What finds the surface in the same image: predictions are heights and their standard deviations, in planes.

        Raises ModelError when the model does not project.
        """
        model = finders(self.model)
        as_it_is = Settling(self.parts, model, self.forward, lambda number: None, calibrated=False)
        return replace(self, model=model, settling=as_it_is, watcher=None)


def finders(model: Ensemble) -> Ensemble:
    """The parts of the networks that find the surface. Raises ModelError when the model does not project."""
    members = [Heights(member) for member in model.members if isinstance(member, Projection)]
    if not members:
        raise SURFACE.error(["height"])
    return Ensemble(model.recipe.change(channels_out=1, residual=False, probabilistic=True), tuple(members))


def prepare(image: Image, model: Ensemble, asked: Sequence[Output] = (), **settings: Unpack[Settings]) -> Prepared:
    """Decide everything about restoring `image`; no pixel is read, and `restore` says what is raised.

    The outputs that are `asked` for are made tile by tile. Raises ModelError where the model cannot give them.
    """
    chosen = complete(settings)
    device = devices.choose(chosen["device"])
    model = model.in_space(chosen["combine"])
    check(model, asked)
    parts = frames(image, model.recipe, chosen["channel"], chosen["planes"])
    tile = lengths(chosen["tile"], parts.space)
    forward = normalizer(parts, model, chosen["normalize"])
    back = restorer(model, forward, chosen["undo"])
    settling = Settling(parts, model, forward, back, chosen["calibrated"])
    masking = any(one.by == "watcher" for one in asked)
    images = max(1, sum(len(one.files) for one in asked))
    measured = not isinstance(chosen["normalize"], Normalization)
    seen = watcher(model, masking)
    precision = checked(chosen["precision"])
    whole = parts, model, device, tile, chosen["memory"], forward, back, settling, seen, measured, images, precision
    return Prepared(*whole)


def plan(image: Image, model: Ensemble, asked: Sequence[Output] = (), **settings: Unpack[Settings]) -> Plan:
    """How `restore` and `restore_to_file` would go about `image`, without reading a pixel."""
    settings["undo"] = False  # which says nothing of grey values that are not known
    return prepare(image, model, asked, **settings).plan
