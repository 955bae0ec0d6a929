"""Restoring and training beside csbdeep on TensorFlow: same weights, same images, same machine, in turns.

    python benchmarks/peers/csbdeep_speed.py [--record] [--python PYTHON]

csbdeep is installed in an environment of its own, or found in that of PYTHON. Restoring is `veriscope.restore` of a
model with one member, as it is (float32) and with precision="bfloat16", and csbdeep's predict_probabilistic,
percentiles included. Training is `veriscope.train` of one member for some epochs, by Adam, and csbdeep's train,
checking included. Both use all cores. GFLOP/s: the multiplications and additions of the network's convolutions, three
times as many in training, to be held against what the processor does in one large convolution. Nothing else should run.
About 15 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from csbdeep_roundtrip import drawn, installed
from machine import header

import veriscope as vs
from veriscope.images.pairing import Pair, Pairs
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.sharing import csbdeep

RESULTS = Path(__file__).resolve().parents[1] / "results" / "csbdeep-speed.txt"
ROUNDS = 3


@dataclass(frozen=True)
class Case:
    """A network, the image that it restores, and the patches that it learns from."""

    recipe: vs.Recipe
    image: tuple[int, ...]
    patch: tuple[int, ...]
    batch: int
    steps: int


CASES = {
    "3D of the paper": Case(vs.Recipe("ZYX", depth=2, base=32), (32, 256, 256), (16, 64, 64), 4, 24),
    "2D, kernel 5": Case(vs.Recipe("YX", depth=2, kernel=5, base=32), (1536, 1536), (128, 128), 8, 24),
}


def main() -> None:
    """Run in turns, print ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    options.add_argument("--python", type=Path, help="an interpreter that has csbdeep and TensorFlow")
    chosen = options.parse_args()
    lines = [
        header("Speed beside csbdeep 0.8.2 on TensorFlow 2.15: medians, in turns"),
        "",
        f"{'network':<18}{'work':<20}{'csbdeep':>9}{'veriscope':>11}{'ratio':>8}"
        f"{'':<12}{'GFLOP/s: csbdeep':>18}{'veriscope':>11}",
    ]
    with tempfile.TemporaryDirectory() as place:
        python = chosen.python or installed(Path(place) / "env")
        for name, case in CASES.items():
            lines += compared(Path(place), python, name, case)
            print("\n".join(lines[-3:]), flush=True)
    text = "\n".join(lines)
    print(text)
    if chosen.record:
        RESULTS.write_text(text + "\n")


def compared(place: Path, python: Path, title: str, case: Case) -> list[str]:
    name = title.split(",")[0].replace(" ", "-")
    rng = np.random.default_rng(0)
    model = Ensemble(case.recipe, (drawn(case.recipe),))
    csbdeep.write(model, place / name)
    image = rng.integers(100, 1000, case.image, np.uint16)
    low, high = (rng.random((4 * case.batch, 1, *case.patch), np.float32) for _ in range(2))
    np.savez(place / f"{name}.npz", image=image, low=low, high=high)
    theirs: list[float] = []
    ours: dict[str, list[float]] = {"auto": [], "bfloat16": []}
    restored(model, image, case, "auto")  # engines are tried once for each network
    restored(model, image, case, "bfloat16")
    for _ in range(ROUNDS):
        theirs += in_csbdeep(python, place, "restore", name, "1")
        for precision, seconds in ours.items():
            seconds.append(restored(model, image, case, precision))
    voxels = prod(case.image) / 1e6
    base, each = voxels / median(theirs), work_of(case)
    rows = [
        (
            f"restore, {'float32' if precision == 'auto' else precision}",
            base,
            voxels / median(seconds),
            "Mvoxel/s",
            each,
        )
        for precision, seconds in ours.items()
    ]
    there, here = [], []
    for _ in range(2):
        there += in_csbdeep(python, place, "train", name, str(case.steps), str(case.batch))
        here.append(trained(case))
    rows.append(("train", median(there), median(here), "patch/s", 3 * each * prod(case.patch) / 1e6))
    return [
        f"{title:<18}{work:<20}{one:>9.3g}{other:>11.3g}{other / one:>8.2f}  {unit:<10}"
        f"{one * cost:>18.0f}{other * cost:>11.0f}"
        for work, one, other, unit, cost in rows
    ]


def work_of(case: Case) -> float:
    """GFLOP of a network for a million voxels of an image."""
    found: list[float] = []

    def count(layer: Any, given: Any, answer: Any) -> None:
        found.append(2.0 * layer.weight[0].numel() * answer.numel())

    network = build(case.recipe)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d):
            layer.register_forward_hook(count)
    image = torch.zeros(1, 1, *(32 for _ in case.recipe.axes))
    with torch.no_grad():
        network(image)
    return sum(found) / image.numel() / 1e3


def in_csbdeep(python: Path, place: Path, *words: str) -> list[float]:
    script = Path(__file__).with_name("in_csbdeep_speed.py")
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([python, script, place, *words], capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def restored(model: Ensemble, image: Any, case: Case, precision: Any) -> float:
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vs.restore(vs.Image(image, case.recipe.axes), model, device="cpu", precision=precision)
    return time.perf_counter() - began


def trained(case: Case) -> float:
    """Patches a second."""
    rng = np.random.default_rng(0)
    size = tuple(2 * length for length in case.patch)
    pairs = [
        Pair(*(vs.Image(rng.random(size, np.float32), case.recipe.axes) for _ in range(2)), str(n)) for n in range(4)
    ]
    cut = {"shape": case.patch, "per_image": case.steps * case.batch // 4, "seed": 0}
    patches = vs.cut_patches(Pairs(tuple(pairs)), **cut)
    check = vs.cut_patches(Pairs(tuple(pairs[:1])), **{**cut, "per_image": max(4, case.batch)})
    speeds: list[float] = []
    recipe = case.recipe.change(batch=case.batch, patch=case.patch, optimizer="adam")
    vs.train(
        recipe, patches, check, members=1, epochs=3, progress=lambda report: speeds.append(report.patches_per_second)
    )
    return speeds[-1]


if __name__ == "__main__":
    main()
