"""Is an image out of focus, though its noise is as usual? Learned from training images that are put out of focus.

Fields differ in how sharp they are, so that no figure of an image shows this by itself. What a blur under new noise
does to the figures of training images, held against how such images differ anyway, has one most telling direction
(Fisher's linear discriminant). Both are photographs made anew, one blurred and one not: so the direction shows a blur,
and not that noise is simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
Values = NDArray[np.float64]

NAME = "blurred structures under sharp noise (out of focus?)"
SIGMA = 3.0  # pixels, of an image out of focus
BINS = 10  # of equally many pixels, to see how noise grows with light
SHRINKAGE = 0.4  # of the covariance towards its diagonal
STEADY = 0.03  # the least deviation of a value between images
IMAGES = 5  # that must be known
LOWEST, HIGHEST = 0.1, 0.9  # quantiles of the windows of an image that describe it, beside their means


def photographs(low: Block, high: Block, rng: np.random.Generator) -> tuple[Block, Block]:
    """The image `low` (C, *space) taken again in focus and out of it; `high` (C, *space) is its truth.

    The light is the line through truth and image; the noise is the image's own, put elsewhere and as strong as the
    light there has it.
    """
    from scipy.ndimage import gaussian_filter

    found = np.empty((2, *low.shape), np.float32)
    for channel, (image, truth) in enumerate(zip(low, high, strict=True)):
        apart = truth - truth.mean()
        slope = float((apart * image).mean()) / max(float(np.square(apart).mean()), 1e-12)
        sharp = (image.mean() + slope * apart).astype(np.float32)
        blurred = gaussian_filter(sharp, (*(0 for _ in sharp.shape[:-2]), SIGMA, SIGMA))
        gain, least = _noise(sharp, image - sharp)
        dark = float(sharp.min())
        noise = (image - sharp) / np.sqrt(gain * (sharp - dark) + least)
        noise = np.roll(noise, rng.integers(noise.shape[-2:], size=2).tolist(), (-2, -1))[..., ::-1]
        for one, light in zip(found, (sharp, blurred), strict=True):
            one[channel] = light + noise * np.sqrt(gain * np.clip(light - dark, 0, None) + least)
    return found[0], found[1]


def _noise(light: Block, noise: Block) -> tuple[float, float]:
    """How much the variance grows with the light, and what it is where there is least."""
    edges = np.quantile(light, np.linspace(0, 1, BINS + 1))
    inside = [(light >= one) & (light <= other) for one, other in pairwise(edges)]
    levels, variances = ([float(value[one].mean()) for one in inside] for value in (light - light.min(), noise**2))
    gain, least = np.polyfit(levels, variances, 1) if levels[-1] > levels[0] else (0.0, variances[0])
    return max(float(gain), 0.0), max(float(least), min(variances) / 4, 1e-12)


@dataclass(frozen=True, eq=False)
class Focus:
    """What sets images out of focus apart from those of training, and how far apart the latter are anyway."""

    windows: int  # of an image that was looked at
    centre: Values  # (values,)
    direction: Values  # (values,): per value, its deviation included
    threshold: float

    def score(self, values: Values) -> float:
        """How far an image lies towards being out of focus, in parts of what is usual."""
        return float(self.direction @ (values - self.centre)) / self.threshold

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Focus:
        centre, direction = np.array(stored["centre"], float), np.array(stored["direction"], float)
        return cls(int(stored["windows"]), centre, direction.reshape(centre.shape), float(stored["threshold"]))


def described(table: Values, whole: Mapping[str, float]) -> Values:
    """An image by the figures of its windows, (windows, figures): their means and quantiles, and the image's detail."""
    detail = [value for name, value in whole.items() if name.startswith("detail")]
    return np.concatenate([table.mean(0), np.quantile(table, (LOWEST, HIGHEST), axis=0).ravel(), detail])


def fit(usual: Sequence[Values], shifts: Sequence[Values], windows: int, alarms: float) -> Focus | None:
    """From images as they are, and from how a blur shifted some; None where it cannot be seen, or is not known.

    The threshold comes from each image held against all others: the bound for one more if they are normal (Student).
    """
    from scipy.stats import t

    values = np.array(usual)
    if len(values) < IMAGES or not len(shifts):
        return None
    shift = np.mean(shifts, axis=0)
    scores = []
    for one, value in enumerate(values):
        others = np.delete(values, one, axis=0)
        scores.append(_direction(others, shift) @ (value - others.mean(0)))
    far = t.isf(alarms, len(values) - 1) * np.sqrt(1 + 1 / len(values))
    threshold, direction = float(np.mean(scores) + far * np.std(scores, ddof=1)), _direction(values, shift)
    return Focus(windows, values.mean(0), direction, threshold) if direction @ shift > threshold else None


def _direction(values: Values, shift: Values) -> Values:
    """The direction in which `shift` is farthest, in deviations of images along it."""
    deviation = values.std(0) + STEADY
    standard = (values - values.mean(0)) / deviation
    covariance = (1 - SHRINKAGE) * standard.T @ standard / len(values) + SHRINKAGE * np.eye(len(shift))
    direction = np.linalg.solve(covariance, shift / deviation)
    return np.asarray(direction / deviation / max(float(np.std(standard @ direction)), 1e-9), np.float64)
