"""Finer grids: voxel centres stay where they are, smooth functions come back, and a part is a part of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.resampling import resampled


class Lazy:
    """An array that remembers the region that was read last."""

    def __init__(self, array: NDArray[Any], chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype
        self.read: Any = None

    def __getitem__(self, index: Any) -> NDArray[Any]:
        self.read = index
        return np.array(self.array[index])


def bump(shape: tuple[int, ...], centre: tuple[float, ...], sigma: float) -> NDArray[np.float64]:
    """A Gaussian point source at `centre`, in pixels."""
    grids = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.exp(-sum((grid - at) ** 2 for grid, at in zip(grids, centre, strict=True)) / (2 * sigma**2))


def centre_of(image: NDArray[Any]) -> list[float]:
    """Where the light of `image` lies on average, per axis."""
    grids = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
    return [float((image * grid).sum() / image.sum()) for grid in grids]


@given(z=st.floats(40, 60), x=st.floats(12, 20), factor=st.floats(1.5, 6))
def test_a_subsampled_point_source_is_found_at_its_place(z: float, x: float, factor: float) -> None:
    planes = np.arange(0, 100, factor)  # any real step: planes are points
    grid_z, grid_x = np.meshgrid(planes, np.arange(32.0), indexing="ij")
    stack = np.exp(-((grid_z - z) ** 2) / (2 * (1.2 * factor) ** 2) - (grid_x - x) ** 2 / 18)
    finer = np.asarray(resampled(Image(stack[:, None], "ZYX"), {"Z": factor}))[:, 0]
    found = centre_of(finer)
    assert abs(found[0] - z) < 0.1
    assert abs(found[1] - x) < 0.1


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_binned_pixels_are_areas_whose_borders_stay(factor: int) -> None:
    fine = bump((48, 60), (23.3, 30.8), 5)
    binned = fine.reshape(48 // factor, factor, 60 // factor, factor).mean((1, 3))
    again = np.asarray(resampled(Image(binned, "YX"), {"Y": factor, "X": factor}))
    assert again.shape == fine.shape
    np.testing.assert_allclose(centre_of(again), (23.3, 30.8), atol=0.02)


def test_parabolas_come_back_and_old_planes_are_kept() -> None:
    z = np.arange(12.0)
    stack = (0.3 * z**2 - 2 * z + 1)[:, None, None] * np.ones((1, 2, 3))
    finer = np.asarray(resampled(Image(stack, "ZYX"), {"Z": 5}))
    where = np.arange(60) / 5
    inner = (where >= 1) & (where <= 10)
    expected = 0.3 * where**2 - 2 * where + 1
    np.testing.assert_allclose(finer[inner, 0, 0], expected[inner], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(finer[::5], stack.astype(np.float32))
    np.testing.assert_array_equal(finer[55:], np.broadcast_to(finer[55], (5, 2, 3)))  # beyond the last plane


@given(data=st.data())
def test_any_part_is_that_part_of_the_whole_to_the_last_bit(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
    dtype = data.draw(st.sampled_from(["uint16", "float32", "float64", "int32"]))
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 60000, shape).astype(dtype)
    factors = {letter: data.draw(st.floats(1, 4)) for letter in data.draw(st.sets(st.sampled_from("ZYX"), min_size=1))}
    finer = resampled(Image(Lazy(pixels), "ZYX"), factors)
    index = []
    for size in finer.shape:
        start = data.draw(st.integers(0, size - 1))
        part = st.builds(slice, st.just(start), st.integers(start + 1, size), st.integers(1, 3))
        index.append(data.draw(st.one_of(st.just(start), part)))
    np.testing.assert_array_equal(finer.array[tuple(index)], np.asarray(finer)[tuple(index)])


def test_only_what_is_needed_is_read() -> None:
    behind = Lazy(np.zeros((40, 8, 8), np.uint16), chunks=(1, 8, 8))
    finer = resampled(Image(behind, "ZYX"), {"Z": 5})
    assert (finer.shape, finer.dtype, finer.is_lazy, finer.chunks) == ((200, 8, 8), np.float32, True, (5, 8, 8))
    assert behind.read is None
    finer.read(slice(51, 54), slice(2, 4))
    assert behind.read == (slice(9, 13), slice(2, 4, 1), slice(0, 8, 1))
    finer.read(50)
    assert behind.read[0] == slice(10, 11)  # an old plane as it was


def test_voxels_shrink_and_the_length_can_be_given() -> None:
    image = Image(np.zeros((2, 5, 4, 6), np.float32), "TZYX", (1.0, 0.2, 0.2), time_step=3.0, name="a")
    finer = resampled(image, {"Z": 5, "X": 2}, {"Z": 23})
    assert (finer.shape, finer.axes, finer.voxel_size) == ((2, 23, 4, 12), "TZYX", (0.2, 0.2, 0.1))
    assert (finer.time_step, finer.name) == (3.0, "a")
    assert resampled(image, {"Z": 1}) is image
    assert resampled(Image(np.zeros((11, 4, 4)), "ZYX"), {"Z": 10.2}).shape == (112, 4, 4)


@pytest.mark.parametrize(
    ("factors", "lengths", "error", "message"),
    [
        ({"Z": 0.5}, None, DataError, "factor along Z is a number from 1, such as 5 or 10.2, not 0.5"),
        ({"Z": float("nan")}, None, DataError, "not nan"),
        ({"T": 2}, None, AxesError, "Only axes in space can be made finer, and the image has ZYX"),
        ({"Z": 2}, {"Z": 0}, DataError, "at least one pixel"),
    ],
)
def test_what_cannot_be_is_refused(factors: Any, lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resampled(Image(np.zeros((2, 3, 4, 4)), "TZYX"), factors, lengths)
