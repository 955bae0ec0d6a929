"""Training networks that project: from stacks with flat truths to an ensemble that finds the surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from veriscope.errors import ModelError
from veriscope.images.image import Image
from veriscope.networks import build
from veriscope.networks.folder import load
from veriscope.networks.recipe import Recipe
from veriscope.normalize import Normalization
from veriscope.patches.npz import ArrayPatches
from veriscope.restoring.restore import restore
from veriscope.training.loop import train
from veriscope.training.scale_layer import features_and_errors

pytestmark = pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")  # such training knows little

Floats = NDArray[np.float32]
PLANES = 6
AS_IT_IS = Normalization((0.0,), (1.0,))


def surfaces(count: int, size: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Stacks (S, 1, Z, Y, X) under noise, the surfaces in them (S, 1, Y, X), and their heights (S, Y, X).

    The surface is a pattern of stripes, tilted; above it, in plane 0, floats brighter debris.
    """
    rng = np.random.default_rng(seed)
    x = np.arange(size)
    truth = 0.5 + 0.5 * np.sin(x / rng.uniform(1.5, 3, (count, 1, 1)) + rng.uniform(0, 6, (count, 1, 1)))
    truth = np.broadcast_to(truth, (count, size, size)).astype(np.float32)
    height = np.rint(rng.uniform(2, 4, (count, 1, 1)) + x / size * rng.uniform(-1, 1, (count, 1, 1)))
    height = np.broadcast_to(height, truth.shape).astype(np.float32)
    planes = np.arange(PLANES).reshape(1, -1, 1, 1)
    stack = truth[:, None] * (planes == height[:, None]) + rng.normal(0, 0.2, (count, PLANES, size, size))
    stack[:, 0] += 1.5 * (rng.random((count, size, size)) < 0.05)
    return stack[:, None].astype(np.float32), truth[:, None], height


def patches(count: int = 24, seed: int = 0) -> ArrayPatches:
    low, high, _ = surfaces(count, 16, seed)
    return ArrayPatches(low, high, "ZYX")


def small(**choices: Any) -> Recipe:
    given = {"axes": "ZYX", "task": "project", "depth": 1, "base": 4, "patch": (16, 16), "precision": "float32"}
    return Recipe(**{**given, **choices})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members that have learned for some seconds."""
    folder = tmp_path_factory.mktemp("projecting") / "model"
    recipe = small(learning_rate=4e-3)
    train(recipe, patches(160), patches(16, 1), members=2, epochs=6, folder=folder, device="cpu", progress=False)
    return folder


def test_a_trained_network_finds_the_surface_under_noise_and_debris(folder: Path) -> None:
    low, high, height = surfaces(1, 48, seed=99)
    restored = restore(Image(low[0, 0], "ZYX"), load(folder), normalize=AS_IT_IS, undo=False)
    found, truth = np.asarray(restored.mean), high[0, 0]
    maximum = low[0, 0].max(0)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9 > np.corrcoef(maximum.ravel(), truth.ravel())[0, 1]
    bright = truth > 0.5
    assert np.median(np.abs(np.asarray(restored.height) - height[0])[bright]) < 0.6


def test_what_the_model_remembers_fits_what_it_restores(folder: Path) -> None:
    """Training looks at the maximum of the stacks, and so does restoring."""
    model = load(folder)
    known = model.facts.familiar
    assert known.window == (8, 8)
    assert len(model.facts.calibration.levels) == 1
    alike, _, _ = surfaces(4, 48, seed=98)

    def unlike(stacks: Floats) -> float:
        """Share of windows that are unlike those of training, over all stacks."""
        verdicts = [restore(Image(stack[0], "ZYX"), model, normalize=AS_IT_IS, undo=False).verdict for stack in stacks]
        return float(np.mean([verdict.unlike for verdict in verdicts if verdict is not None]))

    assert unlike(alike) < 0.4
    assert unlike(alike + 1) > 0.8


def test_an_interrupted_training_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    recipe, given = small(averaging=0.0), {"members": 1, "epochs": 2, "device": "cpu"}
    once = train(recipe, patches(), patches(8, 1), folder=tmp_path / "once", progress=False, **given)

    def stop(report: Any) -> None:
        if report.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, patches(), patches(8, 1), folder=tmp_path / "twice", progress=stop, **given)
    again = train(recipe, patches(), patches(8, 1), folder=tmp_path / "twice", resume=True, progress=False, **given)
    for ours, theirs in zip(once.members[0].parameters(), again.members[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("planes", "fast"), [(2, False), (PLANES, True)])
def test_stacks_of_two_planes_are_learned_from_in_full_precision(
    planes: int, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 gradients held NaN, in 1 to 6 of 12 steps, and never with 1, 3, 4, 7 or 16 planes (torch 2.13)."""
    monkeypatch.setattr("veriscope.training.setup.fast_bfloat16", lambda device: True)
    low, high, _ = surfaces(4, 16)
    given = ArrayPatches(low[:, :, :planes].copy(), high, "ZYX")
    made = train(small(precision="auto"), given, given, members=1, epochs=1, device="cpu", progress=False)
    assert made.facts.training["precision"] == ("bfloat16" if fast else "float32")


def test_networks_that_predict_no_scales_learn_too() -> None:
    made = train(
        small(probabilistic=False), patches(), patches(8, 1), members=1, epochs=1, device="cpu", progress=False
    )
    assert "calibration" not in made.facts.measured


def test_features_are_those_of_the_flat_network() -> None:
    torch.manual_seed(0)
    network = build(small())
    low, high, _ = surfaces(2, 16)
    features, errors = features_and_errors(network, torch.from_numpy(low), torch.from_numpy(high))
    assert features.shape[0] == errors.shape[0] == 2 * 16 * 16
    answer = network(torch.from_numpy(low))[:, :1]
    expected = (torch.from_numpy(high) - answer).abs().movedim(1, -1).reshape(-1, 1)
    torch.testing.assert_close(errors, expected.detach())


def test_bfloat16_changes_the_projection_only_slightly() -> None:
    torch.manual_seed(0)
    network = build(small())
    low = torch.from_numpy(surfaces(2, 16)[0])
    with torch.autocast("cpu", torch.bfloat16):
        fast = network(low)
    assert fast.dtype == torch.float32
    assert torch.allclose(fast, network(low), atol=0.03)


@pytest.mark.parametrize(
    ("recipe", "axes", "message"),
    [
        (Recipe(axes="ZYX"), "ZYX", r"stacks with flat truths .*task='project'"),
        (small(), "both", "truths of the training patches have Z too"),
        (Recipe(axes="YX"), "ZYX", "stacks with flat truths"),
    ],
)
def test_patches_and_recipe_must_both_project(recipe: Recipe, axes: str, message: str) -> None:
    low, _, _ = surfaces(4, 16)
    given = ArrayPatches(low, low, "ZYX") if axes == "both" else patches(4)
    with pytest.raises(ModelError, match=message):
        train(recipe, given, given, members=1, epochs=1, progress=False)
