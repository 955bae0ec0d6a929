"""How well segmented objects agree with the true ones: SEG, ERROR, Jaccard colouring, precision and recall.

Label images hold whole numbers: 0 is background, every other number one object. Which numbers, and whether they are
consecutive, does not matter. All scores come from one sparse table of the overlaps, so that thousands of objects in a
volume cost little more than reading it. A fraction of nothing (precision where nothing was found) is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from veriscope import axes as axes_of
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.labels import check as check_labels
from veriscope.wording import lengths

Labels: TypeAlias = Image | ArrayLike
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

IOU = 0.5


@dataclass(frozen=True)
class Overlaps:
    """Which objects of two label images share how many pixels. The objects of each are counted from 0, in the order
    of their labels (frame by frame); pair k is object `truth_at[k]` of the truth and `found_at[k]` of what was found.
    """

    truth_labels: NDArray[Any]
    found_labels: NDArray[Any]
    truth_pixels: Ints
    found_pixels: Ints
    truth_at: Ints
    found_at: Ints
    shared: Ints  # pixels of each pair, at least 1

    @property
    def jaccard(self) -> Floats:
        """Shared pixels of each pair in parts of those that either has, above 0 and at most 1."""
        either = self.truth_pixels[self.truth_at] + self.found_pixels[self.found_at] - self.shared
        return self.shared / either

    @property
    def covering(self) -> NDArray[np.bool_]:
        """For each pair, whether more than half of the true object lies in the found one: at most one per truth."""
        return 2 * self.shared > self.truth_pixels[self.truth_at]

    @property
    def covered(self) -> NDArray[np.bool_]:
        """For each pair, whether more than half of the found object lies in the true one: at most one per found."""
        return 2 * self.shared > self.found_pixels[self.found_at]


@dataclass(frozen=True)
class Matches:
    """Objects paired one to one, by label: row k of `pairs` is (truth, found), which overlap by `jaccard[k]`."""

    pairs: NDArray[Any]
    jaccard: Floats
    missed: NDArray[Any]  # labels of the truth without a partner
    invented: NDArray[Any]  # labels of what was found without a partner

    @property
    def precision(self) -> float:
        """The fraction of the found objects that are true."""
        return fraction(len(self.pairs), len(self.pairs) + len(self.invented))

    @property
    def recall(self) -> float:
        """The fraction of the true objects that were found."""
        return fraction(len(self.pairs), len(self.pairs) + len(self.missed))

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN): pairs in parts of all objects, a pair counted once."""
        return fraction(len(self.pairs), len(self.pairs) + len(self.missed) + len(self.invented))


@dataclass(frozen=True)
class Scores:
    """All scores of one segmentation; see the functions of the same names."""

    truth: int  # number of objects
    found: int
    seg: float
    error: float
    precision: float
    recall: float
    average_precision: float


def scores(truth: Labels, found: Labels, iou: float = IOU, inside: ArrayLike | None = None) -> Scores:
    """All scores at once, from one table of overlaps. Precision, recall and AP are at `iou`."""
    table = overlaps(truth, found, inside)
    paired = matched(table, iou)
    of_pairs = paired.precision, paired.recall, paired.average_precision
    return Scores(len(table.truth_labels), len(table.found_labels), _seg(table), _error(table), *of_pairs)


def seg(truth: Labels, found: Labels, inside: ArrayLike | None = None) -> float:
    """SEG of the Cell Tracking Challenge: the mean over true objects of the Jaccard index with the found object that
    covers more than half of it, 0 where none does. 0 to 1, 1 is perfect. Objects invented elsewhere do not count.
    """
    return _seg(overlaps(truth, found, inside))


def error(truth: Labels, found: Labels, inside: ArrayLike | None = None) -> float:
    """ERROR (SI Eq. 2.5): the fraction of all objects, true and found, that have no match. 0 to 1, 0 is perfect.

    A true object points to a found one when more than half of it lies in that, and the other way round; two are a
    match when each points to the other. With n true, m found objects and k matches, ERROR = (n + m - 2 k) / (n + m).

    Where the truth reaches beyond the image, `inside` says what was seen: see `overlaps`.
    """
    return _error(overlaps(truth, found, inside))


def jaccard_image(truth: Labels, found: Labels) -> Any:
    """Jaccard colouring (SI Eq. 2.4): every true object painted with its Jaccard index as SEG counts it, float32.

    The background is NaN, which viewers leave blank; objects that were missed, split or merged by half are 0. An Image
    where `truth` is one.
    """
    numbers, table = _compared(truth, found)
    painted = np.concatenate([[np.nan], _by_truth(table)]).astype(np.float32)[numbers.pixels].reshape(numbers.shape)
    word = _axes(truth) or _axes(found)
    if numbers.order is not None and word is not None:
        painted = axes_of.move(painted, numbers.order, word)
    image: Any = truth
    return image.with_array(painted) if _axes(truth) else painted


