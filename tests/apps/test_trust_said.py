"""What a restoration says of itself: in the terminal, beside the image, for every time point, and after calibrating."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.apps.conftest import blobs

import veriscope as vs


@pytest.fixture
def trained(desk: Path, veriscope: Any) -> Path:
    """A model that was trained for a moment, by the command line, and knows its images."""
    for number in range(4, 9):
        truth = blobs((48, 40), number)
        tifffile.imwrite(desk / "high" / f"cell{number}.tif", truth)
        noisy = np.random.default_rng(number).poisson(truth / 50) * 50
        tifffile.imwrite(desk / "low" / f"cell{number}.tif", noisy.astype(np.uint16))
    small = "--depth 1 --base 4 --patch 16,16 --members 2 --epochs 3 --axes YX --out trained"
    answer = veriscope("train", "low", "high", *small.split())
    assert answer.code == 0, answer.err
    assert re.search(r"measured +on [\d,]+ pixels of 9 images", answer.out)
    return desk / "trained"


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")  # an image without noise
def test_the_same_sentences_stand_in_the_terminal_and_beside_the_image(trained: Path, veriscope: Any) -> None:
    answer = veriscope("restore", "new.tif", "--model", trained, "--out", "out", "--axes", "YX")
    assert answer.code == 0, answer.err
    kept = json.loads(Path("out/new.trust.json").read_text(encoding="utf-8"))
    assert kept["engine"] == "PyTorch, float32, 1 thread"  # little work is left to PyTorch
    assert (kept["image"], kept["restored"], kept["model"]) == ("new.tif", "new.ome.tif", str(trained))
    assert kept["expected"]["low"] < kept["expected"]["nrmse"] < kept["expected"]["high"]
    assert f"Expected NRMSE {kept['expected']['nrmse']:.3f} (between" in answer.out
    assert kept["verdict"]["words"].split(".")[0] in answer.out
    restored = vs.restore(vs.read_image("new.tif", "YX"), vs.load(trained))
    assert restored.expected is not None
    assert restored.expected.nrmse == pytest.approx(kept["expected"]["nrmse"], rel=1e-3)


def test_existing_notes_are_not_replaced_unless_asked(trained: Path, veriscope: Any) -> None:
    Path("out").mkdir()
    Path("out/new.trust.json").write_text("mine")
    words = "restore", "new.tif", "--model", trained, "--out", "out", "--axes", "YX"
    answer = veriscope(*words)
    assert (answer.code, Path("out/new.trust.json").read_text()) == (2, "mine")
    assert "exists already" in answer.err
    assert veriscope(*words, "--overwrite").code == 0
    assert "expected" in Path("out/new.trust.json").read_text()


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
def test_every_time_point_is_known_by_itself_also_lazily(trained: Path) -> None:
    frames = [vs.read_image(path, "YX") for path in sorted(Path("low").iterdir())[:3]]
    movie = vs.Image(np.stack([np.asarray(one) for one in frames]), "TYX")
    model = vs.load(trained)
    for lazy in (False, True):
        trust = vs.restore(movie, model, normalize="frame", lazy=lazy).trust
        assert list(trust.frames) == [(("T", number),) for number in range(3)]
        for one, frame in zip(trust.frames.values(), frames, strict=True):
            alone = vs.restore(frame, model)
            assert one.expected is not None
            assert alone.expected is not None
            assert one.expected.nrmse == pytest.approx(alone.expected.nrmse, rel=1e-3)
            assert one.verdict is not None
            assert alone.verdict is not None
            assert one.verdict.level == alone.verdict.level
        assert trust.expected is not None
        assert trust.expected.nrmse == pytest.approx(np.mean([one.expected.nrmse for one in trust.frames.values()]))


def test_any_model_can_be_calibrated_on_pairs_of_ones_own(desk: Path, veriscope: Any) -> None:
    before = vs.restore(vs.read_image("new.tif", "YX"), vs.load("model"))
    assert (before.expected, before.verdict, before.is_calibrated) == (None, None, False)
    assert veriscope("calibrate", "model", "low", "high", "--axes", "YX", "--dry-run").code == 0
    assert not vs.restore(vs.read_image("new.tif", "YX"), vs.load("model")).is_calibrated
    answer = veriscope("calibrate", "model", "low", "high", "--axes", "YX")
    assert answer.code == 0, answer.err
    assert "as predicted" in answer.out
    after = vs.restore(vs.read_image("new.tif", "YX"), vs.load("model"))
    assert after.is_calibrated
    assert after.expected is not None
    np.testing.assert_array_equal(np.asarray(before.mean), np.asarray(after.mean))


def test_raw_leaves_the_networks_word(trained: Path, veriscope: Any) -> None:
    words = "restore", "new.tif", "--model", trained, "--axes", "YX", "--scale"
    assert veriscope(*words, "--out", "right").code == 0
    assert veriscope(*words, "--out", "raw", "--raw").code == 0
    right, raw = (vs.read_image(f"{way}/new.scale.ome.tif") for way in ("right", "raw"))
    assert np.abs(np.asarray(right) - np.asarray(raw)).max() > 0
    means = [np.asarray(vs.read_image(f"{way}/new.ome.tif")) for way in ("right", "raw")]
    np.testing.assert_array_equal(*means)


def test_isotropic_models_are_calibrated_in_training_only(desk: Path, veriscope: Any) -> None:
    from veriscope.networks import build
    from veriscope.networks.folder import save
    from veriscope.networks.model import Ensemble

    recipe = vs.Recipe("YX", task="isotropic", upsample=(4, 1, 1), depth=1, base=2, patch=(8, 8))
    save(Ensemble(recipe, (build(recipe),), {}), desk / "iso")
    answer = veriscope("calibrate", "iso", "low", "high", "--axes", "YX")
    assert answer.code == 2
    assert "Train it again to calibrate it" in answer.err
