"""Nuclei: soft-edged, textured spheroids that crowd a volume or a thin shell without overlapping (SI 2.5, ours)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import pi, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.labels import label_type
from veriscope.simulate.perlin import perlin
from veriscope.simulate.scene import Checked, Drawn, Field, Floats, Pixels, Range, Scene, between, setting, soft_edge

Hold = Callable[[Floats], Floats]  # brings places back to where they may be

MOST = 2_000_000  # nuclei: more were never meant, but asked for with a size in the wrong unit
PLATE, DENSE = 0.45, 1.8  # a dividing nucleus: half the thickness of its plate by its radius, and its light by others'
ROOM = 1.3  # how far around its centre a nucleus is drawn, as part of its half axes: bumps stick out
CLOSE, MOST_SWELL = 0.52, 1.3  # nuclei keep their distance as if swollen until they fill this fraction, at most by this
ROUNDS = 80  # of pushing apart; dense tissue (half the volume) is settled after about 60
TOUCHING = 0.1  # overlap that is let pass, as part of the sum of two radii


@dataclass(frozen=True)
class Shell(Checked):
    """A thin sheet of nuclei: an ellipsoid whose upper surface crosses the middle of the field, which has medium above
    and yolk below; plane 0 is the one nearest to the objective."""

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

    def hold(self, places: Floats, drawn: Drawn) -> Floats:
        """Places (count, ZYX; um) moved along the normal into the sheet."""
        distance, normal = _height(places, drawn)
        wanted = np.clip(distance, -self.thickness_um / 2, self.thickness_um / 2)
        return places + (wanted - distance)[:, None] * normal

    def near(self, places: Floats, drawn: Drawn) -> NDArray[np.bool_]:
        """Which of the places lie in the sheet."""
        return np.abs(_height(places, drawn)[0]) <= self.thickness_um / 2

    def lit(self, field: Field, drawn: Drawn) -> Pixels:
        """The light of the yolk: lumpy, from a little below the surface on."""
        z, y, x = field.places([slice(0, length) for length in field.shape], drawn["centre"])
        a, b, c = drawn["radii"]
        level = np.sqrt((z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2)
        inside = soft_edge((level - 1) * min(a, b, c) + self.thickness_um + self.yolk_um / 2, self.yolk_um)
        lumps = perlin(drawn["yolk"], field.shape, self.yolk_um / np.array(field.voxel_size), octaves=2)
        light: Pixels = np.float32(self.yolk) * inside * (1 + lumps)
        return np.maximum(light, 0, out=light)


def _height(places: Floats, drawn: Drawn) -> tuple[Floats, Floats]:
    """Distance to the ellipsoid, positive outside, to first order, and the normal there."""
    radii = np.array(drawn["radii"])
    scaled = (places - np.array(drawn["centre"])) / radii
    level = np.maximum(np.sqrt((scaled**2).sum(1)), 1e-9)
    slope = scaled / radii / level[:, None]
    steep = np.maximum(np.sqrt((slope**2).sum(1)), 1e-12)
    return (level - 1) / steep, slope / steep[:, None]


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

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """Place, half axes, direction and light of every nucleus in and around a field, all in um.

        Raises DataError for a field that does not fit, or that would hold millions of nuclei.
        """
        axes = ("YX", "ZYX") if self.shell is None else ("ZYX",)
        field = Field.of(shape, voxel_size, axes, "Nuclei" if self.shell is None else "Nuclei on a shell")
        dims = len(field.shape)
        shell: Any = None if self.shell is None else self.shell.draw(rng, field)
        longest = self.radius_um[1] * self.elongation[1] ** ((dims - 1) / dims)
        beyond = 1.5 * longest if self.surround_um is None else self.surround_um
        low, high = field.low - beyond, field.high + beyond
        count = self._count(rng, prod(high - low), dims)
        places = rng.uniform(low, high, (count, dims))
        if self.shell is not None:
            places = places[self.shell.near(places, shell)]
        count = len(places)
        radius = between(rng, self.radius_um, count)
        longer = between(rng, self.elongation, count)
        divides = rng.random(count) < self.mitotic
        light = between(rng, self.brightness, count)
        along = np.where(divides, PLATE * radius, radius * longer ** ((dims - 1) / dims))
        across = np.where(divides, radius, radius * longer ** (-1 / dims))
        directions = self._directions(rng, count, dims)

        def hold(places: Floats) -> Floats:
            held = np.clip(places, low, high)
            return held if self.shell is None else self.shell.hold(held, shell)

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

    def _directions(self, rng: np.random.Generator, count: int, dims: int) -> Floats:
        """Unit vectors of the long axes: all the same where `aligned` is 1."""
        common = rng.standard_normal(dims)
        common /= np.sqrt((common**2).sum())
        own = rng.standard_normal((count, dims))
        own *= np.where(own @ common < 0, -1, 1)[:, None] / np.sqrt((own**2).sum(1, keepdims=True))
        mixed = self.aligned * common + (1 - self.aligned) * own
        return np.asarray(mixed / np.sqrt((mixed**2).sum(1, keepdims=True)))

    def apply(self, drawn: Drawn) -> Scene:
        """The nuclei that were drawn; with an envelope the axes are CZYX (CYX), else ZYX (YX). Same in, same out."""
        field = Field.drawn(drawn)
        light = np.zeros(field.shape, dtype=np.float32)
        rims = np.zeros(field.shape if self.envelope_um is not None else (0,) * len(field.shape), dtype=np.float32)
        depth = np.zeros(field.shape, dtype=np.float32)  # of the nucleus that owns the voxel, um below its surface
        labels = np.zeros(field.shape, dtype=label_type(len(drawn["centre"])))
        margin = self.edge_um + (self.envelope_um or 0)
        look = self._look(drawn, field)
        nuclei = zip(
            *(drawn[name] for name in ("centre", "along", "across", "direction", "light", "offset")), strict=True
        )
        for number, (centre, along, across, direction, bright, offset) in enumerate(nuclei, start=1):
            part = np.array(direction) ** 2
            reach = np.sqrt(part * along**2 + np.maximum(1 - part, 0) * across**2)
            reach = ROOM * reach + margin + np.array(field.voxel_size)
            box = field.box(np.array(centre) - reach, np.array(centre) + reach)
            if box is None:
                continue
            distance, voxel = _distance(field, box, centre, along, across, direction)
            bumps, texture = look(box, offset)
            distance += np.float32(self.bumps * min(along, across)) * bumps
            width = np.sqrt(voxel + np.float32(self.edge_um) ** 2)
            texture *= self.texture
            texture += 1
            glow = np.float32(bright) * soft_edge(distance, width) * np.maximum(texture, 0, out=texture)
            np.maximum(light[box], glow, out=light[box])
            if self.envelope_um is not None and along >= across:  # it dissolves for a division
                half = np.float32(self.envelope_um / 2)
                rim = soft_edge(distance - half, width) - soft_edge(distance + half, width)
                rim *= np.float32(bright) * (1 + self.texture * bumps)
                np.maximum(rims[box], rim, out=rims[box])
            owned = -distance > depth[box]
            labels[box][owned] = number
            depth[box][owned] = -distance[owned]
        if self.shell is not None:
            light += self.shell.lit(field, drawn["shell"])
        if self.envelope_um is None:
            return Scene(field.image(light), field.image(labels))
        return Scene(field.image(np.stack([light, rims]), f"C{field.axes}"), field.image(labels))

    def _look(self, drawn: Drawn, field: Field) -> Callable[..., tuple[Pixels, Pixels]]:
        """Where every nucleus cuts its bumps and its texture from: two pieces of noise, a little larger than it is."""
        widest = ROOM * max([*drawn["along"], *drawn["across"]], default=0.0) + self.edge_um + (self.envelope_um or 0)
        voxel = np.array(field.voxel_size)
        needed = np.minimum(np.ceil(2 * widest / voxel) + 4, field.shape)
        shape = (needed + 40).astype(int)
        radius = sum(self.radius_um) / 2
        bumps = perlin(drawn["texture"], shape, 1.1 * radius / voxel)
        texture = perlin(drawn["texture"] + 1, shape, 0.5 * radius / voxel, octaves=2)
        texture *= 2  # most of it between -1 and 1

        def cut(box: Sequence[slice], offset: Sequence[float]) -> tuple[Pixels, Pixels]:
            sizes = [span.stop - span.start for span in box]
            starts = [round(at * (length - size)) for size, at, length in zip(sizes, offset, shape, strict=True)]
            part = tuple(slice(start, start + size) for size, start in zip(sizes, starts, strict=True))
            return bumps[part], texture[part].copy()

        return cut


def _distance(
    field: Field, box: Sequence[slice], centre: Sequence[float], along: float, across: float, direction: Sequence[float]
) -> tuple[Pixels, Pixels]:
    """Distance of each voxel from the surface of an ellipsoid with half axes `along` its `direction` and `across`, um,
    negative inside, to first order; and the square of a voxel's length in the direction from the centre, um^2."""
    parts = field.places(box, centre)
    ahead = reduce(np.add, (part * np.float32(one) for part, one in zip(parts, direction, strict=True))) ** 2
    far = np.maximum(reduce(np.add, (part**2 for part in parts)), np.float32(1e-12))
    steps = zip(parts, field.voxel_size, strict=True)
    voxel = reduce(np.add, ((part * np.float32(step)) ** 2 for part, step in steps)) / far
    aside = np.maximum(far - ahead, 0)
    level = np.sqrt(ahead / np.float32(along**2) + aside / np.float32(across**2))
    slope = np.sqrt(ahead / np.float32(along**4) + aside / np.float32(across**4))
    distance = (level - 1) * level / slope
    return distance.astype(np.float32), voxel.astype(np.float32)


