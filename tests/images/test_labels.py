"""What counts as a label image, and which ones are masks in disguise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from veriscope.errors import DataError
from veriscope.images import labels


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((2, 2)), "The truth is not a label image: its pixels are float64"),
        (np.zeros((2, 2), bool), "The truth is a mask of True and False.*skimage.measure.label"),
        (np.zeros((0, 2), np.uint8), "The truth has no pixels"),
        (np.array([[0, -7]]), "The truth holds -7, but labels are 0 or more"),
    ],
)
def test_what_is_no_label_image_is_refused(given: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        labels.check(given, "The truth")


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64])
def test_whole_numbers_from_0_are_labels_however_large(kind: Any) -> None:
    labels.check(np.array([[0, np.iinfo(kind).max]], kind), "The truth")


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        ([[255, 0, 255], [0, 0, 0], [255, 255, 0]], 3),
        ([[255, 0], [0, 255]], 1),  # touching by a corner is touching
        ([[1, 0, 2], [0, 0, 0], [1, 0, 2]], 1),  # two numbers: these are labels, whatever their pieces
        ([[0, 0]], 1),
        ([[3, 3]], 1),
    ],
)
def test_a_mask_has_one_number_in_several_pieces(rows: Any, pieces: int) -> None:
    assert labels.pieces_of_one(np.array(rows), 2) == pieces


def test_one_cell_that_jumps_is_no_mask() -> None:
    movie = np.array([[[1, 0, 0, 0]], [[0, 0, 0, 1]]])
    assert labels.pieces_of_one(movie, 2) == 1
    assert labels.pieces_of_one(movie, 3) == 2
