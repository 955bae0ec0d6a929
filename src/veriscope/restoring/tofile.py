"""Restore an image straight into files, tile by tile, without ever holding it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from math import prod
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.writing import open_writer
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import Number
from veriscope.restoring.job import Making, Work, checked, reported
from veriscope.restoring.job import Report as Report
from veriscope.restoring.outputs import BY_NAME, Files, wanted
from veriscope.restoring.settings import Progress, Settings
from veriscope.restoring.spread import Spread, in_tasks, restored_in_tasks
from veriscope.stores import PathLike
from veriscope.tiling import Span

TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


class More(Settings, Files, Spread, total=False):
    """How to restore, what to write beside the restored image, and who does the work."""


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
    work = Work(image, ensemble, wanted(out, files), _checked_type(dtype), settings, overwrite)
    ending = how.pop("ending", None) or (lambda report: None)
    with restored_in_tasks(work, how, progress) if in_tasks(how) else _restored(work, progress) as report:
        report = replace(report, seconds=time.perf_counter() - started)
        ending(report)
    return report


@contextmanager
def _restored(work: Work, progress: Progress | None) -> Iterator[Report]:
    """Restore in this process: in the block the files are complete and in their places.

    What is made of a tile is written while the next one is computed, in order.
    """
    passes, clipped, tiles, done = work.passes(), Counter[str](), 0, 0
    behind: Future[None] | None = None  # what is being written; errors come out when its result is asked for
    total = len(passes) * passes[0].prepared.parts.voxels
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(open_writer(path, making.outline(name), work.overwrite, making.chunks))
            for making in passes
            for name, path in making.paths.items()
        }
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="veriscope-write"))

        def write(making: Making, number: Number, core: Span, ready: dict[str, NDArray[Any]]) -> None:
            for name, values in ready.items():
                writers[name].write(*making.placed(number, core, values))

        checked(passes, work.kind)
        for making in passes:
            with closing(making.prepared.tiles()) as finished:
                for number, core, answers, widening in finished:
                    ready = making(answers, widening, clipped)
                    if behind is not None:
                        behind.result()
                    behind = pool.submit(write, making, number, core, ready)
                    tiles += making is passes[0]
                    done += prod(part.stop - part.start for part in core)
                    if progress is not None:
                        progress(done, total)
        if behind is not None:
            behind.result()
        report = reported(passes, clipped, tiles, str(passes[0].prepared.networks))
        for writer in writers.values():
            writer.complete()  # everything that can fail comes before the first file gets its name
    yield report


def _checked_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        kind = np.dtype(object)
    if kind.name not in TYPES:
        raise DataError(f"Results cannot be written as '{dtype}'. Choose one of {', '.join(TYPES)}.")
    return kind
