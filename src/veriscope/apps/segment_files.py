"""The work of veriscope segment: read, segment, score and write, image by image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope import saving, tables
from veriscope.apps import console, files, words
from veriscope.apps.segment_scores import Outcome
from veriscope.errors import AxesError, DataError, VeriscopeError, VeriscopeWarning

if TYPE_CHECKING:
    from veriscope.images.image import Image
    from veriscope.objects.curves import Curves
    from veriscope.objects.pixels import PixelClassifier
    from veriscope.objects.tracking import Followed

Targets = Mapping[str, Path]  # "mean", the labels, and "jaccard"


@dataclass(frozen=True)
class Reading:
    """How files are read: with axes where they do not say, and one of several channels."""

    axes: str | None
    channel: int | None
    told: set[Path] = field(default_factory=set)  # label images of which was said that they look like masks

    def image(self, source: Path) -> Image:
        from veriscope.images.reading import read_image

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
        pieces = 1 if path in self.told else pieces_of_one(image.moved("STC" + space).array, len(space))
        if pieces > 1:
            self.told.add(path)
            console.note(
                f"{path} is a mask rather than a label image: its {pieces} pieces have one number and count as one "
                f"object. To number them: veriscope segment {path} --threshold 0.5 --out numbered.tif"
            )
        return image

    def numbers(self, path: Path) -> Image:
        """An image of whole numbers: labels or strokes. It may lack an axis of its image, such as the channels."""
        from veriscope.images.labels import check
        from veriscope.images.reading import read_image

        try:
            image = read_image(path, self.axes, lazy=False)
        except AxesError:
            if self.axes is None:
                raise
            image = read_image(path, lazy=False)
        check(image.array, str(path))
        return image if self.axes else image.flat


@dataclass(frozen=True)
class Way:
    """How objects are found: by threshold, unless a depth of cells or a classifier is given."""

    threshold: float | None
    rule: str
    smooth: float  # pixels
    min_size: int
    fill: bool
    split: float | None
    cells: float | None
    learnt: PixelClassifier | None
    track: bool = False  # one number for each object throughout a movie

    def __post_init__(self) -> None:
        if self.learnt is not None and self.rule:
            raise VeriscopeError(
                f"--threshold {self.rule} is a rule for brightness, but a classifier answers with probabilities. "
                f"Give a number between 0 and 1, or leave it out."
            )

    @property
    def options(self) -> dict[str, Any]:
        """What `components` is told beside the threshold."""
        return {"min_size": self.min_size, "fill": self.fill, "split": self.split}

    def find(self, image: Image, level: float | None = None) -> Image:
        """The labels of an image; by the threshold `level` where one is given."""
        if not self.track:
            return self._found(image, level)
        from veriscope.objects.tracking import track

        if image.size("T") < 2 or image.size("C") > 1 or image.size("S") > 1:
            raise DataError(
                f"--track follows objects from frame to frame of a movie of one channel, but the image has "
                f"{words.times(image.shape)} pixels as {image.axes}. Leave it out, or choose a --channel."
            )
        return track(self._found(image, level))

    def _found(self, image: Image, level: float | None) -> Image:
        from veriscope.objects import segment

        if self.learnt is not None:
            sure = 0.5 if self.threshold is None else self.threshold
            return self.learnt.segment(image, self.min_size, sure, workers=2)
        if self.cells is not None:
            return segment.cells(image, self.smooth, self.cells, self.min_size)
        soft = self.smoothed(image)
        level = self.threshold if level is None else level
        bright = segment.automatic(soft, self.rule or "otsu") if level is None else level
        return segment.components(soft, bright, **self.options)

    def smoothed(self, image: Image) -> Image:
        """Blurred in space."""
        if self.smooth == 0:
            return image
        from scipy.ndimage import gaussian_filter

        widths = [self.smooth if letter in image.spatial_axes else 0.0 for letter in image.axes]
        return image.with_array(gaussian_filter(image.array.astype("float32"), widths))


def load(path: Path) -> PixelClassifier:
    from veriscope.objects import pixels

    return pixels.load(path)


def learn(pairs: Mapping[Path, Path], reading: Reading, strokes: bool, trees: int) -> PixelClassifier:
    """A classifier from images and their label images, or strokes."""
    from veriscope.objects import pixels

    images, examples = [], []
    for source, told in pairs.items():
        image, labels = reading.image(source), reading.numbers(told) if strokes else reading.labels(told)
        if image.shape != labels.shape:
            raise DataError(
                f"{told} has {words.times(labels.shape)} pixels, but its image {source} has "
                f"{words.times(image.shape)}. Labels must have the shape of their image."
            )
        images.append(image)
        examples.append(labels if strokes else pixels.from_objects(labels))
    console.say(f"Learning from {len(images)} image{'s' * (len(images) > 1)} ...")
    return pixels.train_pixels(images, examples, trees=trees, workers=2)


def swept(
    names: Mapping[Path, str], true: Mapping[Path, Path], reading: Reading, way: Way, sweep: int, iou: float
) -> tuple[Curves, dict[Path, float]]:
    """Scores of all images at all thresholds, and the threshold with the best SEG of each."""
    from veriscope.objects import curves

    found = []
    with console.bar("Trying thresholds") as progress:
        for number, (source, name) in enumerate(names.items()):
            image, truth = way.smoothed(reading.image(source)), reading.labels(true[source])

            def told(done: int, total: int, before: int = number) -> None:
                progress(before * total + done, len(names) * total)

            with _about(source):
                one = curves.against_threshold({name: image}, truth, sweep, iou=iou, progress=told, **way.options)
            found.append(one)
    together = curves.Curves(
        found[0].fractions,
        {name: levels for one in found for name, levels in one.thresholds.items()},
        {name: scores for one in found for name, scores in one.scores.items()},
        iou,
    )
    return together, {source: together.best(name).threshold for source, name in names.items()}


def segment_all(
    names: Mapping[Path, str],
    true: Mapping[Path, Path],
    targets: Mapping[Path, Targets],
    reading: Reading,
    way: Way,
    levels: Mapping[Path, float],
    iou: float,
    overwrite: bool,
) -> tuple[list[Outcome], files.Batch]:
    """Segment one after the other, write, and score where there is a truth. Those that cannot be used are reported,
    and the others go on. What was scored, and how it went.
    """
    from veriscope.objects import overlaps as objects

    outcomes: list[Outcome] = []
    batch = files.Batch("segmented", len(names))
    with console.bar("Segmenting") as progress:
        for number, (source, name) in enumerate(names.items(), start=1):
            with batch.image(source), _about(source):
                labels = way.find(reading.image(source), levels.get(source))
                truth = reading.labels(true[source]) if source in true else None
                if truth is not None:
                    scores = objects.scores(truth, labels, iou)
                    followed = _followed(truth, labels, true[source]) if way.track else None
                    outcomes.append(Outcome(name, scores, followed))
                if source in targets:
                    painted = None if truth is None else objects.jaccard_image(truth, labels)
                    _write(source, labels, painted, targets[source], way.track, overwrite)
            progress(number, len(names))
    return outcomes, batch


def draw(curves: Curves, target: Path, overwrite: bool) -> None:
    from veriscope.reporting.charts import threshold_chart, write_chart

    console.show(f"Plot: {write_chart(target, threshold_chart(curves), overwrite).resolve()}")


def place_table(rows: Sequence[Sequence[str]], target: Path, overwrite: bool) -> None:
    saving.write(target, tables.csv(rows), overwrite)
    console.show(f"Table: {target.resolve()}")


def _followed(truth: Image, labels: Image, path: Path) -> Followed:
    """How far the cells of `truth` were followed; a note where its numbers seem to start anew in every frame."""
    from veriscope.objects.tracking import followed, track

    if followed(truth, track(truth)).recall < 0.5:
        console.note(
            f"in {path} a number is seldom at the same place in the next frame. Are its frames numbered one by one? "
            f"Then how far its cells were followed means nothing: give labels in which a cell keeps its number."
        )
    return followed(truth, labels)


def _write(
    source: Path, labels: Image, painted: Image | None, targets: Targets, tracked: bool, overwrite: bool
) -> None:
    from veriscope.images.writing import save_image

    most = int(labels.array.max())
    if most == 0:
        warnings.warn(f"No objects were found in {source}: the label image is empty.", VeriscopeWarning, stacklevel=2)
    with files.existing(targets["mean"].parent):
        small = labels.with_array(labels.array.astype("uint16" if most < 2**16 else "uint32"))
        save_image(targets["mean"], small, overwrite)
        if "jaccard" in targets and painted is not None:
            save_image(targets["jaccard"], painted, overwrite)
    several = [word for letter, word in (("S", "sample"), ("T", "frame"), ("C", "channel")) if labels.size(letter) > 1]
    ending = "s" * (most != 1)
    count = f"at most {most:,} objects in a {' or '.join(several)}" if several else f"{most:,} object{ending}"
    if tracked:
        count = f"{most:,} track{ending} through {labels.size('T')} frames"
    console.show(f"{source} -> {', '.join(map(str, targets.values()))}: {count}")


@contextmanager
def _about(source: Path) -> Iterator[None]:
    """A problem gets `source` named, unless it names it already."""
    try:
        yield
    except VeriscopeError as problem:
        if str(source) in str(problem):
            raise
        raise type(problem)(f"{source}: {problem}") from problem
