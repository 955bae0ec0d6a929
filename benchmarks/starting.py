"""A network that starts from another, against one from nothing: W2S channel 1, of 512 x 512 pixels, one member.

    python benchmarks/starting.py [--from MODEL ...] [--minutes 0.5 1 2 6] [--pairs 1 4 32] [--shorter 1] [--record]

The network that is started from learned channel 0 for `--first` minutes; `--from` adds others, such as one that comes
with veriscope. Error: NRMSE, mean of fields 37-40, which no training saw. Trainings that start from a network are given
`--minutes` but the `--shorter` longest ones.
"""

from __future__ import annotations

import argparse
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--from", dest="models", nargs="*", default=[], help="further models to start from")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 1, 2, 6])
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--shorter", type=int, default=0)
    parser.add_argument("--first", type=float, default=2, help="minutes on channel 0")
    parser.add_argument("--record", action="store_true", help="add to benchmarks/results/starting.txt")
    given = parser.parse_args()

    recipe = vs.Recipe(axes="YX")
    pairs, check, test = split(given.data, 1)
    first = vs.train(recipe, *split(given.data, 0)[:2], members=1, minutes=given.first, progress=False)
    starts: dict[str, Ensemble | None] = {"nothing": None, f"channel 0, {given.first:g} min": first}
    starts |= {name: vs.load(name) for name in given.models}
    said = [machine.header(f"W2S channel 1 from another network, minutes {given.minutes}")]
    said += [f"{name}, unchanged: {error(model, test):.4f}" for name, model in starts.items() if model is not None]
    columns = [
        Column("pairs"),
        Column("started from", left=True),
        *(Column(f"{n:g} min", ".4f") for n in given.minutes),
    ]
    rows: list[list[object]] = []
    for count in given.pairs:
        for name, start in starts.items():
            times = given.minutes if start is None else given.minutes[: len(given.minutes) - given.shorter]
            errors: list[float | None] = []
            for minutes in times:
                some = pairs if count >= len(pairs) else Pairs(pairs[:count])
                beside = check if count >= len(pairs) else 0.1  # few pairs are all that there is
                model = vs.train(recipe, some, beside, members=1, minutes=minutes, start=start, progress=False)
                errors.append(error(model, test))
            rows.append([count, name, *errors, *[None] * (len(given.minutes) - len(errors))])
            print(*rows[-1], flush=True)
    text = "\n".join([*said, "", Table(columns, rows, "NRMSE on fields 37-40").text()])
    print(text)
    if given.record:
        with open(RESULT, "a", encoding="utf-8") as file:
            file.write(text + "\n\n")


if __name__ == "__main__":
    main()
