"""veriscope simulate tubules, granules: training pairs of structures finer than a microscope resolves."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any, ClassVar

from veriscope.apps import console, files, words
from veriscope.apps.options import REQUIRED, option
from veriscope.apps.simulate_camera import Sensor
from veriscope.errors import VeriscopeError
from veriscope.simulate.granules import Granules
from veriscope.simulate.perlin import Background
from veriscope.simulate.standins import Optics, StandIn, enhanced
from veriscope.simulate.tubules import Tubules


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
    _simulate(Tubules(step_um=step, kmax=min(step / (2 * pi * radius), 0.25)), out, wanted, microscope, sensor)


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
    _simulate(Granules(size_um=width), out, wanted, microscope, sensor)


def _simulate(structure: Any, out: Path, wanted: Fields, microscope: Microscope, sensor: Sensor) -> None:
    from veriscope.simulate import experiments

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
