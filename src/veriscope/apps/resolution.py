"""veriscope resolution: how fine the details are that an image shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from veriscope.apps import console, options, words
from veriscope.apps.options import argument, option
from veriscope.errors import AxesError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.reading import read_image

if TYPE_CHECKING:
    from veriscope.judging.fourier import Correlation, Criterion

# Lenses end before pixels do, mostly: what agrees in every detail agrees in more than what was seen.
SPLIT_IS_NOT = (
    "both halves agree in every detail that pixels can hold. That is seldom what was seen, but noise that is not of "
    "photons: check --gain and --offset, and that the image is raw; or take the field twice."
)
SAME = (
    "both images agree in every detail that pixels can hold. Are they two acquisitions? The same image twice, copies "
    "of it, or a pattern of the camera agree in this way."
)


def resolution(
    first: Path = argument("A plane or a stack.", "IMAGE"),
    second: Path | None = argument(
        "The same field taken once more, with noise of its own; or its ground truth.", "SECOND", None
    ),
    axes: str | None = option(None, "Axes of the files, such as YX, ZYX, where they do not say so.", "AXES"),
    voxel_size: str | None = option(None, "Size of the voxels, Z,Y,X or Y,X, in place of that of the files.", "UM"),
    channel: int = option(0, "Which channel, counted from 0.", "N"),
    criterion: Literal["1/7", "1/2", "half-bit", "3-sigma"] = option(
        "1/7",
        "How much both must agree: 1/7 for two noisy images, 1/2 for one against its ground truth, or more "
        "than noise alone would.",
    ),
    split: bool = option(False, "Divide the photons of IMAGE between two, instead of a SECOND."),
    gain: float = option(1.0, "With --split: grey values per photon.", "G"),
    offset: float = option(0.0, "With --split: grey value without light.", "O"),
    seed: int = option(0, "With --split: of the coin that divides the photons.", "N"),
    plot: Path | None = option(
        None, "Draw it: curves, or spectra along kz, as .svg or .png.", "FILE", suffixes=options.CHARTS
    ),
    overwrite: bool = option(False, "Replace the chart if it exists."),
) -> None:
    """Measure how fine the details are that an image shows.

    With a SECOND image of the same field: the finest detail in which both agree, by Fourier ring correlation; of
    stacks across and along the optical axis. In um where the voxel size is known, else in pixels. With one
    stack alone: how much of what it shows across it shows along Z as well (1: as sharp), from its power spectrum.

    Examples:
    veriscope resolution once.tif again.tif
    veriscope resolution once.tif again.tif --plot curve.svg
    veriscope resolution once.tif again.tif --axes ZYX --voxel-size 0.3,0.1,0.1
    veriscope resolution restored.tif truth.tif --criterion 1/2
    veriscope resolution stack.tif --plot spectrum.png
    """
    if split and second is not None:
        raise VeriscopeError(f"--split divides one image into two, but {second} is given too. Leave one of them out.")
    wrong = f"--voxel-size {voxel_size} is not a size in um. Give positive numbers such as 0.3,0.1,0.1."
    sizes = None if voxel_size is None else words.values(voxel_size, 1e-6, 1e6, wrong)
    image = _read(first, axes, sizes)
    curves = {}
    if second is None and not split:
        if not {"Z", "Y", "X"} <= set(image.axes):
            raise AxesError(
                f"Resolution is measured from two images of the same field, but there is only {image.name or 'one'}. "
                f"Give a second one, or --split with the --gain and --offset of the camera; one stack alone shows its "
                f"isotropy, but this image has the axes {image.axes}."
            )
        from veriscope.judging.isotropy import isotropy

        console.facts("", {"isotropy": str(isotropy(image, channel))})
    else:
        from veriscope.judging import fourier

        pair = fourier.split(image, seed, gain, offset) if second is None else (image, _read(second, axes, sizes))
        curves = _agreement(*pair, channel, criterion, split)
    if plot is not None:
        from veriscope.judging.spectra import section
        from veriscope.reporting.charts import write_chart
        from veriscope.reporting.resolution_charts import correlation_chart, section_chart

        sections = {} if curves else {"": [section(image, name, channel) for name in ("xz", "yz")]}
        figure = correlation_chart(curves) if curves else section_chart(sections)
        console.written({"chart": write_chart(plot, figure, overwrite)})


def _read(path: Path, axes: str | None, sizes: tuple[float, ...] | None) -> Image:
    image = read_image(path, axes=axes)
    image = image if axes else image.flat
    if sizes is None:
        return image
    if len(sizes) != len(image.spatial_axes):
        raise AxesError(
            f"--voxel-size {','.join(f'{size:g}' for size in sizes)} has {len(sizes)} numbers, but {path} has the axes "
            f"{image.spatial_axes}. Give one for each of these."
        )
    return replace(image, voxel_size=sizes)


def _agreement(first: Image, second: Image, channel: int, criterion: Criterion, split: bool) -> dict[str, Correlation]:
    from veriscope.judging.fourier import Direction, ring_correlation

    stacks: dict[str, Direction] = {"lateral": "lateral", "axial": "axial"}
    wanted: dict[str, Direction] = stacks if first.size("Z") > 1 else {"resolution": "all"}
    curves = {name: ring_correlation(first, second, way, criterion, channel) for name, way in wanted.items()}
    console.facts("", {name: str(one) for name, one in curves.items()})
    if any(one.unit == "pixels" for one in curves.values()):
        console.note(
            "the size of the voxels is not known, so resolution is given in pixels. Give it with --voxel-size."
        )
    if any(one.limited and not one.nothing for one in curves.values()):
        console.note(SPLIT_IS_NOT if split else SAME)
    return curves
