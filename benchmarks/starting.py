"""A network that starts from another, against one from nothing: W2S channel 1, of 512 x 512 pixels, one member.

    python benchmarks/starting.py [--from MODEL ...] [--steps 256 512 1024 3072] [--pairs 1 4 32] [--record]

Trainings are as long as so many steps of four patches, which take the same time with and without a start, whatever else
the machine does. The network that is started from learned channel 0 for `--first` steps; `--from` adds others, such as
one that comes with veriscope. Error: NRMSE, mean of fields 37-40, which no training saw.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import machine
import numpy as np
from w2s import DATA, split

import veriscope as vs
from veriscope.images.pairing import Pairs
from veriscope.judging.quality import quality
from veriscope.networks.model import Ensemble
from veriscope.tables import Column, Table

RESULT = Path(__file__).parent / "results" / "starting.txt"


def error(model: Ensemble, test: Pairs) -> float:
    """NRMSE, mean over the pairs."""
    restored = [np.asarray(vs.restore(pair.low, model).mean) for pair in test]
    return float(np.mean([quality(np.asarray(p.high), image).nrmse for p, image in zip(test, restored, strict=True)]))


def trained(pairs: Pairs, check: Pairs | float, steps: int, start: Ensemble | None) -> Ensemble:
    """One network after so many steps."""
    from veriscope.patches.patches import Patches
    from veriscope.training.material import Cutting, FromPairs, prepare

    recipe = vs.Recipe(axes="YX")
    patches = prepare(FromPairs(pairs), recipe, check, Cutting()).patches
    assert isinstance(patches, Patches)
    epochs = max(1, round(steps * recipe.batch / len(patches)))
    return vs.train(recipe, pairs, check, members=1, epochs=epochs, start=start, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--from", dest="models", nargs="*", default=[], help="further models to start from")
    parser.add_argument("--steps", type=int, nargs="+", default=[256, 512, 1024, 3072])
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--first", type=int, default=2048, help="steps on channel 0")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/starting.txt")
    given = parser.parse_args()

    pairs, check, test = split(given.data, 1)
    before = time.process_time()
    first = trained(*split(given.data, 0)[:2], given.first, None)
    each = (time.process_time() - before) / given.first
    starts: dict[str, Ensemble | None] = {"nothing": None, f"channel 0, {given.first} steps": first}
    starts |= {name: vs.load(name) for name in given.models}
    said = [machine.header("W2S channel 1 from another network"), f"A step took about {each:.3f} s of processor."]
    said += [f"{name}, unchanged: {error(model, test):.4f}" for name, model in starts.items() if model is not None]
    columns = [Column("pairs"), Column("started from", left=True), *(Column(f"{n} steps", ".4f") for n in given.steps)]
    rows: list[list[object]] = []
    for count in given.pairs:
        beside: Pairs | float = check if count >= len(pairs) else 0.1  # few pairs are all that there is
        for name, start in starts.items():
            errors = [error(trained(Pairs(pairs[:count]), beside, steps, start), test) for steps in given.steps]
            rows.append([count, name, *errors])
            print(*rows[-1], flush=True)
    text = "\n".join([*said, "", Table(columns, rows, "NRMSE on fields 37-40").text()])
    print(text)
    if given.record:
        RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
