from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import AxesError, DataError, ImageFormatError, OutputError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.patches import augment
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import array_patches, load_npz, save_npz
from veriscope.patches.patches import Patches


def patches(shape: tuple[int, ...] = (8, 8), channels: int = 1) -> Patches:
    rng = np.random.default_rng(0)
    size = (20,) * len(shape)
    low = Image(rng.random((channels, *size)), "C" + "ZYX"[-len(size) :])
    return cut_patches([Pair(low, Image(rng.random(size), "ZYX"[-len(size) :]), "p")], shape, per_image=6)


def read_as_the_field_does(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """What the reference tool's loader reads and asserts (its source, read in 2026: csbdeep.io.load_training_data)."""
    found = np.load(path)
    low, high, axes = found["X"], found["Y"], str(found["axes"]).upper()
    assert low.ndim == high.ndim == len(axes)
    assert low.shape[0] == high.shape[0]
    assert "C" in axes
    assert axes[0] == "S"
    return low, high, axes


@pytest.mark.parametrize(("shape", "axes"), [((8, 8), "SCYX"), ((4, 8, 8), "SCZYX")])
def test_the_file_has_the_layout_of_the_field(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    save_npz(tmp_path / "p.npz", patches(shape, channels=2))
    low, high, word = read_as_the_field_does(tmp_path / "p.npz")
    assert word == axes
    assert low.shape == (6, 2, *shape)
    assert high.shape == (6, 1, *shape)
    assert low.dtype == high.dtype == np.float32


def test_saved_patches_come_back_as_they_were_cut(tmp_path: Path) -> None:
    cut = patches()
    save_npz(tmp_path / "p.npz", cut, count=10, seed=4)
    loaded = load_npz(tmp_path / "p.npz")
    assert len(loaded) == 10
    assert loaded.summary()["training"]["names"] == ["p.npz"]  # a model stays the same when its files move
    assert (loaded.shape, loaded.axes, loaded.channels_in, loaded.channels_out) == ((8, 8), "YX", 1, 1)
    for index in range(10):
        for one, other in zip(loaded.checking(index), cut.plain(index, 4), strict=True):
            assert_array_equal(one, other)
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]


def test_training_draws_entries_and_orientations_purely(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.random((5, 2, 6, 6)).astype(np.float32)
    loaded = array_patches(low, 2 * low[:, :1], "SCYX")
    drawn = [loaded.drawn(index, 1) for index in range(200)]
    assert {one["entry"] for one in drawn} == set(range(5))
    assert len({str(one["orientation"]) for one in drawn}) == 8
    for index, one in enumerate(drawn[:20]):
        seen = loaded.training(index, 1)
        assert_array_equal(seen[0], augment.apply(low[one["entry"]], "YX", one["orientation"]))
        assert_array_equal(seen[1], 2 * seen[0][:1])
        assert_array_equal(loaded.plain(index, 1)[0], low[one["entry"]])
    seen[0][...] = -1
    assert low.min() >= 0


def test_batches_are_the_patches_stacked() -> None:
    rng = np.random.default_rng(0)
    loaded = array_patches(rng.random((5, 2, 6, 8)), rng.random((5, 1, 6, 8)), "SCYX")
    for number, index in enumerate([7, 1, 4]):
        for stacked, one in zip(loaded.batch([7, 1, 4], 3), loaded.training(index, 3), strict=True):
            assert_array_equal(stacked[number], one)
        for stacked, one in zip(loaded.check_batch([7, 1, 4]), loaded.checking(index), strict=True):
            assert_array_equal(stacked[number], one)


def test_other_orders_of_axes_are_read(tmp_path: Path) -> None:
    low = np.random.default_rng(0).random((5, 6, 8, 2)).astype(np.float32)
    np.savez(tmp_path / "p.npz", X=low, Y=low, axes="SYXC")
    assert_array_equal(load_npz(tmp_path / "p.npz").low, low.transpose(0, 3, 1, 2))


def test_axes_may_be_given_where_the_file_has_none(tmp_path: Path) -> None:
    low = np.ones((5, 1, 6, 8), dtype=np.float32)
    np.savez_compressed(tmp_path / "p.npz", X=low, Y=low)
    with pytest.raises(AxesError, match="does not say its axes"):
        load_npz(tmp_path / "p.npz")
    assert load_npz(tmp_path / "p.npz", axes="scyx").shape == (6, 8)


def test_the_last_entries_are_split_off_for_checking() -> None:
    low = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1)
    train, check = array_patches(low, low, "SCYX").split(0.1)
    assert train.low.ravel().tolist() == list(range(18))
    assert check.high.ravel().tolist() == [18, 19]
    with pytest.raises(DataError, match="cannot be split"):
        check.split(0.9)


def test_the_summary_tells_the_percentiles_of_the_patches() -> None:
    low = np.random.default_rng(0).random((5, 2, 16, 16)).astype(np.float32)
    summary = array_patches(low, low[:, :1], "SCYX").summary()
    expected = np.percentile(low.transpose(1, 0, 2, 3).reshape(2, -1), 2, axis=1)
    assert_allclose(summary["low"]["percentiles"]["2.0"], expected, atol=1e-3)
    assert len(summary["high"]["minimum"]) == 1


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"mine")
    with pytest.raises(OutputError, match="overwrite=True"):
        save_npz(tmp_path / "p.npz", patches())
    assert (tmp_path / "p.npz").read_bytes() == b"mine"
    save_npz(tmp_path / "p.npz", patches(), overwrite=True)
    assert len(load_npz(tmp_path / "p.npz")) == 6


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = patches()
    monkeypatch.setattr(Patches, "plain", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        save_npz(tmp_path / "p.npz", cut)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "count", "error", "says"),
    [
        ("p.npy", None, OutputError, r"p\.npz"),
        ("p.npz", 0, DataError, "at least 1"),
        ("absent/p.npz", None, OutputError, "cannot be written"),
    ],
)
def test_saving_where_or_what_cannot_be(
    tmp_path: Path, name: str, count: int | None, error: type[VeriscopeError], says: str
) -> None:
    with pytest.raises(error, match=says):
        save_npz(tmp_path / name, patches(), count=count)


