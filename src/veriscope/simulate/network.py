"""Nuclei and the branching tubes that run between them, in two channels: a stand-in for liver (SI 2.5, ours)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.simulate.nuclei import Nuclei
from veriscope.simulate.scene import Checked, Drawn, Field, Floats, Range, Scene, between, setting, soft_edge

LIVER_NUCLEI = Nuclei((3.0, 4.0), (1.0, 1.2), 0.05, gap_um=7.0, mitotic=0.0, surround_um=16.0)
ENDS = 2  # how often loose ends are cut back by one piece: short twigs go, the network stays


@dataclass(frozen=True)
class Network(Checked):
    """Nuclei (channel 0) and a network of tubes (channel 1) that keeps away from them: axes CZYX, labels of nuclei.

    Tubes run where three or more nuclei are equally far (edges of the Voronoi cells), along a random tree of them and
    some loops; then all bends are smoothed.
    """

    nuclei: Nuclei = LIVER_NUCLEI  # one channel, in a volume
    radius_um: Range = setting((0.5, 1.0), "The radius of tubes in um", 0, above=True)  # changes slowly along them
    loops: float = setting(0.2, "The fraction of loops", 0, 1)  # of the edges that could close one
    smooth: int = setting(3, "The rounds of smoothing", 0, 100)  # of bends
    edge_um: float = setting(0.3, "The edge of tubes in um", 0)  # softness beside that of the voxels
    brightness: Range = setting((0.6, 1.2), "The brightness of tubes", 0)  # changes slowly along them

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nuclei.shell is not None or self.nuclei.envelope_um is not None:
            raise DataError("A network runs between nuclei in a volume, of one channel: remove shell and envelope_um.")

    def draw(self, rng: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float]) -> Drawn:
        """What the nuclei drew; joints of the network (ZYX, um; radius; light) and the pairs that are joined."""
        field = Field.of(shape, voxel_size, ("ZYX",), "Networks")
        nuclei = self.nuclei.draw(rng, shape, voxel_size)
        joints, tubes = self._graph(rng, np.array(nuclei["centre"]).reshape(-1, 3), field)
        radius = _smoothed(between(rng, self.radius_um, len(joints)), tubes, 2)
        light = _smoothed(between(rng, self.brightness, len(joints)), tubes, 2)
        return {
            **field.plain(),
            "nuclei": nuclei,
            "joint": np.round(joints, 4).tolist(),
            "tube": tubes.tolist(),
            "radius": np.round(radius, 5).tolist(),
            "light": np.round(light, 5).tolist(),
        }

    def _graph(self, rng: np.random.Generator, centres: Floats, field: Field) -> tuple[Floats, NDArray[np.intp]]:
        """Joints and the pairs of them that a tube joins."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import minimum_spanning_tree
        from scipy.spatial import Voronoi

        none = np.zeros((0, 3)), np.zeros((0, 2), dtype=np.intp)
        if len(centres) < 6:  # too few to have anything between them
            return none
        cells = Voronoi(centres)
        rings = [np.array(ring) for ring in cells.ridge_vertices]
        edges = np.concatenate([np.stack([ring, np.roll(ring, 1)], axis=1) for ring in rings])
        edges = np.unique(np.sort(edges[(edges >= 0).all(axis=1)], axis=1), axis=0)
        beyond = 0.6 * self.nuclei.gap_um + 2 * self.nuclei.radius_um[1]
        near = np.all((cells.vertices > field.low - beyond) & (cells.vertices < field.high + beyond), axis=1)
        edges = edges[near[edges].all(axis=1)]
        if not len(edges):
            return none
        length = np.sqrt(((cells.vertices[edges[:, 0]] - cells.vertices[edges[:, 1]]) ** 2).sum(1))
        weight = (length + 0.1) * rng.uniform(0.3, 1.0, len(edges))
        count = len(cells.vertices)
        tree = minimum_spanning_tree(coo_array((weight, (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr())
        kept = np.stack(tree.nonzero(), axis=1)
        extra = edges[rng.random(len(edges)) < self.loops]
        tubes = np.unique(np.sort(np.concatenate([kept, extra]), axis=1), axis=0)
        for _ in range(ENDS):
            tubes = tubes[(np.bincount(tubes.ravel(), minlength=count) > 1)[tubes].all(axis=1)]
        if not len(tubes):
            return none
        used, numbers = np.unique(tubes, return_inverse=True)
        joints, tubes = _halved(cells.vertices[used], numbers.reshape(-1, 2))
        return _smoothed(joints, tubes, self.smooth), tubes

    def apply(self, drawn: Drawn) -> Scene:
        """The nuclei and the network that were drawn, CZYX. Same in, same out."""
        field = Field.drawn(drawn)
        nuclei = self.nuclei.apply(drawn["nuclei"])
        light = np.zeros(field.shape, dtype=np.float32)
        width = float(np.hypot(self.edge_um, np.mean(field.voxel_size)))
        joints = np.array(drawn["joint"])
        for first, second in drawn["tube"]:
            start, vector = joints[first], joints[second] - joints[first]
            radius, glow = ([drawn[name][end] for end in (first, second)] for name in ("radius", "light"))
            margin = max(radius) + width
            box = field.box(np.minimum(start, start + vector) - margin, np.maximum(start, start + vector) + margin)
            if box is None:
                continue
            z, y, x = field.places(box, start)
            dz, dy, dx = (np.float32(part) for part in vector)
            along = np.clip((z * dz + y * dy + x * dx) / np.float32(max((vector**2).sum(), 1e-12)), 0, 1)
            away = np.sqrt((z - along * dz) ** 2 + (y - along * dy) ** 2 + (x - along * dx) ** 2)
            covered = soft_edge(away - (radius[0] + (radius[1] - radius[0]) * along), width)
            np.maximum(light[box], covered * (glow[0] + (glow[1] - glow[0]) * along), out=light[box])
        assert nuclei.labels is not None
        light[np.asarray(nuclei.labels) > 0] = 0  # long nuclei may reach into a tube
        return Scene(field.image(np.stack([np.asarray(nuclei.light), light]), "CZYX"), nuclei.labels)


def _halved(joints: Floats, tubes: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """The same network with one more joint in the middle of every tube, so that tubes can bend."""
    middles = len(joints) + np.arange(len(tubes))
    joints = np.concatenate([joints, joints[tubes].mean(axis=1)])
    halves = np.concatenate([np.stack([tubes[:, 0], middles], 1), np.stack([middles, tubes[:, 1]], 1)])
    return joints, halves


def _smoothed(values: Floats, tubes: NDArray[np.intp], rounds: int) -> Floats:
    """Every joint's value (or place) moved half-way to the mean of its neighbours, `rounds` times."""
    flat = values.reshape(len(values), 1 if values.ndim == 1 else values.shape[1]).copy()
    neighbours = np.maximum(np.bincount(tubes.ravel(), minlength=len(flat)), 1)
    for _ in range(rounds):
        for column in flat.T:
            total = np.bincount(tubes[:, 0], column[tubes[:, 1]], len(flat))
            total += np.bincount(tubes[:, 1], column[tubes[:, 0]], len(flat))
            column += (total / neighbours - column) / 2
    return flat.reshape(values.shape)
