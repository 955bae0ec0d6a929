"""veriscope demo: train, restore and judge on a real image, in minutes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope import wording
from veriscope.apps import console, files
from veriscope.apps.options import option
from veriscope.apps.train import training_progress
from veriscope.errors import AxesError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs, read_pairs
from veriscope.images.reading import read_image
from veriscope.reproducing.paper import NLM as RIVAL

if TYPE_CHECKING:
    from veriscope.classical.tune import Tuned
    from veriscope.networks.model import Ensemble

PHOTONS = (20.0, 40.0)  # expected at the brightest voxels (percentile 99.9 of the truth)
READ_NOISE = 1.5  # grey values, one per photon
BORDER = 160  # the network learns from X < BORDER and is judged on X >= BORDER
JUDGED = slice(64, 192)  # along Y
ASIDE = (slice(0, 56), slice(200, 256))  # along Y: beside what is judged, to check the training and to calibrate
START = "nuclei-3d"  # learned from X < BORDER of this stack, too, and from simulated ones
INTRO = "An ensemble, trained for minutes, beside non-local means tuned on the very images that are judged."
MOST_TESTS = 3  # pairs of the user's own that are judged: tuning non-local means takes its time


@dataclass(frozen=True)
class DemoData:
    """What the demo trains on and what it is judged by, one pair per test."""

    training: Pairs
    checking: Pairs
    tests: Pairs
    described: dict[str, str]
    start: str | None = None  # the network that comes with veriscope to start from


def demo(
    low: Path | None = option(None, "Your own low-light images instead; needs --high.", "LOW"),
    high: Path | None = option(None, "The same fields in good quality.", "HIGH"),
    axes: str | None = option(None, "Axes of your own images, such as ZYX.", "AXES"),
    out: Path = option(Path("demo-results"), "Folder for the results.", "DIR", "--out", "-o"),
    minutes: float = option(4.8, "Time to train the ensemble."),
    members: int = option(2, "Networks in the ensemble."),
    seed: int = option(0, "Of the simulated noise and of the training."),
) -> None:
    """Train, restore and judge on a real image, in about six minutes on two cores.

    A 3D stack of nuclei is imaged again in low light (simulated photons and read noise). An ensemble starts from the
    network nuclei-3d, learns from one part of the field, and restores a part that it never saw, in comparison with the
    best non-local means, tuned on that very part. Ends with a table and a report with pictures.

    Examples:
    veriscope demo
    veriscope demo --low my/low --high my/high --axes ZYX
    """
    if (low is None) != (high is None):
        raise VeriscopeError("--low and --high belong together: give both folders of your own pairs, or neither.")
    if low is None and axes is not None:
        raise AxesError("--axes are those of your own images: give --low and --high too, or remove it.")
    began = time.monotonic()
    data = _own(low, high, axes, seed) if low is not None and high is not None else _nuclei(seed)
    with files.own_folder(out, "veriscope demo", replace=True):
        console.facts("Images", data.described)
        ensemble = _train(data, {"minutes": minutes, "members": members, "seed": seed, "folder": out / "model"})
        from veriscope.reproducing.reproduce import tuned

        with console.bar("Tuning non-local means") as progress:
            rivals = tuned(data.tests, progress)
        _judge(data, ensemble, rivals, out)
    console.show(f"Took {(time.monotonic() - began) / 60:.1f} minutes.", "dim")


# The images


def nuclei() -> Image:
    """The stack of nuclei that comes with veriscope (uint8, ZYX 60 x 256 x 256).

    Channel 1 of scikit-image's cells3d (Allen Institute for Cell Science, CC0), its range brought to 8 bit by
    experiments/shipped.py.
    """
    return read_image(Path(__file__).parents[1] / "models" / "nuclei.ome.tif")


def _nuclei(seed: int) -> DemoData:
    from veriscope.simulate.photograph import low_light

    truth = nuclei()
    parts: dict[str, list[Pair]] = {"training": [], "checking": [], "tests": []}
    for photons in PHOTONS:
        name = f"{photons:g} photons"
        low = low_light(truth, photons, seed, READ_NOISE)
        right = slice(BORDER, None)
        for part, where in (
            ("training", {"X": slice(0, BORDER)}),
            *(("checking", {"Y": strip, "X": right}) for strip in ASIDE),
            ("tests", {"Y": JUDGED, "X": right}),
        ):
            parts[part].append(Pair(low.region(**where), truth.region(**where), name))
    described = {
        "truth": f"nuclei, ZYX {wording.lengths(truth.shape)}, voxel {wording.lengths(truth.voxel_size or ())} um",
        "low light": f"{', '.join(f'{photons:g}' for photons in PHOTONS)} photons at the brightest voxels, "
        f"read noise {READ_NOISE:g}",
        "start": f"the network {START}, which comes with veriscope",
        "learnt from": f"X < {BORDER}",
        "judged on": f"X >= {BORDER}, Y {JUDGED.start} to {JUDGED.stop}, never seen in training",
        "kept aside": f"X >= {BORDER} above and below it, to check the training and to calibrate",
    }
    return DemoData(Pairs(parts["training"]), Pairs(parts["checking"]), Pairs(parts["tests"]), described, START)


def _own(low: Path, high: Path, axes: str | None, seed: int) -> DemoData:
    pairs = read_pairs(low, high, axes=axes)
    training, checking, tests = pairs.split(check=0.1, test=0.1, seed=seed)
    described = {
        "pairs": f"{len(pairs)} in {low} and {high}",
        "learnt from": f"{len(training)}, checked with {len(checking)}",
        "judged on": ", ".join(pair.name for pair in tests[:MOST_TESTS]),
    }
    return DemoData(training, checking, tests[:MOST_TESTS], described)


# The work


def _train(data: DemoData, how: dict[str, Any]) -> Ensemble:
    from veriscope.networks.recipe import Recipe
    from veriscope.reproducing.experiments import SMALL
    from veriscope.sharing.opening import load
    from veriscope.training.loop import train
    from veriscope.training.material import FromPairs

    settings = FromPairs(data.training).settings()
    recipe = Recipe(**settings, **SMALL[settings["axes"]])
    start = None if data.start is None else load(data.start)
    with training_progress() as bar:
        return train(recipe, data.training, data.checking, foreground=None, start=start, progress=bar, **how)


def _judge(data: DemoData, ensemble: Ensemble, tuned: list[Tuned[Image]], out: Path) -> None:
    """Restore and compare; print the table, write the report and the images."""
    from veriscope.comparing.judge import judge
    from veriscope.images.writing import save_image
    from veriscope.reporting.report import write_report
    from veriscope.restoring.tofile import restore_to_file

    with console.bar("Restoring and judging") as progress:
        others = {RIVAL: [one.image for one in tuned]}
        judged = judge(ensemble, data.tests, others=others, pictures=len(data.tests), progress=progress)
    console.show()
    console.figures(judged)
    console.show()
    for pair, one in zip(data.tests, tuned, strict=True):
        console.show(f"{RIVAL} for {pair.name}: {'; '.join(map(str, one.settings))}", "dim")
    won = 0
    for name in judged.images:
        ours, theirs = (
            [row for row in judged.rows if (row.image, row.method) == (name, one)] for one in ("restoration", RIVAL)
        )
        won += all(a.nrmse < b.nrmse and a.ssim > b.ssim for a, b in zip(ours, theirs, strict=True))
    console.show(
        f"The network is closer to the ground truth than {RIVAL}, in NRMSE and SSIM, in {won} of {len(data.tests)}."
    )
    for pair, one in zip(data.tests, tuned, strict=True):
        folder = out / re.sub(r"[^\w.]+", "-", pair.name).strip("-")
        folder.mkdir()
        for name, image in (("low", pair.low), ("high", pair.high), ("non-local-means", one.image)):
            save_image(folder / f"{name}.ome.tif", image)
        restore_to_file(pair.low, ensemble, folder / "restored.ome.tif", scale=folder / "restored.scale.ome.tif")
    report = out / "report.html"
    write_report(report, judged, title="veriscope demo", intro=INTRO, facts={"Images": data.described})
    console.written({"images": out, "report": report})
