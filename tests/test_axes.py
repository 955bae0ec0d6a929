from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers, permutations

from veriscope import axes
from veriscope.errors import AxesError


@pytest.mark.parametrize(
    ("word", "shape", "message"),
    [
        ("", None, "is empty"),
        ("YXQ", None, "unknown letter Q"),
        ("YYX", None, "Y more than once"),
        ("ZYX", (4, 4), "name 3 dimensions, but the image has 2: 4 x 4"),
    ],
)
def test_unsound_axes_are_refused(word: str, shape: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(AxesError, match=message):
        axes.check(word, shape)


def test_letters_are_put_in_order() -> None:
    assert axes.check("tzyx") == "TZYX"
    assert axes.spatial("TCZYX") == "ZYX"
    assert axes.spatial("XYC") == "XY"
    assert axes.canonical("XYZCTS") == "STCZYX"


@given(source=permutations("TCZYX"), target=permutations("TCZYX"))
def test_moving_there_and_back_changes_nothing(source: list[str], target: list[str]) -> None:
    array = np.arange(120).reshape(1, 2, 3, 4, 5)
    there, here = "".join(target), "".join(source)
    assert np.array_equal(axes.move(axes.move(array, here, there), there, here), array)


@given(z=integers(1, 3), y=integers(1, 3))
def test_axes_of_size_one_come_and_go(z: int, y: int) -> None:
    array = np.arange(z * y).reshape(z, y, 1)
    moved = axes.move(array, "ZYX", "TZCY")
    assert moved.shape == (1, z, 1, y)
    assert np.array_equal(moved.ravel(), array.ravel())


def test_longer_axes_are_never_dropped() -> None:
    with pytest.raises(AxesError, match="C would be dropped, with 2 entries"):
        axes.move(np.zeros((2, 4, 4)), "CYX", "YX")
