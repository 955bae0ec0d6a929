"""Patches from everywhere, or from where the truth is bright? One member, the same number of steps, each data set.

    python experiments/foreground.py --out DIR --record        # half an hour on two cores; DIR keeps the images

`--foreground 0` and `0.4` of `veriscope train` on W2S (fields 1-36, tested on 37-40), the same in `cut_patches` on the
simulated sets at their scale small, with the networks of `veriscope reproduce`. NRMSE and SSIM of the test images, and
how much of the held-aside truth lies in the 90 % interval as the networks predict it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "benchmarks"))
import machine  # noqa: E402
import w2s  # noqa: E402

import veriscope as vs  # noqa: E402
from veriscope.comparing.judge import judge  # noqa: E402
from veriscope.reproducing.experiments import EXPERIMENTS  # noqa: E402
from veriscope.reproducing.material import read_data  # noqa: E402
from veriscope.simulate.experiments import simulate  # noqa: E402

SIMULATED = ("planaria", "tribolium", "flywing", "drosophila", "retina", "liver")
SETS = ("w2s0", "w2s1", "w2s2", *SIMULATED)
CHOICES = (None, 0.4)


def sources(name: str, foreground: float | None, out: Path) -> tuple[Any, Any, Any, Any]:
    """Recipe, patches to train on and to check with, test pairs."""
    if name in SIMULATED:
        if not (out / name).exists():
            simulate(name, out / name, 0, "small")
        found = read_data(name, replace(EXPERIMENTS[name], foreground=foreground), out / name, "small", 0)
        tests = [pair for pairs in found.tests.values() for pair in pairs]
        return found.recipe, found.patches, found.check, tests
    places = w2s.DATA / f"ch{name[3]}"
    field = {int(pair.name[-3:]): pair for pair in vs.read_pairs(places / "low", places / "high", axes="YX")}
    learned = [pair for number, pair in field.items() if number not in w2s.TESTED]
    training, checking, _ = type(vs.read_pairs(places / "low", places / "high", axes="YX"))(learned).split(0.1, 0, 0)
    recipe = vs.Recipe(axes="YX")
    cut: dict[str, Any] = {"shape": recipe.patch, "foreground": foreground, "normalize": "matched"}
    tests = [field[number] for number in w2s.TESTED]
    return recipe, vs.cut_patches(training, **cut), vs.cut_patches(checking, **cut), tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for simulated images")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--record", action="store_true", help="write results/foreground.txt")
    given = parser.parse_args()
    lines = [machine.header(f"Foreground: {given.steps} steps of one member, seed 0")]
    print(lines[0], flush=True)
    for name in given.only:
        for foreground in CHOICES:
            recipe, patches, check, tests = sources(name, foreground, given.out)
            epochs = max(1, round(given.steps * recipe.batch / len(patches)))
            model = vs.train(recipe, patches, check, members=1, epochs=epochs, progress=False)
            judged = judge(model, tests, pictures=0, calibrated=False)
            row = judged.of("restoration")
            held = float(np.mean([one.coverage for one in judged.rows if one.coverage is not None]))
            where = "everywhere" if foreground is None else f"foreground {foreground:g}"
            lines.append(
                f"{name:11} {where:15} NRMSE {row.nrmse:.4f}  SSIM {row.ssim:.3f}  in the 90 % interval {held:.1%}"
            )
            print(lines[-1], flush=True)
    if given.record:
        (HERE / "results" / "foreground.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
