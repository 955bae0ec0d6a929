"""Nuclei: soft-edged, textured spheroids that crowd a volume or a thin shell without overlapping (SI 2.5, ours)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import pi, prod

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.simulate.packing import pack
from veriscope.simulate.perlin import perlin
from veriscope.simulate.scene import Drawn, Field, Scene, label_type, soft_edge
from veriscope.simulate.settings import Checked, Range, between, setting
from veriscope.simulate.shell import Shell

MOST = 2_000_000  # nuclei: more were never meant, but asked for with a size in the wrong unit
PLATE, DENSE = 0.45, 1.8  # a dividing nucleus: half the thickness of its plate by its radius, and its light by others'
ROOM = 1.3  # how far around its centre a nucleus is drawn, as part of its half axes: bumps stick out
CLOSE, MOST_SWELL = 0.52, 1.3  # nuclei keep their distance as if swollen until they fill this fraction, at most by this


@dataclass(frozen=True)
class Nuclei(Checked):
    """Nuclei in a volume (ZYX) or a section (YX).

    The radius is that of the sphere of the same volume (in a section, of the disc of the same area), so that a nucleus
    keeps its volume however long it is. Labels are the numbers of nuclei in what was drawn, counted from 1.

    >>> nuclei = Nuclei(radius_um=(2.0, 3.0), crowding=0.3)
    >>> scene = nuclei.apply(nuclei.draw(np.random.default_rng(0), (16, 64, 64), (0.5, 0.5, 0.5)))
    >>> scene.light.shape, scene.labels.dtype
    ((16, 64, 64), dtype('uint16'))
    """

    radius_um: Range = setting((2.0, 3.0), "The radius of nuclei in um", 0, above=True)
    elongation: Range = setting((1.0, 1.5), "The elongation of nuclei", 1, 10)  # length by width
    crowding: float = setting(0.25, "The crowding of nuclei", 0, 0.5)  # fraction of the volume, or sheet, they fill
    gap_um: float = setting(0.0, "The gap between nuclei in um", 0)
    aligned: float = setting(0.0, "The alignment of nuclei", 0, 1)  # of long axes; 1: all in one random direction
    edge_um: float = setting(0.4, "The edge of nuclei in um", 0)  # softness beside that of the voxels
    texture: float = setting(0.2, "The texture of nuclei", 0, 1)  # how much the light varies within a nucleus
    bumps: float = setting(0.15, "The bumps of nuclei", 0, ROOM - 1)  # of the outline, as part of the radius
    brightness: Range = setting((0.5, 1.5), "The brightness of nuclei", 0)
    mitotic: float = setting(0.01, "The fraction of dividing nuclei", 0, 1)  # bright thin plates
    shell: Shell | None = None  # where nuclei may be; None: everywhere
    # thickness of the envelope in a second channel; None: one channel only
    envelope_um: float | None = setting(None, "The thickness of the envelope in um", 0, above=True)
    # how far beyond the field nuclei are placed; None: 1.5 of the longest radius
    surround_um: float | None = setting(None, "The surround of nuclei in um", 0)

    # What chance decides

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """Place, half axes, direction and light of every nucleus in and around a field, all in um.

        Raises DataError for a field that does not fit, or that would hold millions of nuclei.
        """
        axes = ("YX", "ZYX") if self.shell is None else ("ZYX",)
        field = Field.of(shape, voxel_size, axes, "Nuclei" if self.shell is None else "Nuclei on a shell")
        dims = len(field.shape)
        shell = None if self.shell is None else self.shell.draw(rng, field)
        longest = self.radius_um[1] * self.elongation[1] ** ((dims - 1) / dims)
        beyond = 1.5 * longest if self.surround_um is None else self.surround_um
        low, high = field.low - beyond, field.high + beyond
        count = self._count(rng, prod(high - low), dims)
        places = rng.uniform(low, high, (count, dims))
        if self.shell is not None and shell is not None:
            places = places[self.shell.near(places, shell)]
        count = len(places)
        radius = between(rng, self.radius_um, count)
        longer = between(rng, self.elongation, count)
        divides = rng.random(count) < self.mitotic
        light = between(rng, self.brightness, count)
        along = np.where(divides, PLATE * radius, radius * longer ** ((dims - 1) / dims))
        across = np.where(divides, radius, radius * longer ** (-1 / dims))
        directions = self._directions(rng, count, dims)

        def hold(places: NDArray[np.float64]) -> NDArray[np.float64]:
            held = np.clip(places, low, high)
            return held if self.shell is None or shell is None else self.shell.hold(held, shell)

        swell = min((CLOSE / self.crowding) ** (1 / dims), MOST_SWELL) if self.crowding else 1.0
        places, stays = pack(places, directions, along, across, self.gap_um, swell, hold)
        drawn = {
            "centre": places,
            "along": along,
            "across": across,
            "direction": directions,
            "light": np.where(divides, DENSE * light, light),
            "offset": rng.random((count, dims)),
        }
        plain = {name: np.round(values[stays], 5).tolist() for name, values in drawn.items()}
        return {**field.plain(), **plain, "texture": int(rng.integers(2**63)), "shell": shell}

    def _count(self, rng: np.random.Generator, volume: float, dims: int) -> int:
        """How many places to throw into `volume` (um^3, um^2), so that nuclei fill their fraction."""
        low, high = self.radius_um
        power = sum(low**part * high ** (dims - part) for part in range(dims + 1)) / (dims + 1)  # mean of radius**dims
        expected = self.crowding * volume / ((4 / 3 * pi if dims == 3 else pi) * power)
        if self.shell is not None:  # places are thrown everywhere, but kept within the sheet only
            expected *= 1 + (low + high) / self.shell.thickness_um
        if expected > MOST:
            raise DataError(
                f"A field of this size would hold {expected:.3g} nuclei of {low:g} to {high:g} um radius; at most "
                f"{MOST:,} are drawn. Check that radius and voxel size are both in um, or choose a smaller field."
            )
        return int(expected + rng.random())

    def _directions(self, rng: np.random.Generator, count: int, dims: int) -> NDArray[np.float64]:
        """Unit vectors of the long axes: all the same where `aligned` is 1."""
        common = rng.standard_normal(dims)
        common /= np.sqrt((common**2).sum())
        own = rng.standard_normal((count, dims))
        own *= np.where(own @ common < 0, -1, 1)[:, None] / np.sqrt((own**2).sum(1, keepdims=True))
        mixed = self.aligned * common + (1 - self.aligned) * own
        return np.asarray(mixed / np.sqrt((mixed**2).sum(1, keepdims=True)))

    # What it looks like

    def apply(self, drawn: Drawn) -> Scene:
        """The nuclei that were drawn; with an envelope the axes are CZYX (CYX), else ZYX (YX). Same in, same out."""
        field = Field.drawn(drawn)
        count = len(drawn["centre"])
        light = np.zeros(field.shape, dtype=np.float32)
        rims = np.zeros(field.shape if self.envelope_um is not None else (0,) * len(field.shape), dtype=np.float32)
        depth = np.zeros(field.shape, dtype=np.float32)  # of the nucleus that owns the voxel, um below its surface
        labels = np.zeros(field.shape, dtype=label_type(count))
        look = self._look(drawn, field) if count else None
        for number in range(count):
            one = _Spheroid.drawn(drawn, number)
            box = one.box(field, self.edge_um + (self.envelope_um or 0))
            if box is None or look is None:
                continue
            distance, voxel = one.distance(field, box)
            bumps, texture = look(box, drawn["offset"][number])
            distance += np.float32(self.bumps * min(one.along, one.across)) * bumps
            width = np.sqrt(voxel + np.float32(self.edge_um) ** 2)
            texture *= self.texture
            texture += 1
            glow = np.float32(one.light) * soft_edge(distance, width) * np.maximum(texture, 0, out=texture)
            np.maximum(light[box], glow, out=light[box])
            if self.envelope_um is not None and one.along >= one.across:  # it dissolves for a division
                half = np.float32(self.envelope_um / 2)
                rim = soft_edge(distance - half, width) - soft_edge(distance + half, width)
                rim *= np.float32(one.light) * (1 + self.texture * bumps)
                np.maximum(rims[box], rim, out=rims[box])
            owned = -distance > depth[box]
            labels[box][owned] = number + 1
            depth[box][owned] = -distance[owned]
        if self.shell is not None:
            light += self.shell.lit(field, drawn["shell"])
        if self.envelope_um is None:
            return Scene(field.image(light), field.image(labels))
        return Scene(field.image(np.stack([light, rims]), f"C{field.axes}"), field.image(labels))

    def _look(self, drawn: Drawn, field: Field) -> Callable[..., tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Where every nucleus cuts its bumps and its texture from: two pieces of noise, a little larger than it is."""
        widest = ROOM * max(max(drawn["along"]), max(drawn["across"])) + self.edge_um + (self.envelope_um or 0)
        voxel = np.array(field.voxel_size)
        needed = np.minimum(np.ceil(2 * widest / voxel) + 4, field.shape)
        shape = (needed + 40).astype(int)
        radius = sum(self.radius_um) / 2
        bumps = perlin(drawn["texture"], shape, 1.1 * radius / voxel)
        texture = perlin(drawn["texture"] + 1, shape, 0.5 * radius / voxel, octaves=2)
        texture *= 2  # most of it between -1 and 1

        def cut(box: Sequence[slice], offset: Sequence[float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            starts = [
                round(at * (length - span.stop + span.start))
                for span, at, length in zip(box, offset, shape, strict=True)
            ]
            part = tuple(slice(start, start + span.stop - span.start) for span, start in zip(box, starts, strict=True))
            return bumps[part], texture[part].copy()

        return cut


@dataclass(frozen=True)
class _Spheroid:
    """One nucleus: an ellipsoid of rotation, in um."""

    centre: tuple[float, ...]
    along: float  # half axis of rotation
    across: float  # the others
    direction: tuple[float, ...]  # of the axis of rotation, unit vector
    light: float

    @classmethod
    def drawn(cls, drawn: Drawn, number: int) -> _Spheroid:
        return cls(*(drawn[name][number] for name in ("centre", "along", "across", "direction", "light")))

    def box(self, field: Field, margin: float) -> tuple[slice, ...] | None:
        """The voxels that its light can reach."""
        middle, part = np.array(self.centre), np.array(self.direction) ** 2
        reach = np.sqrt(part * self.along**2 + np.maximum(1 - part, 0) * self.across**2)
        reach = ROOM * reach + margin + np.array(field.voxel_size)
        return field.box(middle - reach, middle + reach)

    def distance(self, field: Field, box: Sequence[slice]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Distance of each voxel from the surface, um, negative inside, to first order; and the square of a voxel's
        length in the direction from the centre, um^2."""
        parts = field.places(box, self.centre)
        ahead = _sum(part * np.float32(along) for part, along in zip(parts, self.direction, strict=True)) ** 2
        far = np.maximum(_sum(part**2 for part in parts), np.float32(1e-12))
        voxel = _sum((part * np.float32(step)) ** 2 for part, step in zip(parts, field.voxel_size, strict=True)) / far
        aside = np.maximum(far - ahead, 0)
        level = np.sqrt(ahead / np.float32(self.along**2) + aside / np.float32(self.across**2))
        slope = np.sqrt(ahead / np.float32(self.along**4) + aside / np.float32(self.across**4))
        distance = (level - 1) * level / slope
        return distance.astype(np.float32), voxel.astype(np.float32)


def _sum(parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Sum of arrays that lie along different axes."""
    return reduce(np.add, parts)
