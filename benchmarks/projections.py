"""Projections without a network: error of the height, likeness of the image to the truth, and speed.

    python benchmarks/projections.py             # a minute on two cores
    python benchmarks/projections.py --record    # also writes benchmarks/results/projections*

Simulated fields of the fly wing (`veriscope simulate experiment flywing`, scale small; `--fields` of them, means over
fields) in several parts of full light, with their true height and flat image. Reference: what plain versions of the
same methods reached on one simulated wing, while this package was planned; another field, with other light.

The real epithelium (shared/data/epithelium; left out where it is absent) has no true height. Its heights are compared
with a smooth map of its brightest sheet (experiments/sheets.py), its images with another program's (EpiTools) of the
same stack: a pseudo truth, made of the very pixels, noise and all.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np

import veriscope as vs
from veriscope.classical.project import METHODS, PROJECTIONS
from veriscope.errors import VeriscopeWarning
from veriscope.judging import quality
from veriscope.simulate.standins import HEIGHT, STANDINS, TRUTH

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "experiments"))
import panels  # noqa: E402
import sheets  # noqa: E402

RESULTS = HERE / "results"
DATA = HERE.parents[1] / "shared" / "data" / "epithelium"
LEVELS = (1 / 20, 1 / 13, 1 / 8, 1.0)
REFERENCE = {"max": 4.95, "sme": 0.55, "mincost": 0.21, "premosa": 0.16}  # planes
TITLES = {method.name: method.title for method in METHODS}
Say = Callable[[str], None]


def simulated(say: Say, fields: int, seed: int) -> list[list[panels.Panel]]:
    """A table for every level of light; the panels show the first field at the lowest."""
    stand = replace(STANDINS["flywing"], levels=LEVELS)
    shape = stand.fields["small"][3]
    seen = [stand.make(stand, np.random.default_rng((seed, number)), shape, True).images for number in range(fields)]
    shown: list[list[panels.Panel]] = []
    for level, condition in zip(LEVELS, stand.conditions, strict=True):
        say(f"\nsimulated wing, {' x '.join(map(str, shape))}, light 1/{1 / level:g}: mean of {fields} fields")
        say(f"{'':24}{'height error, planes':>22} {'NRMSE':>8} {'SSIM':>7}")
        for name, project in PROJECTIONS.items():
            figures = []
            for images in seen:
                image, height = project(np.asarray(images[condition]))
                truth = np.asarray(images[TRUTH], np.float64)
                off = float(np.abs(height - np.asarray(images[HEIGHT])).mean())
                figures.append((off, quality.nrmse(truth, image), quality.ssim(truth, image)))
                if level == LEVELS[0] and images is seen[0]:
                    shown.append(
                        [panels.Panel(f"{TITLES[name]}, light 1/{1 / level:g}", image), by_height(name, height)]
                    )
            off, nrmse, ssim = np.mean(figures, axis=0)
            say(f"{TITLES[name]:24}{off:22.2f} {nrmse:8.4f} {ssim:7.3f}")
    say(f"\n{'reference, another wing':24}{', '.join(f'{TITLES[name]} {off}' for name, off in REFERENCE.items())}")
    truth = [panels.Panel("truth", np.asarray(seen[0][TRUTH])), by_height("truth", np.asarray(seen[0][HEIGHT]))]
    ends = (float(truth[1].pixels.min()) - 8, float(truth[1].pixels.max()) + 8)
    rows = [[column[row] for column in (*shown, truth)] for row in range(2)]
    rows[1] = [replace(panel, ends=ends) for panel in rows[1]]
    return rows


def by_height(name: str, height: Any) -> panels.Panel:
    return panels.Panel(f"height: {TITLES.get(name, name)}", np.asarray(height), colours="viridis")


def speeds(say: Say, seed: int, rounds: int = 3) -> None:
    stand = replace(STANDINS["flywing"], levels=(1 / 13,))
    shape = stand.fields["small"][3]
    stack = np.asarray(stand.make(stand, np.random.default_rng((seed, 0)), shape, True).images["condition_1"])
    say(f"\nspeed on one thread, {' x '.join(map(str, shape))}, light 1/13: the fastest of {rounds}")
    say(f"{'':24}{'s':>8} {'Mvoxel/s':>10}  of the maximum's time")
    first = None
    for name, project in PROJECTIONS.items():
        best = np.inf
        for _ in range(rounds):
            start = time.perf_counter()
            project(stack)
            best = min(best, time.perf_counter() - start)
        first = first or best
        say(f"{TITLES[name]:24}{best:8.3f} {stack.size / best / 1e6:10.1f} {best / first:12.1f} x")


def real(say: Say, folder: Path) -> list[list[panels.Panel]]:
    """The table of the real stack, and its panels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # voxels of unknown size
        stack, flat, labels = (
            np.asarray(vs.read_image(folder / f"{name}.tif", axes=axes))
            for name, axes in (("stack", "ZYX"), ("projected_epitools", "YX"), ("projected_segmented", "YX"))
        )
    flat = flat.astype(np.float64)
    smooth = sheets.surface_height(stack)
    light = sheets.at_surface(stack, smooth), sheets.above_surface(stack, smooth)
    say(f"\nreal epithelium, {' x '.join(map(str, stack.shape))}: beside EpiTools' projection, and a smooth height")
    say(f"{'':24}  NRMSE    SSIM  light above left   height: rough    off  astray")
    rows: list[list[panels.Panel]] = [[], []]
    grey = tuple(np.percentile(flat, (1, 99.8)))
    planes = (float(smooth.min()) - 6, float(smooth.max()) + 4)
    for name, project in PROJECTIONS.items():
        image, height = project(stack)
        slope, offset = quality.affine_match(flat, image.astype(np.float64))
        matched = slope * image + offset
        left = sheets.shown(matched, labels, *light).left
        figures = quality.quality(flat, image)
        say(
            f"{TITLES[name]:24}{figures.nrmse:7.4f} {figures.ssim:7.3f} {left:17.2f}   {'':7}"
            f"{sheets.compared(height, smooth, labels)}"
        )
        rows[0].append(panels.Panel(TITLES[name], matched, grey))
        rows[1].append(replace(by_height(name, height), ends=planes))
    rows[0].append(panels.Panel("EpiTools", flat, grey))
    rows[1].append(replace(by_height("smooth map of the sheet", smooth), ends=planes))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real epithelium")
    parser.add_argument("--out", type=Path, default=Path("demo-results"), help="folder for the pictures")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/projections* instead")
    given = parser.parse_args()
    out = RESULTS if given.record else given.out
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(machine.header("Projections without a network"))
    panels.save_panels(out / "projections-simulated.png", simulated(say, given.fields, given.seed))
    speeds(say, given.seed)
    if given.data.is_dir():
        panels.save_panels(out / "projections-real.png", real(say, given.data))
    else:
        say(f"\nno real epithelium in {given.data.name}: left out")
    if given.record:
        (out / "projections.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
