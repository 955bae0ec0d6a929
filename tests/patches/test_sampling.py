from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from veriscope.patches import sampling


def by_the_authors(truth: np.ndarray, shape: tuple[int, ...], threshold: float) -> set[tuple[int, ...]]:
    """Starts by the rule as published: the maximum filter of half a patch, looked at in the patch's centre."""
    half = [patch // 2 if patch > 1 else patch for patch in shape]
    bright = maximum_filter(truth, half, mode="constant") > threshold
    free = [range(size - patch + 1) for size, patch in zip(truth.shape, shape, strict=True)]
    return {
        start
        for start in itertools.product(*free)
        if bright[tuple(first + patch // 2 for first, patch in zip(start, shape, strict=True))]
    }


def all_of(starts: sampling.Starts) -> set[tuple[int, ...]]:
    """Every position that counts, from the cells."""
    free = [range(length) for length in starts.free]
    if starts.cells is None:
        return set(itertools.product(*free))
    chosen = set(starts.cells.tolist())
    return {
        start
        for start in itertools.product(*free)
        if int(np.ravel_multi_index([f // c for f, c in zip(start, starts.cell, strict=True)], starts.grid)) in chosen
    }


def find(truth: np.ndarray, shape: tuple[int, ...], threshold: float, **options: object) -> sampling.Starts:
    return sampling.on_foreground(
        lambda spans: truth[None][(slice(None), *spans)], truth.shape, shape, [threshold], **options
    )  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    dimensions = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(dimensions))
    size = tuple(patch + draw(st.integers(0, 14)) for patch in shape)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return (rng.random(size) > 1 - draw(st.sampled_from([0.002, 0.02, 0.2]))).astype(np.uint8), shape


@given(case=cases())
@settings(deadline=None, max_examples=60)
def test_small_images_follow_the_authors_rule_exactly(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    truth, shape = case
    assert all_of(find(truth, shape, 0.5)) == by_the_authors(truth, shape, 0.5)


@given(case=cases(), most_cells=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_coarse_maps_are_never_laxer_than_the_rule(case: tuple[np.ndarray, tuple[int, ...]], most_cells: int) -> None:
    truth, shape = case
    starts = find(truth, shape, 0.5, most_cells=most_cells)
    found = all_of(starts)
    assert found <= by_the_authors(truth, shape, 0.5)
    assert len(starts) == len(found)


@pytest.mark.parametrize("shape", [(16, 16), (19, 37), (8, 32, 32)])
def test_coarse_maps_find_large_bright_regions(shape: tuple[int, ...]) -> None:
    truth = np.zeros([4 * patch for patch in shape])
    truth[tuple(slice(patch, 3 * patch) for patch in shape)] = 1
    coarse = find(truth, shape, 0.5, most_cells=1)
    assert min(coarse.cell) > 1
    assert len(coarse) > 0.4 * len(find(truth, shape, 0.5, most_cells=10**9))


@given(case=cases(), most_cells=st.integers(1, 60), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=60)
def test_what_is_drawn_counts(case: tuple[np.ndarray, tuple[int, ...]], most_cells: int, seed: int) -> None:
    truth, shape = case
    starts = find(truth, shape, 0.5, most_cells=most_cells)
    if len(starts):
        counting = all_of(starts)
        rng = np.random.default_rng(seed)
        assert all(starts.draw(rng) in counting for _ in range(20))


def test_every_position_is_drawn_equally_often_also_at_cut_off_cells() -> None:
    truth = np.zeros((24, 8))
    truth[12:] = 1
    starts = find(truth, (8, 8), 0.5, most_cells=1)
    assert starts.ends is not None
    rng = np.random.default_rng(0)
    drawn = [starts.draw(rng) for _ in range(8000)]
    counts = [drawn.count(start) for start in all_of(starts)]
    assert sum(counts) == len(drawn)
    assert min(counts) > 0.8 * len(drawn) / len(starts)


def test_the_map_of_a_large_image_stays_small_and_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PIECE_BYTES", 2**16)
    truth = np.zeros((64, 256, 256), dtype=np.uint16)
    truth[20:50, 100:200, 100:200] = 500
    read: list[int] = []

    def piece(spans: tuple[slice, ...]) -> np.ndarray:
        block = truth[None][(slice(None), *spans)]
        read.append(block.size)
        return block

    starts = sampling.on_foreground(piece, truth.shape, (16, 64, 64), [100.0], most_cells=2**12, chunks=(16, 32, 32))
    assert max(read) * 8 <= 2**18
    assert sum(read) == truth.size
    assert math.prod(starts.grid) <= 2**12
    assert len(starts) / math.prod(starts.free) > 0.1


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    cell=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    chunks=st.one_of(st.none(), st.tuples(st.integers(1, 17), st.integers(1, 17))),
    limit=st.integers(8, 4000),
)
@settings(deadline=None)
def test_pieces_cover_the_image_once_and_begin_on_cells(
    size: tuple[int, int], cell: tuple[int, int], chunks: tuple[int, int] | None, limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sampling, "PIECE_BYTES", limit)
        seen = np.zeros(size, dtype=int)
        for piece in sampling._pieces(size, cell, 8, chunks):
            seen[piece] += 1
            assert all(part.start % step == 0 for part, step in zip(piece, cell, strict=True))
    assert np.all(seen == 1)


def test_an_image_of_the_size_of_a_patch_has_one_position() -> None:
    starts = sampling.everywhere((8, 9), (8, 9))
    assert len(starts) == 1
    assert starts.draw(np.random.default_rng(0)) == (0, 0)


def test_one_bright_channel_is_enough_measured_by_its_own_threshold() -> None:
    truth = np.zeros((2, 16, 16))
    truth[1, 8, 8] = 2
    read = lambda spans: truth[(slice(None), *spans)]  # noqa: E731
    assert len(sampling.on_foreground(read, (16, 16), (8, 8), [5.0, 1.0])) > 0
    assert len(sampling.on_foreground(read, (16, 16), (8, 8), [1.0, 5.0])) == 0
