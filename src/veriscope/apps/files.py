"""Which file each result is written to: decided, and checked for clashes, before any work starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from veriscope import stores
from veriscope.apps import console, signals
from veriscope.errors import ImageFormatError, OutputError, VeriscopeError
from veriscope.images import conditions, pairing
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.reading import SUFFIXES, split_choice, stem
from veriscope.wording import lengths

FORMATS = {"tif": ".ome.tif", "zarr": ".ome.zarr"}
OTHER_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".h5", ".hdf5")
WRITABLE = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr.zip", ".zarr.zip", ".ozx", ".ome.zarr", ".zarr")


@dataclass(frozen=True)
class Job:
    """One image and where its results go: "mean", its restored image, and what is written beside it."""

    source: Path
    outputs: dict[str, Path]
    title: str  # the image's name and its number, where there are several

    @property
    def mean(self) -> Path:
        return self.outputs["mean"]

    def row(self, image: Image, *more: str) -> list[str]:
        """What a dry run shows: input, image, `more`, and results."""
        results = ", ".join(path.name for path in self.outputs.values())
        return [str(self.source), f"{image.axes} {lengths(image.shape)}", *more, results]


@contextmanager
def no_empty_folder(folder: Path, make: bool = False) -> Iterator[None]:
    """Remove `folder` and its parents if they were created meanwhile, here (`make`) or in the work, and are empty."""
    local = stores.url(folder) is None
    created = [place for place in (folder, *folder.parents) if local and not place.exists()]
    try:
        if make and local:
            folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in created:
            with suppress(OSError):  # not empty: there are results in it
                place.rmdir()


@contextmanager
def own_folder(folder: Path, command: str, replace: bool) -> Iterator[None]:
    """A folder for all results of `command`, gone again where there are none. One that it made earlier is used again,
    or else replaced; any other stays as it is. Raises OutputError.
    """
    mark = folder / f"made-by-{command.replace(' ', '-')}.txt"
    begun = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if begun and not mark.is_file():
        raise OutputError(f"{folder} exists and was not made by {command}, so it is left alone. Choose another --out.")
    if begun and replace:
        shutil.rmtree(folder)
    with no_empty_folder(folder, make=True):
        mark.write_text(f"{command} continues in this folder, or replaces it.\n", encoding="utf-8")
        try:
            yield
        finally:
            if list(folder.iterdir()) == [mark]:
                mark.unlink()


class Batch:
    """Work on `total` images, one after the other: one that fails is reported, and the others continue."""

    def __init__(self, done: str, total: int) -> None:
        self.done, self.total = done, total
        self.failed: list[Path] = []

    @contextmanager
    def image(self, source: Path) -> Iterator[None]:
        """The work on one image. A failure is reported with its name; that of a single image stops the command."""
        try:
            yield
        except (VeriscopeError, OSError, MemoryError) as problem:
            if self.total == 1 or isinstance(problem, BrokenPipeError) or signals.came:
                raise
            message = console.os_words(problem) if isinstance(problem, OSError) else str(problem) or "no memory left."
            self.failed.append(source)
            said = message if str(source) in message else f"{source}: {message}"
            console.fail(said, type(problem).__name__, source)

    def end(self) -> None:
        """Raise ImageFormatError with the list of those that failed, if there are any."""
        if self.failed:
            rest = "; the others are done" if len(self.failed) < self.total else ""
            raise ImageFormatError(
                f"{len(self.failed)} of {self.total} images could not be {self.done}: "
                f"{', '.join(map(str, self.failed))}. The reasons are given above{rest}."
            )


def split_name(path: Path, suffixes: Iterable[str] = WRITABLE) -> tuple[str, str]:
    """Name and image suffix of `path`: ("a.b", ".ome.tif"); the suffix is "" when it is none of `suffixes`."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    return path.name, ""


