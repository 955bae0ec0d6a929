"""Real nuclei made anisotropic by 4, restored by networks that have only seen the planes that were left.

    python experiments/real_nuclei.py                 # ten minutes on two cores
    python experiments/real_nuclei.py --minutes 0.3   # two minutes: does it run?
    python experiments/real_nuclei.py --record        # also writes experiments/results/real_nuclei*

The original (60 x 256 x 256 voxels of .29 x .26 x .26 um, in shared/data/nuclei3d) is blurred along Z alone by the
axial profile of a Gaussian PSF (NA .945 in water at .52 um: 1.16 um wide at half maximum, as far as the planes will be
apart), and every fourth plane is kept: 15 planes, 1.16 um apart. Its lateral blur is left as it is. The networks learn
from these 15 planes as `veriscope train --task isotropic` does: blurred along one lateral axis by the same profile, on
pixels of .26 um, and thinned 1.16 / .26 = 4.46 times. They restore on isotropic voxels of .26 um; splines along Z bring
that to the grid of the original, where it is judged: planes 1 to 57, between the first and the last that was kept.

Mind: the original is less sharp along Z itself, so that a stack that looks from the side as its planes do from above is
sharper than this truth; and it is noisy, which nothing can restore. Its Phi is not 1 because its nuclei lie in one
layer: compare Phi with that of the original. "Agreement" is the correlation with the original of what changes along
Z with a period of 8 to 20 planes, and of 4 to 8 planes, which are finer than planes four apart can show. Beside the
network stand cubic interpolation straight to the grid of the original, and Richardson-Lucy along Z with as many
iterations as are best for this very truth.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import panels
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.classical.deconvolve import richardson_lucy
from veriscope.errors import VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.resampling import resampled
from veriscope.judging import quality
from veriscope.judging.isotropy import isotropy
from veriscope.judging.trust import measure
from veriscope.networks.recipe import Recipe
from veriscope.simulate.anisotropy import anisotropic_pairs, parts_for_checking
from veriscope.simulate.optics import convolve, subsample
from veriscope.simulate.psf import gaussian

HERE = Path(__file__).parent
NAME = "real_nuclei"
DATA = HERE.parents[1] / "shared" / "data" / "nuclei3d" / "nuclei.tif"
sys.path.append(str(HERE.parent / "benchmarks"))
import machine  # noqa: E402

VOXEL = (0.29, 0.26, 0.26)  # um; not in the file
THINNED = 4
BLUR: dict[str, Any] = {"na": 0.945, "wavelength": 0.52, "index": 1.33}
CHECKED = 0.15
DARK = 10  # planes below the cells
FOREGROUND = 0.25  # of the 99.9th percentile: a bright clump outshines all nuclei, which the usual .4 would leave out
ITERATIONS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 70)
PERIODS = ((8.0, 20.0), (4.0, 8.0))  # planes
METHODS = ("cubic interpolation", "Richardson-Lucy", "network", "original")

Pixels = NDArray[Any]


def profile(step: float) -> Pixels:
    """The PSF along Z on voxels `step` um long, summed over the planes: odd length, sum 1."""
    kernel = gaussian(**BLUR, voxel_size=(step, VOXEL[1], VOXEL[2])).kernel.sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(kernel / kernel.sum(), np.float32)


def degraded(original: Image) -> Image:
    """`original` (Z Y X) blurred along Z, and every fourth plane of it."""
    step = original.voxel("Z")
    assert step is not None
    seen = convolve(np.asarray(original), profile(step)[:, None, None])
    return subsample(original.with_array(seen), "Z", THINNED)


def trained(given: argparse.Namespace, stack: Image) -> Any:
    """Networks that learned from the lateral planes of `stack`; those in --model where they are there already."""
    if given.model is not None and (given.model / "recipe.json").is_file():
        return vs.load(given.model)
    pixel, factor = VOXEL[-1], ratio(stack)
    recipe = Recipe(axes="YX", task="isotropic", upsample=(factor, 1.0, 1.0))
    cut: dict[str, Any] = {"shape": recipe.patch, "per_image": 32, "seed": given.seed, "normalize": "shared"}
    cut["foreground"] = FOREGROUND
    halves = []
    for part in parts_for_checking([stack], CHECKED, recipe.patch[-1]):
        pairs = Pairs([pair for one in part for pair in anisotropic_pairs(one, profile(pixel)[:, None], factor)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No position", VeriscopeWarning)  # the first and last planes hold nothing
            halves.append(vs.cut_patches(pairs, **cut))
    return vs.train(
        recipe,
        *halves,
        members=given.members,
        minutes=given.minutes,
        seed=given.seed,
        folder=given.model,
        progress=False,
    )


def ratio(stack: Image) -> float:
    """Distance of planes in lateral pixels."""
    long, short = stack.voxel("Z"), stack.voxel("X")
    assert long is not None
    assert short is not None
    return long / short


def on_planes(pixels: Pixels, have: float, want: float, count: int, axis: int = 0, order: int = 3) -> Pixels:
    """`pixels` with planes `have` um apart along `axis` at `count` planes `want` um apart, the first upon the first."""
    places = np.arange(count) * (want / have)
    spline = make_interp_spline(np.arange(pixels.shape[axis]), pixels, k=order, axis=axis)
    return np.asarray(spline(places), np.float32)


def sharpened(interpolated: Pixels, truth: Pixels) -> tuple[Pixels, int]:
    """Richardson-Lucy along Z on the grid of `truth`, after as many iterations as come closest to it, and how many."""
    found: dict[int, Pixels] = {}

    def keep(iteration: int, sharp: Pixels) -> None:
        if iteration in ITERATIONS:
            found[iteration] = sharp.copy()

    richardson_lucy(
        interpolated, profile(VOXEL[0])[:, None, None], iterations=max(ITERATIONS), tolerance=0.0, watch=keep
    )
    times = min(found, key=lambda iteration: quality.nrmse(truth, found[iteration]))
    return found[times], times


def agreement(truth: Pixels, found: Pixels, periods: tuple[float, float]) -> float:
    """Correlation of two stacks (Z, Y, X) in what changes along Z with `periods` from and to so many planes."""
    window = np.hanning(len(truth) + 2)[1:-1, None, None]
    rates = np.fft.rfftfreq(len(truth))
    band = (rates >= 1 / periods[1]) & (rates < 1 / periods[0])
    y, x = (np.fft.rfft((one - one.mean(axis=0)) * window, axis=0)[band] for one in (truth, found))
    return float(np.vdot(y, x).real / np.sqrt(np.vdot(y, y).real * np.vdot(x, x).real))


def judged(original: Image, stack: Image, model: Any, say: Any) -> dict[str, Pixels]:
    """Restore `stack` in all ways on the grid of `original`, say how they compare, and return the images by name."""
    count = (stack.size("Z") - 1) * THINNED + 1
    truth = original.region(Z=slice(0, count))
    pixels = np.asarray(truth, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # the verdict is printed
        restored = vs.restore(stack, model)
    fine = restored.mean.voxel("Z")
    assert fine is not None

    def moved(values: Any, axis: int = 0, order: int = 3) -> Pixels:
        return on_planes(np.asarray(values), fine, VOXEL[0], count, axis, order)

    cubic = np.asarray(resampled(stack, {"Z": THINNED}, {"Z": count}))
    sharp, times = sharpened(cubic, pixels)
    made = {
        "cubic interpolation": cubic,
        "Richardson-Lucy": sharp,
        "network": moved(restored.mean),
        "original": pixels,
    }
    say(f"{'':24}  NRMSE    SSIM   Phi xz   Phi yz   agreement 8-20  4-8 planes")
    for name in METHODS:
        phi = isotropy(truth.with_array(made[name]))
        figures = quality.quality(pixels, made[name])
        against = f"{figures.nrmse:7.4f} {figures.ssim:7.3f}" if name != "original" else f"{'-':>7} {'-':>7}"
        longer, shorter = (agreement(pixels, made[name], periods) for periods in PERIODS)
        say(f"{name:24}{against} {phi.xz:8.2f} {phi.yz:8.2f} {longer:16.3f} {shorter:11.3f}")
    say(f"Richardson-Lucy: best after {times} of {ITERATIONS} iterations")
    assert restored.scales is not None
    # Scales stay positive between planes where lines join them.
    trust = measure(moved(restored.means, 1), moved(restored.scales, 1, order=1), pixels)
    if trust is not None:
        say("\nof every network there are two predictions, one from xz and one from yz sections")
        say(str(trust))
    if restored.verdict is not None:
        say(f"verdict without the truth: {restored.verdict}")
    return made | {"scale": moved(restored.scale, order=1)}


def picture(path: Path, stack: Image, made: dict[str, Pixels], row: int, column: int) -> None:
    """Sections along X and along Y with true proportions, one method below the other."""
    truth = np.asarray(made["original"], np.float64)
    ends = tuple(np.percentile(truth, (1, 99)))  # a bright clump would leave the nuclei in the dark
    thick = VOXEL[0] / VOXEL[2]

    def sections(pixels: Pixels, factor: float, order: int = 1) -> list[Pixels]:
        both = (pixels, row), (np.swapaxes(pixels, 1, 2), column)
        return [panels.section(one, at, factor, order) for one, at in both]

    given = sections(np.asarray(stack), thick * THINNED, order=0)
    rows = [[panels.Panel(f"{name}, input", side, ends) for name, side in zip(("xz", "yz"), given, strict=True)]]
    for method in METHODS:
        slope, offset = quality.affine_match(truth, np.asarray(made[method], np.float64))
        matched = slope * made[method] + offset
        rows.append([panels.Panel(method, side, ends) for side in sections(matched, thick)])
    wide = (0.0, float(np.percentile(made["scale"], 99)))
    told = "network: predicted scale of the error"
    rows.append([panels.Panel(told, side, wide) for side in sections(made["scale"], thick)])
    panels.save_panels(path, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, for all networks together")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="folder to keep the networks in, or to take them from")
    parser.add_argument("--out", type=Path, default=Path("demo-results") / NAME, help="folder for the pictures")
    parser.add_argument("--record", action="store_true", help=f"write experiments/results/{NAME}* instead")
    given = parser.parse_args()
    out = HERE / "results" if given.record else given.out
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    began = time.monotonic()
    say(machine.header("Real nuclei made anisotropic by 4, restored by networks that learned from their planes"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # the file does not tell its voxels
        pixels = np.asarray(vs.read_image(given.data, axes="ZYX"))
    original = Image(pixels, "ZYX", VOXEL, name="nuclei")
    stack = degraded(original)
    low, high = quality.truth_range(pixels)
    dark = pixels[:DARK].astype(np.float64)
    noise = (dark - gaussian_filter(dark, (0, 4, 4))).std() / (high - low)
    say(
        f"original {original.shape}, voxels {VOXEL} um; given {stack.shape}, planes {stack.voxel('Z'):.2f} um apart; "
        f"Phi of the whole original {isotropy(original)}\n"
        f"noise of the original in its dark first planes: {noise:.4f} of its range; it is part of every NRMSE below"
    )
    model = trained(given, stack)
    told, steps = model.facts.training, [row["step"] for row in model.facts.history]
    say(
        f"networks: {len(model)}, {model.parameters:,} parameters and {max(steps)} steps each, {told['minutes']:g} "
        f"minutes in all; {told['patches'][0]} patches; seed {told['seed']}\n"
    )
    made = judged(original, stack, model, say)
    shown = np.minimum(made["original"], np.percentile(made["original"], 99))
    row, column = (int(np.argmax(shown.mean(axis=(0, axis)))) for axis in (2, 1))
    picture(out / f"{NAME}-sections.png", stack, made, row, column)
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all")
    if given.record:
        (out / f"{NAME}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
