"""Restore an image straight into files, tile by tile, without ever holding it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope.errors import DataError
from veriscope.familiarity import Verdict
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.images.writing import Writer, open_writer
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import Number
from veriscope.restoring.outputs import BY_NAME, Files, PathLike, Wanted, several, wanted
from veriscope.restoring.plan import Plan
from veriscope.restoring.prepared import Prepared, prepare
from veriscope.restoring.settings import Progress, Settings
from veriscope.restoring.settling import Trust
from veriscope.tiling import Span

TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


class More(Settings, Files, total=False):
    """How to restore, and what to write beside the restored image."""


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

    Raises what `restore` raises, OutputError when a file cannot be written or exists already without `overwrite`.
    """
    started = time.perf_counter()
    files = {name: value for name, value in more.items() if name in BY_NAME}
    settings: Any = {name: value for name, value in more.items() if name not in BY_NAME}
    asked, kind = wanted(out, files), _checked_type(dtype)
    prepared = prepare(image, ensemble, [one.output for one in asked], **settings)
    second = [one for one in asked if one.output.by == "surface"]
    passes = [(prepared, [one for one in asked if one not in second], prepared.channels)]
    if second:
        passes.append((prepared.surface(), second, 0))
    done = 0

    def tell(core: Span) -> None:
        nonlocal done
        done += prod(part.stop - part.start for part in core)
        if progress is not None:
            progress(done, prepared.parts.voxels * len(passes))

    with ExitStack() as stack:
        filings = [_Filing(stack, *one, kind, overwrite) for one in passes]
        _check_units(kind, prepared)
        _ = prepared.warnings  # raises what is wrong with the model's facts now, and not after hours
        written = [file for filing in filings for file in filing.run(tell)]
        trust = prepared.trust()
        for writer in (writer for filing in filings for writer in filing.writers.values()):
            writer.complete()  # everything that can fail comes before the first file gets its name
    spent = time.perf_counter() - started
    return Report(tuple(written), prepared.plan, filings[0].tiles, prepared.parts.voxels, spent, trust)


class _Filing:
    """Runs a prepared restoration and writes what is `asked` of each tile while the next one is computed, in order.

    The files have so many `channels`; 0: no axis C.
    """

    def __init__(
        self,
        stack: ExitStack,
        prepared: Prepared,
        asked: list[Wanted],
        channels: int,
        kind: np.dtype[Any],
        overwrite: bool,
    ) -> None:
        self.prepared, self.asked, self.channels = prepared, asked, channels
        self.kinds: dict[str, np.dtype[Any]] = {}
        self.writers: dict[str, Writer] = {}
        self.tiles = 0
        self.last: Future[None] | None = None
        chunks = prepared.parts.chunks(prepared.plan.core, channels)
        for one in asked:
            for name, path in zip(one.output.files, one.paths, strict=True):
                self.kinds[name] = one.output.written_as(kind)
                shown = prepared.parts.outline(channels, self.kinds[name])
                self.writers[name] = stack.enter_context(open_writer(path, shown, overwrite, chunks))
        self.pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="veriscope-write"))

    def run(self, tell: Callable[[Span], object]) -> list[Written]:
        """Restore all tiles and write them; `tell` is shown the part of the frame that each gave."""
        clipped: Counter[str] = Counter()
        networks = [one for one in self.asked if one.output.by != "watcher"]
        made = {one.output.name: one.make(self.prepared.distribution) for one in networks}
        with closing(self.prepared.tiles()) as tiles:
            for number, core, (means, scales), widening in tiles:
                ready = {}
                for one in self.asked:
                    if one.output.by == "watcher":
                        assert self.prepared.watcher is not None
                        images = self.prepared.watcher.mask
                    else:
                        images = made[one.output.name](means, scales, 1.0 if widening is None else widening)
                    for name, values in zip(one.output.files, several(images), strict=True):
                        ready[name], lost = cast(values, self.kinds[name])
                        clipped[name] += lost
                self.finish()
                self.last = self.pool.submit(self._write, number, core, ready)
                self.tiles += 1
                tell(core)
        self.finish()
        values = self.prepared.parts.voxels * max(self.channels, 1)
        return [Written(name, writer.path, clipped[name], values) for name, writer in self.writers.items()]

    def finish(self) -> None:
        """Wait for what is being written; errors of the writing come out here."""
        if self.last is not None:
            self.last.result()
            self.last = None

    def _write(self, number: Number, core: Span, ready: dict[str, NDArray[Any]]) -> None:
        parts = self.prepared.parts
        region = parts.region(number, core, self.channels)
        for name, values in ready.items():
            self.writers[name].write(region, parts.arranged(values[None], self.channels)[0])


def _checked_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        kind = np.dtype(object)
    if kind.name not in TYPES:
        raise DataError(f"Results cannot be written as '{dtype}'. Choose one of {', '.join(TYPES)}.")
    return kind


def _check_units(kind: np.dtype[Any], prepared: Prepared) -> None:
    """Integers cannot hold an image that lies between 0 and 1."""
    if kind.kind in "iu" and prepared.back(next(prepared.parts.numbers())) is None:
        raise DataError(
            f"A restoration that stays normalised lies mostly between 0 and 1 and cannot be written as {kind}. "
            f"Write it as float32, or take it back to grey values (undo=True, --undo)."
        )
