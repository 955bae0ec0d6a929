"""veriscope simulate: images whose truth is known. The camera has a module beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any, ClassVar

import typer

from veriscope.apps import console, files, simulate_camera, words
from veriscope.apps.options import REQUIRED, option
from veriscope.apps.simulate_camera import Sensor
from veriscope.errors import VeriscopeError
from veriscope.images.conditions import TRAINING
from veriscope.simulate.granules import Granules
from veriscope.simulate.perlin import Background
from veriscope.simulate.standins import INPUT, SCALES, STANDINS, Optics, StandIn, enhanced
from veriscope.simulate.tubules import Tubules

# A movie


def movie(
    out: Path = option(REQUIRED, "New folder for the movie.", "DIR", "--out", "-o"),
    frames: int = option(20, "Time points.", "N"),
    size: str = option("50,192,192", "Voxels of a stack, Z,Y,X.", "SIZE"),
    photons: float = option(30.0, "Where a membrane is bright, in the first frame."),
    bleach: float | None = option(
        None, "Frames until 37 % of the light are left; without it the light stays.", "N", show_default=False
    ),
    drift: float | None = option(None, "Drift of all cells from frame to frame.", "UM"),
    seed: int = option(0, "Same seed, same files, bit by bit."),
    overwrite: bool = option(False, "Replace an earlier simulation."),
) -> None:
    """A wing epithelium over time: cells flow through the field while the light bleaches.

    Voxels of 1 x 0.25 x 0.25 um. Writes low (stacks), high (the membranes laid flat, with full light), labels (a cell
    keeps its number) and height, each as one movie, and all that chance decided. Made to see how long a restoration
    still tells the cells apart, and whether they can be followed.

    Examples:
    veriscope simulate movie --out wing --frames 20 --bleach 8
    veriscope restore wing/low.ome.tif --model flywing-model --out wing-flat.ome.tif
    veriscope segment wing-flat.ome.tif --smooth 2 --cells 0.02 --track --truth wing/labels.ome.tif
    """
    from veriscope.simulate import experiments
    from veriscope.simulate.flow import Flow
    from veriscope.simulate.movie import WingMovie

    shape = words.sizes("--size", size)
    if shape is None or len(shape) != 3:
        raise VeriscopeError(f"--size {size} is not the size of a stack. Give three lengths, such as 50,192,192.")
    flow = Flow() if drift is None else Flow(drift_um=(drift, drift))
    wing = WingMovie(frames=frames, photons=photons, bleach=bleach, flow=flow)
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_movie(wing, out, shape, seed, overwrite, progress)
    console.show(f"{frames} frames of {words.times(shape)} voxels in {out}")
    console.show(f"  veriscope restore {out / 'low.ome.tif'} --model MODEL --out {out}-flat.ome.tif")
    console.show(f"  veriscope project {out / 'low.ome.tif'} --out {out}-maximum.ome.tif")
    console.show(
        f"  veriscope segment {out}-flat.ome.tif {out}-maximum.ome.tif --smooth 2 --cells 0.02 --track "
        f"--truth {out / 'labels.ome.tif'}"
    )


# Pairs of fine structures


@dataclass(frozen=True)
class Fields:
    """What is made, and where."""

    fields: int = option(100, "Pairs to make.", "N")
    size: str = option("128,128", "Pixels of a field, such as 128,128.", "SIZE")
    seed: int = option(0, "Same seed, same files, bit by bit.")
    overwrite: bool = option(False, "Replace an earlier simulation.")


@dataclass(frozen=True)
class Microscope:
    """How the structures are seen."""

    PANEL: ClassVar[str] = "The microscope"
    pixel: float = option(0.08, "Width of a pixel in um.", "UM")
    psf: str = option(
        "gaussian:na=1.42,wavelength=0.52,index=1.515",
        "gaussian:na=1.42,wavelength=0.52,index=1.515 (um), widefield:..., confocal:..., or the image of a bead.",
        "WORDS|FILE",
    )
    background: float = option(0.15, "Mean light that belongs to no structure, relative to their brightness.")
    photons: str = option("20,500", "Where a structure is bright; each field draws its own.", "N|LEAST,MOST")


OUT = option(REQUIRED, "New folder for low and high.", "DIR", "--out", "-o")


def tubules(
    out: Path = OUT,
    radius: float = option(1.6, "Tightest bend of a filament in um."),
    *,
    wanted: Fields,
    microscope: Microscope,
    sensor: Sensor,
) -> None:
    """Training pairs of filaments: what they are, and what your microscope makes of them.

    A network that learns from them restores tubules in your own images below the diffraction limit, as far as your
    optics and camera are described well. Writes low and high, and every drawn parameter beside them.

    Examples:
    veriscope simulate tubules --out tubules --psf gaussian:na=1.42,index=1.515 --pixel 0.08 --photons 20,500
    veriscope train tubules/low tubules/high --out model
    veriscope restore cells.tif --model model --out enhanced
    """
    step = microscope.pixel / 2
    _simulate_pairs(Tubules(step_um=step, kmax=min(step / (2 * pi * radius), 0.25)), out, wanted, microscope, sensor)


def granules(
    out: Path = OUT,
    width: float = option(0.3, "Width of a typical granule in um."),
    *,
    wanted: Fields,
    microscope: Microscope,
    sensor: Sensor,
) -> None:
    """Training pairs of granules: what they are, and what your microscope makes of them.

    As `veriscope simulate tubules`, for small blobs of any brightness.

    Examples:
    veriscope simulate granules --out granules --psf gaussian:na=1.42,index=1.515 --pixel 0.08
    veriscope train granules/low granules/high --out model
    """
    _simulate_pairs(Granules(size_um=width), out, wanted, microscope, sensor)


def _simulate_pairs(structure: Any, out: Path, wanted: Fields, microscope: Microscope, sensor: Sensor) -> None:
    from veriscope.simulate import experiments

    shape, pixel, light = words.sizes("--size", wanted.size), microscope.pixel, microscope.background
    if shape is None or len(shape) != 2:
        raise VeriscopeError(f"--size {wanted.size} is not the size of a plane. Give two lengths, such as 128,128.")
    wrong = f"--photons {microscope.photons} is not possible. Give a number above 0, or two such as 20,500."
    photons = words.values(microscope.photons, 1e-300, 1e300, wrong)
    if len(photons) > 2 or photons[0] > photons[-1]:
        raise VeriscopeError(wrong)
    stand = StandIn(
        about="training pairs",
        structure=structure,
        voxel_size=(pixel, pixel),
        optics=Optics(microscope.psf, background=Background(light, 25 * pixel) if light else None),
        camera=sensor.camera(photons[-1]),
        make=enhanced,
        fields={},
        photons=(photons[0], photons[-1]),
    )
    stand.optics.on((pixel,) * 3)  # mistakes in its words are found before the work
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_pairs(stand, out, wanted.fields, shape, wanted.seed, wanted.overwrite, progress)
    console.show(f"{wanted.fields} pairs of {words.times(shape)} pixels in {out}")
    console.show(f"  veriscope train {out / 'low'} {out / 'high'} --out MODEL")


# Experiments of the paper


def _command(name: str, stand: StandIn) -> Callable[..., None]:
    def run(
        out: Path = option(REQUIRED, "New folder for the images.", "DIR", "--out", "-o"),
        seed: int = option(0, "Same seed, same files, bit by bit."),
        scale: str = option(
            "small", "tiny: to try. small: for two cores. paper: as large as the images of the paper.", "|".join(SCALES)
        ),
        overwrite: bool = option(False, "Replace an earlier simulation."),
        dry_run: bool = option(False, "Show what would be written, and write nothing."),
    ) -> None:
        _simulate(name, out, seed, scale, overwrite, dry_run)

    voxel = words.times(f"{size:g}" for size in stand.voxel_size)
    light = f", at {len(stand.levels)} levels of light" if stand.levels else ""
    run.__doc__ = f"""{stand.about[0].upper()}{stand.about[1:]}.

    Voxels of {voxel} um{light}. Writes train_data and test_data, with a folder for each kind of image (GT is the truth)
    and one of parameters: all that chance decided.

    Examples:
    veriscope simulate {name} --out {name}
    veriscope simulate {name} --out tiny --scale tiny --seed 1
    veriscope train {_material(stand, Path(name))} --out model
    veriscope judge {name} --model model
    """
    return run


def _simulate(name: str, out: Path, seed: int, scale: str, overwrite: bool, dry_run: bool) -> None:
    from veriscope.simulate import experiments

    stand = experiments.standin(name)
    counts = stand.fields[experiments.checked_scale(scale)]
    experiments.refuse_existing(out, overwrite)
    if dry_run:
        plan = {
            "for training": f"{counts[0]} fields of {words.times(counts[1])} voxels",
            "for judging": f"{counts[2]} fields of {words.times(counts[3])} voxels",
            "kinds": ", ".join(stand.conditions),
            "folder": str(out),
        }
        console.facts("Plan (nothing is written)", plan)
        return
    with files.no_empty_folder(out), console.bar(f"Simulating {name}") as progress:
        experiments.simulate(name, out, seed, scale, overwrite, progress)
    console.show(f"{name}: {counts[0]} fields for training and {counts[2]} for judging in {out}")
    console.show(f"  veriscope train {_material(stand, out)} --out MODEL")
    console.show(f"  veriscope judge {out} --model MODEL")


def _material(stand: StandIn, out: Path) -> str:
    """What veriscope train learns from these images."""
    if stand.subsample == 1:
        return str(out)
    return f"{out / TRAINING / INPUT} --task isotropic --psf {stand.optics.psf}"


# The commands

app = typer.Typer(
    help="Make images whose ground truth is known, to train with and to judge by.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    epilog="Each command explains itself: [bold]veriscope simulate camera --help[/bold]",
)


@app.callback()
def start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        console.show(context.get_help())


for command in (simulate_camera.camera, tubules, granules, movie):
    console.command(app, command)
for name, stand in STANDINS.items():
    console.command(app, _command(name, stand), name)
