"""Scores of a segmentation against its threshold, for several images of one field (Supp. Figs. 7, 15, 16).

A threshold that suits the noisy image need not suit the restored one, so each is given the whole range, and what it
can do at its best is compared; and how wide the range of good thresholds is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope.errors import DataError
from veriscope.objects import overlaps as objects
from veriscope.objects import segment as segmenting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from veriscope.images.image import Image

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
    scores: objects.Scores


@dataclass(frozen=True)
class Curves:
    """Scores of every image at every threshold; the k-th lies at `fractions[k]` of each image's own range."""

    fractions: NDArray[np.float64]
    thresholds: Mapping[str, NDArray[np.float64]]  # of each image, in its own unit
    scores: Mapping[str, Sequence[objects.Scores]]
    iou: float = objects.IOU  # for precision, recall and average precision

    def values(self, name: str, score: str) -> NDArray[np.float64]:
        """One score of the image `name` at every threshold; NaN where it is a share of nothing."""
        return np.array([getattr(one, score) for one in self.scores[name]], float)

    def best(self, name: str, score: str = "seg") -> Best:
        """Where the image `name` reaches its best `score`: the lowest ERROR, the highest of all others."""
        values = self.values(name, score)
        if np.isnan(values).all():
            raise DataError(f"{TITLES[score]} of {name} is a share of nothing at every threshold. Are there objects?")
        k = int(np.nanargmin(values) if score == "error" else np.nanargmax(values))
        return Best(float(self.fractions[k]), float(self.thresholds[name][k]), self.scores[name][k])

    def rows(self) -> list[list[str]]:
        """The best of each image by SEG, as a table with a heading."""
        heading = ["image", "threshold", "of range", "objects", "SEG", "ERROR", "AP"]
        return [heading, *[[name, *_row(self.best(name))] for name in self.scores]]

    def all_rows(self) -> list[list[str]]:
        """Every score of every image at every threshold, as a table with a heading, for spreadsheets."""
        rows = [["image", "of range", "threshold", "truth", "found", *TITLES]]
        for name, found in self.scores.items():
            for fraction, threshold, one in zip(self.fractions, self.thresholds[name], found, strict=True):
                told = [one.truth, one.found, *[f"{getattr(one, score):.6g}" for score in TITLES]]
                rows.append([name, f"{fraction:.6g}", f"{threshold:.8g}", *map(str, told)])
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *[cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]])
            for row in rows
        ]
        return "\n".join([f"At the threshold of the best SEG; AP (average precision) at IoU {self.iou:g}:", *lines])


def against_threshold(
    images: Mapping[str, Image | NDArray[Any]],
    truth: objects.Labels,
    thresholds: int = 40,
    segment: Callable[..., Any] = segmenting.components,
    iou: float = objects.IOU,
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
        none = np.zeros(np.shape(image), np.int32)
        like: Any = image
        empty = like.with_array(none) if hasattr(image, "axes") else none
        if not objects.scores(truth, empty, iou, inside).truth:  # also refuses other shapes, before the work
            raise DataError(
                f"The truth holds no objects, so there is nothing for {name} to find. Is it the right file?"
            )
    levels = {name: segmenting.thresholds(image, thresholds) for name, image in images.items()}
    scores: dict[str, list[objects.Scores]] = {name: [] for name in images}
    total = thresholds * len(images)
    for name, image in images.items():
        for level in levels[name]:
            scores[name].append(objects.scores(truth, segment(image, float(level), **how), iou, inside))
            if progress is not None:
                progress(sum(map(len, scores.values())), total)
    return Curves(segmenting.fractions(thresholds), levels, scores, iou)


def _row(best: Best) -> list[str]:
    one = best.scores
    shares = [one.seg, one.error, one.average_precision]
    return [f"{best.threshold:.5g}", f"{best.fraction:.2f}", f"{one.found} of {one.truth}", *map(_told, shares)]


def _told(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.3f}"
