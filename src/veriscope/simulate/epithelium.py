"""A sheet of cells on a curved surface within a stack, with the flat picture a projection should find (SI 2.5, ours).

Stands in for the fly wing: membranes of one layer of cells, thin along the optical axis, debris above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, hypot, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.labels import label_type
from veriscope.simulate.perlin import perlin
from veriscope.simulate.scene import Checked, Drawn, Field, Floats, Pixels, Range, between, setting

MOST = 2_000_000  # cells: more were never meant, but asked for with a voxel size in the wrong unit


@dataclass(frozen=True, eq=False)
class Sheet:
    """The stack, and what is known of the sheet in it."""

    light: Image  # ZYX, float32, at least 0: what the microscope looks at
    target: Image  # YX, float32: the sheet laid flat, in the light it has at its height
    height: Image  # YX, float32: where it lies, in planes (not rounded)
    labels: Image  # YX, uint16 or uint32: cells, from 1; every pixel belongs to one
    cells: NDArray[np.intp]  # which of the drawn cells label 1, 2, ... is


@dataclass(frozen=True)
class Epithelium(Checked):
    """Cells as in a honeycomb that was shaken, on a smooth surface; plane 0 is nearest to the objective.

    The surface lies where chance puts it within `relief_um` of `depth`; in stacks too thin for that it stays inside.
    """

    cell_um: float = setting(6.5, "The size of cells in um", 0, above=True)  # between middles; mean area 0.87 size^2
    jitter: float = setting(0.17, "The jitter of cells", 0, 0.5)  # standard deviation of a middle, as part of the size
    membrane_um: float = setting(0.5, "The width of membranes in um", 0, above=True)  # at half height
    brightness: Range = setting((0.45, 1.0), "The brightness of membranes", 0)  # corners of cells are brighter
    corner: float = setting(0.5, "The light of corners", 0)  # how much brighter
    cytoplasm: float = setting(0.05, "The light of cytoplasm", 0)  # diffuse, within cells at the surface
    extent_um: float = setting(1.2, "The extent of the sheet along Z in um", 0, above=True)  # standard deviation
    lateral: float = setting(0.15, "The light of the sides of cells", 0, 1)  # as part of that of the membranes
    lateral_um: float = setting(4.0, "The depth of the sides of cells in um", 0, above=True)  # below the surface
    depth: Range = setting((0.5, 0.65), "The depth of the surface", 0, 1)  # its middle, as part of the stack's depth
    relief_um: float = setting(8.0, "The relief of the surface in um", 0)  # how far it may rise and fall from there
    relief_scale_um: float = setting(60.0, "The width of the surface's hills in um", 0, above=True)
    debris: float = setting(0.004, "The lumps of debris per um^2", 0)
    debris_um: Range = setting((5.0, 12.0), "The height of debris in um", 0)  # above the surface
    debris_radius_um: Range = setting((0.4, 1.8), "The radius of debris in um", 0, above=True)
    debris_light: Range = setting((0.5, 2.0), "The light of debris", 0)

    def draw(
        self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float], around_um: float = 0.0
    ) -> Drawn:
        """Middle and light of every cell, height of the surface (um), place and light of every lump of debris.

        `shape` and `voxel_size` are those of the stack (ZYX); `around_um` is how far around it there are cells that may
        come to be seen. Raises DataError for a field that does not fit, or that would hold millions of cells.
        """
        field = Field.of(shape, voxel_size, ("ZYX",), "Epithelia")
        middles = self._middles(rng, field, around_um)
        deep = (field.shape[0] - 1) * field.voxel_size[0]
        level = float(rng.uniform(*self.depth)) * deep
        lumps = self._debris(rng, field)
        return {
            **field.plain(),
            "cell": np.round(middles, 4).tolist(),
            "light": between(rng, (0, 1), len(middles)).tolist(),
            "level": round(level, 4),
            "relief": round(min(self.relief_um, level, deep - level), 4),
            "surface": int(rng.integers(2**63)),
            "texture": int(rng.integers(2**63)),
            **lumps,
        }

    def _middles(self, rng: np.random.Generator, field: Field, around_um: float) -> Floats:
        """Middles of cells (YX, um) in and around the field."""
        low, high = field.low[1:], field.high[1:]
        reach = hypot(*(high - low)) / 2 + 3 * self.cell_um + 1.5 * around_um
        rows = ceil(reach / (self.cell_um * sqrt(0.75)))
        columns = ceil(reach / self.cell_um) + 1
        if (2 * rows + 1) * (2 * columns + 1) > MOST:
            raise DataError(
                f"A field of this size would hold millions of cells of {self.cell_um:g} um. Check that the voxel size "
                f"{field.voxel_size} is in um, or choose a smaller field."
            )
        row, column = np.mgrid[-rows : rows + 1, -columns : columns + 1].reshape(2, -1)
        honeycomb = self.cell_um * np.stack([row * sqrt(0.75), column + 0.5 * (row % 2)], axis=1)
        honeycomb += rng.uniform(-1, 1, 2) * self.cell_um + rng.normal(0, self.jitter * self.cell_um, honeycomb.shape)
        angle = rng.uniform(0, 2 * np.pi)
        turned = honeycomb @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned += (low + high) / 2
        beyond = 2.5 * self.cell_um + around_um
        return np.asarray(turned[np.all((turned > low - beyond) & (turned < high + beyond), axis=1)])

    def _debris(self, rng: np.random.Generator, field: Field) -> Drawn:
        """Lumps of debris, some of them together: height above the surface, place (YX), radius (um), light."""
        low, high = field.low[1:], field.high[1:]
        lumps = int(rng.poisson(self.debris * float(np.prod(high - low)) / 2))
        times = rng.integers(1, 4, lumps)  # two on average
        place = np.repeat(rng.uniform(low, high, (lumps, 2)), times, axis=0)
        above = np.repeat(between(rng, self.debris_um, lumps), times)
        count = len(above)
        radius = between(rng, self.debris_radius_um, count)
        place += rng.normal(0, 1, place.shape) * radius[:, None]
        return {
            "debris_place": np.round(place, 4).tolist(),
            "debris_above": above.tolist(),
            "debris_radius": radius.tolist(),
            "debris_light": between(rng, self.debris_light, count).tolist(),
        }

    def apply(self, drawn: Drawn) -> Sheet:
        """The sheet that was drawn, in its stack and laid flat. Same in, same out."""
        field = Field.drawn(drawn)
        flat = Field(field.shape[1:], field.voxel_size[1:])
        surface = self._hills(flat, drawn)
        surface = np.float32(drawn["level"]) + np.float32(drawn["relief"]) * np.tanh(2 * surface)  # never beyond
        membranes, cytoplasm, labels, cells = self._cells(flat, drawn)
        light = np.empty(field.shape, dtype=np.float32)
        for plane in range(field.shape[0]):
            below = np.float32(plane * field.voxel_size[0]) - surface
            sheet = np.exp(-0.5 * (below / np.float32(self.extent_um)) ** 2)
            sides = np.where(below > 0, np.exp(-below / np.float32(self.lateral_um)), 0) * np.float32(self.lateral)
            light[plane] = membranes * np.maximum(sheet, sides)
            light[plane] += cytoplasm * np.maximum(sheet, 3 * sides)
        self._add_debris(light, field, surface, drawn)
        height = surface / np.float32(field.voxel_size[0])
        target, height = membranes + cytoplasm, np.clip(height, 0, field.shape[0] - 1)
        return Sheet(field.image(light), flat.image(target), flat.image(height), flat.image(labels), cells)

    def _hills(self, flat: Field, drawn: Drawn) -> Pixels:
        """Where the surface rises and falls, about -0.6 to 0.6. Where a "turn" (radian) was drawn it has gone from one
        landscape so far towards another, whose seed is "surface_next"; both are as hilly as all between them.
        """
        scale = self.relief_scale_um / np.array(flat.voxel_size)
        hills = perlin(drawn["surface"], flat.shape, scale)
        turn = drawn.get("turn", 0.0)
        if not turn:
            return hills
        return np.float32(cos(turn)) * hills + np.float32(sin(turn)) * perlin(drawn["surface_next"], flat.shape, scale)

    def _cells(self, flat: Field, drawn: Drawn) -> tuple[Pixels, Pixels, NDArray[np.integer], NDArray[np.intp]]:
        """Light of the membranes and of the cytoplasm, label of every pixel, drawn cell of every label; laid flat.

        A pixel is a membrane's where its two nearest middles are almost equally near, and a corner's where three are.
        """
        from scipy.spatial import cKDTree

        voxel = np.array(flat.voxel_size)
        middles = np.array(drawn["cell"])
        seed = drawn["texture"]
        places = np.indices(flat.shape) * voxel[:, None, None]
        for axis in range(2):  # real membranes are not quite straight
            places[axis] += 0.12 * self.cell_um * perlin(seed + 1 + axis, flat.shape, 0.8 * self.cell_um / voxel)
        distance, nearest = cKDTree(middles).query(np.moveaxis(places, 0, -1), k=3)
        first = nearest[..., 0]
        edges = []
        for other in (1, 2):
            apart = np.sqrt(((middles[first] - middles[nearest[..., other]]) ** 2).sum(-1))
            edges.append((distance[..., other] ** 2 - distance[..., 0] ** 2) / (2 * np.maximum(apart, 1e-6)))
        sigma = sqrt((self.membrane_um / 2.355) ** 2 + float(voxel.prod()) / 12)  # a pixel sees its mean
        own = np.array(drawn["light"])
        level = (own[first] + own[nearest[..., 1]]) % 1  # each membrane has its own, the same from both sides
        low, high = self.brightness
        patchy = 1 + 0.5 * perlin(seed, flat.shape, 0.35 * self.cell_um / voxel)
        uneven = 1 + 0.4 * perlin(seed + 3, flat.shape, 8 * self.cell_um / voxel)
        membranes = (low + (high - low) * level) * np.exp(-0.5 * (edges[0] / sigma) ** 2) * patchy
        membranes += self.corner * np.exp(-0.5 * (edges[0] ** 2 + edges[1] ** 2) / (1.4 * sigma) ** 2)
        grain = 1 + 0.5 * perlin(seed + 4, flat.shape, 0.2 * self.cell_um / voxel)
        cytoplasm = self.cytoplasm * (0.6 + 0.8 * own[first]) * grain * uneven
        seen, numbers = np.unique(first, return_inverse=True)
        labels = (numbers.reshape(first.shape) + 1).astype(label_type(len(seen)))
        return (membranes * uneven).astype(np.float32), np.maximum(cytoplasm, 0).astype(np.float32), labels, seen

    def _add_debris(self, light: Pixels, field: Field, surface: Pixels, drawn: Drawn) -> None:
        """Add the lumps above the surface to the stack, as far as they are inside."""
        for place, above, radius, glow in zip(
            *(drawn[f"debris_{name}"] for name in ("place", "above", "radius", "light")), strict=True
        ):
            spot = np.rint(np.array(place) / field.voxel_size[1:]).astype(int)
            row, column = np.clip(spot, 0, np.array(surface.shape) - 1)
            centre = np.array([float(surface[row, column]) - above, *place])
            deep = np.array([hypot(radius, self.extent_um), radius, radius])
            box = field.box(centre - 3 * deep, centre + 3 * deep)
            if box is None:
                continue
            parts = field.places(box, centre)
            z, y, x = (part / np.float32(width) for part, width in zip(parts, deep, strict=True))
            light[box] += np.float32(glow) * np.exp(-(z**2 + y**2 + x**2))
