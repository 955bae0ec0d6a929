"""veriscope simulate tubules, granules: training pairs of structures finer than a microscope resolves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriscope.apps import console, files, words
from veriscope.errors import VeriscopeError

if TYPE_CHECKING:
    from veriscope.simulate.standins import StandIn

CAMERA, MICROSCOPE = "The camera", "The microscope"

Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="New folder for low and high.")]
Fields = Annotated[int, typer.Option(metavar="N", help="Pairs to make.")]
Size = Annotated[str, typer.Option(metavar="SIZE", help="Pixels of a field, such as 128,128.")]
Pixel = Annotated[float, typer.Option(metavar="UM", help="Width of a pixel in um.", rich_help_panel=MICROSCOPE)]
Psf = Annotated[
    str,
    typer.Option(
        metavar="WORDS|FILE",
        help="gaussian:na=1.42,wavelength=0.52,index=1.515 (um), widefield:..., confocal:..., or the image of a bead.",
        rich_help_panel=MICROSCOPE,
    ),
]
Light = Annotated[
    float,
    typer.Option(help="Mean light that belongs to no structure, of their brightness.", rich_help_panel=MICROSCOPE),
]
Photons = Annotated[
    str,
    typer.Option(
        metavar="N|LEAST,MOST", help="Where a structure is bright; each field draws its own.", rich_help_panel=CAMERA
    ),
]
Read = Annotated[float, typer.Option(help="Standard deviation, in grey values.", rich_help_panel=CAMERA)]
Offset = Annotated[float, typer.Option(help="Grey value of darkness.", rich_help_panel=CAMERA)]
Gain = Annotated[float, typer.Option(help="Grey values per photon.", rich_help_panel=CAMERA)]
Seed = Annotated[int, typer.Option(help="Same seed, same files, bit by bit.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation.")]
INS1 = "gaussian:na=1.42,wavelength=0.52,index=1.515"


def tubules(
    out: Out,
    fields: Fields = 100,
    size: Size = "128,128",
    pixel: Pixel = 0.08,
    psf: Psf = INS1,
    background: Light = 0.15,
    photons: Photons = "20,500",
    read_noise: Read = 1.5,
    offset: Offset = 100.0,
    gain: Gain = 1.0,
    radius: Annotated[float, typer.Option(help="Tightest bend of a filament in um.")] = 1.6,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Training pairs of filaments: what they are, and what your microscope makes of them.

    A network that learns from them restores tubules in your own images below the diffraction limit, as far as your
    optics and camera are described well. Writes low and high, and every drawn parameter beside them.

    Examples:
    veriscope simulate tubules --out tubules --psf gaussian:na=1.42,index=1.515 --pixel 0.08 --photons 20,500
    veriscope train tubules/low tubules/high --out model
    veriscope restore cells.tif --model model --out enhanced
    """
    from math import pi

    from veriscope.simulate.tubules import Tubules

    step = pixel / 2
    structure = Tubules(step_um=step, kmax=min(step / (2 * pi * radius), 0.25))
    _simulate(
        structure, out, fields, size, pixel, psf, background, photons, (read_noise, offset, gain), seed, overwrite
    )


def granules(
    out: Out,
    fields: Fields = 100,
    size: Size = "128,128",
    pixel: Pixel = 0.08,
    psf: Psf = INS1,
    background: Light = 0.15,
    photons: Photons = "20,500",
    read_noise: Read = 1.5,
    offset: Offset = 100.0,
    gain: Gain = 1.0,
    width: Annotated[float, typer.Option(help="Width of a typical granule in um.")] = 0.3,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Training pairs of granules: what they are, and what your microscope makes of them.

    As `veriscope simulate tubules`, for small blobs of any brightness.

    Examples:
    veriscope simulate granules --out granules --psf gaussian:na=1.42,index=1.515 --pixel 0.08
    veriscope train granules/low granules/high --out model
    """
    from veriscope.simulate.granules import Granules

    _simulate(
        Granules(size_um=width), out, fields, size, pixel, psf, background, photons, (read_noise, offset, gain), seed,
        overwrite,
    )  # fmt: skip


def _simulate(
    structure: Any,
    out: Path,
    fields: int,
    size: str,
    pixel: float,
    psf: str,
    background: float,
    photons: str,
    camera: tuple[float, float, float],
    seed: int,
    overwrite: bool,
) -> None:
    from veriscope.simulate import experiments

    shape = words.sizes("--size", size)
    if shape is None or len(shape) != 2:
        raise VeriscopeError(f"--size {size} is not the size of a plane. Give two lengths in pixels, such as 128,128.")
    stand = _stand_in(structure, pixel, psf, background, _span(photons), camera)
    stand.optics.on((pixel,) * 3)  # mistakes in its words are found before the work
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_pairs(stand, out, fields, shape, seed, overwrite, progress)
    console.show(f"{fields} pairs of {words.times(shape)} pixels in {out}")
    console.show(f"  veriscope train {out / 'low'} {out / 'high'} --out MODEL")


def _stand_in(
    structure: Any,
    pixel: float,
    psf: str,
    background: float,
    photons: tuple[float, float],
    camera: tuple[float, float, float],
) -> StandIn:
    from veriscope.simulate.camera import Camera
    from veriscope.simulate.perlin import Background
    from veriscope.simulate.standins import Optics, StandIn, enhanced

    read_noise, offset, gain = camera
    return StandIn(
        about="training pairs",
        structure=structure,
        voxel_size=(pixel, pixel),
        optics=Optics(psf, background=Background(background, 25 * pixel) if background else None),
        camera=Camera(photons[1], read_noise, offset, gain),
        make=enhanced,
        fields={},
        photons=photons,
    )


def _span(text: str) -> tuple[float, float]:
    """ "50" or "20,500"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2 or not all(0 < value < float("inf") for value in values) or values != sorted(values):
        raise VeriscopeError(f"--photons {text} is not possible. Give a number above 0, or two such as 20,500.")
    return values[0], values[-1]
