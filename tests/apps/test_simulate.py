"""veriscope simulate: known truth, the same files for the same seed, and one clear message for what cannot be."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import veriscope as vs
from veriscope.simulate.camera import Camera
from veriscope.simulate.photograph import as_light, photograph
from veriscope.simulate.psf import debye

PIXELS = np.random.default_rng(0).gamma(2.0, 500.0, (2, 2, 7, 20, 24)).astype(np.uint16)  # T C Z Y X
VOXEL = (0.5, 0.1, 0.1)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good images of several kinds."""
    (tmp_path / "good").mkdir()
    for number in range(3):
        stack = vs.Image(PIXELS[0, 0] + number, "ZYX", VOXEL)
        vs.save_image(tmp_path / "good" / f"cell{number}.ome.tif", stack)
    vs.save_image(tmp_path / "whole.ome.tif", vs.Image(PIXELS, "TCZYX", VOXEL, time_step=3.0))
    tifffile.imwrite(tmp_path / "plain.tif", PIXELS[0, 0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "flat.tif", PIXELS[0, 0, 0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "even.tif", np.full((20, 24), 7, np.uint16))
    (tmp_path / "notes.txt").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_photograph_keeps_axes_voxels_and_time_and_tells_how_it_was_made(bench: Path, veriscope: Any) -> None:
    answer = veriscope(
        *shlex.split(
            "simulate camera --on whole.ome.tif --photons 40 --read-noise 2 --offset 90 --gain 1.5 --background 0.1 "
            "--psf confocal:na=0.9 --subsample 2.5 --seed 4 --out made/low.ome.tif"
        )
    )
    assert answer.code == 0, answer.err
    low = vs.read_image("made/low.ome.tif")
    assert (low.axes, low.shape, low.dtype) == ("TCZYX", (2, 2, 3, 20, 24), np.uint16)
    assert low.voxel_size == pytest.approx((1.25, 0.1, 0.1))
    assert low.time_step == 3.0
    told = json.loads(Path("made/low.parameters.json").read_text())
    # What is told is enough to make it again.
    light = as_light(vs.read_image("whole.ome.tif"))
    assert told["dark"] == list(light.dark)
    assert told["bright"] == list(light.bright)
    psf = debye(
        told["psf"]["na"], told["psf"]["wavelength"], told["psf"]["index"], told["psf"]["voxel_size"],
        told["psf"]["kind"] == "confocal", told["psf"]["excitation"],
    )  # fmt: skip
    thinned = (told["subsample"]["axis"], told["subsample"]["factor"])
    np.testing.assert_array_equal(low, photograph(light.image, Camera(**told["camera"]), told["drawn"], psf, thinned))
    assert (told["seed"], told["image"]) == (4, "whole.ome.tif")
    assert str(bench) not in Path("made/low.parameters.json").read_text()


def test_a_folder_becomes_a_folder_of_the_same_names_ready_to_train_with(bench: Path, veriscope: Any) -> None:
    answer = veriscope("simulate", "camera", "--on", "good", "--photons", 10, "--out", "low")
    assert answer.code == 0, answer.err
    pairs = vs.read_pairs("low", "good")
    assert pairs.names == ["cell0", "cell1", "cell2"]
    noise = [np.asarray(pair.low, np.float64) for pair in pairs]
    assert not np.array_equal(noise[0], noise[1])
    assert sorted(path.name for path in Path("low").glob("*.json")) == [f"cell{n}.parameters.json" for n in range(3)]
    # The noise of an image does not depend on what else is in its folder.
    assert veriscope("simulate", "camera", "--on", "good/cell1.ome.tif", "--photons", 10, "--out", "one").code == 0
    assert Path("one/cell1.ome.tif").read_bytes() == Path("low/cell1.ome.tif").read_bytes()


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.ome.zarr"])
def test_the_same_seed_gives_the_same_files_bit_by_bit(name: str, bench: Path, veriscope: Any) -> None:
    def made(folder: str, *more: object) -> dict[str, bytes]:
        command = "simulate camera --on good/cell0.ome.tif --photons 10 --psf gaussian:na=0.8 --out"
        assert veriscope(*shlex.split(command), f"{folder}/{name}", *more).code == 0
        files = (path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    first = made("first")
    assert len(first) >= 2
    assert made("second") == first
    assert made("second", "--overwrite") == first
    assert made("third", "--seed", 1) != first


def test_photons_come_out_as_asked(bench: Path, veriscope: Any) -> None:
    assert veriscope("simulate", "camera", "--on", "flat.tif", "--photons", 1e4, "--out", "low.tif").code == 0
    low = np.asarray(vs.read_image("low.tif"), np.float64)
    dark, bright = np.percentile(PIXELS[0, 0, 0], (0.1, 99.9))
    light = np.clip((PIXELS[0, 0, 0] - dark) / (bright - dark), 0, None)
    np.testing.assert_allclose(low, 100 + 1e4 * light, atol=600)


def test_a_bead_image_can_be_the_microscope(bench: Path, veriscope: Any) -> None:
    z, y, x = np.mgrid[-4:5, -8:9, -8:9]
    bead = 1000 * np.exp(-(z**2 + (y**2 + x**2) / 4) / 2) + 100
    vs.save_image("bead.ome.tif", vs.Image(bead.astype(np.uint16), "ZYX", VOXEL))
    command = "simulate camera --on good --photons 10 --psf bead.ome.tif --out low"
    answer = veriscope(*shlex.split(command))
    assert answer.code == 0, answer.err
    told = json.loads(Path("low/cell0.parameters.json").read_text())
    assert told["psf"] == {"kind": "measured", "file": "bead.ome.tif", "voxel_size": [0.5, 0.1, 0.1]}


def test_one_bad_image_does_not_stop_the_others(bench: Path, veriscope: Any) -> None:
    answer = veriscope("simulate", "camera", "--on", "*.tif", "--axes", "YX", "--photons", 10, "--out", "low")
    assert answer.code == 2
    assert "3 of 4 images could not be used" in answer.err
    assert "the others are done" in answer.err
    assert sorted(path.name for path in Path("low").iterdir()) == ["flat.ome.tif", "flat.parameters.json"]


def test_values_that_16_bit_cannot_hold_are_told(bench: Path, veriscope: Any) -> None:
    answer = veriscope("simulate", "camera", "--on", "flat.tif", "--photons", 1e5, "--out", "low.tif")
    assert answer.code == 0
    assert "reached 65535" in answer.err
    assert np.asarray(vs.read_image("low.tif")).max() == 65535


def test_simulate_alone_shows_its_commands(veriscope: Any) -> None:
    answer = veriscope("simulate")
    assert answer.code == 0
    assert "camera" in answer.out
    assert veriscope("simulate", "camera", "-h").code == 0


ON = "simulate camera --on good/cell0.ome.tif --photons 10 --out out "
REFUSED = [
    ("simulate worms", "No such command 'worms'"),
    ("simulate camera --photons 10 --out out", "--on"),
    ("simulate camera --on good --out out", "--photons"),
    (ON.replace("10", "0"), "--photons 0 is not possible"),
    (ON.replace("10", "many"), "--photons"),
    (ON.replace("10", "1e20"), "--photons 1e+20 is not possible"),
    (ON + "--gain 0", "--gain 0 is not possible"),
    (ON + "--read-noise -1", "--read-noise -1 is not possible"),
    (ON + "--background -1", "background"),
    (ON + "--offset nan", "--offset nan is not possible"),
    (ON + "--seed -1", "--seed -1"),
    (ON.replace("good/cell0.ome.tif", "nowhere"), "nowhere"),
    (ON.replace("good/cell0.ome.tif", "notes.txt"), "not an image"),
    (ON.replace("good/cell0.ome.tif", "plain.tif"), "--axes ZYX"),
    (ON.replace("good/cell0.ome.tif", "even.tif"), "needs contrast"),
    (ON.replace("--out out", "--out good/cell0.ome.tif --overwrite"), "would replace its own input"),
    (ON.replace("--out out", "--out whole.ome.tif"), "exists already"),
    (ON.replace("--out out", "--out out.png"), "cannot be written"),
    (ON.replace("good/cell0.ome.tif", "good").replace("--out out", "--out out.tif"), "one file"),
    (ON + "--psf gausian:na=1", "neither a kind of PSF"),
    (ON + "--psf gaussian", "numerical aperture"),
    (ON + "--psf gaussian:na=1.4", "below the refractive index"),
    (ON + "--psf widefield:na=high", "not a number"),
    (ON + "--psf notes.txt", "not an image"),
    (ON + "--psf flat.tif", "at least 3 planes"),
    (ON.replace("good/cell0.ome.tif", "plain.tif") + "--axes ZYX --psf widefield:na=1", "which it does not state"),
    (ON + "--subsample 0.5", "--subsample 0.5 is not possible"),
    (ON + "--subsample 100", "at most 6"),
    (ON + "--subsample 2 --axis T", "not along 'T'"),
    (ON.replace("good/cell0.ome.tif", "flat.tif") + "--subsample 2", "not along 'Z'"),
]


@pytest.mark.parametrize(("command", "said"), REFUSED)
def test_what_cannot_be_meant_ends_in_one_message(command: str, said: str, bench: Path, veriscope: Any) -> None:
    before = {path: path.read_bytes() for path in bench.rglob("*") if path.is_file()}
    answer = veriscope(*shlex.split(command))
    assert answer.code == 2
    assert answer.err.count("error: ") == 1, answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err + answer.out
    assert {path: path.read_bytes() for path in bench.rglob("*") if path.is_file()} == before
    assert not (bench / "out").exists()


def test_existing_parameters_are_not_replaced_without_asking(bench: Path, veriscope: Any) -> None:
    Path("out").mkdir()
    Path("out/cell0.parameters.json").write_text("mine")
    answer = veriscope(*shlex.split(ON))
    assert answer.code == 2
    assert "cell0.parameters.json exists already" in answer.err.replace("\n", " ")
    assert veriscope(*shlex.split(ON), "--overwrite").code == 0
    assert Path("out/cell0.parameters.json").read_text() != "mine"


def test_when_the_parameters_cannot_be_written_there_is_no_image_either(
    bench: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.link", full)
        answer = veriscope(*shlex.split(ON))
    assert answer.code == 2
    assert "No space left" in answer.err
    assert not Path("out").exists()
