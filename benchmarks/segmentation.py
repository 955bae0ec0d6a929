"""What restored images are good for: how well nuclei and cells are found in them, and followed over time.

    python benchmarks/segmentation.py --models DIR --only tribolium drosophila flywing movie real --record

DIR holds one folder for each experiment as `veriscope reproduce NAME --scale small --out DIR/NAME` leaves it; what is
missing is made (--minutes of training each). Every part can be run by itself and writes its own file; restored images
are kept in --keep, so that an interrupted run goes on where it stopped.

Fair to all: non-local means and Gaussian are tuned on the test image itself, by its truth. How to segment (smoothing,
threshold, depth of the watershed) is chosen for each method by itself, from the same settings, on other images that
are not trained on (real nuclei: on the half that is, with new noise): for nuclei by ERROR, as SEG does not mind
invented ones, for cells by SEG. "clean truth" segments the true image in the same way: what this segmentation can do
at best. The best of a curve sees the answer, as the paper's does.

On one busy core: tribolium 9 minutes, drosophila 15, flywing 4, movie 5, real 5 (and --real-minutes more).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import machine
import numpy as np
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.classical import project
from veriscope.classical.segment import cells, components, fractions, span, without_small
from veriscope.classical.tune import best_non_local_means
from veriscope.errors import VeriscopeWarning
from veriscope.images.conditions import TESTING
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.images.resampling import resampled
from veriscope.judging.objects import scores
from veriscope.judging.quality import quality
from veriscope.judging.tracking import followed, track
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.reproducing.reproduce import Run, Voice, reproduce
from veriscope.simulate.experiments import field, standin
from veriscope.simulate.movie import WingMovie, movie
from veriscope.simulate.photograph import low_light
from veriscope.simulate.standins import INPUT, LABELS, TRUTH

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NETWORK, NLM, CLEAN = "network", "non-local means", "clean truth"
FRESH = 1000  # number of the field that settings are chosen on
SMALLEST = {2: 20, 3: 10}  # pixels of an object
THRESHOLDS = 40
COLOURS = {
    INPUT: "#888888",
    "cubic": "#888888",
    NLM: "#e69f00",
    "Gaussian": "#009e73",
    NETWORK: "#0072b2",
    CLEAN: "#000000",
}
Array = np.ndarray[Any, Any]
Say = Callable[[str], None]
Settings = dict[str, float]
Segment = Callable[..., Array]  # (image, **settings) -> labels


# -- how everything is segmented --------------------------------------------------------------------


def above(image: Array, threshold: float, sigma: float = 0.0, spacing: float = 1.0) -> Array:
    """A threshold, in parts of the image's range, and connected components; `spacing` of planes in pixels."""
    smooth = blurred(image, sigma, spacing)
    return components(smooth, at(smooth, threshold), SMALLEST[image.ndim])


class Valleys:
    """Objects parted along the valleys between summits that rise at least `h`, each bright as far as `threshold` says
    in parts of its own summit's height, as nuclei differ in brightness. Those lower than `floor` are background. All
    are heights above the image's darkest, `h` and `floor` in parts of its range.
    """

    def __init__(self, spacing: float = 1.0) -> None:
        self.spacing = spacing
        self.last: dict[int, tuple[Array, tuple[float, float], tuple[Array, Array, Array]]] = {}

    def __call__(self, image: Array, sigma: float, h: float, floor: float, threshold: float) -> Array:
        known = self.last.get(id(image))
        if known is None or known[0] is not image or known[1] != (sigma, h):
            if len(self.last) > 8:
                self.last.clear()
            known = self.last[id(image)] = image, (sigma, h), self._parted(image, sigma, h)
        parted, summit, share = known[2]
        return without_small(np.where((share > threshold) & (summit > floor)[parted], parted, 0), SMALLEST[image.ndim])

    def _parted(self, image: Array, sigma: float, h: float) -> tuple[Array, Array, Array]:
        """What no threshold changes: regions, their summits, and each pixel's part of its summit."""
        smooth = blurred(image, sigma, self.spacing)
        low, high = span(smooth)
        parted, height = cells(-smooth, 0.0, h), (smooth - low) / (high - low)
        summit = np.zeros(int(parted.max()) + 1, np.float32)
        np.maximum.at(summit, parted.ravel(), height.ravel())
        return parted, summit, height / np.maximum(summit, 1e-6)[parted]


