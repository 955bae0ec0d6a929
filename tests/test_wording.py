"""Numbers, sizes and lists read as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriscope import wording


def test_lists_end_with_a_word_and_long_ones_are_cut() -> None:
    assert [wording.listed("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert wording.listed("abc", "or") == "a, b or c"
    assert wording.shortened("abc", 3) == "a, b, c"
    assert wording.shortened("abcde", 3) == "a, b, c and 2 more"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (999.6, "1 kB"), (1000, "1 kB"), (1.5e9, "1.5 GB"), (2e13, "20 TB")],
)
def test_bytes(count: float, text: str) -> None:
    assert wording.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (12.4, "12 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_lengths_and_scores() -> None:
    assert wording.lengths((16, 64, np.int64(8))) == "16 x 64 x 8"
    assert wording.lengths((0.30000000001, None, 1.0)) == "0.3 x unknown x 1"
    assert wording.number([0.123456, 2, "x", True]) == "0.1235, 2, x, True"


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=5))
def test_short_names_end_their_paths_and_distinguish_them(parts: list[list[str]]) -> None:
    paths = ["/".join(part) for part in parts]
    names = wording.short_names(paths)
    assert all(path.endswith(name) for path, name in zip(paths, names, strict=True))
    assert len(set(names)) == len(set(paths))
