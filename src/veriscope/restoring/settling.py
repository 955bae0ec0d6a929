"""Settle what the networks said of a tile: put it right, sum up the error to expect, go back to grey values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.calibrated import AsPredicted, Calibration, Distribution
from veriscope.expected import Expected, Tally, mean_of
from veriscope.familiarity import Verdict, with_error
from veriscope.networks.model import Ensemble
from veriscope.noise import noise_and_contrast
from veriscope.normalize import Normalization
from veriscope.restoring.frames import Frames, Number
from veriscope.restoring.running import Answers, Block
from veriscope.restoring.scaling import from_units
from veriscope.restoring.watching import Watcher


@dataclass(frozen=True)
class Trust:
    """What can be said of a restoration without ground truth: the error to expect, and a verdict.

    `frames` says the same of every time point and sample, by its place along these axes, such as (("T", 3),).
    """

    expected: Expected | None = None
    verdict: Verdict | None = None
    frames: dict[tuple[tuple[str, int], ...], Trust] = field(default_factory=dict)

    def __str__(self) -> str:
        """Sentences: what to expect, then the verdict; empty where nothing is known."""
        return " ".join(str(one) for one in (self.expected, self.verdict) if one is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain values: "expected" (nrmse, psnr, low, high), "verdict" (level, words, reasons, ...), "frames"."""
        found: dict[str, Any] = {"expected": None, "verdict": None}
        if self.expected is not None:
            found["expected"] = {**asdict(self.expected), "psnr": self.expected.psnr}
        if self.verdict is not None:
            found["verdict"] = {**asdict(self.verdict), "words": str(self.verdict)}
        if self.frames:
            found["frames"] = [{**dict(place), **one.to_json()} for place, one in self.frames.items()]
        return found


class Settling:
    """Settles tiles in the networks' units, one after the other; `tallies` hold what they say of each frame."""

    def __init__(
        self,
        parts: Frames,
        model: Ensemble,
        forward: Callable[[Number], Normalization],
        back: Callable[[Number], Normalization | None],
        calibrated: bool,
    ) -> None:
        self.parts, self.recipe = parts, model.recipe
        self._forward, self._back = forward, back
        joined = model.recipe.isotropic and model.recipe.combine == "csbdeep"  # not as it was measured
        self.calibration = None if joined else stored_calibration(model)
        self.expectation = model.facts.expectation if self.calibration else None
        self.distribution: Distribution = self.calibration if calibrated and self.calibration else AsPredicted()
        self.widens = isinstance(self.distribution, Calibration)
        self.tallies: defaultdict[Number, Tally] = defaultdict(partial(Tally, model.recipe.channels_out))
        self._textures: dict[Number, NDArray[np.float64]] = {}

    def __call__(self, number: Number, answers: Answers) -> Block | None:
        """By how much each pixel's distribution is to be widened, (C, *core), where that is wanted.

        Means and scales, (M, C, *core), are taken to grey values in place.
        """
        means, scales = answers
        widening = None
        if self.calibration is not None and scales is not None:
            texture, widening = self._texture(number), np.empty(means.shape[1:], np.float32)
            for channel, level in enumerate(self.calibration.levels):
                predicted = self._predicted(means[:, channel], scales[:, channel])
                widening[channel] = level.factor(predicted, texture[min(channel, len(texture) - 1)])
            errors = self.calibration.root_mean_square(means, scales, widening)
            self.tallies[number].add(laplace.mixture_mean(means), errors)
        from_units(self._back(number), means, scales)
        return widening if self.widens else None

    def trust(self, watcher: Watcher | None, warnings: Sequence[str] = ()) -> Trust:
        """What the tiles settled so far, and seen by `watcher`, say; `warnings` become part of the verdict."""
        errors = [self.expected(number) for number in sorted(self.tallies)]
        whole = mean_of([one for one in errors if one is not None])
        verdict = self._verdict(None if watcher is None else watcher.verdict(warnings), whole)
        frames = {}
        if self.parts.outer:
            for number in sorted(self.tallies if watcher is None else watcher.seen):
                place = tuple(zip(self.parts.outer, number, strict=True))
                of_frame = None if watcher is None else watcher.verdict(number=number)
                error = self.expected(number)
                frames[place] = Trust(error, self._verdict(of_frame, error))
        return Trust(whole, verdict, frames)

    def _verdict(self, found: Verdict | None, expected: Expected | None) -> Verdict | None:
        if found is None or expected is None or self.expectation is None:
            return found
        return with_error(found, self.expectation.times(expected.nrmse, prod(self.parts.shape)))

    def expected(self, number: Number) -> Expected | None:
        """What error to expect of a frame, all its channels together; None where nothing is known, or it is blank."""
        if self.expectation is None or number not in self.tallies:
            return None
        seen = not self.recipe.isotropic and min(self.parts.shape[-2:]) > 2
        if seen and np.isnan(self._texture(number)).all():
            return None
        return mean_of([self.expectation.of(one) for one in self.tallies[number].nrmse])

    def _texture(self, number: Number) -> NDArray[np.float64]:
        if self.recipe.isotropic:
            return np.full((self.recipe.channels_in, 2), np.nan)
        if number not in self._textures:
            normalization = self._forward(number)
            self._textures[number] = noise_and_contrast(
                lambda span: normalization.apply(self.parts.read(number, span)), self.parts.shape
            )
        return self._textures[number]

    def _predicted(self, means: Block, scales: Block) -> Block:
        """The error predicted for a pixel, as it was compared with the truth in training.

        Of stacks that are made isotropic that was the error of one direction alone; by how much both together are
        closer to the truth is part of the calibration.
        """
        if not self.recipe.isotropic:
            return laplace.mixture_scale(means, scales)
        half = len(means) // 2
        both = [laplace.mixture_scale(means[own], scales[own]) for own in (slice(0, half), slice(half, None))]
        return np.asarray((both[0] + both[1]) / 2)


def stored_calibration(model: Ensemble) -> Calibration | None:
    """What was measured after training; None for models that do not know it, or in words of another version."""
    found = model.facts.calibration
    return found if found is not None and len(found.levels) == model.recipe.channels_out else None
