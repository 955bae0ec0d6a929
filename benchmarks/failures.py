"""Does an ensemble notice what it was not trained for? And is its uncertainty right for what it was trained for?

    python benchmarks/failures.py --record                    # trains for 40 minutes, then judges
    python benchmarks/failures.py --model MODEL --record      # a model trained by benchmarks/w2s.py --keep MODEL

Five members, W2S channel 0, fields 1-36 (4 of them for checking). Part 1: calibration on fields 37-40. Part 2: the
verdict that every restoration gets without the truth, on quarters of fields like those of training (false alarms) and
of images unlike them (detections): other channels, other tissue, noise alone, wrong normalisation, zoomed by 2, and
more. The thresholds in `veriscope.familiarity` are chosen from its tables.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import w2s
from scipy.ndimage import gaussian_filter, zoom

import veriscope as vs
from veriscope.errors import VeriscopeWarning
from veriscope.familiarity import LEVELS, Verdict
from veriscope.images.pairing import Pairs
from veriscope.judging.judge import judge
from veriscope.judging.quality import quality
from veriscope.networks.recipe import Recipe
from veriscope.normalize import Normalization, fit
from veriscope.training.answers import ask
from veriscope.training.loop import VOXELS
from veriscope.training.recalibration import recalibration
from veriscope.training.remembering import remembered

RESULTS = Path(__file__).parent / "results"
SIDE = 256  # pixels of the images that are judged
FIELDS = (37, 38, 39, 40)
CHOSEN_ON = "check fields"
ALIKE = (CHOSEN_ON, "test fields")
SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # of windows
STRONG = (0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2)  # of pixels
SIDED = (0, 1, 2, 3, 4, 5)  # figures


def quarters(image: Any, most: int = 4) -> Iterator[Any]:
    rows, columns = image.shape[0] // SIDE, image.shape[1] // SIDE
    for number in range(min(most, rows * columns)):
        y, x = SIDE * (number // columns), SIDE * (number % columns)
        yield image[y : y + SIDE, x : x + SIDE]


def moved(right: Normalization, zero: float, one: float) -> Normalization:
    """The right percentiles moved: 0 and 1 of the networks become `zero` and `one` of the right range."""
    low, span = right.low[0], right.range[0]
    return Normalization((low + zero * span,), (low + one * span,))


def clipped(image: Any, low: float, high: float) -> Any:
    return np.clip(image, *np.percentile(image, [low, high]))


def fewer_photons(image: Any, rng: np.random.Generator) -> Any:
    bottom, top = np.percentile(image, [2, 99.8])
    return rng.poisson(np.clip((image - bottom) / (top - bottom), 0, None) * 3).astype(np.float32)


def cases(data: Path) -> Iterator[tuple[str, Any, Normalization | None, Any]]:
    """Name, image, normalisation where it is not that of the image, and truth where there is one."""
    rng = np.random.default_rng(0)
    channels = [w2s.split(data, channel) for channel in range(3)]
    _, check, test = channels[0]
    for name, pairs in zip(ALIKE, (check, test), strict=True):
        yield from ((name, low, right, high) for low, high, right in _pairs(pairs))
    for channel in (1, 2):
        yield from ((f"channel {channel}", low, right, high) for low, high, right in _pairs(channels[channel][2]))
    yield from (("epithelium", plane, None, None) for plane in _epithelium(data.parent / "epithelium"))
    for _ in range(8):
        yield "Gaussian noise", rng.normal(100, 10, (SIDE, SIDE)).astype(np.float32), None, None
        yield "Poisson noise", rng.poisson(3, (SIDE, SIDE)).astype(np.float32), None, None
    changes: dict[str, Callable[[Any], Any]] = {
        "zoomed in by 2": lambda image: zoom(image, 2, order=1)[:SIDE, :SIDE],
        "zoomed out by 2": lambda image: image.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3)),
        "brightest 10 % saturated": lambda image: clipped(image, 0, 90),
        "clipped at both ends": lambda image: clipped(image, 10, 97),
        "inverted": lambda image: image.max() - image,
        "blurred by 2 pixels": lambda image: gaussian_filter(image, 2),
        "3 photons": lambda image: fewer_photons(image, rng),
    }
    for low, high, right in _pairs(test, 2):
        yield "range three times too wide", low, moved(right, 0, 3), high
        yield "range three times too narrow", low, moved(right, 0, 1 / 3), high
        yield "offset of one range", low, moved(right, -1, 0), high
        yield "truth as input", high, None, high
        for name, change in changes.items():
            yield name, np.ascontiguousarray(change(low), np.float32), None, None


def _pairs(pairs: Pairs, most: int = 4) -> Iterator[tuple[Any, Any, Normalization]]:
    """Quarters of low and high images, with the normalisation of the whole low image."""
    for pair in pairs:
        low, high = (np.asarray(image, np.float32) for image in (pair.low, pair.high))
        right = fit([low[None]])
        for parts in zip(quarters(low, most), quarters(high, most), strict=True):
            yield *parts, right


def _epithelium(folder: Path) -> Iterator[Any]:
    stack = np.asarray(vs.read_image(folder / "stack.tif"), np.float32)
    return iter([stack[z] for z in np.linspace(4, len(stack) - 5, 8).astype(int)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=w2s.DATA)
    parser.add_argument("--model", type=Path, help="a trained model; otherwise one is trained")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="measure what the model remembers anew")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/failures.txt")
    given = parser.parse_args()
    lines: list[str] = []

    def say(text: str = "") -> None:
        lines.append(text)
        print(text, flush=True)

    say(machine.header("Calibration, and verdicts without the truth: W2S channel 0"))
    model = vs.load(given.model) if given.model else trained(given)
    if given.again:
        model = measured_again(model, given)
        say("what it remembers of its patches: measured anew by this version")
    known = model.facts["training"]
    say(f"{len(model)} members, {known['minutes']:g} minutes of training together, seed {known['seed']}, steps:")
    steps = [max(row["step"] for row in model.facts["history"] if row["member"] == n) for n in range(len(model))]
    say(f"  {', '.join(map(str, steps))} of {model.recipe.batch} patches {model.recipe.patch}")
    warnings.simplefilter("ignore", VeriscopeWarning)
    calibration(model, w2s.split(given.data, 0)[2], say)
    verdicts(model, given.data, say)
    if given.record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "failures.txt").write_text("\n".join(lines) + "\n")


def cut_patches(given: argparse.Namespace, recipe: Recipe) -> tuple[Any, Any]:
    cut = {"shape": recipe.patch, "per_image": 32, "seed": given.seed, "foreground": None, "normalize": "matched"}
    train, check, _ = w2s.split(given.data, 0)
    return vs.cut_patches(train, **cut), vs.cut_patches(check, **cut)


def measured_again(model: Any, given: argparse.Namespace) -> Any:
    patches, checks = cut_patches(given, model.recipe)
    checked = ask(model, checks, VOXELS)
    found = {"calibration": recalibration(checked), "familiar": remembered(ask(model, patches, VOXELS), checked)}
    return replace(model, facts={**model.facts, **found})


def trained(given: argparse.Namespace) -> Any:
    recipe = Recipe(axes="YX")
    patches, checks = cut_patches(given, recipe)
    how = {"members": given.members, "minutes": given.minutes, "seed": given.seed}
    with tempfile.TemporaryDirectory() as folder:
        return vs.train(recipe, patches, checks, **how, folder=Path(folder) / "model", progress=w2s.Lines())


def calibration(model: Any, test: Pairs, say: Callable[..., None]) -> None:
    say("\nPart 1. Fields 37-40: is the uncertainty right?")
    for title, corrected in (("as predicted", False), ("recalibrated", True)):
        judged = judge(model, test, calibrated=corrected)
        factor = model.facts["calibration"]["scale_factor"][0]
        say(f"\nscales {title}" + (f" (times {factor:.3f}, measured on the check fields)" if corrected else ""))
        say(str(judged.trust))
        if not corrected:
            found = {method: judged.of(method) for method in judged.methods}
            told = [f"{name} NRMSE {row.nrmse:.4f}, SSIM {row.ssim:.3f}" for name, row in found.items()]
            say("; ".join(told))


def verdicts(model: Any, data: Path, say: Callable[..., None]) -> None:
    found: dict[str, list[Verdict]] = {}
    errors: dict[str, list[tuple[float, float]]] = {}
    for name, image, normalization, truth in cases(data):
        restored = vs.restore(vs.Image(image, "YX"), model, normalize=normalization or "image")
        assert restored.verdict is not None
        found.setdefault(name, []).append(restored.verdict)
        if truth is not None:
            pair = quality(truth, image).nrmse, quality(truth, np.asarray(restored.mean)).nrmse
            errors.setdefault(name, []).append(pair)
    say("\nPart 2. Verdicts without the truth, on images of 256 x 256 pixels")
    say(
        f"windows: median share of windows beyond 99 % of training ({model.facts['familiar']['window']} pixels)\n"
        f"pixels: median share that disagrees more than 99 % of the check fields\n"
        f"sided: median number of figures that are off to the same side in 98 % of the windows\n"
        f"0, 1, 2: images that are {'; '.join(LEVELS)}. NRMSE of the input, of the restoration.\n"
    )
    say(f"{'':28} images  windows  pixels  sided    0    1    2   input restored  first reason")
    for name, all_of in found.items():
        windows, strong, sided = (
            np.median([getattr(one, what) or 0 for one in all_of]) for what in ("unlike", "disagreeing", "one_sided")
        )
        levels = " ".join(f"{sum(one.level == level for one in all_of):4}" for level in range(3))
        told = "  {:6.4f}   {:6.4f}".format(*np.mean(errors[name], 0)) if name in errors else " " * 17
        reasons = [one.reasons[0] for one in all_of if one.reasons]
        reason = max(set(reasons), key=reasons.count) if reasons else ""
        say(f"{name:28} {len(all_of):6}  {windows:7.1%} {strong:7.2%} {sided:6.1f} {levels}{told}  {reason}")
    other = [one for name, all_of in found.items() if name not in ALIKE for one in all_of]
    say("\nAbove which a look is advised (level 1 or 2): alarms at each threshold")
    chosen, fresh = (found[name] for name in ALIKE)
    for what, levels in (("unlike", SHARES), ("disagreeing", STRONG), ("one_sided", SIDED)):
        say(f"  {what:22}" + "".join(f"{level:8}" if what == "one_sided" else f"{level:8.0%}" for level in levels))
        for title, group in ((f"false, {ALIKE[0]}", chosen), (f"false, {ALIKE[1]}", fresh), ("detected", other)):
            rates = [np.mean([(getattr(one, what) or 0) > level for one in group]) for level in levels]
            say(f"    {title:20}" + "".join(f"{rate:8.1%}" for rate in rates))
    say("\nThe verdict as it is:")
    for title, group in (
        (f"false alarms, {ALIKE[0]}", chosen),
        (f"false alarms, {ALIKE[1]}", fresh),
        ("detections", other),
    ):
        some, sure = (np.mean([one.level >= level for one in group]) for level in (1, 2))
        say(f"  {title:28} level 1 or 2: {some:6.1%}   level 2: {sure:6.1%}   of {len(group)} images")


if __name__ == "__main__":
    main()
