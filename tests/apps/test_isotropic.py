"""veriscope train --task isotropic and upsample, and what restore and judge do with such models."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import veriscope as vs

TINY = shlex.split("--members 1 --epochs 1 --depth 1 --base 2 --patch 16,16 --per-image 1 --device cpu")
PSF = ["--psf", "gaussian:na=1.1"]


def write_stack(path: Path, spacing: float, every: int = 1, seed: int = 0) -> None:
    """The same 30 planes for the same `seed`, or every so many of them."""
    from scipy.ndimage import gaussian_filter

    pixels = gaussian_filter(np.random.default_rng(seed).random((30, 44, 40)), (3, 2, 2))[::every]
    pixels = (1000 + 4000 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint16)
    metadata = {"axes": "ZYX", "unit": "um", "spacing": spacing}
    tifffile.imwrite(path, pixels, imagej=True, resolution=(10, 10), metadata=metadata)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stack.tif (every 0.5 um) and fine.tif (0.1 um) of one place, and a stack without voxel size."""
    folder = tmp_path_factory.mktemp("stacks")
    write_stack(folder / "stack.tif", 0.5, every=5)
    write_stack(folder / "fine.tif", 0.1)
    (folder / "many").mkdir()
    for number in range(2):
        write_stack(folder / "many" / f"{number}.tif", 0.5, every=5, seed=number)
    tifffile.imwrite(folder / "plain.tif", np.asarray(tifffile.imread(folder / "stack.tif")))
    return folder


