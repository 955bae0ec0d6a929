from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from veriscope.errors import DataError, OutputError
from veriscope.images.conditions import TESTING, TRAINING, holds_conditions, read_conditions
from veriscope.images.reading import read_image
from veriscope.simulate import experiments
from veriscope.simulate.experiments import field, simulate, standin
from veriscope.simulate.standins import INPUT, LABELS, SCALES, STANDINS, TRUTH

AT_LEVELS = [name for name, stand in STANDINS.items() if stand.levels]
THIN = [name for name, stand in STANDINS.items() if stand.subsample > 1]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", STANDINS)
def test_the_same_seed_gives_the_same_files_bit_by_bit(name: str, tmp_path: Path) -> None:
    first = digests(simulate(name, tmp_path / "a", seed=3, scale="tiny"))
    assert first == digests(simulate(name, tmp_path / "b", seed=3, scale="tiny"))
    other = digests(simulate(name, tmp_path / "c", seed=4, scale="tiny"))
    assert not set(first.values()) & set(other.values())


@pytest.mark.parametrize("name", STANDINS)
def test_a_folder_holds_what_training_and_judging_ask_for(name: str, tmp_path: Path) -> None:
    folder = simulate(name, tmp_path / "set", scale="tiny")
    stand = standin(name)
    count, _, tests, _ = stand.fields["tiny"]
    assert holds_conditions(folder / TESTING)
    assert holds_conditions(folder / TRAINING) == (name not in THIN)
    for part, fields in ((TRAINING, count), (TESTING, tests)):
        for kind in stand.conditions:
            assert len(list((folder / part / kind).glob("*.ome.tif"))) == fields
        drawn = [json.loads(path.read_text()) for path in sorted((folder / part / "parameters").glob("*.json"))]
        assert len(drawn) == fields
        assert all("structure" in one and "camera" in one for one in drawn)
    told = json.loads((folder / "parameters.json").read_text())
    assert (told["experiment"], told["scale"], told["seed"]) == (name, "tiny", 0)
    truth = read_image(next((folder / TESTING / TRUTH).iterdir()))
    assert truth.voxel_size == pytest.approx(stand.voxel_size[-len(truth.spatial_axes) :])


def test_conditions_of_a_simulation_are_read_as_pairs(tmp_path: Path) -> None:
    folder = simulate("planaria", tmp_path / "set", scale="tiny")
    assert list(read_conditions(folder / TRAINING)) == ["condition_1", "condition_2", "condition_3"]


@pytest.mark.parametrize("name", AT_LEVELS)
def test_each_condition_has_the_light_it_says(name: str) -> None:
    stand = standin(name)
    for part in (TRAINING, TESTING):
        taken = field(name, part, 0, seed=1, scale="tiny").images
        stack = np.asarray(taken[stand.conditions[0]])
        lights = [np.asarray(taken[kind]).astype(float).mean() - stand.camera.offset for kind in stand.conditions]
        noise = [np.sqrt((light + stand.camera.read_noise**2) / stack.size) / light for light in lights]
        for level, light, error in zip(stand.levels, lights, noise, strict=True):
            # the ratio of two conditions, whatever the truth shows (flywing's is a plane, not the stack)
            wrong = 4 * (error + noise[0]) + 0.01
            assert light / lights[0] == pytest.approx(level / stand.levels[0], rel=wrong)
        if taken[TRUTH].shape == stack.shape:
            full = np.asarray(taken[TRUTH]).astype(float).mean() - stand.camera.offset
            for level, light, error in zip(stand.levels, lights, noise, strict=True):
                assert light / full == pytest.approx(level, rel=4 * error + 0.01)


def test_light_levels_are_those_of_the_paper() -> None:
    assert {name: [round(1 / level) for level in standin(name).levels] for name in AT_LEVELS} == {
        "planaria": [29, 58, 139],
        "tribolium": [200, 100, 40],
        "flywing": [20, 13, 8],
    }


def test_truths_of_tests_have_no_noise_and_those_of_training_that_of_full_light() -> None:
    stand = standin("planaria")
    exact, counted = (
        np.asarray(stand.make(stand, np.random.default_rng(0), (16, 64, 64), one).images[TRUTH]).astype(float)
        for one in (True, False)
    )
    photons = exact - stand.camera.offset
    variance = photons + stand.camera.read_noise**2 + 2 / 12  # both are rounded
    assert np.mean((counted - exact) ** 2 / variance) == pytest.approx(1, abs=0.03)
    assert (counted - exact).mean() == pytest.approx(0, abs=4 * np.sqrt(variance.mean() / exact.size))


@pytest.mark.parametrize("name", THIN)
@pytest.mark.parametrize("scale", SCALES)
def test_a_thin_stack_reaches_as_deep_as_its_truth(name: str, scale: str) -> None:
    stand = standin(name)
    for shape in stand.fields[scale][1::2]:
        planes = int((shape[0] - 1) / stand.subsample + 1e-9) + 1
        assert round(planes * stand.subsample) == shape[0]


@pytest.mark.parametrize("name", THIN)
def test_planes_of_a_thin_stack_stay_where_they_are(name: str) -> None:
    taken = field(name, TESTING, 0, seed=0, scale="tiny").images
    thin, truth, factor = taken[INPUT], taken[TRUTH], standin(name).subsample
    assert thin.voxel("Z") == pytest.approx(factor * truth.voxel("X"))
    few, many = np.asarray(thin).astype(float), np.asarray(truth).astype(float)
    z = few.ndim - 3
    for number in range(1, few.shape[z]):
        plane = few.take(number, z).ravel()
        alike = [np.corrcoef(plane, many.take(at, z).ravel())[0, 1] for at in range(many.shape[z])]
        assert abs(int(np.argmax(alike)) - number * factor) <= 2.5  # blurred along Z, so not sharper than that


def test_labels_lie_where_the_truth_is_bright() -> None:
    taken = field("drosophila", TESTING, 0, seed=0, scale="tiny").images
    inside = np.asarray(taken[LABELS]) > 0
    truth = np.asarray(taken[TRUTH]).astype(float)
    assert truth[inside].mean() > 2 * truth[~inside].mean()


def test_unknown_experiments_and_scales_are_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no experiment called 'fly'\. Choose one of planaria, tribolium"):
        simulate("fly", tmp_path / "set")
    with pytest.raises(DataError, match=r"no scale called 'huge'\. Choose one of tiny, small, paper"):
        simulate("planaria", tmp_path / "set", scale="huge")
    with pytest.raises(DataError, match="seed is a whole number from 0, not -1"):
        simulate("planaria", tmp_path / "set", scale="tiny", seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_only_a_simulation_is_replaced_and_only_when_asked(tmp_path: Path) -> None:
    folder = simulate("hela", tmp_path / "set", scale="tiny")
    with pytest.raises(OutputError, match="exists already"):
        simulate("hela", folder, scale="tiny")
    before = digests(folder)
    simulate("hela", folder, seed=1, scale="tiny", overwrite=True)
    assert digests(folder) != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not a simulation, so it is not replaced"):
        simulate("hela", tmp_path / "mine", scale="tiny", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_interrupted_simulation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate("hela", tmp_path / "set", scale="tiny", progress=stop)
    assert list(tmp_path.iterdir()) == []

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experiments, "save_image", full)
    with pytest.raises(OutputError, match=r"No space left on device.*Free some space"):
        simulate("hela", tmp_path / "set", scale="tiny")
    assert list(tmp_path.iterdir()) == []
