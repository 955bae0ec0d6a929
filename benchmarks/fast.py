"""The small network of `--preset fast`: how much faster than the usual one it restores, and at what cost.

    python benchmarks/fast.py --record

Both train for the same minutes, one member each from the same seed, on W2S channel 0 (fields as in w2s.py) and on
simulated planaria at the middle of three light levels. Both restore images that they have not seen, in float32. Times
are of the processor, so that other work counts little. Aim: five times the speed for at most a tenth more NRMSE.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from statistics import median

import machine
import numpy as np
import w2s

import veriscope as vs
from veriscope.images.pairing import Pair, Pairs
from veriscope.judging.quality import quality
from veriscope.networks.recipe import FAST
from veriscope.simulate.standins import STANDINS, TRUTH

RESULTS = Path(__file__).parent / "results" / "fast.txt"
ROUNDS = 3


def planaria(light: str = "condition_2") -> tuple[Pairs, Pairs, Pairs]:
    """Simulated pairs to train on, to check and to test on."""
    stand, rng = STANDINS["planaria"], np.random.default_rng(0)
    count, shape, tests, tested = stand.fields["small"]
    made = [stand.make(stand, rng, shape, False).images for _ in range(count)]
    made += [stand.make(stand, rng, tested, True).images for _ in range(tests)]
    pairs = [Pair(images[light], images[TRUTH], str(number)) for number, images in enumerate(made)]
    return Pairs(pairs[: count - 1]), Pairs(pairs[count - 1 : count]), Pairs(pairs[count:])


def compared(name: str, axes: str, data: tuple[Pairs, Pairs, Pairs], minutes: float, changes: list[dict]) -> list[str]:
    train, check, test = data
    models = []
    for change in ({}, *changes):
        began = time.process_time()
        model = vs.train(vs.Recipe(axes, **change), train, check, members=1, minutes=minutes, seed=0, progress=False)
        steps = max(row["step"] for row in model.facts.history)
        models.append((change, model, steps, time.process_time() - began))
    errors: list[list[float]] = [[] for _ in models]
    seconds: list[list[float]] = [[] for _ in models]
    for pair in test:
        for number, (_, model, *_) in enumerate(models):
            for _ in range(ROUNDS):
                began = time.process_time()
                restored = vs.restore(pair.low, model, precision="float32").mean
                seconds[number].append(time.process_time() - began)
            errors[number].append(quality(pair.high, restored).nrmse)
    lines = []
    for number, (change, _, steps, spent) in enumerate(models):
        error, taken = float(np.mean(errors[number])), median(seconds[number])
        network = ", ".join(f"{key} {value}" for key, value in change.items()) or "usual"
        lines.append(
            f"{name:<20}{network:<28}{steps:>7}{spent:>9.0f}"
            f"{error:>9.4f}{error / float(np.mean(errors[0])):>8.3f}{taken:>9.2f}{median(seconds[0]) / taken:>8.2f}"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} too")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--only", choices=("w2s", "planaria"))
    parser.add_argument("--try", dest="others", action="append", default=[], help="another network: stem=2,base=24")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    others = [{key: int(value) for key, value in (one.split("=") for one in text.split(","))} for text in given.others]
    lines = [
        machine.header(f"A faster network: {given.minutes:g} minutes of training, one member; restoring"),
        "",
        f"{'images':<20}{'network':<28}{'steps':>7}{'cpu s':>9}{'NRMSE':>9}{'ratio':>8}{'restore s':>10}{'faster':>7}",
    ]
    print("\n".join(lines), flush=True)
    if given.only != "planaria":
        lines += compared("W2S channel 0", "YX", w2s.split(w2s.DATA, 0), given.minutes, others or [FAST])
    if given.only != "w2s":
        lines += compared("planaria, simulated", "ZYX", planaria(), given.minutes, others or [FAST])
    if given.record:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
