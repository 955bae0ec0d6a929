"""Restore an image straight into files, tile by tile, without ever holding it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope import stores
from veriscope.errors import DataError
from veriscope.familiarity import Verdict
from veriscope.images.image import Image
from veriscope.images.writing import Writer, open_writer
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import Number
from veriscope.restoring.making import Making, Written, check_units, makings
from veriscope.restoring.outputs import BY_NAME, Files, PathLike, wanted
from veriscope.restoring.plan import Plan
from veriscope.restoring.prepared import prepare
from veriscope.restoring.settings import Progress, Settings
from veriscope.restoring.settling import Trust
from veriscope.restoring.spread import Spread, Work, in_tasks, restored_in_tasks
from veriscope.tiling import Span

TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


class More(Settings, Files, Spread, total=False):
    """How to restore, what to write beside the restored image, and who does the work."""


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


def restore_to_file(
    image: Image,
    ensemble: Ensemble,
    out: PathLike,
    *,
    dtype: DTypeLike = "float32",
    overwrite: bool = False,
    progress: Progress | None = None,
    **more: Unpack[More],
) -> Report:
    """Restore `image`, lazy or not, into the file `out`; never more than a few tiles are in memory.

    The formats are those of `save_image`, and axes, voxel size and time step are kept. Written beside, as defined by
    `Restoration`: `scale`, `interval` (probability, file for the lower end, file for the upper end), `probability`
    (eps in units of the restored image, file), `entropy`, `disagreement`, and `trust_mask`: uint8, 255 where the image
    is like those of training and the networks agree as they did there, 0 elsewhere. Of networks that project also
    `height` (file for the expected plane, file for its standard deviation), float32, found in a second pass.
    Values are converted to `dtype`: integers are rounded, and what does not fit is clipped and counted in the report.
    Probability, entropy and disagreement are float32 where `dtype` is an integer.
    The other settings are those of `restore`. Files appear under their names when all are complete; after an error or
    an interruption none does.

    `workers` processes of this machine share the work, or those of a `cluster`: the address of a Dask scheduler, or a
    `dask.distributed.Client`. Results are OME-Zarr then, and the same. Finished tiles are noted in a journal beside the
    result, NAME.journal; with `resume` a restoration that was interrupted continues from there. `memory` is for each
    worker. `chunks` and `shards` are pixels along the axes in space, one for all or one for each; a file holds a shard.
    `ending` is shown the report before the journal goes.

    Raises what `restore` raises, OutputError when a file cannot be written or exists already without `overwrite`.
    """
    started = time.perf_counter()
    files = {name: value for name, value in more.items() if name in BY_NAME}
    settings: Any = {name: value for name, value in more.items() if name not in BY_NAME}
    how: Any = {name: settings.pop(name) for name in Spread.__annotations__ if name in settings}
    asked, kind, ending = wanted(out, files), _checked_type(dtype), how.pop("ending", None) or (lambda report: None)
    if in_tasks(how):
        asked = [replace(one, paths=tuple(map(stores.absolute, one.paths))) for one in asked]
        work = Work(image, ensemble, asked, kind, settings, how, overwrite)
        with restored_in_tasks(work, progress) as (passes, clipped, prepared):
            written = [
                Written(name, path, clipped[name], one.values) for one in passes for name, path in one.paths.items()
            ]
            tiles, spent = passes[0].prepared.plan.tiles, time.perf_counter() - started
            report = Report(tuple(written), prepared.plan, tiles, prepared.parts.voxels, spent, prepared.trust())
            ending(report)
        return report
    prepared = prepare(image, ensemble, [one.output for one in asked], **settings)
    passes = makings(prepared, asked, kind)
    done = 0

    def tell(core: Span) -> None:
        nonlocal done
        done += prod(part.stop - part.start for part in core)
        if progress is not None:
            progress(done, prepared.parts.voxels * len(passes))

    with ExitStack() as stack:
        filings = [_Filing(stack, making, overwrite) for making in passes]
        check_units(kind, prepared)
        _ = prepared.warnings  # raises what is wrong with the model's facts now, and not after hours
        written = [file for filing in filings for file in filing.run(tell)]
        trust = prepared.trust()
        for writer in (writer for filing in filings for writer in filing.writers.values()):
            writer.complete()  # everything that can fail comes before the first file gets its name
    spent = time.perf_counter() - started
    voxels, engine = prepared.parts.voxels, str(filings[0].prepared.networks)
    report = Report(tuple(written), prepared.plan, filings[0].tiles, voxels, spent, trust, engine)
    ending(report)
    return report


class _Filing:
    """Runs a prepared restoration and writes what is made of each tile while the next one is computed, in order."""

    def __init__(self, stack: ExitStack, making: Making, overwrite: bool) -> None:
        self.making, self.prepared = making, making.prepared
        self.tiles = 0
        self.last: Future[None] | None = None
        chunks = self.prepared.parts.chunks(self.prepared.plan.core, making.channels)
        self.writers: dict[str, Writer] = {
            name: stack.enter_context(open_writer(path, making.outline(name), overwrite, chunks))
            for name, path in making.paths.items()
        }
        self.pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="veriscope-write"))

    def run(self, tell: Callable[[Span], object]) -> list[Written]:
        """Restore all tiles and write them; `tell` is shown the part of the frame that each gave."""
        clipped: Counter[str] = Counter()
        with closing(self.prepared.tiles()) as tiles:
            for number, core, answers, widening in tiles:
                ready = self.making(answers, widening, clipped)
                self.finish()
                self.last = self.pool.submit(self._write, number, core, ready)
                self.tiles += 1
                tell(core)
        self.finish()
        return [Written(name, writer.path, clipped[name], self.making.values) for name, writer in self.writers.items()]

    def finish(self) -> None:
        """Wait for what is being written; errors of the writing come out here."""
        if self.last is not None:
            self.last.result()
            self.last = None

    def _write(self, number: Number, core: Span, ready: dict[str, NDArray[Any]]) -> None:
        for name, values in ready.items():
            self.writers[name].write(*self.making.placed(number, core, values))


def _checked_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        kind = np.dtype(object)
    if kind.name not in TYPES:
        raise DataError(f"Results cannot be written as '{dtype}'. Choose one of {', '.join(TYPES)}.")
    return kind
