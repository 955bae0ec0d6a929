"""Few large steps or many small ones? A minute and a half of training each, on real pairs in 2D (W2S, channel 0).

    python experiments/steps.py             # all rows, about 13 minutes on two cores
    python experiments/steps.py --minutes 4

Every row trains one network for the same time and restores fields it never saw: 4 that choose the best weights, and the
4 of benchmarks/w2s.py. Plain likelihood: mean negative log likelihood of the check patches, lower is better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import veriscope as vs
from veriscope.images.pairing import Pairs
from veriscope.judging.quality import quality
from veriscope.networks.model import Ensemble

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import machine
import w2s

ROWS: dict[str, dict[str, Any]] = {
    "128 x 128, 8 a step": {"patch": (128, 128), "batch": 8},
    "128 x 128, 2 a step": {"patch": (128, 128), "batch": 2},
    "64 x 64, 8 a step": {"patch": (64, 64), "batch": 8},
    "64 x 64, 4 a step (default)": {},
    "64 x 64, 2 a step": {"batch": 2},
    "default, base 24": {"base": 24},
    "default, not residual": {"residual": False},
    "default, the paper's likelihood": {"scale_weight": 0.0, "scale_rate": 1.0},
}


def scores(ensemble: Ensemble, pairs: Pairs) -> tuple[float, float]:
    """Mean NRMSE and SSIM."""
    measured = [quality(pair.high, vs.restore(pair.low, ensemble).mean) for pair in pairs]
    return float(np.mean([m.nrmse for m in measured])), float(np.mean([m.ssim for m in measured]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=w2s.DATA)
    parser.add_argument("--minutes", type=float, default=1.5)
    given = parser.parse_args()
    train, check, test = w2s.split(given.data, 0)
    print(machine.header(f"W2S channel 0, one member, {given.minutes:g} minutes a row"))
    print(f"{'patches':32} {'steps':>6}  likelihood  check NRMSE / SSIM  test NRMSE / SSIM")
    for name, changes in ROWS.items():
        recipe = vs.Recipe(axes="YX", **changes)
        cut: dict[str, Any] = {"shape": recipe.patch, "seed": 0, "foreground": None, "normalize": "matched"}
        patches, checks = (vs.cut_patches(pairs, per_image=32, **cut) for pairs in (train, check))
        ensemble = vs.train(recipe, patches, checks, members=1, minutes=given.minutes, progress=False)
        history = ensemble.facts.history
        likelihood = min(row["check_loss"] for row in history)
        line = f"{name:32} {history[-1]['step']:6}  {likelihood:10.3f}"
        for pairs in (check, test):
            nrmse, ssim = scores(ensemble, pairs)
            line += f"  {nrmse:10.4f} / {ssim:.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
