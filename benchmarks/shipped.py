"""The networks that come with veriscope, on images that none of them has seen, against what people used before.

    python benchmarks/shipped.py                      # all; half an hour on one core
    python benchmarks/shipped.py nuclei-3d --quick    # one image of each kind
    python benchmarks/shipped.py --record             # also writes the scores into the cards

Other methods have their settings tuned on each test image itself, which favours them (`vs.compare`); BM3D and BM4D take
part where they are installed. Real images: nuclei, X >= 160 of cells3d, of which the training saw X < 160; planes of a
real epithelium, and all of it to project, X >= 110, of which the training saw X < 110. Its ground truth is what
EpiTools made of the good stack. Low light is simulated on all.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
import numpy as np

import veriscope as vs
from veriscope.apps.demo import BORDER, JUDGED, nuclei
from veriscope.classical.deconvolve import methods as deconvolutions
from veriscope.classical.tune import best
from veriscope.errors import VeriscopeWarning
from veriscope.images.conditions import TESTING
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.images.resampling import resampled
from veriscope.judging.quality import quality
from veriscope.networks import shipped
from veriscope.restoring.restore import restore
from veriscope.sharing.card import known
from veriscope.simulate import experiments
from veriscope.simulate.photograph import low_light
from veriscope.simulate.psf import from_words
from veriscope.simulate.standins import INPUT, TRUTH

HERE = Path(__file__).parent
EPITHELIUM = HERE.resolve().parents[1] / "shared" / "data" / "epithelium"
PLANES, UNSEEN = (14, 18, 22), 110  # of the real epithelium: planes to judge, and where no network has learned from it
RESULTS = HERE / "results" / "shipped.txt"
WITH_BM3D, WITH_BM4D = (f"nlm,{name}" if find_spec(name) else "nlm" for name in ("bm3d", "bm4d"))
PAGE = HERE.parent / "docs" / "networks.md"
HEAD = """# Networks to try

These come with veriscope. They are small, need no connection, and stand wherever a model does:

```sh
veriscope models
veriscope restore stack.tif --model nuclei-3d --out tried.ome.tif
```

In Python `vs.load("nuclei-3d")`. Each knows one kind of image; after restoring, the verdict says whether yours is of
that kind. When it is not, train your own, from one of them with `--start NAME` where structures are alike.
`veriscope models NAME --out DIR` copies one.

