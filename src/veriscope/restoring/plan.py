"""The plan of a restoration: which tiles, on which device, with how much memory and how much work for halos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from veriscope import wording
from veriscope.errors import DataError, DeviceError
from veriscope.networks.model import Ensemble
from veriscope.restoring import devices
from veriscope.restoring.frames import Frames, padded_shape
from veriscope.restoring.memory import (
    BESIDE,
    ENGINE,
    KEPT_SPEED,
    ROOMY,
    Need,
    Whole,
    best_core,
    held,
    need,
    of_slices,
    parse,
    smallest,
)
from veriscope.tiling import overhead, padded

SHARE = {"cpu": 0.5, "cuda": 0.8, "mps": 0.5}  # of the free memory that is used when the user does not say

Pixels = int | Sequence[int] | None
Memory = str | int | Whole | None


@dataclass(frozen=True)
class Plan:
    """How an image will be restored. Lengths are pixels along the spatial axes of the result."""

    frames: int  # restored one by one: samples, time points
    voxels: int  # of the whole result
    shape: tuple[int, ...]  # of one frame, continued by reflection to multiples of `step`
    core: tuple[int, ...]  # what a tile contributes
    halo: tuple[int, ...]  # what it reads beyond, on each side
    step: tuple[int, ...]
    members: int
    tiles: int  # of all frames
    overhead: float  # extra voxels computed for halos and padding, per voxel of the image
    memory: int  # bytes at the peak, as estimated, beyond what the program holds already
    allowed: int  # bytes
    kept: bool  # freed memory is kept for the next layer: faster, but takes more of it
    device: str

    def __str__(self) -> str:
        times = " x ".join
        lines = [
            ("device", f"{self.device}, {wording.size(self.memory)} of {wording.size(self.allowed)} allowed"),
            ("frames", f"{self.frames:,} of {times(map(str, self.shape))} pixels, with what is added by reflection"),
            ("tiles", f"{self.tiles:,} of {times(map(str, self.core))} pixels, halo {times(map(str, self.halo))}"),
            ("work", f"{self.members} networks, {100 * self.overhead:.0f} % more voxels for halos and padding"),
        ]
        return "\n".join(f"{name:<7} {value}" for name, value in lines)


def plan_frames(
    parts: Frames,
    ensemble: Ensemble,
    at_most: tuple[int, ...] | None,
    memory: Memory,
    device: torch.device,
    images: int = 1,
) -> Plan:
    """The plan for an image that was taken apart already.

    `at_most` is an upper limit for the core in pixels, as `lengths` gives it; `memory` limits what is used on
    `device` beyond what the program holds already, or with it where it is a `Whole`; so many `images` are made of the
    answers. Without a limit the core is the one with the least work that fits.
    Raises DataError for memory that is no amount, DeviceError when not even the smallest tile fits.
    """
    shape, step = padded_shape(parts.shape, ensemble.step), ensemble.step
    halo = tuple(reach + before for reach, before in zip(ensemble.halo, parts.before, strict=True))
    cost = _need(parts, ensemble, device, images)  # runs a network: what that loads for good counts as held
    before, ways = 0, (False, True) if device.type == "cpu" else (False,)
    if isinstance(memory, Whole):  # kept memory falls to pieces, by how much nobody can promise
        before, ways = held() + BESIDE if device.type == "cpu" else 0, (False,)
        memory = memory.memory
    if memory is not None:
        allowed = parse(memory) - before
    else:
        allowed = int(SHARE[device.type] * devices.free_memory(device))
    if device.type == "cpu" and allowed >= ROOMY:
        cost = replace(cost, fixed=cost.fixed + ENGINE)
    found = []
    for kept in ways:
        core = best_core(shape, halo, step, cost.voxels(allowed, kept), at_most)
        if core is not None:
            found.append((overhead(shape, core, halo, step) / (KEPT_SPEED if kept else 1.0), core, kept))
    if not found:
        least = cost.of(smallest(shape, halo, step))
        needs = f"the smallest tile of this network needs {wording.size(least)}"
        needs += f", and the program itself {wording.size(before)}" if before else ""
        raise DeviceError(
            f"Memory of {wording.size(allowed + before)} is too small: {needs}. "
            f"Allow at least that (memory={wording.size((least + before) * 1.05).replace(' ', '')!r}, --memory)."
        )
    _, core, kept = min(found)
    count = prod(parts.counts)
    wide = [padded(reach, n) for reach, n in zip(halo, step, strict=True)]
    pieces = [-(-length // size) for length, size in zip(shape, core, strict=True)]
    read = [min(length, size + w * min(n - 1, 2)) for length, size, w, n in zip(shape, core, wide, pieces, strict=True)]
    # halos of members are all the same, unless they work on slices
    work = [overhead(shape, core, member.halo, step) for member in ensemble.members]
    return Plan(
        frames=count,
        voxels=parts.voxels,
        shape=shape,
        core=core,
        halo=halo,
        step=step,
        members=len(ensemble),
        tiles=count * prod(pieces),
        overhead=sum(work) / len(work) * prod(shape) * count / parts.voxels - 1,
        memory=cost.of(prod(read), kept),
        allowed=allowed,
        kept=kept,
        device=str(device),
    )


def _need(parts: Frames, ensemble: Ensemble, device: torch.device, images: int) -> Need:
    recipe = ensemble.recipe
    network = need(recipe, device.type == "cpu", parts.depth)
    if recipe.isotropic:
        network = of_slices(network, recipe, padded_shape(parts.shape, ensemble.step), ensemble.halo, ensemble.step)
    if device.type != "cpu":
        return network
    # the tile as read, twice; normalised; all members' answers, twice; what is made of them, and written meanwhile
    answers = recipe.channels_out * (2 if recipe.probabilistic else 1)
    read = parts.depth * recipe.channels_in * (2 * parts.image.dtype.itemsize + 4)
    return network.beside(read + 8.0 * len(ensemble) * answers + (24.0 + 8.0 * images) * recipe.channels_out)


def lengths(tile: Any, space: str) -> tuple[int, ...] | None:
    """A tile's pixels along each axis of `space`; None where none are given. Raises DataError for what is no tile."""
    if tile is None:
        return None
    found = tuple(tile) if isinstance(tile, Sequence) else (tile,) * len(space)
    if len(found) != len(space) or not all(isinstance(n, int) and n > 0 for n in found):
        raise DataError(
            f"A tile is a positive number of pixels, or one for each of the axes {space}, not {tile}. "
            f"Remove it to have it chosen by the memory."
        )
    return found
