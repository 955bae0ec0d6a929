"""Speed and error of the mathematics of trust: entropy, disagreement, interval probabilities of an ensemble of five.

    python benchmarks/trust.py             # half a minute on two cores
    python benchmarks/trust.py --record    # also writes benchmarks/results/trust.txt
    python benchmarks/trust.py --models DIR --record   # and what the verdict costs: models of benchmarks/calibration.py

Compares, in one run and on the same pixels, `veriscope.laplace` with plain NumPy: the same kind of rule written down
without thought of memory or threads. Errors are those on hard mixtures (scales from 1e-3 to 1, means up to 2 apart),
against a composite Gauss-Legendre rule of 24 nodes between points near every member's mean.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import calibration
import machine
import numpy as np
import torch

import veriscope as vs
from veriscope import laplace
from veriscope.calibrated import AsPredicted, Sample, fit
from veriscope.errors import VeriscopeWarning
from veriscope.looking import look

RESULTS = Path(__file__).parent / "results"
MEMBERS = 5
PIXELS = 2_000_000
PLAIN_PIXELS = 50_000  # for plain NumPy, whose memory grows with them
HARD = 4000
EPS = 0.05
VERDICTS = "w2s0", "demo", "planaria", "tribolium"  # models
TURNS = 6  # of restoring, the first of which does not count
WINDOW = (32, 32)  # in which tiles are compared with the images of training


def plain_entropy(mean: Any, scale: Any, nodes: int = 10, tail_nodes: int = 16) -> Any:
    """The graded rule of `laplace` for -p ln p, in arrays of all members and nodes at once."""
    order = np.sort(mean, axis=0)
    fine, coarse = scale.min(0), scale.max(0)

    def part(start: Any, side: int, length: Any, count: int) -> Any:
        at, weight = (values.astype(mean.dtype) for values in np.polynomial.legendre.leggauss(count))
        top = np.log1p(length / fine)
        grown = np.exp(0.5 * (at[:, None] + 1) * top)
        z = start + side * fine * (grown - 1)
        p = np.mean(np.exp(-np.abs(z[None] - mean[:, None]) / scale[:, None]) / (2 * scale[:, None]), axis=0)
        return -0.5 * top * fine * (weight[:, None] * grown * p * np.log(np.maximum(p, 1e-30))).sum(0)

    total = part(order[0], -1, 36 * coarse, tail_nodes) + part(order[-1], 1, 36 * coarse, tail_nodes)
    for left, right in pairwise(order):
        total += part(left, 1, (right - left) / 2, nodes) + part(right, -1, (right - left) / 2, nodes)
    return total


def plain_probability(mean: Any, scale: Any) -> Any:
    """Mean over members of F(centre + eps) - F(centre - eps)."""
    centre = mean.mean(0)

    def cdf(value: Any) -> Any:
        u = (value - mean) / scale
        return np.where(u < 0, 0.5 * np.exp(np.minimum(u, 0)), 1 - 0.5 * np.exp(-np.maximum(u, 0)))

    return (cdf(centre + EPS) - cdf(centre - EPS)).mean(0)


def exact_entropy(mean: Any, scale: Any) -> Any:
    steps = np.array([0, 0.25, 0.5, 1, 2, 4, 8, 16, 40])
    edges = np.concatenate([mean + side * step * scale for step in steps for side in (-1, 1)])
    edges.sort(axis=0)
    at, weight = np.polynomial.legendre.leggauss(24)
    total = np.zeros(mean.shape[1])
    for low, high in pairwise(edges):
        z = low + (high - low) * 0.5 * (at[:, None] + 1)
        p = np.mean([np.exp(-np.abs(z - mu) / b) / (2 * b) for mu, b in zip(mean, scale, strict=True)], axis=0)
        total -= 0.5 * (high - low) * (weight @ (p * np.log(np.maximum(p, 1e-300))))
    return total


def rate(work: Callable[[], object], pixels: int, rounds: int = 3) -> float:
    """Million pixels a second, the best of some rounds."""
    best = np.inf
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return pixels / best / 1e6


def put_right(mean: Any, scale: Any, say: Callable[[str], None]) -> None:
    """What it costs to be calibrated: the same images as the networks predict them and put right, in turn."""
    rng = np.random.default_rng(1)
    some = slice(0, 40_000)
    truth = mean[:, some].mean(0) + rng.normal(0, 0.05, 40_000).astype(np.float32)
    texture = np.array([0.1, 0.5])
    sample = Sample(mean[:, some], scale[:, some], truth, np.arange(40_000) // 100, texture)
    right, raw = fit([[sample]]), AsPredicted()
    assert right is not None
    wide = right.levels[0].factor(laplace.mixture_scale(mean, scale), texture)
    say(f"\n{'calibrated':28} {'million/s':>10}  {'time, in parts of that as predicted':>14}")
    for name, work in (
        ("probability within eps", lambda one: one.probability(mean, scale, wide, EPS)),
        ("90 % interval", lambda one: one.half_width(mean, scale, wide, 0.9)),
        ("quantile 0.05", lambda one: one.quantile(mean, scale, wide, 0.05)),
        ("scale", lambda one: one.scale(mean, scale, wide)),
        ("entropy", lambda one: one.entropy(mean, scale, wide)),
        ("sample", lambda one: one.sample(mean, scale, wide)),
    ):
        speeds = [rate(partial(work, one), PIXELS) for one in (raw, right)]
        say(f"{name:28} {speeds[1]:10.2f}  {speeds[0] / speeds[1]:14.2f}")


def verdicts(folder: Path, say: Callable[[str], None]) -> None:
    """Processor time of restoring a test image with its verdict, and with networks that know no training images."""
    say(f"\n{'verdict: model and test image':42} restored in s   of that for the verdict")
    for name in VERDICTS:
        model = vs.load(folder / name)
        image = calibration.pairs_of(name, folder, model)[0][0].low
        plain = replace(model, facts=model.facts.change(familiar=None))
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(TURNS):
            for knows, one in ((True, model), (False, plain)):
                began = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", VeriscopeWarning)
                    vs.restore(image, one, lazy=False)
                seconds[knows].append(time.process_time() - began)
        both, without = (float(np.median(seconds[knows][1:])) for knows in (True, False))
        say(f"{name + ', ' + ' x '.join(map(str, image.shape)):42} {both:13.2f}   {both / without - 1:24.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of models made by benchmarks/calibration.py")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/trust.txt")
    given = parser.parse_args()
    lines = [machine.header(f"Trust: {MEMBERS} members, float32, {PIXELS / 1e6:g} million pixels")]
    print(lines[0], flush=True)

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    rng = np.random.default_rng(0)
    mean = rng.normal(0.4, 0.05, (MEMBERS, PIXELS)).astype(np.float32)
    scale = rng.uniform(0.01, 0.1, (MEMBERS, PIXELS)).astype(np.float32)
    some = mean[:, :PLAIN_PIXELS], scale[:, :PLAIN_PIXELS]
    plain = {
        "entropy": rate(lambda: plain_entropy(*some), PLAIN_PIXELS),
        "probability": rate(lambda: plain_probability(*some), PLAIN_PIXELS),
    }
    hard_mean = rng.uniform(0, 1, (MEMBERS, HARD)) * 10 ** rng.uniform(-3, np.log10(2), HARD)
    hard_scale = 10 ** rng.uniform(-3, 0, (MEMBERS, HARD))
    exact = exact_entropy(hard_mean, hard_scale)
    hard = hard_mean.astype(np.float32), hard_scale.astype(np.float32)

    works: list[tuple[str, str | None, Callable[..., Any], Callable[[], Any] | None]] = [
        ("entropy", "entropy", laplace.entropy, lambda: laplace.entropy(*hard)),
        (
            "entropy, precise",
            "entropy",
            lambda m, b: laplace.entropy(m, b, precise=True),
            lambda: laplace.entropy(hard_mean, hard_scale, precise=True),
        ),
        ("disagreement", "entropy", laplace.disagreement, None),
        ("probability within eps", "probability", lambda m, b: laplace.interval_probability(m, b, EPS), None),
        ("90 % interval", None, lambda m, b: laplace.symmetric_interval(m, b, 0.9), None),
        ("quantile 0.05", None, lambda m, b: laplace.quantile(m, b, 0.05), None),
        ("sample", None, laplace.sample, None),
    ]
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        given_members: Any = mean, scale
        if device == "cuda":
            given_members = tuple(torch.from_numpy(values).cuda() for values in given_members)
        say(f"\n{device:28} {'million/s':>10}  {'of plain NumPy':>14}  largest and mean error, nat")
        for name, kind, work, check in works:
            speed = rate(partial(work, *given_members), PIXELS)
            line = f"{name:28} {speed:10.2f}  " + (f"{speed / plain[kind]:12.1f} x" if kind else " " * 14)
            if check is not None and device == "cpu":
                error = np.abs(check() - exact)
                line += f"  {error.max():.1e}, {error.mean():.1e}"
            say(line)
    tile = [values.reshape(MEMBERS, 1, 1000, -1) for values in (mean, scale)]
    speed = rate(lambda: look(tile[0][0], *tile, WINDOW), PIXELS)
    say(f"{'look at a tile (verdict)':28} {speed:10.2f}")
    put_right(mean, scale, say)
    if given.models is not None:
        verdicts(given.models, say)
    error = np.abs(plain_entropy(*hard) - exact)
    say(f"\nplain NumPy: entropy {plain['entropy']:.3f} million/s, error {error.max():.1e}, {error.mean():.1e}")
    say(f"plain NumPy: probability {plain['probability']:.2f} million/s")
    if given.record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "trust.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
