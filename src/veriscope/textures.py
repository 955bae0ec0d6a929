"""Does an image have a texture that training images have? Asked of the filters that a network learned for them.

How strongly the filters answer on average, and how much that varies, follows a few directions from image to image: more
light, more noise, more structure. What an image has beyond these directions sets it apart: a blur or a pixel size that
the network has never seen, whatever the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_VALUE = 4  # values for each direction in which training images differ, at least
PER_DIRECTION = 3  # pieces that must be known for each of them
STEADY = 0.02  # the least deviation of the logarithm of a filter's answer
NEAR = 0.1  # deviations: nothing that lies so near is beyond
FAINT = 1e-2  # of the normalised range: answers below this are as good as none
FAINT_BEFORE = 1e-3  # in models that do not say
IMAGES, PIECES = 5, 12  # of one size that must be known
NAME = "a texture that none of the training images have (blurred, resized, another pixel size or noise?)"


@dataclass(frozen=True, eq=False)
class Texture:
    """What pieces of one size answer, as `described`, and how far off one may be."""

    windows: int  # of one piece
    centre: NDArray[np.float64]
    deviation: NDArray[np.float64]
    directions: NDArray[np.float64]  # (directions, values)
    threshold: float = np.inf  # of `beyond`
    faint: float = FAINT

    def beyond(self, answers: NDArray[np.float64]) -> float:
        """How far a piece lies from all that training images can be, in deviations; `answers` as of `Piece`."""
        return self._beyond(described(answers[:, : len(self.centre)], self.faint))

    def _beyond(self, values: NDArray[np.float64]) -> float:
        off = (values - self.centre) / self.deviation
        return float(np.linalg.norm(off - (off @ self.directions.T) @ self.directions))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Texture:
        centre, deviation, directions = (
            np.array(stored[name], float) for name in ("centre", "deviation", "directions")
        )
        faint = float(stored.get("faint", FAINT_BEFORE))
        return cls(int(stored["windows"]), centre, deviation, directions, float(stored["threshold"]), faint)


@dataclass(frozen=True, eq=False)
class Piece:
    """What the filters answered on a piece of an image."""

    size: int  # 0 for whole images, 1 for the largest crops, 2 for the next, ...
    image: int
    windows: int
    answers: NDArray[np.float64]  # (patches, values), of all filters
    first: int  # values of those of the first level, which come first


def described(answers: NDArray[np.float64], faint: float = FAINT) -> NDArray[np.float64]:
    """One image, or piece of it, by what the filters answered in its patches."""
    return np.asarray(np.log(answers.mean(0) + faint))


def textures(pieces: Sequence[Piece], alarms: float) -> tuple[Texture, ...]:
    """Those of each size, the largest first; `alarms` is the fraction of such pieces that may lie beyond.

    The thresholds come from pieces of each image held against those of all others. One image counts once: they are the
    quantile of the images where there are enough of them (conformal), else the bound for one more image if the
    logarithms are normal (Student).
    """
    found = [_of_size([one for one in pieces if one.size == size], alarms) for size in sorted({p.size for p in pieces})]
    return tuple(one for one in found if one is not None)


def _of_size(pieces: Sequence[Piece], alarms: float) -> Texture | None:
    from scipy.stats import t

    images = np.array([one.image for one in pieces])
    groups = np.unique(images)
    if len(groups) < IMAGES or len(pieces) < PIECES:
        return None
    values = np.array([described(one.answers[:, : one.first]) for one in pieces])
    windows = int(np.median([one.windows for one in pieces]))
    beyond = np.empty(len(values))
    for one in groups:
        others = _fit(values[images != one], windows)
        beyond[images == one] = [others._beyond(row) for row in values[images == one]]
    logs = np.log(np.maximum(beyond, 1e-9))
    rank = int(np.ceil((1 - alarms) * (len(groups) + 1)))
    if rank <= len(groups):
        threshold = float(np.quantile(logs, rank / len(groups), method="higher"))
    else:
        spread = logs.std(ddof=1) * np.sqrt(1 + 1 / len(groups))
        threshold = float(logs.mean() + t.isf(alarms, len(groups) - 1) * spread)
    whole = _fit(values, windows)
    return Texture(whole.windows, whole.centre, whole.deviation, whole.directions, max(float(np.exp(threshold)), NEAR))


def _fit(values: NDArray[np.float64], windows: int) -> Texture:
    centre, deviation = values.mean(0), values.std(0) + STEADY
    _, _, directions = np.linalg.svd((values - centre) / deviation, full_matrices=False)
    return Texture(
        windows, centre, deviation, directions[: min(values.shape[1] // PER_VALUE, len(values) // PER_DIRECTION)]
    )
