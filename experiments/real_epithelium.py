"""A real epithelium projected by networks that have only seen simulated ones.

    python experiments/real_epithelium.py                 # a quarter of an hour on two cores
    python experiments/real_epithelium.py --minutes 0.3   # two minutes: does it run?
    python experiments/real_epithelium.py --record        # also writes experiments/results/real_epithelium*

The real stack (E-cadherin, 30 planes of 199 x 206 pixels of unknown size, uint8, in shared/data/epithelium) shows one
sheet of cells in the middle, and above it a second, dimmer one of much larger cells (a peripodial membrane). Size and
shape of cells, width and axial extent of membranes, height, background, noise and the light above were measured on it
and on simulated stacks by the same rulers (experiments/sheets.py), and the simulation was set until they agreed; what
the rulers say is printed for both. Not one pixel of the real stack, nor of its projection, is learned from.

What it is compared with is a pseudo truth: the projection by another program (EpiTools), made of the pixels of this
very stack, noise and all. Where the maximum comes from the surface it is the same pixel, so that the maximum of the
good stack is hard to beat by these figures. Its automatic segmentation, which says where membranes are, was made from
that projection too. The share of the light above that is left needs the pseudo truth for the scale of grey values only.
Low light is simulated on the real stack, and the pseudo truth stays that of the good one.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import panels
import sheets
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.errors import VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.judging import quality
from veriscope.networks.recipe import Recipe
from veriscope.simulate.camera import Camera, to_integers
from veriscope.simulate.epithelium import Epithelium
from veriscope.simulate.photograph import low_light
from veriscope.simulate.scene import Drawn

HERE = Path(__file__).parent
NAME = "real_epithelium"
DATA = HERE.parents[1] / "shared" / "data" / "epithelium"
sys.path.append(str(HERE.parent / "benchmarks"))
import machine  # noqa: E402

SHAPE = (30, 192, 192)
VOXEL = (1.0, 1.0, 1.0)  # nobody knows the real one: lengths are in pixels, along Z in planes
CHECKED = 0.15
SIGMAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # of the Gaussians that stand beside the maximum, pixels
METHODS = ("maximum", "maximum, then Gaussian", "Gaussian, then maximum", "network", "EpiTools")

SHEET = Epithelium(
    cell_um=23.0,
    jitter=0.25,
    membrane_um=4.6,
    brightness=(0.3, 1.0),
    cytoplasm=0.006,
    extent_um=1.4,
    lateral=0.12,
    depth=(0.5, 0.8),
    relief_um=5.0,
    relief_scale_um=150.0,
    debris=0.0003,
    debris_um=(5.0, 15.0),
    debris_radius_um=(1.5, 5.0),
    debris_light=(0.1, 0.6),
)
ABOVE = Epithelium(
    cell_um=85.0,
    jitter=0.2,
    membrane_um=4.0,
    brightness=(0.1, 0.5),
    corner=0.3,
    cytoplasm=0.01,
    extent_um=1.4,
    lateral=0.03,
    depth=(0.05, 0.3),
    relief_um=3.0,
    relief_scale_um=150.0,
    debris=0.0,
)


@dataclass(frozen=True)
class Tissue:
    """Two sheets as in the real stack; lengths in pixels, along Z in planes.

    Its light passes a Gaussian of `blur` and a camera with `photons` at the brightness 1; the image is smoothed by
    `grain`, as the noise of the real one is: neighbouring pixels of its background correlate.
    """

    sheet: Epithelium = SHEET
    above: Epithelium = ABOVE
    above_in: float = 0.8  # of the stacks
    blur: tuple[float, float, float] = (0.8, 1.2, 1.2)  # Z Y X
    photons: tuple[float, float] = (15.0, 60.0)
    background: float = 0.03
    grain: float = 1.2
    dim: float = 0.6  # of the stacks are seen anew in low light, with ...
    dim_photons: tuple[float, float] = (5.0, 40.0)  # ... so many photons at their brightest voxels

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> Drawn:
        """All that chance decides."""
        return {
            "sheet": self.sheet.draw(rng, shape, VOXEL),
            "above": self.above.draw(rng, shape, VOXEL) if rng.random() < self.above_in else None,
            "photons": float(np.exp(rng.uniform(*np.log(self.photons)))),
            "camera": {"seed": int(rng.integers(2**63))},
            "dim_photons": float(np.exp(rng.uniform(*np.log(self.dim_photons)))) if rng.random() < self.dim else None,
            "dim_seed": int(rng.integers(2**31)),
        }

    def apply(self, drawn: Drawn) -> Seen:
        """The stack that was drawn, its flat truth, and what is known of it."""
        sheet = self.sheet.apply(drawn["sheet"])
        light = np.asarray(sheet.light)
        if drawn["above"] is not None:
            light = light + np.asarray(self.above.apply(drawn["above"]).light)
        light = gaussian_filter(light, self.blur, mode="nearest")
        truth = gaussian_filter(np.asarray(sheet.target), self.blur[1:], mode="nearest")
        camera = Camera(photons=drawn["photons"], read_noise=0.0, offset=0.0, background=self.background)
        counted = gaussian_filter(camera.apply(light, drawn["camera"]), (0, self.grain, self.grain), mode="nearest")
        stack = Image(to_integers(counted * 5000 / drawn["photons"]), "ZYX")
        if drawn["dim_photons"] is not None:
            stack = low_light(stack, drawn["dim_photons"], drawn["dim_seed"])
        return Seen(stack, Image(truth, "YX"), np.asarray(sheet.labels), np.asarray(sheet.height))


@dataclass(frozen=True, eq=False)
class Seen:
    """A simulated stack (ZYX), the sheet laid flat (YX), its cells and its height in planes."""

    stack: Image
    truth: Image
    labels: Any
    height: Any


def simulated(tissue: Tissue, count: int, seed: int) -> list[Pair]:
    """Pairs of stacks and planes; each field a plain function of the seed and its number."""
    fields = []
    for number in range(count):
        seen = tissue.apply(tissue.draw(np.random.default_rng((seed, number))))
        fields.append(Pair(seen.stack, seen.truth, f"simulated {number + 1}"))
    return fields


def trained(given: argparse.Namespace, tissue: Tissue) -> Any:
    """Networks that project, from simulated fields; those in --model where they are there already."""
    if given.model is not None and (given.model / "recipe.json").is_file():
        return vs.load(given.model)
    fields = simulated(tissue, given.fields, given.seed)
    recipe = Recipe(axes="ZYX", task="project", projection=given.projection)
    kept = max(1, round(CHECKED * len(fields)))
    cut: dict[str, Any] = {"shape": recipe.patch, "per_image": 32, "seed": given.seed, "normalize": "fixed"}
    patches, check = (vs.cut_patches(Pairs(part), **cut) for part in (fields[:-kept], fields[-kept:]))
    return vs.train(
        recipe,
        patches,
        check,
        members=given.members,
        minutes=given.minutes,
        seed=given.seed,
        folder=given.model,
        progress=False,
    )


@dataclass(frozen=True, eq=False)
class Real:
    """The real stack, the pseudo truth, its segmentation, and what the stack says of heights and light above."""

    stack: Image
    flat: Any
    labels: Any
    height: Any
    surface: Any  # light at the surface
    above: Any  # and more than six planes above

    @classmethod
    def read(cls, folder: Path) -> Real:
        """Raises VeriscopeError where the three images are not there."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)  # voxels of unknown size
            stack, flat, labels = (
                vs.read_image(folder / f"{name}.tif", axes=axes)
                for name, axes in (("stack", "ZYX"), ("projected_epitools", "YX"), ("projected_segmented", "YX"))
            )
        pixels = np.asarray(stack, np.float64)
        height = sheets.surface_height(pixels)
        return cls(
            Image(np.asarray(stack), "ZYX", name="the real stack"),
            np.asarray(flat, np.float64),
            np.asarray(labels),
            height,
            sheets.at_surface(pixels, height),
            sheets.above_surface(pixels, height),
        )


