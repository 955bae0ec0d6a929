"""veriscope restore: apply a trained ensemble to files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import make_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from veriscope import saving, stores, wording
from veriscope.apps import console, events, files, options, words
from veriscope.apps.options import ONE_OF, REQUIRED, argument, option
from veriscope.errors import VeriscopeError
from veriscope.images.image import Image
from veriscope.images.reading import list_images, read_image
from veriscope.restoring.outputs import OUTPUTS, Output, check
from veriscope.version import __version__

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.restoring.plan import Plan
    from veriscope.restoring.settings import Settings
    from veriscope.restoring.tofile import Report

TRUST = "trust.json"  # beside each restored image: the error to expect, and the verdict
VALUES = "Intensities"
Pixels = Literal["float32", "uint8", "uint16", "int16", "float16", "float64", "int8", "int32", "uint32"]


def _option(output: Output) -> tuple[str, Any, Any]:
    """The field of an output in the group of options."""
    said = f"{output.says}: {wording.listed(f'NAME.{name}.ome.tif' for name in output.files)}."
    if output.takes is None:
        return output.name, bool, option(False, said)
    return output.name, float | None, option(None, said, output.takes.name)


if TYPE_CHECKING:
    Outputs = Any
else:
    Outputs = make_dataclass("Outputs", map(_option, OUTPUTS), frozen=True, namespace={"PANEL": "Also written"})


def restore(
    inputs: list[str] = argument("Images: files, folders, or patterns such as 'day1/*.tif'.", "INPUT..."),
    model: Path = options.MODEL,
    out: Path = option(REQUIRED, "Folder for the results, or one file for one image.", "DIR|FILE", "--out", "-o"),
    axes: str | None = option(None, "Axes of the files, such as TZYX, where they do not say so.", "AXES"),
    channel: int | None = option(None, "Restore only this channel of the images, counted from 0."),
    planes: bool = option(False, "Restore stacks plane by plane, with a model for planes."),
    form: options.Form | None = options.FORM,
    normalize: options.Way = options.NORMALIZE,
    calibrated: bool = options.CALIBRATED,
    dtype: Pixels = option(
        "float32",
        "Type of the pixels: float32, uint16, uint8, ... Integers are rounded and clipped.",
        "TYPE",
        rich_help_panel=VALUES,
        advice=ONE_OF,
    ),
    undo: bool = option(
        True,
        "Return to the intensities of the input, or stay near 0 to 1.",
        None,
        "--undo/--keep-normalized",
        rich_help_panel=VALUES,
    ),
    combine: Literal["mixture", "csbdeep"] | None = option(
        None,
        "Treat borders, interpolate, and join the directions of isotropic models as veriscope or as csbdeep "
        "does; by default as the model says: csbdeep for models imported from there.",
        rich_help_panel=VALUES,
    ),
    overwrite: bool = option(False, "Replace results that exist already."),
    dry_run: bool = option(False, "Show the plan, and write nothing."),
    *,
    beside: Outputs,
    limits: options.Limits,
    sharing: options.Sharing,
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
    veriscope restore big.ome.zarr --model model --out restored.ome.zarr --cluster tcp://host:8786 --resume
    """
    machine, how = limits.settings(), sharing.settings()
    if sharing.wanted and form == "tif":
        raise VeriscopeError("Several processes write OME-Zarr, not TIFF. Remove --format tif.")
    form = "zarr" if sharing.wanted and form is None and files.split_name(out)[1] == "" else form

    sources = list_images(*inputs)
    asked = {one: value for one in OUTPUTS if (value := getattr(beside, one.name)) not in (None, False)}
    names, replaces = [name for one in asked for name in one.files], overwrite or sharing.resume
    jobs = files.plan_outputs(sources, out, form, names, replaces, [TRUST])

    from veriscope.restoring.plan import Whole
    from veriscope.sharing.opening import load

    ensemble = load(model)
    check(ensemble.in_space(combine), asked, str(model), lambda name: f"--{name.replace('_', '-')}")
    settings: Settings = {
        **machine, "memory": None if limits.memory is None else Whole(limits.memory), "channel": channel,
        "planes": planes, "combine": combine, "calibrated": calibrated, "undo": undo, "normalize": normalize,
    }  # fmt: skip
    if dry_run:
        _show_plans(jobs, ensemble, axes, asked, settings)
        return

    from veriscope.restoring.journal import journal_of
    from veriscope.restoring.tofile import restore_to_file

    batch, noisy = files.Batch("restored", len(jobs)), words.noisy(ensemble.facts)
    for job in jobs:
        targets: dict[str, Any] = {}
        for one, value in asked.items():
            paths = [job.outputs[name] for name in one.files]
            targets[one.name] = tuple(paths) if one.takes is None else (value, *paths)
        resumes = sharing.resume and not overwrite
        if resumes and all(map(saving.exists, job.outputs.values())) and not saving.exists(journal_of(job.mean)):
            console.note(f"{job.source} is restored already: {job.mean}.")
            continue
        with batch.image(job.source), _stopped_with_journal(job):
            image = _read(job, axes, sharing.wanted)
            if events.on():
                _plan(job, image, ensemble, asked, settings)
            ending = partial(_keep_trust, job, model, noisy, replaces)
            with files.no_empty_folder(job.mean.parent, make=True), console.bar(job.title) as progress:
                report = restore_to_file(
                    image, ensemble, job.mean,
                    dtype=dtype, overwrite=overwrite, progress=progress, ending=ending, **settings, **targets, **how,
                )  # fmt: skip
            _tell(job, report, dtype)
    if noisy:
        console.note(noisy)
    batch.end()


