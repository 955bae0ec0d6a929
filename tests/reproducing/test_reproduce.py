from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from veriscope.classical.denoise import NON_LOCAL_MEANS
from veriscope.errors import DataError, OutputError, TrainingError
from veriscope.images.conditions import pooled, read_conditions
from veriscope.networks.folder import load
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import save_npz
from veriscope.reproducing import reproduce as reproducing
from veriscope.reproducing.experiments import EXPERIMENTS, experiment
from veriscope.reproducing.paper import INPUT, NETWORK
from veriscope.reproducing.reproduce import Reporter, Run, reproduce
from veriscope.simulate.experiments import simulate
from veriscope.simulate.standins import STANDINS


@pytest.fixture(autouse=True)
def quick_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Non-local means tuned over its strength only: the search over all settings has tests of its own."""
    quick = replace(NON_LOCAL_MEANS, grid={**NON_LOCAL_MEANS.grid, "patch": (3,), "distance": (2,)})
    monkeypatch.setattr(reproducing, "NON_LOCAL_MEANS", quick)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_from_images_to_table(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    done = reproduce(Run(name, "tiny"), tmp_path / "out", Reporter(say=said.append))
    chosen = EXPERIMENTS[name]
    assert done.conditions == STANDINS[name].conditions
    for condition in done.conditions:
        methods = [line.method for line in done.lines if line.condition == condition]
        assert methods == [INPUT, *([chosen.rival] if chosen.rival else []), NETWORK]
        for line in done.lines:
            assert line.nrmse is not None
            assert 0 < line.nrmse < 1
            assert (line.isotropy is not None) == chosen.isotropic
            assert (line.resolved_um is not None) == chosen.lines
        assert (tmp_path / "out" / f"{condition}.html").exists()
    assert load(tmp_path / "out" / "model").recipe.task == chosen.task
    assert (tmp_path / "out" / "table.txt").read_text() == f"{done}\n"
    assert json.loads((tmp_path / "out" / "table.json").read_text())["experiment"] == name
    assert said[0] == f"Simulating {name} (tiny)"


def test_what_is_done_already_is_used_again(tmp_path: Path) -> None:
    first = reproduce(Run("ins1-granules", "tiny"), tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*.tif")}
    weights = (tmp_path / "model" / "member-0.safetensors").read_bytes()
    said: list[str] = []
    again = reproduce(Run("ins1-granules", "tiny"), tmp_path, Reporter(say=said.append))
    assert again.lines == first.lines
    assert not any("Simulating" in text for text in said)
    assert "The networks are trained already" in said
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (tmp_path / "model" / "member-0.safetensors").read_bytes() == weights


def test_other_settings_are_not_mixed_with_what_is_there(tmp_path: Path) -> None:
    reproduce(Run("ins1-granules", "tiny"), tmp_path)
    with pytest.raises(OutputError, match=r"holds a run with another seed, which is left as it is\. Choose another"):
        reproduce(Run("ins1-granules", "tiny", seed=1), tmp_path)
    with pytest.raises(TrainingError, match="trained with other"):
        reproduce(Run("ins1-granules", "tiny", minutes=0.01), tmp_path)
    assert json.loads((tmp_path / "data" / "parameters.json").read_text())["seed"] == 0


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as the field publishes it: patches in a file, test images in folders."""
    made = simulate("planaria", tmp_path_factory.mktemp("made") / "set", scale="tiny")
    place = tmp_path_factory.mktemp("published") / "Denoising_Planaria"
    shutil.copytree(made / "test_data", place / "test_data", ignore=shutil.ignore_patterns("labels", "parameters"))
    pairs = pooled(read_conditions(made / "train_data"))
    (place / "train_data").mkdir()
    save_npz(place / "train_data" / "data_label.npz", cut_patches(pairs, (8, 32, 32), 8), count=24)
    return place


def test_published_data_run_the_same_experiment(published: Path, tmp_path: Path) -> None:
    done = reproduce(Run("planaria", "tiny", data=published), tmp_path / "out")
    assert done.conditions == ["condition_1", "condition_2", "condition_3"]
    assert done.facts["data"] == str(published)
    assert done.facts["patches"] == 20  # of 24, without those for checking
    assert not (tmp_path / "out" / "data").exists()


def test_published_stacks_without_truth_are_judged_by_their_isotropy(tmp_path: Path) -> None:
    made = simulate("drosophila", tmp_path / "made", scale="tiny")
    place = tmp_path / "Isotropic_Drosophila"
    shutil.copytree(made / "train_data" / "input", place / "train_data")
    shutil.copytree(made / "test_data" / "input", place / "test_data")
    done = reproduce(Run("drosophila", "tiny", data=place), tmp_path / "out")
    assert [line.method for line in done.lines] == [INPUT, NETWORK]
    assert all(line.isotropy and line.nrmse is None for line in done.lines)
    assert np.all(np.array(done.of(INPUT, NETWORK).isotropy) > np.array(done.of(INPUT, INPUT).isotropy))


def test_data_that_do_not_fit_are_refused_in_words(tmp_path: Path, published: Path) -> None:
    with pytest.raises(DataError, match=r"no experiment called 'fly'\. Choose one of planaria"):
        experiment("fly")
    with pytest.raises(DataError, match="There is no folder"):
        reproduce(Run("planaria", "tiny", data=tmp_path / "nowhere"), tmp_path / "out")
    wing = simulate("flywing", tmp_path / "wing", scale="tiny")
    with pytest.raises(DataError, match="holds stacks with one plane for each: these are not the data of this"):
        reproduce(Run("planaria", "tiny", data=wing), tmp_path / "out")
    shutil.copytree(published / "train_data", tmp_path / "half" / "train_data")
    (tmp_path / "half" / "test_data").mkdir()
    with pytest.raises(DataError, match=r"test_data' holds nothing to judge on\. Put the truths into a folder GT"):
        reproduce(Run("planaria", "tiny", data=tmp_path / "half"), tmp_path / "out")