def matches(truth: Labels, found: Labels, iou: float = IOU, inside: ArrayLike | None = None) -> Matches:
    """True and found objects paired one to one, each pair with a Jaccard index (IoU) of at least `iou`: as many pairs
    as possible, and among those the ones that overlap best.
    """
    return matched(overlaps(truth, found, inside), iou)


def precision(truth: Labels, found: Labels, iou: float | Sequence[float] = IOU) -> Any:
    """The fraction of the found objects that are true, at one IoU or at several; NaN where nothing was found."""
    return _at_each("precision", truth, found, iou)


def recall(truth: Labels, found: Labels, iou: float | Sequence[float] = IOU) -> Any:
    """The fraction of the true objects that were found, at one IoU or at several; NaN where there are none."""
    return _at_each("recall", truth, found, iou)


def average_precision(truth: Labels, found: Labels, iou: float | Sequence[float] = IOU) -> Any:
    """AP = TP / (TP + FP + FN) at one IoU or at several; NaN where there are no objects at all."""
    return _at_each("average_precision", truth, found, iou)


def interior(shape: Sequence[int], margin: int) -> NDArray[np.bool_]:
    """True but for `margin` pixels along every border: an `inside` for images whose borders cut objects."""
    mask = np.zeros(tuple(shape), bool)
    mask[tuple(slice(margin, max(size - margin, margin)) for size in shape)] = True
    return mask


# -- the table of overlaps --------------------------------------------------------------------------


def overlaps(truth: Labels, found: Labels, inside: ArrayLike | None = None) -> Overlaps:
    """The objects of both label images, and how many pixels each pair shares.

    Plain arrays are one plane or volume. Images may have several frames, samples and channels; the same label in two
    of them is two objects. `inside` (bool, of the shape of the images or of one frame) is where the image was, when
    the labels reach further: objects with more than half of their pixels outside are dropped, of the others the part
    inside counts. Raises DataError for labels that are no whole numbers from 0, and for different shapes.
    """
    return _compared(truth, found, inside)[1]


@dataclass(frozen=True)
class _Numbers:
    """A label image with its objects numbered from 1, flat."""

    pixels: Ints
    labels: NDArray[Any]
    shape: tuple[int, ...]
    order: str | None  # of the axes behind `shape`

    def sizes(self) -> Ints:
        """Pixels of every object."""
        return np.bincount(self.pixels, minlength=len(self.labels) + 1)[1:]

    def only(self, wanted: NDArray[np.bool_], keep: NDArray[np.bool_]) -> _Numbers:
        """With the objects `keep` only, and of them the pixels `wanted`."""
        new = np.concatenate([[0], np.where(keep, np.cumsum(keep), 0)])
        return _Numbers(np.where(wanted, new[self.pixels], 0), self.labels[keep], self.shape, self.order)

    def within(self, mask: NDArray[np.bool_]) -> _Numbers:
        """The part in `mask`, without objects that have more than half of their pixels outside."""
        outside = np.bincount(self.pixels[~mask], minlength=len(self.labels) + 1)[1:]
        return self.only(mask, 2 * outside <= self.sizes())


def _compared(truth: Labels, found: Labels, inside: ArrayLike | None = None) -> tuple[_Numbers, Overlaps]:
    from scipy.sparse import coo_array

    word = _axes(truth) or _axes(found)
    a, b = _numbered(truth, word, "The ground truth"), _numbered(found, word, "The segmentation")
    if a.shape != b.shape:
        as_axes, sizes = "", (a.shape, b.shape)
        if a.order is not None and b.order is not None:  # without the axes that neither has
            kept = [k for k, pair in enumerate(zip(a.shape, b.shape, strict=True)) if pair != (1, 1)]
            as_axes = f" as {''.join(a.order[k] for k in kept)}"
            sizes = tuple(a.shape[k] for k in kept), tuple(b.shape[k] for k in kept)
        raise DataError(
            f"The true and the found labels must have the same shape, but they have{as_axes} {_times(sizes[0])} and "
            f"{_times(sizes[1])} pixels. Crop or resample one of them first."
        )
    if inside is not None:
        mask = _mask(inside, a.shape)
        a, b = a.within(mask), b.within(mask)
    both = (a.pixels > 0) & (b.pixels > 0)
    ends = (a.pixels[both] - 1, b.pixels[both] - 1)
    shape = (max(len(a.labels), 1), max(len(b.labels), 1))
    pairs = coo_array((np.ones(len(ends[0]), np.int64), ends), shape)
    table = pairs.tocsr().tocoo()  # through rows: sums in linear time
    row, column = (one.astype(np.int64) for one in (table.row, table.col))
    return a, Overlaps(a.labels, b.labels, a.sizes(), b.sizes(), row, column, table.data)


