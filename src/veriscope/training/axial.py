"""Axial sections of stacks that are made isotropic: nobody has their truth, but the networks say how hard they are.

Predictions were put right on lateral planes that were degraded, one direction at a time. Real sections are harder than
these, or easier, and every voxel is restored in two directions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.calibrated import LARGEST, Calibration
from veriscope.looking import Look, look
from veriscope.patches.patches import Section

Block = NDArray[np.float32]
Answers = tuple[Block, Block]  # means and scales (M, channels, ...)
Apart = NDArray[np.float64]

TINY = 1e-6  # the least that members lie apart, in parts of the scale that they predict


@dataclass(frozen=True, eq=False)
class Axial:
    """What networks say of sections: how far members lie `apart` in each; in `lines` where a section along X and one
    along Y cross, what they answer in either, (M, channels, Z); and how each section looks, restored.
    """

    apart: list[Apart]
    lines: list[tuple[Answers, Answers]]
    looks: list[Look]


def spread_of(means: Block, scales: Block) -> Apart:
    """How far members lie apart, and the scale they predict, (2, channels): means over an image."""
    across = tuple(range(1, means.ndim - 1))
    deviation, scale = means.std(axis=0, ddof=min(1, len(means) - 1)), scales.mean(axis=0)
    return np.array([one.mean(axis=across, dtype=np.float64) for one in (deviation, scale)])


def look_at(
    sections: Iterator[Section],
    answer: Callable[[Block], tuple[Block, Block | None]],
    window: Sequence[int],
    seconds: float | None,
) -> Axial:
    """What the networks `answer` to as many sections as there is time for, which are looked at in windows."""
    began = time.monotonic()
    apart, lines, looks = [], defaultdict[Any, list[Answers]](list), []
    for section in sections:
        means, scales = answer(section.image)
        assert scales is not None
        apart.append(spread_of(means, scales))
        looks.append(look(section.image, means, scales, window))
        for column, place in section.crossings.items():
            lines[place].append((means[..., column].copy(), scales[..., column].copy()))
        if seconds is not None and time.monotonic() - began > seconds:
            break
    return Axial(apart, [(pair[0], pair[1]) for pair in lines.values() if len(pair) == 2], looks)


def widened(right: Calibration, aside: Sequence[Apart], axial: Axial) -> Calibration:
    """The same for images that are harder than those kept `aside`, or easier: all is widened by how much farther apart
    the members are there, in parts of the scale that they predict. Nothing is guaranteed.
    """
    (apart, scale), (apart_there, scale_there) = np.sum(aside, axis=0), np.sum(axial.apart, axis=0)
    more = np.log(np.maximum(apart_there / scale_there, TINY) / np.maximum(apart / scale, TINY))
    return right.unguaranteed().widened(np.clip(more, -np.log(LARGEST), np.log(LARGEST)))


def narrowed(right: Calibration, axial: Axial) -> tuple[Calibration, float]:
    """The same for the mean of what two directions answer, not of one alone; and the logarithm of how much less it is.

    Its squared error is smaller than theirs, on average, by the square of half their distance (Krogh and Vedelsby
    1995), though the mixture of both is wider by that. Their errors are not taken to be opposed.
    """
    if not axial.lines:
        return right, 0.0
    less = []
    for channel, level in enumerate(right.levels):
        of_each, of_both, apart = [], [], []
        for pair in axial.lines:
            each = [(means[:, channel], scales[:, channel]) for means, scales in pair]
            means, scales = (np.concatenate(both) for both in zip(*each, strict=True))
            factor = level.factor(np.mean([laplace.mixture_scale(*one) for one in each], axis=0))
            of_each += [right.root_mean_square(*one, factor) for one in each]
            of_both.append(right.root_mean_square(means, scales, factor))
            apart.append((each[0][0].mean(0) - each[1][0].mean(0)) / 2)
        single, mixed, ambiguity = (float(np.square(one, dtype=np.float64).mean()) for one in (of_each, of_both, apart))
        less.append(np.log(mixed / max(single - ambiguity, single / 2)) / 2)
    return right.widened(-np.array(less)), float(np.mean(less))
