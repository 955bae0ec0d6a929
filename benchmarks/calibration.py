"""Do the probabilities come true with the defaults? And is the error of a restoration what it was expected to be?

    python benchmarks/calibration.py --models DIR --record              # trains what is not in DIR yet, then judges
    python benchmarks/calibration.py --models DIR --only w2s0 planaria

Networks are trained by the command line with its defaults, but for what a table says: five members, and --minutes.
W2S by `veriscope train` on fields 1-36, tested on fields 37-40; the demo's stack by `veriscope demo`, tested on what it
is judged on; simulated images by `veriscope reproduce`, tested on its test images, whose truth has no noise, and on
the same with the noise of full light, which the truths of training have. Images are restored by `veriscope.restore` as
it is. Nothing here is tuned: what is measured after training comes from training.

For each set: as the networks predict; with all scales times one factor, measured on the images kept aside (what there
was before); and calibrated, as a user gets it. Width: mean width of the 90 % interval once it is stretched to hold
exactly 90 %. CRPS: continuous ranked probability score. Both in parts of 1000 of the truth's range; lower is better.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import w2s
from scipy.optimize import minimize_scalar

import veriscope as vs
from veriscope import laplace
from veriscope.calibrated import AsPredicted
from veriscope.comparing.judge import predictions
from veriscope.errors import VeriscopeWarning
from veriscope.images.conditions import TESTING, TRAINING, part, pooled, read_conditions
from veriscope.images.pairing import Pair, Pairs
from veriscope.judging import quality
from veriscope.judging.calibration import EPS, reliability_of
from veriscope.reproducing.material import CHECKED
from veriscope.simulate.standins import STANDINS

RESULTS = Path(__file__).parent / "results"
STANDS = ("planaria", "tribolium", "flywing", "drosophila", "retina", "liver")
SETS = ("w2s0", "w2s1", "w2s2", "demo", *STANDS)
MINUTES = {"w2s": 20.0, "demo": 4.8, **dict.fromkeys(STANDS, 8.0)}  # the defaults
LEVELS = (0.5, 0.9, 0.99)
PIXELS = 2**16  # of an image
QUANTILES = np.arange(0.025, 1, 0.05)
FACTORS = (0.01, 100.0)  # between which scales are corrected


@dataclass(frozen=True)
class Seen:
    """Pixels of one channel of a restored image, in parts of its truth's range."""

    means: Any  # (M, n)
    scales: Any
    truth: Any  # (n,)
    widening: Any


@dataclass(frozen=True)
class Figures:
    """What a set of images says of one way to predict."""

    ece: tuple[float, ...]
    coverage: tuple[float, ...]
    width: float
    bright: float
    score: float
    likelihood: float
    crps: float

    def __str__(self) -> str:
        ece = " ".join(f"{100 * value:5.1f}" for value in self.ece)
        held = " ".join(f"{100 * value:5.1f}" for value in self.coverage)
        sharp = f"{1000 * self.width:6.1f} {100 * self.bright:6.1f} {1000 * self.score:6.1f}"
        return f"{ece}   {held}   {sharp} {self.likelihood:7.3f} {1000 * self.crps:6.2f}"


def command(*words: Any) -> None:
    subprocess.run([sys.executable, "-m", "veriscope.apps.cli", *map(str, words)], check=True)


def train(name: str, folder: Path, minutes: float | None) -> None:
    """The model of one set, as a user would train it, in `folder`/`name`."""
    target = folder / name
    if name.startswith("w2s"):
        with tempfile.TemporaryDirectory() as scratch:
            for which in ("low", "high"):
                (Path(scratch) / which).mkdir()
                for path in sorted((w2s.DATA / f"ch{name[3]}" / which).iterdir()):
                    if int(path.stem[-3:]) not in w2s.TESTED:
                        (Path(scratch) / which / path.name).symlink_to(path)
            places = Path(scratch) / "low", Path(scratch) / "high"
            command("train", *places, "--axes", "YX", "--out", target, "--minutes", minutes or MINUTES["w2s"])
    elif name == "demo":
        command("demo", "--members", 5, "--minutes", minutes or MINUTES["demo"], "--out", folder / "demo-results")
        (folder / "demo-results" / "model").rename(target)
    else:
        command(
            "reproduce", name, "--members", 5, "--minutes", minutes or MINUTES[name], "--out", folder / f"{name}-run"
        )
        (folder / f"{name}-run" / "model").rename(target)
        (folder / f"{name}-run" / "data").rename(folder / f"{name}-data")


