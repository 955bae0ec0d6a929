"""Folders as the field publishes them, on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def published(desk: Path) -> Path:
    """desk/set/test_data with GT and two conditions."""
    place = desk / "set" / "test_data"
    shutil.copytree(desk / "high", place / "GT")
    for name in ("condition_1", "condition_2"):
        shutil.copytree(desk / "low", place / name)
    return desk / "set"


def test_judging_a_folder_of_conditions_gives_the_mean_of_each(published: Path, veriscope: Any) -> None:
    done = veriscope("judge", published, "--model", "model", "--axes", "YX")
    assert done.code == 0, done.err
    assert "condition_1/cell0" in done.out
    means = done.out.split("Mean of each condition")[1].split("\n")
    found = [line.split()[:2] for line in means if line.startswith("condition_")]
    assert found == [[f"condition_{n}", method] for n in (1, 2) for method in ("input", "restoration")]


def test_the_test_folder_itself_may_be_named_too(published: Path, veriscope: Any) -> None:
    done = veriscope("judge", published / "test_data", "--model", "model", "--axes", "YX")
    assert done.code == 0, done.err


def test_one_folder_without_truths_is_refused(desk: Path, veriscope: Any) -> None:
    done = veriscope("judge", "low", "--model", "model", "--axes", "YX")
    assert done.code == 2
    assert "should hold a folder GT with the ground truth" in done.err
    assert "Traceback" not in done.err


def test_a_movie_does_not_replace_an_image_of_a_condition(published: Path, veriscope: Any) -> None:
    image = published / "test_data" / "condition_1" / "cell0.tif"
    done = veriscope("judge", published, "--model", "model", "--axes", "YX", "--movie", image, "--overwrite")
    assert done.code == 2
    assert "would replace an image that is judged" in done.err
