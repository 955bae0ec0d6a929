"""Networks that come with veriscope: small, known by name, offline, and honest about what they are for."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import veriscope as vs
from veriscope.apps.cli import app
from veriscope.errors import ModelError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.networks import shipped
from veriscope.networks.folder import load
from veriscope.sharing.card import known

NAMES = shipped.names()
MOST = 3_000_000  # bytes, of all networks


def typed(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [str(word) for word in words])
    return answer.exit_code, answer.output


def test_they_are_small_and_each_has_a_card() -> None:
    assert "nuclei-3d" in NAMES
    files = list(shipped.FOLDER.glob("*/*"))
    assert sum(path.stat().st_size for path in files) <= MOST
    for name in NAMES:
        code, said = typed("models", name)
        assert code == 0
        for heading in ("In short", "trained on", "limits", "Licence"):
            assert heading in said


@pytest.mark.parametrize("name", NAMES)
def test_each_is_ahead_of_what_people_used_before_wherever_it_was_scored(name: str) -> None:
    scores = shipped.about(name)["scores"]
    assert scores, "benchmarks/shipped.py --record"
    for images in {row["images"] for row in scores}:
        rows = {row["method"]: row["NRMSE"] for row in scores if row["images"] == images}
        own = rows.pop("restoration")
        if images not in shipped.about(name).get("behind", []):  # said so on the card
            assert own < min(rows.values()), (images, rows, own)


def test_the_page_of_the_networks_says_what_the_cards_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == NAMES
    for name in NAMES:
        for part in known(shipped.about(name)):
            assert part.replace("## ", "### ") in page


@pytest.mark.parametrize("name", NAMES)
def test_each_restores_by_its_name_and_keeps_the_size(name: str) -> None:
    model = vs.load(name)
    recipe = model.recipe
    shape = {"YX": (64, 64), "ZYX": (16, 32, 32)}[recipe.space]
    low = Image(np.random.default_rng(0).poisson(20, shape).astype(np.uint16), recipe.space)
    with warnings.catch_warnings(action="ignore", category=VeriscopeWarning):
        restored = vs.restore(low, model).mean
    assert restored.shape[-2:] == shape[-2:]


def test_noise_alone_is_not_for_the_nuclei_network(tmp_path: Path) -> None:
    noise = Image(np.random.default_rng(1).poisson(20, (16, 96, 96)).astype(np.uint16), "ZYX")
    vs.save_image(tmp_path / "noise.ome.tif", noise)
    code, said = typed(
        "restore", str(tmp_path / "noise.ome.tif"), "--model", "nuclei-3d", "--out", str(tmp_path / "out.ome.tif")
    )
    assert code == 0
    assert "Do not rely on this restoration" in said.replace("\n", " ")


def test_a_folder_of_that_name_comes_first_and_a_wrong_name_lists_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no model at 'nuclei-4d'.* comes with veriscope: .*nuclei-3d"):
        vs.load("nuclei-4d")
    assert len(vs.load("nuclei-3d")) == 2
    Path("nuclei-3d").mkdir()
    with pytest.raises(ModelError, match="not a veriscope model"):
        vs.load("nuclei-3d")


def test_a_copy_can_be_changed_but_what_comes_with_veriscope_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = typed("calibrate", "nuclei-3d", "low", "high")
    assert code == 2
    assert "veriscope models nuclei-3d --out COPY" in said.replace("\n", " ")
    assert typed("models", "nuclei-3d", "--out", "mine")[0] == 0
    assert load("mine").recipe == load("nuclei-3d").recipe
    code, said = typed("models", "nuclei-3d", "--out", "mine")
    assert code == 2
    assert "exists already" in said
    assert typed("models", "tubule")[0] == 2
    assert typed("models", "--out", "mine")[0] == 2
