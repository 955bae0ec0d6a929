"""veriscope simulate movie: files that fit, the same for the same seed, and one message for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veriscope as vs

SMALL = ("--frames", "3", "--size", "8,40,48")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_movie_is_four_files_that_fit_and_all_that_was_drawn(bench: Path, veriscope: Any) -> None:
    answer = veriscope("simulate", "movie", "--out", "wing", *SMALL, "--bleach", "2", "--seed", "4")
    assert answer.code == 0, answer.err
    assert "3 frames of 8 x 40 x 48 voxels in wing" in answer.out
    low, high, labels, height = (vs.read_image(f"wing/{kind}.ome.tif") for kind in ("low", "high", "labels", "height"))
    assert (low.axes, low.shape, low.voxel_size) == ("TZYX", (3, 8, 40, 48), pytest.approx((1.0, 0.25, 0.25)))
    assert {(image.axes, image.shape) for image in (high, labels, height)} == {("TYX", (3, 40, 48))}
    told = json.loads(Path("wing/parameters.json").read_text())
    assert (told["experiment"], told["seed"], told["frames"], told["bleach_frames"]) == ("movie", 4, 3, 2.0)
    from veriscope.simulate.movie import WingMovie

    again = WingMovie(frames=3, bleach=2.0).apply(json.loads(Path("wing/drawn.json").read_text()))
    np.testing.assert_array_equal(low, again.images["input"])
    np.testing.assert_array_equal(labels, again.images["labels"])


def test_the_same_seed_gives_the_same_files_bit_by_bit(bench: Path, veriscope: Any) -> None:
    for name in ("a", "b"):
        assert veriscope("simulate", "movie", "--out", name, *SMALL).code == 0
    assert veriscope("simulate", "movie", "--out", "b", *SMALL, "--seed", "1").code == 2  # is there already
    names = sorted(path.name for path in Path("a").iterdir())
    assert len(names) == 6
    assert all((Path("a") / name).read_bytes() == (Path("b") / name).read_bytes() for name in names)
    assert veriscope("simulate", "movie", "--out", "b", *SMALL, "--seed", "1", "--overwrite").code == 0
    assert Path("a/low.ome.tif").read_bytes() != Path("b/low.ome.tif").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--frames", "0"], "--frames 0 is not possible"),
        (["--frames", "many"], "Invalid value for '--frames'"),
        (["--frames", "10000"], "do not fit in memory"),
        (["--size", "40,40"], "--size 40,40 is not the size of a stack"),
        (["--bleach", "0"], "--bleach 0 is not possible"),
        (["--bleach", "0.1"], "No light would be left"),
        (["--photons", "-3"], "--photons -3 is not possible"),
        (["--drift", "-1"], "--drift -1 is not possible"),
        (["--drift", "1e9"], "--drift 1e+09 is not possible"),
        (["--seed", "-1"], "--seed -1 is not possible"),
    ],
)
def test_what_cannot_be_gets_one_message_and_leaves_nothing(
    bench: Path, veriscope: Any, words: list[str], told: str
) -> None:
    answer = veriscope("simulate", "movie", "--out", "deep/wing", *words)
    assert answer.code == 2
    assert told in answer.err
    assert list(bench.iterdir()) == []
