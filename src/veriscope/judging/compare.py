"""Every method on every image: how close to the truth, how fast, on the same machine in the same run.

The paper's comparison (Supp. Fig. 4, Supp. Tab. 1): what people used before gets its parameters tuned on the test image
itself, which favours it; the network is not touched.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from veriscope.classical import methods as methods_of
from veriscope.classical import tune as tuning
from veriscope.classical.method import Method, Task
from veriscope.errors import DataError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging import estimate
from veriscope.judging.comparison import WHOLE, Comparison, Credit, Line
from veriscope.judging.estimate import Planned, cropped, in_words, region_name
from veriscope.judging.failures import Failure, largest_relative_error
from veriscope.judging.judge import RESTORATION, Row, check_pair, facts_of, judge_one, members_of, versions
from veriscope.judging.kept import Kept, fingerprint
from veriscope.judging.machine import machine
from veriscope.judging.picture import INPUT, INPUTS, INTERPOLATED, MAXIMUM, Picture

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.restoring.plan import Memory, Pixels
    from veriscope.restoring.restoration import Restoration
    from veriscope.restoring.scaling import Choice

MINUTES = 10.0  # a method may take for all images before it is limited to a crop
SLOW = 60.0  # seconds: what is expected to take longer is told before it starts
MARGIN = 8  # pixels around a crop that a method limited to it is given too
WARM = 64  # pixels: side of the piece on which everything runs once before it is timed
BRIEF, TIMES = 0.5, 3  # what takes less seconds is timed so often, and the median counts
AS_INPUT = {"max": MAXIMUM, "cubic": INTERPOLATED}  # methods that stand for the input; the latter are made in reading
FAILURES = 3  # places of the largest relative error that are shown

TIMING = (
    f"Seconds of one call that processes a whole image in memory, without tuning, reading and writing, after one "
    f"call on a piece of {WARM} x {WARM} pixels that is not counted; calls under {BRIEF:g} s are timed {TIMES} times "
    f"and the median is taken. Throughput counts the voxels of the input; the network's time is that of all members."
)

Progress = Callable[[float, float, str], object]  # seconds of work done and in all, as far as known, and what is done
Result = TypeVar("Result")


def compare(
    pairs: Iterable[Pair],
    model: Ensemble | None = None,
    methods: str | Sequence[Method | str] | None = None,
    *,
    tune: bool = True,
    tune_on: Pair | None = None,
    crop: int | None = None,
    minutes: float | None = MINUTES,
    psf: Any = None,
    out: str | Path | None = None,
    pictures: int = 3,
    tile: Pixels = None,
    memory: Memory = None,
    device: str | None = None,
    normalize: Choice = "image",
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
) -> Comparison:
    """Process every low image of `pairs` by every method and by `model`, and hold the results against the high images.

    `methods`: names such as "nlm,tv" or "premosa+nlm", or `Method`s, also a user's own; None takes all that are known
    for the task and installed. The task is that of the model; without one, pairs of stacks and planes are projected and
    all others restored.

    `tune` searches the parameters of each method that come closest to the truth (NRMSE): on every image itself, as the
    paper did, or on `tune_on`, another pair, in units of each image's noise. Without `tune` the usual ones are taken.

    `crop` judges everything in the central square of so many pixels. A method that is expected to take more than
    `minutes` for all images runs on a smaller central square (and the 8 pixels around it), where all others are judged
    once more, so that no method is compared with another on different pixels; None lets it take its time.

    `out` is a folder that keeps every method's images; what is there already from the same images and settings is not
    made again. `tell(words)` hears of what is slow, limited, missing or failed: one method that fails leaves the
    others. `progress(done, total, what)` hears seconds. `psf` is needed by methods that deconvolve isotropic stacks.

    Raises DataError for unknown methods and for pairs that cannot be compared, ModelError for a model of another task.

    >>> print(compare(pairs, model, "lowpass,nlm"))  # doctest: +SKIP
    """
    work = prepare(list(pairs), model, methods, tune, tune_on, crop, minutes, psf)
    run = _Run(work, {"tile": tile, "memory": memory, "device": device, "normalize": normalize}, progress, tell)
    if out is not None:
        run.kept = Kept(Path(out))
        run.kept.open()
    for note in work.notes:
        run.say(note)
    run.warm_up()
    run.tune_elsewhere()
    lines: list[Line] = []
    shown: list[Picture] = []
    failures: list[Failure] = []
    for number in range(len(work.pairs)):
        found, seen, failure = run.image(number, pictures - len(shown))
        lines += found
        shown += seen
        failures += [] if failure is None else [failure]
    comparison = Comparison(
        tuple(lines),
        run.credits(),
        tuple(shown),
        tuple(sorted(failures, key=lambda one: -one.error)[:FAILURES]),
        tuple(run.told),
        work.tuned_words,
        0 if model is None else len(model),
        _facts(work, normalize),
    )
    if run.kept is not None:
        run.kept.write_figures(comparison.to_json())
    return comparison


@dataclass(frozen=True, eq=False)
class Work:
    """What a comparison will do: settled before anything runs."""

    task: Task
    pairs: tuple[Pair, ...]
    model: Ensemble | None
    planned: tuple[Planned, ...]
    tune: bool
    tune_on: Pair | None
    crop: int | None
    notes: tuple[str, ...]

    @property
    def tuned_words(self) -> str:
        if not self.tune:
            return "the usual ones of each method; nothing was tuned."
        if self.tune_on is None:
            return (
                "tuned on each test image itself, towards its truth (NRMSE), as the paper did: that favours these "
                "methods. The network has not seen the truth."
            )
        return f"tuned on another image, {self.tune_on.name or 'unnamed'}, towards its truth (NRMSE)."

    @property
    def region(self) -> str:
        """What is judged of every image by methods that are not limited."""
        return region_name(self.crop, WHOLE)

    @property
    def limits(self) -> list[int]:
        """The crops of methods that are limited, the largest first."""
        return sorted({one.side for one in self.planned if one.side is not None}, reverse=True)

    def label(self, method: Method) -> str:
        """What tables call it: what stands for the input is named so."""
        return AS_INPUT.get(method.name, method.title)

    @property
    def seconds(self) -> dict[str, tuple[float, ...]]:
        """About how long every method takes for every image."""
        known = {self.label(one.method): one.seconds for one in self.planned}
        if self.model is not None:
            members = len(self.model)
            known[RESTORATION] = tuple(estimate.network_seconds(pair, members) for pair in self.pairs)
        return known


def prepare(
    pairs: Sequence[Pair],
    model: Ensemble | None = None,
    methods: str | Sequence[Method | str] | None = None,
    tune: bool = True,
    tune_on: Pair | None = None,
    crop: int | None = None,
    minutes: float | None = MINUTES,
    psf: Any = None,
) -> Work:
    """Check everything that `compare` was given, and say how long it may take. Raises as `compare`."""
    if not pairs:
        raise DataError("There is nothing to compare: no pairs were given. Give at least one low and one high image.")
    task = _task(pairs, model)
    for pair in (*pairs, *(() if tune_on is None else (tune_on,))):
        check_pair(pair, task == "project")
        _check_channels(pair, pairs[0], model)
        _check_axes(pair, model)
    if crop is not None:
        estimate.check_side(crop, pairs)
        pairs = [replace(pair, low=cropped(pair.low, crop), high=cropped(pair.high, crop)) for pair in pairs]
    factor = None if model is None else model.recipe.finer.get("Z")
    dimensions = 3 if pairs[0].low.size("Z") > 1 else 2
    chosen, notes = _chosen(methods, task, dimensions, psf, factor)
    if task == "project" and not any(method.name == "max" for method in chosen):
        chosen = (methods_of.from_words("max", task), *chosen)  # stands for the input
    planned = estimate.plan(chosen, pairs, tune and tune_on is None, minutes)
    for one in planned:
        if one.side is not None:
            whole = in_words(sum(estimate.seconds(one.method, pair.low, tune and tune_on is None) for pair in pairs))
            notes.append(
                f"{one.method.title} would take about {whole}, more than the {in_words(60 * (minutes or 0))} allowed: "
                f"it is limited to the {region_name(one.side, WHOLE)} of each image, where all others are judged too."
            )
        elif one.total > SLOW:
            notes.append(f"{one.method.title} is slow: about {in_words(one.total)} for all images.")
    return Work(task, tuple(pairs), model, planned, tune, tune_on, crop, tuple(notes))


def _task(pairs: Sequence[Pair], model: Ensemble | None) -> Task:
    if model is None:
        return "project" if pairs[0].projects else "restore"
    tasks: dict[str, Task] = {"project": "project", "isotropic": "isotropic"}
    return tasks.get(model.recipe.task, "isotropic" if "Z" in model.recipe.finer else "restore")


def _check_channels(pair: Pair, first: Pair, model: Ensemble | None) -> None:
    low, high = pair.low.size("C"), pair.high.size("C")
    if low != high:
        raise DataError(
            f"Pair '{pair.name}' has {low} channels in low and {high} in high, but methods without a network make as "
            f"many channels as they are given. Give the channels that belong together."
        )
    if low != first.low.size("C"):
        raise DataError(
            f"Pair '{pair.name}' has {low} channels, but '{first.name}' has {first.low.size('C')}. Images that are "
            f"compared, and the one that parameters are tuned on, have the same channels."
        )
    if model is not None and low != model.recipe.channels_in:
        raise DataError(
            f"Pair '{pair.name}' has {low} channels, but the model takes {model.recipe.channels_in}. Choose another "
            f"model, or the channels that it was trained on."
        )


def _check_axes(pair: Pair, model: Ensemble | None) -> None:
    """Raise what `restore` would raise in the middle of the work."""
    if model is not None:
        from veriscope.restoring.frames import frames
        from veriscope.restoring.isotropic import in_space

        frames(pair.low, in_space(_on_grid(model)).recipe)


def _on_grid(model: Ensemble) -> Ensemble:
    """The model for images that are on the fine grid already, as pairs are."""
    return replace(model, recipe=model.recipe.change(upsample=()))


def _chosen(
    methods: str | Sequence[Method | str] | None, task: Task, dimensions: int, psf: Any, factor: float | None
) -> tuple[tuple[Method, ...], list[str]]:
    """The methods that were asked for, all of which must be able to run; by default those that can, with notes."""
    if methods is None:
        fitting = [one for one in methods_of.for_task(task, psf, factor) if dimensions in one.steps[0].dimensions]
        able, missing = methods_of.installed(fitting)
        return able, [f"{name} is left out: {why}" for name, why in missing.items()]
    chosen: list[Method] = []
    for one in [methods] if isinstance(methods, str) else methods:
        chosen += methods_of.several(one, task, psf, factor) if isinstance(one, str) else (one,)
    titles = [method.title for method in chosen]
    for method in chosen:
        if method.task != task:
            raise DataError(
                f"'{method.name}' {methods_of.WORDS[method.task]}, but what is wanted here {methods_of.WORDS[task]}."
            )
        if dimensions not in method.steps[0].dimensions:
            kinds = {2: "planes", 3: "stacks"}
            raise DataError(
                f"{method.title} works on {' and '.join(kinds[n] for n in method.steps[0].dimensions)}, but these images "
                f"are {kinds[dimensions]}. Leave it out."
            )
        if titles.count(method.title) > 1 or method.title in (*INPUTS, RESTORATION):
            raise DataError(f"Two methods would be called '{method.title}' in the tables. Give each its own title.")
        method.check()
    return tuple(chosen), []


# -- running ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """One image by one method."""

    image: Image
    seconds: float
    voxels: int
    tuning: float | None = None
    settings: tuple[str, ...] = ()  # one per channel


@dataclass(eq=False)
class _Run:
    """A comparison at work: what it has told, and how long things really take."""

    work: Work
    how: dict[str, Any]  # of restore
    progress: Progress | None
    tell: Callable[[str], object] | None
    kept: Kept | None = None
    told: list[str] = field(default_factory=list)
    elsewhere: dict[str, Any] = field(default_factory=dict)  # method: settings found on `tune_on`

    def __post_init__(self) -> None:
        self.waiting = {label: list(seconds) for label, seconds in self.work.seconds.items()}
        self.spent = 0.0

    def say(self, words: str) -> None:
        self.told.append(words)
        if self.tell is not None:
            self.tell(words)

    def report(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.spent, self.spent + sum(map(sum, self.waiting.values())), what)

    def finished(self, label: str, seconds: float, measured: bool = True) -> None:
        """Count what was done, and expect the method to be as wrong about the images that are left."""
        expected = self.waiting[label].pop(0)
        self.spent += seconds
        if measured and expected > 0:
            self.waiting[label] = [one * seconds / expected for one in self.waiting[label]]

    def warm_up(self) -> None:
        """Everything once on a small piece: what is loaded or set up at the first call is not what is to be timed."""
        piece = cropped(self.work.pairs[0].low, WARM).in_memory()
        for one in self.work.planned:
            self.report(f"warming up: {one.method.title}")
            _attempt(lambda method=one.method: tuning.apply(method, piece, tuning.usual(method, piece)))  # type: ignore[misc]
        if self.work.model is not None:
            self.report(f"warming up: {RESTORATION}")
            _attempt(lambda: self.restore(piece))

    def tune_elsewhere(self) -> None:
        """Settings from another image, once; a method that cannot be tuned there fails on every image."""
        other = self.work.tune_on
        if not self.work.tune or other is None:
            return
        for one in self.work.planned:
            self.report(f"tuning: {one.method.title}")
            low, truth = cropped(other.low, one.side), cropped(_truth(other, self.work.task), one.side)
            found, problem = _attempt(lambda m=one.method, a=low, b=truth: tuning.find(m, a.in_memory(), b.in_memory()))  # type: ignore[misc]
            self.elsewhere[one.method.name] = found
            if problem:
                self.say(f"{one.method.title} could not be tuned on {other.name}: {problem}")

    def restore(self, low: Image) -> Restoration:
        from veriscope.restoring.restore import restore

        model = self.work.model
        assert model is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)
            return restore(low, _on_grid(model), **self.how, lazy=False)

    def image(self, number: int, pictures: int) -> tuple[list[Line], list[Picture], Failure | None]:
        """One image by everything: its lines, at most so many pictures, and its largest relative error."""
        pair = self.work.pairs[number]
        name = pair.name or f"image {number + 1}"
        low, truth = pair.low.in_memory(), _truth(pair, self.work.task).in_memory()
        whole: dict[str, Done] = {}
        limited: dict[int, dict[str, Done]] = {}
        for one in self.work.planned:
            done = self.by_method(one, name, low, truth)
            if done is not None and one.side is None:
                whole[self.work.label(one.method)] = done
            elif done is not None and one.side is not None:
                limited.setdefault(one.side, {})[self.work.label(one.method)] = done
        restored: Restoration | None = None
        if self.work.model is not None:
            self.report(f"{RESTORATION}: {name}")
            start = time.perf_counter()
            answer, problem = _attempt(lambda: timed(lambda: self.restore(low)))
            self.finished(RESTORATION, time.perf_counter() - start)
            if answer is None:
                self.say(f"{RESTORATION} failed on {name}: {problem}")
            else:
                restored, seconds = answer
                whole[RESTORATION] = Done(restored.mean, seconds, prod(low.shape))
                if self.kept is not None:
                    self.kept.keep(RESTORATION, name, "", restored.mean, {"seconds": seconds})
        images = {label: done.image for label, done in whole.items()}
        given = {} if self.work.task == "project" or INTERPOLATED in images else {self._input: low}
        images = {**given, **images}
        regions: dict[int | None, tuple[dict[str, Image], dict[str, Done]]] = {None: (images, whole)}
        everything = images
        for limit in self.work.limits:
            made = limited.get(limit, {})
            everything = {**everything, **{label: done.image for label, done in made.items()}}
            regions[limit] = ({label: cropped(image, limit) for label, image in everything.items()}, made)
        smallest = min(self.work.limits, default=None)
        lines: list[Line] = []
        shown: list[Picture] = []
        for side, (those, dones) in regions.items():
            rows, seen = judge_one(
                name,
                cropped(truth, side),
                _network_last(those),
                restored if restored is None else _cut(restored, side),
                pictures if side == smallest else 0,
            )
            region = region_name(side, self.work.region)
            lines += [_line(row, dones.get(row.method), region) for row in rows]
            shown += seen
        return lines, shown, self.worst(name, truth, images, lines, restored)

    @property
    def _input(self) -> str:
        return INTERPOLATED if self.work.task == "isotropic" else INPUT

    def by_method(self, one: Planned, name: str, low: Image, truth: Image) -> Done | None:
        """`one` on one image; None, with a word of why, where it fails. The others go on."""
        method, label = one.method, self.work.label(one.method)
        given, goal = cropped(low, one.side, MARGIN).in_memory(), cropped(truth, one.side, MARGIN).in_memory()
        self.report(f"{label}: {name}")
        key = ""
        if self.kept is not None:
            way = (method.name, method.version, dict(method.grid), dict(method.usual), self.work.tune)
            key = fingerprint(given, goal, way, self.elsewhere.get(method.name), one.side, machine())
            found = self.kept.find(method.name, name, key)
            if found is not None:
                self.finished(label, 0.0, measured=False)
                image, facts = found
                return Done(image, facts["seconds"], facts["voxels"], facts["tuning"], tuple(facts["settings"]))
        start = time.perf_counter()
        done, problem = _attempt(lambda: self.made(method, given, goal))
        self.finished(label, time.perf_counter() - start)
        if done is None:
            self.say(f"{method.title} failed on {name}: {problem}")
            return None
        done = replace(done, image=estimate.without_margin(done.image, low, one.side, MARGIN))
        if self.kept is not None:
            facts = {"seconds": done.seconds, "voxels": done.voxels, "tuning": done.tuning, "settings": done.settings}
            self.kept.keep(method.name, name, key, done.image, facts)
        return done

    def made(self, method: Method, low: Image, truth: Image) -> Done:
        """`low` by a method that is tuned as asked for."""
        start = time.perf_counter()
        tuned = None
        if not (self.work.tune and method.grid):
            settings = tuning.usual(method, low)
        elif self.work.tune_on is None:
            settings = tuning.find(method, low, truth)
            tuned = time.perf_counter() - start
        elif self.elsewhere[method.name] is not None:
            settings = self.elsewhere[method.name]
        else:
            raise DataError("There are no settings from the other image.")
        made, seconds = timed(lambda: tuning.apply(method, low, settings))
        words = tuple(map(str, settings)) if method.usual or method.grid else ()
        return Done(_as_image(made, truth), seconds, prod(low.shape), tuned, words)

    def worst(
        self, name: str, truth: Image, images: dict[str, Image], lines: Sequence[Line], restored: Restoration | None
    ) -> Failure | None:
        """The largest relative error of the network, or of the best method without one, beside the best other."""
        errors: dict[str, list[float]] = {}
        for line in lines:
            if line.method in images and line.method not in (*INPUTS, RESTORATION):
                errors.setdefault(line.method, []).append(line.nrmse)
        best = min(errors, key=lambda method: float(np.mean(errors[method])), default=None)
        subject = RESTORATION if restored is not None else best
        if subject is None:
            return None
        given = [label for label in images if label in INPUTS][:1]
        shown = {label: images[label] for label in dict.fromkeys([*given, best, subject]) if label is not None}
        members = []
        if restored is not None:
            members = [next(members_of(truth, restored, c), None) for c in range(truth.size("C"))]
        known = [one for one in members if one is not None]
        return largest_relative_error(name, truth, shown, subject, known)

    def credits(self) -> tuple[Credit, ...]:
        """What readers must know of every method."""
        return tuple(_credit(one, self.work) for one in self.work.planned)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` gives and its seconds; what is brief is done again and the median is taken."""
    taken: list[float] = []
    while not taken or (taken[0] < BRIEF and len(taken) < TIMES):
        start = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - start)
    return result, statistics.median(taken)


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, str]:
    """What `work` gives, or why it could not. Libraries of others raise anything; other results must not be lost."""
    try:
        return work(), ""
    except Exception as problem:
        return None, str(problem) or type(problem).__name__