def pairs_of(name: str, folder: Path, model: Any) -> tuple[Pairs, Pairs | None]:
    """Pairs to test on, and those kept aside in training (None where there are no whole ones)."""
    if name.startswith("w2s"):
        places = w2s.DATA / f"ch{name[3]}"
        field = {int(pair.name[-3:]): pair for pair in vs.read_pairs(places / "low", places / "high", axes="YX")}
        learned = Pairs([pair for number, pair in field.items() if number not in w2s.TESTED])
        return Pairs([field[number] for number in w2s.TESTED]), learned.split(check=0.1, test=0, seed=0)[1]
    if name == "demo":
        from veriscope.apps.demo import _nuclei

        task = _nuclei(0)
        return task.tests, task.checking
    data = folder / f"{name}-data"
    tests = pooled(read_conditions(part(data, TESTING), finer=model.recipe.finer))
    if model.recipe.isotropic:
        return tests, None
    return tests, pooled(read_conditions(part(data, TRAINING))).split(check=CHECKED, test=0, seed=0)[1]


def with_noise(name: str, pair: Pair, rng: np.random.Generator) -> Pair:
    """The same, its truth photographed with all the light there is."""
    camera, exact = STANDINS[name].camera, np.asarray(pair.high, np.float64)
    photons = np.maximum(exact - camera.offset, 0) / camera.gain
    seen = camera.gain * rng.poisson(photons) + camera.offset + rng.normal(0, camera.read_noise, exact.shape)
    return replace(pair, high=pair.high.with_array(seen.astype(np.float32)))


def looked_at(model: Any, pairs: Pairs, change: Callable[[Pair], Pair] | None) -> Iterator[tuple[Seen, Any, Any]]:
    """Pixels of every channel as they are, and with another truth; then expected and found NRMSE of each image."""
    on_grid = replace(model, recipe=model.recipe.change(upsample=()))
    for pair in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)
            restored = vs.restore(pair.low, on_grid, lazy=False)
        found = []
        for one in (pair, change(pair)) if change else (pair,):
            truth = one.high.moved(one.high.axes.replace("Z", "")) if model.recipe.projects else one.high
            error = quality.quality(truth, restored.mean).nrmse
            found.append((list(pixels(truth, restored)), error))
        yield found, restored.expected, pair.name


def pixels(truth: Any, restored: Any) -> Iterator[Seen]:
    truth = truth.in_memory()
    for channel in range(truth.size("C")):
        for high, mean, means, scales, wide in predictions(truth, restored, channel):
            y = quality.normalize_truth(high)
            a, b = quality.affine_match(y, np.asarray(mean, np.float64))
            some = np.random.default_rng(0).permutation(y.size)[:PIXELS]
            mu, width = (one.reshape(len(one), -1)[:, some] for one in (means, scales))
            factor = np.broadcast_to(wide, y.shape).ravel()[some]
            arrays = a * mu + b, abs(a) * width, y.ravel()[some], factor
            yield Seen(*(np.asarray(one, np.float32) for one in arrays))


def figures(seen: list[Seen], distribution: Any, factor: float | None = None) -> Figures:
    """`factor`: multiplies the scales."""
    parts = [(one.means, one.scales * (factor or 1), one.widening, one.truth) for one in seen]
    errors = np.concatenate([np.abs(y - laplace.mixture_mean(mu)) for mu, _, _, y in parts])
    ece = []
    for eps in EPS:
        said = np.concatenate([distribution.probability(mu, b, wide, eps) for mu, b, wide, _ in parts])
        ece.append(reliability_of(said, errors <= eps, eps).ece)
    halves = {p: np.concatenate([distribution.half_width(mu, b, wide, p) for mu, b, wide, _ in parts]) for p in LEVELS}
    stretch = np.quantile(errors / halves[0.9], 0.9)
    scales = np.concatenate([laplace.mixture_scale(mu, b) for mu, b, _, _ in parts])
    bright = scales >= np.quantile(scales, 0.8)
    score = 2 * halves[0.9] + 2 / (1 - 0.9) * np.maximum(errors - halves[0.9], 0)
    likelihood = np.concatenate([distribution.log_likelihood(*one) for one in parts]).mean(dtype=np.float64)
    crps = []
    for u in QUANTILES:
        off = np.concatenate([y - distribution.quantile(mu, b, wide, float(u)) for mu, b, wide, y in parts])
        crps.append(2 * np.maximum(u * off, (u - 1) * off).mean())
    return Figures(
        tuple(ece),
        tuple(float(np.mean(errors <= halves[p])) for p in LEVELS),
        float(2 * stretch * halves[0.9].mean()),
        float(np.mean(errors[bright] <= stretch * halves[0.9][bright])),
        float(score.mean()),
        float(likelihood),
        float(np.mean(crps)),
    )


