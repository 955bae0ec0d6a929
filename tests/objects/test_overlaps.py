"""Scores between label images: drawn by hand, against slow loops over objects, and against other programs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.objects import overlaps as o


def drawn(*rows: str) -> Any:
    """A label image from characters: "." is background, digits are labels."""
    return np.array([[0 if pixel == "." else int(pixel) for pixel in row] for row in rows])


# Object 1: found a little too large. 2: found exactly. 3: half found, no more. 4: missed. Found 7 is invented.
TRUTH = drawn(
    "11...222",
    "11...222",
    "........",
    "3333.444",
    "........",
)
FOUND = drawn(
    "555..666",
    "555..666",
    "........",
    "88......",
    ".....77.",
)


# -- drawn by hand ----------------------------------------------------------------------------------


def test_the_drawn_example() -> None:
    assert_allclose(o.seg(TRUTH, FOUND), (4 / 6 + 1 + 0 + 0) / 4)  # exactly half of object 3 does not count
    assert_allclose(o.error(TRUTH, FOUND), 4 / 8)  # 3, 4, 7 and 8 are without a match
    assert o.precision(TRUTH, FOUND) == 3 / 4  # 8 overlaps 3 by exactly one half, enough for IoU 0.5
    assert o.recall(TRUTH, FOUND) == 3 / 4
    assert o.average_precision(TRUTH, FOUND) == 3 / 5
    assert_allclose(o.average_precision(TRUTH, FOUND, (0.5, 0.6, 0.7, 1.0)), [3 / 5, 2 / 6, 1 / 7, 1 / 7])


def test_matches_name_the_labels() -> None:
    found = o.matches(TRUTH, FOUND, iou=0.6)
    assert_array_equal(found.pairs, [[1, 5], [2, 6]])
    assert_allclose(found.jaccard, [4 / 6, 1])
    assert_array_equal(found.missed, [3, 4])
    assert_array_equal(found.invented, [7, 8])


def test_jaccard_colouring_paints_each_true_object() -> None:
    painted = o.jaccard_image(TRUTH, FOUND)
    assert painted.dtype == np.float32
    assert np.isnan(painted[TRUTH == 0]).all()
    for label, expected in ((1, 4 / 6), (2, 1), (3, 0), (4, 0)):
        assert_allclose(painted[label == TRUTH], expected, rtol=1e-6)


def test_all_merged_into_one() -> None:
    truth = drawn("1122", "1122")
    merged = np.ones_like(truth)
    assert_allclose(o.seg(truth, merged), 0.5)  # it covers more than half of each, at a price
    assert_allclose(o.error(truth, merged), 1)  # the merged object lies mostly in neither
    assert o.average_precision(truth, merged) == 1 / 2  # one of the two may have it, at IoU 0.5


def test_all_split_into_pieces() -> None:
    truth = drawn("1111", "2222")
    split = np.arange(1, 9).reshape(2, 4)
    assert o.seg(truth, split) == 0
    assert o.error(truth, split) == 1
    assert o.average_precision(truth, split) == 0


def test_error_needs_both_directions() -> None:
    truth, found = drawn("1.....", "......"), drawn("111...", "......")  # 1 lies in the found one, but not the reverse
    assert o.error(truth, found) == 1
    assert o.error(truth, drawn("1.....", "1.....")) == 1  # one half is not more than half
    assert o.error(drawn("11....", "......"), drawn("111...", "......")) == 0


def test_below_one_half_the_matching_is_the_best_there_is() -> None:
    # A greedy choice of the best overlap (1 with 6) would leave the object 2 and the found 5 alone.
    truth = drawn("1111112222")
    found = drawn("5566666666")
    assert_array_equal(o.matches(truth, found, iou=0.3).pairs, [[1, 5], [2, 6]])
    assert_array_equal(o.matches(truth, found, iou=0.35).pairs, [[2, 6]])


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (0, 0, {"seg": math.nan, "error": math.nan, "precision": math.nan, "recall": math.nan, "ap": math.nan}),
        (0, 1, {"seg": math.nan, "error": 1, "precision": 0, "recall": math.nan, "ap": 0}),
        (1, 0, {"seg": 0, "error": 1, "precision": math.nan, "recall": 0, "ap": 0}),
        (1, 1, {"seg": 1, "error": 0, "precision": 1, "recall": 1, "ap": 1}),
    ],
)
def test_a_share_of_nothing_is_nan(truth: int, found: int, expected: dict[str, float]) -> None:
    one = o.scores(np.full((3, 4), truth), np.full((3, 4), found))
    assert_allclose([one.seg, one.error], [expected["seg"], expected["error"]])
    assert_allclose([one.precision, one.recall], [expected["precision"], expected["recall"]])
    assert_allclose(one.average_precision, expected["ap"])
    assert (one.truth, one.found) == (truth, found)


def test_objects_more_than_half_outside_the_image_are_dropped() -> None:
    truth = drawn("11.2223344")  # the image ends behind the fifth column
    inside = np.arange(10)[None] < 5
    found = np.where(inside, drawn("11.2223344"), 0)
    assert o.error(truth, found) == 2 / 6  # 2 keeps two of three pixels; 3 and 4 count as missed, but nobody saw them
    assert o.error(truth, found, inside) == 0
    assert o.scores(truth, found, inside=inside).truth == 2
    assert o.scores(drawn("1122"), drawn("...."), inside=np.array([[True, False, False, True]])).truth == 2  # just half


def test_an_interior_leaves_out_the_borders() -> None:
    assert o.interior((5, 6), 2).sum() == 2
    assert o.interior((3, 3), 2).sum() == 0
    assert o.interior((4,), 0).all()


# -- properties -------------------------------------------------------------------------------------

tiny = st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(*[arrays(np.int16, shape, elements=st.integers(0, 4))] * 2)
)
tiny_3d = st.tuples(*[arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3))] * 2)


@given(pair=st.one_of(tiny, tiny_3d))
@settings(max_examples=150)
def test_loops_over_objects_agree(pair: tuple[Any, Any]) -> None:
    truth, found = pair
    assert_allclose(o.seg(truth, found), naive_seg(truth, found))
    assert_allclose(o.error(truth, found), naive_error(truth, found))
    for iou in (0.1, 0.3, 0.5, 0.75):
        most, best = naive_matching(truth, found, iou)
        got = o.matches(truth, found, iou)
        assert len(got.pairs) == most
        assert_allclose(got.jaccard.sum(), best)


@given(pair=tiny, seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_which_numbers_are_used_does_not_matter(pair: tuple[Any, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    huge = np.concatenate([[0], rng.permutation(2**63 + np.arange(1, 9, dtype=np.uint64) * 10**9)]).astype(np.uint64)
    few = np.concatenate([[0], rng.permutation(8) + 1])
    plain = o.scores(*pair)
    for new in (huge, few):
        assert_array_equal(list(vars(o.scores(new[pair[0]], new[pair[1]])).values()), list(vars(plain).values()))


@given(pair=tiny)
@settings(max_examples=50)
def test_exchanging_truth_and_found_exchanges_precision_and_recall(pair: tuple[Any, Any]) -> None:
    one, other = o.scores(*pair), o.scores(*reversed(pair))
    assert_array_equal([one.error, one.precision, one.recall], [other.error, other.recall, other.precision])
    assert_array_equal(one.average_precision, other.average_precision)


@given(pair=tiny)
@settings(max_examples=50)
def test_the_colours_of_the_objects_average_to_seg(pair: tuple[Any, Any]) -> None:
    painted = o.jaccard_image(*pair)
    found = [painted[pair[0] == label].astype(float) for label in np.unique(pair[0]) if label]
    assert_allclose(np.mean([values.mean() for values in found]) if found else np.nan, o.seg(*pair), rtol=1e-6)


@given(truth=arrays(np.uint16, (5, 6), elements=st.integers(0, 5)))
@settings(max_examples=25)
def test_the_truth_itself_is_perfect(truth: Any) -> None:
    one = o.scores(truth, truth.astype(np.int64), iou=1)
    perfect = [1, 0, 1, 1, 1] if truth.any() else [np.nan] * 5
    assert_array_equal([one.seg, one.error, one.precision, one.recall, one.average_precision], perfect)


def naive_jaccard(truth: Any, found: Any) -> dict[tuple[int, int], tuple[float, float, float]]:
    """(IoU, share of the true object, share of the found object) for every pair, by masks."""
    result = {}
    for a, b in itertools.product(labels_of(truth), labels_of(found)):
        first, second = truth == a, found == b
        shared = (first & second).sum()
        result[a, b] = (shared / (first | second).sum(), shared / first.sum(), shared / second.sum())
    return result


def labels_of(image: Any) -> list[int]:
    return [int(label) for label in np.unique(image) if label]


def naive_seg(truth: Any, found: Any) -> float:
    table = naive_jaccard(truth, found)
    each = [
        max([table[a, b][0] for b in labels_of(found) if table[a, b][1] > 0.5], default=0.0) for a in labels_of(truth)
    ]
    return float(np.mean(each)) if each else math.nan


def naive_error(truth: Any, found: Any) -> float:
    table = naive_jaccard(truth, found)
    pairs = [pair for pair, (_, one, other) in table.items() if one > 0.5 and other > 0.5]
    alone = [a for a in labels_of(truth) if a not in [pair[0] for pair in pairs]]
    alone += [b for b in labels_of(found) if b not in [pair[1] for pair in pairs]]
    count = len(labels_of(truth)) + len(labels_of(found))
    return len(alone) / count if count else math.nan


def naive_matching(truth: Any, found: Any, iou: float) -> tuple[int, float]:
    """Number of pairs, and their overlaps together, of the best of all possible matchings."""
    table = naive_jaccard(truth, found)
    rows, columns = labels_of(truth), labels_of(found)
    best = (0, 0.0)
    for chosen in itertools.permutations([*columns, *[0] * len(rows)], len(rows)):
        pairs = [table[pair][0] for pair in zip(rows, chosen, strict=True) if pair[1] and table[pair][0] >= iou]
        best = max(best, (len(pairs), sum(pairs)))
    return best


# -- against other programs -------------------------------------------------------------------------


def overlapping_discs(seed: int) -> Any:
    """Twelve discs, later ones over earlier ones, as large and as placed as the seed says."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((40, 40), int)
    y, x = np.ogrid[:40, :40]
    for label in range(1, 13):
        (cy, cx), radius = rng.integers(0, 40, 2), rng.integers(2, 8)
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = label
    return labels