def pack(
    places: Floats, directions: Floats, along: Floats, across: Floats, gap: float, swell: float, hold: Hold
) -> tuple[Floats, NDArray[np.bool_]]:
    """Places of spheroids after pushing, and which of them can stay: those that overlap no other by more than a tenth.

    They are pushed as if they were larger by the factor `swell`, as every cell claims some room around its nucleus.
    `places` (count, axes) and `directions` (unit vectors of the axis of rotation) go with the half axes `along` it and
    `across`, all in um; neighbours keep `gap` between each other. Two spheroids touch when their
    distance is the sum of their radii in the direction of each other: exact for spheres.
    """
    places = places.copy()
    smallest = 0.02 * float(np.minimum(along, across).min(initial=np.inf))
    for _ in range(ROUNDS):
        first, second, push, overlap = _overlaps(places, directions, swell * along, swell * across, gap)
        if overlap.max(initial=0) < smallest:
            break
        push *= overlap[:, None] / 2
        for axis in range(places.shape[1]):
            places[:, axis] += np.bincount(second, push[:, axis], len(places))
            places[:, axis] -= np.bincount(first, push[:, axis], len(places))
        places = hold(places)
    first, second, _, overlap = _overlaps(places, directions, along, across, 0.0)
    stays = np.ones(len(places), dtype=bool)
    together = np.minimum(along, across)[first] + np.minimum(along, across)[second]
    for one, other in zip(first[overlap > TOUCHING * together], second[overlap > TOUCHING * together], strict=True):
        if stays[one]:
            stays[other] = False
    return places, stays


def _overlaps(
    places: Floats, directions: Floats, along: Floats, across: Floats, gap: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, Floats]:
    """Pairs that overlap: first, second, unit vector from first to second, and by how many um."""
    from scipy.spatial import cKDTree

    longest = float(np.maximum(along, across).max(initial=0))
    pairs = cKDTree(places).query_pairs(2 * longest + gap, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]  # the order of the tree is no promise
    first, second = pairs[:, 0], pairs[:, 1]
    vector = places[second] - places[first]
    distance = np.sqrt((vector**2).sum(1))
    vector /= np.maximum(distance, 1e-9)[:, None]
    reach = sum(
        1 / np.sqrt(part / along[which] ** 2 + (1 - part) / across[which] ** 2)
        for which in (first, second)
        for part in [np.minimum((vector * directions[which]).sum(1) ** 2, 1.0)]
    )
    overlap = reach + gap - distance
    close = overlap > 0
    return first[close], second[close], vector[close], overlap[close]
