"""The work of veriscope segment: read, segment, score and write, image by image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope.apps import console, files, words
from veriscope.errors import AxesError, DataError, ImageFormatError, VeriscopeError, VeriscopeWarning

if TYPE_CHECKING:
    from veriscope.classical.pixels import PixelClassifier
    from veriscope.images.image import Image
    from veriscope.judging.curves import Curves
    from veriscope.judging.objects import Scores

Targets = Mapping[str, Path]  # "mean", the labels, and "jaccard"


@dataclass(frozen=True)
class Reading:
    """How files are read: with axes where they do not say, and one of several channels."""

    axes: str | None
    channel: int | None

    def image(self, source: Path) -> Image:
        from veriscope.images.reading import read_image

        image = read_image(source, self.axes, lazy=False)
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
        """A label image. It may lack an axis of its image, such as the channels."""
        from veriscope.images.reading import read_image

        try:
            image = read_image(path, self.axes, lazy=False)
        except AxesError:
            if self.axes is None:
                raise
            image = read_image(path, lazy=False)
        if image.dtype.kind not in "ui":
            raise DataError(
                f"{path} is no label image: its pixels are {image.dtype}, but labels are whole numbers, 0 for the "
                f"background and one for each object. Save it as uint16 or uint32."
            )
        return image


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
        from veriscope.classical import segment

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
    from veriscope.classical import pixels

    return pixels.load(path)


def learn(pairs: Mapping[Path, Path], reading: Reading, strokes: bool, trees: int) -> PixelClassifier:
    """A classifier from images and their label images, or strokes."""
    from veriscope.classical import pixels

    images, examples = [], []
    for source, told in pairs.items():
        image, labels = reading.image(source), reading.labels(told)
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
    from veriscope.judging import curves

    found = []
    with console.bar("Trying thresholds") as progress:
        for number, (source, name) in enumerate(names.items()):
            image, truth = way.smoothed(reading.image(source)), reading.labels(true[source])

            def told(done: int, total: int, before: int = number) -> None:
                progress(before * total + done, len(names) * total)

            try:
                one = curves.against_threshold({name: image}, truth, sweep, iou=iou, progress=told, **way.options)
            except DataError as problem:
                raise DataError(f"{source}: {problem}") from problem
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
) -> list[list[str]]:
    """Segment one after the other, write, and score where there is a truth. Those that cannot be used are reported,
    and the others go on. A row of scores for each.
    """
    from veriscope.judging import objects

    rows: list[list[str]] = []
    failed: list[Path] = []
    with console.bar("Segmenting") as progress:
        for number, (source, name) in enumerate(names.items(), start=1):
            try:
                labels = way.find(reading.image(source), levels.get(source))
                truth = reading.labels(true[source]) if source in true else None
                if truth is not None:
                    rows.append([name, *_row(objects.scores(truth, labels, iou))])
                if source in targets:
                    painted = None if truth is None else objects.jaccard_image(truth, labels)
                    _write(source, labels, painted, targets[source], overwrite)
            except (AxesError, DataError, ImageFormatError) as problem:
                if len(names) == 1:
                    raise type(problem)(f"{source}: {problem}") from problem
                failed.append(source)
                console.fail(f"{source}: {problem}")
            progress(number, len(names))
    if failed:
        raise ImageFormatError(
            f"{len(failed)} of {len(names)} images could not be segmented: {', '.join(map(str, failed))}. "
            f"The reasons stand above; the others are done."
        )
    return rows


def draw(curves: Curves, target: Path, overwrite: bool) -> None:
    from veriscope.judging.charts import write_chart
    from veriscope.judging.curves import threshold_chart

    console.show(f"Plot: {write_chart(target, threshold_chart(curves), overwrite).resolve()}")


def place_table(rows: Sequence[Sequence[str]], target: Path) -> None:
    from veriscope.judging.placing import place

    place(words.csv(rows).encode(), target, "table")
    console.show(f"Table: {target.resolve()}")


def _write(source: Path, labels: Image, painted: Image | None, targets: Targets, overwrite: bool) -> None:
    from veriscope.images.writing import save_image

    most = int(labels.array.max())
    if most == 0:
        warnings.warn(f"No objects were found in {source}: the label image is empty.", VeriscopeWarning, stacklevel=2)
    with files.existing(targets["mean"].parent):
        small = labels.with_array(labels.array.astype("uint16" if most < 2**16 else "uint32"))
        save_image(targets["mean"], small, overwrite)
        if "jaccard" in targets and painted is not None:
            save_image(targets["jaccard"], painted, overwrite)
    several = any(labels.size(letter) > 1 for letter in "STC")
    count = f"at most {most:,} objects in a frame" if several else f"{most:,} object{'s' * (most != 1)}"
    console.show(f"{source} -> {', '.join(map(str, targets.values()))}: {count}")


def _row(found: Scores) -> list[str]:
    shares = [found.seg, found.error, found.precision, found.recall, found.average_precision]
    told = ["-" if share != share else f"{share:.3f}" for share in shares]
    return [f"{found.found} of {found.truth}", *told]
