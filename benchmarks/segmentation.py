"""What restored images are good for: how well nuclei and cells are found in them, and followed over time.

    python benchmarks/segmentation.py --models DIR --only tribolium drosophila flywing movie real --record

DIR holds one folder for each experiment as `veriscope reproduce NAME --scale small --out DIR/NAME` leaves it; what is
missing is made (--minutes of training each). Every part can be run by itself and writes its own file; restored images
are kept in --keep, so that an interrupted run goes on where it stopped.

Three sets of simulated fields that have nothing in common: the networks were trained on those of seed 0; how to
segment (smoothing, threshold, depth of the watershed) is chosen for each method by itself, from the same settings, on
fields of seed --choose; all figures are of fields of seed --test, by which nothing is chosen. Nuclei are chosen by
ERROR, as SEG does not mind invented ones, cells by SEG. Non-local means is tuned on every test image itself, by its
truth. "clean truth" segments the true image in the same way: what this segmentation can do at best. The best of a curve
against the threshold sees the answer, as the paper's does.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import real_nuclei
import showing
from finding import (
    BLOBS,
    CELLS,
    HEAD,
    THRESHOLDS,
    Array,
    Segment,
    Settings,
    Valleys,
    against_thresholds,
    best_of,
    chosen,
    net,
    row,
)

import veriscope as vs
from veriscope.classical import methods as classical
from veriscope.classical import tune
from veriscope.classical.deconvolve import methods as deconvolutions
from veriscope.classical.denoise import NON_LOCAL_MEANS
from veriscope.errors import VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.resampling import resampled
from veriscope.networks.model import Ensemble
from veriscope.objects.overlaps import Scores, scores
from veriscope.objects.segment import fractions
from veriscope.objects.tracking import followed, track
from veriscope.reproducing.reproduce import Reporter, Run, reproduce
from veriscope.simulate.experiments import standin
from veriscope.simulate.movie import WingMovie, movie
from veriscope.simulate.standins import INPUT, LABELS, TRUTH

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NETWORK, NLM, CLEAN, CUBIC = "network", NON_LOCAL_MEANS.title, "clean truth", "cubic interpolation"
COLOURS = {
    INPUT: "#888888",
    CUBIC: "#888888",
    "maximum": "#888888",
    NLM: "#e69f00",
    "Richardson-Lucy": "#e69f00",
    "Gaussian": "#009e73",
    NETWORK: "#0072b2",
    CLEAN: "#000000",
}
Say = Callable[[str], None]
Make = Callable[[Image, Image], Any]  # from (low, truth) to what is segmented
Fields = Sequence[Mapping[str, Image]]


# -- images -----------------------------------------------------------------------------------------


class Kept:
    """Images that were made once are read again."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __call__(self, name: str, make: Callable[[], Any]) -> Array:
        if self.folder is None:
            return np.asarray(make(), np.float32)
        path = self.folder / f"{name.replace(' ', '-')}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.asarray(make(), np.float32))
        return np.load(path)


def networks(name: str, given: argparse.Namespace, say: Say) -> Ensemble:
    """The networks of an experiment; made where they are missing."""
    folder = given.models / name
    if not (folder / "table.json").exists():
        say(f"{name}: simulated, and trained for {given.minutes:g} minutes")
        reproduce(Run(name, "small", 0, minutes=given.minutes), folder, Reporter())
    model = vs.load(folder / "model")
    trained = model.facts.training
    say(f"{len(model)} networks, {trained['minutes']} minutes of training together, seed {trained['seed']}")
    return model


def fields(name: str, shape: Sequence[int], seed: int, count: int) -> Fields:
    stand = standin(name)
    return [stand.make(stand, np.random.default_rng((seed, n)), tuple(shape), True).images for n in range(count)]


def numbers(labels: Image) -> Array:
    return np.asarray(labels).astype(np.int64)


def restored(low: Image, model: Ensemble) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        return np.asarray(vs.restore(low, model).mean)


def denoised(low: Image, truth: Image) -> Array:
    return np.asarray(tune.best(NON_LOCAL_MEANS, low, truth).image)


# -- one condition, all methods ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reached:
    """What one method made of the test fields, and what was found there."""

    images: list[Array]
    found: list[Array]
    scores: list[Scores]
    settings: Settings


