from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from veriscope import axes as ax
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image, piece_shape
from veriscope.images.lazy import LazyView


class OnDisk:
    """Stands for a chunked array in a file: counts what is read."""

    def __init__(self, array, chunks=None):
        self._array, self.chunks, self.read = array, chunks, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        block = self._array[index]
        self.read += block.size
        return block


@st.composite
def arrays_with_axes(draw):
    letters = draw(st.lists(st.sampled_from("STCZYX"), min_size=1, max_size=5, unique=True))
    shape = [draw(st.integers(1, 5)) for _ in letters]
    return np.arange(np.prod(shape)).reshape(shape), "".join(letters)


def drawn_slice(draw, size):
    start = draw(st.integers(-size, size - 1))
    every = [
        slice(start, None),
        slice(None, start + 1 or None),
        slice(start, None, 2),
        slice(None),
        slice(start, start),
    ]
    return draw(st.sampled_from(every))


@settings(deadline=None)
@given(arrays_with_axes(), st.data())
def test_lazy_views_agree_with_numpy(sample, data):
    array, letters = sample
    kept = [a for a, n in zip(letters, array.shape, strict=True) if n > 1 or data.draw(st.booleans())]
    added = data.draw(st.lists(st.sampled_from([a for a in "STCZYX" if a not in letters] or letters[:1]), unique=True))
    target = "".join(data.draw(st.permutations(sorted({*kept, *added})))) or letters
    lazy, eager = Image(OnDisk(array), letters).moved(target), Image(array, letters).moved(target)
    assert lazy.is_lazy or target == letters
    assert lazy.shape == eager.shape
    assert_array_equal(np.asarray(lazy), ax.move(array, letters, target))
    assert_array_equal(np.asarray(eager), ax.move(array, letters, target))
    window = tuple(
        data.draw(st.integers(0, n - 1)) if data.draw(st.booleans()) else drawn_slice(data.draw, n) for n in eager.shape
    )
    assert_array_equal(lazy.read(*window), np.asarray(eager)[window])
    if any(isinstance(part, slice) for part in window) and np.asarray(eager)[window].size:
        spans = dict(zip(target, window, strict=True))
        crop = lazy.region(**spans)
        assert_array_equal(np.asarray(crop), np.asarray(eager)[window])
        assert_array_equal(np.asarray(crop.moved(crop.axes[::-1])), np.asarray(eager)[window].T)
        inner = tuple(drawn_slice(data.draw, n) for n in crop.shape)
        assert_array_equal(crop.read(*inner), np.asarray(eager)[window][inner])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 50)), min_size=1, max_size=4), st.integers(8, 4000), st.data()
)
def test_pieces_keep_to_the_limit_and_the_whole_axis(sizes, limit, data):
    shape, chunks = [n for n, _ in sizes], data.draw(st.sampled_from([None, [c for _, c in sizes]]))
    whole = data.draw(st.integers(-1, len(shape) - 1))
    piece = piece_shape(shape, 2, limit, chunks, whole)
    assert all(1 <= p <= n for p, n in zip(piece, shape, strict=True))
    least = 2 * (shape[whole] if whole >= 0 else 1)
    assert np.prod(piece) * 2 <= max(limit, least)
    if whole >= 0:
        assert piece[whole] == shape[whole]


@settings(deadline=None)
@given(arrays_with_axes(), st.booleans(), st.integers(8, 500), st.data())
def test_blocks_hold_every_pixel_once_and_all_channels(sample, lazy, limit, data):
    array, letters = sample
    chunks = tuple(data.draw(st.integers(1, 5)) for _ in letters)
    source = OnDisk(array, chunks)
    target = "C" + "".join(a for a in letters if a != "C")
    blocks = list(Image(source if lazy else array, letters).blocks(target, limit_bytes=limit))
    channels = array.shape[letters.index("C")] if "C" in letters else 1
    assert all(block.shape[0] == channels for block in blocks)
    assert sorted(itertools.chain(*(block.ravel() for block in blocks))) == list(range(array.size))
    assert source.read == (array.size if lazy else 0)


class Computes(OnDisk):
    """An array that is computed in pieces from `cuts` on, and remembers which of them were computed."""

    def __init__(self, array, cuts):
        super().__init__(array, array.shape)
        self.cuts, self.pieces = cuts, []

    def __getitem__(self, index):
        places = [np.arange(n)[part] for n, part in zip(self.shape, index, strict=True)]
        touched = [np.unique(np.searchsorted(cuts, at, "right")) for cuts, at in zip(self.cuts, places, strict=True)]
        self.pieces += itertools.product(*(np.atleast_1d(t).tolist() for t in touched))
        return super().__getitem__(index)


@settings(deadline=None)
@given(arrays_with_axes(), st.integers(8, 500), st.data())
def test_computed_images_are_read_piece_after_piece(sample, limit, data):
    array, letters = sample
    cuts = tuple(
        (0, *sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=3)) if n > 1 else ())) for n in array.shape
    )
    cuts = tuple((0,) if letter == "C" else starts for letter, starts in zip(letters, cuts, strict=True))
    source = Computes(array, cuts)
    window = {letter: drawn_slice(data.draw, n) for letter, n in zip(letters, array.shape, strict=True)}
    expected = array[tuple(window.values())]
    if not expected.size:
        return
    image = Image(source, letters).region(**window)
    assert image.cuts is not None
    assert image.describe()["pixels"] == "computed when read"
    target = "C" + "".join(a for a in letters if a != "C")
    blocks = list(image.blocks(target, limit_bytes=limit))
    assert sorted(itertools.chain(*(block.ravel() for block in blocks))) == sorted(expected.ravel())
    one_after_the_other = [piece for piece, _ in itertools.groupby(source.pieces)]
    assert len(one_after_the_other) == len(set(one_after_the_other))


