"""A comparison at work: one image after the other by everything, each method timed in the same way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np

from veriscope.classical import tune as tuning
from veriscope.classical.method import Method
from veriscope.comparing.comparison import Result
from veriscope.comparing.facts import machine
from veriscope.comparing.failures import Failure, largest_relative_error
from veriscope.comparing.judge import RESTORATION, Score, judge_one, restored_in_memory
from veriscope.comparing.kept import Kept, fingerprint
from veriscope.comparing.picture import INPUT, INPUTS, INTERPOLATED, Picture
from veriscope.comparing.plan import Design, MethodPlan, cropped, region_name, spans_of
from veriscope.errors import DataError
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
class Effort:
    """What one image took by one method."""

    seconds: float
    voxels: int
    tuning: float | None = None
    settings: Sequence[str] = ()  # one per channel


Done = tuple[Image, Effort]  # one image by one method


@dataclass(eq=False)
class Measurement:
    """A comparison at work: what it has found so far, and how long things really take."""

    design: Design
    how: dict[str, Any]  # of restore
    progress: Progress | None
    tell: Callable[[str], object] | None
    kept: Kept | None = None
    notes: list[str] = field(default_factory=list)
    lines: list[Result] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)  # the largest relative error of each image
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
        if (model := self.design.model) is not None:
            self.report(f"warming up: {RESTORATION}")
            _attempt(partial(restored_in_memory, piece, model, **self.how))

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

    def image(self, number: int, pictures: int) -> None:
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
            work = partial(restored_in_memory, low, self.design.model, **self.how)
            answer = self.attempt(RESTORATION, RESTORATION, name, lambda: timed(work))
            if answer is not None:
                restored, seconds = answer
                made[None][RESTORATION] = restored.mean, Effort(seconds, prod(low.shape))
                if self.kept is not None:
                    self.kept.keep(RESTORATION, name, "", restored.mean, {"seconds": seconds})
        given = self.design.task == "project" or INTERPOLATED in made[None]  # the input is one of the methods
        images = {} if given else {INTERPOLATED if self.design.task == "isotropic" else INPUT: low}
        smallest = min(self.design.limits, default=None)
        regions: dict[int | None, dict[str, Image]] = {}
        lines: list[Result] = []
        for side, dones in made.items():
            images |= {label: image for label, (image, _) in dones.items()}
            regions[side] = {label: cropped(image, side) for label, image in images.items()}
            if not images:  # everything failed, or is limited to a smaller region
                continue
            methods = dict(sorted(regions[side].items(), key=lambda one: one[0] == RESTORATION))
            most = pictures if side == smallest else 0
            rows, shown = judge_one(name, cropped(truth, side), methods, _cut(restored, side), most)
            region = region_name(side, self.design.region)
            lines += [_result(row, dones.get(row.method), region) for row in rows]
            self.pictures += shown
        self.lines += lines
        side = None if set(regions[None]) - set(INPUTS) else smallest  # or all methods are limited
        self.find_worst(name, cropped(truth, side), regions[side], lines, restored)

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
                return earlier[0], Effort(**earlier[1])
        done = self.attempt(label, method.title, name, lambda: self.made(method, source, goal))
        if done is None:
            return None
        image, effort = cropped(done[0], one.side), done[1]
        if self.kept is not None:
            self.kept.keep(method.name, name, key, image, vars(effort))
        return image, effort

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
        return image, Effort(seconds, prod(low.shape), tuned, words)

    def find_worst(
        self, name: str, truth: Image, images: dict[str, Image], lines: Sequence[Result], restored: Restoration | None
    ) -> None:
        """The largest relative error of the network, or of the best method without one, beside the best other."""
        errors: dict[str, list[float]] = {}
        for line in lines:
            if line.method in images and line.method not in (*INPUTS, RESTORATION):
                errors.setdefault(line.method, []).append(line.nrmse)
        best = min(errors, key=lambda method: float(np.mean(errors[method])), default=None)
        subject = RESTORATION if restored is not None else best
        if subject is None:
            return
        first = [label for label in images if label in INPUTS][:1]
        shown = {label: images[label] for label in dict.fromkeys([*first, best, subject]) if label is not None}
        self.failures.append(largest_relative_error(name, truth, shown, subject, restored))


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


def _cut(restored: Restoration | None, side: int | None) -> Restoration | None:
    """The prediction within a crop."""
    if restored is None or side is None:
        return restored
    spans = spans_of(restored.mean, side)
    return restored.part(tuple(spans.get(letter, slice(None)) for letter in restored.axes))


def _result(score: Score, done: Done | None, region: str) -> Result:
    if done is None or score.method == INTERPOLATED:
        return Result(**vars(score), region=region)
    _, effort = done
    settings = effort.settings[score.channel or 0] if effort.settings else ""
    return Result(**vars(score), **{**vars(effort), "region": region, "settings": settings})
