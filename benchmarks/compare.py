"""Networks against what people used before: the paper's Supp. Tables 2, 4, 6 and Supp. Figs. 4 and 10, with our images.

    python benchmarks/compare.py --models models
    python benchmarks/compare.py --models models --only flywing

Real pairs (W2S, fields 37-40 of channel 0), simulated planaria, tribolium, flywing and drosophila at scale small. Every
method is tuned on each test image itself, as in the paper; the network is not. `--models` holds a folder for each:
`w2s/model` (as `benchmarks/w2s.py --keep` writes it) and `planaria/data`, `planaria/model`, ... (as `veriscope
reproduce` leaves them); what is missing is made, with `--minutes` of training each. Prints the paper's figures beside
ours: its images are real, ours are simulated, so the order of methods can be compared, not the figures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
from w2s import CHECKED, DATA, split

import veriscope as vs
from veriscope.classical import deconvolve
from veriscope.classical.method import Method
from veriscope.comparing.compare import compare
from veriscope.comparing.comparison import WHOLE, Comparison
from veriscope.images.conditions import part, read_conditions
from veriscope.images.pairing import Pairs
from veriscope.judging.isotropy import isotropy
from veriscope.networks.model import Ensemble
from veriscope.reporting.comparison_report import write_comparison
from veriscope.reproducing.paper import NLM, figure
from veriscope.reproducing.reproduce import Run, reproduce
from veriscope.simulate.experiments import standin

DENOISERS_3D = "lowpass,median,bilateral,nlm,tv,bm4d,gat+nlm"
METHODS = {
    "w2s": "lowpass,median,bilateral,nlm,tv,bm3d,gat+nlm",
    "planaria": DENOISERS_3D,
    "tribolium": DENOISERS_3D,
    "flywing": "max,sme,mincost,premosa,max+nlm,sme+nlm,mincost+nlm,premosa+nlm",
    "drosophila": "cubic,rl,rl-raw",
}
# What the paper's tables call our methods: its flywing input is that of PreMosa, ours for the network is the stack.
ALIKE = {"input": "input", "input, interpolated": "input", "restoration": "network", "non-local means": NLM}
ALIKE |= {"PreMosa": "input", "PreMosa, non-local means": NLM}
CROP = {"planaria": 96, "tribolium": 96}  # pixels along Y and X: BM4D manages about 10,000 voxels a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of trained networks; missing ones are made")
    parser.add_argument("--only", choices=METHODS, action="append", help="one of the data sets; may be repeated")
    parser.add_argument("--minutes", type=float, help="of training where a network is missing: 20 for w2s, else 8")
    parser.add_argument("--data", type=Path, default=DATA, help="the W2S images")
    parser.add_argument("--reports", type=Path, help="folder for a report with pictures of every comparison")
    parser.add_argument("--whole", action="store_true", help="judge whole volumes instead of their centres")
    given = parser.parse_args()
    for name in given.only or METHODS:
        run(name, given)


def run(name: str, given: argparse.Namespace) -> None:
    """Compare on one data set and print its tables."""
    print(machine.header(f"{name}: networks against what people used before"))
    if name == "w2s":
        model, conditions = on_w2s(given.models / name / "model", given.data, given.minutes)
    else:
        model, conditions = on_standin(name, given.models / name, given.minutes)
    training = model.facts.training
    print(f"network: {len(model)} members, {training['minutes']} minutes of training in all, loss {training['loss']}")
    found: dict[str, Comparison] = {}
    for condition, pairs in conditions.items():
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as kept:
            compared = compare(
                pairs,
                model,
                methods(name, pairs),
                crop=None if given.whole else CROP.get(name),
                minutes=None,
                out=Path(kept) / "kept",
                tell=lambda words: print("note:", words),
            )
            spent = (time.monotonic() - begin) / 60
            print(f"\n{name}, {condition.replace('_', ' ')}: {len(pairs)} images, {spent:.1f} minutes\n")
            print(compared.table())
            if name == "drosophila":
                print(isotropies(pairs, Path(kept) / "kept"))
        for failure in compared.failures[:1]:
            print(f"\n{failure}")
        found[condition] = compared
        if given.reports is not None:
            given.reports.mkdir(parents=True, exist_ok=True)
            target = given.reports / f"{name}-{condition}.html"
            write_comparison(target, compared, title=f"{name}, {condition.replace('_', ' ')}", overwrite=True)
    print("\n" + beside_the_paper(name, found))
    print(f"\nParameters: {compared.tuned}\n\n{compared.settings}\n", flush=True)


def methods(name: str, pairs: Pairs) -> str | list[Method]:
    """What is compared; deconvolution knows the stand-in's own point-spread function and camera."""
    if name != "drosophila":
        return METHODS[name]
    stand = standin(name)
    psf = stand.optics.on(pairs[0].low.voxel_size)
    return list(deconvolve.methods(psf, stand.subsample, background=stand.camera.offset))


