"""Thresholds, components and watersheds on images small enough to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from scipy import ndimage

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.objects import overlaps as objects
from veriscope.objects import segment as s


def drawn(*rows: str) -> Any:
    """An image from digits; "." is 0."""
    return np.array([[0 if pixel == "." else int(pixel) for pixel in row] for row in rows])


SCENE = drawn(
    "55..9...",
    "5..999..",
    ".5..9..5",
    "........",
)


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = (40, 40)) -> Any:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return sum(((y - cy) ** 2 + (x - cx) ** 2 <= r * r) for cy, cx, r in places).astype(float)  # type: ignore[union-attr]


# -- threshold and components -----------------------------------------------------------------------


def test_what_is_brighter_than_the_threshold_and_connected_is_one_object() -> None:
    labels = s.components(SCENE, 4)
    assert labels.dtype == np.int32
    assert_array_equal(labels, drawn("11..2...", "1..222..", ".3..2..4", "........"))
    assert_array_equal(s.components(SCENE, 5) > 0, SCENE == 9)  # 5 is not above 5
    assert s.components(SCENE, 9).max() == 0


def test_corners_connect_when_asked() -> None:
    assert s.components(SCENE, 4, connectivity=2).max() == 3
    cube = np.zeros((2, 2, 2))
    cube[0, 0, 0] = cube[1, 1, 1] = 1
    assert [s.components(cube, 0.5, connectivity=c).max() for c in (1, 2, 3)] == [2, 2, 1]


def test_small_objects_go_and_the_others_are_numbered_anew() -> None:
    assert_array_equal(s.components(SCENE, 4, min_size=2), drawn("11..2...", "1..222..", "....2...", "........"))
    assert s.components(SCENE, 4, min_size=6).max() == 0


def test_holes_are_closed_when_asked() -> None:
    ring = np.pad(np.pad(np.zeros((2, 2)), 1, constant_values=3), 2)
    assert (s.components(ring, 1) > 0).sum() == 12
    assert (s.components(ring, 1, fill=True) > 0).sum() == 16


def test_touching_discs_are_cut_at_the_neck() -> None:
    image = discs((20, 12, 9), (20, 28, 9))
    assert s.components(image, 0.5).max() == 1
    labels = s.components(image, 0.5, split=1)
    assert labels.max() == 2
    assert_array_equal(labels > 0, image > 0.5)  # nothing is lost
    assert len(np.unique(labels[:, :19])) == len(np.unique(labels[:, 22:])) == 2  # background and one object
    assert s.components(image, 0.5, split=9).max() == 1  # the neck is not that deep


def test_a_neck_along_z_is_measured_in_um() -> None:
    # Two balls on top of each other, planes three times as far apart as pixels.
    z, y, x = np.ogrid[:17, :21, :21]
    image = np.zeros((17, 21, 21))
    for centre in (5, 11):
        image[9 * (z - centre) ** 2 + (y - 10) ** 2 + (x - 10) ** 2 <= 100] = 1
    assert s.components(Image(image, "ZYX", (0.3, 0.1, 0.1)), 0.5, split=0.5).array.max() == 2


@given(image=arrays(np.uint8, (7, 8), elements=st.integers(0, 9)), threshold=st.integers(-1, 9), size=st.integers(0, 5))
@settings(max_examples=60)
def test_components_cover_what_is_bright_and_are_whole(image: Any, threshold: int, size: int) -> None:
    labels = s.components(image, threshold, min_size=size)
    plain, count = ndimage.label(image > threshold)
    kept = [k for k in range(1, count + 1) if (plain == k).sum() >= size]
    assert labels.max() == len(kept)
    assert_array_equal(labels > 0, np.isin(plain, kept))
    cut = s.components(image, threshold, split=0.3)
    assert_array_equal(cut > 0, image > threshold)
    assert cut.max() >= count  # splitting only divides
    for k in range(1, int(cut.max()) + 1):
        assert ndimage.label(cut == k)[1] == 1


@given(scale=st.floats(0.01, 100), offset=st.floats(-100, 100))
@settings(max_examples=25)
def test_thresholds_follow_brightness_and_contrast(scale: float, offset: float) -> None:
    image = np.random.default_rng(0).gamma(2, 10, (30, 30))
    np.testing.assert_allclose(s.thresholds(scale * image + offset, 7), scale * s.thresholds(image, 7) + offset)


def test_thresholds_lie_in_equal_steps_within_the_range() -> None:
    image = np.linspace(0, 1000, 1001).reshape(7, 143)  # percentiles 0.1 and 99.9 are 1 and 999
    np.testing.assert_allclose(s.thresholds(image, 3), [250.5, 500, 749.5])


@pytest.mark.parametrize("method", s.AUTOMATIC)
def test_rules_find_a_threshold_between_dark_and_bright(method: str) -> None:
    image = 100 + 400 * discs((20, 20, 8)) + np.random.default_rng(0).normal(0, 20, (40, 40))
    assert s.components(image, s.automatic(image, method), min_size=20).max() == 1
    assert 120 < s.automatic(image, method) < 480


# -- cells between membranes ------------------------------------------------------------------------


def test_cells_are_what_membranes_enclose() -> None:
    net = np.zeros((40, 60))
    net[::20] = net[:, ::20] = 1000
    noisy = ndimage.gaussian_filter(net, 1) + np.random.default_rng(0).normal(0, 20, net.shape)
    labels = s.cells(noisy, sigma=2, h=0.1)
    truth = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((20, 20), int))
    assert labels.min() == 1  # no background
    assert labels.max() == 6
    assert objects.seg(truth, labels) > 0.85
    assert s.cells(np.full((9, 9), 3.0)).max() == 0


def test_real_membranes_enclose_the_cells_that_others_find(shared_data: Path) -> None:
    # The labels are the automatic segmentation that comes with EpiTools, not drawn by hand: two watersheds compared.
    image = tifffile.imread(shared_data / "epithelium" / "projected_epitools.tif").squeeze()
    truth = tifffile.imread(shared_data / "epithelium" / "projected_segmented.tif").squeeze()
    found = objects.scores(truth, s.cells(image))
    assert found.truth == 94
    assert found.seg > 0.9
    assert found.error < 0.05


# -- images -----------------------------------------------------------------------------------------


def test_frames_and_channels_are_segmented_one_by_one_and_keep_what_is_known() -> None:
    image = Image(np.stack([SCENE, SCENE[::-1]]).transpose(1, 0, 2), "YTX", (0.2, 0.1), 3.0, "cells")
    labels = s.components(image, 4)
    assert (labels.axes, labels.voxel_size, labels.time_step, labels.name) == ("YTX", (0.2, 0.1), 3.0, "cells")
    assert_array_equal(labels.array[:, 0], s.components(SCENE, 4))
    assert_array_equal(labels.array[:, 1], s.components(SCENE[::-1], 4))


def test_a_volume_is_segmented_in_three_dimensions() -> None:
    volume = np.stack([SCENE, SCENE])
    assert s.components(volume, 4).max() == 4
    assert s.components(Image(volume, "ZYX"), 4).array.max() == 4


def test_real_nuclei_are_found(shared_data: Path) -> None:
    image = tifffile.imread(shared_data / "seg_stardist" / "img2d.tif")
    truth = tifffile.imread(shared_data / "seg_stardist" / "mask2d.tif")
    smooth = ndimage.gaussian_filter(image.astype(float), 1)
    plain = objects.scores(truth, s.components(smooth, s.automatic(smooth, "li"), min_size=30))
    cut = objects.scores(truth, s.components(smooth, s.automatic(smooth, "li"), min_size=30, fill=True, split=1))
    assert 90 < cut.found < 160  # there are 125
    assert cut.seg > plain.seg + 0.05
    assert cut.average_precision > 0.5


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.components(SCENE, np.nan), "threshold must be a number"),
        (lambda: s.components(SCENE, 4, connectivity=4), "connectivity must be 1, 2 or 3"),
        (lambda: s.components(SCENE, 4, split=0), "split must be above 0"),
        (lambda: s.components(np.array([[1.0, np.nan]]), 0), "NaN"),
        (lambda: s.components(np.zeros((0, 2)), 0), "has no pixels"),
        (lambda: s.components(np.zeros((2, 2), complex), 0), "real numbers"),
        (lambda: s.cells(SCENE, sigma=-1), "sigma must be 0"),
        (lambda: s.cells(SCENE, h=0), "h must be between"),
        (lambda: s.thresholds(SCENE, 0), "At least one threshold"),
        (lambda: s.automatic(SCENE, "magic"), "'magic'. Choose otsu, li"),
        (lambda: s.automatic(np.full((4, 4), 7)), r"constant \(7\)"),
    ],
)
def test_what_cannot_be_segmented_is_refused(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()
