"""veriscope simulate EXPERIMENT, tubules, granules, and veriscope reproduce, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope.images.reading import read_image
from veriscope.simulate.experiments import SETTINGS
from veriscope.simulate.standins import STANDINS


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_experiment_is_a_command_that_explains_itself(veriscope: Any) -> None:
    listed = veriscope("simulate", "--help").out
    assert all(name in listed for name in STANDINS)
    told = " ".join(veriscope("simulate", "drosophila", "--help").out.split())
    assert "Nuclei of Drosophila embryos" in told
    assert "veriscope simulate drosophila --out drosophila" in told


def test_an_experiment_is_written_once_and_replaced_only_when_asked(tmp_path: Path, veriscope: Any) -> None:
    done = veriscope("simulate", "hela", "--out", "h", "--scale", "tiny")
    assert done.code == 0, done.err
    assert "4 fields for training and 2 for judging" in done.out
    again = veriscope("simulate", "hela", "--out", "h", "--scale", "tiny")
    assert again.code == 2
    assert "exists already" in again.err
    assert veriscope("simulate", "hela", "--out", "h", "--scale", "tiny", "--seed", "1", "--overwrite").code == 0
    assert json.loads((tmp_path / "h" / SETTINGS).read_text())["seed"] == 1


def test_a_dry_run_of_a_simulation_writes_nothing(tmp_path: Path, veriscope: Any) -> None:
    done = veriscope("simulate", "planaria", "--out", "p", "--scale", "paper", "--dry-run")
    assert done.code == 0, done.err
    assert "10 fields of 80 x 1024 x 1024 voxels" in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["tubules", "granules"])
def test_training_pairs_of_own_optics(kind: str, tmp_path: Path, veriscope: Any) -> None:
    words = f"simulate {kind} --out pairs --fields 3 --size 40,48 --pixel 0.1 --psf gaussian:na=0.8 --photons 50"
    assert veriscope(*words.split()).code == 0
    for folder in ("low", "high"):
        images = [read_image(path) for path in sorted((tmp_path / "pairs" / folder).iterdir())]
        assert [image.shape for image in images] == [(40, 48)] * 3
        assert all(image.voxel_size == pytest.approx((0.1, 0.1)) for image in images)
    drawn = [json.loads(path.read_text()) for path in sorted((tmp_path / "pairs" / "parameters").iterdir())]
    assert [one["photons"] for one in drawn] == [50.0] * 3
    told = json.loads((tmp_path / "pairs" / SETTINGS).read_text())
    assert told["optics"]["psf"] == "gaussian:na=0.8"
    low, high = (np.asarray(read_image(tmp_path / "pairs" / f / "field-0001.ome.tif")) for f in ("low", "high"))
    assert np.corrcoef(low.ravel(), high.ravel())[0, 1] > 0.3


def test_the_tightest_bend_of_a_filament_is_that_asked_for(tmp_path: Path, veriscope: Any) -> None:
    words = "simulate tubules --out pairs --fields 1 --size 32,32 --radius 5 --pixel 0.08"
    assert veriscope(*words.split()).code == 0
    kmax = json.loads((tmp_path / "pairs" / SETTINGS).read_text())["structure"]["kmax"]
    assert 0.04 / (2 * np.pi * kmax) == pytest.approx(5)


def test_reproducing_prints_the_table_and_goes_on_where_it_stopped(tmp_path: Path, veriscope: Any) -> None:
    done = veriscope("reproduce", "ins1-granules", "--scale", "tiny", "--out", "r")
    assert done.code == 0, done.err
    assert "condition" in done.out
    assert "the network is" in done.out
    assert (tmp_path / "r" / "table.txt").read_text().strip() in done.out
    again = veriscope("reproduce", "ins1-granules", "--scale", "tiny", "--out", "r")
    assert again.code == 0, again.err
    assert "Simulating" not in again.err
    anew = veriscope("reproduce", "ins1-granules", "--scale", "tiny", "--out", "r", "--overwrite", "--seed", "1")
    assert anew.code == 0, anew.err
    assert "Simulating" in anew.err


def test_the_size_of_the_training_data_is_studied_in_one_command(tmp_path: Path, veriscope: Any) -> None:
    words = "reproduce ins1-granules --scale tiny --out sizes --patches 2,8 --minutes 0.01"
    done = veriscope(*words.split())
    assert done.code == 0, done.err
    rows = [line.split()[1] for line in done.out.splitlines() if line.startswith("input ")]
    assert rows == ["input", "2", "8"]
    assert (tmp_path / "sizes" / "data-size.svg").read_text().startswith("<?xml")
    assert len(json.loads((tmp_path / "sizes" / "data-size.json").read_text())["points"]) == 2


def test_a_dry_run_of_an_experiment_does_nothing(tmp_path: Path, veriscope: Any) -> None:
    done = veriscope("reproduce", "flywing", "--dry-run")
    assert done.code == 0, done.err
    assert "project" in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("reproduce fly", "There is no experiment called 'fly'. Choose one of planaria, tribolium"),
        ("reproduce hela --scale huge", "--scale huge is not known"),
        ("reproduce hela --minutes 0", "--minutes 0 is not possible"),
        ("reproduce hela --seed -1", "--seed -1 is not possible"),
        ("reproduce hela --data nowhere", "--data nowhere is no folder"),
        ("reproduce hela --data mine", "should hold a folder GT"),
        ("reproduce hela --out mine", "was not made by veriscope reproduce"),
        ("reproduce hela --patches many", "--patches many is not understood"),
        ("simulate fly --out f", "No such command 'fly'"),
        ("simulate hela --out f --scale huge", "no scale called 'huge'"),
        ("simulate hela --out f --seed -1", "--seed -1 is not possible"),
        ("simulate hela --out mine", "exists already"),
        ("simulate hela --out mine --overwrite", "is not a simulation, so it is not replaced"),
        ("simulate hela", "--out"),
        ("simulate tubules --out f --fields 0", "--fields 0 is not possible"),
        ("simulate tubules --out f --size 128", "--size 128 is not the size of a plane"),
        ("simulate tubules --out f --pixel 0", "--pixel 0 is not possible"),
        ("simulate tubules --out f --psf gaussian:na=2", "numerical aperture"),
        ("simulate tubules --out f --photons 500,20", "--photons 500,20 is not possible"),
        ("simulate tubules --out f --photons few", "--photons few is not possible"),
        ("simulate tubules --out f --background -1", "background"),
        ("simulate tubules --out f --radius 0", "--radius 0 is not possible"),
        ("simulate granules --out f --width -1", "--width -1 is not possible"),
        ("simulate granules --out f --gain 0", "gain"),
    ],
)
def test_bad_input_stops_with_one_message(words: str, said: str, tmp_path: Path, veriscope: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = veriscope(*words.split())
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "thesis.txt"]
