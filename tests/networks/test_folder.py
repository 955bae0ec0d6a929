from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.errors import ModelError, OutputError
from veriscope.networks import build
from veriscope.networks import folder as files
from veriscope.networks.model import Ensemble

RECIPE = vs.Recipe(axes="YX", depth=1, base=2)


@pytest.fixture
def ensemble() -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(RECIPE, (build(RECIPE), build(RECIPE)), {"voxel_size": [0.1, 0.1]})


def test_what_was_saved_is_loaded(ensemble: Ensemble, tmp_path: Path) -> None:
    vs.save(ensemble, tmp_path / "m.veriscope")
    loaded = vs.load(tmp_path / "m.veriscope")
    image = torch.rand(1, 1, 8, 8)
    for ours, theirs in zip(loaded.predict(image), ensemble.predict(image), strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)
    assert loaded.recipe == ensemble.recipe
    assert loaded.facts == ensemble.facts


def test_predictions_have_members_first(ensemble: Ensemble) -> None:
    means, scales = ensemble.predict(torch.rand(3, 1, 8, 6))
    assert means.shape == (2, 3, 1, 8, 6)
    assert scales is not None
    assert scales.shape == means.shape


def test_saving_asks_before_it_replaces(ensemble: Ensemble, tmp_path: Path) -> None:
    vs.save(ensemble, tmp_path / "m")
    with pytest.raises(OutputError, match="exists already"):
        vs.save(ensemble, tmp_path / "m")
    vs.save(Ensemble(RECIPE, ensemble.members[:1]), tmp_path / "m", overwrite=True)
    assert len(vs.load(tmp_path / "m")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_saving_never_replaces_a_folder_that_is_no_model(ensemble: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not a veriscope model"):
        vs.save(ensemble, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"


def test_a_full_disk_leaves_the_old_model(ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vs.save(ensemble, tmp_path / "m")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        vs.save(Ensemble(RECIPE, ensemble.members[:1]), tmp_path / "m", overwrite=True)
    assert len(vs.load(tmp_path / "m")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def edit(path: Path, **changes: Any) -> None:
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | changes))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[-5] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "recipe.json").unlink(), r"holds no recipe.json"),
        (lambda m: (m / "recipe.json").write_text("{"), r"damaged: recipe.json"),
        (lambda m: (m / "recipe.json").write_text("[]"), r"damaged: recipe.json"),
        (lambda m: edit(m / "recipe.json", format=99), r"newer veriscope \(format 99"),
        (lambda m: edit(m / "recipe.json", members=3), r"incomplete: .*member-2"),
        (lambda m: edit(m / "recipe.json", members=0), r"no trained member"),
        (lambda m: edit(m / "recipe.json", recipe={"axes": "YX", "magic": 1}), r"unknown fields magic"),
        (lambda m: edit(m / "recipe.json", recipe={"axes": "YX", "base": 3}), r"do not fit the recipe"),
        (lambda m: (m / "member-1.safetensors").unlink(), r"incomplete"),
        (lambda m: (m / "member-1.safetensors").write_bytes(b"no weights"), r"damaged or cut short"),
        (lambda m: cut_short(m / "member-0.safetensors"), r"cut short"),
        (lambda m: flip_a_bit(m / "member-0.safetensors"), r"checksum does not match"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_refused(ensemble: Ensemble, tmp_path: Path, spoil: Any, message: str) -> None:
    vs.save(ensemble, tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelError, match=message):
        vs.load(tmp_path / "m")


def test_weights_that_are_not_finite_are_refused(ensemble: Ensemble, tmp_path: Path) -> None:
    with torch.no_grad():
        ensemble.members[0].mean.weight.fill_(np.nan)
    vs.save(ensemble, tmp_path / "m")
    with pytest.raises(ModelError, match="not finite"):
        vs.load(tmp_path / "m")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model at .*nowhere"):
        vs.load(tmp_path / "nowhere")


def test_no_file_of_a_model_is_pickled(ensemble: Ensemble, tmp_path: Path) -> None:
    vs.save(ensemble, tmp_path / "m")
    assert {path.suffix for path in (tmp_path / "m").iterdir()} <= {".json", ".safetensors", ".csv"}
    assert files.is_model(tmp_path / "m")
