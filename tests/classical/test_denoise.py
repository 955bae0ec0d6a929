"""Classical denoisers: one shape of call, the unit of the image kept, noise removed by as much as can be derived."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from skimage.restoration import denoise_nl_means

import veriscope as vs
from veriscope.classical import denoise
from veriscope.classical.denoise import METHODS, bm3d, bm4d, noise_sigma, non_local_means
from veriscope.classical.method import Method
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.volumes import by_slabs

FREE = [method for method in METHODS if not method.module]
LOCAL = [method for method in FREE if method.name != "tv"]
by_name = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
quick = pytest.mark.parametrize("method", [*FREE, denoise.BM3D], ids=lambda method: method.name)  # BM4D takes seconds
free = pytest.mark.parametrize("method", FREE, ids=lambda method: method.name)


def stripes(shape: tuple[int, ...] = (24, 30), sigma: float = 5, seed: int = 0) -> Any:
    clean = 100 + 40 * np.sin(np.arange(shape[-1]) / 3) * np.ones(shape)
    return clean, clean + np.random.default_rng(seed).normal(0, sigma, shape)


def usually(method: Method, sigma: float = 5) -> Callable[[Any], Any]:
    """The method with its usual settings for noise of this strength."""
    if method.module:
        pytest.importorskip(method.module)
    return lambda image: method.run(image, **method.parameters(method.usual, sigma))


def shape_for(method: Method) -> tuple[int, ...]:
    return (9, 20, 21) if method.name == "bm4d" else (24, 30)


@by_name
def test_a_constant_image_stays(method: Method) -> None:
    for dtype in (np.uint8, np.uint16, np.int32, np.float32, np.float64):
        found = usually(method)(np.full(shape_for(method), 7, dtype))
        assert (found == 7).all()
        assert found.dtype == np.float32


@quick
def test_any_kind_of_number_gives_the_same_image(method: Method) -> None:
    run = usually(method)
    counts = np.rint(stripes(shape_for(method))[1])
    expected = run(counts)
    assert expected.dtype == np.float32
    for dtype in (np.uint8, np.uint16, np.int64, np.float32, ">f4"):
        assert (run(counts.astype(dtype)) == expected).all()


@by_name
def test_noise_goes_and_structure_stays(method: Method) -> None:
    clean, noisy = stripes((8, 20, 20) if method.name == "bm4d" else (48, 60))
    before = noisy.copy()
    assert np.std(usually(method)(noisy) - clean) < 0.8 * np.std(noisy - clean)
    assert (noisy == before).all()


@quick
def test_brightness_and_contrast_commute_with_the_filter(method: Method) -> None:
    noisy = stripes(shape_for(method))[1]
    found = usually(method, 5000)(1000 * noisy - 7)
    # Blocks that are nearly as alike as others may be chosen otherwise after rounding
    tolerance = {"bm3d": 1.0, "bm4d": 1.0}.get(method.name, 0.02)
    assert_allclose(found, 1000 * usually(method)(noisy) - 7, atol=tolerance * 1000)


def test_the_noise_that_a_low_pass_leaves_is_that_of_a_weighted_mean() -> None:
    noise = np.random.default_rng(0).normal(50, 3, (400, 400))
    for sigma in (1.0, 2.0):  # sum of squared weights of a Gaussian: 1 / (4 pi sigma^2)
        assert_allclose(denoise.low_pass(noise, sigma).std(), 3 / np.sqrt(4 * np.pi) / sigma, rtol=0.05)


def test_a_median_removes_what_is_smaller_than_half_its_window() -> None:
    step = np.where(np.arange(12) < 6, 10.0, 20.0) * np.ones((12, 1))
    speckled = step.copy()
    speckled[3, 4] = speckled[8, 9] = 1000
    assert (denoise.median(speckled, 3) == step).all()


def test_a_bilateral_filter_keeps_an_edge_that_a_low_pass_blurs() -> None:
    step = np.where(np.arange(30) < 15, 0.0, 100.0) * np.ones((20, 1))
    noisy = step + np.random.default_rng(0).normal(0, 2, step.shape)
    kept, blurred = denoise.bilateral(noisy, 2, 5), denoise.low_pass(noisy, 2)
    assert np.abs(kept - step).max() < 5 < 20 < np.abs(blurred - step).max()


def test_a_wide_bilateral_filter_is_a_low_pass() -> None:
    noisy = stripes((40, 40))[1]
    middle = (slice(12, -12), slice(12, -12))
    found, expected = denoise.bilateral(noisy, 1.0, 1e5), denoise.low_pass(noisy, 1.0)
    assert_allclose(found[middle], expected[middle], rtol=0.02)  # SimpleITK cuts its Gaussian off at 2.5 sigma


def test_total_variation_of_a_step_is_the_step_with_less_contrast() -> None:
    step = np.where(np.arange(8) < 4, 10.0, 20.0) * np.ones((20, 1))
    found = denoise.total_variation(step, 1.0)
    # Two halves of 4 columns: each moves by weight x length of the edge / area = 1 / 4
    assert_allclose(found, np.where(step < 15, 10.25, 19.75), atol=0.05)


@pytest.mark.parametrize("shape", [(24, 30), (8, 14, 13)])
def test_non_local_means_is_scikit_images_in_the_unit_of_the_image(shape: tuple[int, ...]) -> None:
    _, noisy = stripes(shape)
    found = non_local_means(noisy, h=6, patch=3, distance=2)
    assert_allclose(found, denoise_nl_means(noisy, patch_size=3, patch_distance=2, h=6, fast_mode=True), rtol=1e-4)


@free
def test_a_stack_of_one_plane_is_a_plane(method: Method) -> None:
    noisy, run = stripes()[1], usually(method)
    assert (run(noisy[None])[0] == run(noisy)).all()


def test_bm3d_takes_a_stack_plane_by_plane() -> None:
    pytest.importorskip("bm3d")
    noisy = stripes((2, 16, 17))[1]
    noisy[:, 0, 0], noisy[:, 0, 1] = 0, 200  # the same range everywhere
    found = bm3d(noisy, 5)
    for plane, one in zip(noisy, found, strict=True):
        assert_allclose(one, bm3d(plane, 5), atol=1e-3)
    assert (bm3d(noisy, 5) == found).all()


@free
def test_channels_and_frames_are_filtered_one_by_one(method: Method) -> None:
    shape, run = shape_for(method), usually(method)
    letters = "ZYX"[-len(shape) :]
    planes = np.stack([stripes(shape, seed=seed)[1] for seed in range(4)]).reshape(2, 2, *shape)
    image = Image(planes, f"TC{letters}", (0.2,) * len(shape))
    found = run(image)
    assert (found.axes, found.voxel_size) == (f"TC{letters}", image.voxel_size)
    for place in np.ndindex(2, 2):
        assert (np.asarray(found)[place] == run(image.array[place])).all()
    last = run(image.moved("YX" + letters[:-2] + "CT"))
    assert_allclose(np.asarray(last.moved(f"TC{letters}")), np.asarray(found), atol=1e-4)


@pytest.mark.parametrize("shape", [(61, 40), (40, 67), (12, 64, 13)])
@pytest.mark.parametrize("method", [one for one in LOCAL if one.name != "bilateral"], ids=lambda method: method.name)
def test_slabs_are_the_whole(method: Method, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    noisy, run = stripes(shape)[1], usually(method)
    whole, calls = run(noisy), []
    by_slabs = denoise.by_slabs

    def watched(pixels: Any, reach: int, function: Any) -> Any:
        def one(part: Any) -> Any:
            calls.append(part.shape)
            return function(part)

        return by_slabs(pixels, reach, one, threads=3)

    monkeypatch.setattr(denoise, "by_slabs", watched)
    found = run(noisy)
    assert len(calls) > 1
    if method.name == "nlm":  # sums over everything before a pixel round otherwise
        assert_allclose(found, whole, atol=1e-3)
    else:
        assert (found == whole).all()


def test_a_filter_that_reaches_too_far_shows_in_slabs() -> None:
    from scipy.ndimage import uniform_filter

    noisy = stripes((60, 10))[1].astype(np.float32)
    same = [by_slabs(noisy, reach, lambda part: uniform_filter(part, 7), threads=2) for reach in (3, 2)]
    assert (same[0] == uniform_filter(noisy, 7)).all()
    assert (same[1] != uniform_filter(noisy, 7)).any()


@free
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 2, 3), (2, 2, 2), (3, 4, 5)])
def test_images_smaller_than_a_window_are_filtered(method: Method, shape: tuple[int, ...]) -> None:
    noisy = stripes(shape)[1]
    found = usually(method)(noisy)
    assert found.shape == shape
    assert (found >= noisy.min() - 1e-3).all()
    assert (found <= noisy.max() + 1e-3).all()


def test_blocks_in_small_images_see_their_mirror_image() -> None:
    pytest.importorskip("bm4d")
    for run, shape in ((bm3d, (2, 5, 3)), (bm4d, (2, 3, 4))):
        found = run(stripes(shape)[1], 5)
        assert found.shape == shape
        assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(80, 80), (20, 30, 30), (1, 80, 80)])
def test_the_noise_is_found_beside_structure(shape: tuple[int, ...]) -> None:
    assert_allclose(noise_sigma(stripes(shape, sigma=5)[1]), 5, rtol=0.1)


def test_the_noise_of_few_photons_is_not_zero() -> None:
    assert noise_sigma(np.random.default_rng(0).poisson(0.02, (50, 50))) > 0
    assert noise_sigma(np.full((8, 8), 3)) == 0


@by_name
def test_unusable_pixels_are_refused(method: Method) -> None:
    run = usually(method)
    for wrong in (np.nan, np.inf):
        noisy = stripes(shape_for(method))[1]
        noisy.flat[3] = wrong
        with pytest.raises(DataError, match="NaN or infinite"):
            run(noisy)
    with pytest.raises(DataError, match="no pixels"):
        run(np.zeros((0, 8)))
    for shape in ((8,), (2, 2, 8, 8)):
        with pytest.raises(DataError, match="takes planes"):
            run(np.arange(np.prod(shape)).reshape(shape))
    with pytest.raises(AxesError, match="lacks Y"):
        run(Image(np.eye(8), "TX"))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda image: denoise.low_pass(image, 0), "sigma of a low-pass filter must be above 0, not 0"),
        (lambda image: denoise.median(image, 4), "odd number of pixels wide, not 4"),
        (lambda image: denoise.median(image, -1), "odd number of pixels wide, not -1"),
        (lambda image: denoise.bilateral(image, -1, 2), "sigma of a bilateral filter must be above 0, not -1"),
        (lambda image: denoise.bilateral(image, 1, np.nan), "tolerance of a bilateral filter must be above 0, not nan"),
        (lambda image: non_local_means(image, h=0), "above 0, not 0"),
        (lambda image: non_local_means(image, h=1, distance=0), "at least 1 pixel, not 5 and 0"),
        (lambda image: denoise.total_variation(image, 0), "weight of total variation must be above 0"),
        (lambda image: bm3d(image, 0), "sigma of BM3D must be above 0"),
    ],
)
def test_bad_settings_are_refused(run: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(stripes()[1])


def test_bm4d_wants_a_stack() -> None:
    pytest.importorskip("bm4d")
    for image in (stripes()[1], stripes((1, 24, 30))[1]):
        with pytest.raises(DataError, match="Use BM3D instead"):
            bm4d(image, 5)


@pytest.mark.parametrize("name", ["bm3d", "bm4d"])
def test_what_is_missing_can_be_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = next(method for method in METHODS if method.name == name)
    monkeypatch.setattr("veriscope.classical.method.util.find_spec", lambda module: None)
    monkeypatch.setitem(sys.modules, name, None)
    for attempt in (method.check, lambda: method.run(stripes((9, 9, 9))[1], sigma=5)):
        with pytest.raises(DataError, match=rf"package {name} \(free for non-commercial.*veriscope\[nonfree\]"):
            attempt()


def test_every_method_says_what_it_is() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS) == 7
    for method in METHODS:
        assert method.task == "restore"
        assert set(method.usual) == set(method.grid) >= method.in_noise | ({method.climbs} - {""})
        assert all(method.usual[name] in values for name, values in method.grid.items())  # tuned is never worse
        assert min(method.speed) > 0
        assert replace(method, name="other").title == method.title


def test_the_methods_are_reached_from_the_front_door() -> None:
    noisy = stripes()[1]
    assert (vs.classical.denoise.median(noisy, 3) == denoise.median(noisy, 3)).all()
    assert {"denoise", "project", "tune", "anscombe"} <= set(dir(vs.classical))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vs.classical.nonsense
