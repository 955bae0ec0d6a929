"""veriscope project: the surface in stacks as flat images, without a network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from veriscope.apps import console, files, options
from veriscope.apps.options import ONE_OF, REQUIRED, argument, option
from veriscope.errors import VeriscopeError
from veriscope.images.image import Image
from veriscope.images.lazy import Blank
from veriscope.images.reading import list_images, read_image

if TYPE_CHECKING:
    from veriscope.classical.project import Projected

SETTINGS = "Settings of methods"
OF_METHOD = {"block": "premosa", "blur": "mincost"}  # by option


def project(
    inputs: list[str] = argument("Stacks: files, folders, or patterns such as 'day1/*.tif'.", "STACK..."),
    out: Path = option(REQUIRED, "Folder for the results, or one file for one stack.", "DIR|FILE", "--out", "-o"),
    method: Literal["premosa", "mincost", "sme", "max"] = option(
        "premosa",
        "PreMosa, minimum-cost surface, SME (smooth manifold extraction), or the maximum along Z.",
        advice=ONE_OF,
    ),
    height: bool = option(False, "Also write the plane of the surface, counted from 0: NAME.height.ome.tif."),
    channel: int | None = option(
        None, "Find the surface in this channel, counted from 0, for all channels; the first if left out."
    ),
    axes: str | None = option(None, "Axes of the files, such as TZYX, where they do not say so.", "AXES"),
    block: int | None = option(
        None, "Of premosa: width of its blocks, 20 if left out.", "PIXELS", rich_help_panel=SETTINGS
    ),
    blur: float | None = option(
        None, "Of mincost: Gaussian before it looks, 2 if left out.", "PIXELS", rich_help_panel=SETTINGS
    ),
    form: options.Form | None = options.FORM,
    overwrite: bool = option(False, "Replace results that exist already."),
    dry_run: bool = option(False, "Show the plan, and write nothing."),
) -> None:
    """Flatten stacks to the surface in them, without a network.

    For an epithelium or a wing in a stack. Unlike the maximum, the other methods leave out what lies above and below.
    Time points are projected one by one; the pixels stay in their unit (float32). What a network makes of such stacks,
    and how uncertain it is: veriscope train STACKS PLANES.

    Examples:
    veriscope project wing.tif --out flat.ome.tif --height
    veriscope project 'day1/*.tif' --method mincost --out flat
    veriscope project movie.ome.tif --method sme --channel 1 --axes TCZYX --out flat
    """
    typed = {"block": block, "blur": blur, "channel": channel}
    settings = {name: value for name, value in typed.items() if value is not None}  # the rest is left to the method
    for name in settings:
        if OF_METHOD.get(name, method) != method:
            raise VeriscopeError(f"--{name} is a setting of --method {OF_METHOD[name]}, not of {method}. Leave it out.")
    sources = list_images(*inputs)
    jobs = files.plan_outputs(sources, out, form, ["height"] if height else [], overwrite)
    if dry_run:
        rows = [job.row(read_image(job.source, axes=axes)) for job in jobs]
        console.table("Plan (nothing is written)", ["input", "image", "results"], rows)
        return
    from veriscope.classical.project import PROJECTIONS

    batch = files.Batch("projected", len(jobs))
    for job in jobs:
        with batch.image(job.source):
            with files.no_empty_folder(job.mean.parent, make=True), console.bar(job.title) as progress:
                image = read_image(job.source, axes=axes)
                _write(image, job, lambda part: PROJECTIONS[method](part, **settings), overwrite, progress)
            console.written(job.outputs, job.source)
    batch.end()


def _write(
    image: Image,
    job: files.Job,
    flatten: Callable[[Image], Projected[Any]],
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> None:
    """Time point by time point, so that a movie does not have to fit in memory."""
    from veriscope.images.writing import Writer, open_writer

    times = image.size("T")
    with ExitStack() as open_files:
        writers: dict[str, Writer] = {}
        for time in range(times):
            span = slice(time, time + 1)
            found = flatten(image.region(T=span) if "T" in image.axes else image)
            for kind, picture in zip(("mean", "height"), found, strict=True):
                if kind not in job.outputs:
                    continue
                if kind not in writers:
                    shape = [times if letter == "T" else picture.size(letter) for letter in picture.axes]
                    whole = picture.with_array(Blank(shape, picture.dtype))
                    writers[kind] = open_files.enter_context(open_writer(job.outputs[kind], whole, overwrite))
                where = [span if letter == "T" else slice(None) for letter in picture.axes]
                writers[kind].write(where, picture.array)
            progress(time + 1, times)
