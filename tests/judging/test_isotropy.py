"""Phi: about 1 where a stack is as sharp along Z as across, less where it is blurred along Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.judging.isotropy import isotropy

NOISE = np.random.default_rng(0).random((48, 56, 64))
BLOBS = gaussian_filter(NOISE, 2)
CUBE = (0.1, 0.1, 0.1)


@pytest.mark.parametrize(("pixels", "within"), [(NOISE, 0.05), (BLOBS, 0.3)], ids=["noise", "blobs"])
def test_white_noise_and_round_things_have_about_one(pixels: Any, within: float) -> None:
    """Of few blobs only about: another seed moves it by 0.1 to 0.2."""
    found = isotropy(Image(pixels, "ZYX", CUBE))
    assert abs(found.xz - 1) < within
    assert abs(found.yz - 1) < within
    other = isotropy(Image(300 * pixels + 7, "ZYX", CUBE))  # in other grey values
    assert (other.xz, other.yz) == pytest.approx((found.xz, found.yz), rel=1e-6)


@pytest.mark.parametrize(("blurred", "alike"), [(0, None), (1, "xz"), (2, "yz")])
def test_blur_along_one_axis_is_seen_in_the_slices_that_hold_it(blurred: int, alike: str | None) -> None:
    found = isotropy(Image(gaussian_filter1d(BLOBS, 4, axis=blurred), "ZYX", CUBE))
    if blurred == 0:
        assert max(found.xz, found.yz) < 0.5
    else:
        assert abs(getattr(found, str(alike)) - 1) < 0.4
        assert max(found.xz, found.yz) > 2  # sharper along Z than across


def test_planes_that_lie_far_apart_are_interpolated_first() -> None:
    coarse = Image(gaussian_filter1d(BLOBS, 3, axis=0)[::4], "ZYX", (0.4, 0.1, 0.1))
    assert max(isotropy(coarse).xz, isotropy(coarse).yz) < 0.6


def test_channels_are_told_apart_and_time_points_averaged() -> None:
    both = np.stack([BLOBS, gaussian_filter1d(BLOBS, 4, axis=0)])
    image = Image(np.stack([both, both]), "TCZYX", CUBE)
    assert isotropy(image, channel=0).xz == pytest.approx(isotropy(Image(BLOBS, "ZYX", CUBE)).xz, rel=1e-3)
    assert isotropy(image, channel=1).xz < 0.5


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Image(NOISE[0], "YX"), AxesError, "stacks with Z, Y and X, but the image has the axes YX"),
        (Image(NOISE, "ZYX"), DataError, "needs the voxel size"),
        (Image(NOISE[:2], "ZYX", CUBE), DataError, "2 x 56 x 64 isotropic voxels is too small.*at least 8"),
        (Image(np.ones((9, 9, 9)), "ZYX", CUBE), DataError, "constant, or varies along Z only"),
    ],
)
def test_what_has_no_isotropy_is_refused(image: Image, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        isotropy(image)
