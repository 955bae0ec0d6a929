"""A restoration in tasks: done by the workers of a cluster, or here, and continued where it was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch

from veriscope import saving, stores
from veriscope.clusters import client_of
from veriscope.errors import DataError, OutputError, VeriscopeError
from veriscope.images.contents import FileArray
from veriscope.images.image import Image, pieces
from veriscope.images.reading import stem
from veriscope.images.writing import check_place, zarr_layout
from veriscope.images.zarr_writing import Layout, ZarrTarget
from veriscope.networks.graph import OnnxNetwork
from veriscope.networks.model import Ensemble
from veriscope.normalize import Count, Counted, Leaders, Normalization
from veriscope.restoring.distributed import AnyTask, Dask
from veriscope.restoring.job import CountTask, Job, Making, Opened, Report, Task, Work, checked, count, reported
from veriscope.restoring.journal import COMPLETE, Done, Journal, journal_of
from veriscope.restoring.plan import SHARE, Plan, Whole, held, parse
from veriscope.restoring.prepared import Prepared
from veriscope.restoring.scaling import Fitted, Known
from veriscope.restoring.settings import Progress, Settings, complete

COUNTED = 2**28  # bytes of a task that counts values


class Spread(TypedDict, total=False):
    """How work is shared; see `restore_to_file`."""

    cluster: Any
    workers: int | None
    resume: bool
    chunks: tuple[int, ...] | None
    shards: tuple[int, ...] | None
    ending: Callable[[Any], object] | None


def in_tasks(how: Spread) -> bool:
    """Whether a restoration is done in tasks."""
    return any(how.get(name) not in (None, False) for name in ("cluster", "workers", "resume", "chunks", "shards"))


class Here:
    """Does tasks in this process, one after the other."""

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[AnyTask], total: int = 1
    ) -> Iterator[tuple[AnyTask, Any]]:
        for task in tasks:
            yield task, function(task)

    def working(self, job: Job) -> AbstractContextManager[Callable[[Task], Any]]:
        return nullcontext(Opened(job).do)


def _identity(work: Work, how: Spread) -> dict[str, Any]:
    """What must be the same for an interrupted restoration to be continued."""
    image, chosen = work.image, complete(work.settings)
    return {
        "image": f"{image.axes} {image.shape} {image.dtype} {image.voxel_size} {_origin(image.array)}",
        "model": fingerprint(work.model),
        "settings": {name: repr(value) for name, value in chosen.items() if name not in ("memory", "device")},
        "outputs": [[one.output.name, one.arguments, list(map(str, one.paths))] for one in work.asked],
        "type": str(work.kind),
        "chunks": [how.get("chunks"), how.get("shards")],
    }


def fingerprint(model: Ensemble) -> str:
    """Changes with anything in a model that changes what it restores."""
    digest = hashlib.sha256(json.dumps([model.recipe.to_json(), model.facts.to_json()], sort_keys=True).encode())
    for member in model.members:
        if isinstance(member, OnnxNetwork):
            digest.update(member.contents)
            continue
        for name, tensor in member.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _origin(array: Any) -> str:
    """Where pixels come from: a file and when it was written, or a checksum of them."""
    while not isinstance(array, FileArray) and hasattr(array, "source"):
        array = array.source
    if isinstance(array, FileArray):
        return repr(array.source)
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() if isinstance(array, np.ndarray) else ""


@contextmanager
def restored_in_tasks(work: Work, how: Spread, progress: Progress | None) -> Iterator[Report]:
    """Restore what `work` says: in the block the files are complete and in their places; after it the journal goes.

    Raises what `restore_to_file` raises; what was finished is kept, for `resume`.
    """
    who = how.get("cluster"), how.get("workers")
    shared = who != (None, None)
    work = replace(work, asked=[replace(one, paths=tuple(map(stores.absolute, one.paths))) for one in work.asked])
    for final in work.finals:
        if (stores.url(final) or "").startswith("memory:") and shared:
            raise OutputError(f"'{final}' is in the memory of one process. Write to a folder or to s3:// instead.")
        if not final.name.lower().endswith(".zarr"):
            raise OutputError(
                f"'{final}' would be written by several processes or continued later, which only OME-Zarr allows. Give "
                f"a name that ends with .ome.zarr (--format zarr)."
            )
    if work.settings.get("precision") == "fast":
        raise DataError(
            "Precision fast is chosen by each process for itself. Choose float32 or bfloat16 (--precision)."
        )
    if work.settings.get("precision", "auto") == "auto":  # of engines that differ in rounding, the same for all
        work = replace(work, settings=cast(Settings, {**work.settings, "precision": "float32"}))
    passes = work.passes()
    journal = Journal(journal_of(work.finals[0]), work.finals)
    before = journal.begun()
    if before is not None and not how.get("resume"):
        if not work.overwrite:
            raise OutputError(
                f"'{work.finals[0]}' was begun earlier and is not finished. Continue with resume (--resume), or start "
                f"over with overwrite (--overwrite)."
            )
        before = None
    if before is None or not stores.get(journal.place, COMPLETE):
        for final in work.finals:
            check_place(final, work.overwrite, folder=True)
    if before is not None:
        now = json.loads(json.dumps(_identity(work, how)))
        if differing := [name for name in now if before["identity"].get(name) != now[name]]:
            raise OutputError(
                f"'{work.finals[0]}' was begun with another {', another '.join(differing)}. Continue with the same, or "
                f"start over without resume (--overwrite instead of --resume)."
            )
    with client_of(*who) if shared else nullcontext() as client:
        engine = Here() if client is None else Dask(client, work.image, work.settings.get("device"))
        passes, clipped = _Run(work, how, journal, engine, progress).whole(passes, before)
    yield reported(passes, clipped, passes[0].prepared.plan.tiles)
    journal.end()


class _Run:
    """One run of a restoration in tasks."""

    def __init__(
        self, work: Work, how: Spread, journal: Journal, engine: Here | Dask, progress: Progress | None
    ) -> None:
        self.work, self.how, self.journal, self.engine, self.progress = work, how, journal, engine, progress
        self.clipped: Counter[str] = Counter()
        self.finished: dict[str, Done] = {}

    def whole(self, passes: Sequence[Making], before: dict[str, Any] | None) -> tuple[list[Making], Counter[str]]:
        """Do what was not done `before`: the passes as they were planned, and how many values did not fit."""
        if before is None:
            plans = [asdict(self._plan(one)) for one in passes]
            head: dict[str, Any] = {"identity": _identity(self.work, self.how), "plans": plans, "known": None}
            self.journal.begin(head)
            for final in self.work.finals:
                stores.remove(unfinished(final))
        else:
            head = before
            self.journal.own()
            self.finished, self.journal.noted = self.journal.finished(), True
        try:
            return self._restored(passes[0].prepared.forward, head), self.clipped
        finally:
            with suppress(OSError, VeriscopeError):
                if self.journal.noted:
                    self.journal.leave()
                else:  # nothing was done that could be continued
                    self.journal.end()

    def _restored(self, forward: Any, head: dict[str, Any]) -> list[Making]:
        work = self.work
        if isinstance(forward, Fitted):
            work = replace(work, settings=cast(Settings, {**work.settings, "normalize": self._known(forward, head)}))
        stored: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}
            for one in head["plans"]
        ]
        plans = [Plan(**one) for one in stored]
        passes = work.passes(plans)
        checked(passes, work.kind)
        layouts = self._layouts(passes)
        if not stores.get(self.journal.place, COMPLETE):
            if "created" not in self.finished:
                for layout in layouts.values():
                    ZarrTarget(layout)
                self.journal.note("created")
            with self.engine.working(Job(self.journal.run, work, plans, layouts, self.journal.place)) as do:
                self._tiles(passes, do)
                self._levels(layouts, do)
            for layout in layouts.values():
                if stores.url(layout.place) is None:  # what processes that were killed left half-written
                    for left in layout.place.rglob("*.partial"):
                        left.unlink(missing_ok=True)
                ZarrTarget(layout, begun=True).describe()
            self.journal.flush()
            stores.put(self.journal.place, COMPLETE, b"{}")
        else:
            self._tiles(passes, lambda task: None)
        for final in work.finals:
            if stores.url(final) is None and saving.exists(unfinished(final)):
                saving.put(unfinished(final), final, work.overwrite)
        return passes

    def _plan(self, making: Making) -> Plan:
        """The tiles of a pass, for the memory of the workers."""
        prepared, engine = making.prepared, self.engine
        if isinstance(engine, Dask):
            asked: Any = self.work.settings.get("memory")
            if isinstance(asked, Whole):  # with what a worker holds already
                asked = Whole(parse(asked.memory) + held() - engine.held)
            elif asked is None:
                asked = int(SHARE[engine.device] * engine.free)
            prepared = replace(prepared, memory=asked, device=torch.device(engine.device))
        return prepared.plan if self.how.get("shards") is None else self._for_shards(making, prepared)

    def _for_shards(self, making: Making, prepared: Prepared) -> Plan:
        """Tiles of whole shards. Raises OutputError where they do not fit into the memory."""
        parts, shards = prepared.parts, self._asked(making, "shards")
        most, plan = [], prepared.plan
        for letter, core, step in zip(parts.space, plan.core, plan.step, strict=True):
            shard, size = shards[letter], parts.source.size(letter)
            fits = core if core >= size else core // shard * shard
            if not fits or (core < size and shard % step):
                raise OutputError(
                    f"Tiles of {core} pixels along {letter} fit into the memory, which hold no whole shard of {shard} "
                    f"that is a multiple of {step}. Choose other shards (--shards), or allow more memory (--memory)."
                )
            most.append(fits)
        return replace(prepared, tile=tuple(most)).plan

    def _layouts(self, passes: Sequence[Making]) -> dict[str, Layout]:
        """Of all files. Raises OutputError where tiles are not whole chunks, or whole shards."""
        found = {}
        for making in passes:
            parts, cores = making.prepared.parts, making.prepared.plan.core
            shards, chunks = self._asked(making, "shards"), self._asked(making, "chunks")
            what, sizes = ("shards", shards) if shards else ("chunks", chunks)  # that a file holds
            for letter, tile in zip(parts.space, cores, strict=True):
                if sizes and tile < parts.source.size(letter) and tile % sizes[letter]:
                    raise OutputError(
                        f"Tiles of {tile} pixels along {letter} are not made of whole {what} of {sizes[letter]}. "
                        f"Choose {what} that divide {tile} (--{what}), or another tile (--tile)."
                    )
            fitting = tuple(map(min, chunks.values(), parts.outline(making.channels).shape)) or making.chunks
            for name, final in making.paths.items():
                outline = making.outline(name)
                named = outline if outline.name else replace(outline, name=stem(final))
                found[name] = zarr_layout(unfinished(final), named, fitting, tuple(shards.values()) or None)
        return found

    def _asked(self, making: Making, what: str) -> dict[str, int]:
        """Sizes of chunks or shards along the axes of the result, 1 along those not in space; {} without a wish."""
        sizes: Any = self.how.get(what)
        if sizes is None:
            return {}
        letters = making.prepared.parts.space
        found = (sizes,) if isinstance(sizes, int) else tuple(sizes)
        found *= len(letters) if len(found) == 1 else 1
        if len(found) != len(letters):
            raise OutputError(f"Chunks and shards need one size, or one for each of the axes {letters}, not {found}.")
        by = dict(zip(letters, found, strict=True))
        return {letter: by.get(letter, 1) for letter in making.prepared.parts.result_axes(making.channels)}

    # Percentiles

    def _known(self, forward: Fitted, head: dict[str, Any]) -> Known:
        if head["known"] is not None:
            outer, apart, places = head["known"]
            return Known(outer, apart, {tuple(key): Normalization.from_json(one) for key, one in places})
        if isinstance(self.engine, Dask):
            forward.counting = self._counting
        found = forward.all()
        places = [[list(key), one.to_json()] for key, one in found.places.items()]
        head["known"] = [found.outer, found.apart, places]
        stores.put(self.journal.place, "job.json", json.dumps(head).encode())
        return found

    def _counting(self, part: Image) -> Count:
        """Values of a part of the image are counted by the workers."""

        def run(leaders: Leaders, done: int) -> Counted:
            totals: defaultdict[int, Counted] = defaultdict(Counted)
            values: defaultdict[int, set[Any]] = defaultdict(set)
            for task, (counted, found) in self.engine.run(count, _count_tasks(part, leaders, done)):
                totals[task.group].merge(counted)
                values[task.group] |= found
            # frames of one value do not count, unless all are such
            varied = [group for group in totals if len(values[group]) > 1 or None in values[group]]
            whole = Counted()
            for group in varied or totals:
                whole.merge(totals[group])
            return whole

        return Count(run)

    # Tiles and smaller levels

    def _tiles(self, passes: Sequence[Making], do: Callable[[Task], Any]) -> None:
        done, total = 0, sum(one.prepared.parts.voxels for one in passes)
        tiles = [one.prepared.queue.all for one in passes]
        tasks = [Task(index, number) for index, own in enumerate(tiles) for number in range(len(own))]
        before = ((task, self.finished[task.key]) for task in tasks if task.key in self.finished)
        seen: dict[int, Any] = {}
        for task, answer in chain(before, self._left(do, tasks)):
            assert isinstance(task.of, int)
            prepared, one = passes[task.of].prepared, tiles[task.of][task.number]
            done += prod(part.stop - part.start for part in one.core(prepared.parts))
            self.clipped.update(answer.clipped)
            if answer.tally is not None:
                prepared.settling.tallies[one.number].merge(answer.tally)
            if answer.seen is not None:
                seen[task.number] = answer.seen
            if self.progress is not None:
                self.progress(done, total)
        watcher = passes[0].prepared.watcher
        for number in sorted(seen):
            assert watcher is not None
            watcher.seen[tiles[0][number].number].merge(seen[number])

    def _levels(self, layouts: dict[str, Layout], do: Callable[[Task], Any]) -> None:
        """Smaller levels one after the other: each is made of the one before."""
        for level in range(1, max(len(layout.shapes) for layout in layouts.values())):
            some = {name: layout.pieces(level) for name, layout in layouts.items() if level < len(layout.shapes)}
            for _ in self._left(do, [Task(name, n, level) for name, parts in some.items() for n in range(len(parts))]):
                pass

    def _left(self, do: Callable[[Task], Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Do what is not finished of `tasks`, and note it."""
        left = (task for task in tasks if task.key not in self.finished)
        for task, answer in self.engine.run(do, left, len(tasks)):
            self.journal.note(task.key, answer)
            yield task, answer


def _count_tasks(part: Image, leaders: Leaders, done: int) -> Iterator[CountTask]:
    """As `Image.blocks_with_contrast`: frame by frame where chunks hold one time point."""
    time_axis = part.axes.find("T")
    apart = time_axis >= 0 and not (part.chunks is not None and part.chunks[time_axis] > 1)
    for frame in range(part.size("T")) if apart else (0,):
        shown = part.region(T=frame) if apart else part
        shown = shown.moved("C" + shown.axes.replace("C", ""))
        for number, spans in enumerate(pieces(shown, COUNTED, shown.chunks, 0)):
            piece = shown.region(**dict(zip(shown.axes, spans, strict=True)))
            yield CountTask(piece, leaders, done, f"{frame}-{number}-{done}", frame)


def unfinished(final: Path) -> Path:
    """Where a result lies until it is complete: beside its place, or at it where nothing can be renamed."""
    return final if stores.url(final) is not None else final.with_name(f"{final.name}.unfinished")
