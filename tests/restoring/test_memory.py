"""Tiles are as large as the memory allows and no larger."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope import tiling
from veriscope.errors import DataError
from veriscope.networks.recipe import Recipe
from veriscope.restoring import plan as memory


@pytest.mark.parametrize(
    ("given", "expected"),
    [("4GB", 4 * 10**9), ("512 mb", 512 * 10**6), ("1.5GiB", 3 * 2**29), ("2g", 2 * 10**9), ("1000", 1000), (77, 77)],
)
def test_amounts_of_memory(given: str | int, expected: int) -> None:
    assert memory.parse(given) == expected


@pytest.mark.parametrize("given", ["", "much", "4 apples", "-1GB", "0", 0, -5, "1e400GB", float("nan"), float("inf")])
def test_what_is_no_amount_of_memory(given: Any) -> None:
    with pytest.raises(DataError, match="Write for example 4GB"):
        memory.parse(given)


def test_the_need_of_a_network_is_that_of_its_widest_layer() -> None:
    """At the top of the U-Net: what came up, the skip, and both joined, 4 x base channels of 4 bytes, and the image."""
    recipe = Recipe("YX", depth=3, base=32)
    need = memory.need(recipe)
    assert 4 * 4 * 32 <= need.bytes <= 1.1 * (4 * 4 * 32 + 4)
    assert need.elements == 64
    stem = Recipe("YX", depth=3, base=32, stem=2, patch=(128, 128))
    assert memory.need(stem).bytes < need.bytes / 3


def test_asking_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    memory.need(Recipe("YX", depth=2, base=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_caller_holds_is_added() -> None:
    recipe = Recipe("ZYX", depth=1, base=2)
    lean = memory.need(recipe)
    rich = lean.beside(100.0)
    assert rich.bytes == pytest.approx(lean.bytes + 100)
    for kept in (False, True):
        most = rich.voxels(10**9, kept)
        assert rich.of(most, kept) <= 10**9 < rich.of(int(most * 1.01), kept)
    assert rich.voxels(10) == 0


def test_no_tensor_has_more_elements_than_32_bits_count() -> None:
    need = memory.Need(bytes=100, elements=64)
    assert need.voxels(10**15) * 64 < 2**31


axes_of_tiles = st.tuples(st.integers(1, 12), st.integers(0, 9), st.sampled_from([1, 2, 4]))


@settings(deadline=None, max_examples=150)
@given(axes=st.lists(axes_of_tiles, min_size=1, max_size=2), voxels=st.integers(1, 900))
def test_no_tile_that_fits_wastes_less(axes: list[tuple[int, int, int]], voxels: int) -> None:
    shape = [steps * step for steps, _, step in axes]
    halo, step = [reach for _, reach, _ in axes], [n for _, _, n in axes]

    def largest_read(core: tuple[int, ...]) -> int:
        return max(prod(s.stop - s.start for s in tile.read) for tile in tiling.tiles(shape, core, halo, step))

    choices = product(*(range(n, length + 1, n) for length, n in zip(shape, step, strict=True)))
    fitting = [core for core in choices if largest_read(core) <= voxels]
    best = memory.best_core(shape, halo, step, voxels)
    if best is None:
        # the estimate of the largest tile is that of one with neighbours on both sides
        assert memory.largest_read(shape, step, halo, step) > voxels
        return
    assert largest_read(best) <= voxels
    least = min(tiling.overhead(shape, core, halo, step) for core in fitting)
    assert tiling.overhead(shape, best, halo, step) <= 1.25 * least
    if largest_read(tuple(shape)) <= voxels:
        assert best == tuple(shape)


def test_the_users_tile_is_the_most_that_is_taken() -> None:
    assert memory.best_core([96, 96], [8, 8], [4, 4], 10**6, at_most=[30, 500]) == (32, 96)
    core = memory.best_core([96, 96], [8, 8], [4, 4], 1000, at_most=[30, 500])
    assert core is not None
    assert core[0] <= 32
    assert core[1] < 96


def test_long_images_are_planned_quickly_and_well() -> None:
    core = memory.best_core([10**5, 10**5], [46, 46], [8, 8], 2048**2)
    assert core is not None
    assert tiling.padded(46, 8) * 2 + max(core) <= 2 * 2048
    assert prod(n + 96 for n in core) > 0.8 * 2048**2
