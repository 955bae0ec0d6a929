"""veriscope segment: from images to labelled objects, and how well these agree with the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from veriscope import saving
from veriscope.apps import console, files, words
from veriscope.apps import segment_files as work
from veriscope.apps import segment_scores as telling
from veriscope.errors import ImageFormatError, OutputError, VeriscopeError

OBJECTS = "What is an object"
LEARN = "Learning from examples"
COMPARE = "Comparing with the truth"


def segment(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images: files, folders, or patterns such as 'day1/*.tif'.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR|FILE", help="Folder for the labels, or one file for one image."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE|RULE",
            help="Brightness above which a pixel belongs to an object, or a rule that finds it: otsu (default), li, "
            "triangle, yen, isodata. With a classifier the probability, 0.5 if left out.",
            rich_help_panel=OBJECTS,
        ),
    ] = None,
    smooth: Annotated[
        float, typer.Option(metavar="PIXELS", help="Blur the image first.", rich_help_panel=OBJECTS)
    ] = 0.0,
    min_size: Annotated[
        int, typer.Option(metavar="N", help="Leave out objects of fewer pixels.", rich_help_panel=OBJECTS)
    ] = 0,
    fill: Annotated[bool, typer.Option("--fill", help="Close holes in objects.", rich_help_panel=OBJECTS)] = False,
    split: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="Cut objects that touch at their necks; 1 is a good start, higher cuts less.",
            rich_help_panel=OBJECTS,
        ),
    ] = None,
    cells: Annotated[
        float | None,
        typer.Option(
            metavar="DEPTH",
            help="Find dark cells between bright membranes instead: how deep they are at least, in parts of the "
            "image's range, such as 0.02.",
            rich_help_panel=OBJECTS,
        ),
    ] = None,
    track: Annotated[
        bool,
        typer.Option(
            "--track",
            help="In a movie, give an object the same number in all frames: it is followed by its overlap from frame "
            "to frame.",
            rich_help_panel=OBJECTS,
        ),
    ] = False,
    train: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Images to learn from what an object is.", rich_help_panel=LEARN),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Label images of these, named alike.", rich_help_panel=LEARN),
    ] = None,
    strokes: Annotated[
        bool,
        typer.Option(
            "--strokes",
            help="LABELS are strokes of a brush, not objects: 1 background, 2 object, 3 border, 0 not told.",
            rich_help_panel=LEARN,
        ),
    ] = False,
    trees: Annotated[int, typer.Option(metavar="N", help="Trees of the random forest.", rich_help_panel=LEARN)] = 200,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep what was learnt, as a .safetensors file.", rich_help_panel=LEARN),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use what was learnt before, from --keep.", rich_help_panel=LEARN),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help="True labels: one file for all images, or a folder of files named as the images.",
            rich_help_panel=COMPARE,
        ),
    ] = None,
    iou: Annotated[
        float,
        typer.Option(help="Overlap from which an object counts as found (IoU, 0 to 1).", rich_help_panel=COMPARE),
    ] = 0.5,
    jaccard: Annotated[
        bool,
        typer.Option(
            "--jaccard",
            help="Also write the true objects painted by how well each was found: NAME.jaccard.ome.tif.",
            rich_help_panel=COMPARE,
        ),
    ] = False,
    sweep: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Try N thresholds over the range of each image, and take the one with the best SEG.",
            rich_help_panel=COMPARE,
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the sweep, as .svg or .png.", rich_help_panel=COMPARE)
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the sweep or the scores, as .csv.", rich_help_panel=COMPARE),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(metavar="AXES", help="Axes of the files, such as TYX, where they do not say so.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Segment only this channel of the images, counted from 0.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="tif|zarr", help="Write OME-TIFF (default) or OME-Zarr.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist already.")] = False,
) -> None:
    """Find the objects in images, and compare them with the true ones.

    By threshold and connected components, by a pixel classifier that learns from examples, or, for membranes, by a
    watershed. Stacks are segmented in 3D, time points and channels one by one. Label images hold a number for every
    object and 0 for the background, and open in Fiji and napari. With --truth it prints SEG, ERROR, precision, recall
    and average precision; several images of one field, such as a noisy and a restored one, can be compared. With
    --track an object of a movie keeps its number, and --truth tells how far it was followed.

    Examples:
    veriscope segment restored.tif --out labels.ome.tif --min-size 20 --split 1
    veriscope segment noisy.tif restored.tif --truth labels.tif --sweep 30 --plot curves.svg
    veriscope segment day2 --out found --train day1 --labels day1-labels --keep nuclei.safetensors
    veriscope segment membranes.tif --out cells.ome.tif --smooth 2 --cells 0.02
    veriscope segment movie.tif --out tracks.ome.tif --smooth 2 --cells 0.02 --track
    """
    number, rule = _check_words(threshold, smooth, min_size, split, cells, trees, iou, form)
    _check_together(
        {
            "--out": out, "--threshold": threshold, "--truth": truth, "--sweep": sweep, "--plot": plot,
            "--table": table, "--jaccard": jaccard, "--train": train, "--labels": labels, "--strokes": strokes,
            "--keep": keep, "--classifier": classifier, "--cells": cells, "--split": split, "--fill": fill,
            "--smooth": smooth or None, "--track": track,
        }
    )  # fmt: skip
    _check_targets(plot, table, keep, overwrite)

    from veriscope.images.reading import list_images

    sources = list_images(*inputs)
    targets = {}
    if out is not None:
        jobs = files.plan_outputs(sources, out, form, ["jaccard"] if jaccard else [], overwrite)
        targets = {job.source: job.outputs for job in jobs}
    true = _truths(sources, truth)
    written = {target.resolve() for found in targets.values() for target in found.values()}
    for path in true.values():
        if path.resolve() in written:
            raise OutputError(f"--out would replace the true labels {path}. Choose another --out.")

    reading = work.Reading(axes, channel)
    learnt = None
    if classifier is not None:
        learnt = work.load(classifier)
    elif train is not None and labels is not None:
        images, told = list_images(train), list_images(labels)
        alone = len(images) == len(told) == 1
        pairs = {images[0]: told[0]} if alone else _named_alike(images, told, "--labels", labels)
        learnt = work.learn(pairs, reading, strokes, trees)
        if keep is not None:
            console.show(f"Classifier: {learnt.save(keep, overwrite).resolve()}")
    way = work.Way(number, rule, smooth, min_size, fill, split, cells, learnt, track)
    names = dict(zip(sources, words.short_names([str(source) for source in sources]), strict=True))
    levels: dict[Path, float] = {}
    if sweep is not None:
        curves, levels = work.swept(names, true, reading, way, sweep, iou)
        heading, *rows = curves.rows()
        console.table(f"At the threshold of the best SEG; AP (average precision) at IoU {iou:g}", heading, rows)
        if plot is not None:
            work.draw(curves, plot, overwrite)
        if table is not None:
            work.place_table(curves.all_rows(), table, overwrite)
        if not targets:
            return
    if targets or (true and sweep is None):
        outcomes, batch = work.segment_all(names, true, targets, reading, way, levels, iou, overwrite)
        if outcomes and sweep is None:
            title = f"Precision, recall and AP (average precision) at IoU {iou:g}"
            console.table(title, telling.SCORED, [one.row() for one in outcomes])
        if outcomes and track:
            title = "Followed from frame to frame; recall and precision of links between frames"
            console.table(title, telling.FOLLOWED, [one.followed_row() for one in outcomes])
        if outcomes and sweep is None and table is not None:
            work.place_table(telling.table_of(outcomes), table, overwrite)
        batch.end()


def _check_words(
    threshold: str | None,
    smooth: float,
    min_size: int,
    split: float | None,
    cells: float | None,
    trees: int,
    iou: float,
    form: str | None,
) -> tuple[float | None, str]:
    """The threshold as a number, or the rule that finds one: (None, "otsu"); (None, "") where it was left out."""
    rules = ("otsu", "li", "triangle", "yen", "isodata")  # as in classical.segment, which is heavy to load
    if form not in (None, *files.FORMATS):
        raise VeriscopeError(f"--format {form} is not known. Choose tif or zarr.")
    if threshold is None or threshold in rules:
        return None, threshold or ""
    try:
        value = float(threshold)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise VeriscopeError(
            f"--threshold {threshold} is neither a number nor a rule. Give a brightness, or one of {', '.join(rules)}."
        )
    return value, ""


def _check_together(given: Mapping[str, Any]) -> None:
    """Which options need each other, and which exclude each other."""

    def has(option: str) -> bool:
        return given[option] is not None and given[option] is not False

    if not has("--out") and not has("--truth"):
        raise VeriscopeError("There is nothing to do: give --out for the labels, or --truth to compare with, or both.")
    needs = {
        "--sweep": "--truth", "--plot": "--sweep", "--table": "--truth", "--jaccard": "--out", "--train": "--labels",
        "--labels": "--train", "--strokes": "--train", "--keep": "--train",
    }  # fmt: skip
    for option, other in needs.items():
        if has(option) and not has(other):
            raise VeriscopeError(f"{option} needs {other} as well. See: veriscope segment --help")
    if has("--track") and has("--sweep") and not has("--out"):
        raise VeriscopeError("--track with --sweep needs --out as well: the labels of the best threshold are tracked.")
    if has("--jaccard") and not has("--truth"):
        raise VeriscopeError("--jaccard needs --truth as well. See: veriscope segment --help")
    excluded = [
        ("--sweep", "--threshold"), ("--sweep", "--cells"), ("--sweep", "--train"), ("--sweep", "--classifier"),
        ("--train", "--classifier"), ("--cells", "--threshold"), ("--cells", "--split"), ("--cells", "--fill"),
    ]  # fmt: skip
    excluded += [
        (learnt, other)
        for learnt in ("--train", "--classifier")
        for other in ("--cells", "--split", "--fill", "--smooth")
    ]
    for option, other in excluded:
        if has(option) and has(other):
            raise VeriscopeError(f"{option} and {other} contradict each other. Leave one of them out.")


def _check_targets(plot: Path | None, table: Path | None, keep: Path | None, overwrite: bool) -> None:

    if plot is not None:
        from veriscope.reporting.charts import KINDS

        saving.check_target(plot, KINDS, overwrite, "--plot")
    for option, path, suffix in (("--table", table, ".csv"), ("--keep", keep, ".safetensors")):
        if path is not None:
            saving.check_target(path, (suffix,), overwrite, option)


def _truths(sources: Sequence[Path], truth: str | None) -> dict[Path, Path]:
    """The true labels of every image: one file for all, or those of the same name."""
    if truth is None:
        return {}
    from veriscope.images.reading import holds_images, list_images

    found = list_images(truth)
    if not holds_images(Path(truth)) and len(found) == 1:
        return dict.fromkeys(sources, found[0])
    return _named_alike(sources, found, "--truth", truth)


def _named_alike(sources: Sequence[Path], found: Sequence[Path], option: str, given: str) -> dict[Path, Path]:
    from veriscope.images.reading import stem

    by_name = {stem(path): path for path in found}
    missing = [source for source in sources if stem(source) not in by_name]
    if missing:
        raise ImageFormatError(
            f"{option} {given} has no labels for {missing[0].name}: none of its {len(found)} files is called "
            f"{stem(missing[0])}. Name the labels as the images."
        )
    return {source: by_name[stem(source)] for source in sources}
