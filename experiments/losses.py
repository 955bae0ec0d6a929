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
from veriscope.training.losses import mse

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import machine

PHOTONS = 20.0
BASE: dict[str, Any] = {"base": 16}
PAPER: dict[str, Any] = {"scale_weight": 0.0, "scale_rate": 1.0}
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "likelihood, random percentiles (paper)": (PAPER, "random"),
    "likelihood, matched": (PAPER, "matched"),
    "squared error beside likelihood, random": ({}, "random"),
    "squared error beside likelihood, matched": ({}, "matched"),
    "the same, ten times the weight": ({"scale_weight": 1.0}, "matched"),
    "the same, scales learned no faster": ({"scale_rate": 1.0}, "matched"),
    "the same, not residual": ({"residual": False}, "matched"),
    "the same, three times the learning rate": ({"learning_rate": 3e-3}, "matched"),
    "squared error only": ({"probabilistic": False}, "matched"),
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
    for name, (changes, normalize) in ROWS.items():
        recipe = vs.Recipe(axes="ZYX", **{**BASE, **changes})
        cut: dict[str, Any] = {"shape": recipe.patch, "seed": 0, "normalize": normalize}
        patches = vs.cut_patches(task.training, per_image=given.patches // 10, **cut)
        check = vs.cut_patches(task.checking, per_image=4, **cut)
        loss = None if recipe.probabilistic else mse
        ensemble = vs.train(recipe, patches, check, members=1, epochs=10, loss=loss, progress=False)
        reached = quality(test.high, vs.restore(test.low, ensemble).mean)
        line = f"{name:44} NRMSE {reached.nrmse:.4f}  SSIM {reached.ssim:.3f}"
        if recipe.probabilistic:  # of the check patches, per pixel
            line += f"  likelihood {min(row['check_loss'] for row in ensemble.facts.history):.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
