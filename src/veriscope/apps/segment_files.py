"""The work of veriscope segment: read, segment, score and write, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from veriscope import saving, wording
from veriscope.apps import console, files
from veriscope.apps.options import CHARTS, option
from veriscope.errors import AxesError, DataError, VeriscopeError, warn
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.tables import Column, Table

if TYPE_CHECKING:
    from veriscope.objects.curves import Curves
    from veriscope.objects.overlaps import Scores
    from veriscope.objects.pixels import PixelClassifier
    from veriscope.objects.tracking import Followed


@dataclass(frozen=True)
class Reading:
    """How files are read: with axes where they do not say, and one of several channels."""

    axes: str | None
    channel: int | None
    masks: set[Path] = field(default_factory=set)  # label images that were said to look like masks

    def image(self, source: Path) -> Image:
        image = read_image(source, self.axes, lazy=False)
        image = image if self.axes else image.flat
        if self.channel is None:
            return image
        count = image.size("C")
        if not 0 <= self.channel < count:
            raise DataError(
                f"--channel {self.channel} is not possible: {source} has {count} channel{'s' * (count > 1)}, counted "
                f"from 0."
            )
        return image.region(C=self.channel) if "C" in image.axes else image

    def labels(self, path: Path) -> Image:
        """A label image; a note where all of its objects have the same number."""
        from veriscope.images.labels import pieces_of_one

        image = self.numbers(path)
        space = image.spatial_axes
        pieces = 1 if path in self.masks else pieces_of_one(image.moved("STC" + space).array, len(space))
        if pieces > 1:
            self.masks.add(path)
            console.note(
                f"{path} is a mask rather than a label image: its {pieces} pieces have one number and count as one "
                f"object. To number them: veriscope segment {path} --threshold 0.5 --out numbered.tif"
            )
        return image

    def numbers(self, path: Path) -> Image:
        """An image of whole numbers: labels or strokes. It may lack an axis of its image, such as the channels."""
        from veriscope.images.labels import check

        try:
            image = read_image(path, self.axes, lazy=False)
        except AxesError:
            if self.axes is None:
                raise
            image = read_image(path, lazy=False)
        check(image.array, str(path))
        return image if self.axes else image.flat


RULES = ("otsu", "li", "triangle", "yen", "isodata")  # as in objects.segment, which is heavy to load


@dataclass(frozen=True)
class Learning:
    PANEL: ClassVar = "Learning from examples"
    train: str | None = option(None, "Images to learn from what an object is.", "IMAGES")
    labels: str | None = option(None, "Label images of these, named alike.", "LABELS")
    strokes: bool = option(
        False, "LABELS are strokes of a brush, not objects: 1 background, 2 object, 3 border, 0 unknown."
    )
    trees: int = option(200, "Trees of the random forest.", "N")
    keep: Path | None = option(
        None, "Keep what was learnt, as a .safetensors file.", "FILE", suffixes=(".safetensors",)
    )
    classifier: Path | None = option(None, "Use what was learnt before, from --keep.", "FILE")


@dataclass(frozen=True)
class Scoring:
    PANEL: ClassVar = "Comparing with the ground truth"
    truth: str | None = option(
        None, "True labels: one file for all images, or a folder of files named as the images.", "LABELS"
    )
    iou: float = option(0.5, "Overlap from which an object counts as found (IoU, 0 to 1).")
    jaccard: bool = option(
        False, "Also write the true objects painted by how well each was found: NAME.jaccard.ome.tif."
    )
    sweep: int | None = option(
        None, "Try N thresholds over the range of each image, and take the one with the best SEG.", "N"
    )
    plot: Path | None = option(None, "Draw the sweep, as .svg or .png.", "FILE", suffixes=CHARTS)
    table: Path | None = option(None, "Write the sweep or the scores, as .csv.", "FILE", suffixes=(".csv",))


@dataclass(frozen=True)
class Objects:
    """Options that say what an object is: by threshold, unless a depth of cells or a classifier is given."""

    PANEL: ClassVar = "What is an object"
    threshold: str | None = option(
        None,
        "Brightness above which a pixel belongs to an object, or a rule that finds it: otsu (default), li, "
        "triangle, yen, isodata. With a classifier the probability, 0.5 if left out.",
        "VALUE|RULE",
    )
    smooth: float = option(0.0, "Blur the image first.", "PIXELS")
    min_size: int = option(0, "Leave out objects of fewer pixels.", "N")
    fill: bool = option(False, "Close holes in objects.")
    split: float | None = option(
        None, "Cut objects that touch at their necks; 1 is a good start, higher cuts less.", "PIXELS"
    )
    cells: float | None = option(
        None,
        "Find dark cells between bright membranes instead: how deep they are at least, in parts of the image's "
        "range, such as 0.02.",
        "DEPTH",
    )
    track: bool = option(
        False,
        "In a movie, give an object the same number in all frames: it is followed by its overlap from frame to frame.",
    )

    def level(self) -> float | None:
        """The threshold as a number; None for a rule, and where it was left out."""
        if self.threshold is None or self.threshold in RULES:
            return None
        try:
            value = float(self.threshold)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise VeriscopeError(
                f"--threshold {self.threshold} is neither a number nor a rule. Give a brightness, or one of "
                f"{', '.join(RULES)}."
            )
        return value

    def check(self, classifier: PixelClassifier | None) -> None:
        """Raise VeriscopeError for a rule beside a classifier."""
        if classifier is not None and self.threshold in RULES:
            raise VeriscopeError(
                f"--threshold {self.threshold} is a rule for brightness, but a classifier answers with "
                f"probabilities. Give a number between 0 and 1, or leave it out."
            )

    @property
    def choices(self) -> dict[str, Any]:
        """Those of `components` beside the threshold."""
        return {"min_size": self.min_size, "fill": self.fill, "split": self.split}

    def find(self, image: Image, classifier: PixelClassifier | None, level: float | None = None) -> Image:
        """The labels of an image; by the threshold `level` where one is given."""
        from veriscope.objects import segment, tracking

        if self.track and (image.size("T") < 2 or image.size("C") > 1 or image.size("S") > 1):
            raise DataError(
                f"--track follows objects from frame to frame of a movie of one channel, but the image has "
                f"{wording.lengths(image.shape)} pixels as {image.axes}. Leave it out, or choose a --channel."
            )
        level = self.level() if level is None else level
        if classifier is not None:
            labels = classifier.segment(image, self.min_size, 0.5 if level is None else level, workers=2)
        elif self.cells is not None:
            labels = segment.cells(image, self.smooth, self.cells, self.min_size)
        else:
            soft = self.smoothed(image)
            bright = segment.automatic(soft, self.threshold or "otsu") if level is None else level
            labels = segment.components(soft, bright, **self.choices)
        return tracking.track(labels) if self.track else labels

    def smoothed(self, image: Image) -> Image:
        if self.smooth == 0:
            return image
        from scipy.ndimage import gaussian_filter

        widths = [self.smooth if letter in image.spatial_axes else 0.0 for letter in image.axes]
        return image.with_array(gaussian_filter(image.array.astype("float32"), widths))


@dataclass(frozen=True)
class Agreement:
    """How well the objects of one image agree with the true ones."""

    image: str
    scores: Scores
    followed: Followed | None  # through the movie


def score_table(agreements: Sequence[Agreement], iou: float) -> Table:
    numbers = [Column(name, ".3f") for name in ("SEG", "ERROR", "precision", "recall", "AP")]
    rows = []
    for of in agreements:
        one = of.scores
        figures = one.seg, one.error, one.precision, one.recall, one.average_precision
        rows.append((of.image, f"{one.found} of {one.truth}", *figures))
    title = f"Precision, recall and AP (average precision) at IoU {iou:g}"
    return Table([Column("image"), Column("objects"), *numbers], rows, title)


def track_table(agreements: Sequence[Agreement]) -> Table:
    """How far the cells of movies were followed, to read."""
    numbers = [Column(name, ".3f") for name in ("to the end", "recall", "precision")]
    rows = []
    for of in agreements:
        if (one := of.followed) is not None:
            frames = f"{one.frames:.1f} of {one.possible:.1f}" if one.cells else None
            rows.append((of.image, one.cells, frames, one.to_the_end, one.recall, one.precision))
    title = "Followed from frame to frame; recall and precision of links between frames"
    return Table([Column("image"), Column("cells"), Column("frames followed"), *numbers], rows, title)


def every_figure(agreements: Sequence[Agreement]) -> Table:
    """All numbers by their names, for spreadsheets; lists, such as one number for each frame, are left out."""
    records = []
    for one in agreements:
        tracks = {} if one.followed is None else asdict(one.followed)
        figures = {**asdict(one.scores), **{f"tracks_{name}": value for name, value in tracks.items()}}
        records.append({name: value for name, value in figures.items() if isinstance(value, (int, float))})

    def digits(value: float) -> str:
        return str(value) if isinstance(value, int) else f"{value:.6g}"

    columns = [Column("image"), *(Column(name, digits) for name in records[0])]
    rows = [(one.image, *figures.values()) for one, figures in zip(agreements, records, strict=True)]
    return Table(columns, rows, missing="nan")


def learn(pairs: Mapping[Path, Path], reading: Reading, learning: Learning) -> PixelClassifier:
    """A classifier from images and their label images, or strokes."""
    from veriscope.objects import pixels

    images, examples = [], []
    for source, path in pairs.items():
        image, labels = reading.image(source), reading.numbers(path) if learning.strokes else reading.labels(path)
        if image.shape != labels.shape:
            raise DataError(
                f"{path} has {wording.lengths(labels.shape)} pixels, but its image {source} has "
                f"{wording.lengths(image.shape)}. Labels must have the shape of their image."
            )
        images.append(image)
        examples.append(labels if learning.strokes else pixels.from_objects(labels))
    console.say(f"Learning from {len(images)} image{'s' * (len(images) > 1)} ...")
    return pixels.train_pixels(images, examples, trees=learning.trees, workers=2)


def sweep(
    names: Mapping[Path, str], true: Mapping[Path, Path], reading: Reading, objects: Objects, count: int, iou: float
) -> tuple[Curves, dict[Path, float]]:
    """Scores of all images at `count` thresholds, and the threshold with the best SEG of each."""
    from veriscope.objects import curves

    parts = []
    with console.bar("Trying thresholds") as progress:
        for number, (source, name) in enumerate(names.items()):
            image, truth = objects.smoothed(reading.image(source)), reading.labels(true[source])

            def report(done: int, total: int, before: int = number) -> None:
                progress(before * total + done, len(names) * total)

            with _about(source):
                settings = {"iou": iou, "progress": report, **objects.choices}
                parts.append(curves.against_threshold({name: image}, truth, count, **settings))
    together = curves.Curves(
        parts[0].fractions,
        {name: levels for one in parts for name, levels in one.thresholds.items()},
        {name: scores for one in parts for name, scores in one.scores.items()},
        iou,
    )
    return together, {source: together.best(name).threshold for source, name in names.items()}


def segment(
    names: Mapping[Path, str],
    reading: Reading,
    objects: Objects,
    classifier: PixelClassifier | None,
    true: Mapping[Path, Path],
    targets: Mapping[Path, Mapping[str, Path]],
    overwrite: bool,
    levels: Mapping[Path, float],
    iou: float,
) -> tuple[list[Agreement], files.Batch]:
    """Segment one after the other, by the threshold of `levels` where one is given, write to `targets` ("mean", the
    labels, and "jaccard"), and score where there are `true` labels. Those that cannot be used are reported, and the
    others continue. The scores, and how it went.
    """
    from veriscope.objects import overlaps

    agreements: list[Agreement] = []
    batch = files.Batch("segmented", len(names))
    with console.bar("Segmenting") as progress:
        for number, (source, name) in enumerate(names.items(), start=1):
            with batch.image(source), _about(source):
                labels = objects.find(reading.image(source), classifier, levels.get(source))
                truth = reading.labels(true[source]) if source in true else None
                if truth is not None:
                    followed = _followed(truth, labels, true[source]) if objects.track else None
                    agreements.append(Agreement(name, overlaps.scores(truth, labels, iou), followed))
                if source in targets:
                    painted = None if truth is None else overlaps.jaccard_image(truth, labels)
                    _write(source, labels, painted, targets[source], objects.track, overwrite)
            progress(number, len(names))
    return agreements, batch


def _write(
    source: Path, labels: Image, painted: Image | None, targets: Mapping[str, Path], tracks: bool, overwrite: bool
) -> None:
    from veriscope.images.writing import save_image

    most = int(labels.array.max())
    if most == 0:
        warn(f"No objects were found in {source}: the label image is empty.")
    with files.no_empty_folder(targets["mean"].parent, make=True):
        small = labels.with_array(labels.array.astype("uint16" if most < 2**16 else "uint32"))
        save_image(targets["mean"], small, overwrite)
        if "jaccard" in targets and painted is not None:
            save_image(targets["jaccard"], painted, overwrite)
    letters = (("S", "sample"), ("T", "frame"), ("C", "channel"))
    several = wording.listed((word for letter, word in letters if labels.size(letter) > 1), "or")
    count = f"at most {most:,} objects in a {several}" if several else f"{most:,} object{'s' * (most != 1)}"
    if tracks:
        count = f"{most:,} track{'s' * (most != 1)} through {labels.size('T')} frames"
    console.written(targets, source, f": {count}")


def write_table(table: Table, target: Path, overwrite: bool) -> None:
    saving.write(target, table.csv(), overwrite)
    console.written({"table": target})


def _followed(truth: Image, labels: Image, path: Path) -> Followed:
    """How far the cells of `truth` were followed; a note where its numbers seem to start anew in every frame."""
    from veriscope.objects.tracking import followed, track

    if followed(truth, track(truth)).recall < 0.5:
        console.note(
            f"in {path} a number is seldom at the same place in the next frame. Are its frames numbered one by one? "
            f"Then how far its cells were followed means nothing: give labels in which a cell keeps its number."
        )
    return followed(truth, labels)


@contextmanager
def _about(source: Path) -> Iterator[None]:
    """A problem names `source`."""
    try:
        yield
    except VeriscopeError as problem:
        if str(source) in str(problem):
            raise
        raise type(problem)(f"{source}: {problem}") from problem
