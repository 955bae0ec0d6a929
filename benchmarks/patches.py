"""How fast patches are cut, next to a plain copy of the same bytes: from memory and from compressed Zarr.

    python benchmarks/patches.py

What this is of a training step is printed by benchmarks/training.py.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np

from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.patches.cutting import cut_patches
from veriscope.patches.patches import Patches


def typical(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Seconds of one call: the median of as many as fit into `seconds`."""
    work()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def pairs(axes: str, size: tuple[int, ...], count: int, folder: Path | None = None) -> list[Pair]:
    """Pairs of noise (uint16), in memory, or in compressed Zarr chunks of about 64 voxels a side."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        images = []
        for what in ("low", "high"):
            array = rng.poisson(20, size).astype(np.uint16)
            if folder is not None:
                import zarr

                stored = zarr.create_array(
                    store=folder / f"{number}-{what}.zarr",
                    shape=size,
                    dtype="uint16",
                    chunks=tuple(min(side, 64) for side in size),
                )
                stored[...] = array
                array = stored
            images.append(Image(array, axes, name=f"{what}{number}"))
        made.append(Pair(*images, name=str(number)))
    return made


def report(title: str, patches: Patches, batch: int) -> None:
    """Print one line. An epoch is cut first, so that what a cache can keep is in it."""
    for start in range(0, len(patches), batch):
        patches.batch(range(start, start + batch), 1)
    first = itertools.count(0, batch)

    def cut() -> None:
        start = next(first)
        patches.batch(range(start, start + batch), 0)

    low, high = patches.batch(range(batch), 0)
    copied = typical(lambda: (low.copy(), high.copy()))
    seconds = typical(cut)
    print(f"{title:32} {batch / seconds:9.0f} patches/s   {seconds / copied:7.1f} x a plain copy")


def main() -> None:
    print(machine.header("Cutting patches"))
    cases = (("YX", (512, 512), 8, (128, 128), 8), ("ZYX", (64, 256, 256), 2, (16, 64, 64), 4))
    with tempfile.TemporaryDirectory() as folder:
        for axes, size, count, shape, batch in cases:
            sides = "x".join(map(str, shape))
            stored = pairs(axes, size, count, Path(folder) / axes)
            report(f"{sides}, in memory", cut_patches(pairs(axes, size, count), shape), batch)
            report(f"{sides}, Zarr, chunks cached", cut_patches(stored, shape), batch)
            report(f"{sides}, Zarr, nothing cached", cut_patches(stored, shape, cache_bytes=0), batch)


if __name__ == "__main__":
    main()
