from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import DataError
from veriscope.normalize import Normalization, fit, percentiles

WANTED = [0, 0.1, 2, 37.5, 50, 99.8, 100]
SMALL = ["uint8", "int8", "uint16", "int16", ">u2", "bool"]
LARGE = ["float32", "float64", "uint32", "int32", "int64", "uint64", ">f4", "float16"]


def arrays(dtypes):
    def of(dtype):
        limits = {"min_value": -1e6, "max_value": 1e6} if np.dtype(dtype).kind == "f" else {}
        if np.dtype(dtype) == np.float16:
            limits = {"min_value": -60000, "max_value": 60000}
        if np.dtype(dtype).itemsize < 8 and np.dtype(dtype).kind == "f":
            limits = {k: float(np.dtype(dtype).type(v)) for k, v in limits.items()}
        elements = hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False, **limits)
        return hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=elements, fill=elements)

    return st.sampled_from(dtypes).flatmap(of)


def cut(array, parts):
    return [piece for piece in np.array_split(array, parts, axis=1) if piece.size]


def truth(array):
    flat = array.reshape(len(array), -1).astype(np.float64)  # np.percentile overflows for signed integers
    return np.percentile(flat, WANTED, axis=1).T


@settings(deadline=None, max_examples=50)
@given(arrays(SMALL), st.integers(1, 4))
def test_small_integers_agree_exactly_with_numpy_even_when_seen_once(array, parts):
    assert_array_equal(percentiles(iter(cut(array, parts)), WANTED), truth(array))
    assert_array_equal(percentiles(cut(array, parts), WANTED), truth(array))


@settings(deadline=None, max_examples=50)
@given(arrays(LARGE), st.integers(1, 4))
def test_large_numbers_agree_with_numpy(array, parts):
    expected = truth(array)
    tolerance = 1e-3 * np.ptp(expected, axis=1, keepdims=True) if array.dtype.itemsize == 8 else 0
    found = percentiles(lambda: iter(cut(array, parts)), WANTED)
    assert np.all(np.abs(found - expected) <= tolerance + 1e-12 * np.abs(expected))


@pytest.mark.parametrize("once", [True, False])
def test_a_range_that_grows_with_every_block_stays_accurate(once):
    rng = np.random.default_rng(1)
    blocks = [(rng.normal(size=(2, 5000)) * 10**k).astype("float32") for k in range(-3, 4)]
    expected = truth(np.concatenate(blocks, axis=1))
    found = percentiles(iter(blocks) if once else blocks, WANTED)
    assert np.all(np.abs(found - expected) <= 1e-7 * np.ptp(expected, axis=1, keepdims=True))


def test_hot_pixels_do_not_spoil_floats():
    values = np.random.default_rng(2).uniform(100, 101, (1, 100_000))
    values[0, 0] = 1e12
    assert_allclose(percentiles([values], [2, 50, 99.8]), np.percentile(values, [[2, 50, 99.8]]), rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(arrays(["uint8", "uint16", "float32", "float64", "int32"]))
def test_undo_brings_back_what_apply_took(array):
    rng = (truth(array)[:, -1] - truth(array)[:, 0]).min()
    if not rng > 0:
        with pytest.raises(DataError, match="constant"):
            fit([array], (0, 100))
        return
    fitted = fit([array], (0, 100))
    applied = fitted.apply(array)
    assert applied.dtype == np.float32
    known = 1e-4 if array.dtype.itemsize == 8 else 1e-6  # 64-bit numbers are known to a part of the range
    assert applied.min() >= -known
    assert applied.max() <= 1 + known
    scale = np.abs(array.astype("float64")).max()
    assert_allclose(fitted.undo(applied), array.astype("float64"), atol=3e-7 * scale + 1e-30)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3), st.integers(2, 4))
def test_channels_may_stand_on_any_axis(axis, channels):
    array = np.random.default_rng(axis).integers(0, 9999, (channels, 3, 4, 5)).astype("uint16")
    fitted = fit([array])
    moved = np.moveaxis(array, 0, axis)
    assert_array_equal(np.moveaxis(fitted.apply(moved, channel_axis=axis), axis, 0), fitted.apply(array))
    assert_array_equal(np.moveaxis(fitted.undo(moved, channel_axis=axis), axis, 0), fitted.undo(array))
    expected = (array[1] - fitted.low[1]) / (fitted.high[1] - fitted.low[1])
    assert_allclose(fitted.apply(array)[1], expected, rtol=1e-5, atol=1e-6)


def test_the_default_percentiles_are_those_of_the_paper():
    image = np.arange(1001, dtype="uint16").reshape(1, -1)
    assert fit([image]) == Normalization((20.0,), (998.0,))
    assert fit(image).range == (978.0,)


def test_a_normalisation_survives_json():
    fitted = Normalization((1.5, 2), (3, 4.25))
    assert Normalization.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def test_not_every_value_must_be_a_number():
    image = np.ones((1, 10, 10), "float32")
    image[0, 0, :3] = np.nan, np.inf, -np.inf
    for blocks in ([image], iter([image]), lambda: iter([image])):
        with pytest.raises(DataError, match=r"3 of 100 values .* NaN or infinite"):
            fit(blocks)


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("constant", lambda: fit([np.full((1, 9), 7, "uint8")])),
        ("in channel 1", lambda: fit([np.array([[1, 2, 3], [4, 4, 4]], "uint8")])),
        ("constant", lambda: fit(iter([np.full((1, 9), 0.1, "float32")]))),
        ("no pixels", lambda: fit([])),
        ("no pixels", lambda: fit(iter([]))),
        ("no pixels", lambda: fit([np.zeros((1, 0), "float32")])),
        ("between 0 and 100", lambda: percentiles([np.ones((1, 3))], [101])),
        ("lower and a higher", lambda: fit([np.ones((1, 3))], (99.8, 2))),
        ("differ", lambda: percentiles([np.ones((1, 3)), np.ones((2, 3))], [50])),
        ("real numbers", lambda: percentiles([np.ones((1, 3), complex)], [50])),
        (r"for 2 channel\(s\)", lambda: Normalization((0, 0), (1, 1)).apply(np.zeros((3, 4)))),
        ("one low and one high", lambda: Normalization((0,), (1, 2))),
    ],
)
def test_misuse_is_told(text, make):
    with pytest.raises(DataError, match=text):
        make()
