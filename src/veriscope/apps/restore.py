"""veriscope restore: apply a trained ensemble to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriscope.apps import console, files, words
from veriscope.errors import ModelError, VeriscopeError

if TYPE_CHECKING:
    from veriscope.images.image import Image
    from veriscope.networks.model import Ensemble
    from veriscope.restoring.tofile import Report

TRUST = "trust.json"  # beside each restored image: the error to expect, and the verdict
VALUES = "Intensities"
MORE = "Also written"
LIMITS = "Time and memory"
DTYPES = ("float32", "uint8", "uint16", "int16", "float16", "float64", "int8", "int32", "uint32")


def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Images: files, folders, or patterns such as 'day1/*.tif'.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", metavar="MODEL", help="Folder that veriscope train wrote.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR|FILE", help="Folder for the results, or one file for one image.")
    ],
    axes: Annotated[
        str | None, typer.Option(metavar="AXES", help="Axes of the files, such as TZYX, where they do not say so.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Restore only this channel of the images, counted from 0.")
    ] = None,
    planes: Annotated[
        bool, typer.Option("--planes", help="Restore stacks plane by plane, with a model for planes.")
    ] = False,
    form: Annotated[
        str | None, typer.Option("--format", metavar="tif|zarr", help="Write OME-TIFF (default) or OME-Zarr.")
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Type of the pixels: float32, uint16, uint8, ... Integers are rounded and clipped.",
            rich_help_panel=VALUES,
        ),
    ] = "float32",
    undo: Annotated[
        bool,
        typer.Option(
            "--undo/--keep-normalized",
            help="Return to the intensities of the input, or stay near 0 to 1.",
            rich_help_panel=VALUES,
        ),
    ] = True,
    normalize: Annotated[
        str,
        typer.Option(
            metavar="image|frame|model",
            help="Percentiles from the whole image or series, from each time point, or from the training images.",
            rich_help_panel=VALUES,
        ),
    ] = "image",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and write nothing.")] = False,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="The predicted scale of the error: NAME.scale.ome.tif.", rich_help_panel=MORE),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="The interval that holds the truth with this chance, such as 0.9: NAME.lower.ome.tif and "
            "NAME.upper.ome.tif.",
            rich_help_panel=MORE,
        ),
    ] = None,
    probability: Annotated[
        float | None,
        typer.Option(
            metavar="EPS",
            help="The chance that the truth lies within EPS of the result, in its own units: NAME.probability.ome.tif.",
            rich_help_panel=MORE,
        ),
    ] = None,
    entropy: Annotated[
        bool,
        typer.Option(
            "--entropy", help="How little is known, all causes together: NAME.entropy.ome.tif.", rich_help_panel=MORE
        ),
    ] = False,
    disagreement: Annotated[
        bool,
        typer.Option(
            "--disagreement",
            help="How far the networks contradict each other, from 0 to 1: NAME.disagreement.ome.tif.",
            rich_help_panel=MORE,
        ),
    ] = False,
    trust_mask: Annotated[
        bool,
        typer.Option(
            "--trust-mask",
            help="Where it can be trusted (255) and where not (0), as far as can be told without the truth: "
            "NAME.trust-mask.ome.tif.",
            rich_help_panel=MORE,
        ),
    ] = False,
    height: Annotated[
        bool,
        typer.Option(
            "--height",
            help="Of models that project stacks: the plane of the surface, counted from 0, and how unsure it is, in "
            "planes: NAME.height.ome.tif and NAME.height-spread.ome.tif.",
            rich_help_panel=MORE,
        ),
    ] = False,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated/--raw",
            help="Put the predicted distributions right by what was measured after training (usual), or leave them as "
            "the networks predict them.",
            rich_help_panel=MORE,
        ),
    ] = True,
    combine: Annotated[
        str | None,
        typer.Option(
            metavar="mixture|csbdeep",
            help="Treat borders, interpolate, and join the directions of isotropic models as veriscope or as csbdeep "
            "does; as the model says if left out: csbdeep for models imported from there.",
            rich_help_panel=VALUES,
        ),
    ] = None,
    tile: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Tile in pixels, such as 256 or 32,256,256.", rich_help_panel=LIMITS),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory to use at most, such as 4GB.", rich_help_panel=LIMITS)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest if left out.", rich_help_panel=LIMITS)
    ] = None,
) -> None:
    """Restore images of any size with a trained model.

    The model knows what it does: less noise, a surface as a flat image, a stack as sharp along Z as across, finer
    pixels. Reads TIFF, OME-TIFF, ImageJ hyperstacks and OME-Zarr; writes OME-TIFF or OME-Zarr with axes, voxel size and
    time step kept. Images larger than memory are restored from disk to disk, tile by tile, with the same result. For
    every image it prints the error to expect and whether the image is like those of the training, and keeps both in
    NAME.trust.json, so that you know how far to trust the result.

    Examples:
    veriscope restore new.tif --model model --out restored.ome.tif
    veriscope restore 'day1/*.tif' day2 --model model --out restored --scale --interval 0.9 --disagreement
    veriscope restore huge.ome.zarr --model model --out restored --format zarr --dtype uint16 --memory 4GB
    veriscope restore day1 --model model --out restored --dry-run
    veriscope restore stacks --model surfaces --out restored --height
    """
    _check_words(form, dtype, normalize, interval, probability)
    if combine not in (None, "mixture", "csbdeep"):
        raise VeriscopeError(f"--combine {combine} is not known. Choose mixture or csbdeep.")
    tile_shape = words.sizes("--tile", tile)

    from veriscope.images.reading import list_images

    sources = list_images(*inputs)
    extras: dict[str, tuple[list[str], Any]] = {  # by option: names of the files, and what the option says
        "scale": (["scale"], scale),
        "interval": (["lower", "upper"], interval),
        "probability": (["probability"], probability),
        "entropy": (["entropy"], entropy),
        "disagreement": (["disagreement"], disagreement),
        "trust_mask": (["trust-mask"], trust_mask),
        "height": (["height", "height-spread"], height),
    }
    extras = {option: asked for option, asked in extras.items() if asked[1] not in (None, False)}
    beside = [name for names, _ in extras.values() for name in names]
    jobs = files.plan_outputs(sources, out, form, beside, overwrite, [TRUST])

    from veriscope.restoring.memory import Whole
    from veriscope.sharing.opening import load

    ensemble = load(model)
    if height and not ensemble.recipe.projects:
        raise ModelError(
            f"{model} does not project stacks to planes, so --height cannot be given. Leave it out, or train on "
            f"stacks with one plane for each (veriscope train STACKS PLANES)."
        )
    uncertain = [f"--{option}" for option in extras if option not in ("trust_mask", "height")]
    if uncertain and not ensemble.recipe.probabilistic:
        raise ModelError(
            f"{model} predicts no uncertainty, so {' and '.join(uncertain)} cannot be given. "
            f"Leave them out, or train with --loss laplace."
        )
    how: dict[str, Any] = {"tile": tile_shape[0] if tile_shape and len(tile_shape) == 1 else tile_shape}
    how |= {"memory": None if memory is None else Whole(memory), "device": device}
    how |= {"channel": channel, "planes": planes, "combine": combine}
    if dry_run:
        _show_plans(jobs, ensemble, axes, how)
        return
    how |= {"calibrated": calibrated, "dtype": dtype, "undo": undo, "normalize": normalize, "overwrite": overwrite}
    _restore_all(jobs, ensemble, axes, extras, how, model)


def _check_words(
    form: str | None, dtype: str, normalize: str, interval: float | None, probability: float | None
) -> None:
    if form not in (None, *files.FORMATS):
        raise VeriscopeError(f"--format {form} is not known. Choose tif (OME-TIFF) or zarr (OME-Zarr).")
    if dtype not in DTYPES:
        raise VeriscopeError(f"--dtype {dtype} is not known. Choose one of {', '.join(DTYPES)}.")
    words.way_to_normalize(normalize)


def _read(job: files.Job, axes: str | None) -> Image:
    from veriscope.images.reading import read_image

    return read_image(job.source, axes=axes)


def _show_plans(jobs: list[files.Job], ensemble: Ensemble, axes: str | None, how: dict[str, Any]) -> None:
    from veriscope.restoring.plan import plan

    rows = []
    for job in jobs:
        image = _read(job, axes)
        planned = plan(image, ensemble, **how)
        rows.append(
            [
                str(job.source),
                f"{image.axes} {words.times(image.shape)}",
                f"{planned.tiles} of {words.times(planned.core)}",
                f"{100 * planned.overhead:.0f} %",
                words.size(planned.memory),
                ", ".join(path.name for path in job.outputs.values()),
            ]
        )
    console.table("Plan (nothing is written)", ["input", "image", "tiles", "halos", "memory", "results"], rows)


def _restore_all(
    jobs: list[files.Job],
    ensemble: Ensemble,
    axes: str | None,
    extras: dict[str, tuple[list[str], Any]],
    how: dict[str, Any],
    model: Path,
) -> None:
    """Restore one after the other. An image that cannot be used is reported and the others go on."""
    from veriscope import saving
    from veriscope.restoring.tofile import restore_to_file

    batch = files.Batch("restored", len(jobs))
    for number, job in enumerate(jobs, start=1):
        title = f"{job.source.name} ({number} of {len(jobs)})" if len(jobs) > 1 else job.source.name
        beside: dict[str, Any] = {}
        for option, (kinds, value) in extras.items():
            targets = [job.outputs[kind] for kind in kinds]
            values = [*([] if value is True else [value]), *targets]
            beside[option] = values[0] if len(values) == 1 else tuple(values)
        with batch.image(job.source):
            with files.existing(job.mean.parent), console.bar(title) as progress:
                report = restore_to_file(_read(job, axes), ensemble, job.mean, progress=progress, **beside, **how)
                saving.write(job.outputs[TRUST], _trust_of(job, report, model), how["overwrite"])
            _tell(job, report, how["dtype"])
    batch.end()


def _trust_of(job: files.Job, report: Report, model: Path) -> str:
    """What is known of a restored image without ground truth, for the file beside it."""
    from veriscope.version import __version__

    known = {"image": str(job.source), "restored": job.mean.name, "model": str(model), "veriscope": __version__}
    return json.dumps({**known, **report.trust.to_json()}, indent=1, ensure_ascii=False) + "\n"


def _tell(job: files.Job, report: Report, dtype: str) -> None:
    console.show(f"{job.source} -> {', '.join(str(path) for path in job.outputs.values())}")
    console.trust(report.trust)
    for output in report.outputs:
        if output.clipped:
            console.note(
                f"{output.clipped:,} of {output.values:,} values lay outside the range of {dtype} and were "
                f"clipped in {output.path.name}."
            )
