"""A model trained on one anisotropic stack alone: it brings back what was lost along Z, and knows its own kind."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

import veriscope as vs
from veriscope.errors import VeriscopeWarning
from veriscope.images.resampling import resampled
from veriscope.judging.isotropy import isotropy
from veriscope.judging.quality import nrmse
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file
from veriscope.restoring.watching import DOUBTFUL, TRUSTED
from veriscope.simulate.anisotropy import anisotropic_pairs, split_stack

STEP, LONG, SHORT = 5, 3.0, 0.7  # pixels: between planes, and widths of the PSF
CUBE = (0.1, 0.1, 0.1)


def truth(seed: int) -> Any:
    """Round blobs as an isotropic microscope would see them."""
    spots = np.random.default_rng(seed).random((60, 72, 72)) > 0.998
    blobs = gaussian_filter(spots.astype(float), 2)
    return gaussian_filter(1000 * blobs / blobs.max() + 100, SHORT).astype(np.float32)


def stack_of(image: Any, seed: int) -> vs.Image:
    """The same blurred along Z, with few planes and a little noise."""
    more = np.sqrt(LONG**2 - SHORT**2)
    planes = gaussian_filter1d(image, more, axis=0)[::STEP]
    noisy = np.random.default_rng(seed).normal(planes, 2).astype(np.float32)
    return vs.Image(noisy, "ZYX", (STEP * 0.1, 0.1, 0.1), name=f"stack {seed}")


@pytest.fixture(scope="module")
def model() -> Any:
    y, x = np.ogrid[-9:10, -2:3]
    kernel = np.exp(-(y**2) / (2 * LONG**2) - x**2 / (2 * SHORT**2))
    cut: Any = {"shape": (32, 32), "per_image": 8, "foreground": None, "normalize": "shared"}
    parts = split_stack(stack_of(truth(0), 0), 0.2, 32)
    training, checking = (vs.cut_patches(anisotropic_pairs(part, kernel, STEP), **cut) for part in parts)
    chosen: Any = {"depth": 1, "base": 8, "patch": (32, 32), "precision": "float32"}
    recipe = vs.Recipe("YX", task="isotropic", upsample=(STEP, 1, 1), **chosen)
    return vs.train(recipe, training, checking, members=2, epochs=4, progress=False)


def quiet(image: vs.Image, model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        return restore(image, model)


def test_it_comes_closer_to_the_truth_than_interpolation_and_nearly_as_isotropic(model: Any) -> None:
    high = truth(5)
    low = stack_of(high, 5)
    interpolated, restored = np.asarray(resampled(low, {"Z": STEP})), np.asarray(quiet(low, model).mean)
    assert nrmse(high, restored) < 0.8 * nrmse(high, interpolated)
    phi = {name: isotropy(vs.Image(image, "ZYX", CUBE)) for name, image in (("i", interpolated), ("r", restored))}
    assert phi["i"].xz < 0.6
    assert phi["r"].xz > phi["i"].xz + 0.2
    assert phi["r"].yz > phi["i"].yz + 0.2


def test_a_stack_like_that_of_training_passes_and_another_does_not(model: Any) -> None:
    assert quiet(stack_of(truth(6), 6), model).verdict.unlike < 0.25  # such short training knows little
    noise = np.random.default_rng(0).normal(500, 100, (12, 40, 40)).astype(np.float32)
    strange = vs.Image(noise, "ZYX", (STEP * 0.1, 0.1, 0.1))
    with pytest.warns(VeriscopeWarning, match="Unlike the training images"):
        found = restore(strange, model).verdict
    assert found.level == 2
    assert found.unlike > 0.8


def test_a_trust_mask_shows_where(model: Any, tmp_path: Path) -> None:
    image = np.array(stack_of(truth(6), 6).array)
    image[:, :, 40:] = np.random.default_rng(0).normal(500, 200, image[:, :, 40:].shape)
    image = vs.Image(image, "ZYX", (STEP * 0.1, 0.1, 0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)
        mask_at = tmp_path / "mask.ome.tif"
        restore_to_file(image, model, tmp_path / "a.ome.tif", trust_mask=mask_at, normalize="model")
    mask = np.asarray(vs.read_image(mask_at))
    assert mask.shape == (60, 72, 72)
    assert set(np.unique(mask)) == {DOUBTFUL, TRUSTED}
    assert (mask[..., 48:] == DOUBTFUL).mean() > 0.8 > 0.4 > (mask[..., :24] == DOUBTFUL).mean()


def test_an_image_that_is_isotropic_already_changes_little(model: Any) -> None:
    """Less than a tenth of its range on average (root mean square), though the model expects a blur that is not there.
    Where nothing was blurred in training nothing changes: see test_isotropic.py."""
    high = truth(7)
    as_it_is = replace(model, recipe=model.recipe.change(upsample=()))
    restored = np.asarray(quiet(vs.Image(high, "ZYX", CUBE), as_it_is).mean)
    assert np.sqrt(np.mean((restored - high) ** 2)) < 0.1 * np.ptp(high)
