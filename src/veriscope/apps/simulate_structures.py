"""veriscope simulate tubules, granules: training pairs of structures finer than a microscope resolves."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Annotated, Any

import typer

from veriscope.apps import console, files, words
from veriscope.apps.simulate_camera import Sensor, in_camera, in_microscope
from veriscope.errors import VeriscopeError


@dataclass(frozen=True)
class Fields:
    """What is made, and where."""

    fields: Annotated[int, typer.Option(metavar="N", help="Pairs to make.")] = 100
    size: Annotated[str, typer.Option(metavar="SIZE", help="Pixels of a field, such as 128,128.")] = "128,128"
    seed: Annotated[int, typer.Option(help="Same seed, same files, bit by bit.")] = 0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation.")] = False


@dataclass(frozen=True)
class Microscope:
    """How the structures are seen."""

    pixel: Annotated[float, in_microscope(metavar="UM", help="Width of a pixel in um.")] = 0.08
    psf: Annotated[
        str,
        in_microscope(
            metavar="WORDS|FILE",
            help="gaussian:na=1.42,wavelength=0.52,index=1.515 (um), widefield:..., confocal:..., or the image of a "
            "bead.",
        ),
    ] = "gaussian:na=1.42,wavelength=0.52,index=1.515"
    background: Annotated[
        float, in_microscope(help="Mean light that belongs to no structure, relative to their brightness.")
    ] = 0.15
    photons: Annotated[
        str, in_camera(metavar="N|LEAST,MOST", help="Where a structure is bright; each field draws its own.")
    ] = "20,500"


Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="New folder for low and high.")]


def tubules(
    out: Out,
    radius: Annotated[float, typer.Option(help="Tightest bend of a filament in um.")] = 1.6,
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
    from veriscope.simulate.tubules import Tubules

    step = microscope.pixel / 2
    _simulate(Tubules(step_um=step, kmax=min(step / (2 * pi * radius), 0.25)), out, wanted, microscope, sensor)


def granules(
    out: Out,
    width: Annotated[float, typer.Option(help="Width of a typical granule in um.")] = 0.3,
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
    from veriscope.simulate.granules import Granules

    _simulate(Granules(size_um=width), out, wanted, microscope, sensor)


def _simulate(structure: Any, out: Path, wanted: Fields, microscope: Microscope, sensor: Sensor) -> None:
    from veriscope.simulate import experiments
    from veriscope.simulate.perlin import Background
    from veriscope.simulate.standins import Optics, StandIn, enhanced

    shape, pixel, light = words.sizes("--size", wanted.size), microscope.pixel, microscope.background
    if shape is None or len(shape) != 2:
        raise VeriscopeError(f"--size {wanted.size} is not the size of a plane. Give two lengths, such as 128,128.")
    photons = _span(microscope.photons)
    stand = StandIn(
        about="training pairs",
        structure=structure,
        voxel_size=(pixel, pixel),
        optics=Optics(microscope.psf, background=Background(light, 25 * pixel) if light else None),
        camera=sensor.camera(photons[1]),
        make=enhanced,
        fields={},
        photons=photons,
    )
    stand.optics.on((pixel,) * 3)  # mistakes in its words are found before the work
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_pairs(stand, out, wanted.fields, shape, wanted.seed, wanted.overwrite, progress)
    console.show(f"{wanted.fields} pairs of {words.times(shape)} pixels in {out}")
    console.show(f"  veriscope train {out / 'low'} {out / 'high'} --out MODEL")


def _span(text: str) -> tuple[float, float]:
    """ "50" or "20,500"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2 or not all(0 < value < float("inf") for value in values) or values != sorted(values):
        raise VeriscopeError(f"--photons {text} is not possible. Give a number above 0, or two such as 20,500.")
    return values[0], values[-1]