The scores below are from images that no network has seen; other methods had their settings tuned on each of these
images. NRMSE: 0 is perfect; SSIM: 1 is perfect. The networks are made by experiments/shipped.py and scored by
benchmarks/shipped.py, which writes this page."""
SEED = 1000  # of noise and fields; training has others


@dataclass(frozen=True)
class Test:
    """Images of one kind, and what is run on them besides the network."""

    images: str
    pairs: list[Pair]
    methods: str


def tests(name: str) -> Iterator[Test]:
    """What `name` is tried on."""
    if name == "nuclei-3d":
        truth, where = nuclei(), {"Y": JUDGED, "X": slice(BORDER, None)}
        for photons in (10.0, 20.0, 40.0):
            low = low_light(truth, photons, SEED)
            pair = Pair(low.region(**where), truth.region(**where), f"{photons:g} photons")
            yield Test(f"real nuclei, {photons:g} photons", [pair], WITH_BM4D)
    elif name == "membranes-2d" and EPITHELIUM.is_dir():
        stack = epithelium()
        for photons in (10.0, 20.0, 40.0):
            pairs = []
            for plane in PLANES:
                truth = stack.region(Z=plane)
                low, where = low_light(truth, photons, SEED + plane), {"X": slice(UNSEEN, None)}
                pairs.append(Pair(low.region(**where), truth.region(**where), f"plane {plane}, {photons:g} photons"))
            yield Test(f"real epithelium, planes, {photons:g} photons", pairs, WITH_BM3D)
    elif name == "wing-projection" and EPITHELIUM.is_dir():
        flat = vs.read_image(EPITHELIUM / "projected_epitools.tif", axes="YX")
        for photons in (10.0, 20.0, 40.0):
            low = low_light(epithelium(), photons, SEED)
            truth, where = Image(np.asarray(flat, np.float32), "YX"), {"X": slice(UNSEEN, None)}
            pair = Pair(low.region(**where), truth.region(**where), f"{photons:g} photons")
            yield Test(f"real epithelium, {photons:g} photons", [pair], "premosa+nlm,max+nlm")
    elif name == "tubules":
        for kind in ("ins1-tubules", "hela"):
            made = [experiments.field(kind, TESTING, number, SEED).images for number in range(8)]
            yield Test(f"simulated {kind}", [Pair(one[INPUT], one[TRUTH], str(n)) for n, one in enumerate(made)], "nlm")


def epithelium() -> Image:
    """The stack of the real epithelium."""
    return Image(np.asarray(vs.read_image(EPITHELIUM / "stack.tif", axes="ZYX"), np.float32), "ZYX")


def scored(name: str, quick: bool) -> list[dict[str, Any]]:
    """Rows: images, method, NRMSE, SSIM, means over the images; and what the verdict says of them."""
    model, rows = vs.load(name), []
    if name == "isotropic-nuclei":
        return isotropic(model)
    for test in tests(name):
        pairs = test.pairs[:1] if quick else test.pairs
        compared = vs.compare(pairs, model, test.methods)
        found = {one.method: (one.nrmse[0], one.ssim[0]) for one in compared.overall()}
        if name == "tubules":
            found |= sharpened(pairs)
        for method, (nrmse, ssim) in found.items():
            rows.append(_row(test.images, method, nrmse, ssim))
        for pair in pairs:
            print(f"  {test.images}, {pair.name}: {restore(pair.low, model).verdict}", flush=True)
    return rows


def sharpened(pairs: list[Pair]) -> dict[str, tuple[float, float]]:
    """Richardson-Lucy in planes with the PSF of the simulation, as many iterations as come closest to each truth."""
    kernel = from_words("gaussian:na=1.42,wavelength=0.52,index=1.515", (0.08, 0.08, 0.08))
    method = next(one for one in deconvolutions(kernel, background=100.0) if one.name == "rl")
    found = [best(method, pair.low.in_memory(), pair.high.in_memory()) for pair in pairs]
    figures = [quality(np.asarray(pair.high), np.asarray(one.image)) for pair, one in zip(pairs, found, strict=True)]
    nrmse, ssim = (float(np.mean([getattr(one, figure) for one in figures])) for figure in ("nrmse", "ssim"))
    return {"Richardson-Lucy": (nrmse, ssim)}


def isotropic(model: Any) -> list[dict[str, Any]]:
    """The part of the real stack of nuclei that was not learned from, blurred along Z, and every fourth plane of it."""
    sys.path.insert(0, str(HERE.parent / "experiments"))
    import real_nuclei as real

    original = nuclei().region(X=slice(BORDER, None))
    low = real.degraded(original)
    count = (low.size("Z") - 1) * real.THINNED + 1
    truth = np.asarray(original.region(Z=slice(0, count)), np.float32)
    cubic = np.asarray(resampled(low, {"Z": real.THINNED}, {"Z": count}), np.float32)
    restored = restore(low, model)
    fine = restored.mean.voxel("Z")
    assert fine is not None
    made = {
        "input, cubic interpolation": cubic,
        "Richardson-Lucy along Z": real.sharpened(np.maximum(cubic, 0), truth)[0],
        "restoration": real.on_planes(np.asarray(restored.mean), fine, real.VOXEL[0], count),
    }
    images, figures = "real nuclei, every 4th plane", {name: quality(truth, pixels) for name, pixels in made.items()}
    print(f"  {images}: {restored.verdict}", flush=True)
    return [_row(images, name, one.nrmse, one.ssim) for name, one in figures.items()]


def _row(images: str, method: str, nrmse: float, ssim: float) -> dict[str, Any]:
    return {"images": images, "method": method, "NRMSE": round(nrmse, 4), "SSIM": round(ssim, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(shipped.names())}; all by default")
    parser.add_argument("--quick", action="store_true", help="one image of each kind")
    parser.add_argument("--record", action="store_true", help=f"write the cards, and {RESULTS.name}")
    given = parser.parse_args()
    warnings.simplefilter("ignore", VeriscopeWarning)
    head = machine.header("Networks that come with veriscope, on images that none of them has seen")
    print(head)
    for name in given.names or shipped.names():
        rows = scored(name, given.quick)
        print(table(name, rows), flush=True)
        if given.record:
            place = shipped.FOLDER / name / shipped.ABOUT
            place.write_text(json.dumps({**shipped.about(name), "scores": rows}, indent=1) + "\n", encoding="utf-8")
    if given.record:
        found = [table(name, shipped.about(name)["scores"]) for name in shipped.names()]
        RESULTS.write_text("\n".join([head, *found]) + "\n", encoding="utf-8")
        PAGE.write_text(page(), encoding="utf-8")


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """The scores of one network as text."""
    lines = [f"{row['images']:44} {row['method']:28} {row['NRMSE']:.4f} {row['SSIM']:.3f}" for row in rows]
    return "\n".join(["", f"{name:72}   NRMSE  SSIM", *lines])


def page() -> str:
    """docs/networks.md: what the cards say."""
    parts = [HEAD]
    for name in shipped.names():
        parts += [f"## {name}", *(part.replace("## ", "### ") for part in known(shipped.about(name)))]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
