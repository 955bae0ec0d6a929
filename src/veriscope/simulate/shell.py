"""A thin curved sheet on which nuclei sit: the surface of an embryo that crosses the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from veriscope.simulate.perlin import perlin
from veriscope.simulate.scene import Drawn, Field, soft_edge
from veriscope.simulate.settings import Checked, Range, setting


@dataclass(frozen=True)
class Shell(Checked):
    """An ellipsoid whose upper surface crosses the middle of the field; medium above, yolk below.

    Plane 0 is the one nearest to the objective.
    """

    radius_um: Range = setting((100.0, 160.0), "The radius of a shell in um", 0, above=True)  # across the embryo
    stretch: Range = setting((1.5, 2.2), "The stretch of a shell", 1)  # its length, along Y or X, by its width
    thickness_um: float = setting(3.0, "The thickness of a shell in um", 0, above=True)  # of the sheet of centres
    depth: Range = setting((0.2, 0.4), "The depth of a shell", 0, 1)  # in the middle of the field, by the field's depth
    tilt_deg: Range = setting((0.0, 25.0), "The tilt of a shell in degrees", 0, 80)  # of the surface there
    yolk: float = setting(0.1, "The light of the yolk", 0)  # its mean
    yolk_um: float = setting(6.0, "The size of the lumps of yolk in um", 0, above=True)

    def draw(self, rng: np.random.Generator, field: Field) -> Drawn:
        """Centre and half axes of the ellipsoid (ZYX, um), and the seed of the yolk."""
        across = rng.uniform(*self.radius_um)
        radii = np.full(3, across)
        radii[1 + int(rng.integers(2))] *= rng.uniform(*self.stretch)
        tilt, turn = np.deg2rad(rng.uniform(*self.tilt_deg)), rng.uniform(0, 2 * np.pi)
        up = np.array([-np.cos(tilt), np.sin(tilt) * np.sin(turn), np.sin(tilt) * np.cos(turn)])  # the normal there
        point = field.low + field.size * [rng.uniform(*self.depth), 0.5, 0.5]
        centre = point - radii**2 * up / np.sqrt(((radii * up) ** 2).sum())
        return {
            "centre": np.round(centre, 4).tolist(),
            "radii": np.round(radii, 4).tolist(),
            "yolk": int(rng.integers(2**63)),
        }

    def hold(self, places: NDArray[np.float64], drawn: Drawn) -> NDArray[np.float64]:
        """Places (count, ZYX; um) moved along the normal into the sheet."""
        distance, normal = _distance(places, drawn)
        wanted = np.clip(distance, -self.thickness_um / 2, self.thickness_um / 2)
        return places + (wanted - distance)[:, None] * normal

    def near(self, places: NDArray[np.float64], drawn: Drawn) -> NDArray[np.bool_]:
        """Which of the places lie in the sheet."""
        return np.abs(_distance(places, drawn)[0]) <= self.thickness_um / 2

    def lit(self, field: Field, drawn: Drawn) -> NDArray[np.float32]:
        """The light of the yolk: lumpy, from a little below the surface on."""
        z, y, x = field.places([slice(0, length) for length in field.shape], drawn["centre"])
        a, b, c = drawn["radii"]
        level = np.sqrt((z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2)
        inside = soft_edge((level - 1) * min(a, b, c) + self.thickness_um + self.yolk_um / 2, self.yolk_um)
        lumps = perlin(drawn["yolk"], field.shape, self.yolk_um / np.array(field.voxel_size), octaves=2)
        light: NDArray[np.float32] = np.float32(self.yolk) * inside * (1 + lumps)
        return np.maximum(light, 0, out=light)


def _distance(places: NDArray[np.float64], drawn: Drawn) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance to the ellipsoid, positive outside, to first order, and the normal there."""
    radii = np.array(drawn["radii"])
    scaled = (places - np.array(drawn["centre"])) / radii
    level = np.maximum(np.sqrt((scaled**2).sum(1)), 1e-9)
    slope = scaled / radii / level[:, None]
    steep = np.maximum(np.sqrt((slope**2).sum(1)), 1e-12)
    return (level - 1) / steep, slope / steep[:, None]