@pytest.fixture
def here(stacks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    monkeypatch.chdir(shutil.copytree(stacks, tmp_path / "here"))
    return Path.cwd()


def test_a_stack_alone_makes_a_model_that_makes_stacks_isotropic(here: Path, veriscope: Any) -> None:
    tiny = [word if word != "16,16" else "24,24" for word in TINY]
    trained = veriscope("train", "stack.tif", "--task", "isotropic", *PSF, "--out", "model", *tiny)
    assert trained.code == 0, trained.err
    assert "planes lie 5 pixels apart, as the file says" in trained.err
    assert "for checking the last" in trained.err
    assert "restores all xz and yz slices" in trained.out
    recipe = vs.load("model").recipe
    assert (recipe.task, recipe.axes, recipe.finer) == ("isotropic", "YX", {"Z": 5.0})
    restored = veriscope("restore", "stack.tif", "--model", "model", "--out", "new.ome.tif")
    assert restored.code == 0, restored.err
    image = vs.read_image("new.ome.tif")
    assert (image.axes, image.shape) == ("ZYX", (30, 44, 40))
    np.testing.assert_allclose(image.voxel_size, (0.1, 0.1, 0.1), rtol=1e-4)
    told = veriscope("info", "model").out
    assert "interpolates Z 5 times, restores all xz and yz slices" in told
    judged = veriscope("judge", "stack.tif", "fine.tif", "--model", "model")
    assert judged.code == 0, judged.err
    assert "input, interpolated" in judged.out
    assert "restoration" in judged.out
    planned = veriscope("restore", "stack.tif", "--model", "model", "--out", "dry.ome.tif", "--dry-run")
    assert "30 x 44 x 40" in planned.out


def test_several_stacks_noise_and_the_subsampling_can_be_given(here: Path, veriscope: Any) -> None:
    words = ["--psf", "none", "--subsample", 3.5, "--noise", "gain=2,read=5"]
    trained = veriscope("train", "many", "--task", "isotropic", *words, "--out", "model", *TINY)
    assert trained.code == 0, trained.err
    assert "2 stacks" in trained.out
    assert vs.load("model").recipe.finer == {"Z": 3.5}
    told = veriscope("restore", "stack.tif", "--model", "model", "--out", "new.ome.tif")
    assert "5 times as long along Z as along X, but this model interpolates by 3.5" in told.err


def test_a_preset_of_the_paper_says_the_task(here: Path, veriscope: Any) -> None:
    small = shlex.split("--base 2 --batch 2 --patch 16,16 --per-image 1 --members 1 --epochs 1 --device cpu")
    trained = veriscope("train", "stack.tif", "--preset", "drosophila", "--psf", "none", "--out", "paper", *small)
    assert trained.code == 0, trained.err
    recipe = vs.load("paper").recipe
    assert (recipe.kernel, recipe.task, recipe.schedule) == (5, "isotropic", "plateau")


@pytest.mark.parametrize("factor", [[], ["--factor", "z=5"]])
def test_pairs_with_more_pixels_in_high(here: Path, veriscope: Any, factor: list[str]) -> None:
    tiny = [word if word != "16,16" else "4,16,16" for word in TINY]
    trained = veriscope("train", "stack.tif", "fine.tif", "--task", "upsample", *factor, "--out", "model", *tiny)
    assert trained.code == 0, trained.err
    assert ("--factor Z=5, as the sizes say" in trained.err) == (not factor)
    assert vs.load("model").recipe.upsample == (5, 1, 1)
    assert veriscope("restore", "stack.tif", "--model", "model", "--out", "new.ome.tif").code == 0
    image = vs.read_image("new.ome.tif")
    assert image.shape == (30, 44, 40)
    np.testing.assert_allclose(image.voxel_size, (0.1, 0.1, 0.1), rtol=1e-4)
    judged = veriscope("judge", "stack.tif", "fine.tif", "--model", "model")
    assert "input, interpolated" in judged.out


ISOTROPIC = "train stack.tif --out out --task isotropic "
REFUSED = {
    "stack.tif without HIGH": ("train stack.tif --out out", "HIGH is missing.*--task isotropic"),
    "HIGH for isotropic": (ISOTROPIC + "--psf none fine.tif", "stacks alone, so HIGH .fine.tif. has no meaning"),
    "no PSF": (ISOTROPIC, "how the microscope blurs: give --psf gaussian:na=1.1.*--psf none"),
    "unknown PSF": (ISOTROPIC + "--psf magic", "'magic' is neither a kind of PSF"),
    "PSF larger than a patch": (ISOTROPIC + "--psf widefield:na=0.3 --patch 16,16", "PSF is larger than a patch"),
    "unknown task": ("train stack.tif fine.tif --out out --task polish", "--task polish is not known. Choose one of"),
    "PSF for another task": ("train stack.tif fine.tif --out out --psf none", "--psf can only be given for --task iso"),
    "factor for another task": ("train stack.tif fine.tif --out out --factor Z=5", "--factor can only be given for"),
    "subsample below 1": (ISOTROPIC + "--psf none --subsample 0.5", "--subsample 0.5 is not possible"),
    "no voxel size": (ISOTROPIC.replace("stack", "plain") + "--axes ZYX --psf none", "so --subsample must"),
    "PSF without voxel size": (
        ISOTROPIC.replace("stack", "plain") + "--axes ZYX --subsample 5 --psf gaussian:na=1",
        "needs the voxel size of the image",
    ),
    "noise": (ISOTROPIC + "--psf none --noise loud=3", "--noise loud=3 is not understood.*gain=2,read=5,offset=100"),
    "noise below 0": (ISOTROPIC + "--psf none --noise gain=-3", "Noise has a gain and a read noise of at least 0"),
    "normalize": (ISOTROPIC + "--psf none --normalize fixed", "--normalize is not for --task isotropic"),
    "preset": (ISOTROPIC + "--psf none --preset planaria", "--preset planaria is for --task restore"),
    "factor that sizes deny": (
        "train stack.tif fine.tif --out out --task upsample --factor Z=4",
        "should have 4 times as many pixels along Z as low, about 24, but has 30.*Check the factor",
    ),
    "factor below 1": ("train stack.tif fine.tif --out out --task upsample --factor Z=0.2", "numbers from 1"),
    "factor without a name": ("train stack.tif fine.tif --out out --task upsample --factor 5", "not understood at '5'"),
    "nothing is finer": ("train stack.tif stack.tif --out out --task upsample", "do not show how much finer high is"),
}


@pytest.mark.parametrize(("command", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_in_one_message(here: Path, veriscope: Any, command: str, message: str) -> None:
    import re

    answer = veriscope(*shlex.split(command), "--epochs", "1", "--members", "1")
    assert answer.code == 2
    assert re.search(message, " ".join(answer.err.split())), answer.err
    assert "Traceback" not in answer.err
    assert not Path("out").exists()
