"""Patches of stacks whose truth is a single plane: lateral places, all planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import DataError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.normalize import Normalization
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import array_patches, load_npz, save_npz

AS_IT_IS = (Normalization((0.0,), (1.0,)), Normalization((0.0,), (1.0,)))
# Every pixel of the truth is another; planes of the stack have it plus 10,000 times their number.
TRUTH = np.arange(40 * 48, dtype=np.float32).reshape(40, 48)
STACK = TRUTH + 1e4 * np.arange(7, dtype=np.float32)[:, None, None]


def pair(depth: int = 7, name: str = "wing") -> Pair:
    return Pair(Image(STACK[:depth], "ZYX", (1.0, 0.2, 0.2)), Image(TRUTH, "YX", (0.2, 0.2)), name)


@given(index=integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_patch_is_a_plane_and_above_the_same_place_all_planes_in_order(index: int) -> None:
    patches = cut_patches([pair()], (16, 16), normalize=AS_IT_IS, foreground=None)
    low, high = patches.training(index, seed=1)
    assert (low.shape, high.shape) == ((1, 7, 16, 16), (1, 16, 16))
    for plane in range(7):
        assert_array_equal(low[:, plane], high + 1e4 * plane)


def test_stacks_are_flipped_and_turned_laterally_only() -> None:
    patches = cut_patches([pair()], (16, 16), foreground=None)
    drawn = [patches.drawn(index, 0)["orientation"] for index in range(40)]
    assert {orientation["flips"] for orientation in drawn} == {"", "Y", "X", "YX"}
    assert {orientation["turned"] for orientation in drawn} == {True, False}


def test_patches_tell_what_they_are() -> None:
    patches = cut_patches([pair()], (16, 24), foreground=None)
    assert (patches.axes, patches.axes_out, patches.shape, patches.low_shape) == ("ZYX", "YX", (16, 24), (7, 16, 24))
    assert repr(patches) == "<Patches: 32 of 7 x 16 x 24 (ZYX) to 16 x 24 from 1 pairs>"
    told = patches.summary()
    assert told["voxel_size"] == [1.0, 0.2, 0.2]
    assert (told["training"]["shape"], told["training"]["depth"]) == ([16, 24], 7)
    low, high = patches.check_batch([0, 1, 2])
    assert (low.shape, high.shape) == ((3, 1, 7, 16, 24), (3, 1, 16, 24))


def test_a_shape_may_name_the_depth() -> None:
    by_two, by_three = (cut_patches([pair()], shape, foreground=None) for shape in ((16, 16), (7, 16, 16)))
    assert_array_equal(by_two.checking(3)[0], by_three.checking(3)[0])


def test_the_foreground_is_that_of_the_truth() -> None:
    truth = np.zeros((64, 64), np.float32)
    truth[40:44, 8:12] = 1
    stack = np.random.default_rng(0).random((5, 64, 64)).astype(np.float32)
    patches = cut_patches([Pair(Image(stack, "ZYX"), Image(truth, "YX"))], (16, 16), normalize=AS_IT_IS)
    for index in range(20):
        _, high = patches.training(index, 0)
        assert high[0].max() == 1


def test_movies_and_channels_and_stacks_on_disk(tmp_path: Path) -> None:
    from veriscope.images.reading import read_image
    from veriscope.images.writing import save_image

    rng = np.random.default_rng(0)
    low, high = rng.random((2, 5, 2, 24, 32), np.float32), rng.random((2, 1, 24, 32), np.float32)
    save_image(tmp_path / "low.ome.zarr", Image(low, "TZCYX"))
    lows = [Image(low, "TZCYX"), read_image(tmp_path / "low.ome.zarr")]
    one, other = (cut_patches([Pair(image, Image(high, "TCYX"))], (16, 16), foreground=None) for image in lows)
    assert len(one) == 2 * 32
    for index in range(6):
        assert one.training(index, 0)[0].shape == (2, 5, 16, 16)
        for ours, theirs in zip(one.training(index, 0), other.training(index, 0), strict=True):
            assert_allclose(ours, theirs, rtol=1e-6)


def test_patches_come_back_from_a_file_as_the_published_data_have_them(tmp_path: Path) -> None:
    """X is (S, C, Z, Y, X), Y is (S, C, 1, Y, X)."""
    patches = cut_patches([pair()], (16, 16), foreground=None)
    save_npz(tmp_path / "patches.npz", patches, count=5)
    with np.load(tmp_path / "patches.npz") as found:
        assert (found["X"].shape, found["Y"].shape) == ((5, 1, 7, 16, 16), (5, 1, 1, 16, 16))
        assert str(found["axes"]) == "SCZYX"
    again = load_npz(tmp_path / "patches.npz")
    assert (again.axes, again.axes_out, again.shape, again.low_shape) == ("ZYX", "YX", (16, 16), (7, 16, 16))
    for index in range(5):
        for ours, theirs in zip(patches.plain(index, 0), again.checking(index), strict=True):
            assert_array_equal(ours, theirs)
    low, high = again.batch(range(8), seed=0)
    assert (low.shape, high.shape) == ((8, 1, 7, 16, 16), (8, 1, 16, 16))
    train, check = again.split(0.2)
    assert (len(train), len(check), check.axes_out) == (4, 1, "YX")
    assert again.summary()["training"]["depth"] == 7


def test_low_and_high_from_a_file_are_turned_alike() -> None:
    low = np.stack([STACK[:, :16, :16], STACK[:, 16:32, 16:32]])[:, None]
    high = np.stack([TRUTH[:16, :16], TRUTH[16:32, 16:32]])[:, None, None]
    patches = array_patches(low, high, "SCZYX")
    for index in range(10):
        one, flat = patches.training(index, 0)
        assert_array_equal(one[:, 3], flat + 3e4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cut_patches([pair(), pair(5, "thin")], (16, 16)), "5 in 'thin', 7 in 'wing'. Crop or pad"),
        (lambda: cut_patches([pair()], (16, 16), normalize="matched"), "low is a stack and high a plane. Use 'random'"),
        (lambda: cut_patches([pair()], (5, 16, 16)), r"all 7 planes, not 5. Give a shape of two numbers"),
        (lambda: cut_patches([pair()], (16, 64)), r"wing.*7 x 40 x 48 \(ZYX\).*X 48 < 64"),
        (
            lambda: cut_patches([pair(), Pair(Image(STACK, "ZYX"), Image(STACK, "ZYX"), "same")], (16, 16)),
            "In pair 'wing' high is a single plane for a stack, in 'same' it is not",
        ),
        (
            lambda: Pairs([pair(), Pair(Image(TRUTH[None], "ZYX"), Image(TRUTH, "YX"), "flat")]),
            "'wing' and 'flat' do not match",
        ),
        (
            lambda: Pair(Image(STACK, "ZYX"), Image(STACK[:2], "ZYX"), "two"),
            "Z 7 against 2",
        ),
        (
            lambda: Pair(Image(TRUTH, "YX"), Image(STACK, "ZYX"), "reversed"),
            "Z 1 against 7",
        ),
        (
            lambda: array_patches(np.zeros((2, 1, 7, 8, 8)), np.zeros((2, 1, 2, 8, 8)), "SCZYX"),
            "the same number of patches of the same size",
        ),
        (
            lambda: array_patches(np.zeros((2, 1, 7, 8, 8)), np.zeros((2, 1, 1, 8, 4)), "SCZYX"),
            "the same number of patches of the same size",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(make: object, message: str) -> None:
    with pytest.raises(VeriscopeError, match=message) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, DataError)


def test_a_pair_of_a_stack_and_a_plane_projects() -> None:
    assert pair().projects
    assert Pair(Image(STACK, "ZYX"), Image(TRUTH[None], "ZYX")).projects
    assert not Pair(Image(STACK, "ZYX"), Image(STACK, "ZYX")).projects
    assert not Pair(Image(TRUTH[None], "ZYX"), Image(TRUTH, "YX")).projects
