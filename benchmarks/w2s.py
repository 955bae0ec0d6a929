"""Quality on real pairs: a network trained on W2S within a budget of time, against non-local means at its best.

    python benchmarks/w2s.py --channel 0 --minutes 20

Trains on fields 1-36 (4 of them for checking), tests on fields 37-40 of a folder with ch0/low, ch0/high, ...
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import machine
import numpy as np

import veriscope as vs
from veriscope.classical.denoise import NON_LOCAL_MEANS
from veriscope.classical.tune import best
from veriscope.images.pairing import Pairs
from veriscope.judging.quality import SETTINGS, quality
from veriscope.networks.recipe import Recipe
from veriscope.training.progress import Step

CHECKED = (9, 18, 27, 36)
TESTED = (37, 38, 39, 40)


class Lines:
    """Progress as a line of text every half minute, fit for a file."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, report: Step) -> None:
        if time.monotonic() > self.next and report.check_loss is not None:
            self.next = time.monotonic() + 30
            print(
                f"  member {report.member + 1}/{report.members} step {report.step}/{report.steps}: "
                f"check {report.check_loss:.4f}, {report.patches_per_second:.1f} patches/s",
                flush=True,
            )


DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "w2s"


def split(data: Path, channel: int) -> tuple[Pairs, Pairs, Pairs]:
    """The fields to train on, to check and to test on."""
    folder = data / f"ch{channel}"
    field = {int(pair.name[-3:]): pair for pair in vs.read_pairs(folder / "low", folder / "high", axes="YX")}
    train = Pairs([pair for number, pair in field.items() if number <= 36 and number not in CHECKED])
    return train, Pairs([field[number] for number in CHECKED]), Pairs([field[number] for number in TESTED])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", help="a recipe of the paper, such as ins1; otherwise veriscope's own")
    parser.add_argument("--keep", type=Path, help="folder for the trained model")
    parser.add_argument("--no-classical", action="store_true", help="leave out non-local means")
    given = parser.parse_args()

    print(machine.header(f"W2S channel {given.channel}, {given.minutes:g} minutes, {given.members} member(s)"))
    train, check, test = split(given.data, given.channel)

    recipe = Recipe.paper(given.preset) if given.preset else Recipe(axes="YX")
    print(f"recipe: {recipe}")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        ensemble = vs.train(
            recipe,
            train,
            check,
            members=given.members,
            minutes=given.minutes,
            seed=given.seed,
            folder=given.keep or Path(temporary) / "model",
            foreground=None,
            progress=Lines(),
        )
    trained = time.perf_counter() - begin
    history = ensemble.facts.history
    steps = sum(max(row["step"] for row in history if row["member"] == n) for n in range(len(ensemble)))
    print(
        f"trained {steps} steps of {recipe.batch} patches in {trained:.0f} s, "
        f"{trained / (60 * given.minutes):.3f} of the budget; convolutions in {ensemble.facts.training['precision']}"
    )

    rows: dict[str, list[tuple[float, float, float]]] = {}
    seconds = []
    for pair in test:
        low, high = np.asarray(pair.low, np.float32), np.asarray(pair.high, np.float32)
        start = time.perf_counter()
        restored = np.asarray(vs.restore(pair.low, ensemble).mean)
        seconds.append(time.perf_counter() - start)
        results = {"input": low, "network": restored}
        if not given.no_classical:
            results["non-local means, tuned on the test image"] = best(NON_LOCAL_MEANS, low, high).image
        for name, image in results.items():
            measured = quality(high, image)
            rows.setdefault(name, []).append((measured.nrmse, measured.psnr, measured.ssim))
    print(f"restored {pair.low.shape[0]} x {pair.low.shape[1]} pixels in {np.median(seconds):.2f} s")
    print(f"\n{'fields 37-40':44}  NRMSE   PSNR   SSIM")
    for name, values in sorted(rows.items(), key=lambda item: -item[1][0][0]):
        nrmse, psnr, ssim = np.mean(values, axis=0)
        print(f"{name:44}  {nrmse:.4f}  {psnr:5.2f}  {ssim:.3f}")
    print(f"\n{SETTINGS}")


if __name__ == "__main__":
    main()
