"""Granules: bright blobs of many shapes, cut from noise (SI 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from veriscope.images.labels import label_type
from veriscope.simulate.perlin import perlin
from veriscope.simulate.scene import Checked, Drawn, Field, Pixels, Range, Scene, between, setting

LATTICES = (0.8, 1.0, 1.25)  # noise of three widths is added: on a single lattice the granules line up


@dataclass(frozen=True)
class Granules(Checked):
    """A * clip(perlin - threshold, 0) in a plane (YX), with an A of its own for every connected blob (SI 2.5).

    The light is divided by the threshold (ours), so that a blob of A = 1 is about 1 in its middle.
    """

    size_um: float = setting(0.3, "The size of granules in um", 0, above=True)  # half the noise's lattice
    threshold: float = setting(0.35, "The threshold of granules", 0, 1, above=True)  # of noise; the higher, the fewer
    brightness: Range = setting((0.5, 1.5), "The brightness of granules", 0)  # A

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """The seed of the noise and the light of every granule, in the order of the labels."""
        field = Field.of(shape, voxel_size, ("YX",), "Granules")
        seed = int(rng.integers(2**63))
        count = self._blobs(field, seed)[2]
        return {**field.plain(), "seed": seed, "light": between(rng, self.brightness, count).tolist()}

    def apply(self, drawn: Drawn) -> Scene:
        """The granules that were drawn; a label for each. Same in, same out."""
        field = Field.drawn(drawn)
        height, numbers, count = self._blobs(field, drawn["seed"])
        light = np.array([0.0, *drawn["light"]], dtype=np.float32)
        return Scene(field.image(light[numbers] * height), field.image(numbers.astype(label_type(count))))

    def _blobs(self, field: Field, seed: int) -> tuple[Pixels, NDArray[np.int32], int]:
        """What rises above the threshold, as part of it; the number of the blob at every pixel; how many there are."""
        from scipy.ndimage import label

        scale = 2 * self.size_um / np.array(field.voxel_size)
        noise = np.zeros(field.shape, dtype=np.float32)
        for turn, times in enumerate(LATTICES):
            noise += perlin(seed + turn, field.shape, scale * times) / np.float32(sqrt(len(LATTICES)))
        height = np.maximum(noise - np.float32(self.threshold), 0) / np.float32(self.threshold)
        numbers, count = label(height > 0)
        return height, numbers, int(count)
