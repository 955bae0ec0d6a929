"""veriscope simulate camera: your own good images, seen by a darker camera or a worse microscope."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from veriscope import saving
from veriscope.apps import console, files
from veriscope.apps.options import REQUIRED, option
from veriscope.images.image import Image
from veriscope.images.reading import list_images, read_image, stem
from veriscope.simulate.camera import Camera
from veriscope.simulate.psf import from_words
from veriscope.version import __version__

CAMERA = "The camera"
PARAMETERS = "parameters.json"
FULL = 65535  # the largest value of 16 bit


@dataclass(frozen=True)
class Sensor:
    """What the camera adds to the photons."""

    PANEL: ClassVar[str] = CAMERA
    read_noise: float = option(1.5, "Standard deviation, in grey values.")
    offset: float = option(100.0, "Grey value of darkness.")
    gain: float = option(1.0, "Grey values per photon.")

    def camera(self, photons: float, background: float = 0.0) -> Camera:
        """The camera where the brightest voxels send so many `photons`. Raises DataError for impossible numbers."""
        return Camera(photons, self.read_noise, self.offset, self.gain, background)


@dataclass(frozen=True)
class Microscope:
    """What the microscope does to the light first."""

    PANEL: ClassVar[str] = "The microscope"
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
    microscope: Microscope,
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
    taken_by = sensor.camera(photons, background)
    jobs = files.plan_outputs(list_images(on), out, None, [], overwrite, [PARAMETERS])
    psf, factor = microscope.psf, microscope.factor
    thinned = None if factor is None else (microscope.axis.upper(), factor)
    if psf is not None:
        from_words(psf, (1.0, 1.0, 1.0))  # on any voxels: mistakes in the words are found before the work
    batch = files.Batch("used", len(jobs))
    with console.bar("Simulating") as progress:
        for number, job in enumerate(jobs):
            progress(number, len(jobs))
            with batch.image(job.source):
                with files.existing(job.mean.parent):
                    _simulate(job, taken_by, seed, axes, psf, thinned, overwrite)
                console.written({"mean": job.mean}, job.source)
    batch.end()


def _simulate(
    job: files.Job,
    taken_by: Camera,
    seed: int,
    axes: str | None,
    psf_words: str | None,
    thinned: tuple[str, float] | None,
    overwrite: bool,
) -> None:
    """One image and its parameters."""
    import numpy as np

    from veriscope.simulate.photograph import as_light, photograph

    image = read_image(job.source, axes=axes, lazy=False)
    # By its name, so that an image gets the same noise whatever else is in the folder.
    drawn = taken_by.draw(np.random.default_rng((seed, zlib.crc32(os.fsencode(stem(job.source))))))
    psf = None if psf_words is None else from_words(psf_words, _voxel_size(image))
    light = as_light(image)
    low = photograph(light.image, taken_by, drawn, psf, thinned)
    described = {
        "veriscope": __version__,
        "command": "simulate camera",
        "image": Path(job.source).name,
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
    _write(low, described, job, overwrite)
    if full := int(np.count_nonzero(np.asarray(low) == FULL)):
        console.note(
            f"{full:,} of {low.array.size:,} values of {job.mean.name} reached {FULL}, the most that 16 bit hold, and "
            "were clipped. Lower --photons, --gain or --offset."
        )


def _voxel_size(image: Image) -> tuple[float, float, float] | None:
    """Of a volume, Z Y X; of a plane with its width for its depth, which does not matter in focus."""
    z, y, x = (image.voxel(letter) for letter in "ZYX")
    return None if y is None or x is None else (z or y, y, x)


def _write(image: Image, described: dict[str, Any], job: files.Job, overwrite: bool) -> None:
    """Image and parameters, both or neither, and the same bytes whenever they are the same."""
    from veriscope.images.writing import open_writer

    text = json.dumps(described, indent=2) + "\n"
    pixels = image.read()
    mark = uuid.UUID(bytes=hashlib.sha256(text.encode() + pixels.tobytes()).digest()[:16], version=4)
    with open_writer(job.mean, image, overwrite, uuid=str(mark)) as writer:
        writer.write([slice(None)] * image.ndim, pixels)
        writer.complete()
        saving.write(job.outputs[PARAMETERS], text, overwrite)
