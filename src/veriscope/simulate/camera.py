"""A camera that counts photons: what an acquisition at low light would have looked like (SI 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.noise import Noise

MOST = 1e15  # photons at a pixel


@dataclass(frozen=True)
class Camera:
    """image = gain * Poisson(photons * (truth + background)) + Normal(0, read_noise^2) + offset, see `Noise`.

    `truth` is light relative to the brightness that sends `photons` photons to a pixel. Values of the image are grey
    values, not clipped or rounded; `to_integers` does that as a 16 bit camera would.

    >>> camera = Camera(photons=20)
    >>> low = camera.apply(np.ones((4, 4)), camera.draw(np.random.default_rng(0)))
    """

    photons: float = 100.0  # expected photons where the truth is 1
    read_noise: float = 1.5  # standard deviation, grey values
    offset: float = 100.0  # grey value of darkness
    gain: float = 1.0  # grey values per photon
    background: float = 0.0  # light from everywhere, in the unit of the truth

    def __post_init__(self) -> None:
        finite = all(map(isfinite, (self.photons, self.read_noise, self.offset, self.gain, self.background)))
        if not (finite and min(self.photons, self.gain) > 0 and min(self.read_noise, self.background) >= 0):
            raise DataError(
                f"A camera needs photons and gain above 0, read_noise and background of at least 0, all finite, not "
                f"{self}. Check its data sheet."
            )

    def dimmed(self, ratio: float) -> Camera:
        """The same camera with so much less light, such as 1/29 (SI, Table 1). Raises DataError for 0 or less."""
        if not (isfinite(ratio) and ratio > 0):
            raise DataError(f"Light is dimmed to a fraction above 0, such as 1/29, not to {ratio:g}.")
        return replace(self, photons=self.photons * ratio)

    def draw(self, rng: np.random.Generator) -> dict[str, int]:
        """What chance decides, as plain values: keep it to make the same image again."""
        return {"seed": int(rng.integers(2**63))}

    def expected(self, truth: NDArray[Any]) -> NDArray[np.float32]:
        """The mean of many images of `truth` (any shape), without any noise."""
        light = np.asarray(truth, dtype=np.float64) + self.background
        return (self.gain * self.photons * light + self.offset).astype(np.float32)

    def apply(self, truth: NDArray[Any], drawn: dict[str, int]) -> NDArray[np.float32]:
        """The image this camera takes of `truth` (any shape, not negative). Same in, same out."""
        light = np.asarray(truth, dtype=np.float64)
        if not np.isfinite(light).all() or (light < 0).any():
            raise DataError("A camera sees light of at least 0 at every pixel. Clip the image and remove NaN first.")
        photons = self.photons * (light + self.background)
        if light.size and photons.max() > MOST:
            raise DataError(
                f"A camera cannot count {photons.max():.3g} photons at a pixel. Lower photons, now {self.photons:g}, "
                "or scale the light so that bright structures are near 1."
            )
        noise = Noise(self.gain, self.offset, self.read_noise)
        return noise.expose(photons, np.random.default_rng(drawn["seed"])).astype(np.float32)


def to_integers(image: NDArray[Any]) -> NDArray[np.uint16]:
    """Grey values as a 16 bit camera writes them: rounded, 0 to 65535."""
    return np.asarray(np.clip(np.rint(image), 0, 65535), np.uint16)
