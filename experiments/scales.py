"""Are predicted scales right after short training? The last layer fitted after every round, or learned with the rest.

    python experiments/scales.py             # six minutes on two cores
    python experiments/scales.py --record    # also writes experiments/results/scales.txt

One member, W2S channel 0, fields as in benchmarks/w2s.py, each way for half a minute and for a minute and a half.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

import veriscope as vs
from veriscope import laplace
from veriscope.errors import VeriscopeWarning
from veriscope.judging import quality
from veriscope.networks.recipe import Recipe
from veriscope.training import member

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "benchmarks"))
import machine  # noqa: E402
import w2s  # noqa: E402

NEVER = 2.0  # share of the run after which the scales are fitted
WAYS: dict[str, tuple[float, dict[str, Any]]] = {
    "learned with the rest": (NEVER, {}),
    "paper's likelihood for all": (NEVER, {"scale_weight": 0.0, "scale_rate": 1.0}),
    "fitted after every round": (member.FIT_FROM, {}),
}


def judged(ensemble: Any, pairs: Any) -> list[float]:
    """NRMSE, mean log likelihood, rank correlation of scale and error, and both for dark and bright pixels."""
    rows = []
    for pair in pairs:
        restored = vs.restore(pair.low, ensemble, undo=False)
        mean, scale = np.asarray(restored.mean), np.asarray(restored.scale)
        slope, offset = quality.affine_match(mean.astype(np.float64), np.asarray(pair.high, np.float64))
        truth = slope * np.asarray(pair.high) + offset  # in the networks' units
        error = np.abs(truth - mean)
        likelihood = laplace.log_likelihood(mean[None], scale[None], truth.astype(np.float32)).mean()
        rank = spearmanr(gaussian_filter(error, 2).ravel()[::7], scale.ravel()[::7])[0]
        dark, bright = mean < np.quantile(mean, 0.5), mean > np.quantile(mean, 0.99)
        measured = quality.quality(pair.high, restored.mean).nrmse
        rows.append(
            [
                measured,
                likelihood,
                rank,
                scale[dark].mean(),
                error[dark].mean(),
                scale[bright].mean(),
                error[bright].mean(),
            ]
        )
    return np.mean(rows, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=w2s.DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write experiments/results/scales.txt")
    given = parser.parse_args()
    warnings.simplefilter("ignore", VeriscopeWarning)  # so short a training knows little of its images
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(machine.header("Scales after short training, W2S channel 0, one member, fields 37-40"))
    say(f"{'':28} minutes  steps   NRMSE  likelihood   rank  dark: scale, error  bright: scale, error")
    train, check, test = w2s.split(given.data, 0)
    for minutes in (0.5, 1.5):
        for name, (begin, changes) in WAYS.items():
            recipe = Recipe(axes="YX", **changes)
            cut: dict[str, Any] = {"shape": recipe.patch, "per_image": 32, "seed": given.seed}
            cut |= {"foreground": None, "normalize": "matched"}
            patches, checks = vs.cut_patches(train, **cut), vs.cut_patches(check, **cut)
            usual, member.FIT_FROM = member.FIT_FROM, begin
            ensemble = vs.train(recipe, patches, checks, members=1, minutes=minutes, seed=given.seed, progress=False)
            member.FIT_FROM = usual
            steps = ensemble.facts.history[-1]["step"]
            found = judged(ensemble, test)
            say(
                f"{name:28} {minutes:7.1f} {steps:6}  {found[0]:.4f}  {found[1]:10.3f}  {found[2]:5.2f}"
                f"        {found[3]:.4f}, {found[4]:.4f}          {found[5]:.4f}, {found[6]:.4f}"
            )
    if given.record:
        (HERE / "results" / "scales.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
