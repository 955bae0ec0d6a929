"""A good image as if it were the light itself, imaged again by a worse microscope or at lower light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.simulate.camera import Camera, to_integers
from veriscope.simulate.optics import convolve, subsample
from veriscope.simulate.psf import PSF

DARK, BRIGHT = 0.1, 99.9  # percentiles: no light, and the light that sends the camera's photons


@dataclass(frozen=True)
class Light:
    """An image as light: 0 at the percentile 0.1 of its values, 1 at 99.9, not clipped at the top."""

    image: Image
    dark: tuple[float, ...]  # where the percentile 0.1 lay, per channel
    bright: tuple[float, ...]  # and 99.9


def as_light(image: Image) -> Light:
    """`image` as relative light, float64, each channel by itself, time points and samples together.

    Raises DataError for images with NaN or without contrast.
    """
    pixels = np.array(image, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise DataError("An image used as light must be finite, but this one holds NaN or infinite values.")
    ends = []
    for channel in np.moveaxis(pixels, image.axes.index("C"), 0) if "C" in image.axes else pixels[None]:
        dark, bright = np.percentile(channel, (DARK, BRIGHT))
        if not bright > dark:
            raise DataError(
                f"An image used as light needs contrast, but its percentiles {DARK:g} and {BRIGHT:g} are both "
                f"{dark:g}. Give an image with structures that fill more of it, or crop it."
            )
        channel[...] = np.clip((channel - dark) / (bright - dark), 0, None)
        ends.append((float(dark), float(bright)))
    return Light(image.with_array(pixels), *zip(*ends, strict=True))


def blurred(light: Image, psf: PSF) -> Image:
    """`light` through the microscope `psf` (on the same voxels): volumes in 3D, images without Z as planes in focus."""
    order = "".join(letter for letter in light.axes if letter not in light.spatial_axes)
    seen = light.moved(order + "Z" * ("Z" in light.axes) + "YX")
    kernel = psf.kernel if light.size("Z") > 1 else psf.lateral
    return seen.with_array(convolve(np.asarray(seen), kernel)).moved(light.axes)


def photograph(
    light: Image,
    camera: Camera,
    drawn: dict[str, int],
    psf: PSF | None = None,
    thinned: tuple[str, float] | None = None,
) -> Image:
    """`light` (at least 0) through `psf`, then only every so-many-th plane (`thinned`: axis, factor), by `camera`.

    16 bit, with axes, voxel size and time step kept. Same in, same out.
    """
    if psf is not None:
        light = blurred(light, psf)
    if thinned is not None:
        light = subsample(light, *thinned)
    return light.with_array(to_integers(camera.apply(np.asarray(light), drawn)))


def low_light(truth: Image, photons: float, seed: int, read_noise: float = 1.5) -> Image:
    """`truth` as a camera would see it if its brightest voxels sent so many photons."""
    camera = Camera(photons=photons, read_noise=read_noise)
    rng = np.random.default_rng((seed, round(photons)))
    return photograph(as_light(truth).image, camera, camera.draw(rng))
