from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import AxesError, DataError, VeriscopeError, VeriscopeWarning
from veriscope.images.cache import ChunkCache
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.normalize import Normalization
from veriscope.patches import augment
from veriscope.patches.cutting import cut_patches

AS_IT_IS = (Normalization((0.0,), (1.0,)), Normalization((0.0,), (1.0,)))


def pair(
    shape: tuple[int, ...] = (40, 50), axes: str = "YX", seed: int = 0, voxels: Any = None, name: str = "", **how: Any
) -> Pair:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 1000, shape).astype(how.get("dtype", np.uint16))
    return Pair(
        Image(low, axes, voxels, name=f"low/{name}"),
        Image((low * 3.0 + 7).astype(np.float32), axes, voxels, name=f"high/{name}"),
        name or f"pair{seed}",
    )


def counted(size: int = 64, axes: str = "YX") -> Pair:
    """A pair in which every pixel has its own number."""
    shape = {"YX": (size, size), "ZYX": (12, size, size)}[axes]
    low = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    return Pair(Image(low, axes), Image(low, axes), "counted")


class OnDisk:
    """A lazy array that remembers how much was read at once."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype
        self.largest = self.reads = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        part = self.array[index].copy()
        self.largest, self.reads = max(self.largest, part.size), self.reads + 1
        return part


# What a patch is


def test_patches_are_float32_of_the_asked_shape() -> None:
    patches = cut_patches([pair()], (16, 24), per_image=3)
    low, high = patches.training(0, 0)
    assert low.shape == high.shape == (1, 16, 24)
    assert low.dtype == high.dtype == np.float32
    assert low.flags.c_contiguous
    assert (patches.shape, patches.axes, patches.channels_in, patches.channels_out) == ((16, 24), "YX", 1, 1)
    assert len(patches) == 3


@given(index=st.integers(0, 10**9), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=15)
def test_a_patch_is_a_pure_function_of_index_and_seed(index: int, seed: int) -> None:
    patches, again = (cut_patches([pair(seed=1), pair((30, 70), seed=2)], (16, 16), foreground=None) for _ in range(2))
    drawn = patches.drawn(index, seed)
    again.training(3, 4)
    assert again.drawn(index, seed) == drawn
    for one, other in zip(patches.cut(drawn), again.training(index, seed), strict=True):
        assert_array_equal(one, other)
    json.dumps(drawn)


@given(index=st.integers(0, 1000), axes=st.sampled_from(["YX", "ZYX"]))
@settings(deadline=None, max_examples=40)
def test_a_patch_is_the_drawn_region_in_the_drawn_orientation(index: int, axes: str) -> None:
    source = counted(axes=axes)
    shape = (16, 16) if axes == "YX" else (4, 16, 16)
    patches = cut_patches([source], shape, normalize=AS_IT_IS)
    drawn = patches.drawn(index, 0)
    region = tuple(slice(first, first + size) for first, size in zip(drawn["start"], shape, strict=True))
    expected = augment.apply(source.low.array[region], axes, drawn["orientation"])
    for patch in patches.cut(drawn):
        assert_array_equal(patch[0], expected)


@given(index=st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_low_and_high_show_the_same_place_in_the_same_orientation(index: int) -> None:
    patches = cut_patches([pair(seed=1), pair((30, 70), seed=2)], (16, 16))
    low, high = patches.training(index, 5)
    assert_allclose(low, high, atol=1e-3)  # high is low times a factor plus an offset, which normalisation removes


def test_different_seeds_give_different_patches_and_indices_go_on_forever() -> None:
    patches = cut_patches([pair()], (16, 16), per_image=2)
    drawn = [str(patches.drawn(index, seed)) for index in (0, 1, 10**12) for seed in (0, 1)]
    assert len(set(drawn)) == 6


def test_batches_are_the_patches_stacked() -> None:
    patches = cut_patches([pair(seed=1), pair((30, 70), seed=2)], (16, 16))
    for number, index in enumerate([5, 2, 77]):
        for stacked, one in zip(patches.batch([5, 2, 77], 3), patches.training(index, 3), strict=True):
            assert stacked.shape == (3, 1, 16, 16)
            assert_array_equal(stacked[number], one)
        for stacked, one in zip(patches.check_batch([5, 2, 77]), patches.checking(index), strict=True):
            assert_array_equal(stacked[number], one)


def test_cutting_never_changes_the_source() -> None:
    source = pair(dtype=np.float32)
    before = source.low.array.copy(), source.high.array.copy()
    patches = cut_patches([source], (16, 16))
    low, high = patches.training(0, 0)
    low[...], high[...] = -1, -1
    assert_array_equal(source.low.array, before[0])
    assert_array_equal(source.high.array, before[1])


def test_plain_patches_are_neither_flipped_nor_turned() -> None:
    patches = cut_patches([counted()], (16, 16), normalize=AS_IT_IS)
    for index in range(8):
        low, _ = patches.plain(index, 0)
        assert low[0, 0, 0] == low.min()
        assert patches.training(index, 0)[0].min() == low.min()


# Which image


def test_every_frame_is_used_equally_often() -> None:
    pairs = [pair(seed=1), pair((30, 70), seed=2), pair((3, 20, 20), "TYX", seed=3)]
    patches = cut_patches(pairs, (16, 16), per_image=4)
    assert len(patches) == 4 * 5
    drawn = [patches.drawn(index, 0) for index in range(20)]
    used = [(one["pair"], one["frame"]) for one in drawn]
    assert {used.count(frame) for frame in [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]} == {4}
    assert used[:5] != used[5:10] or used[5:10] != used[10:15]
    checked = [patches.drawn_check(index) for index in range(20)]
    assert {[one["pair"] for one in checked].count(number) for number in (0, 1)} == {4}


def test_checking_is_fixed_as_the_image_stands_and_normalised_as_at_restoration() -> None:
    source = counted()
    patches = cut_patches([source], (16, 16), seed=7)
    drawn = patches.drawn_check(3)
    assert drawn["orientation"] == {"flips": "", "turned": False}
    zero, one = np.percentile(source.low.array, [2, 99.8])
    y, x = drawn["start"]
    expected = (source.low.array[y : y + 16, x : x + 16] - zero) / (one - zero)
    assert_allclose(patches.checking(3)[0][0], expected, atol=2e-3)
    assert cut_patches([source], (16, 16), seed=7).drawn_check(3) == drawn
    assert cut_patches([source], (16, 16), seed=8).drawn_check(3) != drawn


# Axes and channels


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "ZYXC", "XYZC", "YCXZ"])
def test_the_order_of_axes_in_the_file_does_not_matter(axes: str) -> None:
    rng = np.random.default_rng(0)
    ordered = rng.random((2, 10, 30, 40), dtype=np.float32)
    array = ordered.transpose(["CZYX".index(letter) for letter in axes])
    sizes = {"Z": 0.5, "Y": 0.1, "X": 0.1}
    voxels = tuple(sizes[letter] for letter in axes if letter in sizes)
    there = Pair(Image(array, axes, voxels), Image(array, axes, voxels), "there")
    here = Pair(Image(ordered, "CZYX", (0.5, 0.1, 0.1)), Image(ordered, "CZYX", (0.5, 0.1, 0.1)), "here")
    one, other = (cut_patches([pair], (8, 16, 16)) for pair in (there, here))
    assert one.channels_in == 2
    for index in range(4):
        assert_allclose(one.training(index, 0)[0], other.training(index, 0)[0], atol=1e-6)


def test_low_and_high_may_have_different_channels_and_each_is_normalised_by_itself() -> None:
    rng = np.random.default_rng(0)
    low = Image(np.stack([rng.normal(100, 5, (40, 40)), rng.normal(9000, 900, (40, 40))]), "CYX")
    high = Image(rng.normal(5, 1, (40, 40)), "YX")
    patches = cut_patches([Pair(low, high, "two")], (32, 32))
    assert (patches.channels_in, patches.channels_out) == (2, 1)
    seen = patches.checking(0)
    assert seen[0].shape == (2, 32, 32)
    for channel in (*seen[0], *seen[1]):
        assert abs(channel.mean() - 0.42) < 0.1
        assert channel.max() < 1.6


def test_time_points_are_separate_frames() -> None:
    array = np.zeros((3, 30, 30), dtype=np.uint16) + np.array([200, 250, 300], dtype=np.uint16)[:, None, None]
    patches = cut_patches([Pair(Image(array, "TYX"), Image(array, "TYX"), "t")], (8, 8), normalize=AS_IT_IS)
    for index in range(9):
        low, _ = patches.training(index, 0)
        assert low.min() == low.max() == 200 + 50 * patches.drawn(index, 0)["frame"]


def test_anisotropic_voxels_are_never_turned() -> None:
    flat = cut_patches([pair(voxels=(0.5, 0.1))], (16, 16))
    square = cut_patches([pair(voxels=(0.1, 0.1))], (16, 16))
    assert not any(flat.drawn(index, 0)["orientation"]["turned"] for index in range(50))
    assert any(square.drawn(index, 0)["orientation"]["turned"] for index in range(50))
    forced = cut_patches([pair(voxels=(0.1, 0.1))], (16, 16), turns=False)
    assert not any(forced.drawn(index, 0)["orientation"]["turned"] for index in range(50))


# Normalisation


def test_percentiles_are_drawn_from_the_ranges_of_the_paper() -> None:
    patches = cut_patches([pair()], (16, 16))
    drawn = np.array([patches.drawn(index, 0)["percentiles"] for index in range(300)])
    assert 1 <= drawn[:, 0].min() < 1.1 < 2.9 < drawn[:, 0].max() <= 3
    assert 99.5 <= drawn[:, 1].min() < 99.55 < 99.85 < drawn[:, 1].max() <= 99.9


@given(index=st.integers(0, 1000), dtype=st.sampled_from(["u1", "u2", "i4", "f4", "f8"]))
@settings(deadline=None, max_examples=15)
def test_the_drawn_percentiles_of_the_whole_image_become_zero_and_one(index: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = (rng.random((60, 60)) * 250).astype(dtype)
    patches = cut_patches([Pair(Image(array, "YX"), Image(array, "YX"), "p")], (60, 60), turns=False)
    drawn = patches.drawn(index, 0)
    zero, one = np.percentile(array, drawn["percentiles"])
    expected = augment.apply((array.astype(float) - zero) / (one - zero), "YX", drawn["orientation"])
    assert_allclose(patches.cut(drawn)[0][0], expected, atol=0.01)


def test_fixed_percentiles_and_given_ranges_are_used_as_they_stand() -> None:
    source = pair()
    assert cut_patches([source], (16, 16), normalize="fixed").drawn(5, 0)["percentiles"] == (2, 99.8)
    given_ranges = (Normalization((100.0,), (300.0,)), Normalization((0.0,), (10.0,)))
    patches = cut_patches([source], (16, 16), normalize=given_ranges)
    drawn = patches.drawn(5, 0)
    y, x = drawn["start"]
    expected = augment.apply((source.low.array[y : y + 16, x : x + 16] - 100.0) / 200, "YX", drawn["orientation"])
    assert_allclose(patches.cut(drawn)[0][0], expected, rtol=1e-5, atol=1e-6)


def test_large_whole_numbers_keep_their_precision() -> None:
    array = np.uint32(2**31) + np.arange(1600, dtype=np.uint32).reshape(40, 40)
    given_ranges = (Normalization((2.0**31,), (2.0**31 + 1,)),) * 2
    patches = cut_patches([Pair(Image(array, "YX"), Image(array, "YX"), "p")], (40, 40), normalize=given_ranges)
    assert_array_equal(patches.checking(0)[0][0], np.arange(1600).reshape(40, 40))


# Foreground


def spots(shape: tuple[int, ...] = (128, 128)) -> Pair:
    rng = np.random.default_rng(0)
    high = rng.random(shape)
    high[..., 20:30, 90:100] += 100
    return Pair(Image(high, "ZYX"[-len(shape) :]), Image(high, "ZYX"[-len(shape) :]), "spots")


def test_patches_show_foreground_in_their_central_half() -> None:
    source = spots()
    for patches in (cut_patches([source], (32, 32)), cut_patches([source], (32, 32), foreground=0.1)):
        for index in range(30):
            for drawn in (patches.drawn(index, 0), patches.drawn_check(index)):
                y, x = drawn["start"]
                assert source.high.array[y + 8 : y + 24, x + 8 : x + 24].max() > 40


def test_without_foreground_patches_come_from_everywhere() -> None:
    patches = cut_patches([spots()], (32, 32), foreground=None)
    starts = np.array([patches.drawn(index, 0)["start"] for index in range(200)])
    assert starts.min(axis=0).max() < 10
    assert starts.max(axis=0).min() > 86


def test_the_share_of_patches_on_foreground_is_a_choice() -> None:
    patches = cut_patches([spots()], (32, 32), foreground_share=0.5)
    allowed = cut_patches([spots()], (32, 32))._pairs[0].starts[0]
    shown = 0
    for index in range(400):
        y, x = patches.drawn(index, 0)["start"]
        shown += spots().high.array[y + 8 : y + 24, x + 8 : x + 24].max() > 40
    assert len(allowed) / math.prod(allowed.free) < 0.2
    assert 0.45 < shown / 400 < 0.7


def test_an_image_without_a_usable_position_is_cut_everywhere_with_a_warning() -> None:
    high = np.random.default_rng(0).random((40, 40))
    high[0, :5] = 100  # bright only at the border, which is never at the centre of a patch
    source = Pair(Image(high, "YX"), Image(high, "YX", name="border.tif"), "border")
    with pytest.warns(VeriscopeWarning, match=r"border\.tif.*--foreground 0\.2"):
        patches = cut_patches([source], (32, 32))
    assert {patches.drawn(index, 0)["start"] for index in range(300)} > {(0, 0), (8, 8)}


def test_images_that_are_nearly_empty_are_learned_from_by_what_separates_them() -> None:
    rng = np.random.default_rng(0)
    high = np.where(rng.random((64, 64)) > 0.997, 200, 0).astype("uint16")
    low = Image(rng.poisson(high * 0.05).astype("uint16"), "YX", name="spots")
    for way in ("random", "fixed", "matched"):
        with pytest.warns(VeriscopeWarning, match=r"'spots' \(low\).* are the same"):
            patches = cut_patches([Pair(low, Image(high, "YX"), "a")], (32, 32), normalize=way)
        taken = np.concatenate([np.ravel(patches.training(index, 0)[0]) for index in range(40)])
        assert taken.min() == 0
        assert 1 <= taken.max() < 2


# Lazy images


@pytest.mark.parametrize("chunks", [None, (1, 8, 16, 16), (2, 24, 7, 64)])
def test_lazy_images_give_the_same_patches_as_images_in_memory(chunks: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 1000, (2, 24, 48, 64)).astype(np.uint16)
    memory = Pair(Image(array, "TZYX"), Image(array, "TZYX"), "p")
    lazy = Pair(Image(OnDisk(array, chunks), "TZYX"), Image(OnDisk(array, chunks), "TZYX"), "p")
    one, other = cut_patches([memory], (8, 16, 16)), cut_patches([lazy], (8, 16, 16))
    for index in range(6):
        assert one.drawn(index, 0) == other.drawn(index, 0)
        assert_array_equal(one.training(index, 0)[0], other.training(index, 0)[0])
        assert_array_equal(one.checking(index)[1], other.checking(index)[1])
    assert one.summary() == other.summary()


def test_cutting_reads_only_the_patch_or_its_chunks() -> None:
    array = np.random.default_rng(0).integers(0, 1000, (32, 64, 64)).astype(np.uint16)
    for chunks, most in ((None, 8 * 16 * 16), ((8, 16, 16), 16 * 32 * 32)):
        low, high = OnDisk(array, chunks), OnDisk(array, chunks)
        patches = cut_patches([Pair(Image(low, "ZYX"), Image(high, "ZYX"), "p")], (8, 16, 16))
        low.largest = high.largest = 0
        patches.batch(range(8), 0)
        assert 0 < low.largest <= most
        assert 0 < high.largest <= most


def test_the_cache_reads_a_chunk_once_and_forgets_the_oldest() -> None:
    array = np.arange(64, dtype=np.int64).reshape(8, 8)
    disk = OnDisk(array, (4, 4))
    image = Image(disk, "YX")
    cache = ChunkCache(limit_bytes=4 * 4 * 8 * 4)
    whole = (slice(0, 8), slice(0, 8))
    for _ in range(3):
        assert_array_equal(cache.read(image, "a", whole), array)
    assert disk.reads == 1
    cache.read(image, "b", (slice(1, 3), slice(2, 4)))
    assert cache.held_bytes <= cache.limit_bytes
    cache.read(image, "a", whole)
    assert disk.reads == 3
    assert pickle.loads(pickle.dumps(cache)).held_bytes == 0


def test_chunks_too_large_to_keep_are_read_directly() -> None:
    disk = OnDisk(np.arange(64).reshape(8, 8), (8, 8))
    assert_array_equal(ChunkCache(limit_bytes=100).read(Image(disk, "YX"), 0, (slice(1, 3), slice(2, 4))).shape, (2, 2))
    assert disk.largest == 4


def test_patches_travel_to_other_processes() -> None:
    patches = cut_patches([pair()], (16, 16))
    there = pickle.loads(pickle.dumps(patches))
    assert_array_equal(there.training(3, 1)[0], patches.training(3, 1)[0])


# What a model remembers


def test_the_summary_tells_what_the_images_were() -> None:
    pairs = [pair(seed=1, voxels=(0.2, 0.1), name="a.tif"), pair((30, 70), seed=2, name="b.tif")]
    patches = cut_patches(pairs, (16, 16), per_image=5, seed=3)
    summary = json.loads(json.dumps(patches.summary()))
    together = np.concatenate([one.low.array.ravel() for one in pairs])
    assert summary["low"]["minimum"] == [together.min()]
    assert summary["low"]["maximum"] == [together.max()]
    for percent in (2.0, 99.8):
        assert_allclose(summary["low"]["percentiles"][str(percent)], [np.percentile(together, percent)], rtol=1e-6)
    assert summary["voxel_size"] == [0.2, 0.1]
    training = summary["training"]
    assert (training["names"], training["pairs"], training["per_image"]) == (["a.tif", "b.tif"], 2, 5)
    assert (training["seed"], training["foreground"], training["normalize"]) == (3, 0.4, "random")


def test_given_ranges_are_in_the_summary() -> None:
    given_ranges = (Normalization((1.0,), (2.0,)), Normalization((3.0,), (4.0,)))
    summary = cut_patches([pair()], (16, 16), normalize=given_ranges).summary()
    assert [Normalization.from_json(one) for one in json.loads(json.dumps(summary))["training"]["normalize"]] == list(
        given_ranges
    )


# What stops


def image(values: Any, axes: str = "YX", name: str = "cell.tif") -> Image:
    return Image(np.asarray(values, dtype=np.float32), axes, name=name)


NOISE = np.random.default_rng(0).random((40, 40))
HOLED = np.where(NOISE > 0.99, np.nan, NOISE)


@pytest.mark.parametrize(
    ("low", "high", "options", "error", "says"),
    [
        (
            image(NOISE),
            image(NOISE),
            {"shape": (64, 32)},
            DataError,
            r"cell\.tif.*40 x 40.*64 x 32.*Y 40 < 64.*40 x 32",
        ),
        (image(NOISE), image(NOISE), {"shape": (8, 16, 16)}, AxesError, r"cell\.tif.*YX.*need Z"),
        (
            image(NOISE[None].repeat(4, 0), "ZYX"),
            image(NOISE[None].repeat(4, 0), "ZYX"),
            {},
            AxesError,
            "4 planes in Z",
        ),
        (image(NOISE), image(NOISE[:39]), {}, DataError, r"low is 40 x 40 .* high is 39 x 40"),
        (image(NOISE), image(np.zeros((40, 40)) + 5), {}, DataError, r"cell\.tif.*\(high\).*constant.*5"),
        (image(np.zeros((40, 40))), image(NOISE), {}, DataError, r"cell\.tif.*\(low\).*constant"),
        (image(HOLED), image(NOISE), {}, DataError, r"cell\.tif"),
        (image(NOISE), image(NOISE), {"shape": (16,)}, DataError, "two .* or three"),
        (image(NOISE), image(NOISE), {"shape": (16, 0)}, DataError, "positive"),
        (image(NOISE), image(NOISE), {"shape": (16, 2.5)}, DataError, "whole numbers"),
        (image(NOISE), image(NOISE), {"per_image": 0}, DataError, "per_image"),
        (image(NOISE), image(NOISE), {"seed": -1}, DataError, "seed.*-1"),
        (image(NOISE), image(NOISE), {"foreground": 2}, DataError, "foreground"),
        (image(NOISE), image(NOISE), {"foreground_share": -1}, DataError, "foreground_share"),
        (image(NOISE), image(NOISE), {"normalize": "often"}, DataError, "often"),
        (image(NOISE), image(NOISE), {"normalize": (1, 2)}, DataError, "Normalizations"),
        (
            image(NOISE),
            image(NOISE),
            {"normalize": (Normalization((0.0, 0.0), (1.0, 1.0)),) * 2},
            DataError,
            "2 channels",
        ),
        (image(NOISE), image(NOISE), {"shape": (16, 8), "turns": True}, DataError, "square"),
    ],
)
def test_bad_input_stops_with_the_rule_the_value_and_the_way_out(
    low: Image, high: Image, options: dict[str, Any], error: type[VeriscopeError], says: str
) -> None:
    with pytest.raises(error, match=says):
        cut_patches([Pair(low, high, "p")], **{"shape": (16, 16), **options})


def test_pairs_with_other_numbers_of_channels_are_named() -> None:
    two = Pair(image([NOISE, NOISE], "CYX"), image(NOISE), "two.tif")
    with pytest.raises(DataError, match=r"'two\.tif' has 2 channels in low and 1 in high, but 'one\.tif' has 1 and 1"):
        cut_patches([Pair(image(NOISE), image(NOISE), "one.tif"), two], (16, 16))


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(DataError, match="no pairs"):
        cut_patches([], (16, 16))


def test_a_real_stack_left_on_disk_gives_the_patches_of_the_loaded_one(shared_data: Path) -> None:
    from veriscope.images.reading import read_image

    path = shared_data / "nuclei3d" / "nuclei.tif"
    patches = []
    for lazy in (True, False):
        stack = read_image(path, axes="ZYX", lazy=lazy)
        assert stack.is_lazy is lazy
        patches.append(cut_patches([Pair(stack, stack, path.name)], (8, 32, 32)))
    one, other = (cut.batch(range(4), 0)[0] for cut in patches)
    assert_array_equal(one, other)
    assert np.isfinite(one).all()
    assert 0 < one.max() < 10


def test_matched_patches_have_the_same_gain_in_low_and_high() -> None:
    """However the grey values of the high image were rescaled, and though noise widens the low one's percentiles."""
    rng = np.random.default_rng(0)
    truth = rng.gamma(1.0, 20.0, (64, 64))
    truth = (truth + np.roll(truth, 1, 0) + np.roll(truth, 1, 1)) / 3
    low = Image(rng.poisson(truth).astype(np.uint16), "YX")
    gains = {}
    for factor in (1.0, 7.0):
        high = Image((factor * truth + 30).astype(np.float32), "YX")
        for normalize in ("matched", "fixed"):
            patches = cut_patches([Pair(low, high, "a")], (32, 32), normalize=normalize, foreground=None)
            a, b = patches.check_batch(range(64))
            gains[normalize, factor] = np.polyfit(b.ravel(), a.ravel(), 1)
    np.testing.assert_allclose(gains["matched", 1.0], [1, 0], atol=0.02)
    np.testing.assert_allclose(gains["matched", 7.0], gains["matched", 1.0], atol=1e-3)
    assert abs(gains["fixed", 1.0][0] - 1) > 0.05


def test_matching_images_of_different_fields_is_refused() -> None:
    rng = np.random.default_rng(0)
    low, high = (Image(rng.random((64, 64)), "YX") for _ in range(2))
    with pytest.raises(DataError, match="hardly show the same field"):
        cut_patches([Pair(low, high, "a")], (32, 32), normalize="matched")


def test_matching_needs_the_same_channels() -> None:
    low, high = Image(np.ones((2, 64, 64)), "CYX"), Image(np.ones((64, 64)), "YX")
    with pytest.raises(DataError, match="there are 2 and 1"):
        cut_patches([Pair(low, high, "a")], (32, 32), normalize="matched")