@dataclass(frozen=True, eq=False)
class Trial:
    """Fields to choose on and to test on, and how they are segmented."""

    name: str
    choosing: Fields
    testing: Fields
    segment: Segment
    grid: Mapping[str, Sequence[float]]
    by: str
    kept: Kept

    def run(self, condition: str, ways: Mapping[str, Make], say: Say) -> dict[str, Reached]:
        """Every method on the images of one condition, with a row in the table."""
        say(HEAD)
        labels, found = [numbers(one[LABELS]) for one in self.testing], {}
        for method, make in ways.items():
            others = zip(
                self._made("choose", self.choosing, condition, method, make),
                [numbers(one[LABELS]) for one in self.choosing],
                strict=True,
            )
            settings = chosen(self.segment, self.grid, others, self.by)
            images = self._made("test", self.testing, condition, method, make)
            segmented = [self.segment(image, **settings) for image in images]
            reached = [scores(truth, one) for truth, one in zip(labels, segmented, strict=True)]
            found[method] = Reached(images, segmented, reached, settings)
            say(row(method, reached, settings))
        return found

    def _made(self, part: str, seen: Fields, condition: str, method: str, make: Make) -> list[Array]:
        return [
            self.kept(f"{self.name}/{part}-{condition}-{method}-{n}", partial(make, one[condition], one[TRUTH]))
            for n, one in enumerate(seen)
        ]

    def told(self, given: argparse.Namespace) -> str:
        shapes = [" x ".join(map(str, fields[0][LABELS].shape)) for fields in (self.choosing, self.testing)]
        return (
            f"Chosen by {self.by.upper()} on {len(self.choosing)} fields of {shapes[0]} (seed {given.choose}), "
            f"scores of {len(self.testing)} others of {shapes[1]} (seed {given.test})."
        )


def sheet(title: str, curves: Mapping[str, Array]) -> list[showing.Lines]:
    """SEG and ERROR against the threshold."""
    return [
        showing.Lines(
            f"{title}: {name}", "threshold, part of the image's range", name, fractions(THRESHOLDS),
            {method: one[k] for method, one in curves.items()},
        )
        for k, name in enumerate(("SEG, higher is better", "ERROR, lower is better"))
    ]  # fmt: skip


def shown(
    reached: Mapping[str, Reached], titles: Mapping[str, str], truth: Array, **section: Any
) -> list[showing.Found]:
    """The first test field by some of the methods, under their titles."""
    return [
        showing.Found(title, reached[method].images[0], truth, reached[method].found[0], **section)
        for method, title in titles.items()
        if method in reached
    ]


# -- tribolium: nuclei in low light -----------------------------------------------------------------


