"""Real nuclei with masks in simulated low light, for benchmarks/segmentation.py: one image is all there is."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import showing
from finding import HEAD, NUCLEI, Array, Valleys, chosen, row
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.judging.quality import quality
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.objects.overlaps import scores
from veriscope.simulate.photograph import low_light

LEVELS = (5.0, 15.0, 50.0)  # photons where the image is brightest
GAP = 32  # pixels between what is learned, checked, and tested
DRAWS = 5  # of noise, for each level: to choose settings on, and as many others to score
SHOWN = 256  # rows
TOLD = "NRMSE"
Make = Callable[[Image, Image], Any]


@dataclass(frozen=True, eq=False)
class Parts:
    """One image: its left half to learn from, but for the last quarter of that to check by, its right half to test.

    How to segment is chosen on the whole left half: the nuclei of its last quarter are too few.
    """

    learn: Image
    check: Image
    left: Image
    test: Image
    left_labels: Array
    test_labels: Array

    @classmethod
    def of(cls, image: Array, mask: Array) -> Parts:
        middle, cut = image.shape[1] // 2, 3 * image.shape[0] // 4
        left, right = slice(middle - GAP // 2), slice(middle + GAP // 2, None)
        rows = slice(cut - GAP // 2), slice(cut + GAP // 2, None)
        pixels, labels = image.astype(np.float32), mask.astype(np.int64)
        where = ((rows[0], left), (rows[1], left), (slice(None), left), (slice(None), right))
        parts = [Image(pixels[one], "YX") for one in where]
        return cls(*parts, labels[:, left], labels[:, right])


def part(
    given: argparse.Namespace,
    denoised: Make,
    restored: Callable[[Image, Ensemble], Array],
    colours: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    folder = given.data / "seg_stardist"
    parts = Parts.of(*(np.asarray(vs.read_image(folder / f"{name}2d.tif", axes="YX")) for name in ("img", "mask")))
    say(
        f"\nOne image of nuclei (DSB2018), parts {GAP} pixels apart. Learned from {_size(parts.learn)}, "
        f"{_size(parts.check)} beside it tell which weights are kept.\nHow to segment is chosen by ERROR on the half "
        f"that holds both ({_count(parts.left_labels)} nuclei), with {DRAWS} draws of noise that no network has seen.\n"
        f"Tested on the other half, {_size(parts.test)} ({_count(parts.test_labels)} nuclei), with {DRAWS} draws: "
        f"the spread is that of noise, not of nuclei."
    )
    ways: dict[str, Make] = {"input": lambda low, truth: low, "Gaussian": smoothed, "non-local means": denoised}
    begin = time.monotonic()
    model = trained(parts, given.real_epochs)
    steps = model.facts.history[-1]["step"]
    say(f"one network for all levels, {steps} steps of 4 patches in {time.monotonic() - begin:.0f} s")
    ways["network"] = lambda low, truth: restored(low, model)
    ways["clean truth"] = lambda low, truth: truth
    lines: dict[str, dict[str, list[float]]] = {"NRMSE": {}, "SEG": {}, "AP": {}}
    touching, pictures = Valleys(), []
    for photons in LEVELS:
        say(f"\n{photons:g} photons where it is brightest\n{HEAD} {TOLD:>13}")
        for method, make in ways.items():
            draws = 1 if method == "clean truth" else DRAWS
            there = made(parts.left, photons, 200, draws, make)
            settings = chosen(touching, NUCLEI, [(one, parts.left_labels) for one in there], "error")
            here = made(parts.test, photons, 300, draws, make)
            found = [touching(one, **settings) for one in here]
            reached = [scores(parts.test_labels, one) for one in found]
            off = [quality(np.asarray(parts.test), one).nrmse for one in here]
            say(row(method, reached, settings, f" {np.mean(off):6.4f} ±{np.std(off):.4f}"))
            figures = (off, [one.seg for one in reached], [one.average_precision for one in reached])
            for line, values in zip(lines.values(), figures, strict=True):
                line.setdefault(method, []).append(float(np.mean(values)))
            if photons == LEVELS[0]:
                seen = (here[0], parts.test_labels, found[0])
                pictures.append(showing.Found(method, *(one[:SHOWN] for one in seen)))
    panels = [
        showing.Lines(
            f"real nuclei: {name}", "photons where it is brightest", name, np.array(LEVELS),
            {method: np.array(line) for method, line in found.items()},
        )
        for name, found in lines.items()
    ]  # fmt: skip
    showing.save(given.pictures / "segmentation-real.png", pictures, panels, 3, colours)


def made(truth: Image, photons: float, seed: int, draws: int, make: Make) -> list[Array]:
    """What a method makes of several draws of noise."""
    return [np.asarray(make(low_light(truth, photons, seed + n), truth)) for n in range(draws)]


def trained(parts: Parts, epochs: int) -> Ensemble:
    """A small network for all levels of light, from eight draws of noise at each.

    Half as many channels as usual make twice as many steps in the same time (experiments/LOG.md).
    """
    learned = [_seen(parts.learn, photons, 1 + n) for photons in LEVELS for n in range(8)]
    checked = [_seen(parts.check, photons, 100 + n) for photons in LEVELS for n in range(4)]
    recipe = Recipe(axes="YX", patch=(64, 64), base=16)
    settings: dict[str, Any] = {"members": 1, "epochs": epochs, "per_image": 16, "foreground": None, "progress": False}
    return vs.train(recipe, Pairs(learned), Pairs(checked), **settings)


def smoothed(low: Image, truth: Image) -> Array:
    """A Gaussian, tuned on the test image as non-local means is."""
    tried = [gaussian_filter(np.asarray(low, np.float32), sigma) for sigma in np.geomspace(0.5, 6, 15)]
    return min(tried, key=lambda image: quality(np.asarray(truth), image).nrmse)


def _seen(truth: Image, photons: float, seed: int) -> Pair:
    return Pair(low_light(truth, photons, seed), truth, f"{photons:g}-{seed}")


def _size(image: Image) -> str:
    return " x ".join(map(str, image.shape))


def _count(labels: Array) -> int:
    return len(np.unique(labels)) - 1