ONES = np.ones((3, 1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("arrays", "error", "says"),
    [
        ({"X": ONES, "axes": "SCYX"}, ImageFormatError, r"no Y \(it holds X, axes\)"),
        ({"X": ONES, "Y": ONES, "axes": "SCZYX"}, AxesError, "5 dimensions"),
        ({"X": ONES, "Y": ONES, "axes": "SCQX"}, AxesError, "Q"),
        ({"X": ONES, "Y": ONES[:, 0], "axes": "SCYX"}, AxesError, "as many axes"),
        ({"X": ONES[0], "Y": ONES[0], "axes": "CYX"}, AxesError, "axis S"),
        ({"X": ONES, "Y": ONES[:2], "axes": "SCYX"}, DataError, "same number of patches"),
        ({"X": ONES, "Y": ONES[..., :4], "axes": "SCYX"}, DataError, "same size"),
        ({"X": ONES * np.nan, "Y": ONES, "axes": "SCYX"}, DataError, "X has 192 values that are NaN"),
        ({"X": ONES[:0], "Y": ONES[:0], "axes": "SCYX"}, DataError, "empty"),
        ({"X": ONES.astype(complex), "Y": ONES, "axes": "SCYX"}, DataError, "complex128"),
        ({"X": np.array([object()] * 3), "Y": ONES, "axes": "SCYX"}, ImageFormatError, "not a readable"),
    ],
)
def test_files_that_do_not_fit_say_why(
    tmp_path: Path, arrays: dict[str, Any], error: type[VeriscopeError], says: str
) -> None:
    np.savez(tmp_path / "p.npz", allow_pickle=True, **arrays)
    with pytest.raises(error, match=says):
        load_npz(tmp_path / "p.npz")


def test_missing_foreign_and_damaged_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(ImageFormatError, match="no file"):
        load_npz(path)
    for content in (b"", b"not a zip archive"):
        path.write_bytes(content)
        with pytest.raises(ImageFormatError, match="not a readable"):
            load_npz(path)
    path.unlink()
    save_npz(path, patches())
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:700] + bytes(400) + whole[1100:]):
        path.write_bytes(broken)
        with pytest.raises(ImageFormatError, match="not a readable"):
            load_npz(path)
