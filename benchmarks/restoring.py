"""How much of restoring is the network's own work, what halos cost, and whether memory is estimated rightly.

    python benchmarks/restoring.py            # about 2 minutes on two cores
    python benchmarks/restoring.py --record   # also writes benchmarks/results/restoring.txt

One run compares, on the same voxels: the bare network as plain torch runs it, the bare network in the fastest way we
know (memory format, freed memory kept), `veriscope.restore` in one tile, and `veriscope.restore` in small tiles, for
which the voxels of the halos count too because the network computes them. One member each, float32, untrained.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import machine
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import veriscope as vs
from veriscope.networks import build, devices
from veriscope.networks.model import Ensemble
from veriscope.restoring.plan import need
from veriscope.restoring.prepared import plan
from veriscope.training.allocator import kept_memory

RESULTS = Path(__file__).parent / "results"
ROUNDS = 2


@dataclass(frozen=True)
class Case:
    name: str
    recipe: vs.Recipe
    shape: tuple[int, ...]
    memory: str  # allowed in the run with halos


CASES = [
    Case("2D 2048x2048, kernel 3, depth 3, base 32", vs.Recipe("YX", depth=3, base=32), (2048, 2048), "600MB"),
    Case("3D 64x256x256, kernel 3, depth 2, base 32", vs.Recipe("ZYX", depth=2, base=32), (64, 256, 256), "1GB"),
]
NETWORKS = {  # for the check of the memory: recipe, image
    "2D, base 32": ({"axes": "YX", "depth": 3, "base": 32}, (1024, 1024)),
    "2D, base 32, kernel 5": ({"axes": "YX", "depth": 2, "kernel": 5, "base": 32}, (768, 768)),
    "2D, base 48, stem 2": ({"axes": "YX", "depth": 3, "base": 48, "stem": 2}, (1536, 1536)),
    "2D, base 4": ({"axes": "YX", "depth": 2, "base": 4}, (2048, 2048)),
    "3D, base 32": ({"axes": "ZYX", "depth": 2, "base": 32}, (32, 160, 160)),
    "3D, base 8": ({"axes": "ZYX", "depth": 2, "base": 8}, (64, 160, 160)),
}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of the processor: the latter says more when other programs run."""
    start, used = time.perf_counter(), time.process_time()
    work()
    if devices.choose(None).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - used


def flops(network: torch.nn.Module, recipe: vs.Recipe) -> float:
    """Floating point operations per voxel."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, recipe.channels_in, *recipe.step))
    return counter.get_total_flops() / prod(recipe.step)


def speed(case: Case, peak: float) -> list[str]:
    device = devices.choose(None)
    ensemble = Ensemble(case.recipe, (build(case.recipe),))
    pixels = np.random.default_rng(0).integers(100, 1000, case.shape, np.uint16)
    image = vs.Image(pixels, case.recipe.axes)
    layout = torch.channels_last if len(case.shape) == 2 else torch.channels_last_3d
    plain = build(case.recipe).eval().to(device)
    fast = build(case.recipe).eval().to(device)
    if device.type == "cpu":
        fast = fast.to(memory_format=layout)
    normalised = torch.rand(1, 1, *case.shape, device=device)

    @torch.inference_mode()
    def bare(network: torch.nn.Module, kept: bool) -> None:
        with kept_memory(kept):
            network(normalised)

    works = {
        "bare network, plain torch": lambda: bare(plain, False),
        "bare network, fastest way": lambda: bare(fast, device.type == "cpu"),
        "restore, one tile": lambda: vs.restore(image, ensemble),
        f"restore, {case.memory} allowed": lambda: vs.restore(image, ensemble, memory=case.memory),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(ROUNDS):  # in turns, so that other work on the machine meets all of them
        for name, work in works.items():
            taken[name].append(seconds(work))
    plans = {
        "restore, one tile": plan(image, ensemble),
        f"restore, {case.memory} allowed": plan(image, ensemble, memory=case.memory),
    }
    operations = flops(build(case.recipe), case.recipe)
    lines = [f"\n{case.name}: {operations / 1e3:.0f} thousand operations per voxel"]
    best = {name: (min(clock for clock, _ in each), min(used for _, used in each)) for name, each in taken.items()}
    bare_clock, bare_used = best["bare network, fastest way"]
    for name, (clock, used) in best.items():
        made = plans.get(name)
        extra = 1 + (made.overhead if made else 0)
        rate = prod(case.shape) * extra / clock
        share = rate * operations / 1e9 / peak
        line = f"  {name:<27} {rate / 1e3:6.0f} thousand voxels/s computed, {100 * share:3.0f} % of peak"
        if made:
            line += f", {100 * extra * bare_clock / clock:3.0f} % of the bare network"
            line += f" ({100 * extra * bare_used / used:.0f} % by processor time); {made.tiles} tiles"
            line += f" of {'x'.join(map(str, made.core))}, halos {100 * made.overhead:.0f} % more voxels"
        lines.append(line)
    return lines


MEASURE = """
import re, resource, sys, numpy as np, veriscope as vs
from veriscope.networks.model import Ensemble
from veriscope.networks import build
from veriscope.restoring.prepared import plan
from dataclasses import replace
import veriscope.restoring.prepared as module
recipe, shape, kept = vs.Recipe(**{recipe}), {shape}, {kept}
ensemble = Ensemble(recipe, (build(recipe),))
image = vs.Image(np.random.default_rng(0).integers(100, 1000, shape, np.uint16), recipe.axes)
small = vs.Image(np.asarray(image)[tuple(slice(0, 2 * n) for n in recipe.step)], recipe.axes)
usual = module.plan_frames
module.plan_frames = lambda *given: replace(usual(*given), kept=kept)
vs.restore(small, ensemble)
def now(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = now()
vs.restore(image, ensemble)
peak = 1024 * int(re.search("VmHWM:\\\\s*(\\\\d+)", open("/proc/self/status").read())[1])
print(peak - before)
"""


def memory(name: str) -> list[str]:
    """Peak of a process that restores in one tile, beyond what it held before, next to the estimate for the tile."""
    choices, shape = NETWORKS[name]
    recipe = vs.Recipe(**choices)
    answers = 2 * 4 * recipe.channels_out * prod(shape)  # the result itself, which is no part of a tile
    lines = []
    for kept in (False, True):
        program = MEASURE.format(recipe=choices, shape=shape, kept=kept)
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        peak = int(found.stdout) - answers
        beside = 1 * (2 * 2 + 4) + 8.0 * 2 + 32.0
        estimate = need(recipe).beside(beside).of(prod(shape), kept)
        way = "freed memory kept" if kept else "given back"
        lines.append(
            f"  {name:<22} {way:<18} {estimate / 1e6:6.0f} MB estimated, {peak / 1e6:6.0f} MB taken, "
            f"ratio {peak / estimate:.2f}"
        )
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--record", action="store_true", help="write benchmarks/results/restoring.txt")
    options.add_argument("--only", choices=["speed", "memory"], help="one part only")
    chosen = options.parse_args()
    lines = [machine.header("Restoring: the network's own work, halos, memory")]
    print(lines[0], flush=True)

    def say(new: list[str]) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    if chosen.only != "memory":
        peak = machine.matrix_peak()
        for case in CASES:
            say(speed(case, peak))
    if chosen.only != "speed" and sys.platform.startswith("linux") and devices.choose(None).type == "cpu":
        say(["\nMemory of one tile beyond what the program held before"])
        for name in NETWORKS:
            say(memory(name))
    if chosen.record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "restoring.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
