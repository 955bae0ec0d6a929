"""How fast patches are cut, next to a plain copy of the same bytes and to a training step of the paper's network.

    python benchmarks/patches.py            # ratios in one run; a few seconds
    python benchmarks/patches.py --no-step  # without the training step

The claim: cutting costs under 5 % of a step (2D: 8 patches of 128x128; 3D: 4 of 16x64x64; base 32).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.patches.patches import Patches, cut_patches


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


def peak() -> float:
    """GFLOP/s of a 2048 x 2048 float32 matrix product: what this machine can do."""
    import torch

    a = torch.rand(2048, 2048)
    return 2 * 2048**3 / typical(lambda: a @ a) / 1e9


def step_seconds(axes: str, shape: tuple[int, ...], batch: int) -> float:
    """Forward, loss and backward of the paper's network (depth 2, base 32; 2D kernel 5, 3D kernel 3)."""
    import torch

    from veriscope.networks import build
    from veriscope.networks.recipe import Recipe

    network = build(Recipe(axes=axes, depth=2, base=32, kernel=5 if axes == "YX" else 3))
    low = torch.rand(batch, 1, *shape)

    def step() -> None:
        network.zero_grad()
        mean, scale = network(low).chunk(2, dim=1)
        ((mean - low).abs() / scale + torch.log(2 * scale)).mean().backward()

    return typical(step, 4.0)


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


def report(title: str, patches: Patches, batch: int, step: float | None) -> None:
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
    line = f"{title:32} {batch / seconds:9.0f} patches/s   {seconds / copied:6.1f} x a plain copy"
    print(line + (f"   {seconds / step:7.2%} of a step of {step:.2f} s" if step else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-step", action="store_true", help="leave out the training step")
    given = parser.parse_args()
    if not given.no_step:
        print(f"matrix product: {peak():.0f} GFLOP/s")
    cases = (("YX", (512, 512), 8, (128, 128), 8), ("ZYX", (64, 256, 256), 2, (16, 64, 64), 4))
    with tempfile.TemporaryDirectory() as folder:
        for axes, size, count, shape, batch in cases:
            step = None if given.no_step else step_seconds(axes, shape, batch)
            sides = "x".join(map(str, shape))
            stored = pairs(axes, size, count, Path(folder) / axes)
            report(f"{sides}, in memory", cut_patches(pairs(axes, size, count), shape), batch, step)
            report(f"{sides}, Zarr, chunks cached", cut_patches(stored, shape), batch, step)
            report(f"{sides}, Zarr, nothing cached", cut_patches(stored, shape, cache_bytes=0), batch, step)


if __name__ == "__main__":
    main()
