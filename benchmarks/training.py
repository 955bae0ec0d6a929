"""How much of a training step is the network's own work, and how fast it runs.

    python benchmarks/training.py

Compares, in one run, `veriscope.train` with a bare loop (same network, same batch again and again, nothing else), the
time to cut a batch with the time of a step, and each part of the speed with the step without it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import machine
import numpy as np
import torch

import veriscope as vs
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.networks import build
from veriscope.networks.devices import fast_bfloat16
from veriscope.patches.patches import Patches
from veriscope.training.allocator import kept_memory
from veriscope.training.losses import laplace_nll
from veriscope.training.progress import Step

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best(work: Callable[[], object], seconds: float = 4.0) -> float:
    """Seconds of one call: the median of those that fit into `seconds`, after two that warm up."""
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 5:
        start = time.perf_counter()
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def bare_step(recipe: vs.Recipe, fast: bool, channels_last: bool) -> Callable[[], None]:
    """A step of plain torch on one batch that is already there."""
    layout = torch.contiguous_format
    if channels_last:
        layout = torch.channels_last if recipe.axes == "YX" else torch.channels_last_3d
    network = build(recipe).to(DEVICE, memory_format=layout)
    low = torch.rand(recipe.batch, 1, *recipe.patch, device=DEVICE).contiguous(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=fast):
            output = network(low)
        laplace_nll(output, low).backward()
        optimizer.step()

    return step


class Clock:
    """Times of the steps of a training, as its listener."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, report: Step) -> None:
        self.times.append(time.perf_counter())

    @property
    def step(self) -> float:
        return float(np.median(np.diff(self.times)[2:]))


def main() -> None:
    print(machine.header("Training: the loop against its bare network"))
    rng = np.random.default_rng(0)
    for recipe in (
        vs.Recipe("YX", optimizer="adam"),
        vs.Recipe("YX", patch=(128, 128), batch=8, optimizer="adam"),
        vs.Recipe("ZYX", optimizer="adam"),
        vs.Recipe("ZYX", patch=(16, 64, 64), optimizer="adam"),
    ):
        axes, size = recipe.axes, (512, 512) if recipe.axes == "YX" else (60, 256, 256)
        images = [Image(rng.poisson(20, size).astype(np.uint16), axes) for _ in range(2)]
        pairs = [Pair(*images, name="noise")]
        patches = vs.cut_patches(pairs, shape=recipe.patch, per_image=16 * recipe.batch)
        numbers = itertools.count(0, recipe.batch)

        def cut(patches: Patches = patches, numbers: Iterator[int] = numbers, batch: int = recipe.batch) -> None:
            first = next(numbers)
            patches.batch(range(first, first + batch), 0)

        cutting = best(cut, 1.0)
        fast = fast_bfloat16(DEVICE)
        rows = {"float32, as torch does it": bare_step(recipe, False, False)}
        rows["float32, channels last"] = bare_step(recipe, False, True)
        if fast:
            rows["bfloat16, channels last"] = bare_step(recipe, True, True)
        bare = {name: best(step) for name, step in rows.items()}
        with kept_memory(DEVICE.type == "cpu"):
            bare["the same, freed memory kept"] = best(bare_step(recipe, fast, True))
        clock = Clock()
        vs.train(recipe, patches, patches, members=1, epochs=1, progress=clock)
        shape = " x ".join(map(str, recipe.patch))
        print(f"\n{axes}: batch {recipe.batch} of {shape}, depth {recipe.depth}, base {recipe.base}")
        slowest = max(bare.values())
        for name, seconds in bare.items():
            print(f"  bare step, {name:30} {recipe.batch / seconds:8.2f} patches/s  {slowest / seconds:5.2f} x")
        print(f"  veriscope.train                           {recipe.batch / clock.step:8.2f} patches/s", end="")
        print(
            f"  {slowest / clock.step:5.2f} x, {bare['the same, freed memory kept'] / clock.step:.3f} of the bare loop"
        )
        print(f"  cutting a batch                           {cutting / clock.step:8.2%} of a step")


if __name__ == "__main__":
    main()
