"""A comparison at work: one image after the other by everything, each method timed in the same way."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np

from veriscope.classical import tune as tuning
from veriscope.classical.method import Method
from veriscope.comparing.comparison import Result
from veriscope.comparing.facts import machine
from veriscope.comparing.failures import Failure, largest_relative_error
from veriscope.comparing.judge import RESTORATION, Score, judge_one, members_of
from veriscope.comparing.kept import Kept, fingerprint
from veriscope.comparing.picture import INPUT, INPUTS, INTERPOLATED, Picture
from veriscope.comparing.plan import Design, MethodPlan, cropped, region_name, without_margin
from veriscope.errors import DataError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.restoring.restoration import Restoration

MARGIN = 8  # pixels around a crop that a method limited to it is given too
WARM = 64  # pixels: side of the piece on which everything runs once before it is timed
BRIEF, TIMES = 0.5, 3  # what takes less seconds is timed so often, and the median counts

TIMING = (
    f"Seconds of one call that processes a whole image in memory, without tuning, reading and writing, after one "
    f"call on a piece of {WARM} x {WARM} pixels that is not counted; calls under {BRIEF:g} s are timed {TIMES} times "
    f"and the median is taken. Throughput counts the voxels of the input; the network's time is that of all members."
)

Progress = Callable[[float, float, str], object]  # seconds of work done and in all, as far as known, and what is done
Made = TypeVar("Made")


@dataclass(frozen=True)
class Done:
    """One image by one method."""

    image: Image
    seconds: float
    voxels: int
    tuning: float | None = None
    settings: tuple[str, ...] = ()  # one per channel


@dataclass(eq=False)
class Measurement:
    """A comparison at work: its notes so far, and how long things really take."""

    design: Design
    how: dict[str, Any]  # of restore
    progress: Progress | None
    tell: Callable[[str], object] | None
    kept: Kept | None = None
    notes: list[str] = field(default_factory=list)
    elsewhere: dict[str, Any] = field(default_factory=dict)  # method: settings found on `tune_on`

    def __post_init__(self) -> None:
        self.waiting = {label: list(seconds) for label, seconds in self.design.seconds.items()}
        self.spent = 0.0

    def say(self, words: str) -> None:
        self.notes.append(words)
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
        piece = cropped(self.design.pairs[0].low, WARM).in_memory()
        for one in self.design.planned:
            self.report(f"warming up: {one.method.title}")
            _attempt(partial(tuning.apply, one.method, piece))
        if self.design.model is not None:
            self.report(f"warming up: {RESTORATION}")
            _attempt(lambda: self.restore(piece))

    def tune_elsewhere(self) -> None:
        """Settings from another image, once; a method that cannot be tuned there fails on every image."""
        other = self.design.tune_on
        if not self.design.tune or other is None:
            return
        for one in self.design.planned:
            self.report(f"tuning: {one.method.title}")
            low, truth = cropped(other.low, one.side), cropped(self.design.truth(other), one.side)
            settings, problem = _attempt(partial(tuning.find, one.method, low.in_memory(), truth.in_memory()))
            self.elsewhere[one.method.name] = settings
            if problem:
                self.say(f"{one.method.title} could not be tuned on {other.name}: {problem}")

    def restore(self, low: Image) -> Restoration:
        from veriscope.restoring.restore import restore

        model = self.design.model
        assert model is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)
            return restore(low, model.on_grid, **self.how, lazy=False)

    def image(self, number: int, pictures: int) -> tuple[list[Result], list[Picture], Failure | None]:
        """One image by everything: its lines, at most so many pictures, and its largest relative error."""
        pair = self.design.pairs[number]
        name = pair.name or f"image {number + 1}"
        low, truth = pair.low.in_memory(), self.design.truth(pair).in_memory()
        made: dict[int | None, dict[str, Done]] = {side: {} for side in (None, *self.design.limits)}
        for one in self.design.planned:
            if (done := self.by_method(one, name, low, truth)) is not None:
                made[one.side][self.design.label(one.method)] = done
        restored = None
        if self.design.model is not None:
            answer = self.attempt(RESTORATION, RESTORATION, name, lambda: timed(lambda: self.restore(low)))
            if answer is not None:
                restored, seconds = answer
                made[None][RESTORATION] = Done(restored.mean, seconds, prod(low.shape))
                if self.kept is not None:
                    self.kept.keep(RESTORATION, name, "", restored.mean, {"seconds": seconds})
        given = self.design.task == "project" or INTERPOLATED in made[None]  # the input is one of the methods
        images = {} if given else {INTERPOLATED if self.design.task == "isotropic" else INPUT: low}
        smallest = min(self.design.limits, default=None)
        regions: dict[int | None, dict[str, Image]] = {}
        lines: list[Result] = []
        shown: list[Picture] = []
        for side, dones in made.items():
            images |= {label: done.image for label, done in dones.items()}
            regions[side] = {label: cropped(image, side) for label, image in images.items()}
            if not images:  # everything failed, or is limited to a smaller region
                continue
            rows, seen = judge_one(
                name,
                cropped(truth, side),
                dict(sorted(regions[side].items(), key=lambda one: one[0] == RESTORATION)),
                restored if restored is None else _cut(restored, side),
                pictures if side == smallest else 0,
            )
            region = region_name(side, self.design.region)
            lines += [_result(row, dones.get(row.method), region) for row in rows]
            shown += seen
        side = None if set(regions[None]) - set(INPUTS) else smallest  # or all methods are limited
        return lines, shown, self.worst(name, cropped(truth, side), regions[side], lines, restored)

    def attempt(self, label: str, title: str, name: str, work: Callable[[], Made]) -> Made | None:
        """What `work` makes of one image; None, with a word of why, where it fails. The others continue."""
        self.report(f"{label}: {name}")
        start = time.perf_counter()
        made, problem = _attempt(work)
        self.finished(label, time.perf_counter() - start)
        if made is None:
            self.say(f"{title} failed on {name}: {problem}")
        return made

    def by_method(self, one: MethodPlan, name: str, low: Image, truth: Image) -> Done | None:
        """`one` on one image, or what is kept of it; None where it fails."""
        method, label = one.method, self.design.label(one.method)
        source, goal = cropped(low, one.side, MARGIN).in_memory(), cropped(truth, one.side, MARGIN).in_memory()
        key = ""
        if self.kept is not None:
            recipe = (method.name, method.version, dict(method.grid), dict(method.usual), self.design.tune)
            optics = (getattr(self.design.psf, "kernel", self.design.psf), self.design.background)
            key = fingerprint(source, goal, recipe, self.elsewhere.get(method.name), one.side, machine(), *optics)
            if (earlier := self.kept.find(method.name, name, key)) is not None:
                self.report(f"{label}: {name}")
                self.finished(label, 0.0, measured=False)
                image, facts = earlier
                return Done(image, facts["seconds"], facts["voxels"], facts["tuning"], tuple(facts["settings"]))
        done = self.attempt(label, method.title, name, lambda: self.made(method, source, goal))
        if done is None:
            return None
        done = replace(done, image=without_margin(done.image, low, one.side, MARGIN))
        if self.kept is not None:
            facts = {"seconds": done.seconds, "voxels": done.voxels, "tuning": done.tuning, "settings": done.settings}
            self.kept.keep(method.name, name, key, done.image, facts)
        return done

    def made(self, method: Method, low: Image, truth: Image) -> Done:
        """`low` by a method that is tuned as asked for."""
        start = time.perf_counter()
        tuned = None
        if not (self.design.tune and method.grid):
            settings = tuning.usual(method, low)
        elif self.design.tune_on is None:
            settings = tuning.find(method, low, truth)
            tuned = time.perf_counter() - start
        elif self.elsewhere[method.name] is not None:
            settings = self.elsewhere[method.name]
        else:
            raise DataError("There are no settings from the other image.")
        made, seconds = timed(lambda: tuning.apply(method, low, settings))
        words = tuple(map(str, settings)) if method.usual or method.grid else ()
        image = made if isinstance(made, Image) else truth.with_array(np.asarray(made))
        return Done(image, seconds, prod(low.shape), tuned, words)

    def worst(
        self, name: str, truth: Image, images: dict[str, Image], lines: Sequence[Result], restored: Restoration | None
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
        first = [label for label in images if label in INPUTS][:1]
        shown = {label: images[label] for label in dict.fromkeys([*first, best, subject]) if label is not None}
        members = [members_of(truth, restored, channel) for channel in range(truth.size("C"))]
        known = [one for one in members if one is not None]
        return largest_relative_error(name, truth, shown, subject, known)


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What `work` gives and its seconds; what is brief is done again and the median is taken."""
    seconds: list[float] = []
    while not seconds or (seconds[0] < BRIEF and len(seconds) < TIMES):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def _attempt(work: Callable[[], Made]) -> tuple[Made | None, str]:
    """What `work` gives, or why it could not. Libraries of others raise anything; other results must not be lost."""
    try:
        return work(), ""
    except Exception as problem:
        return None, str(problem) or type(problem).__name__


def _cut(restored: Restoration, side: int | None) -> Restoration:
    """The prediction within a crop."""
    if side is None:
        return restored

    def cut(members: Any) -> Any:
        return np.stack([np.asarray(cropped(Image(one, restored.axes), side)) for one in members])

    scales = None if restored.scales is None else cut(restored.scales)
    return replace(restored, means=cut(restored.means), scales=scales, surface=None)


def _result(score: Score, done: Done | None, region: str) -> Result:
    result = Result(**vars(score), region=region)
    if done is None or score.method == INTERPOLATED:
        return result
    settings = done.settings[score.channel or 0] if done.settings else ""
    return replace(result, seconds=done.seconds, voxels=done.voxels, tuning=done.tuning, settings=settings)
