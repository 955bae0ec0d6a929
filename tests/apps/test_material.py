"""What veriscope train takes: files of patches, folders of conditions, channels that change; and what it refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from veriscope.images.pairing import read_pairs
from veriscope.networks.folder import load
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import save_npz

QUICK = ["--epochs", "1", "--members", "1", "--depth", "1", "--base", "2", "--device", "cpu"]


@pytest.fixture
def saved(desk: Path) -> Path:
    """Patches in the layout of the published data sets: desk/set/train_data/data_label.npz."""
    place = desk / "set" / "train_data"
    place.mkdir(parents=True)
    save_npz(place / "data_label.npz", cut_patches(read_pairs("low", "high", axes="YX"), (16, 16), 6), count=20)
    return place / "data_label.npz"


@pytest.mark.parametrize("given", ["set/train_data/data_label.npz", "set"])
def test_patches_in_a_file_are_learned_from_as_they_are(given: str, saved: Path, veriscope: Any) -> None:
    done = veriscope("train", given, "--out", "out", *QUICK)
    assert done.code == 0, done.err
    assert "20 (18 to train, 2 to check)" in done.out
    recipe = load("out").recipe
    assert (recipe.patch, recipe.task, recipe.axes) == ((16, 16), "restore", "YX")


def test_conditions_are_learned_together_and_a_field_stays_on_one_side(desk: Path, veriscope: Any) -> None:
    for name in ("condition_1", "condition_2"):
        shutil.copytree(desk / "low", desk / "set" / "train_data" / name)
    shutil.copytree(desk / "high", desk / "set" / "train_data" / "GT")
    done = veriscope("train", "set", "--out", "out", "--axes", "YX", "--patch", "16,16", "--per-image", "2", *QUICK)
    assert done.code == 0, done.err
    assert "all conditions are learned together: condition_1, condition_2" in done.err
    assert "8 (6 to train, 2 to check)" in done.out  # four fields twice: one field is kept aside, with both its images
    assert load("out").facts.training["data"]["pairs"] == 6


def test_a_published_isotropic_file_needs_only_the_distance_of_planes(saved: Path, veriscope: Any) -> None:
    done = veriscope("train", saved, "--task", "isotropic", "--out", "out", *QUICK)
    assert done.code == 2
    assert "does not say how far planes lie apart, so --subsample must" in done.err
    done = veriscope("train", saved, "--task", "isotropic", "--subsample", "5", "--out", "out", *QUICK)
    assert done.code == 0, done.err
    assert load("out").recipe.upsample == (5.0, 1.0, 1.0)


def test_a_simulated_folder_is_trained_from_as_it_is(desk: Path, veriscope: Any) -> None:
    assert veriscope("simulate", "drosophila", "--scale", "tiny", "--out", "d").code == 0
    done = veriscope("train", "d", "--task", "isotropic", "--psf", "none", "--out", "iso", "--patch", "32,32", *QUICK)
    assert done.code == 0, done.err
    assert veriscope("simulate", "granules", "--fields", "4", "--size", "32,32", "--out", "g").code == 0
    done = veriscope("train", "g", "--out", "granules", "--patch", "16,16", *QUICK)
    assert done.code == 0, done.err
    assert "4 (3 to train, 1 to check)" in done.out


def test_two_channels_become_one(desk: Path, veriscope: Any) -> None:
    (desk / "two").mkdir()
    for path in (desk / "low").iterdir():
        plane = tifffile.imread(path)
        tifffile.imwrite(desk / "two" / path.name, np.stack([plane, plane[::-1]]), photometric="minisblack")
    train = ("train", "two", "high", "--axes", "CYX,YX", "--out", "out", "--patch", "16,16", "--per-image", "2")
    done = veriscope(*train, *QUICK)
    assert done.code == 0, done.err
    assert "2 -> 1" in done.out
    done = veriscope("restore", "two/cell0.tif", "--axes", "CYX", "--model", "out", "--out", "one.tif")
    assert done.code == 0, done.err
    assert tifffile.imread(desk / "one.tif").shape == tifffile.imread(desk / "high" / "cell0.tif").shape
    done = veriscope("judge", "two", "high", "--axes", "CYX,YX", "--model", "out")
    assert done.code == 0, done.err
    done = veriscope("restore", "low/cell0.tif", "--axes", "YX", "--model", "out", "--out", "other.tif")
    assert done.code == 2
    assert "trained on images with 2 channels, but this image has 1 channel" in done.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["high"], "holds low and high patches, so HIGH (high) has no meaning"),
        (["--patch", "8,8"], "are cut and normalised. Remove --patch"),
        (["--normalize", "fixed"], "are cut and normalised. Remove --normalize"),
        (["--task", "isotropic", "--psf", "gaussian:na=1"], "degraded already. Remove --psf"),
        (["--task", "project"], "--task project needs stacks"),
        (["--preset", "planaria"], "is a network for ZYX, but these images have YX"),
    ],
)
def test_what_patches_in_a_file_do_not_need_is_refused(
    more: list[str], said: str, saved: Path, desk: Path, veriscope: Any
) -> None:
    done = veriscope("train", saved, "--out", "out", *more, *QUICK)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (desk / "out").exists()


def test_a_damaged_file_of_patches_is_named(saved: Path, desk: Path, veriscope: Any) -> None:
    saved.write_bytes(saved.read_bytes()[:500])
    done = veriscope("train", saved, "--out", "out", *QUICK)
    assert done.code == 2
    assert "not a readable .npz file" in done.err
    assert not (desk / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--start", "model", "--depth", "2", "--base", "4"], r"--start decides the layers.*Remove --depth and --base"),
        (["--start", "none"], "There is no model at"),
        (["--start", "model", "--axes", "CYX"], "this model is for restore on YX, 1 to 1 channels; the images need"),
    ],
)
def test_what_cannot_be_started_from_is_refused(words: list[str], said: str, desk: Path, veriscope: Any) -> None:
    if "CYX" in words:
        for place in ("low", "high"):
            for path in (desk / place).iterdir():
                tifffile.imwrite(path, np.repeat(tifffile.imread(path)[None], 2, 0))
    done = veriscope("train", "low", "high", "--axes", "YX", "--out", "out", *words)
    assert done.code == 2
    assert re.search(said, " ".join(done.err.split()))
    assert not Path("out").exists()
