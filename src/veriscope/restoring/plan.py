"""The plan of a restoration: which tiles, on which device, with how much memory and how much work for halos.

What a network needs per voxel is measured; the tile is the one that makes the most of the memory allowed.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from veriscope import wording
from veriscope.errors import DataError, DeviceError
from veriscope.networks import build, devices
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.networks.slices import PIECE
from veriscope.restoring.frames import Frames, padded_shape
from veriscope.tiling import Grid, overhead, padded

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
FIXED = 64 * 10**6  # bytes that do not grow with the tile: weights in another order, buffers of the convolutions
BESIDE = 150 * 10**6  # bytes beside the tiles: percentiles, windows to compare with training, pieces being written
ROOMY = 10**9  # bytes; where less is allowed PyTorch runs the networks, since OpenVINO needs ...
ENGINE = 150 * 10**6  # ... bytes more for itself and its copies of the weights
SAFETY = 1.1  # allocators round up and fragment: measured peaks stay below this times the count of tensors
KEPT = 1.65  # times more at the peak when freed memory is kept for the next layer (training/allocator.py) ...
KEPT_SPEED = 1.3  # ... and so much faster: benchmarks/restoring.py
BLOCK = 8  # channels; oneDNN copies what has no multiple of it, filled up to 16
LARGEST_TENSOR = 2**31 - 1  # elements; torch and cuDNN index with 32 bit in places
SHARE = {"cpu": 0.5, "cuda": 0.8, "mps": 0.5}  # of the free memory that is used when the user does not say


@dataclass(frozen=True)
class Whole:
    """An amount of memory that is for the whole process, with what it holds already; elsewhere that comes on top."""

    memory: str | int


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
    usual = SHARE[device.type]
    allowed = int(usual * devices.free_memory(device)) if memory is None else parse(memory) - before
    if device.type == "cpu" and allowed >= ROOMY:
        cost = replace(cost, fixed=cost.fixed + ENGINE)
    found = []
    for kept in ways:
        core = best_core(shape, halo, step, cost.voxels(allowed, kept), at_most)
        if core is not None:
            found.append((overhead(shape, core, halo, step) / (KEPT_SPEED if kept else 1.0), core, kept))
    if not found:
        least = cost.of(largest_read(shape, step, halo, step))
        needs = f"the smallest tile of this network needs {wording.size(least)}"
        needs += f", and the program itself {wording.size(before)}" if before else ""
        raise DeviceError(
            f"Memory of {wording.size(allowed + before)} is too small: {needs}. "
            f"Allow at least that (memory={wording.size((least + before) * 1.05).replace(' ', '')!r}, --memory)."
        )
    _, core, kept = min(found)
    count = prod(parts.counts)
    # halos of members are all the same, unless they work on slices
    work = [overhead(shape, core, member.halo, step) for member in ensemble.members]
    return Plan(
        frames=count, voxels=parts.voxels, shape=shape, core=core, halo=halo, step=step, members=len(ensemble),
        tiles=count * len(Grid(shape, core)),
        overhead=sum(work) / len(work) * prod(shape) * count / parts.voxels - 1,
        memory=cost.of(largest_read(shape, core, halo, step), kept), allowed=allowed, kept=kept, device=str(device),
    )  # fmt: skip


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


# Amounts


def held() -> int:
    """Bytes that this process holds now, as far as the system tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def parse(memory: str | int | float) -> int:
    """Bytes in "4GB", "512 MB", "2GiB", or a plain number. Raises DataError for anything else."""
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", memory)
        if found is None or found[2].upper() not in UNITS:
            raise DataError(f"Memory '{memory}' is not an amount. Write for example 4GB, 512MB, or a number of bytes.")
        memory = float(found[1]) * UNITS[found[2].upper()]
    if not 1 <= memory < 2**62:
        raise DataError(f"Memory must be a positive number of bytes, not {memory:g}. Write for example 4GB.")
    return int(memory)


# What a network needs


@dataclass(frozen=True)
class Need:
    """What one voxel of a tile costs while the network runs: bytes at the peak, elements of the largest tensor."""

    bytes: float
    elements: float
    fixed: int = FIXED  # bytes that do not grow with the tile

    def of(self, voxels: int, kept: bool = False) -> int:
        """Bytes for a tile that reads so many voxels; `kept` when freed memory is kept for the next layer."""
        return self.fixed + int(self._factor(kept) * self.bytes * voxels)

    def voxels(self, memory: int, kept: bool = False) -> int:
        """The largest tile, in voxels read, that fits into `memory` bytes."""
        fitting = int((memory - self.fixed) / (self._factor(kept) * self.bytes))
        return max(0, min(fitting, int(LARGEST_TENSOR / self.elements)))

    def beside(self, more: float) -> Need:
        """The same with `more` bytes per voxel that are held meanwhile."""
        return replace(self, bytes=self.bytes + more)

    def _factor(self, kept: bool) -> float:
        return SAFETY * (KEPT if kept else 1.0)


