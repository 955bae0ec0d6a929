"""Blur keeps the light, depth takes it as the law says, and planes that are kept stay where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from veriscope import Image, VeriscopeError, read_image, save_image
from veriscope.simulate.optics import Depth, convolve, subsample
from veriscope.simulate.psf import debye, gaussian

WIDE = gaussian(0.3, 0.52, 1.33, (0.6, 0.04, 0.04))  # a standard deviation of about 9.5 voxels
ODD = st.sampled_from([1, 3, 5, 9])


def some_kernel(shape: tuple[int, ...], seed: int) -> np.ndarray:
    kernel = np.random.default_rng(seed).random(shape) ** 3
    return kernel / kernel.sum()


# Blur


@settings(max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    reach=st.tuples(ODD, ODD, ODD),
    borders=st.sampled_from(["reflect", "dark"]),
    seed=st.integers(0, 99),
)
def test_convolving_agrees_with_the_slow_way(
    shape: tuple[int, ...], reach: tuple[int, ...], borders: Any, seed: int
) -> None:
    light, kernel = np.random.default_rng(seed).random(shape), some_kernel(reach, seed)
    mode, where = ("reflect", {}) if borders == "reflect" else ("constant", {"cval": 0.0})
    slow = ndimage.convolve(light, kernel, mode=mode, **where)
    fast = convolve(light, kernel, borders)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow, atol=1e-5)


@settings(max_examples=10)
@given(
    na=st.floats(0.6, 1.1),
    kind=st.sampled_from(["gaussian", "widefield", "confocal"]),
    brightness=st.floats(0.1, 1e4),
    seed=st.integers(0, 99),
)
def test_the_light_of_what_lies_inside_is_kept_and_never_negative(
    na: float, kind: str, brightness: float, seed: int
) -> None:
    size = (0.6, 0.25, 0.25)
    psf = gaussian(na, 0.52, 1.33, size) if kind == "gaussian" else debye(na, 0.52, 1.33, size, kind == "confocal")
    inside = brightness * (np.random.default_rng(seed).random((3, 6, 6)) > 0.7)
    light = np.pad(inside, [(n // 2 + 1,) * 2 for n in psf.kernel.shape])
    seen = convolve(light, psf)
    assert seen.sum(dtype=np.float64) == pytest.approx(light.sum(), rel=1e-4)
    assert seen.min() >= 0


def test_a_point_becomes_the_psf_around_it() -> None:
    psf = gaussian(0.9, 0.52, 1.33, (0.4, 0.1, 0.1))
    light = np.zeros((31, 31, 31))
    light[15, 14, 16] = 2.0
    seen = convolve(light, psf)
    spans = tuple(slice(at - n // 2, at + n // 2 + 1) for at, n in zip((15, 14, 16), psf.kernel.shape, strict=True))
    np.testing.assert_allclose(seen[spans], 2 * psf.kernel, atol=1e-6)


def test_evenly_lit_tissue_stays_even_up_to_its_borders() -> None:
    psf = debye(0.8, 0.52, 1.33, (0.6, 0.2, 0.2))
    np.testing.assert_allclose(convolve(np.full((4, 9, 30), 3.0), psf), 3, rtol=1e-5)
    np.testing.assert_allclose(convolve(np.full((9, 30), 3.0), psf), 3, rtol=1e-5)


def test_axes_in_front_of_the_kernel_are_blurred_one_by_one() -> None:
    light = np.random.default_rng(0).random((2, 3, 4, 8, 9))
    kernel = some_kernel((3, 5, 5), 1)
    seen = convolve(light, kernel)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(seen[place], convolve(light[place], kernel))
    plane = some_kernel((5, 5), 2)
    np.testing.assert_array_equal(convolve(light[0, 0], plane)[2], convolve(light[0, 0, 2], plane))


@pytest.mark.parametrize(
    ("light", "kernel", "said"),
    [
        (np.ones((4, 4)), np.ones((2, 3)), "odd lengths"),
        (np.ones(4), np.ones((3, 3)), "at most as many axes"),
        (-np.ones((4, 4)), np.ones((3, 3)), "at least 0"),
        (np.full((4, 4), np.nan), np.ones((3, 3)), "at least 0"),
    ],
)
def test_what_cannot_be_blurred_is_refused(light: np.ndarray, kernel: np.ndarray, said: str) -> None:
    with pytest.raises(VeriscopeError, match=said):
        convolve(light, kernel)


# Depth


@given(decay=st.floats(5, 200), step=st.floats(0.2, 3))
def test_light_falls_with_depth_by_the_law(decay: float, step: float) -> None:
    seen = Depth(decay, 0.02).apply(np.ones((5, 8, 8)), (step, 0.2, 0.2))
    np.testing.assert_allclose(
        seen, np.broadcast_to(np.exp(-step * np.arange(5) / decay)[:, None, None], seen.shape), 1e-5
    )


def test_blur_grows_with_depth_and_keeps_the_light_of_every_plane() -> None:
    light = np.zeros((2, 6, 81, 81))
    light[..., 40, 40] = 5
    seen = Depth(float("inf"), 0.1).apply(light, (2.0, 0.2, 0.25)).astype(np.float64)
    np.testing.assert_allclose(seen.sum(axis=(2, 3)), 5, rtol=1e-5)
    away = (np.arange(81) - 40.0) ** 2
    depth = 2.0 * np.arange(1, 6)
    across_y = np.sqrt((seen[0, 1:].sum(axis=2) * away).sum(axis=1) / 5) * 0.2
    across_x = np.sqrt((seen[1, 1:].sum(axis=1) * away).sum(axis=1) / 5) * 0.25
    np.testing.assert_allclose(across_y, 0.1 * depth, rtol=0.02)
    np.testing.assert_allclose(across_x, 0.1 * depth, rtol=0.02)
    np.testing.assert_array_equal(seen[:, 0], light[:, 0])


def test_depth_needs_planes() -> None:
    with pytest.raises(VeriscopeError, match="Give a stack"):
        Depth().apply(np.ones((4, 4)), (1, 1, 1))


@pytest.mark.parametrize("wrong", [{"decay_um": 0}, {"decay_um": float("nan")}, {"blur_um_per_um": -0.1}])
def test_impossible_tissue_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(VeriscopeError, match="Light falls"):
        Depth(**wrong)


# Planes far apart


@given(size=st.integers(2, 60), factor=st.floats(1, 20), axis=st.sampled_from("ZYX"))
def test_plane_i_lies_at_i_times_the_factor(size: int, factor: float, axis: str) -> None:
    assume((size - 1) / factor >= 1)
    shape = [size if letter == axis else 3 for letter in "ZYX"]
    at = "ZYX".index(axis)
    place = np.broadcast_to(np.moveaxis(np.arange(size, dtype=np.float64)[:, None, None], 0, at), shape)
    thin = subsample(Image(place, "ZYX", (0.5, 0.2, 0.1)), axis, factor)
    count = thin.size(axis)
    assert (count - 1) * factor <= size - 1 + 1e-6 < count * factor + 1e-5 * size
    found = np.moveaxis(np.asarray(thin), at, 0)[:, 0, 0]
    np.testing.assert_allclose(found, factor * np.arange(count), rtol=1e-9, atol=1e-9)
    voxel = {"Z": 0.5, "Y": 0.2, "X": 0.1}
    assert thin.voxel_size == pytest.approx([voxel[a] * (factor if a == axis else 1) for a in "ZYX"])


@settings(max_examples=15)
@given(factor=st.sampled_from([5, 8, 10.2]), where=st.integers(60, 140), axis=st.sampled_from("ZX"))
def test_a_blurred_point_is_where_it_was_after_subsampling_and_interpolating_back(
    factor: float, where: int, axis: str
) -> None:
    light = np.zeros((201, 3, 3) if axis == "Z" else (3, 3, 201))
    light[(where, 1, 1) if axis == "Z" else (1, 1, where)] = 1
    thin = subsample(Image(convolve(light, WIDE), "ZYX", WIDE.voxel_size), axis, factor)
    row = np.asarray(thin, np.float64).max(axis=(1, 2) if axis == "Z" else (0, 1))
    z = np.arange(201.0)
    back = ndimage.map_coordinates(row, [z / factor], order=3, mode="nearest")
    assert (back * z).sum() / back.sum() == pytest.approx(where, abs=0.1)


def test_whole_factors_take_planes_as_they_are_and_leave_images_on_disk() -> None:
    pixels = np.random.default_rng(0).integers(0, 999, (2, 11, 4, 5), dtype=np.uint16)
    thin = subsample(Image(pixels, "TZYX", (0.3, 0.1, 0.1), time_step=2.0, name="a"), "z", 5)
    np.testing.assert_array_equal(thin, pixels[:, ::5])
    assert (thin.dtype, thin.axes, thin.time_step, thin.name) == (np.uint16, "TZYX", 2.0, "a")
    assert subsample(Image(pixels, "TZYX"), "Z", 5).voxel_size is None
    between = subsample(Image(pixels, "TZYX"), "Z", 2.5)
    assert between.dtype == np.float32
    np.testing.assert_allclose(np.asarray(between)[:, 1], (pixels[:, 2].astype(float) + pixels[:, 3]) / 2)


def test_images_on_disk_stay_there(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 999, (11, 4, 5), dtype=np.uint16)
    path = save_image(tmp_path / "a.ome.tif", Image(pixels, "ZYX", (1, 1, 1)))
    thin = subsample(read_image(path, lazy=True), "Z", 3)
    assert thin.is_lazy
    np.testing.assert_array_equal(thin, pixels[::3])


@pytest.mark.parametrize(
    ("axis", "factor", "said"),
    [
        ("Z", 0.9, "at least 1, not 0.9"),
        ("Z", float("nan"), "not nan"),
        ("Z", float("inf"), "not inf"),
        ("Z", 10.5, "at most 10"),
        ("T", 2, "not along 'T'"),
        ("Q", 2, "Z, Y or X"),
        ("ZY", 2, "not along 'ZY'"),
    ],
)
def test_planes_that_cannot_be_left_out(axis: str, factor: float, said: str) -> None:
    with pytest.raises(VeriscopeError, match=said):
        subsample(Image(np.zeros((2, 11, 4, 5)), "TZYX"), axis, factor)