def projections(stack: Any, flat: Any) -> dict[str, Any]:
    """What stands beside the network: the maximum, and with the Gaussian that brings it closest to the pseudo truth."""
    stack = np.asarray(stack, np.float64)
    maximum = stack.max(0)

    def best(made: list[Any]) -> Any:
        return min(made, key=lambda one: quality.nrmse(flat, one))

    return {
        "maximum": maximum,
        "maximum, then Gaussian": best([gaussian_filter(maximum, sigma) for sigma in SIGMAS]),
        "Gaussian, then maximum": best([gaussian_filter(stack, (sigma / 2, sigma, sigma)).max(0) for sigma in SIGMAS]),
    }


def in_grey_values(flat: Any, picture: Any) -> Any:
    """`picture` with the scale and offset that bring it closest to `flat`."""
    slope, offset = quality.affine_match(np.asarray(flat, np.float64), np.asarray(picture, np.float64))
    return slope * np.asarray(picture, np.float64) + offset


def judged(real: Real, stack: Image, model: Any, say: Any) -> dict[str, Any]:
    """Project `stack` in all ways, say how they compare, and return the pictures: methods and heights by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # the verdict is printed
        restored = vs.restore(stack, model)
        height = np.asarray(restored.height)
    made = projections(stack, real.flat) | {"network": np.asarray(restored.mean), "EpiTools": real.flat}
    say(f"{'':24}  NRMSE    SSIM     d'  brighter   left")
    for name in METHODS:
        matched = in_grey_values(real.flat, made[name])
        figures = quality.quality(real.flat, made[name])
        against = f"{figures.nrmse:7.4f} {figures.ssim:7.3f}" if name != "EpiTools" else f"{'-':>7} {'-':>7}"
        say(f"{name:24}{against} {sheets.shown(matched, real.labels, real.surface, real.above)}")
    calm = gaussian_filter(np.asarray(stack, np.float64), (1, 2, 2))
    heights = {
        "brightest plane": np.asarray(stack).argmax(0),
        "brightest after Gaussian": calm.argmax(0),
        "network": height,
    }
    say(f"{'height':24}  rough    off  astray")
    for name, found in heights.items():
        say(f"{name:24} {sheets.compared(found, real.height, real.labels)}")
    if restored.verdict is not None:
        say(f"verdict without the truth: {restored.verdict}")
    return made | {"height": height, "argmax": heights["brightest plane"], "scale": np.asarray(restored.scale)}


def picture(path: Path, real: Real, stack: Image, made: dict[str, Any]) -> None:
    """Two rows: the projections, and where they come from."""
    matched = {name: in_grey_values(real.flat, made[name]) for name in METHODS}
    ends = tuple(np.percentile(real.flat, (1, 99.8)))
    planes = (float(np.floor(real.height.min()) - 4), float(np.ceil(real.height.max()) + 2))
    chosen = {"maximum": "maximum", "Gaussian, then maximum": "Gaussian, then maximum", "network": "network"}
    top = [panels.Panel(title, matched[name], ends) for name, title in chosen.items()]
    top.append(panels.Panel("EpiTools, of the good stack (pseudo truth)", real.flat, ends))
    row = real.flat.shape[0] // 2
    side = panels.section(np.asarray(stack), row, 3.0)
    bottom = [
        panels.Panel("height: brightest plane", made["argmax"], planes, "viridis"),
        panels.Panel("height: network", made["height"], planes, "viridis", "plane"),
        panels.Panel(f"xz at Y = {row} (planes 3 px apart)", side),
    ]
    panels.save_panels(path, [top, bottom])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, for all networks together")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--fields", type=int, default=60, help="simulated, 15 %% of them for checking")
    parser.add_argument("--projection", choices=("compact", "paper"), default="compact")
    parser.add_argument("--photons", type=float, default=10.0, help="at the brightest voxels, in low light")
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
    say(machine.header("A real epithelium, projected by networks that learned from simulated ones"))
    real, tissue = Real.read(given.data), Tissue()
    say(f"\n{'':24}{sheets.HEADING}")
    say(f"{'real stack':24}{sheets.look(np.asarray(real.stack), real.flat, real.labels)}")
    bright = replace(tissue, dim=0.0)
    for number in range(3):
        seen = bright.apply(bright.draw(np.random.default_rng((given.seed, 1, number))))
        say(f"{f'simulated {number + 1}':24}{sheets.look(np.asarray(seen.stack), np.asarray(seen.truth), seen.labels)}")
    model = trained(given, tissue)
    told, steps = model.facts.training, [row["step"] for row in model.facts.history]
    say(
        f"\nnetworks: {len(model)} ({model.recipe.projection}), {model.parameters:,} parameters and {max(steps)} steps "
        f"each, {told['minutes']:g} minutes in all; {told['patches'][0]} simulated patches; seed {told['seed']}"
    )
    dim = replace(low_light(real.stack, given.photons, given.seed), name="the real stack in low light")
    for name, title, stack in (
        ("clean", "the stack as it is", real.stack),
        ("low_light", f"in low light, {given.photons:g} photons at the brightest voxels", dim),
    ):
        say(f"\n{title}")
        picture(out / f"{NAME}-{name}.png", real, stack, judged(real, stack, model, say))
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all")
    if given.record:
        (out / f"{NAME}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