def net(image: Array, sigma: float, h: float) -> Array:
    """Dark cells between membranes."""
    return cells(image, sigma, h, SMALLEST[image.ndim])


def blurred(image: Array, sigma: float, spacing: float) -> Array:
    image = np.asarray(image, np.float32)
    sigmas = (sigma / spacing, sigma, sigma)[-image.ndim :]
    return gaussian_filter(image, sigmas) if sigma else image


def at(image: Array, threshold: float) -> float:
    low, high = span(image)
    return low + threshold * (high - low)


SUMMITS = {"h": (0.01, 0.03, 0.1), "floor": (0.05, 0.1, 0.2, 0.3), "threshold": (0.3, 0.4, 0.5, 0.6, 0.7)}
BLOBS = {"sigma": (0.0, 0.7, 1.0, 1.5, 2.5), **SUMMITS}
NUCLEI = {"sigma": (0.0, 1.0, 2.0, 3.0, 4.5), **SUMMITS}
CELLS = {"sigma": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0), "h": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)}


def chosen(
    segment: Segment, grid: Mapping[str, Sequence[float]], pairs: Iterable[tuple[Array, Array]], by: str = "seg"
) -> Settings:
    """The settings of the grid that are best (mean over `pairs` of image and labels)."""
    pairs = list(pairs)
    sign = -1 if by == "error" else 1
    found = []
    for values in product(*grid.values()):
        settings = dict(zip(grid, map(float, values), strict=True))
        reached = [getattr(scores(labels, segment(image, **settings)), by) for image, labels in pairs]
        found.append((sign * float(np.mean(reached)), settings))
    return max(found, key=lambda one: one[0])[1]


def curve(image: Array, labels: Array, segment: Segment) -> Array:
    """SEG and ERROR (rows) at every threshold."""
    found = [scores(labels, segment(image, float(part))) for part in fractions(THRESHOLDS)]
    return np.array([[one.seg for one in found], [one.error for one in found]])


# -- images -----------------------------------------------------------------------------------------


class Kept:
    """Images that were made once are read again."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __call__(self, name: str, make: Callable[[], Any]) -> Array:
        if self.folder is None:
            return np.asarray(make(), np.float32)
        path = self.folder / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.asarray(make(), np.float32))
        return np.load(path)


def denoised(low: Image, truth: Image) -> Array:
    return np.asarray(best_non_local_means(low.in_memory(), truth.in_memory()).image)


def restored(low: Image, model: Ensemble, **options: Any) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        return np.asarray(vs.restore(low, model, **options).mean)


def made(name: str, given: argparse.Namespace, say: Say) -> tuple[Path, Ensemble]:
    """The folder of an experiment's data and its networks; made where they are missing."""
    folder = given.models / name
    if not (folder / "table.json").exists():
        say(f"{name}: simulated, and trained for {given.minutes:g} minutes")
        reproduce(Run(name, "small", given.seed, minutes=given.minutes), folder, Voice())
    model = vs.load(folder / "model")
    trained = model.facts["training"]
    say(f"{len(model)} networks, {trained['minutes']} minutes of training together, seed {trained['seed']}")
    return folder / "data" / TESTING, model


def read(folder: Path, kind: str) -> list[Image]:
    return [vs.read_image(path).in_memory() for path in sorted((folder / kind).glob("*.ome.tif"))]


def labelled(folder: Path) -> list[Array]:
    return [np.asarray(image).astype(np.int64) for image in read(folder, LABELS)]


# -- tables and plots -------------------------------------------------------------------------------

HEAD = f"{'':30} {'SEG':>6} {'ERROR':>7} {'AP':>6}"


def row(name: str, truths: Sequence[Array], found: Sequence[Array], settings: Settings) -> str:
    """Means over the fields, and the settings."""
    every = [scores(truth, one) for truth, one in zip(truths, found, strict=True)]
    values = np.mean([(one.seg, one.error, one.average_precision) for one in every], axis=0)
    told = ", ".join(f"{key} {value:.3g}" for key, value in settings.items())
    return f"  {name:28} {values[0]:6.3f} {values[1]:7.3f} {values[2]:6.3f}   {told}"


