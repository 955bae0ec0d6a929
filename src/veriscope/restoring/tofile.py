"""Restore an image straight into files, tile by tile, without ever holding it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from veriscope import laplace
from veriscope.calibrated import Distribution
from veriscope.errors import DataError, ModelError, OutputError
from veriscope.familiarity import Verdict
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.images.writing import Writer, open_writer
from veriscope.networks.folder import trusted
from veriscope.networks.model import Ensemble
from veriscope.restoring import devices
from veriscope.restoring.chunks import chunks
from veriscope.restoring.frames import Frames, Number, frames
from veriscope.restoring.heights import finders, height_and_spread
from veriscope.restoring.isotropic import in_space
from veriscope.restoring.plan import Memory, Pixels, Plan, plan_frames
from veriscope.restoring.restoration import checked_probability, interval_of
from veriscope.restoring.restore import Progress
from veriscope.restoring.running import Answers, Block, Networks, run
from veriscope.restoring.scaling import Choice, normalizer, restorer, to_units
from veriscope.restoring.settling import Settling, Trust
from veriscope.restoring.watching import warnings_about, watcher
from veriscope.tiling import Span

PathLike = str | os.PathLike[str]
TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
MASK = "trust-mask"
HEIGHTS = ("height", "height-spread")


@dataclass(frozen=True)
class Output:
    """One file that was written: what it shows, and how many values did not fit into its type."""

    kind: str  # "mean", "scale", "lower", "upper", "probability", "entropy", "disagreement", MASK or one of HEIGHTS
    path: Path
    clipped: int
    values: int  # in all


@dataclass(frozen=True)
class Extra:
    """Images written beside the restored one: their files, and what makes them of means, scales and widening."""

    paths: dict[str, Path]
    make: Callable[[Block, Block, Any], tuple[Block, ...]]
    float_only: bool = False  # between 0 and 1, or negative: no integer can hold it


@dataclass(frozen=True)
class Report:
    """What `restore_to_file` did."""

    outputs: tuple[Output, ...]
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
    scale: PathLike | None = None,
    interval: tuple[float, PathLike, PathLike] | None = None,
    probability: tuple[float, PathLike] | None = None,
    entropy: PathLike | None = None,
    disagreement: PathLike | None = None,
    trust_mask: PathLike | None = None,
    height: tuple[PathLike, PathLike] | None = None,
    tile: Pixels = None,
    memory: Memory = None,
    device: str | None = None,
    normalize: Choice = "image",
    undo: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    channel: int | None = None,
    planes: bool = False,
    calibrated: bool = True,
    combine: str | None = None,
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
    where = devices.choose(device)
    ensemble = in_space(ensemble, combine)
    parts = frames(image, ensemble.recipe, channel, planes)
    normalization = normalizer(parts, ensemble, normalize)
    back = restorer(parts, ensemble, normalization, undo)
    settling = Settling(parts, ensemble, normalization, back, calibrated)
    extras = _extras(settling.distribution, scale, interval, probability, entropy, disagreement)
    wanted = _wanted(ensemble, out, extras, trust_mask, height)
    kind = _checked_type(dtype)
    fractions = [what for extra in extras if extra.float_only and kind.kind in "iu" for what in extra.paths]
    kinds = dict.fromkeys(wanted, kind) | dict.fromkeys(fractions, np.dtype(np.float32))
    kinds |= {MASK: np.dtype(np.uint8)} | dict.fromkeys(HEIGHTS, np.dtype(np.float32))
    planned = plan_frames(parts, ensemble, tile, memory, where, len(wanted))
    found = None if height is None else finders(ensemble)
    own = planned if found is None else plan_frames(parts, found, tile, memory, where)
    channels = ensemble.recipe.channels_out
    seen = watcher(ensemble, masking=trust_mask is not None)
    with trusted():
        said = warnings_about(parts, ensemble, normalization if isinstance(normalize, str) else None)

    def prepare(number: Number, block: NDArray[Any]) -> Block:
        return to_units(normalization(number), block)

    def into(number: Number, core: Span) -> Answers:
        size = (len(ensemble), channels, *(s.stop - s.start for s in core))
        return np.empty(size, np.float32), np.empty(size, np.float32) if ensemble.recipe.probabilistic else None

    done = count = 0

    def tell(core: Span) -> None:
        nonlocal done
        done += prod(s.stop - s.start for s in core)
        if progress is not None:
            progress(done, parts.voxels * (1 if found is None else 2))

    clipped = dict.fromkeys(wanted, 0)
    with ExitStack() as stack:
        writers = {}
        for what, path in wanted.items():
            how = (own, 0) if what in HEIGHTS else (planned, channels)
            writers[what] = stack.enter_context(_writer(path, parts, *how, kinds[what], overwrite))
        _check_units(kind, parts, back)
        filing = stack.enter_context(_Filing(writers, parts, channels))
        networks = Networks(ensemble, where)
        finished = stack.enter_context(closing(run(parts, networks, planned, prepare, into, watch=seen)))
        for number, core, answers in finished:
            widening = settling(number, answers)
            ready = {}
            for what, values in _images(answers, widening, extras):
                ready[what], lost = cast(values, kinds[what])
                clipped[what] += lost
            if MASK in wanted:
                assert seen is not None
                ready[MASK] = seen.mask
            filing.put(number, core, ready)
            count += 1
            tell(core)
        filing.finish()
        if found is not None:
            _write_heights(parts, Networks(found, where), own, prepare, writers, tell)
        for writer in writers.values():  # everything that can fail comes before the first file gets its name
            writer.complete()
    outputs = tuple(
        Output(what, path, clipped[what], parts.voxels * (1 if what in HEIGHTS else channels))
        for what, path in wanted.items()
    )
    spent = time.perf_counter() - started
    return Report(outputs, planned, count, parts.voxels, spent, settling.trust(seen, said))


def _write_heights(
    parts: Frames,
    networks: Networks,
    planned: Plan,
    prepare: Callable[[Number, NDArray[Any]], Block],
    writers: dict[str, Writer],
    tell: Callable[[Span], object],
) -> None:
    """Run the parts of the networks that find the surface, and write what they say of its height."""

    def into(number: Number, core: Span) -> Answers:
        size = (len(networks.members), 1, *(s.stop - s.start for s in core))
        return np.empty(size, np.float32), np.empty(size, np.float32)

    with _Filing(writers, parts, 0) as filing, closing(run(parts, networks, planned, prepare, into)) as finished:
        for number, core, (heights, spreads) in finished:
            assert spreads is not None
            filing.put(number, core, dict(zip(HEIGHTS, height_and_spread(heights, spreads), strict=True)))
            tell(core)
        filing.finish()


def _images(answers: Answers, widening: Block | None, extras: list[Extra]) -> Iterator[tuple[str, Block]]:
    """The images that are wanted of one tile, (channels, *space), as `Restoration` makes them."""
    means, scales = answers
    yield "mean", laplace.mixture_mean(means)
    for extra in extras:
        assert scales is not None  # _wanted saw to it
        yield from zip(extra.paths, extra.make(means, scales, 1.0 if widening is None else widening), strict=True)


def _extras(
    distribution: Distribution,
    scale: PathLike | None,
    interval: tuple[float, PathLike, PathLike] | None,
    probability: tuple[float, PathLike] | None,
    entropy: PathLike | None,
    disagreement: PathLike | None,
) -> list[Extra]:
    found = []
    if scale is not None:
        found.append(_single("scale", scale, distribution.scale))
    if interval is not None:
        p, lower, upper = checked_probability(interval[0]), Path(interval[1]), Path(interval[2])
        found.append(Extra({"lower": lower, "upper": upper}, partial(interval_of, distribution, p=p)))
    if probability is not None:
        eps, path = probability
        if not 0 < eps < np.inf:
            raise DataError(f"eps is the half-width of an interval and must be above 0, not {eps}. Use for example 50.")
        within = partial(distribution.probability, eps=eps)
        found.append(_single("probability", path, within, float_only=True))
    if entropy is not None:
        found.append(_single("entropy", entropy, distribution.entropy, float_only=True))
    if disagreement is not None:
        found.append(
            _single("disagreement", disagreement, lambda means, scales, _: laplace.disagreement(means, scales), True)
        )
    return found


def _single(name: str, path: PathLike, make: Callable[..., Block], float_only: bool = False) -> Extra:
    return Extra({name: Path(path)}, lambda *of_tile: (make(*of_tile),), float_only)


class _Filing:
    """Writes finished tiles while the next one is computed, one at a time and in order."""

    def __init__(self, writers: dict[str, Writer], parts: Frames, channels: int) -> None:
        self.writers = writers
        self.channels = channels
        self.axes = parts.result_axes(channels)
        self.outer = parts.outer
        self.space = parts.space
        self.work = "C" + parts.space
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="veriscope-write")
        self.last: Future[None] | None = None

    def put(self, number: Number, core: Span, ready: dict[str, NDArray[Any]]) -> None:
        self.finish()
        self.last = self.pool.submit(self._write, number, core, ready)

    def finish(self) -> None:
        """Wait for what is being written; errors of the writing come out here."""
        if self.last is not None:
            self.last.result()
            self.last = None

    def _write(self, number: Number, core: Span, ready: dict[str, NDArray[Any]]) -> None:
        place: dict[str, slice] = {letter: slice(n, n + 1) for letter, n in zip(self.outer, number, strict=True)}
        place |= {"C": slice(0, self.channels)} | dict(zip(self.space, core, strict=True))
        region = [place[letter] for letter in self.axes]
        order = [self.work.index(letter) for letter in self.axes if letter in self.work]
        if "C" not in self.axes:
            order.append(0)  # of size 1
        shape = [s.stop - s.start for s in region]
        for what, values in ready.items():
            self.writers[what].write(region, values.transpose(order).reshape(shape))

    def __enter__(self) -> _Filing:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


def _writer(path: Path, parts: Frames, planned: Plan, channels: int, kind: np.dtype[Any], overwrite: bool) -> Writer:
    shown = parts.outline(channels)
    fitting = chunks(parts, planned.core, channels)
    return open_writer(
        path,
        shown.shape,
        kind,
        shown.axes,
        shown.voxel_size,
        shown.time_step,
        overwrite,
        fitting,
        name=shown.name,
        carried=shown.carried,
    )


def _wanted(
    ensemble: Ensemble,
    out: PathLike,
    extras: list[Extra],
    mask: PathLike | None,
    height: tuple[PathLike, PathLike] | None,
) -> dict[str, Path]:
    wanted = {"mean": Path(out)}
    for extra in extras:
        wanted |= extra.paths
    if len(wanted) > 1 and not ensemble.recipe.probabilistic:
        raise ModelError(
            f"This model predicts only the restored image, no {' and '.join(list(wanted)[1:])}, because it was trained "
            f"with probabilistic=False. Leave these files out, or train a probabilistic model."
        )
    if "disagreement" in wanted and len(ensemble) == 1:
        raise ModelError("A single network cannot disagree. Leave the disagreement out, or train at least 2 members.")
    if mask is not None:
        wanted[MASK] = Path(mask)
    if height is not None:
        wanted |= dict(zip(HEIGHTS, map(Path, height), strict=True))
    places = [path.resolve() for path in wanted.values()]
    twice = sorted({str(path) for path in places if places.count(path) > 1})
    if twice:
        raise OutputError(f"Several results would be written to {', '.join(twice)}. Give each a file of its own.")
    return wanted


def _checked_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        kind = np.dtype(object)
    if kind.name not in TYPES:
        raise DataError(f"Results cannot be written as '{dtype}'. Choose one of {', '.join(TYPES)}.")
    return kind


def _check_units(kind: np.dtype[Any], parts: Frames, back: Any) -> None:
    """Integers cannot hold an image that lies between 0 and 1."""
    if kind.kind in "iu" and back(next(parts.numbers())) is None:
        raise DataError(
            f"A restoration that stays normalised lies mostly between 0 and 1 and cannot be written as {kind}. "
            f"Write it as float32, or take it back to grey values (undo=True, --undo)."
        )
