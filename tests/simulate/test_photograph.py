"""A good image, taken for light and seen anew: scaled as told, everything about it kept but its quality."""

from __future__ import annotations

import numpy as np
import pytest

from veriscope import Image, VeriscopeError
from veriscope.judging.quality import nrmse
from veriscope.simulate.camera import Camera, to_integers
from veriscope.simulate.optics import convolve
from veriscope.simulate.photograph import as_light, blurred, low_light, photograph
from veriscope.simulate.psf import gaussian

PIXELS = np.random.default_rng(0).gamma(2.0, 500.0, (2, 6, 20, 24))
STACK = Image(PIXELS, "CZYX", (0.5, 0.1, 0.1), name="a")
PSF = gaussian(0.8, 0.52, 1.33, (0.5, 0.1, 0.1))


def test_light_is_0_at_the_dark_and_1_at_the_bright_percentile_of_each_channel() -> None:
    light = as_light(STACK)
    for channel in (0, 1):
        dark, bright = np.percentile(PIXELS[channel], (0.1, 99.9))
        assert (light.dark[channel], light.bright[channel]) == (dark, bright)
        expected = np.clip((PIXELS[channel] - dark) / (bright - dark), 0, None)
        np.testing.assert_allclose(np.asarray(light.image)[channel], expected)
    assert np.asarray(light.image).max() > 1
    brighter = as_light(Image(PIXELS * [[[[3.0]]], [[[7.0]]]] + 50, "CZYX"))
    np.testing.assert_allclose(brighter.image, light.image, atol=1e-9)
    np.testing.assert_array_equal(STACK, PIXELS)


@pytest.mark.parametrize(("pixels", "said"), [(np.ones((5, 5)), "needs contrast"), (np.full((5, 5), np.nan), "NaN")])
def test_what_cannot_be_light_is_refused(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(VeriscopeError, match=said):
        as_light(Image(pixels, "YX"))


def test_blur_is_that_of_volumes_or_of_planes_whatever_the_order_of_the_axes() -> None:
    seen = blurred(STACK, PSF)
    assert (seen.axes, seen.voxel_size) == ("CZYX", STACK.voxel_size)
    np.testing.assert_array_equal(np.asarray(seen)[1], convolve(PIXELS[1], PSF))
    turned = blurred(STACK.moved("YZXC"), PSF)
    np.testing.assert_array_equal(turned.moved("CZYX"), seen)
    flat = blurred(STACK.region(Z=2), PSF)
    np.testing.assert_array_equal(np.asarray(flat)[0], convolve(PIXELS[0, 2], PSF.lateral))
    np.testing.assert_array_equal(blurred(STACK.region(Z=slice(2, 3)), PSF).moved("CYX"), flat)


def test_a_photograph_is_blurred_then_thinned_then_counted() -> None:
    light, camera, drawn = as_light(STACK).image, Camera(30), {"seed": 5}
    seen = photograph(light, camera, drawn, PSF, ("Z", 2))
    assert (seen.axes, seen.shape, seen.dtype, seen.name) == ("CZYX", (2, 3, 20, 24), np.uint16, "a")
    assert seen.voxel_size == (1.0, 0.1, 0.1)
    expected = camera.apply(np.asarray(blurred(light, PSF))[:, ::2], drawn)
    np.testing.assert_array_equal(seen, to_integers(expected))
    np.testing.assert_array_equal(seen, photograph(light, camera, drawn, PSF, ("Z", 2)))


def test_low_light_is_what_the_demo_has_always_shown() -> None:
    truth = Image(PIXELS[0].astype(np.uint16), "ZYX")
    pixels = np.asarray(truth, dtype=np.float64)
    dark, bright = np.percentile(pixels, (0.1, 99.9))
    rng = np.random.default_rng((3, 20))
    noise = np.random.default_rng(int(rng.integers(2**63)))
    counted = noise.poisson(20 * np.clip((pixels - dark) / (bright - dark), 0, None))
    expected = np.rint((counted + noise.normal(0, 1.5, pixels.shape) + 100).astype(np.float32))
    np.testing.assert_array_equal(low_light(truth, photons=20, seed=3), expected)


def test_fewer_photons_mean_more_noise() -> None:
    truth = blurred(STACK.region(C=0), PSF)
    errors = [nrmse(truth, low_light(truth, photons, seed=0)) for photons in (5, 20, 60)]
    assert errors == sorted(errors, reverse=True)