def _numbered(labels: Labels, word: str | None, name: str) -> _Numbers:
    pixels = np.asarray(labels)
    check_labels(pixels, name)
    order, frames = None, 1
    if word is not None:
        order = axes_of.canonical(f"STC{word}")
        pixels = axes_of.move(pixels, _axes(labels) or word, order)
        frames = int(np.prod(pixels.shape[:3]))
    flat = np.ravel(pixels)
    if int(flat.max()) <= 4 * flat.size:  # a table of all numbers is faster than sorting the pixels
        present = np.flatnonzero(np.bincount(flat.astype(np.int64, copy=False)))
        number = np.searchsorted(present, np.arange(int(flat.max()) + 1))[flat]
    else:
        present, number = np.unique(flat, return_inverse=True)
    number = number.reshape(-1).astype(np.int64) + (present[0] != 0)  # from 1 on where there is no background
    present = present[present != 0]
    if frames == 1:
        return _Numbers(number, present, pixels.shape, order)
    frame = np.repeat(np.arange(frames), flat.size // frames)
    number = np.where(number > 0, number + frame * len(present), 0)
    everywhere = _Numbers(number, np.tile(present, frames), pixels.shape, order)
    return everywhere.only(number > 0, everywhere.sizes() > 0)


def _mask(inside: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """`inside`, flat, for every frame."""
    mask = np.asarray(inside)
    if mask.dtype.kind != "b" or mask.ndim > len(shape) or mask.shape != shape[len(shape) - mask.ndim :]:
        raise DataError(
            f"inside must be True and False in the shape of the labels, {_times(shape)}, but it is {mask.dtype} of "
            f"{_times(mask.shape)} pixels."
        )
    return np.broadcast_to(mask, shape).ravel()


def _axes(labels: Labels) -> str | None:
    return getattr(labels, "axes", None)


# -- from the table to scores -----------------------------------------------------------------------


def matched(table: Overlaps, iou: float = IOU) -> Matches:
    """Like `matches`, from a table of overlaps."""
    if not 0 < iou <= 1:
        raise DataError(f"IoU {iou:g} is not possible: two objects overlap by more than 0 and at most 1.")
    jaccard = table.jaccard
    chosen = _one_to_one(table, jaccard, np.flatnonzero(jaccard >= iou))
    rows, columns = table.truth_at[chosen], table.found_at[chosen]
    return Matches(
        np.stack([table.truth_labels[rows], table.found_labels[columns]], axis=1),
        jaccard[chosen],
        np.delete(table.truth_labels, rows),
        np.delete(table.found_labels, columns),
    )


def _one_to_one(table: Overlaps, jaccard: Floats, allowed: Ints) -> Ints:
    """The pairs of `allowed` to keep, so that no object is in two: as many as possible, then the best."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = table.truth_at[allowed], table.found_at[allowed]
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1) if len(allowed) else rows > 0
    kept = [allowed[alone]]
    contested = allowed[~alone]
    if len(contested):  # below 0.5 objects can have several partners: settled group by group
        count = len(table.truth_labels) + len(table.found_labels)
        ends = (table.truth_at[contested], table.found_at[contested] + len(table.truth_labels))
        _, group = connected_components(coo_array((np.ones(len(contested)), ends), (count, count)), directed=False)
        groups = group[ends[0]]
        ends_of_groups = np.cumsum(np.unique(groups, return_counts=True)[1])[:-1]
        for members in np.split(contested[np.argsort(groups, kind="stable")], ends_of_groups):
            row_labels, row = np.unique(table.truth_at[members], return_inverse=True)
            column_labels, column = np.unique(table.found_at[members], return_inverse=True)
            gain = np.zeros((len(row_labels), len(column_labels)))
            number = np.full(gain.shape, -1, np.int64)
            gain[row, column] = 1 + jaccard[members] / (2 * min(gain.shape))  # one more pair outweighs any overlap
            number[row, column] = members
            picked = number[linear_sum_assignment(gain, maximize=True)]
            kept.append(picked[picked >= 0])
    return np.sort(np.concatenate(kept))


def _by_truth(table: Overlaps) -> Floats:
    """The Jaccard index of every true object with the found one that covers more than half of it, else 0."""
    jaccard = np.zeros(len(table.truth_labels))
    jaccard[table.truth_at[table.covering]] = table.jaccard[table.covering]
    return jaccard


def _seg(table: Overlaps) -> float:
    return float(_by_truth(table).mean()) if len(table.truth_labels) else float("nan")


def _error(table: Overlaps) -> float:
    everything = len(table.truth_labels) + len(table.found_labels)
    return fraction(everything - 2 * int(np.count_nonzero(table.covering & table.covered)), everything)


def _at_each(name: str, truth: Labels, found: Labels, iou: float | Sequence[float]) -> Any:
    """A number for one IoU, an array for several."""
    table = overlaps(truth, found)
    if isinstance(iou, (int, float)):
        return float(getattr(matched(table, iou), name))
    return np.array([getattr(matched(table, one), name) for one in iou])


def fraction(part: int, whole: int) -> float:
    """NaN of nothing."""
    return part / whole if whole else float("nan")


def _times(shape: tuple[int, ...]) -> str:
    return lengths(shape) or "no"
