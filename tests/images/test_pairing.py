from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from veriscope.errors import AxesError, DataError, ImageFormatError, PairingError
from veriscope.images import pairing
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs, read_pairs
from veriscope.images.writing import save_image


def image(*shape, axes="YX", start=0, **facts):
    return Image(np.arange(start, start + np.prod(shape)).reshape(shape).astype("float32"), axes, **facts)


def folder_of(place, names, suffix=".tif", shape=(4, 5), axes="YX", start=0):
    place.mkdir()
    for number, name in enumerate(names):
        save_image(place / f"{name}{suffix}", image(*shape, axes=axes, start=start + 1000 * number))
    return place


def some_pairs(count, shape=(8, 12)):
    return Pairs([Pair(image(*shape, start=i), image(*shape, start=i), f"p{i}") for i in range(count)])


def test_folders_are_paired_by_name_whatever_the_format(tmp_path):
    low = folder_of(tmp_path / "low", ["a", "b", "c"], ".tif")
    high = folder_of(tmp_path / "high", ["c", "a", "b"], ".ome.tif")
    (low / "notes.txt").write_text("not an image")
    pairs = read_pairs(low, high)
    assert pairs.names == ["a", "b", "c"]
    assert [pair.low.name for pair in pairs] == [pair.high.name for pair in pairs] == ["a", "b", "c"]
    assert [pair.high.read(0, 0) for pair in pairs] == [1000, 2000, 0]
    assert not any(pair.low.is_lazy or pair.high.is_lazy for pair in pairs)


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    save_image(tmp_path / "noisy.tif", image(4, 5))
    save_image(tmp_path / "clean.tif", image(4, 5))
    assert read_pairs(tmp_path / "noisy.tif", tmp_path / "clean.tif").names == ["noisy"]


def test_patterns_choose_what_is_paired(tmp_path):
    low, high = folder_of(tmp_path / "low", ["a1", "a2", "b1"]), folder_of(tmp_path / "high", ["a1", "a2", "b1"])
    assert read_pairs(str(low / "a*.tif"), str(high / "a*.tif")).names == ["a1", "a2"]


@pytest.mark.parametrize("lazy", [True, False])
def test_samples_become_pairs_of_their_own(tmp_path, lazy):
    low, high = np.arange(60).reshape(3, 4, 5).astype("uint8"), np.arange(60, 120).reshape(3, 4, 5).astype("uint8")
    tifffile.imwrite(tmp_path / "low.tif", low, metadata=None, photometric="minisblack")
    tifffile.imwrite(tmp_path / "high.tif", high, metadata=None, photometric="minisblack")
    pairs = read_pairs(tmp_path / "low.tif", tmp_path / "high.tif", axes="SYX", lazy=lazy)
    assert pairs.names == ["low[0]", "low[1]", "low[2]"]
    for number, pair in enumerate(pairs):
        assert (pair.low.axes, pair.low.is_lazy) == ("YX", lazy)
        assert_array_equal(np.asarray(pair.low), low[number])
        assert_array_equal(np.asarray(pair.high), high[number])


def test_many_large_images_stay_on_disk(tmp_path, monkeypatch):
    low, high = folder_of(tmp_path / "low", ["a", "b"]), folder_of(tmp_path / "high", ["a", "b"])
    monkeypatch.setattr(pairing, "IN_MEMORY_UP_TO", 4 * 4 * 4 * 5 - 1)
    assert all(pair.low.is_lazy and pair.high.is_lazy for pair in read_pairs(low, high))
    assert not any(pair.low.is_lazy for pair in read_pairs(low, high, lazy=False))


def test_what_has_no_partner_is_listed(tmp_path):
    low = folder_of(tmp_path / "low", [f"n{i:02}" for i in range(15)])
    high = folder_of(tmp_path / "high", ["n00", "n01", "other"])
    with pytest.raises(PairingError) as caught:
        read_pairs(low, high)
    text = str(caught.value)
    assert "13 of 15 in " in text
    assert "n02.tif" in text
    assert "n11.tif and 3 more" in text
    assert "n12.tif" not in text
    assert "1 of 3 in " in text
    assert "has no partner" in text
    assert "other.tif" in text


