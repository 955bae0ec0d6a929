"""What the scripts of the paper's experiments share: run `veriscope reproduce` and keep what it prints."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "benchmarks"))
import machine  # noqa: E402

from veriscope.reproducing.reproduce import Reporter, Run, reproduce  # noqa: E402


def main(name: str, told: str | None) -> None:
    """Run experiment `name` as the command line says; `told` is the docstring of its script."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("tiny", "small", "paper"), default="small")
    parser.add_argument("--minutes", type=float, help="of training; as the scale says if left out")
    parser.add_argument("--members", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="the published images instead of simulated ones")
    parser.add_argument("--axes", help="of the images in --data, where they do not say them")
    parser.add_argument("--out", type=Path, help="folder for images, model and reports; a temporary one if left out")
    parser.add_argument("--record", action="store_true", help="write results/NAME-SCALE.txt too")
    given = parser.parse_args()
    began = time.monotonic()
    again = given.out is not None and (given.out / "model").exists()
    run = Run(name, given.scale, given.seed, given.data, given.minutes, given.members, given.axes)
    with tempfile.TemporaryDirectory() as scratch:
        outcome = reproduce(run, given.out or scratch, Reporter(say=lambda text: print(text, file=sys.stderr)))
    facts = ", ".join(f"{key} {value}" for key, value in outcome.facts.items() if value is not None)
    spent = f"{(time.monotonic() - began) / 60:.1f} minutes in all{', networks of an earlier run' if again else ''}"
    text = f"{machine.header(name)}\n{facts}\n{spent}\n\n{outcome}\n"
    print(text)
    if given.record:
        (HERE / "results" / f"{name}-{given.scale}.txt").write_text(text, encoding="utf-8")