def pairs_of_discs() -> tuple[Any, Any]:
    """Six images, and the same moved by a pixel and torn by pixels of other images."""
    truth = np.stack([overlapping_discs(seed) for seed in range(6)])
    torn = np.random.default_rng(99).random(truth.shape) < 0.7
    return truth, np.where(torn, np.roll(truth, 1, axis=2), truth[::-1])


def test_stardist_counts_the_same_pairs() -> None:
    # stardist 0.9.2: stardist.matching.matching(truth, found, thresh=iou).tp
    for iou, counts in STARDIST.items():
        assert [len(o.matches(*both, iou).pairs) for both in zip(*pairs_of_discs(), strict=True)] == counts


def test_the_cell_tracking_challenge_scores_the_same() -> None:
    # py-ctcmetrics 1.3.3: metrics.technical.seg.seg of what utils.representations.match says of each image
    truth, found = pairs_of_discs()
    assert_allclose([o.seg(*both) for both in zip(truth, found, strict=True)], CTC, rtol=1e-9)
    assert_allclose(o.seg(Image(truth, "TYX"), Image(found, "TYX")), 0.3305276210153715, rtol=1e-9)


CTC = [
    0.2930384526198599, 0.3141227060459781, 0.331576386157257,
    0.4035122230938631, 0.37368751799584615, 0.26778839798999576,
]  # fmt: skip
STARDIST = {
    0.1: [11, 12, 11, 12, 9, 9],
    0.2: [8, 11, 8, 12, 9, 9],
    0.3: [7, 8, 7, 10, 9, 7],
    0.4: [4, 6, 7, 7, 6, 4],
    0.5: [2, 1, 3, 3, 3, 3],
    0.6: [0, 1, 0, 0, 0, 0],
}