@pytest.mark.parametrize(
    ("error", "text", "make"),
    [
        (ImageFormatError, "has no images", lambda p: ((p / "low").mkdir(), folder_of(p / "high", ["a"]))),
        (ImageFormatError, "does not exist", lambda p: folder_of(p / "high", ["a"])),
        (PairingError, "differ only in their suffix", lambda p: (
            folder_of(p / "low", ["a"]), folder_of(p / "high", ["a"]), save_image(p / "low/a.ome.tif", image(4, 5)))),
        (DataError, r"'a' differ in size: low is 4 x 5 \(YX\), high is 4 x 6 \(YX\) \(X 5 against 6\)", lambda p: (
            folder_of(p / "low", ["a"]), folder_of(p / "high", ["a"], shape=(4, 6)))),
        (DataError, r"Z 1 against 3", lambda p: (
            folder_of(p / "low", ["a"]), folder_of(p / "high", ["a"], shape=(3, 4, 5), axes="ZYX"))),
        (DataError, r"low images of 'a' .* and 'b' .* do not match", lambda p: (
            folder_of(p / "low", ["a"]), folder_of(p / "high", ["a", "b"]),
            save_image(p / "low/b.tif", image(2, 4, 5, axes="CYX")))),
        (DataError, "do not match", lambda p: [
            (folder_of(p / side, ["a"]), save_image(p / side / "b.tif", image(2, 4, 5, axes="ZYX")))
            for side in ("low", "high")]),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(tmp_path, error, text, make):
    make(tmp_path)
    with pytest.raises(error, match=text):
        read_pairs(tmp_path / "low", tmp_path / "high")


def test_a_folder_is_not_paired_with_itself(tmp_path):
    folder_of(tmp_path / "low", ["a"])
    with pytest.raises(PairingError, match="are the same"):
        read_pairs(tmp_path / "low", f"{tmp_path}/low/../low")


def test_pairs_need_y_and_x():
    with pytest.raises(AxesError, match="lacks Y"):
        Pair(image(4, 5, axes="ZX"), image(4, 5, axes="ZX"), "a")


def test_channels_may_differ_between_low_and_high():
    pair = Pair(image(2, 4, 5, axes="CYX"), image(4, 5), "a")
    assert Pairs([pair])[0] is pair
    assert Pair(image(3, 4, 5, axes="TYX"), image(4, 5, 3, axes="YXT"), "b").name == "b"


def test_pairs_are_a_sequence():
    pairs = some_pairs(5)
    assert len(pairs[1:4]) == 3
    assert isinstance(pairs[1:4], Pairs)
    assert pairs[-1].name == "p4"
    assert "p0, p1" in repr(pairs)
    assert pairs[2] in pairs


# Splitting


@settings(deadline=None)
@given(st.integers(3, 60), st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 3))
def test_a_split_by_image_uses_each_image_once(count, check, test, seed):
    pairs = some_pairs(count)
    parts = pairs.split(check, test, seed)
    names = [name for part in parts for name in part.names]
    assert sorted(names) == sorted(pairs.names)
    assert len(parts[0]) >= 1
    wanted = [max(1, round(share * count)) if share > 0 else 0 for share in (check, test)]
    for number, part in zip(wanted, parts[1:], strict=True):
        assert len(part) == number or (sum(wanted) >= count and 1 <= len(part) <= number)
    assert [part.names for part in pairs.split(check, test, seed)] == [part.names for part in parts]


def test_the_seed_decides_which_images_are_held_back():
    pairs = some_pairs(40)
    assert pairs.split(seed=1)[2].names != pairs.split(seed=2)[2].names


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 0.45), st.floats(0, 0.45), st.booleans())
def test_too_few_images_are_cut_into_regions_that_do_not_overlap(height, width, check, test, stack):
    shape, axes = ((3, height, width), "ZYX") if stack else ((height, width), "YX")
    low, high = image(*shape, axes=axes), image(*shape, axes=axes, start=7)
    assume(check > 0 or test > 0)
    longest = max(height, width)
    wanted = [max(1, round(share * longest)) if share > 0 else 0 for share in (check, test)]
    if longest - sum(wanted) < 1:
        with pytest.raises(DataError, match="too small"):
            Pairs([Pair(low, high, "a")]).split(check, test)
        return
    parts = Pairs([Pair(low, high, "a")]).split(check, test)
    assert [len(part) for part in parts] == [1, int(check > 0), int(test > 0)]
    seen = np.concatenate([np.asarray(pair.low).ravel() for part in parts for pair in part])
    assert sorted(seen) == list(range(low.array.size))
    for part in parts:
        for pair in part:
            assert_array_equal(np.asarray(pair.high), np.asarray(pair.low) + 7)


def test_regions_are_named_by_where_they_lie():
    parts = Pairs([Pair(image(10, 40), image(10, 40), "a")]).split(0.1, 0.2)
    assert [part.names for part in parts] == [["a[X 0:28]"], ["a[X 28:32]"], ["a[X 32:40]"]]


@pytest.mark.parametrize(("check", "test"), [(0.5, 0.5), (-0.1, 0.1), (1, 0), (float("nan"), 0)])
def test_shares_that_leave_nothing_to_train_on_are_told(check, test):
    with pytest.raises(DataError, match="leave nothing to train on"):
        some_pairs(10).split(check, test)


def test_a_truth_of_a_stack_has_as_many_planes_or_a_single_one():
    stack = image(12, 8, 9, axes="ZYX")
    assert Pair(stack, image(1, 8, 9, axes="ZYX")).projects
    with pytest.raises(DataError, match=r"\(Z 12 against 3\)\. Both must .* same size, or high a single plane"):
        Pair(stack, image(3, 8, 9, axes="ZYX"))
    with pytest.raises(DataError, match=r"at the same size\.$"):
        Pair(stack, image(12, 8, 10, axes="ZYX"))
