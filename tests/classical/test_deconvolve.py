"""Richardson-Lucy: light is kept, never negative, and what the PSF spread comes together again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.ndimage import convolve as slow_convolve
from scipy.ndimage import gaussian_filter

from veriscope.classical.deconvolve import deconvolved, methods, on_raw_planes, richardson_lucy, upsampled
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.simulate.optics import convolve
from veriscope.simulate.psf import gaussian

VOXEL = (0.2, 0.1, 0.1)
BLUR = gaussian(0.8, 0.52, 1.33, VOXEL)  # 23 x 9 x 9
KERNEL = np.outer([1, 3, 1], [1, 2, 1, 0, 0])  # not symmetric: its mirror image would be another one


def points(shape: tuple[int, ...], seed: int = 0, level: float = 2.0) -> Any:
    """A dim field with a few bright points, some of them at the border."""
    rng = np.random.default_rng(seed)
    light = np.full(shape, level)
    light.ravel()[rng.choice(light.size, 6)] = 2000
    light[(0,) * len(shape)] = 2000
    return light


@settings(max_examples=15)
@given(seed=st.integers(0, 99), background=st.sampled_from([0.0, 3.0, 20.0]), masked=st.booleans())
def test_every_step_keeps_the_light_that_the_valid_pixels_saw(seed: int, background: float, masked: bool) -> None:
    """sum M H f = sum M x H f' / (H f' + b), with f' of the step before; without a background that is sum M x."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(points((14, 17), seed)).astype(float) + background
    mask = rng.random(image.shape) > 0.2 if masked else np.ones(image.shape, bool)
    kernel = KERNEL / KERNEL.sum()
    big = tuple(side + length // 2 * 2 for side, length in zip(image.shape, kernel.shape, strict=True))
    known = np.zeros(big)  # the same in plain words: convolution by sums, on a frame wider by the kernel's reach
    inside = slice(1, -1), slice(2, -2)
    known[inside] = mask
    blurred = np.zeros(big)
    blurred[inside] = np.where(mask, image, 0)

    def forward(f: Any) -> Any:
        return slow_convolve(f, kernel, mode="constant")

    def backward(r: Any) -> Any:
        return slow_convolve(r, kernel[::-1, ::-1], mode="constant")

    alpha = backward(known)
    seen = alpha > 1e-4
    f = np.where(seen, max(image[mask].mean() - background, 1e-3 * image[mask].mean()), 0)
    found: list[Any] = []
    richardson_lucy(image, kernel, background, mask, 4, 0.0, watch=lambda _, at: found.append(at.copy()))
    for made in found:
        before = forward(f)
        kept = (known * blurred * before / (before + background)).sum()
        f = np.where(seen, f * backward(blurred / (before + background)) / np.where(seen, alpha, 1), 0)
        assert_allclose(made, f[inside], rtol=2e-3, atol=1e-3 * image.mean())
        assert (known * forward(f)).sum() == pytest.approx(kept, rel=1e-9)
        if background == 0:
            assert kept == pytest.approx(image[mask].sum(), rel=1e-9)
        assert made.min() >= 0


@pytest.mark.parametrize("shape", [(30, 26), (16, 20, 22)])
def test_points_become_sharper_and_come_near_to_what_they_were(shape: tuple[int, ...]) -> None:
    light = np.full(shape, 2.0)
    middle = tuple(side // 2 for side in shape)
    light[middle] = 2000
    image = Image(convolve(light, BLUR), "ZYX"[-len(shape) :], VOXEL[-len(shape) :])
    sharp = np.asarray(richardson_lucy(image, BLUR, tolerance=0))
    assert sharp[middle] > 3 * np.asarray(image)[middle]
    assert ((sharp - light) ** 2).sum() < 0.92 * ((np.asarray(image) - light) ** 2).sum()


@settings(max_examples=8)
@given(shape=st.sampled_from([(9, 12), (12, 12, 9), (24, 10, 10)]), level=st.sampled_from([0.003, 7.0, 60000.0]))
def test_a_constant_image_stays_up_to_its_borders_and_ends_at_once(shape: tuple[int, ...], level: float) -> None:
    found = deconvolved(np.full(shape, level), BLUR)
    assert_allclose(found.image, level, rtol=1e-3)
    assert found.iterations[0] <= 2
    assert found.image.dtype == np.float32


def test_light_from_beyond_the_border_is_possible_and_nothing_wraps_around() -> None:
    light = np.full((40, 40), 1.0)
    light[2, 20] = 3000  # of the wide field; the image begins three pixels below it
    image = convolve(light, BLUR)[5:]
    sharp = richardson_lucy(image, BLUR.lateral, iterations=30)
    assert sharp[-6:].max() < 1.2  # at the other side all is quiet
    assert sharp.max() < 0.2 * image.max()  # the light is put outside, not piled up at the border


def test_it_stops_earlier_where_noise_leaves_less_to_explain() -> None:
    light = gaussian_filter(points((40, 40)), 1)
    counts = [
        deconvolved(np.random.default_rng(1).poisson(n * convolve(light, BLUR)) / n, BLUR.lateral).iterations[0]
        for n in (0.2, 2, 200)
    ]
    assert counts[0] < counts[1] < counts[2]
    noisy = np.random.default_rng(1).poisson(convolve(light, BLUR))
    assert deconvolved(noisy, BLUR.lateral, tolerance=0.01).iterations < deconvolved(noisy, BLUR.lateral).iterations
    more = [deconvolved(noisy, BLUR.lateral, iterations=n, tolerance=0.0) for n in (1, 5, 20)]
    assert [one.iterations for one in more] == [(1,), (5,), (20,)]
    assert more[0].divergence > more[1].divergence > more[2].divergence


def test_an_offset_belongs_into_the_background_and_leaves_the_result() -> None:
    blurred = convolve(points((40, 40), level=0.0), BLUR)
    told = richardson_lucy(blurred + 100, BLUR.lateral, background=100, tolerance=0)
    silent = richardson_lucy(blurred + 100, BLUR.lateral, tolerance=0)
    assert np.median(told) < 5
    assert np.median(silent) > 90
    assert told[20:].max() > silent[20:].max() - 100  # higher above the dark


def test_pixels_left_out_are_not_looked_at_and_are_filled_from_around() -> None:
    blurred = convolve(points((24, 24)), BLUR)
    mask = np.ones(blurred.shape, bool)
    mask[10:12, 10:12] = False
    broken = blurred.copy()
    broken[10:12, 10:12] = [[np.nan, 65535], [0, 1e9]]
    plain = blurred.copy()
    plain[10:12, 10:12] = 1
    assert (richardson_lucy(broken, BLUR.lateral, mask=mask) == richardson_lucy(plain, BLUR.lateral, mask=mask)).all()
    whole = richardson_lucy(np.full((24, 24), 5.0), BLUR.lateral, mask=mask)
    assert_allclose(whole, 5, rtol=1e-3)


def test_channels_and_frames_are_deconvolved_one_by_one_in_any_order_of_axes() -> None:
    pixels = np.stack([convolve(points((18, 20), seed), BLUR) for seed in range(4)]).reshape(2, 2, 18, 20)
    image = Image(pixels, "TCYX", (0.1, 0.1), 2.0, "cells")
    found = deconvolved(image, BLUR, iterations=5)
    assert (found.image.axes, found.image.voxel_size, found.image.time_step) == ("TCYX", (0.1, 0.1), 2.0)
    assert len(found.iterations) == len(found.divergence) == 4
    for place in np.ndindex(2, 2):
        alone = richardson_lucy(pixels[place], BLUR.lateral, iterations=5)
        assert_allclose(np.asarray(found.image)[place], alone, rtol=1e-3, atol=1e-3)
    turned = richardson_lucy(image.moved("XYCT"), BLUR, iterations=5)
    assert (np.asarray(turned.moved("TCYX")) == np.asarray(found.image)).all()
    mask = np.ones((18, 20), bool)
    mask[3, 4] = False
    part = np.asarray(richardson_lucy(image.moved("XYCT"), BLUR, mask=mask.T, iterations=5).moved("TCYX"))
    assert_allclose(part[1, 0], richardson_lucy(pixels[1, 0], BLUR.lateral, 0, mask, 5), rtol=1e-3, atol=1e-3)
    assert np.abs(part[1, 0] - np.asarray(found.image)[1, 0]).max() > 1e-3


def test_a_psf_is_brought_to_the_voxels_of_the_image() -> None:
    pixels = convolve(points((12, 20, 20)), BLUR)
    wide = Image(pixels, "ZYX", (0.4, 0.1, 0.1))
    other = richardson_lucy(wide, BLUR, iterations=3)
    assert (np.asarray(other) == richardson_lucy(pixels, BLUR.at((0.4, 0.1, 0.1)).kernel, iterations=3)).all()
    unknown = richardson_lucy(Image(pixels, "ZYX"), BLUR, iterations=3)
    assert (np.asarray(unknown) == richardson_lucy(pixels, BLUR.kernel, iterations=3)).all()


def test_the_unit_of_the_image_does_not_matter() -> None:
    image = convolve(points((20, 20)), BLUR)
    assert_allclose(
        richardson_lucy(1000 * image, BLUR.lateral, 100.0), 1000 * richardson_lucy(image, BLUR.lateral, 0.1), rtol=1e-2
    )


def test_values_below_zero_count_as_zero_and_an_empty_image_stays_empty() -> None:
    image = convolve(points((20, 20)), BLUR) - 10
    clipped = np.clip(image, 0, None)
    assert (richardson_lucy(image, BLUR.lateral) == richardson_lucy(clipped, BLUR.lateral)).all()
    assert (richardson_lucy(np.zeros((9, 9)), KERNEL) == 0).all()


# Stacks whose planes lie apart


def stack(seed: int = 0) -> tuple[Image, Image]:
    """A stack on cubic voxels, and what the microscope shows of it: blurred, every fourth plane."""
    light = gaussian_filter(points((40, 24, 24), seed), 1)
    psf = BLUR.at((0.1, 0.1, 0.1))
    return Image(light, "ZYX", (0.1,) * 3), Image(convolve(light, psf)[::4], "ZYX", (0.4, 0.1, 0.1))


def test_stacks_are_made_isotropic_by_one_call_and_sharper_by_two() -> None:
    truth, seen = stack()
    cubic = upsampled(seen)
    assert (cubic.shape, cubic.voxel_size) == (truth.shape, pytest.approx(truth.voxel_size))
    assert (np.asarray(upsampled(seen, 4)) == np.asarray(cubic)).all()
    errors = [
        np.sqrt(np.mean((np.asarray(one) - truth.array) ** 2))
        for one in (cubic, richardson_lucy(cubic, BLUR), upsampled(richardson_lucy(seen, BLUR)))
    ]
    assert max(errors[1:]) < 0.9 * errors[0]


def test_the_methods_to_compare_with_take_what_was_interpolated_already() -> None:
    _, seen = stack()
    fine = upsampled(seen)
    cubic, sharp, raw = methods(BLUR.at((0.1, 0.1, 0.1)), factor=4)
    assert [one.name for one in (cubic, sharp, raw)] == ["cubic", "rl", "rl-raw"]
    assert all(one.task == "isotropic" for one in (cubic, sharp, raw))
    assert (np.asarray(cubic.run(fine)) == np.asarray(fine)).all()
    assert cubic.run(np.asarray(fine)).dtype == np.float32
    five = {"iterations": 5.0}
    exactly = richardson_lucy(fine, BLUR, iterations=5, tolerance=0)
    assert (np.asarray(sharp.run(fine, **five)) == np.asarray(exactly)).all()
    on_raw = upsampled(richardson_lucy(seen, BLUR, iterations=5, tolerance=0))
    assert_allclose(np.asarray(raw.run(fine, **five)), np.asarray(on_raw), rtol=1e-4, atol=1e-3)
    assert_allclose(raw.run(np.asarray(fine), **five), np.asarray(on_raw), rtol=1e-4, atol=1e-3)
    assert [one.name for one in methods(BLUR)] == ["cubic", "rl"]


# Bad input

PLANE = np.ones((12, 12))


@pytest.mark.parametrize(
    ("image", "psf", "options", "error", "message"),
    [
        (PLANE, np.ones((27, 3)), {}, DataError, "PSF of 27 x 3 pixels is too large for an image of 12 x 12.*cropped"),
        (PLANE, np.ones((3, 4)), {}, DataError, "odd lengths.*not the shape \\(3, 4\\)"),
        (PLANE, np.ones((3, 3, 3)), {}, DataError, "A kernel for the axes YX has 2 odd lengths"),
        (PLANE, -np.ones((3, 3)), {}, DataError, "at least 0, and not dark everywhere. This one goes from -1 to -1"),
        (PLANE, np.zeros((3, 3)), {}, DataError, "with the sum 0"),
        (np.where(np.eye(12), np.nan, 1), KERNEL, {}, DataError, "NaN or infinite values. Mask them"),
        (PLANE, KERNEL, {"mask": np.zeros((12, 12))}, DataError, "leaves no valid pixel"),
        (PLANE, KERNEL, {"mask": np.ones(12)}, DataError, "mask has the shape \\(12,\\)"),
        (PLANE, KERNEL, {"background": -1}, DataError, "at least 0, not -1"),
        (PLANE, KERNEL, {"background": 100}, DataError, "background, 100, is not below the brightest pixel, 1"),
        (PLANE, KERNEL, {"iterations": 0}, DataError, "at least 1 step, not 0"),
        (PLANE, KERNEL, {"tolerance": 1}, DataError, "from 0 to below 1, not 1"),
        (np.ones((2, 2, 3, 3)), KERNEL, {}, AxesError, "needs planes \\(Y X\\) or stacks"),
        (Image(np.ones((4, 5)), "TX"), KERNEL, {}, AxesError, "not axes TX"),
    ],
)
def test_what_cannot_be_deconvolved_is_refused(
    image: Any, psf: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        richardson_lucy(image, psf, **options)


def test_images_without_planes_or_voxels_are_not_upsampled() -> None:
    with pytest.raises(AxesError, match="the image has the axes YX"):
        upsampled(Image(PLANE, "YX"))
    with pytest.raises(DataError, match="voxel size of the image is unknown"):
        upsampled(Image(np.ones((3, 4, 4)), "ZYX"))
    with pytest.raises(DataError, match=r"a number from 1, such as 5 or 10.2, not 0.5"):
        methods(BLUR, factor=0.5)
    with pytest.raises(AxesError, match="Only stacks"):
        on_raw_planes(Image(PLANE, "YX"), BLUR, 2)
