from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from veriscope.patches import augment


def everything(axes: str, shape: tuple[int, ...], turns: bool) -> list[bytes]:
    patch = np.arange(np.prod(shape)).reshape(shape)
    orientations = augment.Orientations(axes, turns)
    return [augment.apply(patch, axes, orientations[n]).tobytes() for n in range(len(orientations))]


def test_a_square_has_eight_orientations_and_a_rectangle_four() -> None:
    assert len(set(everything("YX", (3, 3), turns=True))) == 8
    assert len(set(everything("YX", (3, 4), turns=False))) == 4


def test_a_cuboid_has_twice_as_many() -> None:
    assert len(set(everything("ZYX", (2, 3, 3), turns=True))) == 16
    assert len(set(everything("ZYX", (2, 3, 4), turns=False))) == 8


def test_the_eight_are_the_quarter_turns_and_their_mirror_images() -> None:
    patch = np.arange(9).reshape(3, 3)
    turned = {np.rot90(mirrored, k).tobytes() for mirrored in (patch, patch[::-1]) for k in range(4)}
    assert set(everything("YX", (3, 3), turns=True)) == turned


@given(number=st.integers(0, 15), channels=st.integers(1, 3))
@settings(deadline=None)
def test_z_is_never_exchanged_and_channels_stay(number: int, channels: int) -> None:
    z = np.arange(4)[:, None, None] + np.zeros((channels, 4, 4, 4))
    drawn = augment.Orientations("ZYX", turns=True)[number]
    seen = augment.apply(z + 10 * np.arange(channels)[:, None, None, None], "ZYX", drawn)
    order = np.arange(4)[::-1] if "Z" in drawn["flips"] else np.arange(4)
    assert_array_equal(seen[:, :, 0, 0], order[None] + 10 * np.arange(channels)[:, None])
    assert np.all(seen == seen[:, :, :1, :1])


def test_the_first_orientation_leaves_the_patch_as_it_is() -> None:
    patch = np.arange(12).reshape(1, 3, 4)
    first = augment.Orientations("YX", turns=False)[0]
    assert first == {"flips": "", "turned": False}
    assert_array_equal(augment.apply(patch, "YX", first), patch)


@pytest.mark.parametrize(
    ("axes", "shape", "voxels", "turns"),
    [
        ("YX", (64, 64), (0.1, 0.1), True),
        ("YX", (64, 64), (0.1, 0.1005), True),
        ("YX", (64, 64), (0.1, 0.102), False),
        ("YX", (64, 64), (0.3, 0.1), False),
        ("YX", (64, 32), (0.1, 0.1), False),
        ("ZYX", (16, 64, 64), (0.3, 0.1, 0.1), True),
        ("ZYX", (64, 64, 64), (0.3, 0.1, 0.2), False),
        ("YX", (64, 64), None, True),
        ("YX", (64, 64), (None, None), True),
    ],
)
def test_turns_need_equal_voxels_and_a_square_patch(
    axes: str, shape: tuple[int, ...], voxels: tuple[float, ...] | None, turns: bool
) -> None:
    assert augment.allowed(axes, shape, voxels).turns is turns


def test_all_orientations_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    orientations = augment.Orientations("YX", turns=True)
    drawn = [str(orientations.draw(rng)) for _ in range(4000)]
    counts = [drawn.count(one) for one in set(drawn)]
    assert len(counts) == 8
    assert min(counts) > 400


def test_there_is_no_ninth_orientation_of_a_square() -> None:
    with pytest.raises(IndexError, match="8 orientations"):
        augment.Orientations("YX", turns=True)[8]