# -- frames and channels ----------------------------------------------------------------------------


def test_the_same_label_in_two_frames_is_two_objects() -> None:
    truth = np.stack([TRUTH, TRUTH])
    found = np.stack([FOUND, TRUTH])
    whole = o.scores(Image(truth, "TYX"), Image(found, "TYX"))
    assert (whole.truth, whole.found) == (8, 8)
    assert_allclose(whole.seg, (o.seg(TRUTH, FOUND) + 1) / 2)
    assert_allclose(whole.error, (4 + 0) / 16)
    assert o.scores(truth, found).truth == 4  # plain arrays are one volume


def test_the_order_of_axes_does_not_matter() -> None:
    truth, found = np.stack([TRUTH, TRUTH[::-1]]), np.stack([FOUND, FOUND])
    plain = o.scores(Image(truth, "TYX"), Image(found, "TYX"))
    assert o.scores(Image(truth, "TYX"), Image(found.transpose(2, 0, 1)[None], "CXTY")) == plain
    painted = o.jaccard_image(Image(truth.transpose(1, 0, 2), "YTX"), Image(found, "TYX"))
    assert (painted.axes, painted.shape) == ("YTX", (5, 2, 8))
    assert_array_equal(painted.array[:, 0], o.jaccard_image(TRUTH, FOUND))