@contextmanager
def _stopped_with_journal(job: files.Job) -> Iterator[None]:
    """An interrupt says how to continue, where there is something to continue."""
    from veriscope.restoring.journal import journal_of

    try:
        yield
    except KeyboardInterrupt:
        if not saving.exists(journal_of(job.mean)):
            raise
        raise console.Stopped(
            f"What is finished of {job.mean} is kept; continue with --resume added to the same command."
        ) from None


def _read(job: files.Job, axes: str | None, shared: bool = False) -> Image:
    return read_image(stores.absolute(job.source) if shared else job.source, axes=axes, lazy=shared or None)


def _show_plans(
    jobs: list[files.Job], ensemble: Ensemble, axes: str | None, asked: Iterable[Output], settings: Settings
) -> None:
    rows = []
    batch = files.Batch("planned", len(jobs))
    for job in jobs:
        with batch.image(job.source):
            image = _read(job, axes)
            planned = _plan(job, image, ensemble, asked, settings)
            tiles, halos = f"{planned.tiles} of {wording.lengths(planned.core)}", f"{100 * planned.overhead:.0f} %"
            rows.append(job.row(image, tiles, halos, wording.size(planned.memory)))
    console.table("Plan (nothing is written)", ["input", "image", "tiles", "halos", "memory", "results"], rows)
    batch.end()


def _plan(job: files.Job, image: Image, ensemble: Ensemble, asked: Iterable[Output], settings: Settings) -> Plan:
    """What will be done to an image; other programs hear of it."""
    from veriscope.restoring.prepared import plan

    planned = plan(image, ensemble, list(asked), **settings)
    if events.on():
        results = {kind: path.absolute() for kind, path in job.outputs.items()}
        events.emit("plan", source=job.source, image=events.of_image(image), plan=planned, results=results)
    return planned


def _keep_trust(job: files.Job, model: Path, noisy: str | None, replaces: bool, report: Report) -> None:
    """Write what is known of a restored image without ground truth to the file beside it."""
    known = {"image": str(job.source), "restored": job.mean.name, "model": str(model), "veriscope": __version__}
    known |= {"engine": report.engine} if report.engine else {}
    known |= {"unknown": noisy} if noisy else {}
    text = json.dumps({**known, **report.trust.to_json()}, indent=1, ensure_ascii=False) + "\n"
    saving.write(job.outputs[TRUST], text, replaces)


def _tell(job: files.Job, report: Report, dtype: str) -> None:
    console.written(job.outputs, job.source)
    console.trust(report.trust, job.source)
    for output in report.outputs:
        if output.clipped:
            console.note(
                f"{output.clipped:,} of {output.values:,} values lay outside the range of {dtype} and were "
                f"clipped in {output.path.name}."
            )