def on_w2s(folder: Path, data: Path, minutes: float | None) -> tuple[Ensemble, dict[str, Pairs]]:
    """The network, trained on fields 1 to 36 if need be, and the pairs of fields 37 to 40."""
    training, checking, testing = split(data, 0)
    if not folder.exists():
        settings = {"members": 2, "minutes": minutes or 20, "folder": folder, "foreground": None, "progress": False}
        vs.train(vs.Recipe(axes="YX"), training, checking, **settings)
    print(f"channel 0, one frame against the mean of 400; trained on 36 fields, {len(CHECKED)} of them for checking")
    return vs.load(folder), {"fields 37-40": testing}


def on_standin(name: str, folder: Path, minutes: float | None) -> tuple[Ensemble, dict[str, Pairs]]:
    """Simulated images at scale small and the network that `veriscope reproduce` trains on them, made if need be."""
    if not (folder / "model").exists():
        reproduce(Run(name, "small", minutes=minutes), folder)
    model = vs.load(folder / "model")
    return model, read_conditions(part(folder / "data", "test_data"), finer=model.recipe.finer)


def isotropies(pairs: Pairs, kept: Path) -> str:
    """Phi (SI 2.4) of the truth and of what every method made, means over images."""
    rows = {"truth": [isotropy(pair.high) for pair in pairs], "input, interpolated": [isotropy(p.low) for p in pairs]}
    for folder in sorted(path for path in kept.iterdir() if path.is_dir()):
        rows[folder.name] = [isotropy(vs.read_image(file)) for file in sorted(folder.rglob("*.ome.tif"))]
    lines = [f"\n{'isotropy Phi':24}     xz     yz"]
    for what, found in rows.items():
        xz, yz = np.mean([(one.xz, one.yz) for one in found], axis=0)
        lines.append(f"{what:24}  {xz:5.2f}  {yz:5.2f}")
    return "\n".join(lines)


def beside_the_paper(name: str, found: dict[str, Comparison]) -> str:
    """NRMSE and SSIM of every method in every condition as the paper's tables have them, its figures beside ours."""
    rows = [("condition", "method", "NRMSE", "SSIM", "paper: NRMSE", "SSIM")]
    for condition, compared in found.items():
        for one in compared.overall(compared.regions[0] if compared.regions else WHOLE):
            told = figure(name, condition, ALIKE.get(one.method, ""))
            nrmse, ssim = ("-" if value is None else f"{value:.{n}f}" for value, n in ((told.nrmse, 4), (told.ssim, 3)))
            rows.append((condition, one.method, f"{one.nrmse[0]:.4f}", f"{one.ssim[0]:.3f}", nrmse, ssim))
    widths = [max(len(row[at]) for row in rows) + 2 for at in range(len(rows[0]))]
    lines = [row[0].ljust(widths[0]) + row[1].ljust(widths[1]) for row in rows]
    lines = [line + "".join(map(str.rjust, row[2:], widths[2:])) for line, row in zip(lines, rows, strict=True)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