def test_inside_holds_for_every_frame() -> None:
    truth, inside = Image(np.stack([TRUTH, TRUTH]), "TYX"), np.arange(8)[None] < np.full((5, 1), 4)
    assert o.scores(truth, truth, inside=inside).truth == 4  # objects 1 and 3 of both frames


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "found", "says"),
    [
        (TRUTH, FOUND.T, "same shape.*5 x 8 and 8 x 5"),
        (Image(TRUTH, "YX"), Image(FOUND[:, :6], "YX"), "same shape.*as YX 5 x 8 and 5 x 6"),
        (Image(TRUTH[None], "ZYX"), Image(np.stack([FOUND] * 2), "ZYX"), "same shape.*as ZYX 1 x 5 x 8 and 2 x 5 x 8"),
        (TRUTH.astype(float), FOUND, "truth is not a label image.*float64.*uint16"),
        (TRUTH, FOUND > 0, "segmentation is a mask of True and False.*skimage.measure.label"),
        (TRUTH - 1, FOUND, "The ground truth holds -1, but labels are 0 or more"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "no pixels"),
    ],
)
def test_what_is_no_pair_of_label_images_is_refused(truth: Any, found: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        o.scores(truth, found)


@pytest.mark.parametrize("iou", [0.0, -1, 1.01, math.nan])
def test_an_impossible_iou_is_refused(iou: float) -> None:
    with pytest.raises(DataError, match="IoU"):
        o.matches(TRUTH, FOUND, iou)


def test_inside_must_be_a_mask_of_the_same_shape() -> None:
    with pytest.raises(DataError, match=r"inside must be True and False.*5 x 8.*bool of 4 x 4"):
        o.error(TRUTH, FOUND, np.ones((4, 4), bool))
    with pytest.raises(DataError, match="inside must be"):
        o.error(TRUTH, FOUND, TRUTH)
