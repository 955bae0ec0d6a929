"""Does the verdict notice what was not trained for, and leave alone what was?

    python benchmarks/failures.py --models DIR --record

Models, test images and folders as in benchmarks/calibration.py, which trains them: through the command line, with its
defaults but for what its record says. Images are restored by `veriscope.restore` as it is.

False alarms: test images as a whole, and quarters and sixteenths of them, each restored on its own; fields simulated
with another seed; and images that were trained on. Detections: test images changed in many ways. A changed image counts
as harmful when there is nothing to restore, or when its restoration has at least 1.5 times the error that the model has
on its own test images on average. Test images differ: where one has 1.4 times the usual error as it is, a change that
does next to nothing makes it harmful. So beside that stands what the change did: 1.5 times the error of the same image
unchanged, or, for an image of another set, of the model that was trained for it. An alarm is right for harmful ones
only. Five kinds of change are not new to a model: training itself puts images out of focus, halves and doubles the
magnification, takes a tenth of the light and lets it fade across the field (`veriscope.changes`), with noise made in
another way. How it describes them was chosen on W2S; the first trials, of the first four, held the test fields too, the
later ones only those that are trained on. Where light is lost (bleaching, vignetting, a shifted half of a camera) the
truth is changed alike: the question is whether the restoration is right, not whether the microscope was.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import calibration
import machine
import numpy as np
from scipy.ndimage import gaussian_filter, zoom

import veriscope as vs
from veriscope.errors import VeriscopeError, VeriscopeWarning
from veriscope.familiarity import LEVELS
from veriscope.images.conditions import TRAINING, part, pooled, read_conditions
from veriscope.judging.quality import quality
from veriscope.normalize import Normalization, fit
from veriscope.simulate.experiments import simulate

RESULTS = Path(__file__).parent / "results"
HARM = 1.5  # times the usual error
BASES = 4, 2  # test images that are changed, of each model for planes and for stacks
SETS = ("w2s0", "w2s1", "w2s2", "demo", "planaria", "tribolium")
OTHERS = {"w2s0": ("w2s1", "w2s2"), "w2s1": ("w2s0", "w2s2"), "w2s2": ("w2s0", "w2s1")}
OTHERS |= {"planaria": ("demo",), "tribolium": ("planaria",), "demo": ("tribolium",)}
Array = Any


@dataclass(frozen=True)
class Case:
    """An input as it might come, its truth where there is one, and what goes with it."""

    low: Array
    high: Array | None
    normalization: Normalization | None = None
    voxel_size: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Light:
    """What is known of a pair: the low image as expected, and its noise: variance = gain * light + read^2."""

    expected: Array
    background: float
    gain: float
    read: float

    def shot(self, light: Array, rng: np.random.Generator) -> Array:
        """Another photograph of `light` above the background."""
        variance = self.gain * np.clip(light, 0, None) + self.read**2
        return light + self.background + rng.normal(size=light.shape) * np.sqrt(variance)


def light_of(low: Array, high: Array) -> Light:
    slope, offset = np.polyfit(high.ravel(), low.ravel(), 1)
    expected = slope * high + offset
    noise = np.square(low - expected)
    edges = np.quantile(expected, np.linspace(0, 1, 11))
    bins = [(expected >= a) & (expected <= b) for a, b in pairwise(edges)]
    background = float(np.percentile(expected, 1))
    gain, left = np.polyfit([expected[one].mean() - background for one in bins], [noise[one].mean() for one in bins], 1)
    return Light(expected, background, max(float(gain), 1e-6), float(np.sqrt(max(left, noise[bins[0]].mean() / 4))))


def blurred(image: Array, sigma: float) -> Array:
    return gaussian_filter(image, (*(0 for _ in image.shape[:-2]), sigma, sigma))


def larger(image: Array) -> Array:
    """The middle, at twice the magnification."""
    rows, columns = (slice(n // 4, n // 4 + -(-n // 2)) for n in image.shape[-2:])
    factors = *(1 for _ in image.shape[:-2]), 2, 2
    return zoom(image[..., rows, columns], factors, order=1)[..., : image.shape[-2], : image.shape[-1]]


def smaller(image: Array) -> Array:
    """At half the magnification."""
    rows, columns = (n // 2 * 2 for n in image.shape[-2:])
    cut = image[..., :rows, :columns]
    return cut.reshape(*cut.shape[:-2], rows // 2, 2, columns // 2, 2).mean((-3, -1))


def compressed(image: Array) -> Array:
    from PIL import Image as Picture

    low, high = image.min(), image.max()

    def one(plane: Array) -> Array:
        file = io.BytesIO()
        Picture.fromarray(np.uint8(255 * (plane - low) / (high - low))).save(file, "JPEG", quality=30)
        return np.asarray(Picture.open(file), float) / 255 * (high - low) + low

    return one(image) if image.ndim == 2 else np.stack([one(plane) for plane in image])


def deconvolved(image: Array) -> Array:
    """Ten steps of Richardson-Lucy with a Gaussian."""
    light = image - image.min() + 1e-3
    found = light.copy()
    for _ in range(10):
        found *= blurred(light / np.maximum(blurred(found, 1.2), 1e-6), 1.2)
    return found


def smooth(image: Array) -> Array:
    from skimage.restoration import denoise_tv_chambolle

    span = image.max() - image.min()
    return denoise_tv_chambolle((image - image.min()) / span, weight=0.1) * span + image.min()


def vignette(shape: tuple[int, ...]) -> Array:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[-2:]), indexing="ij")
    return 0.2 + 0.8 * np.exp(-2 * (y**2 + x**2))


def shifted(image: Array) -> Array:
    """Two fields, stitched seven pixels and half a deviation apart."""
    half = image.shape[-1] // 2
    found = image.copy()
    found[..., half:] = np.roll(found[..., half:], 7, -2) + 0.5 * image.std()
    return found


def changed(low: Array, high: Array, voxel: Any, rng: np.random.Generator) -> Iterator[tuple[str, Case]]:
    """All that may be wrong with an image, by name."""
    right, light = fit([low[None].astype(np.float32)]), light_of(low, high)
    zero, span = right.low[0], right.range[0]
    signal = light.expected - light.background

    def moved(bottom: float, top: float) -> Normalization:
        return Normalization((zero + bottom * span,), (zero + top * span,))

    def shot(what: Array, truth: Array | None = high, voxels: Any = voxel) -> Case:
        return Case(light.shot(what, rng), truth, voxel_size=voxels)

    yield "range 3 x too wide", Case(low, high, moved(0, 3), voxel)
    yield "range 3 x too narrow", Case(low, high, moved(0, 1 / 3), voxel)
    yield "offset of one range", Case(low, high, moved(-1, 0), voxel)
    yield "truth as input", Case(high, high, None, voxel)
    for sigma in (1, 2):
        yield f"smoothed by {sigma} px", Case(blurred(low, sigma), high, None, voxel)
    for sigma in (2, 4):
        yield f"out of focus, {sigma} px", shot(blurred(signal, sigma))
    doubled, halved = (None if voxel is None else (*voxel[:-2], *(v * by for v in voxel[-2:])) for by in (0.5, 2))
    yield "resized to twice", Case(larger(low), larger(high), None, voxel)
    yield "binned by two", Case(smaller(low), smaller(high), None, voxel)
    yield "objective x 2, said", shot(larger(signal), larger(high), doubled)
    yield "objective x 2, not said", shot(larger(signal), larger(high))
    yield "objective / 2, said", shot(smaller(signal), smaller(high), halved)
    yield "objective / 2, not said", shot(smaller(signal), smaller(high))
    yield "10 % saturated", Case(np.minimum(low, np.percentile(low, 90)), high, None, voxel)
    yield "clipped at both ends", Case(np.clip(low, *np.percentile(low, [10, 97])), high, None, voxel)
    yield "inverted", Case(low.max() - low, high, None, voxel)
    for factor, name in ((0.1, "/ 10"), (1 / 3, "/ 3"), (3, "x 3")):
        yield f"exposure {name}", shot(signal * factor)
    yield "3 photons", Case(rng.poisson(3 * np.clip((low - zero) / span, 0, None)).astype(float), high, None, voxel)
    fading = np.linspace(1, 0.15, low.shape[-1])
    yield "bleached along X", shot(signal * fading, (high - high.min()) * fading)
    dark = vignette(low.shape)
    yield "no flat field", shot(signal * dark, (high - high.min()) * dark)
    yield "deconvolved before", Case(deconvolved(low), high, None, voxel)
    yield "denoised before", Case(smooth(low), high, None, voxel)
    yield "JPEG", Case(compressed(low), high, None, voxel)
    yield "8 bit of 16", Case(np.round((low - low.min()) / (low.max() - low.min()) * 60), high, None, voxel)
    yield "stitched seam", Case(shifted(low), shifted(high), None, voxel)
    yield "empty field", shot(np.zeros_like(signal), None)
    yield "Gaussian noise", Case(rng.normal(100, 10, low.shape), None, None, voxel)
    yield "Poisson noise", Case(rng.poisson(3, low.shape).astype(float), None, None, voxel)


@dataclass(frozen=True)
class Found:
    """What came of one image."""

    level: int
    known: bool  # whether anything could be said
    error: float  # NRMSE; infinite where there is nothing to restore
    expected: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Wrong:
    """What came of one image that is not as it should be."""

    title: str
    found: Found | None
    usual: float  # NRMSE of the model's own test images, mean
    itself: float  # NRMSE of the image unchanged, or by the model that was trained for it

    @property
    def noticed(self) -> bool:
        return self.found is None or self.found.level > 0

    def ratio(self, itself: bool) -> float:
        return np.inf if self.found is None else self.found.error / (self.itself if itself else self.usual)


def look(model: Any, case: Case) -> Found | None:
    axes = "ZYX"[-case.low.ndim :]
    image = vs.Image(np.ascontiguousarray(case.low, dtype=np.float32), axes, case.voxel_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        try:
            restored = vs.restore(image, model, normalize=case.normalization or "image", lazy=False)
        except VeriscopeError:
            return None  # refused with a message, which is a warning too
    verdict = restored.verdict
    assert verdict is not None
    error = np.inf if case.high is None else quality(case.high, np.asarray(restored.mean)).nrmse
    expected = restored.expected.nrmse if restored.expected else np.nan
    level = max(verdict.level, int(any("voxels" in one for one in verdict.warnings)))
    return Found(level, not verdict.unknown, error, expected, verdict.reasons)


def crops(pair: Any, halvings: int) -> Iterator[tuple[Array, Array]]:
    """Parts of a pair, its Y and X halved so many times."""
    low, high = (np.asarray(one, np.float64) for one in (pair.low, pair.high))
    sizes = [n >> halvings for n in low.shape[-2:]]
    for y in range(0, low.shape[-2] - sizes[0] + 1, sizes[0]):
        for x in range(0, low.shape[-1] - sizes[1] + 1, sizes[1]):
            part_of: Any = (..., slice(y, y + sizes[0]), slice(x, x + sizes[1]))
            yield low[part_of], high[part_of]


def learned(name: str, folder: Path) -> Any:
    """Some of the images a model was trained on."""
    if name.startswith("w2s"):
        places = calibration.w2s.DATA / f"ch{name[3]}"
        pairs = [p for p in vs.read_pairs(places / "low", places / "high", axes="YX") if int(p.name[-3:]) <= 36]
        return pairs[::3]
    if name == "demo":
        from veriscope.apps.demo import _nuclei

        return _nuclei(0).training
    return pooled(read_conditions(part(folder / f"{name}-data", TRAINING)))


def fresh(name: str) -> Any:
    """New fields of a simulated set."""
    if name not in ("planaria", "tribolium"):
        return []
    with tempfile.TemporaryDirectory() as scratch:
        simulate(name, Path(scratch) / "new", 1, "small")
        return [
            replace(p, low=p.low.in_memory(), high=p.high.in_memory())
            for p in pooled(read_conditions(Path(scratch) / "new" / TRAINING))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of models made by benchmarks/calibration.py")
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--note", default="", help="a line for the record, such as what else ran")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/failures.txt")
    given = parser.parse_args()
    lines: list[str] = []

    def say(text: str = "") -> None:
        lines.append(text)
        print(text, flush=True)

    say(machine.header("Verdicts without ground truth"))
    if given.note:
        say(given.note)
    say(f"Levels: {'; '.join(f'{n} {words}' for n, words in enumerate(LEVELS))}. An alarm is level 1 or 2.")
    rng = np.random.default_rng(0)
    false: dict[str, list[Found]] = {}
    wrong: list[Wrong] = []
    say(f"\n{'model':11} {'own images':22} images  alarms  not known")
    for name in given.only:
        model = vs.load(given.models / name)
        tests, _ = calibration.pairs_of(name, given.models, model)
        own: dict[str, list[Found | None]] = {}
        for pair in tests:
            for halvings, title in enumerate(("test images", "quarters of them", "sixteenths of them")):
                for low, high in list(crops(pair, halvings))[:: max(1, 4**halvings // 4)]:
                    own.setdefault(title, []).append(look(model, Case(low, high, None, pair.low.voxel_size)))
        for pair in fresh(name):
            case = Case(*(np.asarray(one, np.float64) for one in (pair.low, pair.high)), None, pair.low.voxel_size)
            own.setdefault("fields of another seed", []).append(look(model, case))
        usual = float(np.mean([one.error for one in own["test images"] if one]))
        for pair in learned(name, given.models):
            case = Case(*(np.asarray(one, np.float64) for one in (pair.low, pair.high)), None, pair.low.voxel_size)
            own.setdefault("images trained on", []).append(look(model, case))
        for title, found in own.items():
            known = [one for one in found if one is not None]
            alarms = sum(one.level > 0 for one in known)
            say(f"{name:11} {title:22} {len(known):6} {alarms:7} {sum(not one.known for one in known):10}")
            false.setdefault("images trained on" if "trained" in title else "like training", []).extend(known)
        changing = list(tests)[: BASES[len(model.axes) - 2]]
        bases = [(*next(crops(pair, 0)), pair.low.voxel_size) for pair in changing]
        for low, high, voxel in bases:
            itself = look(model, Case(low, high, None, voxel))
            assert itself is not None
            for title, case in changed(low, high, voxel, rng):
                wrong.append(Wrong(title, look(model, case), usual, itself.error))
        for other in OTHERS.get(name, ()):
            trained_for_it = vs.load(given.models / other)
            for pair in list(calibration.pairs_of(other, given.models, trained_for_it)[0])[: BASES[0]]:
                case = Case(*(np.asarray(one, np.float64) for one in (pair.low, pair.high)))
                right = look(trained_for_it, case)
                assert right is not None
                wrong.append(Wrong(f"another set: {other}", look(model, case), usual, right.error))
    say(f"\n{'':31}with the usual error:                      with itself:")
    say(
        f"{'change':24} images          error  harmful   noticed  of the rest          error  harmful   noticed  reason"
    )
    for title in dict.fromkeys(one.title for one in wrong):
        own = [one for one in wrong if one.title == title]
        said = [one.found.reasons[0] for one in own if one.found is not None and one.found.reasons]
        reason = max(set(said), key=said.count) if said else ""
        (bad, rest), (spoilt, _) = (_split(own, itself) for itself in (False, True))
        usual, its_own = (_range(own, itself) for itself in (False, True))
        say(
            f"{title:24} {len(own):6}  {usual}  {len(bad):7}  {_noticed(bad):>8}  {_noticed(rest):>11}"
            f"  {its_own}  {len(spoilt):7}  {_noticed(spoilt):>8}  {reason}"
        )
    for title, found in false.items():
        say(
            f"\nFalse alarms, {title}: {sum(one.level > 0 for one in found)} of {len(found)}",
        )
    for itself, words in enumerate(("the usual error", "the same image unchanged, or the model trained for it")):
        bad = _split(wrong, bool(itself))[0]
        say(f"Harmful inputs noticed, compared with {words}: {_noticed(bad)}")
    if given.record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "failures.txt").write_text("\n".join(lines) + "\n")


def _split(images: list[Wrong], itself: bool) -> tuple[list[Wrong], list[Wrong]]:
    """Those that are harmful, and the rest."""
    bad = [one for one in images if one.ratio(itself) >= HARM]
    return bad, [one for one in images if one not in bad]


def _range(images: list[Wrong], itself: bool) -> str:
    ratios = [one.ratio(itself) for one in images]
    return f"{min(ratios):5.2f} to {max(ratios):5.2f}"


def _noticed(images: list[Wrong]) -> str:
    return f"{sum(one.noticed for one in images)} of {len(images)}" if images else "-"


if __name__ == "__main__":
    main()
