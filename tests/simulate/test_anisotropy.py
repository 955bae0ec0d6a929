"""Semi-synthetic pairs: lateral planes beside what they would look like from the side (SI 2.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.resampling import resampled
from veriscope.noise import Noise
from veriscope.patches.cutting import cut_patches
from veriscope.simulate.anisotropy import anisotropic_pairs, parts_for_checking, split_stack


def stack(shape: tuple[int, ...] = (3, 40, 36), axes: str = "ZYX", seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(100, 4000, shape).astype(np.uint16)
    return Image(pixels, axes, (0.5, 0.1, 0.1), name="worm")


def kernel(rows: int = 7, columns: int = 3) -> NDArray[np.float64]:
    y, x = np.ogrid[-(rows // 2) : rows // 2 + 1, -(columns // 2) : columns // 2 + 1]
    return np.exp(-(y**2) / 8.0 - x**2 / 2.0)


def by_hand(plane: NDArray[Any], section: NDArray[Any] | None, step: float) -> NDArray[Any]:
    """A plane (Y, X) degraded in the plainest way: sums over the kernel, lines picked, and a stack made finer."""
    from scipy.ndimage import convolve

    image = plane.astype(np.float64)
    if section is not None:
        image = convolve(image, section / section.sum(), mode="reflect")
    places = np.arange(0, plane.shape[0] - 1 + 1e-9, step)
    rows = np.stack([np.interp(places, np.arange(plane.shape[0]), column) for column in image.T], axis=1)
    side = Image(rows[:, None].astype(np.float32), "ZYX")  # lines as planes: as restoring will see a stack
    return np.asarray(resampled(side, {"Z": step}, {"Z": plane.shape[0]}))[:, 0]


@given(step=st.floats(1, 9), blurred=st.booleans(), z=st.integers(0, 2))
def test_planes_look_like_the_side_of_a_stack(step: float, blurred: bool, z: int) -> None:
    image, section = stack(), kernel() if blurred else None
    along_y, along_x = anisotropic_pairs(image, section, step)
    assert (along_y.low.axes, along_y.low.shape) == ("STCYX", (3, 1, 1, 40, 36))
    assert (along_x.low.shape, along_x.high.shape) == ((3, 1, 1, 36, 40),) * 2
    plane = np.asarray(image)[z]
    for pair, truth in ((along_y, plane), (along_x, plane.T)):
        np.testing.assert_array_equal(pair.high.read(z, 0, 0), truth)
        expected = by_hand(truth, section, step)
        np.testing.assert_allclose(pair.low.read(z, 0, 0), expected, rtol=0, atol=0.01)


def test_nothing_is_changed_without_blur_and_subsampling() -> None:
    pair = anisotropic_pairs(stack(), None, 1)[0]
    np.testing.assert_allclose(np.asarray(pair.low), np.asarray(pair.high), atol=1e-3)


def test_any_part_is_that_part_of_the_whole() -> None:
    pair = anisotropic_pairs(stack(), kernel(), 3.7, Noise(gain=2, read_noise=5), seed=4)[1]
    whole = np.asarray(pair.low)
    np.testing.assert_array_equal(
        pair.low.read(slice(1, 3), 0, 0, slice(5, 31), slice(2, 9)), whole[1:3, 0, 0, 5:31, 2:9]
    )
    np.testing.assert_array_equal(pair.low.read(slice(0, 3, 2), 0, slice(0, 1), 7), whole[::2, 0, :, 7])
    again = anisotropic_pairs(stack(), kernel(), 3.7, Noise(gain=2, read_noise=5), seed=4)[1]
    np.testing.assert_array_equal(np.asarray(again.low), whole)
    other = anisotropic_pairs(stack(), kernel(), 3.7, Noise(gain=2, read_noise=5), seed=5)[1]
    assert np.abs(np.asarray(other.low) - whole).max() > 1


def test_channels_stay_together_and_time_points_are_planes_of_their_own() -> None:
    image = Image(np.random.default_rng(1).random((2, 3, 2, 24, 20), np.float32), "TZCYX", (0.4, 0.1, 0.1), 2.0)
    pairs = anisotropic_pairs(image, kernel(5, 3), 4)
    assert pairs[0].low.shape == (3, 2, 2, 24, 20)
    expected = by_hand(np.asarray(image)[1, 2, 1], kernel(5, 3), 4)
    np.testing.assert_allclose(pairs[0].low.read(2, 1, 1), expected, atol=1e-5)
    assert (pairs[0].low.voxel_size, pairs[0].low.time_step) == ((0.1, 0.1), 2.0)


def test_samples_are_stacks_of_their_own() -> None:
    pairs = anisotropic_pairs(Image(np.zeros((2, 3, 24, 20)), "SZYX", name="a"), None, 3)
    assert pairs.names == ["a[0] along Y", "a[0] along X", "a[1] along Y", "a[1] along X"]


def test_noise_has_the_mean_and_variance_that_it_says() -> None:
    flat = Image(np.full((1, 200, 200), 600, np.uint16), "ZYX")
    low = np.asarray(anisotropic_pairs(flat, None, 4, Noise(gain=3, read_noise=4, offset=100))[0].low)[0, 0, 0, ::4]
    assert abs(low.mean() - 600) < 2
    assert abs(low.var() / (3 * 500 + 16) - 1) < 0.1


def test_planes_are_degraded_when_read_and_their_lines_kept() -> None:
    class Lazy:
        shape, dtype, reads = (6, 40, 36), np.dtype("uint16"), 0

        def __getitem__(self, index: Any) -> NDArray[Any]:
            Lazy.reads += 1
            return np.ones(self.shape, self.dtype)[index]

    pair = anisotropic_pairs(Image(Lazy(), "ZYX"), kernel(), 4)[0]
    assert Lazy.reads == 0
    for _ in range(3):
        pair.low.read(2, 0, 0, slice(4, 20), slice(0, 9))
    assert Lazy.reads == 1


def test_patches_of_both_directions_share_grey_values_and_are_never_turned() -> None:
    pairs = anisotropic_pairs(stack((4, 48, 40)), kernel(), 4)
    patches = cut_patches(pairs, (16, 16), per_image=4, foreground=None, normalize="shared")
    assert not any(patches.drawn(index, 0)["orientation"]["turned"] for index in range(32))
    drawn = patches.drawn(0, 0)
    low, high = patches.cut(drawn)
    pair = pairs[drawn["pair"]]
    lowest, highest = np.percentile(np.asarray(pair.low), (2, 99.8))
    drawn["orientation"] = {"flips": "", "turned": False}
    low, high = patches.cut(drawn)
    y, x = drawn["start"]
    for image, patch in ((pair.low, low), (pair.high, high)):
        seen = image.read(drawn["frame"], 0, slice(0, 1), slice(y, y + 16), slice(x, x + 16))
        np.testing.assert_allclose(patch, (seen - lowest) / (highest - lowest), atol=1e-4)


def test_parts_for_checking_share_no_pixel() -> None:
    pixels = np.arange(6 * 50 * 80).reshape(6, 50, 80).astype(np.float32)
    for shape in ((6, 50, 80), (6, 50, 50)):
        image = Image(pixels[:, :, : shape[2]], "ZYX")
        training, checking = split_stack(image, 0.1, 30)
        values = [set(np.asarray(part).ravel().tolist()) for part in (training, checking)]
        assert values[0].isdisjoint(values[1])
        assert len(values[0] | values[1]) == np.prod(shape)
    assert split_stack(Image(pixels, "ZYX"), 0.1, 30)[1].shape == (6, 50, 30)
    assert split_stack(Image(pixels[:, :, :50], "ZYX"), 0.1, 30)[1].shape == (1, 50, 50)


def test_of_many_stacks_whole_ones_are_kept_aside() -> None:
    stacks = [stack(seed=number) for number in range(5)]
    training, checking = parts_for_checking(stacks, 0.1, 16)
    assert (training, checking) == (stacks[:4], stacks[4:])
    training, checking = parts_for_checking(stacks[:2], 0.1, 16)
    assert [part.shape for part in training + checking] == [(3, 24, 36)] * 2 + [(3, 16, 36)] * 2


@pytest.mark.parametrize(
    ("image", "section", "step", "message"),
    [
        (stack(), kernel(), 0.5, "distance of planes in lateral pixels, a number from 1 such as 5 or 10.2, not 0.5"),
        (stack(), kernel(), float("inf"), "not inf"),
        (
            stack(),
            kernel(41, 3),
            4,
            r"section is 41 x 3 pixels, the planes of 'worm' are 40 x 36.*39 x 35.*larger image",
        ),
        (stack(), kernel(37, 39), 4, "larger than the image"),
        (stack(), np.ones((4, 3)), 4, "plane of odd lengths.*not of shape 4 x 3"),
        (stack(), np.zeros((3, 3)), 4, "cannot be brought to the sum 1: its sum is 0"),
        (stack(), np.full((3, 3), np.nan), 4, "its sum is nan"),
        (stack(), None, 20, "of 40 pixels along Y every 20th leaves 2 lines, and at least 4"),
        (Image(np.zeros((9, 9)), "YX"), None, 2, "needs a stack, but the image has the axes YX"),
    ],
)
def test_what_cannot_be_used_is_refused(image: Image, section: Any, step: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        anisotropic_pairs(image, section, step)


@pytest.mark.parametrize("settings", [{"gain": -1}, {"read_noise": float("nan")}])
def test_noise_that_cannot_be_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(DataError, match="Noise has a gain and a read noise of at least 0"):
        Noise(**settings)