def picture(path: Path, panels: Sequence[tuple[str, str, str, Array, Mapping[str, Array]]], columns: int) -> None:
    """Lines, a panel for each (title, label of x, label of y, x, lines by method)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    made = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, (title, across, up, x, lines) in zip(made, panels, strict=False):
        for method, y in lines.items():
            axes.plot(x, y, color=COLOURS.get(method), label=method, linewidth=1.6)
        axes.set(title=title, xlabel=across, ylabel=up)
        axes.grid(alpha=0.2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in made[len(panels) :]:
        axes.set_visible(False)
    made[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def best_of_curves(name: str, curves: Mapping[str, Array], say: Say) -> None:
    say(f"  {name}: best of each curve, SEG (threshold), ERROR (threshold)")
    parts = fractions(THRESHOLDS)
    for method, (seg, error) in curves.items():
        say(
            f"    {method:26} {seg.max():6.3f} ({parts[seg.argmax()]:.2f}) "
            f"{error.min():7.3f} ({parts[error.argmin()]:.2f})"
        )


# -- tribolium: nuclei in low light -----------------------------------------------------------------


def tribolium(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Nuclei at three levels of light (Supp. Fig. 7). The paper: SEG .65 for the network, .47 for non-local means."""
    folder, model = made("tribolium", given, say)
    truths, labels = read(folder, TRUTH), labelled(folder)
    fresh = field("tribolium", TESTING, FRESH, given.seed, "small").images
    fresh_labels = np.asarray(fresh[LABELS]).astype(np.int64)
    z, _, x = standin("tribolium").voxel_size
    segment, touching = partial(above, spacing=z / x), Valleys(z / x)
    panels = []
    say("\nParted along valleys, settings chosen by ERROR on another field; below a threshold alone (Supp. Fig. 7).")
    say("The paper's SEG: network .65, non-local means .47\n")
    for number, condition in enumerate(standin("tribolium").conditions):
        lows = read(folder, condition)
        say(f"{condition}, light 1/{1 / standin('tribolium').levels[number]:.0f}\n{HEAD}")
        curves = {}
        for method, make in methods(model, clean=condition == "condition_3").items():
            key = f"tribolium/{condition}-{method}"
            images = [
                kept(f"{key}-{n}", partial(make, low, truth))
                for n, (low, truth) in enumerate(zip(lows, truths, strict=True))
            ]
            another = kept(f"{key}-fresh", partial(make, fresh[condition], fresh[TRUTH]))
            half = np.s_[:, : another.shape[1] // 2]  # quicker, and as good to choose by
            settings = chosen(touching, BLOBS, [(another[half], fresh_labels[half])], by="error")
            say(row(method, labels, [touching(image, **settings) for image in images], settings))
            curves[method] = np.mean([curve(*pair, segment) for pair in zip(images, labels, strict=True)], axis=0)
        best_of_curves("threshold alone", curves, say)
        for position, score in enumerate(("SEG", "ERROR")):
            lines = {method: found[position] for method, found in curves.items()}
            panels.append((f"{condition}", "threshold, part of the range", score, fractions(THRESHOLDS), lines))
    picture(given.pictures / "segmentation-tribolium.png", panels, 2)


def methods(model: Ensemble, clean: bool) -> dict[str, Callable[[Image, Image], Any]]:
    """From (low, truth) to what is segmented; the clean truth only once."""
    found: dict[str, Callable[[Image, Image], Any]] = {
        INPUT: lambda low, truth: low,
        NLM: denoised,
        NETWORK: lambda low, truth: restored(low, model),
    }
    return found | ({CLEAN: lambda low, truth: truth} if clean else {})


# -- drosophila: nuclei between planes far apart ----------------------------------------------------


def drosophila(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Isotropic restoration (Supp. Figs. 15, 16). The paper: ERROR 0.21 % for the network, 1.7 % for bicubic."""
    folder, model = made("drosophila", given, say)
    truths, labels, lows = read(folder, TRUTH), labelled(folder), read(folder, INPUT)
    fresh = field("drosophila", TESTING, FRESH, given.seed, "small").images
    fresh_labels = np.asarray(fresh[LABELS]).astype(np.int64)
    touching = Valleys()
    ways: dict[str, Callable[[Image, Image], Any]] = {
        "cubic": lambda low, truth: finer(low, truth, model),
        NETWORK: lambda low, truth: restored(low, model),
        CLEAN: lambda low, truth: truth,
    }
    ways |= deconvolutions(model)
    say("\nParted along valleys, settings chosen by ERROR on another field; below a threshold alone (Supp. Fig. 15).")
    say(f"The paper's ERROR: network 0.0021, bicubic 0.017\n\n{HEAD}")
    curves = {}
    for method, make in ways.items():
        images = [
            kept(f"drosophila/{method}-{n}", partial(fitting, make, low, truth))
            for n, (low, truth) in enumerate(zip(lows, truths, strict=True))
        ]
        another = kept(f"drosophila/{method}-fresh", partial(fitting, make, fresh[INPUT], fresh[TRUTH]))
        part = np.s_[:, : another.shape[1] // 3]
        settings = chosen(touching, BLOBS, [(another[part], fresh_labels[part])], by="error")
        say(row(method, labels, [touching(image, **settings) for image in images], settings))
        curves[method] = np.mean([curve(*pair, above) for pair in zip(images, labels, strict=True)], axis=0)
    best_of_curves("threshold alone", curves, say)
    panels = [
        ("drosophila", "threshold, part of the range", score, fractions(THRESHOLDS),
         {method: found[position] for method, found in curves.items()})
        for position, score in enumerate(("SEG", "ERROR"))
    ]  # fmt: skip
    picture(given.pictures / "segmentation-drosophila.png", panels, 2)


def finer(low: Image, truth: Image, model: Ensemble) -> Image:
    return resampled(low, {"Z": standin("drosophila").subsample}, {"Z": truth.size("Z")})


def fitting(make: Callable[[Image, Image], Any], low: Image, truth: Image) -> Array:
    """As many planes as the truth has: restoring rounds up to the last plane that was taken."""
    image = np.asarray(make(low, truth))
    planes = truth.size("Z")
    return np.pad(image, ((0, max(planes - len(image), 0)), (0, 0), (0, 0)), mode="edge")[:planes]


def deconvolutions(model: Ensemble) -> dict[str, Callable[[Image, Image], Any]]:
    """Classical restoration of anisotropy, as far as this version has it."""
    try:
        from veriscope.classical import deconvolve  # type: ignore[attr-defined]
    except ImportError:
        return {}
    psf = standin("drosophila").optics.psf
    return {
        method.title: lambda low, truth, method=method: method.run(finer(low, truth, model), psf=psf)
        for method in getattr(deconvolve, "METHODS", ())
        if method.task == "isotropic"
    }


# -- flywing: cells of a surface --------------------------------------------------------------------


def flywing(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Cells in projections, at three levels of light (Supp. Fig. 10 shows these projections)."""
    folder, model = made("flywing", given, say)
    truths, labels = read(folder, TRUTH), labelled(folder)
    fresh = [field("flywing", TESTING, FRESH + n, given.seed, "small").images for n in range(3)]
    fresh_labels = [np.asarray(images[LABELS]).astype(np.int64) for images in fresh]
    say("\nA watershed of the membranes, smoothing and depth chosen on three other fields.\n")
    for number, condition in enumerate(standin("flywing").conditions):
        lows = read(folder, condition)
        say(f"{condition}, light 1/{1 / standin('flywing').levels[number]:.0f}\n{HEAD}")
        for method, make in projections(model, condition == "condition_3", given.projections).items():
            key = f"flywing/{condition}-{method}"
            images = [
                kept(f"{key}-{n}", partial(make, low, truth))
                for n, (low, truth) in enumerate(zip(lows, truths, strict=True))
            ]
            others = [
                kept(f"{key}-fresh-{n}", partial(make, other[condition], other[TRUTH])) for n, other in enumerate(fresh)
            ]
            settings = chosen(net, CELLS, zip(others, fresh_labels, strict=True))
            say(row(method, labels, [net(image, **settings) for image in images], settings))


def projections(model: Ensemble, clean: bool, names: Sequence[str]) -> dict[str, Callable[[Image, Image], Any]]:
    """The classical projections of these names, raw and denoised at its best; the network; the clean truth."""
    found: dict[str, Callable[[Image, Image], Any]] = {}
    for method in (one for one in project.METHODS if one.name in names):
        found[method.title] = lambda low, truth, method=method: method.run(np.asarray(low))
        found[f"{method.title} + {NLM}"] = lambda low, truth, method=method: (
            best_non_local_means(method.run(np.asarray(low)), np.asarray(truth)).image
        )
    found[NETWORK] = lambda low, truth: restored(low, model)
    return found | ({CLEAN: lambda low, truth: truth} if clean else {})


# -- a movie of the wing, bleaching -----------------------------------------------------------------

FRAMES, BLEACH, PHOTONS = 20, 8.0, 30.0  # 30 photons: condition_3; 12, condition_1, are left after 7 frames


def over_time(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Cells over time as the light bleaches, and followed by their overlap (Supp. Fig. 11)."""
    _, model = made("flywing", given, say)
    wing = WingMovie(frames=FRAMES, photons=PHOTONS, bleach=BLEACH)
    taken = movie(wing, seed=given.seed).images
    other = movie(wing, seed=given.seed + FRESH).images
    labels = np.asarray(taken[LABELS]).astype(np.int64)
    chosen_on = (0, FRAMES // 2, FRAMES - 1)
    say(
        f"\n{FRAMES} frames; {PHOTONS:g} photons where a membrane is bright, {PHOTONS * wing.light(FRAMES - 1):.1f} in "
        f"the last frame (the networks were trained with 12 to 30)."
    )
    say(f"A watershed as above; one setting for the whole movie, chosen on frames {chosen_on} of another movie.")
    say("Followed by overlap: mutual best, more than half of the smaller.\n")
    truth = followed(labels, track(labels))
    say(f"  {'true outlines, tracked':28} {'':17} {truth}")
    say(f"{'':30} {'SEG':>6} {'first':>6} {'last':>6}")
    seg_of, still, recall = {}, {}, {}
    for method, make in projections(model, True, given.projections).items():
        images = [kept(f"movie/{method}-{t}", partial(frame_of, make, taken, t)) for t in range(FRAMES)]
        others = [kept(f"movie/{method}-fresh-{t}", partial(frame_of, make, other, t)) for t in chosen_on]
        others_labels = [np.asarray(other[LABELS])[t].astype(np.int64) for t in chosen_on]
        settings = chosen(net, CELLS, zip(others, others_labels, strict=True))
        found = np.stack([net(image, **settings) for image in images])
        segs = np.array([scores(a, b).seg for a, b in zip(labels, found, strict=True)])
        tracked = followed(labels, track(found))
        say(f"  {method:28} {segs.mean():6.3f} {segs[0]:6.3f} {segs[-1]:6.3f}   {tracked}")
        name = {"maximum": INPUT, f"maximum + {NLM}": NLM}.get(method, method)
        seg_of[name], still[name], recall[name] = segs, np.array(tracked.still), np.array(tracked.recall_of_step)
    x = np.arange(FRAMES)
    panels = [
        ("cells found", "frame", "SEG", x, seg_of),
        ("links found", "from frame", "recall", x[:-1], recall),
        ("cells of frame 0 still followed", "frame", "share of those in sight", x, still),
    ]
    picture(given.pictures / "segmentation-movie.png", panels, 3)


def frame_of(make: Callable[[Image, Image], Any], images: Mapping[str, Image], t: int) -> Any:
    """One frame by itself: percentiles and settings of its own, as the light changes."""
    low = Image(np.asarray(images[INPUT])[t], "ZYX", images[INPUT].voxel_size)
    return make(low, Image(np.asarray(images[TRUTH])[t], "YX", images[TRUTH].voxel_size))


# -- real nuclei ------------------------------------------------------------------------------------

LEVELS = (5.0, 15.0, 50.0)  # photons where the image is brightest
GAP = 32  # pixels between what is trained on and what is tested


def real(given: argparse.Namespace, kept: Kept, say: Say) -> None:
    """Real nuclei with masks, in simulated low light: trained on one half of the image, tested on the other."""
    folder = given.data / "seg_stardist"
    image, mask = (np.asarray(vs.read_image(folder / f"{name}2d.tif", axes="YX")) for name in ("img", "mask"))
    middle, length = image.shape[1] // 2, image.shape[0]
    left, right = np.s_[:, : middle - GAP // 2], np.s_[:, middle + GAP // 2 :]
    high, test = Image(image[left].astype(np.float32), "YX"), Image(image[right].astype(np.float32), "YX")
    choosing, testing = (np.asarray(mask)[part].astype(np.int64) for part in (left, right))
    say(
        f"\nimg2d of {image.shape}: trained on {high.shape} to the left, of which a quarter decides which weights are "
        f"kept, tested on {test.shape} to the right, {GAP} pixels apart.\nSettings are chosen on the left, with noise "
        f"that no network has seen. {len(np.unique(testing)) - 1} nuclei to the right.\n"
    )
    begin = time.monotonic()
    model = trained_on(high, length, given)
    say(f"one network for all levels, {time.monotonic() - begin:.0f} s of training\n")
    rows: dict[str, dict[str, list[float]]] = {"seg": {}, "average_precision": {}}
    touching = Valleys()
    for photons in LEVELS:
        low, another = (low_light(one, photons, given.seed + 100 + n) for n, one in enumerate((test, high)))
        ways = {
            INPUT: lambda low, truth: low,
            "Gaussian": smoothed,
            NLM: denoised,
            NETWORK: lambda low, truth: restored(low, model),
            CLEAN: lambda low, truth: truth,
        }
        say(f"{photons:g} photons\n{HEAD}   NRMSE")
        for method, make in ways.items():
            if method == CLEAN and photons != LEVELS[-1]:
                continue
            there, here = np.asarray(make(another, high)), np.asarray(make(low, test))
            settings = chosen(touching, NUCLEI, [(there, choosing)], by="error")
            found = touching(here, **settings)
            nrmse = quality(np.asarray(test), here).nrmse
            told = row(method, [testing], [found], settings)
            say(f"{told[:52]}   {nrmse:.4f}{told[52:]}")
            for score, lines in rows.items():
                lines.setdefault(method, []).append(getattr(scores(testing, found), score))
    panels = [
        ("real nuclei", "photons where it is brightest", title, np.array(LEVELS), {
            method: np.array(line if len(line) > 1 else line * len(LEVELS)) for method, line in rows[score].items()
        })
        for score, title in (("seg", "SEG"), ("average_precision", "AP"))
    ]  # fmt: skip
    picture(given.pictures / "segmentation-real.png", panels, 2)


def trained_on(high: Image, length: int, given: argparse.Namespace) -> Ensemble:
    """A network for `high` at all levels of light, from eight draws of noise at each; the last quarter checks."""
    pixels = np.asarray(high)
    cut = 3 * length // 4
    parts = (pixels[: cut - GAP // 2], pixels[cut + GAP // 2 :])
    learned, checked = (
        Pairs([
            Pair(low_light(truth, photons, given.seed + 1 + draw), truth, f"{photons:g}-{draw}")
            for photons in LEVELS for draw in range(draws)
        ])
        for truth, draws in zip((Image(part, "YX") for part in parts), (8, 2), strict=True)
    )  # fmt: skip
    recipe = Recipe(axes="YX", patch=(64, 64))
    how: dict[str, Any] = {
        "shape": recipe.patch, "per_image": 16, "seed": given.seed, "foreground": None, "normalize": "matched"
    }  # fmt: skip
    patches, check = vs.cut_patches(learned, **how), vs.cut_patches(checked, **how)
    how = {"members": 1, "minutes": given.real_minutes, "seed": given.seed}
    return vs.train(recipe, patches, check, **how, progress=False)


def smoothed(low: Image, truth: Image) -> Array:
    """A Gaussian, tuned on the test image as non-local means is."""
    tried = [gaussian_filter(np.asarray(low, np.float32), sigma) for sigma in np.geomspace(0.5, 6, 15)]
    return min(tried, key=lambda image: quality(np.asarray(truth), image).nrmse)


# -- all of it --------------------------------------------------------------------------------------

PARTS = {"tribolium": tribolium, "drosophila": drosophila, "flywing": flywing, "movie": over_time, "real": real}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("reproduced"), help="one folder for each experiment")
    parser.add_argument("--data", type=Path, default=DATA, help="real images")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8, help="of training for each experiment that is missing")
    parser.add_argument("--real-minutes", type=float, default=3, help="of training for the real nuclei")
    parser.add_argument(
        "--projections", nargs="+", default=["max", "premosa"], help="classical ones, as far as this version has them"
    )
    parser.add_argument("--keep", type=Path, help="folder for restored images, which are used again")
    parser.add_argument("--pictures", type=Path, default=RESULTS)
    parser.add_argument("--seed", type=int, default=0)
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
