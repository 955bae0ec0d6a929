"""veriscope segment: from images to labelled objects, and how well these agree with the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veriscope import wording
from veriscope.apps import console, files, options
from veriscope.apps import segment_files as work
from veriscope.apps.options import argument, option
from veriscope.errors import ImageFormatError, OutputError, VeriscopeError
from veriscope.images.reading import holds_images, list_images, stem

if TYPE_CHECKING:
    from veriscope.objects.pixels import PixelClassifier


def segment(
    inputs: list[str] = argument("Images: files, folders, or patterns such as 'day1/*.tif'.", "IMAGE..."),
    *,
    out: Path | None = option(None, "Folder for the labels, or one file for one image.", "DIR|FILE", "--out", "-o"),
    objects: work.Objects,
    learning: work.Learning,
    scoring: work.Scoring,
    axes: str | None = option(None, "Axes of the files, such as TYX, where they do not say so.", "AXES"),
    channel: int | None = option(None, "Segment only this channel of the images, counted from 0."),
    form: options.Form | None = option(None, "Write OME-TIFF (default) or OME-Zarr.", None, "--format"),
    overwrite: bool = option(False, "Replace results that exist already."),
) -> None:
    """Find the objects in images, and compare them with the true ones.

    By threshold and connected components, by a pixel classifier that learns from examples, or, for membranes, by a
    watershed. Stacks are segmented in 3D, time points and channels one by one. Label images hold a number for every
    object and 0 for the background, and open in Fiji and napari. With --truth it prints SEG, ERROR, precision, recall
    and average precision; several images of one field, such as a noisy and a restored one, can be compared. With
    --track an object of a movie keeps its number, and --truth shows how far it was followed.

    Examples:
    veriscope segment restored.tif --out labels.ome.tif --min-size 20 --split 1
    veriscope segment noisy.tif restored.tif --truth labels.tif --sweep 30 --plot curves.svg
    veriscope segment day2 --out found --train day1 --labels day1-labels --keep nuclei.safetensors
    veriscope segment membranes.tif --out cells.ome.tif --smooth 2 --cells 0.02
    veriscope segment movie.tif --out tracks.ome.tif --smooth 2 --cells 0.02 --track
    """
    objects.level()
    _check_together(out, objects, learning, scoring)
    sources = list_images(*inputs)
    targets = {}
    if out is not None:
        jobs = files.plan_outputs(sources, out, form, ["jaccard"] if scoring.jaccard else [], overwrite)
        targets = {job.source: job.outputs for job in jobs}
    true = _truths(sources, scoring.truth)
    written = {target.resolve() for outputs in targets.values() for target in outputs.values()}
    for path in true.values():
        if path.resolve() in written:
            raise OutputError(f"--out would replace the true labels {path}. Choose another --out.")

    reading = work.Reading(axes, channel)
    classifier = _classifier(learning, reading, overwrite)
    objects.check(classifier)
    names = dict(zip(sources, wording.short_names([str(source) for source in sources]), strict=True))
    levels: dict[Path, float] = {}
    if scoring.sweep is not None:
        curves, levels = work.sweep(names, true, reading, objects, scoring.sweep, scoring.iou)
        console.results(curves.table())
        if scoring.plot is not None:
            from veriscope.reporting.charts import threshold_chart, write_chart

            console.written({"plot": write_chart(scoring.plot, threshold_chart(curves), overwrite)})
        if scoring.table is not None:
            work.write_table(curves.every_score(), scoring.table, overwrite)
        if not targets:
            return
    agreements, batch = work.segment(names, reading, objects, classifier, true, targets, overwrite, levels, scoring.iou)
    if agreements and scoring.sweep is None:
        console.results(work.score_table(agreements, scoring.iou))
    if agreements and objects.track:
        console.results(work.track_table(agreements))
    if agreements and scoring.sweep is None and scoring.table is not None:
        work.write_table(work.every_figure(agreements), scoring.table, overwrite)
    batch.end()


def _classifier(learning: work.Learning, reading: work.Reading, overwrite: bool) -> PixelClassifier | None:
    """From a file, or learnt now, if there is one."""
    if learning.classifier is not None:
        from veriscope.objects import pixels

        return pixels.load(learning.classifier)
    if learning.train is None or learning.labels is None:
        return None
    images, labels = list_images(learning.train), list_images(learning.labels)
    alone = len(images) == len(labels) == 1
    pairs = {images[0]: labels[0]} if alone else _named_alike(images, labels, "--labels", learning.labels)
    learnt = work.learn(pairs, reading, learning)
    if learning.keep is not None:
        console.written({"classifier": learnt.save(learning.keep, overwrite)})
    return learnt


def _check_together(out: Path | None, objects: work.Objects, learning: work.Learning, scoring: work.Scoring) -> None:
    typed = {"out": out, **vars(objects), **vars(learning), **vars(scoring)}
    given = {f"--{name}" for name, value in typed.items() if value not in (None, False, 0)}
    if not given & {"--out", "--truth"}:
        raise VeriscopeError("There is nothing to do: give --out for the labels, or --truth to compare with, or both.")
    needs = (
        ("--sweep", "--truth"), ("--plot", "--sweep"), ("--table", "--truth"), ("--jaccard", "--out"),
        ("--jaccard", "--truth"), ("--train", "--labels"), ("--labels", "--train"), ("--strokes", "--train"),
        ("--keep", "--train"),
    )  # fmt: skip
    for one, other in needs:
        if one in given and other not in given:
            raise VeriscopeError(f"{one} needs {other} as well. See: veriscope segment --help")
    if {"--track", "--sweep"} <= given and "--out" not in given:
        raise VeriscopeError("--track with --sweep needs --out as well: the labels of the best threshold are tracked.")
    excluded = {
        "--sweep": ("--threshold", "--cells", "--train", "--classifier"),
        "--train": ("--classifier", "--cells", "--split", "--fill", "--smooth"),
        "--cells": ("--threshold", "--split", "--fill"),
        "--classifier": ("--cells", "--split", "--fill", "--smooth"),
    }
    for one, others in excluded.items():
        for other in others:
            if {one, other} <= given:
                raise VeriscopeError(f"{one} and {other} contradict each other. Leave one of them out.")


def _truths(sources: Sequence[Path], truth: str | None) -> dict[Path, Path]:
    """The true labels of every image: one file for all, or those of the same name."""
    if truth is None:
        return {}
    labels = list_images(truth)
    if not holds_images(Path(truth)) and len(labels) == 1:
        return dict.fromkeys(sources, labels[0])
    return _named_alike(sources, labels, "--truth", truth)


def _named_alike(sources: Sequence[Path], labels: Sequence[Path], option: str, place: str) -> dict[Path, Path]:
    by_name: dict[str, Path] = {}
    wanted = set(map(stem, sources))
    for path in labels:
        other = by_name.setdefault(stem(path), path)
        if other != path and stem(path) in wanted:
            raise ImageFormatError(
                f"{option} {place} has two files called {stem(path)}: {other} and {path}. Leave one of them out."
            )
    if missing := [source for source in sources if stem(source) not in by_name]:
        raise ImageFormatError(
            f"{option} {place} has no labels for {missing[0].name}: none of its {len(labels)} files is called "
            f"{stem(missing[0])}. Name the labels as the images."
        )
    return {source: by_name[stem(source)] for source in sources}
