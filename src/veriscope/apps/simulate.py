"""veriscope simulate: images whose truth is known, and good images as a camera sees them in low light."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import pi
from pathlib import Path
from typing import Any, ClassVar

import typer

from veriscope import saving, wording
from veriscope.apps import console, files, words
from veriscope.apps.options import REQUIRED, option
from veriscope.errors import VeriscopeError
from veriscope.images.conditions import TRAINING
from veriscope.images.image import Image
from veriscope.images.reading import list_images, read_image, stem
from veriscope.simulate.camera import Camera
from veriscope.simulate.granules import Granules
from veriscope.simulate.perlin import Background
from veriscope.simulate.psf import from_words
from veriscope.simulate.standins import INPUT, SCALES, STANDINS, Optics, StandIn, enhanced
from veriscope.simulate.tubules import Tubules
from veriscope.version import __version__

CAMERA, MICROSCOPE = "The camera", "The microscope"  # panels of the help
PARAMETERS = "parameters.json"
FULL = 65535  # the largest value of 16 bit

# A camera


@dataclass(frozen=True)
class Sensor:
    """What the camera adds to the photons: fields of a `Camera`."""

    PANEL: ClassVar[str] = CAMERA
    read_noise: float = option(1.5, "Standard deviation, in grey values.")
    offset: float = option(100.0, "Grey value of darkness.")
    gain: float = option(1.0, "Grey values per photon.")


@dataclass(frozen=True)
class Blurring:
    PANEL: ClassVar[str] = MICROSCOPE
    psf: str | None = option(
        None,
        "Blur by gaussian:na=1.1,wavelength=0.52,index=1.33 (um), widefield:na=0.8, confocal:na=1.05,excitation=0.488, "
        "or by the image of a bead.",
        "WORDS|FILE",
    )
    factor: float | None = option(
        None,
        "Keep every so-many-th plane, such as 5 or 10.2; the size differs from the original's then.",
        "FACTOR",
        "--subsample",
    )
    axis: str = option("Z", "Axis of --subsample.", "Z|Y|X")

    @property
    def thinned(self) -> tuple[str, float] | None:
        return None if self.factor is None else (self.axis.upper(), self.factor)


def camera(
    on: str = option(REQUIRED, "Good images: a file, a folder, or a pattern like 'a/*.tif'.", "IMAGE|DIR"),
    out: Path = option(REQUIRED, "Folder for the results, or one file for one image.", "DIR|FILE", "--out", "-o"),
    photons: float = option(REQUIRED, "Expected at the brightest voxels (percentile 99.9).", rich_help_panel=CAMERA),
    background: float = option(0.0, "Light from everywhere, relative to the brightest voxels.", rich_help_panel=CAMERA),
    axes: str | None = option(None, "Axes of the files, such as ZYX, where they do not state them.", "AXES"),
    seed: int = option(0, "Of the noise; the same seed gives the same files."),
    overwrite: bool = option(False, "Replace results that exist already."),
    *,
    sensor: Sensor,
    microscope: Blurring,
) -> None:
    """See good images as a camera would in low light, for training pairs that no microscope had to take.

    Every image is taken for the light itself: its darkest values (percentile 0.1, per channel) for none, its brightest
    (99.9) for what sends --photons to a pixel. It may be blurred by a point-spread function and lose planes; then the
    photons are counted. Writes 16 bit images of the same names, with axes and voxel size kept, and beside each
    NAME.parameters.json with all that is needed to make it again.

    Examples:
    veriscope simulate camera --on high --photons 20 --out low
    veriscope simulate camera --on stack.tif --photons 50 --psf widefield:na=0.8 --subsample 5 --out thin.ome.tif
    veriscope train low high --out model
    """
    taken_by = Camera(photons, background=background, **vars(sensor))
    jobs = files.plan_outputs(list_images(on), out, None, [], overwrite, [PARAMETERS])
    if microscope.psf is not None:
        from_words(microscope.psf, (1.0, 1.0, 1.0))  # on any voxels: mistakes are found before the work
    batch = files.Batch("used", len(jobs))
    with console.bar("Simulating") as progress:
        for number, job in enumerate(jobs):
            progress(number, len(jobs))
            with batch.image(job.source):
                with files.no_empty_folder(job.mean.parent, make=True):
                    _photograph(
                        job, read_image(job.source, axes=axes, lazy=False), taken_by, seed, microscope, overwrite
                    )
                console.written({"mean": job.mean}, job.source)
    batch.end()


def _photograph(
    job: files.Job, image: Image, taken_by: Camera, seed: int, microscope: Blurring, overwrite: bool
) -> None:
    """One image and its parameters, both or neither, and the same bytes whenever they are the same."""
    import numpy as np

    from veriscope.images.writing import open_writer
    from veriscope.simulate.photograph import as_light, photograph

    # By its name, so that an image gets the same noise whatever else is in the folder.
    drawn = taken_by.draw(np.random.default_rng((seed, zlib.crc32(os.fsencode(stem(job.source))))))
    psf, thinned = None, microscope.thinned
    if microscope.psf is not None:
        z, y, x = (image.voxel(letter) for letter in "ZYX")  # in focus the depth of a plane does not matter
        psf = from_words(microscope.psf, None if y is None or x is None else (z or y, y, x))
    light = as_light(image)
    low = photograph(light.image, taken_by, drawn, psf, thinned)
    described = {
        "veriscope": __version__,
        "command": "simulate camera",
        "image": job.source.name,
        "axes": low.axes,
        "shape": low.shape,
        "seed": seed,
        "drawn": drawn,
        "camera": asdict(taken_by),
        "dark": light.dark,
        "bright": light.bright,
        "psf": None if psf is None else {**psf.described, "voxel_size": psf.voxel_size},
        "subsample": None if thinned is None else {"axis": thinned[0], "factor": thinned[1]},
    }
    text, pixels = json.dumps(described, indent=2) + "\n", low.read()
    mark = uuid.UUID(bytes=hashlib.sha256(text.encode() + pixels.tobytes()).digest()[:16], version=4)
    with open_writer(job.mean, low, overwrite, uuid=str(mark)) as writer:
        writer.write([slice(None)] * low.ndim, pixels)
        writer.complete()
        saving.write(job.outputs[PARAMETERS], text, overwrite)
    if full := int(np.count_nonzero(pixels == FULL)):
        console.note(
            f"{full:,} of {pixels.size:,} values of {job.mean.name} reached {FULL}, the most that 16 bit hold, and "
            "were clipped. Lower --photons, --gain or --offset."
        )


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
    console.show(f"{frames} frames of {wording.lengths(shape)} voxels in {out}")
    console.show(f"  veriscope restore {out / 'low.ome.tif'} --model MODEL --out {out}-flat.ome.tif")
    console.show(f"  veriscope project {out / 'low.ome.tif'} --out {out}-maximum.ome.tif")
    console.show(
        f"  veriscope segment {out}-flat.ome.tif {out}-maximum.ome.tif --smooth 2 --cells 0.02 --track "
        f"--truth {out / 'labels.ome.tif'}"
    )


# Pairs of fine structures


@dataclass(frozen=True)
class Fields:
    fields: int = option(100, "Pairs to make.", "N")
    size: str = option("128,128", "Pixels of a field, such as 128,128.", "SIZE")
    seed: int = option(0, "Same seed, same files, bit by bit.")
    overwrite: bool = option(False, "Replace an earlier simulation.")


@dataclass(frozen=True)
class Microscope:
    PANEL: ClassVar[str] = MICROSCOPE
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
        camera=Camera(photons[-1], **vars(sensor)),
        make=enhanced,
        fields={},
        photons=(photons[0], photons[-1]),
    )
    stand.optics.on((pixel,) * 3)  # mistakes in its words are found before the work
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_pairs(stand, out, wanted.fields, shape, wanted.seed, wanted.overwrite, progress)
    console.show(f"{wanted.fields} pairs of {wording.lengths(shape)} pixels in {out}")
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
        from veriscope.simulate import experiments

        counts = stand.fields[experiments.checked_scale(scale)]
        experiments.refuse_existing(out, overwrite)
        if dry_run:
            plan = {
                "for training": f"{counts[0]} fields of {wording.lengths(counts[1])} voxels",
                "for judging": f"{counts[2]} fields of {wording.lengths(counts[3])} voxels",
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

    voxel = wording.lengths(stand.voxel_size)
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


for command in (camera, tubules, granules, movie):
    console.command(app, command)
for name, stand in STANDINS.items():
    console.command(app, _command(name, stand), name)