def tribolium(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Nuclei at three levels of light (Supp. Fig. 7)."""
    model, stand = networks("tribolium", given, say), standin("tribolium")
    shape = (32, 128, 128)
    choosing, testing = fields("tribolium", (32, 96, 64), given.choose, 2), fields("tribolium", shape, given.test, 3)
    z, _, x = stand.voxel_size
    trial = Trial("tribolium", choosing, testing, Valleys(z / x), BLOBS, "error", kept)
    say(f"\nParted along valleys. {trial.told(given)}")
    say("The paper, on real embryos, by the best threshold: SEG .65 for the network, .47 for non-local means.")
    labels = [numbers(one[LABELS]) for one in testing]
    ways: dict[str, Make] = {
        INPUT: lambda low, truth: low,
        NLM: denoised,
        NETWORK: lambda low, truth: restored(low, model),
    }
    first: dict[str, Reached] = {}
    lines: list[showing.Lines] = []
    for condition, level in zip(stand.conditions, stand.levels, strict=True):
        say(f"\n{condition}, light 1/{1 / level:.0f}")
        last = condition == stand.conditions[-1]  # the truth is the same at every level
        reached = trial.run(condition, ways | ({CLEAN: lambda low, truth: truth} if last else {}), say)
        curves = against_thresholds({method: one.images for method, one in reached.items()}, labels)
        best_of(curves, say)
        first = first or reached
        lines += sheet(f"light 1/{1 / level:.0f}", curves)
    light = f"light 1/{1 / stand.levels[0]:.0f}"
    titles = {INPUT: f"input, {light}", NLM: f"{NLM}, {light}", NETWORK: f"network, {light}"}
    pictures = shown(first, titles, labels[0], section=_fullest(labels[0]))
    showing.save(given.pictures / "segmentation-tribolium.png", pictures, lines, 2, COLOURS)


def _fullest(labels: Array) -> int:
    """The plane with most of the objects in it."""
    return int(np.argmax((labels > 0).sum(axis=(1, 2))))


# -- drosophila: nuclei between planes far apart ----------------------------------------------------


def drosophila(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Isotropic restoration (Supp. Figs. 15, 16)."""
    model, stand = networks("drosophila", given, say), standin("drosophila")
    shape = (101, 96, 96)
    choosing = fields("drosophila", (101, 64, 64), given.choose, 2)
    testing = fields("drosophila", shape, given.test, 3)
    trial = Trial("drosophila", choosing, testing, Valleys(), BLOBS, "error", kept)
    ways: dict[str, Make] = {}
    psf = stand.optics.on(stand.voxel_size)
    say(f"\nParted along valleys. {trial.told(given)}")
    say("Richardson-Lucy: iterations by NRMSE on the first field to choose on (the tests see none of their truth).")
    for method in deconvolutions(psf, stand.subsample, background=stand.camera.offset):
        settings = tune.find(method, finer(choosing[0][INPUT], choosing[0][TRUTH]), choosing[0][TRUTH])
        say(f"  {method.title}: {settings[0]}")
        ways[method.title] = lambda low, truth, method=method, settings=settings: tune.apply(
            method, finer(low, truth), settings
        )
    ways |= {NETWORK: lambda low, truth: as_deep(restored(low, model), truth), CLEAN: lambda low, truth: truth}
    say("The paper, on real embryos: ERROR 0.0021 for the network, 0.017 for bicubic interpolation.\n")
    reached = trial.run(INPUT, ways, say)
    labels = [numbers(one[LABELS]) for one in testing]
    curves = against_thresholds({method: one.images for method, one in reached.items()}, labels)
    best_of(curves, say)
    names = {CUBIC: CUBIC, "Richardson-Lucy": "Richardson-Lucy", NETWORK: "network", CLEAN: "true image"}
    pictures = shown(reached, names, labels[0], section=labels[0].shape[1] // 2, upright=True)
    showing.save(given.pictures / "segmentation-drosophila.png", pictures, sheet("drosophila", curves), 2, COLOURS)


def finer(low: Image, truth: Image) -> Image:
    return resampled(low, {"Z": standin("drosophila").subsample}, {"Z": truth.size("Z")}).in_memory()


def as_deep(image: Array, truth: Image) -> Array:
    """As many planes as the truth has: restoring rounds up to the last plane that was taken."""
    planes = truth.size("Z")
    return np.pad(image, ((0, max(planes - len(image), 0)), (0, 0), (0, 0)), mode="edge")[:planes]


# -- flywing: cells of a surface --------------------------------------------------------------------


def flywing(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Cells in projections, at three levels of light (Supp. Fig. 10 shows these projections)."""
    model, stand = networks("flywing", given, say), standin("flywing")
    shape = (50, 192, 192)
    choosing, testing = fields("flywing", shape, given.choose, 2), fields("flywing", shape, given.test, 5)
    trial = Trial("flywing", choosing, testing, net, CELLS, "seg", kept)
    say(f"\nA watershed of the membranes. {trial.told(given)}")
    first: dict[str, Reached] = {}
    by_light: dict[str, list[list[float]]] = {}
    for condition, level in zip(stand.conditions, stand.levels, strict=True):
        say(f"\n{condition}, light 1/{1 / level:.0f}")
        reached = trial.run(condition, projections(model, clean=condition == stand.conditions[-1]), say)
        first = first or reached
        for method, one in reached.items():
            by_light.setdefault(method, []).append([_mean(one.scores, score) for score in ("seg", "error")])
    every = {method: np.array(line * (3 if len(line) == 1 else 1)) for method, line in by_light.items()}
    lines = [
        showing.Lines(
            f"mean of {len(testing)} fields", "light, parts of full light", title, np.array(stand.levels),
            {method: line[:, k] for method, line in every.items()},
        )
        for k, title in enumerate(("SEG, higher is better", "ERROR, lower is better"))
    ]  # fmt: skip
    light = f"light 1/{1 / stand.levels[0]:.0f}"
    titles = {name: f"{name}, {light}" for name in ("maximum", f"PreMosa, {NLM}", NETWORK)}
    pictures = shown(first, titles, numbers(testing[0][LABELS]))
    showing.save(given.pictures / "segmentation-flywing.png", pictures, lines, 2, COLOURS)


def _mean(reached: Sequence[Scores], score: str) -> float:
    return float(np.mean([getattr(one, score) for one in reached]))


def projections(model: Ensemble, clean: bool) -> dict[str, Make]:
    """Classical projections, raw and denoised as well as can be; the network; the clean truth."""
    found: dict[str, Make] = {}
    for words in ("max", "max+nlm", "premosa", "premosa+nlm"):
        method = classical.from_words(words, "project")
        found[method.title] = lambda low, truth, method=method: tune.best(method, low, truth).image
    found[NETWORK] = lambda low, truth: restored(low, model)
    return found | ({CLEAN: lambda low, truth: truth} if clean else {})


# -- a movie of the wing, bleaching -----------------------------------------------------------------

FRAMES, SHAPE, BLEACH, PHOTONS = (
    20,
    (50, 144, 144),
    8.0,
    30.0,
)  # 30 photons: condition_3; 12, condition_1, are left after 7 frames


def over_time(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Cells over time as the light bleaches, and followed by their overlap (Supp. Fig. 11)."""
    model = networks("flywing", given, say)
    wing = WingMovie(frames=FRAMES, photons=PHOTONS, bleach=BLEACH)
    chosen_on = (0, FRAMES // 2, FRAMES - 1)
    choosing = [frames_of(movie(wing, SHAPE, given.choose).images)[t] for t in chosen_on]
    testing = frames_of(movie(wing, SHAPE, given.test).images)
    trial = Trial("movie", choosing, testing, net, CELLS, "seg", kept)
    say(
        f"\n{FRAMES} frames; {PHOTONS:g} photons where a membrane is bright, {PHOTONS * wing.light(FRAMES - 1):.1f} in "
        f"the last frame (the networks were trained with 12 to 30)."
    )
    say(f"A watershed of the membranes, one setting for the whole movie. {trial.told(given)}")
    say(f"The fields are frames: those to choose on are {chosen_on} of one movie, those tested all of another.\n")
    reached = trial.run(INPUT, projections(model, clean=True), say)
    labels = np.stack([numbers(one[LABELS]) for one in testing])
    say("\nFollowed by overlap: mutual best, more than half of the smaller.\n")
    say(f"{'':30} SEG first    last")
    say(f"  {'true outlines, tracked':28} {'':16}  {followed(labels, track(labels))}")
    lines: dict[str, dict[str, Array]] = {"seg": {}, "recall": {}, "still": {}}
    for method, one in reached.items():
        tracked, segs = followed(labels, track(np.stack(one.found))), np.array([s.seg for s in one.scores])
        say(f"  {method:28}    {segs[0]:6.3f}  {segs[-1]:6.3f}  {tracked}")
        for name, line in zip(lines, (segs, tracked.recall_of_step, tracked.still), strict=True):
            lines[name][method] = np.array(line)
    x = np.arange(FRAMES)
    panels = [
        showing.Lines("cells found", "frame", "SEG", x, lines["seg"]),
        showing.Lines("cells linked to the next frame", "frame", "share of true links", x[:-1], lines["recall"]),
        showing.Lines("cells of frame 0 still followed", "frame", "share of those in sight", x, lines["still"]),
    ]
    names = ("maximum", f"PreMosa, {NLM}", NETWORK)
    pictures = [
        showing.Found(f"{name}, last frame", reached[name].images[-1], labels[-1], reached[name].found[-1])
        for name in names
    ]
    showing.save(given.pictures / "segmentation-movie.png", pictures, panels, 3, COLOURS)


def frames_of(images: Mapping[str, Image]) -> Fields:
    """Each frame by itself: percentiles and tuning of its own, as the light changes."""
    kinds = {INPUT: "ZYX", TRUTH: "YX", LABELS: "YX"}
    arrays = {kind: np.asarray(images[kind]) for kind in kinds}
    return [
        {kind: Image(arrays[kind][t], axes, images[kind].voxel_size) for kind, axes in kinds.items()}
        for t in range(len(arrays[INPUT]))
    ]


# -- real nuclei ------------------------------------------------------------------------------------


def real(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Real nuclei with masks, in simulated low light: trained on one half of the image, tested on the other."""
    real_nuclei.part(given, denoised, restored, COLOURS, say)


# -- all of it --------------------------------------------------------------------------------------

PARTS = {"tribolium": tribolium, "drosophila": drosophila, "flywing": flywing, "movie": over_time, "real": real}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("reproduced"), help="one folder for each experiment")
    parser.add_argument("--data", type=Path, default=DATA, help="real images")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8, help="of training for each experiment that is missing")
    parser.add_argument("--real-epochs", type=int, default=20, help="of training for the real nuclei")
    parser.add_argument("--keep", type=Path, help="folder for restored images, which are used again")
    parser.add_argument("--pictures", type=Path, default=RESULTS)
    parser.add_argument("--choose", type=int, default=7, help="seed of the fields on which settings are chosen")
    parser.add_argument("--test", type=int, default=8, help="seed of the fields that are scored")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/segmentation-PART.txt")
    given = parser.parse_args()
    for name in given.only:
        lines: list[str] = []

        def say(text: str, lines: list[str] = lines) -> None:
            lines.append(text)
            print(text, flush=True)

        say(machine.header(f"Segmentation: {name}. {(PARTS[name].__doc__ or '').strip()}"))
        begin = time.monotonic()
        PARTS[name](given, Kept(given.keep), say)
        say(f"\n{name}: {time.monotonic() - begin:.0f} s\n")
        if given.record:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"segmentation-{name}.txt").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