@lru_cache
def need(recipe: Recipe, on_cpu: bool = True, depth: int = 1) -> Need:
    """What the network of `recipe` needs per voxel, found by running one on a tiny image and watching its tensors.

    Everything in these networks grows with the image, so this holds for every size. Of stacks that are projected, with
    `depth` planes, it is what a pixel needs with all that is above and below it.
    """
    if recipe.foreign is not None:
        return Need(recipe.foreign.bytes, 64.0)
    with torch.random.fork_rng(devices=[]):  # building a network draws its weights
        network = build(recipe)
    planes = (depth,) if recipe.projects else ()
    image = torch.zeros(1, recipe.channels_in, *planes, *recipe.step)
    with torch.no_grad(), _Watch(on_cpu) as watch:  # inference mode would hide the steps inside an operation
        network(image)
    voxels = prod(recipe.step)
    return Need(watch.peak / voxels + 4 * recipe.channels_in * depth, max(watch.largest / voxels, 1.0))


def of_slices(network: Need, recipe: Recipe, shape: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> Need:
    """What a tile of a stack costs, of padded `shape`, whose slices go through the network of planes in pieces.

    A piece holds PIECE pixels, or one slice if that is larger: no more than the tile's voxels, shared by as many slices
    as the smallest tile reads.
    """
    apart = min(_longest_read(*lengths) for lengths in zip(shape[1:], step[1:], halo[1:], step[1:], strict=True))
    answers = recipe.channels_out * (2 if recipe.probabilistic else 1)
    held = 4.0 * (recipe.channels_in + 2 * answers)
    held += 4.0 * (recipe.channels_in + answers) if recipe.combine == "csbdeep" else 0.0  # upside down; both made one
    piece = int(SAFETY * network.bytes * min(PIECE, prod(shape)))
    return Need(held + network.bytes / apart, max(network.elements / apart, 1.0), network.fixed + piece)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors alive, and of the convolutions' work space."""

    def __init__(self, on_cpu: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_cpu = on_cpu
        self.alive: dict[int, int] = {}
        self.peak = 0
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for tensor in (value for value in tree_leaves(results) if isinstance(value, Tensor)):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self.alive:
                self.alive[key] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, key, None)
            self.largest = max(self.largest, tensor.numel())
        work = self._work_space(args[0], results) if "convolution" in str(func) else 0
        self.peak = max(self.peak, sum(self.alive.values()) + work)
        return results

    def _work_space(self, image: Tensor, result: Tensor) -> int:
        """On the CPU convolutions copy what is not made of whole blocks of channels; on GPUs expect copies always."""
        channels = [image.shape[1], result.shape[1]]
        if self.on_cpu and not any(count % BLOCK for count in channels):
            return 0
        voxels = [prod(tensor.shape[2:]) for tensor in (image, result)]
        return sum(4 * padded(count, 2 * BLOCK) * size for count, size in zip(channels, voxels, strict=True))


# The best tile


def best_core(
    shape: Sequence[int], halo: Sequence[int], step: Sequence[int], voxels: int, at_most: Sequence[int] | None = None
) -> tuple[int, ...] | None:
    """The tile's core, in multiples of `step`, that wastes least on halos while tiles read at most `voxels`.

    `shape` is the padded image; along each axis the core is no longer than `at_most`. None when not even the smallest
    tile is small enough.
    """
    cores, reads, works = [], [], []
    for length, reach, n, most in zip(shape, halo, step, at_most or shape, strict=True):
        core = _cores(length, n, min(length, padded(most, n)))
        cores.append(core)
        reads.append(np.array([_longest_read(length, size, reach, n) for size in core], np.float64))
        works.append(np.array([_all_reads(length, size, reach, n) for size in core], np.float64))
    work = reduce(np.multiply.outer, works)
    work[reduce(np.multiply.outer, reads) > voxels] = np.inf
    best = np.unravel_index(int(np.argmin(work)), work.shape)
    if not np.isfinite(work[best]):
        return None
    return tuple(int(core[place]) for core, place in zip(cores, best, strict=True))


def largest_read(shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> int:
    """Voxels that the largest tile with this `core` reads."""
    return prod(_longest_read(*lengths) for lengths in zip(shape, core, halo, step, strict=True))


def _cores(length: int, step: int, limit: int) -> list[int]:
    """Cores worth a try, longest first: the axis cut into 1, 2, 3, ... about equal parts, later in growing jumps."""
    steps = length // step
    parts, count = [steps], 1
    while count <= steps:
        parts.append(count)
        count = max(count + 1, int(count * 1.1))
    return sorted({min(-(-steps // count) * step, limit) for count in parts}, reverse=True)


def _longest_read(length: int, core: int, halo: int, step: int) -> int:
    pieces = -(-length // core)
    return min(length, core + padded(halo, step) * min(pieces - 1, 2))


def _all_reads(length: int, core: int, halo: int, step: int) -> int:
    starts = np.arange(0, length, core)
    wide = padded(halo, step)
    return int((np.minimum(starts + core + wide, length) - np.maximum(starts - wide, 0)).sum())
