from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.errors import ModelError, VeriscopeWarning
from veriscope.images.pairing import Pair, Pairs
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file
from veriscope.restoring.watching import DOUBTFUL, TRUSTED


def truth(seed: int, size: int = 96) -> Any:
    spots = np.random.default_rng(seed).random((size, size)) > 0.98
    return gaussian_filter(spots.astype(float), 2) * 4000


def low_of(high: Any, seed: int) -> Any:
    return np.random.default_rng(seed).normal(high + 100, 20).astype(np.float32)


def pair(seed: int) -> Pair:
    high = truth(seed)
    low, high = (vs.Image(values, "YX", (0.2, 0.1)) for values in (low_of(high, seed), high.astype(np.float32)))
    return Pair(low, high, f"field {seed}")


@pytest.fixture(scope="module")
def model() -> Any:
    cut: Any = {"shape": (32, 32), "per_image": 16, "foreground": None, "normalize": "matched"}
    patches, check = (
        vs.cut_patches(Pairs([pair(seed) for seed in seeds]), **cut) for seeds in (range(6), range(6, 10))
    )
    recipe = vs.Recipe("YX", depth=2, base=8, patch=(32, 32), precision="float32")
    return vs.train(recipe, patches, check, members=2, epochs=6, progress=False)


def quiet(image: Any, model: Any, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        return restore(image, model, **how)


def test_a_field_like_those_of_training_passes_without_a_warning(model: Any) -> None:
    restored = restore(pair(20).low, model)
    assert restored.verdict.level == 0
    assert restored.verdict.warnings == ()


def test_something_else_is_said_aloud(model: Any) -> None:
    strange = vs.Image(gaussian_filter(low_of(truth(20), 20), 2), "YX", (0.2, 0.1), name="strange.tif")
    with pytest.warns(VeriscopeWarning, match=r"^strange.tif: Unlike the training images: .*Do not rely on"):
        assert restore(strange, model).verdict.level == 2


def test_tiles_give_the_verdict_of_the_whole(model: Any) -> None:
    image = vs.Image(low_of(truth(20, 128), 20), "YX")
    whole, tiled = (quiet(image, model, tile=tile).verdict for tile in (None, 32))
    assert whole.unlike == pytest.approx(tiled.unlike, abs=0.05)
    assert whole.disagreeing == pytest.approx(tiled.disagreeing, abs=1e-3)


def test_calibration_of_the_scales_changes_no_verdict(model: Any) -> None:
    plain, calibrated = (quiet(pair(20).low, model, calibrated=way).verdict for way in (False, True))
    assert plain == calibrated


def test_other_voxels_are_noticed(model: Any) -> None:
    image = pair(20).low
    with pytest.warns(VeriscopeWarning, match=r"voxels measure 0.2 x 0.2 um \(YX\), those of the training images 0.2"):
        restore(vs.Image(image.array, "YX", (0.2, 0.2)), model)
    assert quiet(vs.Image(image.array, "YX", (0.201, 0.1)), model).verdict.warnings == ()
    assert quiet(vs.Image(image.array, "YX"), model).verdict.warnings == ()  # unknown


def test_other_intensities_are_noticed(model: Any) -> None:
    image = np.asarray(pair(20).low)
    normalized = vs.Image((image - 100) / 1000, "YX")
    with pytest.warns(VeriscopeWarning, match=r"span 1/9.. of those .* Was it normalised"):
        restored = restore(normalized, model)
    assert restored.verdict.level == 0  # the networks see the same: only the numbers are others
    assert quiet(vs.Image(image * 2, "YX"), model).verdict.warnings == ()


def test_wrong_percentiles_are_noticed(model: Any) -> None:
    low, high = np.percentile(np.asarray(pair(20).low), [2, 99.8])
    wrong = vs.normalize.Normalization((low - 2 * (high - low),), (high,))
    assert quiet(pair(20).low, model, normalize=wrong).verdict.level > 0


def test_the_mask_is_dark_where_the_image_is_strange(model: Any, tmp_path: Path) -> None:
    image = low_of(truth(20, 192), 20)
    image[:, 96:] = gaussian_filter(image[:, 96:], 3)
    report = restore_to_file(
        vs.Image(image, "YX", (0.2, 0.1)), model, tmp_path / "r.ome.tif", trust_mask=tmp_path / "m.ome.tif", tile=96
    )
    mask = vs.read_image(tmp_path / "m.ome.tif")
    values = np.asarray(mask)
    assert values.dtype == np.uint8
    assert set(np.unique(values)) <= {TRUSTED, DOUBTFUL}
    assert mask.voxel_size == (0.2, 0.1)
    assert (values[:, :96] == TRUSTED).mean() > 0.9
    assert (values[:, 96:] == DOUBTFUL).mean() > 0.9
    assert report.verdict is not None
    assert report.verdict.level >= 1
    assert "unlike the training images" in str(report).lower()


@pytest.mark.parametrize("left", [None, {}, {"window": [16, 16]}])
def test_a_model_that_remembers_nothing_gives_neither_verdict_nor_mask(left: Any, model: Any, tmp_path: Path) -> None:
    forgetful = replace(model, facts=model.facts.change(familiar=left))
    assert restore(pair(20).low, forgetful).verdict is None
    with pytest.raises(ModelError, match="does not know what its training images looked like"):
        restore_to_file(pair(20).low, forgetful, tmp_path / "r.tif", trust_mask=tmp_path / "m.tif")
    assert not any(tmp_path.iterdir())


def test_what_was_remembered_is_stored_with_the_model(model: Any, tmp_path: Path) -> None:
    known = model.facts.measured["familiar"]
    assert known["window"] == [16, 16]
    assert len(known["disagreement"]) == 101
    assert [size["windows"] for size in known["sizes"]] == [36, 9, 4]
    assert known["count"] == 10 * (36 + 2 * 9 + 4 * 4)
