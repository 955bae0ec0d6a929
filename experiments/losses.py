"""Which loss and which normalisation learn most from few steps: a 3D stack of nuclei with little light.

    python experiments/losses.py            # all rows, about a minute of one core each
    python experiments/losses.py --patches 400

Every row trains one small network for the same number of patches on a part of the stack and restores another part.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

import veriscope as vs
from veriscope.apps import demo
from veriscope.judging.quality import quality
from veriscope.training.losses import laplace_nll, mse, squared_error_beside_nll

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import machine

PHOTONS = 20.0
BASE: dict[str, Any] = {"base": 16, "patch": (16, 32, 32), "batch": 4}
ROWS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "likelihood, random percentiles (paper)": ({"residual": True}, laplace_nll, "random"),
    "likelihood, matched": ({"residual": True}, laplace_nll, "matched"),
    "squared error beside likelihood, random": ({"residual": True}, squared_error_beside_nll(0.01), "random"),
    "squared error beside likelihood, matched": ({"residual": True}, squared_error_beside_nll(0.01), "matched"),
    "the same, not residual": ({"residual": False}, squared_error_beside_nll(0.01), "matched"),
    "the same, three times the learning rate": (
        {"residual": False, "learning_rate": 3e-3},
        squared_error_beside_nll(0.01),
        "matched",
    ),
    "squared error only, not residual": ({"residual": False}, mse, "matched"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=1600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    demo.PHOTONS = (PHOTONS,)
    task = demo._nuclei(seed=0)
    (test,) = task.tests
    print(machine.header(f"One network of base 16, {given.patches} patches of 16 x 32 x 32, {PHOTONS:g} photons"))
    print(f"{'input':44} NRMSE {quality(test.high, test.low).nrmse:.4f}")
    for name, (changes, loss, normalize) in ROWS.items():
        recipe = vs.Recipe(axes="ZYX", **{**BASE, **changes})
        cut: dict[str, Any] = {"shape": recipe.patch, "seed": 0, "normalize": normalize}
        patches = vs.cut_patches(task.training, per_image=given.patches // 10, **cut)
        check = vs.cut_patches(task.checking, per_image=4, **cut)
        ensemble = vs.train(recipe, patches, check, members=1, epochs=10, loss=loss, progress=False)
        reached = quality(test.high, vs.restore(test.low, ensemble).mean)
        print(f"{name:44} NRMSE {reached.nrmse:.4f}  SSIM {reached.ssim:.3f}", flush=True)


if __name__ == "__main__":
    main()