def _truth(pair: Pair, task: Task) -> Image:
    return pair.high.moved(pair.high.axes.replace("Z", "")) if task == "project" else pair.high


def _as_image(made: Any, truth: Image) -> Image:
    return made if isinstance(made, Image) else truth.with_array(np.asarray(made))


def _network_last(images: dict[str, Image]) -> dict[str, Image]:
    return {label: images[label] for label in sorted(images, key=lambda label: label == RESTORATION)}


def _cut(restored: Restoration, side: int | None) -> Restoration:
    """The prediction within a crop."""
    if side is None:
        return restored

    def cut(members: Any) -> Any:
        return np.stack([np.asarray(cropped(Image(one, restored.axes), side)) for one in members])

    scales = None if restored.scales is None else cut(restored.scales)
    return replace(restored, means=cut(restored.means), scales=scales, surface=None)


def _line(row: Row, done: Done | None, region: str) -> Line:
    line = Line(row.image, row.method, row.nrmse, row.psnr, row.ssim, row.channel, row.coverage, region)
    if done is None or row.method == INTERPOLATED:
        return line
    settings = done.settings[row.channel or 0] if done.settings else ""
    return replace(line, seconds=done.seconds, voxels=done.voxels, tuning=done.tuning, settings=settings)


def _credit(one: Planned, work: Work) -> Credit:
    method = one.method
    steps = method.steps

    def each(words: Sequence[str]) -> str:
        return "; ".join(dict.fromkeys(word for word in words if word))

    tried = ", ".join(
        f"{name}{' (in standard deviations of the noise)' if name in method.in_noise else ''} "
        f"{', '.join(f'{value:g}' for value in values)}{' and beyond' if name == method.climbs else ''}"
        for name, values in method.grid.items()
    )
    return Credit(
        method.name,
        work.label(method),
        each([_purpose(step) for step in steps]),
        each([step.source for step in steps]),
        each([f"{step.library} {step.version}".strip() for step in steps]),
        each([step.licence for step in steps]),
        f"tried {tried}" if tried and work.tune else "nothing to tune" if not tried else "not tuned",
        region_name(one.side, work.region),
    )


def _purpose(method: Method) -> str:
    """The first sentence of what the function says of itself, where it says anything."""
    function = getattr(method.run, "func", method.run)  # of a partial one
    text = " ".join((function.__doc__ or "").split("\n\n")[0].split()).replace("`", "")
    return text.split(". ")[0].rstrip(".")


def _facts(work: Work, normalize: Any) -> dict[str, dict[str, Any]]:
    if work.model is not None:
        facts = facts_of(work.model, work.pairs, normalize, calibrated=False)
        compared = facts.pop("Judged")
        compared.pop("scales")
        facts.pop("Versions")
    else:
        shapes = dict.fromkeys(" x ".join(map(str, pair.high.shape)) for pair in work.pairs)
        facts, compared = {}, {"images": [pair.name for pair in work.pairs], "shape": ", ".join(shapes)}
    crop = region_name(work.crop, "none")
    return {"Compared": {**compared, "crop": crop}, "Machine": machine(), **facts, "Versions": versions()}
