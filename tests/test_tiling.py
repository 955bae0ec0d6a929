from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, tuples
from numpy.testing import assert_allclose

from veriscope.tiling import overhead, padded, tiles

axis = tuples(integers(1, 9), integers(1, 30), integers(0, 12), integers(1, 4))  # blocks, core, halo, step
some_axes = lists(axis, min_size=1, max_size=3)


@given(integers(1, 1000), integers(1, 64))
def test_padding_is_the_least_that_fits(length: int, step: int) -> None:
    assert padded(length, step) % step == 0
    assert 0 <= padded(length, step) - length < step


@given(some_axes)
def test_cores_cover_every_voxel_once_and_halos_suffice(axes: list[tuple[int, int, int, int]]) -> None:
    shape = [blocks * step for blocks, _, _, step in axes]
    core, halo, step = ([a[i] for a in axes] for i in (1, 2, 3))
    seen, work = np.zeros(shape, int), 0
    for tile in tiles(shape, core, halo, step):
        seen[tile.core] += 1
        work += int(np.prod([span.stop - span.start for span in tile.read]))
        for read, inner, centre, reach, n, length in zip(
            tile.read, tile.inner, tile.core, halo, step, shape, strict=True
        ):
            assert read.start % n == 0
            assert read.stop % n == 0
            assert read.start <= max(centre.start - reach, 0)
            assert read.stop >= min(centre.stop + reach, length)
            assert (inner.start, inner.stop) == (centre.start - read.start, centre.stop - read.start)
    assert (seen == 1).all()
    assert overhead(shape, core, halo, step) == pytest.approx(work / seen.size)


@given(length=integers(1, 40), core=integers(1, 12), reach=integers(0, 3))
def test_tiles_agree_with_the_whole(length: int, core: int, reach: int) -> None:
    image = np.random.default_rng(0).random(length)
    box = np.ones(2 * reach + 1)

    def blur(line: np.ndarray) -> np.ndarray:
        return np.convolve(line, box)[reach : reach + len(line)]

    result = np.empty(length)
    for tile in tiles([length], [core], [reach], [1]):
        result[tile.core] = blur(image[tile.read])[tile.inner]
    assert_allclose(result, blur(image), atol=1e-12)


def test_geometry_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the step"):
        list(tiles([9], [4], [1], [4]))
    with pytest.raises(ValueError, match="at least one pixel"):
        list(tiles([8], [0], [1], [4]))
