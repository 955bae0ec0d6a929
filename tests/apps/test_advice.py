"""Advice can be followed: every option that a message names exists, and what it says works."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer.main

import veriscope as package
from veriscope.apps.cli import app

SOURCE = Path(package.__file__).parent


def options(command: Any) -> set[str]:
    """All options of a command and those below it."""
    inner = getattr(command, "commands", {}).values()
    own = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
    return own.union(*(options(one) for one in inner), {"--help", "--pre", "--logdir"})  # of pip and TensorBoard


def messages() -> set[tuple[str, str]]:
    """Every option named in a text of the package, docstrings too, with the file."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {(word, path.name) for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value)}
    return found


def test_every_option_that_a_text_names_exists():
    known = options(typer.main.get_command(app))
    assert {(word, file) for word, file in messages() if word not in known} == set()


TRAIN = "train low high --out m --members 1 --epochs 1 --base 2 --per-image 4"


def stacks(desk: Path, planes: int) -> None:
    for kind in ("low", "high"):
        for number in range(4):
            (desk / kind / f"cell{number}.tif").unlink()
            array = np.random.default_rng(number).integers(100, 999, (planes, 48, 40)).astype("uint16")
            array[:, 10:20, 10:20] += 2000
            tifffile.imwrite(desk / kind / f"{number}.tif", array, metadata={"axes": "ZYX"}, photometric="minisblack")


@pytest.mark.parametrize("planes", [2, 3, 5, 7])
@pytest.mark.parametrize(
    "typed", ["", "--depth 1", "--depth 2", "--patch 2,16,16", "--patch 3,32,32", "--patch 16,99,99"]
)
def test_thin_stacks_are_trained_on_or_the_message_says_how(desk, veriscope, planes, typed):
    stacks(desk, planes)
    answer = veriscope(*shlex.split(f"{TRAIN} --axes ZYX {typed}"))
    if answer.code == 0:
        return
    advice = re.search(r"Use (--depth \d+ --patch [\d,]+)", answer.err)
    assert typed, answer.err
    if advice is None:  # lengths that can never be halved
        assert "multiple" in answer.err or "--patch" in answer.err
        return
    answer = veriscope(*shlex.split(f"{TRAIN} --axes ZYX {advice[1]}"))
    assert answer.code == 0, answer.err


def sparse(seed: int) -> np.ndarray:
    image = np.zeros((120, 120), np.uint16)
    image[40 + seed : 44 + seed, 50:54] = 200
    return image


@pytest.mark.parametrize("normalize", ["matched", "fixed", "random"])
def test_images_that_are_nearly_empty_are_learned_from_restored_and_judged(desk, veriscope, normalize):
    for number in range(4):
        tifffile.imwrite(desk / "high" / f"cell{number}.tif", sparse(number))
        low = np.random.default_rng(number).poisson(sparse(number) * 0.2) * 5
        tifffile.imwrite(desk / "low" / f"cell{number}.tif", low.astype(np.uint16))
    trained = veriscope(*shlex.split(f"{TRAIN} --depth 1 --patch 16,16 --normalize {normalize}"))
    assert trained.code == 0, trained.err
    assert "most of it is empty" in trained.err
    for way in ("image", "model"):
        answer = veriscope(*shlex.split(f"restore low --model m --out out-{way} --normalize {way}"))
        assert answer.code == 0, answer.err


def test_a_constant_image_is_refused_with_advice_that_works(desk, veriscope):
    tifffile.imwrite(desk / "new.tif", np.full((40, 40), 7, np.uint16))
    refused = veriscope(*shlex.split("restore new.tif --model model --out out"))
    assert refused.code == 2
    assert "--normalize model" in refused.err
    assert veriscope(*shlex.split("restore new.tif --model model --out out --normalize model")).code == 0


def test_a_blank_frame_of_a_movie_is_restored_with_the_others(desk, veriscope):
    movie = np.random.default_rng(0).integers(100, 900, (3, 40, 40)).astype("uint16")
    movie[1] = 100
    tifffile.imwrite(desk / "movie.tif", movie, metadata={"axes": "TYX"}, photometric="minisblack")
    answer = veriscope(*shlex.split("restore movie.tif --model model --out out.ome.tif --normalize frame"))
    assert answer.code == 0, answer.err
    assert "T = 1 has no contrast" in answer.err


def test_blank_frames_change_nothing_for_the_others(desk, veriscope):
    movie = np.random.default_rng(0).integers(100, 900, (4, 40, 40)).astype("uint16")
    movie[2] = 0
    for name, frames in (("some.tif", movie), ("none.tif", movie[[0, 1, 3]])):
        tifffile.imwrite(desk / name, frames, metadata={"axes": "TYX"}, photometric="minisblack")
        answer = veriscope(*shlex.split(f"restore {name} --model model --out out --scale"))
        assert answer.code == 0, answer.err
    for name in ("{}.ome.tif", "{}.scale.ome.tif"):
        some, none = (tifffile.imread(next((desk / "out").rglob(name.format(one)))) for one in ("some", "none"))
        np.testing.assert_array_equal(some[[0, 1, 3]], none)
    errors = [json.loads((desk / "out" / f"{one}.trust.json").read_text())["expected"] for one in ("some", "none")]
    assert errors[0] == errors[1]


def test_one_bad_image_name_or_output_never_stops_the_others(desk, veriscope, monkeypatch):
    (desk / "in").mkdir()
    for name in ("a", "n" * 250, "two", "z"):
        tifffile.imwrite(desk / "in" / f"{name}.tif", tifffile.imread(desk / "new.tif"))
    tifffile.imwrite(
        desk / "in" / "two.tif", np.ones((2, 40, 40), np.uint16), metadata={"axes": "CYX"}, photometric="minisblack"
    )
    (desk / "in" / "text.tif").write_text("nothing")
    (desk / "in" / "gone.tif").symlink_to("nowhere")
    answer = veriscope(*shlex.split("restore in --model model --out out"))
    assert answer.code == 2
    assert sorted(path.name for path in (desk / "out").glob("*.tif")) == ["a.ome.tif", "z.ome.tif"]
    told = answer.err.splitlines()[-1]
    assert "4 of 6 images could not be restored" in told
    for name in ("two.tif", "text.tif", "gone.tif", "n" * 250):
        assert name in told
    assert "too long" in answer.err
    assert "another folder" not in answer.err
