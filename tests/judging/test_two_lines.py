from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriscope.errors import DataError
from veriscope.judging.two_lines import TwoLines, dip, profile, resolved, smallest_resolved

angles = st.floats(0, np.pi)


def drawn(lines: TwoLines, sigma: float, size: int = 64) -> np.ndarray:
    """Two Gaussian ridges, exactly where `lines` says, long beyond its ends."""
    y, x = np.indices((size, size)) - np.reshape(lines.centre, (2, 1, 1))
    across = y * np.cos(lines.angle) - x * np.sin(lines.angle)
    return sum(np.exp(-((across - side * lines.distance / 2) ** 2) / (2 * sigma**2)) for side in (-1, 1))


def lines(angle: float, distance: float, centre: tuple[float, float] = (31.3, 32.1)) -> TwoLines:
    return TwoLines(centre, angle, distance, length=30)


@given(angle=angles)
def test_a_profile_crosses_both_lines_where_they_are(angle):
    two = lines(angle, 8.0)
    offsets, values = profile(drawn(two, 1.0), two)
    peaks = [offsets[np.argmax(np.where(offsets * side > 0, values, 0))] for side in (-1, 1)]
    assert np.abs(np.subtract(peaks, (-4, 4))).max() <= 0.1


@given(angle=angles)
def test_lines_are_resolved_from_the_distance_at_which_their_sum_dips_enough(angle):
    # two Gaussians of sigma 1: the dip reaches 26.5 % at a distance of 2.80 sigma (found by bisection of their sum)
    assert not resolved(drawn(lines(angle, 2.6), 1.0), lines(angle, 2.6))
    assert resolved(drawn(lines(angle, 3.1), 1.0), lines(angle, 3.1))


def test_one_blob_where_two_lines_should_be_has_no_dip():
    two = lines(0.7, 3.0)
    assert dip(drawn(TwoLines(two.centre, 0.7, 0.0, 30), 1.5), two) == 0


def test_two_lines_at_other_places_do_not_count():
    assert dip(drawn(lines(0.3, 12.0), 1.0), lines(0.3, 3.0)) == 0


def test_brightness_and_background_do_not_matter():
    two = lines(1.1, 3.4)
    image = drawn(two, 1.0)
    assert dip(50 * image + 300, two) == pytest.approx(dip(image, two), abs=1e-6)


def test_a_flat_plane_resolves_nothing():
    assert dip(np.full((64, 64), 7.0), lines(0.2, 4.0)) == 0


def test_lines_outside_of_the_plane_are_refused():
    with pytest.raises(DataError, match="do not lie within the plane of 64 x 64"):
        profile(np.zeros((64, 64)), lines(0.2, 4.0, centre=(2.0, 2.0)))


def test_the_smallest_distance_counts_only_if_all_larger_ones_are_resolved():
    yes, no = [True] * 5, [True, True, True, False, False]
    assert smallest_resolved([1, 2, 3, 4], [no, yes, yes, yes]) == 2
    assert smallest_resolved([4, 3, 2, 1], [yes, no, yes, yes]) == 4
    assert smallest_resolved([1, 2], [yes, no]) is None
