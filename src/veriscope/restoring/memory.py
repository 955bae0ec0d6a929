"""How large a tile may be: what a network needs per voxel, and the tile that makes the most of the memory allowed."""

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

from veriscope.errors import DataError
from veriscope.networks import build
from veriscope.networks.recipe import Recipe
from veriscope.networks.slices import PIECE
from veriscope.tiling import padded

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


@dataclass(frozen=True)
class Whole:
    """An amount of memory that is for the whole process, with what it holds already; elsewhere that comes on top."""

    memory: str | int


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


def best_core(
    shape: Sequence[int], halo: Sequence[int], step: Sequence[int], voxels: int, at_most: Sequence[int] | None = None
) -> tuple[int, ...] | None:
    """The tile's core, in multiples of `step`, that wastes least on halos while tiles read at most `voxels`.

    `shape` is the padded image; along each axis the core is no longer than `at_most`. None when not even the smallest
    tile is small enough (`smallest` tells what it reads).
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


def smallest(shape: Sequence[int], halo: Sequence[int], step: Sequence[int]) -> int:
    """Voxels that the smallest possible tile reads."""
    return prod(_longest_read(length, n, reach, n) for length, reach, n in zip(shape, halo, step, strict=True))


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