def plan_outputs(
    sources: list[Path],
    out: Path,
    form: str | None,
    extras: Sequence[str],
    overwrite: bool,
    notes: Sequence[str] = (),
) -> list[Job]:
    """One job per source. `out` is a file when its name says so (results.ome.tif), otherwise a folder.

    The `extras` are what is written beside the restored image, such as "scale"; their names become part of the file's.
    `notes` are files of other kinds with their suffix, such as "parameters.json".

    Raises OutputError when two results share a name, when a result would replace an input, when it exists already
    and `overwrite` is False, or when `out` cannot hold it.
    """
    name, suffix = split_name(out)
    is_zarr = "zarr" in suffix.lower() or suffix.lower() == ".ozx"
    is_file = bool(suffix) and (is_zarr or not out.is_dir())
    if is_file and len(sources) > 1:
        raise OutputError(f"--out {out} is one file, but there are {len(sources)} images. Give a folder instead.")
    if is_file and form is not None and is_zarr != (form == "zarr"):
        raise OutputError(f"--format {form} contradicts the name --out {out}. Remove one of them.")
    if not is_file and out.exists() and not out.is_dir():
        raise OutputError(f"--out {out} is a file that is not an image. Give a folder, or a name such as out.ome.tif.")
    if not is_file and not out.exists() and split_name(out, (*SUFFIXES, *OTHER_PICTURES))[1]:
        raise OutputError(f"--out {out} is a kind of file that cannot be written. Use .ome.tif, .tif or .ome.zarr.")
    folder = out.parent if is_file else out
    jobs = []
    for number, source in enumerate(sources, start=1):
        if not is_file:
            file, choice = split_choice(source)  # image 1 of a.czi is "a-1"
            name, suffix = stem(file) if choice is None else f"{stem(file)}-{choice}", FORMATS[form or "tif"]
        beside = {extra: folder / f"{name}.{extra}{suffix}" for extra in extras}
        beside |= {note: folder / f"{name}.{note}" for note in notes}
        title = f"{source.name} ({number} of {len(sources)})" if len(sources) > 1 else source.name
        jobs.append(Job(source, {"mean": folder / f"{name}{suffix}", **beside}, title))
    _check_clashes(jobs)
    _check_free(jobs, overwrite)
    _check_writable(folder)
    return jobs


def _check_clashes(jobs: list[Job]) -> None:
    sources = {job.source.resolve(): job.source for job in jobs}
    results: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs.values():
            key = path.resolve()
            if key in sources:
                raise OutputError(f"The result {path} would replace its own input image. Choose another --out.")
            if key in results:
                raise OutputError(
                    f"{results[key]} and {job.source} would both be written to {path}. Use separate folders."
                )
            results[key] = job.source


def _check_free(jobs: list[Job], overwrite: bool) -> None:
    if overwrite:
        return
    if present := [path for job in jobs for path in job.outputs.values() if _is_there(path)]:
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        verb = "exist" if more else "exists"
        raise OutputError(f"{present[0]}{more} {verb} already. Choose another --out, or replace it with --overwrite.")


def _is_there(path: Path) -> bool:
    with stores.explained(path):
        return stores.exists(path) and (stores.url(path) is None or stores.is_finished(path))


def _check_writable(folder: Path) -> None:
    """Whether `folder`, or the nearest one above it that exists, takes new files."""
    if stores.url(folder) is not None:
        return
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise OutputError(f"{folder} cannot be created: {nearest} is a file. Choose another --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} is not writable. Choose another --out, or change its permissions.")


def read_pairs(
    low: Path, high: Path | None, axes: str | tuple[str, str] | None, finer: Mapping[str, float]
) -> dict[str, Pairs]:
    """Pairs by condition; one condition where two folders or files are given. LOW may have fewer pixels than
    HIGH by the factors `finer` of the model.
    """
    if high is not None:
        return {"": pairing.read_pairs(low, high, axes=axes, finer=finer)}
    return conditions.read_conditions(conditions.part(low, conditions.TESTING), axes=axes, finer=finer)
