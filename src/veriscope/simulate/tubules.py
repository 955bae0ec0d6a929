"""Tubules: filaments that bend as they go, and pairs of straight ones to measure resolution with (SI 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, hypot, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.simulate.scene import Checked, Drawn, Field, Floats, Range, Scene, between, check_number, setting

MOST = 200_000  # filaments: more were never meant, but asked for with a voxel size in the wrong unit


@dataclass(frozen=True)
class Tubules(Checked):
    """Filaments in a plane (YX), each a walk of equal steps whose curvature wanders (SI 2.5).

    The curvature after n steps is clip(kappa_0 + the sum of n normal numbers of standard deviation dk, ±kmax), in turns
    per step, with a kmax of each filament's own; the direction turns by it, and the sum of all steps is the path. The
    defaults are those of microtubules at 0.08 um pixels: steps of half a pixel, no bend below 20 pixels radius.
    """

    density: Range = setting((0.1, 0.57), "The density of tubules per um^2", 0)  # 10 to 60 start in 128 x 128 pixels
    step_um: float = setting(0.04, "The step of tubules in um", 0, above=True)
    # at 0.004 the smallest radius, step / (2 pi kmax), is 1.6 um
    kmax: float = setting(0.004, "The largest curvature of tubules in turns per step", 0, 0.25)
    # largest curvature of one filament, as part of kmax; (1, 1) is the SI's, with many circles
    bend: Range = setting((0.1, 0.8), "How far tubules bend", 0, 1)
    wander: Range = setting((0.05, 0.1), "How far the curvature of tubules wanders", 0)  # dk by the largest curvature
    steps: tuple[int, int] = setting((200, 600), "The steps of tubules", 1)  # length of a filament
    width_um: Range = setting((0.028, 0.04), "The width of tubules in um", 0)  # standard deviation, one for a scene
    # along the middle of a filament, on average over where between pixels it runs
    brightness: Range = setting((0.5, 1.5), "The brightness of tubules", 0)
    surround_um: float = setting(2.5, "The surround of tubules in um", 0)  # how far beyond the field filaments start

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """Start (YX, um), direction and first curvature (turns), light and length of every filament; the walk's seed.

        Raises DataError for a field that does not fit, or that would hold hundreds of thousands of filaments.
        """
        field = Field.of(shape, voxel_size, ("YX",), "Tubules")
        low, high = field.low - self.surround_um, field.high + self.surround_um
        expected = rng.uniform(*self.density) * float(np.prod(high - low))
        if expected > MOST:
            raise DataError(
                f"A field of this size would hold {expected:.3g} tubules; at most {MOST:,} are drawn. Check that the "
                f"voxel size is in um, or lower the density."
            )
        count = int(expected + rng.random())
        bend = self.kmax * between(rng, self.bend, count)
        return {
            **field.plain(),
            "start": np.round(rng.uniform(low, high, (count, 2)), 6).tolist(),
            "angle": between(rng, (0, 1), count).tolist(),
            "bend": bend.tolist(),
            "curvature": (bend * between(rng, (-1, 1), count)).tolist(),
            "wander": (bend * between(rng, self.wander, count)).tolist(),
            "steps": rng.integers(self.steps[0], self.steps[1] + 1, count).tolist(),
            "light": between(rng, self.brightness, count).tolist(),
            "width": round(float(rng.uniform(*self.width_um)), 6),
            "walk": int(rng.integers(2**63)),
        }

    def curvature(self, drawn: Drawn) -> Floats:
        """Curvature of every filament (rows) after every step, in turns per step: never beyond ±kmax."""
        first, wander, bend = (np.array(drawn[name]).reshape(-1, 1) for name in ("curvature", "wander", "bend"))
        normal = np.random.default_rng(drawn["walk"]).standard_normal((len(first), max(drawn["steps"], default=0)))
        return np.asarray(np.clip(first + np.cumsum(wander * normal, axis=1), -bend, bend))

    def paths(self, drawn: Drawn) -> NDArray[np.complex128]:
        """Place of every filament (rows) after every step as x + iy, um; beyond its own length it is NaN."""
        turns = np.cumsum(self.curvature(drawn), axis=1) + np.array(drawn["angle"], dtype=np.float64).reshape(-1, 1)
        start = np.array(drawn["start"], dtype=np.float64).reshape(-1, 2)
        places = np.cumsum(self.step_um * np.exp(2j * pi * turns), axis=1)
        places += (start[:, 1] + 1j * start[:, 0]).reshape(-1, 1)
        places[np.arange(places.shape[1]) >= np.array(drawn["steps"]).reshape(-1, 1)] = np.nan
        return places

    def apply(self, drawn: Drawn) -> Scene:
        """The filaments that were drawn: splat bilinearly, then blurred to their width. Same in, same out."""
        paths = self.paths(drawn)
        light = np.repeat(np.array(drawn["light"], dtype=np.float64), paths.shape[1])
        return Scene(_drawn_lines(Field.drawn(drawn), paths.ravel(), light, self.step_um, drawn["width"]))


def pair(
    shape: Sequence[int],
    voxel_size: Sequence[float],
    distance_um: float,
    angle: float = 0.0,
    centre_um: Sequence[float] | None = None,
    width_um: float = 0.03,
    brightness: float = 1.0,
) -> Scene:
    """Two straight parallel tubules across the whole field (YX), `distance_um` apart: can they be resolved?

    They run in the direction `angle` (turns; 0 along X, 0.25 along Y) on both sides of `centre_um` (YX; by default the
    middle of the field).
    """
    field = Field.of(shape, voxel_size, ("YX",), "Pairs of tubules")
    check_number("The distance of a pair in um", distance_um, 0)
    check_number("The width of a pair in um", width_um, 0)
    check_number("The brightness of a pair", brightness, 0)
    middle = (field.low + field.high) / 2 if centre_um is None else np.array(centre_um, dtype=np.float64)
    step = min(field.voxel_size) / 2
    reach = hypot(*field.size) + 8 * width_um + 4 * max(field.voxel_size) + float(np.abs(middle).max())
    along = np.arange(-ceil(reach / step), ceil(reach / step) + 1) * step
    direction = np.exp(2j * pi * angle)
    lines = [middle[1] + 1j * middle[0] + direction * (along + 1j * aside * distance_um) for aside in (-0.5, 0.5)]
    light = np.full(2 * len(along), brightness)
    return Scene(_drawn_lines(field, np.concatenate(lines), light, step, width_um))


def _drawn_lines(field: Field, places: NDArray[np.complex128], light: Floats, step: float, width: float) -> Image:
    """Light of steps at `places` (x + iy, um; NaN: none) with `light` in the middle of a line `width` wide (sigma, um).

    A canvas with a border as wide as the blur catches what lies just outside.
    """
    from scipy.ndimage import gaussian_filter

    sigma = width / np.array(field.voxel_size)
    border = np.ceil(4 * sigma).astype(int) + 1
    shape = np.array(field.shape) + 2 * border
    y = places.imag / field.voxel_size[0] + border[0]
    x = places.real / field.voxel_size[1] + border[1]
    inside = (y >= 0) & (y < shape[0] - 1) & (x >= 0) & (x < shape[1] - 1)  # NaN is not
    y, x, weight = y[inside], x[inside], light[inside]
    row, column = y.astype(np.intp), x.astype(np.intp)
    below, right = y - row, x - column
    canvas = np.zeros(int(shape.prod()))
    for down, across in np.ndindex(2, 2):
        part = (below if down else 1 - below) * (right if across else 1 - right)
        canvas += np.bincount((row + down) * shape[1] + column + across, weight * part, len(canvas))
    # A line of one step per step's length has 1 / (its width by sqrt(2 pi)) in its middle; splatting widens it a little
    pixel = sqrt(field.voxel_size[0] * field.voxel_size[1])
    canvas *= step / pixel * sqrt(2 * pi * (width**2 / pixel**2 + 1 / 6))
    blurred = gaussian_filter(canvas.reshape(shape), sigma, mode="constant", truncate=4)
    inner = tuple(slice(edge, edge + size) for edge, size in zip(border, field.shape, strict=True))
    return field.image(blurred[inner].astype(np.float32))