def scale_factor(mu: Any, b: Any, y: Any) -> float:
    """The factor for all scales that makes the truth most likely, as calibration was done at first: for one network the
    mean of |truth - mean| / scale, for an ensemble the maximum of the mixture's likelihood (3.14), to 1e-3.
    """
    if len(mu) == 1:
        return float(np.clip(np.mean(np.abs(y - mu[0]) / b[0], dtype=np.float64), *FACTORS))

    def surprise(log_factor: float) -> float:
        return -float(np.mean(laplace.log_likelihood(mu, b * np.exp(log_factor), y), dtype=np.float64))

    bounds = np.log(FACTORS)
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": 1e-3}).x))


def single_factor(model: Any, aside: Pairs | None) -> float | None:
    if aside is None:
        return None
    seen = [one for found, *_ in looked_at(model, aside, None) for one in found[0][0]]
    means, scales = (np.concatenate([getattr(one, what) for one in seen], 1) for what in ("means", "scales"))
    return scale_factor(means, scales, np.concatenate([one.truth for one in seen]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of models, those missing are trained into it"
    )
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--minutes", type=float, help="of each training; the defaults if left out")
    parser.add_argument("--note", default="", help="a line for the record, such as what else ran")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/calibration.txt")
    given = parser.parse_args()
    lines: list[str] = []

    def say(text: str = "") -> None:
        lines.append(text)
        print(text, flush=True)

    say(machine.header("Calibration with the defaults"))
    if given.note:
        say(given.note)
    titles = " ".join(f"{eps:>5g}" for eps in EPS), " ".join(f"{level:>5.0%}" for level in LEVELS)
    say(f"\n{'':34} ECE % {titles[0]}   held % {titles[1]}   width bright  score  likel.   CRPS")
    errors, kept = [], []
    for name in given.only:
        if not (given.models / name).exists():
            train(name, given.models, given.minutes)
        model = vs.load(given.models / name)
        tests, aside = pairs_of(name, given.models, model)
        rng = np.random.default_rng(1)
        noisy = (lambda pair, name=name, rng=rng: with_noise(name, pair, rng)) if name in STANDS else None
        whole = list(looked_at(model, tests, noisy))
        factor = single_factor(model, aside)
        from veriscope.restoring.settling import stored_calibration

        right = stored_calibration(model)
        minutes = model.facts.training["minutes"]
        say(f"{name}: {len(model)} members, {minutes:g} minutes, {len(whole)} test images")
        for number, truths in enumerate(("truth as it is" if noisy is None else "truth without noise", "with noise")):
            if number and noisy is None:
                continue
            seen = [one for found, *_ in whole for one in found[number][0]]
            say(f"  {truths:21} as predicted  {figures(seen, AsPredicted())}")
            if factor is not None:
                say(f"  {'':21} one factor    {figures(seen, AsPredicted(), factor)}")
            if right is not None:
                now = figures(seen, right)
                say(f"  {'':21} calibrated    {now}")
                kept.append((name, truths, now))
        last = -1 if noisy else 0
        errors += [(name, image, expected, found[last][1]) for found, expected, image in whole if expected]
    say("\nExpected and found NRMSE (simulated: truth with the noise of training)")
    for name in given.only:
        own = [(one.nrmse, found, one.low <= found <= one.high) for which, _, one, found in errors if which == name]
        if own:
            said = ", ".join(f"{found / expected:.2f}" for expected, found, _ in own)
            near, inside = (
                f"{np.mean(values):4.0%}"
                for values in ([abs(e / f - 1) <= 0.2 for e, f, _ in own], [held for *_, held in own])
            )
            say(f"  {name:11} within 20 %: {near}, in the interval: {inside}; found / expected {said}")
    near = np.mean([abs(expected.nrmse / found - 1) <= 0.2 for *_, expected, found in errors])
    inside = np.mean([expected.low <= found <= expected.high for *_, expected, found in errors])
    say(f"  all {len(errors)} images: within 20 % of the found one {near:.0%}, in the 90 % interval {inside:.0%}")
    good = [one for *_, one in kept if max(one.ece) <= 0.02 and np.abs(np.subtract(one.coverage, LEVELS)).max() <= 0.02]
    say(f"\nECE at most 2 % and coverage within 2 points in {len(good)} of {len(kept)} rows 'calibrated'")
    if given.record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "calibration.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
