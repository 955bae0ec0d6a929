"""Perlin's gradient noise: smooth texture and uneven light, the same again from the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike

from veriscope.errors import DataError
from veriscope.simulate.scene import Checked, Drawn, Field, Floats, Pixels, Scene, setting


def perlin(seed: int, shape: Sequence[int], scale: ArrayLike, octaves: int = 1) -> Pixels:
    """Smooth noise with mean 0 between -1 and 1 (standard deviation about 0.3), of any number of axes.

    `scale` is the width of the lattice in voxels, for all axes or one per axis: a hill and the valley beside it take
    about two. Each further octave halves scale and height. The lattice starts at a place that the seed decides.
    """
    scales = np.broadcast_to(np.asarray(scale, dtype=np.float64), len(shape))
    if not all(isfinite(value) and value > 0 for value in scales) or octaves < 1:
        raise DataError(f"Noise needs a scale above 0 voxels and 1 octave or more, not {scales.tolist()}, {octaves}.")
    rng = np.random.default_rng(seed)
    noise = _octave(rng, shape, scales)
    for octave in range(1, octaves):
        noise += np.float32(0.5**octave) * _octave(rng, shape, scales / 2**octave)
    noise /= np.float32(2 - 2.0 ** (1 - octaves))
    return noise


def _octave(rng: np.random.Generator, shape: Sequence[int], scales: Floats) -> Pixels:
    """One lattice of random directions; a voxel mixes how far it lies along those of the corners around it.

    The mixing weights are products over the axes, so each of the gradient's components is interpolated axis by axis.
    """
    cells, fades, inner = [], [], []
    for axis, (size, scale, start) in enumerate(zip(shape, scales, rng.random(len(shape)), strict=True)):
        place = start + np.arange(size) / scale
        cell = np.floor(place).astype(np.intp)
        inside = (place - cell).astype(np.float32).reshape([-1 if axis == own else 1 for own in range(len(shape))])
        cells.append(cell)
        inner.append(inside)
        fades.append(inside**3 * (inside * (inside * 6 - 15) + 10))
    lattice = [int(cell[-1]) + 2 for cell in cells]
    gradients = rng.standard_normal((len(shape), *lattice), dtype=np.float32)
    gradients *= 2 / sqrt(len(shape)) / np.sqrt((gradients**2).sum(0, keepdims=True))
    total = np.zeros(shape, dtype=np.float32)
    for component, field in enumerate(gradients):
        for axis, (cell, fade, inside) in enumerate(zip(cells, fades, inner, strict=True)):
            before, after = (inside, inside - 1) if axis == component else (np.float32(1), np.float32(1))
            left, right = np.take(field, cell, axis), np.take(field, cell + 1, axis)
            field = left * ((1 - fade) * before) + right * (fade * after)
        total += field
    return total


@dataclass(frozen=True)
class Background(Checked):
    """Light from everywhere, slowly rising and falling: medium, autofluorescence, what is out of focus (SI 2.5)."""

    amount: float = setting(0.05, "The amount of background", 0)  # its mean; the brightest places have about twice it
    scale_um: float = setting(20.0, "The scale of the background in um", 0, above=True)  # width of the noise's lattice

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """What chance decides for a field of `shape` (ZYX or YX) with voxels of `voxel_size` um."""
        field = Field.of(shape, voxel_size, ("YX", "ZYX"), "Backgrounds")
        return {**field.plain(), "seed": int(rng.integers(2**63))}

    def apply(self, drawn: Drawn) -> Scene:
        """The light that was drawn: add it to a structure's. Same in, same out."""
        field = Field.drawn(drawn)
        light = perlin(drawn["seed"], field.shape, self.scale_um / np.array(field.voxel_size))
        light += 1
        light *= self.amount
        return Scene(field.image(np.maximum(light, 0, out=light)))
