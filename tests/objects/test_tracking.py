"""Tracking by overlap, on movies that can be drawn on paper, and how well tracks follow the true ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import veriscope as vs
from veriscope.errors import DataError
from veriscope.objects.tracking import followed, track, tracks


def movie(*frames: str) -> np.ndarray:
    """Rows of one-line frames: "aab." is an object of two pixels, one of one, and background."""
    return np.array([[[0 if pixel == "." else ord(pixel) for pixel in frame]] for frame in frames], np.uint16)


def drawn(labels: np.ndarray) -> list[str]:
    return ["".join("." if pixel == 0 else "ABCDEFGHIJ"[pixel - 1] for pixel in frame[0]) for frame in labels]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (["aaa...", ".qqq..", "..xxx."], ["AAA...", ".AAA..", "..AAA."]),  # moves
        (["aaa...", "...aaa"], ["AAA...", "...BBB"]),  # jumps too far, whatever its label says
        (["aaaa..", "..bbbb"], ["AAAA..", "..BBBB"]),  # half is not more than half
        (["aaaaaa", "bbbbcc"], ["AAAAAA", "AAAABB"]),  # splits: the larger part goes on
        (["aaaabb", "cccccc"], ["AAAABB", "AAAAAA"]),  # merge: the larger goes on, the other ends
        (["aa..bb", "....bb", "aa..bb"], ["AA..BB", "....BB", "CC..BB"]),  # gone for a frame is new
        (["aa....", "aa..bb"], ["AA....", "AA..BB"]),  # appears
        (["......", "aa....", "......", "aa...."], ["......", "AA....", "......", "BB...."]),  # empty frames
        (["......", "......"], ["......", "......"]),
        (["aabbcc"], ["AABBCC"]),  # a single frame
        (["aaabbb", "baaabb"], ["AAABBB", "BAAABB"]),  # what has one label is one object, also in two pieces
        (["zzyyaa", "ccbbaa"], ["CCBBAA", "CCBBAA"]),  # numbers follow the labels of the first frame
    ],
)
def test_tracks_by_hand(frames: list[str], expected: list[str]) -> None:
    assert drawn(track(movie(*frames))) == expected


def test_a_square_is_followed_in_planes_and_in_volumes() -> None:
    labels = np.zeros((6, 20, 20), np.int32)
    for frame in range(6):
        labels[frame, 3 + frame : 8 + frame, 9 - frame : 14 - frame] = 100 - frame
    found = track(labels)
    np.testing.assert_array_equal(found, labels > 0)
    assert found.dtype == np.uint16
    thick = np.repeat(labels[:, None], 3, axis=1)
    np.testing.assert_array_equal(track(thick), thick > 0)


def test_labels_in_another_order_of_bytes_are_followed() -> None:
    labels = movie("aa.bb", ".aabb", "..aab")
    np.testing.assert_array_equal(track(labels.astype(">u2")), track(labels))


def test_an_image_keeps_what_it_is_and_its_axes_decide() -> None:
    labels = movie("aa..", ".bb.")
    image = vs.Image(np.moveaxis(labels, 0, 2), "YXT", (0.5, 0.25), time_step=3.0)
    found = track(image)
    assert (found.axes, found.voxel_size, found.time_step) == (image.axes, (0.5, 0.25), 3.0)
    one_channel = track(vs.Image(labels[:, None], "TCYX"))
    np.testing.assert_array_equal(one_channel.array[:, 0], track(labels))
    np.testing.assert_array_equal(np.asarray(found.moved("TYX")), track(labels))


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), objects=st.integers(0, 6))
def test_no_track_is_in_two_places_and_labels_keep_their_outlines(seed: int, objects: int) -> None:
    labels = np.random.default_rng(seed).integers(0, objects + 1, (4, 6, 7))
    found = track(labels)
    for before, after in zip(labels, found, strict=True):
        assert len({*zip(before.ravel().tolist(), after.ravel().tolist(), strict=True)}) == len(np.unique(before))
        assert len(np.unique(after)) == len(np.unique(before))
        np.testing.assert_array_equal(before == 0, after == 0)
    numbers = np.unique(found[found > 0])
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    # A track has no gaps
    known = tracks(found)
    np.testing.assert_array_equal(known.length, known.end - known.start + 1)
    # Other names for the same objects change nothing but which comes first
    assert len(np.unique(track(labels * 7))) == len(np.unique(found))


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_links_agree_with_a_slow_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(rng.integers(0, 5, (2, 3, 4)), 2, axis=1), 2, axis=2)
    labels[1] = np.roll(labels[0], 1, axis=0) if seed % 2 else labels[1]
    found = track(labels)
    for a in range(1, 5):
        for b in range(1, 5):
            before, after = labels[0] == a, labels[1] == b
            if not before.any() or not after.any():
                continue
            shared = (before & after).sum()
            of_a = [(before & (labels[1] == other)).sum() for other in range(1, 5)]
            of_b = [((labels[0] == other) & after).sum() for other in range(1, 5)]
            alone = of_a.count(shared) == 1 == of_b.count(shared)  # ties are decided, either way
            expected = shared == max(of_a) == max(of_b) and 2 * shared > min(before.sum(), after.sum())
            same = found[0][before][0] == found[1][after][0]
            if alone or not expected:
                assert same == expected


def test_start_end_and_length_of_tracks() -> None:
    known = tracks(movie("a.b.", "a.b.", "..b.", "..bc", "a..."))
    assert known.number.tolist() == [ord("a"), ord("b"), ord("c")]
    assert known.start.tolist() == [0, 0, 3]
    assert known.end.tolist() == [4, 3, 3]
    assert known.length.tolist() == [3, 4, 1]
    assert tracks(movie("....", "....")).number.size == 0


# -- against the truth ------------------------------------------------------------------------------

TRUE = ("aabbcc", "aabbcc", "aabbcc", "aabb..")


def test_the_truth_follows_itself_under_any_names() -> None:
    score = followed(movie(*TRUE), movie(*(frame.translate(str.maketrans("abc", "xky")) for frame in TRUE)))
    assert (score.cells, score.links) == (3, 8)
    assert (score.recall, score.precision, score.to_the_end) == (1, 1, 1)
    assert score.frames == score.possible == 11 / 3
    assert score.still == (1, 1, 1, 1)
    assert score.recall_of_step == (1, 1, 1)


def test_every_way_to_go_wrong_counts_as_told() -> None:
    #           a: another number from frame 2 on; b: missed in frame 1; c: swallows nothing, right throughout
    score = followed(movie(*TRUE), movie("aabbcc", "aa..cc", "xxbbcc", "xxbb.."))
    # True links 8: a 0-1 yes, 1-2 no, 2-3 yes; b 0-1 no, 1-2 no, 2-3 yes; c 0-1 yes, 1-2 yes
    assert score.links == 8
    assert score.recall == 5 / 8
    assert score.recall_of_step == (2 / 3, 1 / 3, 1.0)
    # Links claimed: a 0-1, x 2-3, b 2-3 (a number that was gone for a frame is no link), c 0-1, 1-2
    assert score.precision == 1.0
    assert score.frames == (2 + 1 + 3) / 3
    assert score.to_the_end == 1 / 3
    assert score.still == (1, 2 / 3, 1 / 3, 0)


def test_wrong_links_lower_precision() -> None:
    # The objects change places: every link that is claimed is wrong
    score = followed(movie("aabb", "aabb"), movie("xxyy", "yyxx"))
    assert (score.recall, score.precision, score.frames, score.to_the_end) == (0, 0, 1, 0)
    # An invented object lowers precision only
    score = followed(movie("aa..", "aa.."), movie("xxyy", "xxyy"))
    assert (score.recall, score.precision) == (1, 0.5)


def test_merged_and_split_cells_are_not_recognised() -> None:
    assert followed(movie("aabb", "aabb"), movie("xxxx", "xxxx")).recall == 0  # half of it is not more than half
    assert followed(movie("aabb", "aabb"), movie("xyzw", "xyzw")).frames == 0
    # One that swallows a small neighbour is still itself
    score = followed(movie("aaab", "aaab"), movie("xxxx", "xxxx"))
    assert (score.recall, score.precision) == (0.5, 1)


def test_who_comes_back_is_new_and_who_is_seen_once_does_not_count() -> None:
    score = followed(movie("aa..", "aa..", "....", "aa..", "aabb"), movie("xx..", "xx..", "....", "yy..", "yyzz"))
    assert (score.cells, score.links, score.possible, score.to_the_end) == (2, 2, 2, 1)


def test_nothing_to_follow_is_no_number() -> None:
    score = followed(movie("....", "...."), movie("....", "...."))
    assert (score.cells, score.links) == (0, 0)
    assert np.isnan([score.recall, score.precision, score.frames, score.to_the_end, *score.still]).all()
    assert followed(movie("aa", "aa"), movie("..", "..")).to_the_end == 0


def test_a_score_reads_as_a_sentence() -> None:
    told = str(followed(movie(*TRUE), movie(*TRUE)))
    assert told == (
        "3 cells, 8 links: recall 1.000, precision 1.000; followed for 3.7 of 3.7 frames, 100.0% to the end"
    )


def test_simulated_cells_are_followed_by_their_true_outlines() -> None:
    from veriscope.simulate.movie import WingMovie
    from veriscope.simulate.movie import movie as simulated

    truth = simulated(WingMovie(frames=5, bleach=None), (3, 72, 72), seed=0).images["labels"]
    score = followed(truth, track(truth))
    assert score.recall > 0.9  # slivers at the borders may be lost
    assert score.precision > 0.95


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.zeros((4, 4), np.uint8), r"The movie has the shape \(4, 4\), but a movie of labels is T Y X or T Z Y X"),
        (np.zeros((2, 4, 4)), "The movie is not a label image: its pixels are float64"),
        (np.full((2, 4, 4), -1), "The movie holds -1, but labels are 0 or more"),
        (np.zeros((0, 4, 4), np.uint8), "The movie has no pixels"),
        (np.zeros((2, 4, 4), bool), "mask of True and False"),
        (vs.Image(np.zeros((4, 4), np.uint8), "YX"), "has the axes YX"),
        (vs.Image(np.zeros((2, 2, 4, 4), np.uint8), "TCYX"), "Choose one channel"),
    ],
)
def test_what_is_no_movie_of_labels_is_refused(labels: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        track(labels)  # type: ignore[type-var]


def test_movies_of_different_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"same shape, but they have \(2, 1, 4\) and \(3, 1, 4\)"):
        followed(movie("aa..", "aa.."), movie("aa..", "aa..", "aa.."))
