"""veriscope resolution: one line for a plane, two for a stack, isotropy for a stack alone; charts on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import veriscope as vs


def photons(shape: tuple[int, ...], sigma: tuple[float, ...]) -> Any:
    rng = np.random.default_rng(1)
    return 3000 * gaussian_filter((rng.random(shape) > 0.99).astype(float), sigma) + 5


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planes and stacks taken twice, with and without voxel size."""
    folder = tmp_path_factory.mktemp("resolution")
    plane, stack = photons((96, 96), (1.5, 1.5)), photons((24, 48, 48), (2, 1, 1))
    rng = np.random.default_rng(0)
    for name in ("once", "again"):
        tifffile.imwrite(folder / f"{name}.tif", rng.poisson(plane).astype(np.uint16))
        image = vs.Image(rng.poisson(stack).astype(np.uint16), "ZYX", (0.3, 0.1, 0.1))
        vs.save_image(folder / f"stack-{name}.tif", image)
    tifffile.imwrite(folder / "small.tif", plane[:20].astype(np.uint16))
    tifffile.imwrite(folder / "noise.tif", rng.poisson(20, (96, 96)).astype(np.uint16))
    return folder


@pytest.fixture
def here(taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import shutil

    monkeypatch.chdir(shutil.copytree(taken, tmp_path / "here"))
    return Path.cwd()


def test_two_planes_tell_one_number_in_pixels_where_nothing_else_is_known(here: Path, veriscope: Any) -> None:
    found = veriscope("resolution", "once.tif", "again.tif", "--axes", "YX")
    assert found.code == 0, found.err
    words = found.out.split()
    assert words[0] == "resolution"
    assert words[2] == "pixels"
    assert 2.5 < float(words[1]) < 6
    assert "size of the voxels is not known" in found.err
    stricter = veriscope("resolution", "once.tif", "again.tif", "--axes", "YX", "--criterion", "1/2")
    assert float(stricter.out.split()[1]) > float(words[1])


def test_stacks_tell_across_and_along_z_in_um_and_draw_it(here: Path, veriscope: Any) -> None:
    found = veriscope("resolution", "stack-once.tif", "stack-again.tif", "--plot", "curve.svg")
    assert found.code == 0, found.err
    lateral, axial = (line.split() for line in found.out.splitlines()[:2])
    assert (lateral[0], lateral[-1], axial[0], axial[-1]) == ("lateral", "um", "axial", "um")
    assert float(lateral[-2]) < float(axial[-2])
    assert "lateral: 0." in Path("curve.svg").read_text()


def test_one_stack_tells_its_isotropy_and_draws_its_spectrum(here: Path, veriscope: Any) -> None:
    found = veriscope("resolution", "stack-once.tif", "--plot", "spectrum.png")
    assert found.code == 0, found.err
    assert found.out.split()[0] == "isotropy"
    assert "(xz)" in found.out
    assert Path("spectrum.png").read_bytes().startswith(b"\x89PNG")


def test_photons_of_one_plane_can_be_divided(here: Path, veriscope: Any) -> None:
    found = veriscope("resolution", "once.tif", "--axes", "YX", "--split")
    assert found.code == 0, found.err
    assert 2.5 < float(found.out.split()[1]) < 8


def test_the_size_of_voxels_can_be_told(here: Path, veriscope: Any) -> None:
    words = ("resolution", "once.tif", "again.tif", "--axes", "YX")
    pixels, um = veriscope(*words), veriscope(*words, "--voxel-size", "0.5,0.5")
    assert um.err == ""
    assert um.out.split()[2] == "um"
    assert float(um.out.split()[1]) == pytest.approx(float(pixels.out.split()[1]) / 2, rel=0.01)
    tifffile.imwrite("unknown.tif", vs.read_image("stack-once.tif").array, metadata=None)
    alone = ("resolution", "unknown.tif", "--axes", "ZYX")
    assert "--voxel-size" in veriscope(*alone).err
    told = veriscope(*alone, "--voxel-size", "0.3,0.1,0.1")
    assert told.out == veriscope("resolution", "stack-once.tif").out


def test_what_agrees_in_every_detail_is_doubted(here: Path, veriscope: Any) -> None:
    assert "Are they two acquisitions?" in veriscope("resolution", "once.tif", "once.tif", "--axes", "YX").err
    doubted = veriscope("resolution", "once.tif", "--axes", "YX", "--split", "--gain", "0.05")
    assert "check --gain and --offset" in doubted.err
    for words in (("again.tif",), ("--split",)):
        assert "every detail" not in veriscope("resolution", "once.tif", "--axes", "YX", *words).err


def test_images_of_other_things_have_nothing_in_common(here: Path, veriscope: Any) -> None:
    found = veriscope("resolution", "noise.tif", "once.tif", "--axes", "YX")
    assert found.code == 0
    assert "none: both have no more in common than noise has by chance" in found.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["once.tif", "--axes", "YX"], "measured from two images of the same field.*--split"),
        (["once.tif", "small.tif", "--axes", "YX"], r"96 x 96 \(YX\) and 20 x 96"),
        (["once.tif", "nothing.tif", "--axes", "YX"], "nothing.tif"),
        (["once.tif", "again.tif", "--split"], "--split divides one image"),
        (["once.tif", "again.tif", "--criterion", "2"], "--criterion 2 is not known. Choose 1/7"),
        (["once.tif", "--split", "--gain", "0"], "--gain 0 is not possible"),
        (["once.tif", "--split", "--axes", "YX", "--offset", "1e6"], "no photons to divide"),
        (["once.tif", "--split", "--seed", "-1"], "--seed -1 is not possible"),
        (["once.tif", "again.tif", "--axes", "YX", "--channel", "3"], "no channel 3"),
        (["once.tif", "again.tif", "--voxel-size", "0.1,no"], "--voxel-size 0.1,no is not a size in um"),
        (
            ["once.tif", "again.tif", "--axes", "YX", "--voxel-size", "1,1,1"],
            "3 numbers, but once.tif has the axes YX",
        ),
        (["once.tif", "again.tif", "--plot", "curve.pdf"], "--plot curve.pdf is written as .svg or .png"),
        (
            ["once.tif", "again.tif", "--plot", "no/curve.svg"],
            "--plot no/curve.svg cannot be written: there is no folder",
        ),
    ],
)
def test_bad_input_gets_one_clear_message_and_leaves_no_file(
    here: Path, veriscope: Any, words: list[str], message: str
) -> None:
    import re

    before = sorted(here.rglob("*"))
    found = veriscope("resolution", *words)
    assert found.code == 2
    assert re.search(message, found.err), found.err
    assert "Traceback" not in found.err
    assert sorted(here.rglob("*")) == before


def test_a_chart_is_replaced_only_when_asked(here: Path, veriscope: Any) -> None:
    Path("curve.svg").write_text("mine")
    words = ["resolution", "once.tif", "again.tif", "--axes", "YX", "--plot", "curve.svg"]
    assert veriscope(*words).code == 2
    assert Path("curve.svg").read_text() == "mine"
    assert veriscope(*words, "--overwrite").code == 0
    assert "<svg" in Path("curve.svg").read_text()
