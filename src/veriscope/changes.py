"""Was an image taken out of focus, at another magnification, in far less light, in light that fades across the field?

Images differ in how sharp, large and noisy their structures are, so that no figure of an image shows this by itself.
But what a change does to the answers of a network's filters, from the first layer to the bottom
(`networks.filters.Filters`), has one most telling direction, held against how images differ anyway and how differently
they answer to the change (Fisher's linear discriminant). It is learned from training images that are changed so. They
are photographs made anew, and so are those that they are held against: the direction shows the change, and not that
noise is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.textures import Piece

Block = NDArray[np.float32]
Values = NDArray[np.float64]

LIGHT = 0.1  # of the usual, in the darkest photographs
FADED = 0.2  # of the usual, at the dark end of a field
BLURS = 2.0, 5.0  # pixels: sigmas, between which images are put out of focus
SEEN = 2.0  # of what a change makes on average: where images differ by more than that it cannot be told
HALFWAY = 0.5  # of what a change makes on average: with less of it an image is not called changed
BINS = 10  # of equally many pixels, to see how noise grows with light
SHRINKAGE = 0.1  # of the covariance towards its diagonal
STEADY = 0.03  # the least deviation of a value between images
IMAGES = 5  # that must be known
FAINT = 1e-4  # of the normalised range: answers below this are as good as none
LEVEL = 0.1  # the least deviation of a logarithm between the patches of an image


def _blurred(light: Block, rng: np.random.Generator) -> Block:
    from scipy.ndimage import gaussian_filter

    sigma = float(np.exp(rng.uniform(*np.log(BLURS))))
    return np.asarray(gaussian_filter(light, (*(0 for _ in light.shape[:-2]), sigma, sigma)))


def _smaller(light: Block, rng: np.random.Generator) -> Block:
    rows, columns = (length // 2 for length in light.shape[-2:])
    whole = light[..., : 2 * rows, : 2 * columns]
    return np.asarray(whole.reshape(*light.shape[:-2], rows, 2, columns, 2).mean((-3, -1)))


def _larger(light: Block, rng: np.random.Generator) -> Block:
    from scipy.ndimage import zoom

    middle: Any = (..., *(slice(length // 4, length // 4 + -(-length // 2)) for length in light.shape[-2:]))
    factors = *(1 for _ in light.shape[:-2]), 2, 2
    return np.asarray(zoom(light[middle], factors, order=1)[..., : light.shape[-2], : light.shape[-1]])


def _darker(light: Block, rng: np.random.Generator) -> Block:
    dark = light.min()
    return np.asarray(dark + LIGHT * (light - dark))


def _fading(light: Block, rng: np.random.Generator) -> Block:
    angle, dark = rng.uniform(0, 2 * np.pi), light.min()
    y, x = np.ogrid[tuple(slice(-1, 1, 1j * length) for length in light.shape[-2:])]
    along = np.sin(angle) * y + np.cos(angle) * x
    share = 1 - (1 - FADED) * (along - along.min()) / max(float(np.ptp(along)), 1e-12)
    return np.asarray(dark + (light - dark) * share)


WAYS: dict[str, Callable[[Block, np.random.Generator], Block]] = {
    "blurred structures under sharp noise (out of focus?)": _blurred,
    "structures of half the usual size (another magnification?)": _smaller,
    "structures of twice the usual size (another magnification?)": _larger,
    "the noise of far less light": _darker,
    "light that fades across the field": _fading,
}


def photographs(low: Block, high: Block, rng: np.random.Generator) -> Iterator[tuple[str, Block]]:
    """The image `low` (C, *space) taken again as it was (named ""), then changed in all WAYS; `high` is its truth.

    The light is the line through truth and image; the noise is the image's own, put elsewhere and as strong as the
    light there has it.
    """
    found: dict[str, list[Block]] = {name: [] for name in ("", *WAYS)}
    for image, truth in zip(low, high, strict=True):
        apart = truth - truth.mean()
        slope = float((apart * image).mean()) / max(float(np.square(apart).mean()), 1e-12)
        light = (image.mean() + slope * apart).astype(np.float32)
        gain, least = _noise(light, image - light)
        dark = float(light.min())
        noise = (image - light) / np.sqrt(gain * (light - dark) + least)
        for name, seen in found.items():
            new = WAYS[name](light, rng) if name else light
            moved = np.roll(noise, rng.integers(noise.shape[-2:], size=2).tolist(), (-2, -1))[..., ::-1]
            there = moved[..., : new.shape[-2], : new.shape[-1]]
            seen.append(new + there * np.sqrt(gain * np.clip(new - dark, 0, None) + least))
    for name, channels in found.items():
        yield name, np.stack(channels).astype(np.float32)


def _noise(light: Block, noise: Block) -> tuple[float, float]:
    """How much the variance grows with the light, and what it is where there is least."""
    edges = np.quantile(light, np.linspace(0, 1, BINS + 1))
    inside = [(light >= one) & (light <= other) for one, other in pairwise(edges)]
    levels, variances = ([float(value[one].mean()) for one in inside] for value in (light - light.min(), noise**2))
    gain, least = 0.0, variances[0]
    if levels[-1] > levels[0]:
        gain, least = np.polyfit(levels, variances, 1, w=1 / np.maximum(variances, 1e-12))
    return max(float(gain), 0.0), max(float(least), min(variances) / 4, 1e-12)


def described(answers: Values) -> Values:
    """One image by what filters answered in its patches, (patches, values): on average, and how much that differs."""
    logs = np.log(answers + FAINT)
    return np.concatenate([logs.mean(0), np.log(logs.std(0) + LEVEL)])


@dataclass(frozen=True)
class Usual:
    """How pieces of one size score that are not changed."""

    windows: int  # of one piece
    scores: Mapping[str, tuple[float, float]]  # of each change that can be told: the mean, and how far above one may be


@dataclass(frozen=True, eq=False)
class Changes:
    """What sets changed images apart from those of training, and how far apart the latter are anyway."""

    centre: Values  # (values,)
    directions: Mapping[str, Values]  # (values,), of each change
    sizes: tuple[Usual, ...]  # the largest first

    def scores(self, answers: Values, usual: Usual) -> dict[str, float]:
        """How far an image lies towards each change, in parts of what is `usual`."""
        away = described(answers) - self.centre
        return {name: (float(self.directions[name] @ away) - mean) / far for name, (mean, far) in usual.scores.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Changes:
        centre = np.array(stored["centre"], float)
        directions = {str(name): np.array(one, float) for name, one in stored["directions"].items()}
        sizes = tuple(
            Usual(int(one["windows"]), {str(name): (float(m), float(far)) for name, (m, far) in one["scores"].items()})
            for one in stored["sizes"]
        )
        told = {name for one in sizes for name in one.scores}
        if not told <= set(directions) or any(one.shape != centre.shape for one in directions.values()):
            raise ValueError("directions are missing, or as long as no description")
        return cls(centre, directions, sizes)


def fit(
    usual: Mapping[int, Values], shifts: Mapping[str, Sequence[Values]], pieces: Sequence[Piece], alarms: float
) -> Changes | None:
    """From images as they are by number, (views, values) of each, how each change shifted some, and `pieces` of images
    of all sizes, of which the fraction `alarms` may be called changed.

    None where no change can be seen, or too few images are known. Thresholds come from the pieces of each image held
    against all other images: the bound for one more if they are normal (Student, Bonferroni), the largest score,
    or half of what the change makes.
    """
    if len(usual) < IMAGES:
        return None
    views, owners = np.concatenate([*usual.values()]), np.repeat([*usual], [*map(len, usual.values())])
    centre = views.mean(0)
    values = np.array([described(one.answers) - centre for one in pieces])
    owner, size = np.array([one.image for one in pieces]), np.array([one.size for one in pieces])
    if (crops := size == 1).any():  # they say more of how images differ
        views = np.concatenate([views, values[crops] - values[crops].mean(0) + centre])
        owners = np.concatenate([owners, owner[crops]])
    directions: dict[str, Values] = {}
    told: dict[int, dict[str, tuple[float, float]]] = {number: {} for number in np.unique(size).tolist()}
    for name, every in shifts.items():
        if not len(every):
            continue
        shift = np.mean(every, axis=0)
        apart = every - shift
        directions[name] = _direction(views, apart, shift)
        without = {image: _direction(views[owners != image], apart, shift) for image in np.unique(owner).tolist()}
        scores = np.array([without[of] @ one for of, one in zip(owner.tolist(), values, strict=True)])
        for number, scored in told.items():
            own, count = scores[size == number], len(np.unique(owner[size == number]))
            if count < IMAGES:
                continue
            far = _far(alarms / len(shifts), count) * float(own.std(ddof=1))
            far = max(far, float(own.max() - own.mean()), HALFWAY)
            if far < SEEN:
                scored[name] = float(own.mean()), far
    windows = {number: int(np.median([one.windows for one in pieces if one.size == number])) for number in told}
    sizes = tuple(Usual(windows[number], scored) for number, scored in told.items() if scored)
    return Changes(centre, directions, sizes) if sizes else None


def _far(alarms: float, count: int) -> float:
    """Above how many deviations of `count` normal values so many of further ones lie (Student)."""
    from scipy.stats import t

    return float(t.isf(alarms, count - 1) * np.sqrt(1 + 1 / count))


def _direction(views: Values, apart: Values, shift: Values) -> Values:
    """The direction in which `shift` is farthest; `shift` itself scores 1.

    In deviations along it of images (`views`), and of what the change does to each beyond its mean (`apart`).
    """
    values = np.concatenate([views - views.mean(0), apart])
    deviation = values.std(0) + STEADY
    standard, wanted = values / deviation, shift / deviation
    # (c Z'Z + s) x = b by a system as large as there are images (Woodbury): there are far more values
    weight = (1 - SHRINKAGE) / len(values)
    inner = np.eye(len(values)) * SHRINKAGE / weight + standard @ standard.T
    direction = (wanted - standard.T @ np.linalg.solve(inner, standard @ wanted)) / deviation
    return np.asarray(direction / max(float(direction @ shift), 1e-12), np.float64)