def test_pieces_are_whole_chunks_joined_fastest_axis_first():
    assert piece_shape((1000, 2048, 2048), 2, 2**26, (1, 512, 512)) == (8, 2048, 2048)
    assert piece_shape((1000, 2048, 2048), 2, 2**26, (64, 256, 256)) == (64, 256, 2048)
    assert piece_shape((1000, 2048, 2048), 2, 2**26, (1000, 2048, 2048)) == (8, 2048, 2048)


def test_views_are_not_stacked_on_views():
    image = Image(OnDisk(np.arange(24).reshape(2, 3, 4), (1, 3, 2)), "ZYX")
    moved = image.moved("XTYZ").region(X=slice(1, 4, 2)).moved("ZXY")
    assert isinstance(moved.array, LazyView)
    assert isinstance(moved.array.source, OnDisk)
    assert moved.chunks == (1, 2, 3)
    assert_array_equal(np.asarray(moved), np.arange(24).reshape(2, 3, 4)[:, :, 1:4:2].transpose(0, 2, 1))


def test_views_read_only_what_is_asked():
    source = OnDisk(np.zeros((10, 20, 30)))
    image = Image(source, "ZYX").moved("CXYZ").region(Z=slice(2, 8))
    assert source.read == 0
    assert image.read(0, slice(0, 5), slice(0, 4), 3).shape == (5, 4)
    assert source.read == 20


def test_voxel_size_travels_with_its_axes():
    image = Image(np.zeros((2, 3, 4)), "ZYX", voxel_size=(0.3, 0.2, 0.1), time_step=2, name="cells")
    turned = image.moved("XTZY")
    assert turned.voxel_size == (0.1, 0.3, 0.2)
    assert (turned.voxel("X"), turned.voxel("T"), turned.size("T"), turned.size("C")) == (0.1, None, 1, 1)
    assert image.region(Z=1).voxel_size == (0.2, 0.1)
    assert (image.region(Z=1).axes, image.region(Z=1).time_step, image.region(Z=1).name) == ("YX", 2.0, "cells")
    assert image.with_array(np.ones((3, 4)), "YX").voxel_size == (0.2, 0.1)
    assert Image(np.zeros((3, 4)), "YX", (0.2, 0.1)).moved("ZYX").voxel_size == (None, 0.2, 0.1)
    assert image.with_array(np.ones((2, 3, 4), "uint8")).dtype == np.uint8


def test_in_memory_loads_and_keeps_everything():
    lazy = Image(OnDisk(np.ones((3, 4))), "YX", (0.2, 0.1), 3.0, "a")
    loaded = lazy.in_memory()
    assert lazy.is_lazy
    assert not loaded.is_lazy
    assert (loaded.voxel_size, loaded.time_step, loaded.name) == ((0.2, 0.1), 3.0, "a")
    assert loaded.in_memory() is loaded


def test_describe_says_what_is_known_without_reading():
    source = OnDisk(np.zeros((5, 3, 4), "uint16"), (1, 3, 4))
    facts = Image(source, "TYX", (0.25, 0.25), 1.5, "cells").describe()
    assert facts == {
        "name": "cells", "axes": "TYX", "shape": "5 x 3 x 4", "type": "uint16", "size": "120 bytes",
        "voxel size": "0.25 x 0.25 um (YX)", "time step": "1.5 s", "pixels": "on disk", "chunks": "1 x 3 x 4",
    }  # fmt: skip
    assert source.read == 0
    assert Image(np.zeros((3, 4)), "YX").describe()["voxel size"] == "unknown"
    assert "3 x 4" in repr(Image(np.zeros((3, 4)), "YX"))


def test_other_kinds_of_arrays_are_converted():
    assert Image([[1, 2], [3, 4]], "yx").axes == "YX"
    assert_array_equal(np.asarray(Image(Image(np.eye(2), "YX"), "YX")), np.eye(2))
    assert np.asarray(Image(np.eye(2), "YX"), dtype="uint8").dtype == np.uint8


@pytest.mark.parametrize(
    ("error", "text", "make"),
    [
        (AxesError, "name 2 dimensions, but the image has 3", lambda: Image(np.zeros((1, 2, 3)), "YX")),
        (DataError, "no pixels", lambda: Image(np.zeros((0, 3)), "YX")),
        (DataError, "complex", lambda: Image(np.zeros((2, 3), complex), "YX")),
        (AxesError, "one number in um for each", lambda: Image(np.zeros((2, 3)), "YX", voxel_size=(1, 1, 1))),
        (DataError, "positive", lambda: Image(np.zeros((2, 3)), "YX", voxel_size=(0, 1))),
        (DataError, "positive", lambda: Image(np.zeros((2, 3)), "YX", voxel_size=(float("nan"), 1))),
        (DataError, "seconds", lambda: Image(np.zeros((2, 3)), "YX", time_step=-1)),
        (AxesError, "dropped", lambda: Image(np.zeros((2, 3)), "YX").moved("ZX")),
        (AxesError, "not Z", lambda: Image(np.zeros((2, 3)), "YX").region(Z=slice(1))),
        (IndexError, "forwards", lambda: Image(np.zeros((2, 3)), "YX").read(slice(None, None, -1))),
    ],
)
def test_misuse_is_told(error, text, make):
    with pytest.raises(error, match=text):
        make()
