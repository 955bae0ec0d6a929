"""An image is taken apart into frames without changing a pixel, and read beyond its borders by reflection."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.errors import AxesError, DataError, ModelError
from veriscope.images.image import Image
from veriscope.networks.recipe import Recipe
from veriscope.restoring.frames import frames

FLAT, DEEP = Recipe("YX"), Recipe("ZYX")


@settings(deadline=None)
@given(length=st.integers(1, 12), end=st.integers(1, 40), data=st.data())
def test_reading_beyond_the_end_is_reflection_as_numpy_pads(length: int, end: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, end - 1))
    row = np.arange(length)
    continued = np.pad(row, (0, max(0, end - length)), mode="reflect")
    parts = frames(Image(row[None], "YX"), FLAT)
    assert parts.read((), (slice(0, 1), slice(start, end)))[0, 0].tolist() == continued[start:end].tolist()


@pytest.mark.parametrize("axes", ["".join(p) for p in permutations("TYX")])
def test_frames_follow_the_axes_whatever_their_order(axes: str) -> None:
    sizes = {"T": 2, "Y": 3, "X": 4}
    array = np.arange(24).reshape([sizes[letter] for letter in axes])
    parts = frames(Image(array, axes), FLAT)
    assert (parts.outer, parts.space, parts.counts, parts.shape, parts.channels) == ("T", "YX", (2,), (3, 4), 1)
    expected = np.transpose(array, [axes.index(letter) for letter in "TYX"])
    for number in parts.numbers():
        block = parts.read(number, (slice(0, 3), slice(0, 4)))
        np.testing.assert_array_equal(block[0], expected[number])


def test_samples_and_times_are_frames_and_channels_are_not() -> None:
    parts = frames(Image(np.zeros((2, 3, 4, 5, 6, 7)), "STCZYX"), Recipe("ZYX", channels_in=4, channels_out=4))
    assert (parts.counts, parts.channels, parts.shape) == ((2, 3), 4, (5, 6, 7))
    assert len(list(parts.numbers())) == 6
    assert parts.voxels == 2 * 3 * 5 * 6 * 7


@pytest.mark.parametrize(
    ("axes", "channels", "expected"),
    [("YX", 1, "YX"), ("YX", 2, "CYX"), ("TZYX", 2, "TCZYX"), ("YXC", 2, "YXC"), ("YXC", 1, "YXC"), ("XYT", 2, "CXYT")],
)
def test_results_keep_the_axes_and_get_channels_before_space(axes: str, channels: int, expected: str) -> None:
    image = Image(np.zeros([1 if letter == "C" else 3 for letter in axes]), axes)
    parts = frames(image, DEEP if "Z" in axes else FLAT)
    assert parts.result_axes(channels) == expected
    assert parts.outline(channels).shape == tuple(channels if letter == "C" else 3 for letter in expected)


@pytest.mark.parametrize(
    ("shape", "axes", "recipe", "choices", "error", "words"),
    [
        ((3, 8, 8), "ZYX", FLAT, {}, ModelError, "plane by plane"),
        ((8, 8), "YX", DEEP, {}, ModelError, r"restores stacks \(ZYX\), but the image has the axes YX"),
        ((3, 8, 8), "ZYX", DEEP, {"planes": True}, ModelError, "Remove planes=True"),
        ((2, 8, 8), "CYX", FLAT, {}, ModelError, "1 channel, but this image has 2 channels.*Pick one"),
        ((8, 8), "YX", Recipe("YX", channels_in=2), {}, ModelError, "2 channels, but this image has 1 channel"),
        ((2, 8, 8), "CYX", FLAT, {"channel": 2}, DataError, "no channel 2"),
        ((2, 8, 8), "CYX", FLAT, {"channel": -1}, DataError, "counted from 0"),
        ((8, 8), "TX", FLAT, {}, AxesError, "lacks Y"),
    ],
)
def test_images_that_a_model_was_not_trained_for_are_refused_with_the_way_out(
    shape: tuple[int, ...], axes: str, recipe: Recipe, choices: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        frames(Image(np.zeros(shape), axes), recipe, **choices)


def test_only_images_are_restored() -> None:
    with pytest.raises(DataError, match="needs an Image, not ndarray"):
        frames(np.zeros((8, 8)), FLAT)  # type: ignore[arg-type]


def test_a_stack_of_one_plane_is_a_plane() -> None:
    parts = frames(Image(np.zeros((1, 8, 8)), "ZYX"), FLAT)
    assert (parts.counts, parts.shape, parts.result_axes(1)) == ((1,), (8, 8), "ZYX")


def test_planes_and_channel_open_other_images() -> None:
    stack = Image(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), "CZYX")
    parts = frames(stack, FLAT, channel=1, planes=True)
    assert (parts.counts, parts.channels) == ((3,), 1)
    block = parts.read((2,), (slice(0, 4), slice(0, 5)))
    np.testing.assert_array_equal(block, np.asarray(stack)[1:2, 2])


def test_only_the_region_asked_for_is_read(lazy: Callable[..., Any]) -> None:
    image, behind = lazy(np.zeros((3, 50, 60)), "TYX")
    block = frames(image, FLAT).read((1,), (slice(10, 14), slice(56, 64)))
    assert block.shape == (1, 4, 8)
    assert behind.largest == 4 * 5  # columns 56 to 63 are 56 to 59 and, reflected, 58 to 55
