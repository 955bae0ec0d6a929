"""Training and restoring beside other work on the same processor: is the number of threads chosen well?

    python benchmarks/busy.py --record

The command line as it is, beside 0, 1, 2 and 4 processes that spin: steps of training per second in a budget of time,
and voxels restored per second, with the number of threads that veriscope chooses and with each fixed number
(OMP_NUM_THREADS). Restoring is done as it is, by OpenVINO where that is installed and faster, and by PyTorch alone.
What is chosen should reach 90 % of the best fixed number. Means of two runs of each, in turns; half an hour on two
cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import machine
import numpy as np

import veriscope as vs
from veriscope.cores import available

RESULTS = Path(__file__).parent / "results" / "busy.txt"
BESIDE = (0, 1, 2, 4)
MINUTES = 0.6
ROUNDS = 2
SIZE = 1536  # pixels along Y and X of the image restored
SPIN = "while True: pass"


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that use all they get of a core each."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def images(folder: Path) -> None:
    """Pairs of simulated spots, and one large image."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    for number, size in [*((n, 256) for n in range(8)), (8, SIZE)]:
        truth = gaussian_filter((rng.random((size, size)) < 0.005).astype(np.float32), 2) * 5000
        low = rng.poisson(truth + 10).astype(np.float32)
        for name, array in (("low", low), ("high", truth)) if number < 8 else (("large", low),):
            (folder / name).mkdir(exist_ok=True)
            vs.save_image(folder / name / f"{number}.ome.tif", vs.Image(array, "YX"))


def command(words: list[str], threads: int | None) -> float:
    """Run a command of veriscope; its seconds."""
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "veriscope.apps.cli", *words], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def steps_per_second(folder: Path, threads: int | None) -> float:
    """Of one member, checks included."""
    model = folder / "model"
    words = ["train", "low", "high", "--members", "1", "--minutes", str(MINUTES), "--out", "model", "--overwrite"]
    command([word if word not in ("low", "high", "model") else str(folder / word) for word in words], threads)
    rows = list(csv.DictReader((model / "log.csv").open()))
    return int(rows[-1]["step"]) / float(rows[-1]["seconds"])


def voxels_per_second(folder: Path, threads: int | None, *more: str) -> float:
    """The command as a whole, the start of Python too."""
    places = [str(folder / name) for name in ("large", "model", "out")]
    words = ["restore", places[0], "--model", places[1], "--out", places[2], "--overwrite", *more]
    return SIZE**2 / command(words, threads) / 1e6


WORK: dict[str, Callable[[Path, int | None], float]] = {
    "training, steps/s": steps_per_second,
    "restoring, Mvoxel/s": voxels_per_second,
    "by PyTorch, Mvoxel/s": lambda folder, threads: voxels_per_second(folder, threads, "--precision", "float32"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} too")
    options = parser.parse_args()
    counts = sorted({1, available(), *(2**n for n in range(available().bit_length()) if 2**n < available())})
    lines = [
        machine.header("Beside other work on the same processor: threads chosen by veriscope against fixed numbers"),
        f"One member, {MINUTES:g} minutes of training on pairs of 256 x 256 pixels; restoring {SIZE} x {SIZE} pixels "
        f"with it. OMP_WAIT_POLICY as veriscope sets it.",
        "",
        f"{'work':<22}{'beside':>8}"
        + "".join(f"{f'{n} threads':>12}" for n in counts)
        + f"{'chosen':>12}{'of best':>9}",
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images(folder)
        for beside in BESIDE:
            with spinning(beside):
                rows: dict[str, list[float]] = {}
                for name, measure in WORK.items():
                    rounds = [[measure(folder, number) for number in (*counts, None)] for _ in range(ROUNDS)]
                    rows[name] = np.mean(rounds, axis=0).tolist()
            for name, found in rows.items():
                *fixed, chosen = found
                lines.append(
                    f"{name:<22}{beside:>8}"
                    + "".join(f"{one:>12.3g}" for one in found)
                    + f"{chosen / max(fixed):>8.0%}"
                )
                print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.record:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
