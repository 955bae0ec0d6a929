"""Scores of a segmentation against its threshold, for several images of one field (Supp. Figs. 7, 15, 16).

A threshold that suits the noisy image need not suit the restored one, so each is given the whole range, and what it
can do at its best is compared; and how wide the range of good thresholds is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.objects import overlaps
from veriscope.objects import segment as segmenting
from veriscope.tables import Column, Table

TITLES = {
    "seg": "SEG",
    "error": "ERROR",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision",
}


@dataclass(frozen=True)
class Best:
    """The best that one image reaches in one score."""

    fraction: float  # of the image's range, percentiles 0.1 to 99.9
    threshold: float  # in the image's own unit
    scores: overlaps.Scores


@dataclass(frozen=True)
class Curves:
    """Scores of every image at every threshold; the k-th lies at `fractions[k]` of each image's own range."""

    fractions: NDArray[np.float64]
    thresholds: Mapping[str, NDArray[np.float64]]  # of each image, in its own unit
    scores: Mapping[str, Sequence[overlaps.Scores]]
    iou: float = overlaps.IOU  # for precision, recall and average precision

    def values(self, name: str, score: str) -> NDArray[np.float64]:
        """One score of the image `name` at every threshold; NaN where it is a fraction of nothing."""
        return np.array([getattr(one, score) for one in self.scores[name]], float)

    def best(self, name: str, score: str = "seg") -> Best:
        """Where the image `name` reaches its best `score`: the lowest ERROR, the highest of all others."""
        values = self.values(name, score)
        if np.isnan(values).all():
            raise DataError(
                f"{TITLES[score]} of {name} is a fraction of nothing at every threshold. Are there objects?"
            )
        k = int(np.nanargmin(values) if score == "error" else np.nanargmax(values))
        return Best(float(self.fractions[k]), float(self.thresholds[name][k]), self.scores[name][k])

    def table(self) -> Table:
        """The best of each image by SEG."""
        rows = []
        for name in self.scores:
            best = self.best(name)
            one = best.scores
            count = f"{one.found} of {one.truth}"
            rows.append((name, best.threshold, best.fraction, count, one.seg, one.error, one.average_precision))
        columns = [Column("image", left=True), Column("threshold", ".5g"), Column("of range", ".2f"), Column("objects")]
        columns += [Column("SEG", ".3f"), Column("ERROR", ".3f"), Column("AP", ".3f")]
        title = f"At the threshold of the best SEG; AP (average precision) at IoU {self.iou:g}"
        return Table(columns, rows, title)

    def every_score(self) -> Table:
        """Every score of every image at every threshold, for spreadsheets."""
        columns = [Column("image"), Column("of range", ".6g"), Column("threshold", ".8g"), Column("truth")]
        columns += [Column("found"), *(Column(score, ".6g") for score in TITLES)]
        rows = [
            (name, fraction, threshold, one.truth, one.found, *(getattr(one, score) for score in TITLES))
            for name, scores in self.scores.items()
            for fraction, threshold, one in zip(self.fractions, self.thresholds[name], scores, strict=True)
        ]
        return Table(columns, rows, missing="nan")

    def __str__(self) -> str:
        table = self.table()
        return str(replace(table, title=f"{table.title}:"))


def against_threshold(
    images: Mapping[str, Image | NDArray[Any]],
    truth: overlaps.Labels,
    thresholds: int = 40,
    segment: Callable[..., Any] = segmenting.components,
    iou: float = overlaps.IOU,
    inside: ArrayLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    **how: Any,
) -> Curves:
    """Segment each of `images`, all of the same field, at `thresholds` levels of its range, and score against `truth`.

    `segment(image, threshold, **how)` gives labels; `how` are options such as min_size=20, split=1. Raises DataError
    when an image has another shape than the truth, or the truth holds no objects.
    """
    if not images:
        raise DataError("There are no images to segment. Give at least one, such as {'input': image}.")
    for name, image in images.items():
        none: Any = np.zeros(np.shape(image), np.int32)
        empty = image.with_array(none) if isinstance(image, Image) else none
        if not overlaps.scores(truth, empty, iou, inside).truth:  # also refuses other shapes, before the work
            raise DataError(
                f"The ground truth holds no objects, so there is nothing for {name} to find. Is it the right file?"
            )
    levels = {name: segmenting.thresholds(image, thresholds) for name, image in images.items()}
    scores: dict[str, list[overlaps.Scores]] = {name: [] for name in images}
    total = thresholds * len(images)
    for name, image in images.items():
        for level in levels[name]:
            scores[name].append(overlaps.scores(truth, segment(image, float(level), **how), iou, inside))
            if progress is not None:
                progress(sum(map(len, scores.values())), total)
    return Curves(segmenting.fractions(thresholds), levels, scores, iou)
