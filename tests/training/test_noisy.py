"""Noisy images alone: what networks are given and asked for, and what they make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.apps.cli import main
from veriscope.comparing.blind import noise2void
from veriscope.comparing.plan import prepare
from veriscope.errors import DataError, TrainingError
from veriscope.images.pairing import Pair, Pairs
from veriscope.training.losses import laplace_nll, mse, of_hidden
from veriscope.training.noisy import as_if_restored, hidden, noisy_images

SMALL = vs.Recipe(axes="YX", base=8, depth=1, patch=(32, 32), precision="float32")
QUICK: dict[str, Any] = {"members": 1, "device": "cpu", "progress": False}


def truth(shape: tuple[int, ...] = (96, 96), seed: int = 0) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    return (100 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def under_noise(image: np.ndarray, seed: int, sigma: float = 25.0) -> vs.Image:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return vs.Image((image + noise).astype(np.float32), "TYX"[-image.ndim :], name=f"{seed}")


@pytest.mark.parametrize("shape", [(16, 16), (18, 23), (5, 16, 20)])
@pytest.mark.parametrize("stripes", ["", "X", "Y"])
def test_one_pixel_of_every_cell_is_hidden_and_nothing_else_changes(shape: tuple[int, ...], stripes: str) -> None:
    patch = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)  # every value once
    cell = (2, 4, 4)[-len(shape) :]
    given, wanted = hidden(patch, cell, stripes, np.random.default_rng(0))
    asked = np.isfinite(wanted)
    assert asked[0].sum() == np.prod([n // c for n, c in zip(shape, cell, strict=True)])
    assert (asked[0] == asked[1]).all()
    assert (wanted[asked] == patch[asked]).all()
    assert (given[asked] != patch[asked]).all()
    changed = given != patch
    if not stripes:
        assert (changed == asked).all()
        return
    axis = -1 if stripes == "X" else -2
    for place in np.argwhere(asked[0]):  # neighbours on the line are replaced, and never by a pixel of that line
        for step in range(-4, 5):
            at = place.copy()
            at[axis] += step
            if 0 <= at[axis] < shape[axis]:
                found = np.argwhere(patch[0] == given[0][tuple(at)])[0]
                other = -2 if stripes == "X" else -1
                assert changed[0][tuple(at)]
                assert found[other] != at[other]


def test_the_loss_is_that_of_the_hidden_pixels_alone() -> None:
    output, asked = torch.rand(3, 4, 6, 6) + 0.1, torch.full((3, 2, 6, 6), torch.nan)
    asked[:, :, 1::3, 2] = torch.rand(3, 2, 2)
    places = (slice(None), slice(None), slice(1, None, 3), 2)
    for loss in (laplace_nll, mse):
        assert torch.isclose(of_hidden(loss)(output, asked), loss(output[places], asked[places]))
    assert of_hidden(mse).__name__ == "mse"


@pytest.mark.filterwarnings("ignore:.*unlike the training images")
@pytest.mark.parametrize("how", ["blind spots", "two images", "neighbours"])
def test_noisy_images_alone_teach_to_denoise_and_what_cannot_be_known_is_not_promised(how: str) -> None:
    clean = [truth(seed=seed) for seed in range(3)]
    once, again = ([under_noise(one, seed + start) for seed, one in enumerate(clean)] for start in (0, 100))
    if how == "neighbours":
        movies = [vs.Image(np.stack([a, b, a]), "TYX") for a, b in zip(once, again, strict=True)]
        material = noisy_images(movies, neighbours="T")
    elif how == "two images":
        material = noisy_images([], Pairs([Pair(a, b, a.name) for a, b in zip(once, again, strict=True)]))
    else:
        material = noisy_images(once)
    model = vs.train(SMALL, material, epochs=12, **QUICK)
    assert model.recipe.residual == (how != "blind spots")
    new = truth(seed=9)
    restored = vs.restore(under_noise(new, 9), model)
    error = np.sqrt(np.square(np.asarray(restored.mean) - new).mean())
    assert error < 12  # of noise of 25
    said = float(np.asarray(restored.scale).mean())
    assert 0.3 * error < said < 2 * error  # and not the noise, which is what the network had to predict
    assert restored.expected is not None
    assert 0.4 < restored.expected.nrmse * np.ptp(new) / error < 2.5
    with pytest.raises(DataError, match="too few images with ground truth were kept aside"):
        restored.interval(0.9, guaranteed=True)


def test_restored_images_under_noise_again_have_the_noise_that_there_was() -> None:
    rng = np.random.default_rng(0)
    mean = truth((256, 256))[None]
    lines = 0.6 * rng.normal(0, 1, (256, 1)) + rng.normal(0, 1, (256, 256))
    high = (mean + lines * np.sqrt(mean + 1)).astype(np.float32)
    left = as_if_restored(high, high, mean, rng) - mean
    for dim, bright in ((30, 45), (50, 60), (70, 100)):
        inside = (mean >= dim) & (mean < bright)
        assert left[inside].std() == pytest.approx((high - mean)[inside].std(), rel=0.25)
    standard = left[0] / np.sqrt(mean[0] + 1)
    assert np.corrcoef(standard[:, 1:].ravel(), standard[:, :-1].ravel())[0, 1] > 0.15  # lines stay lines
    assert abs(np.corrcoef(left.ravel(), (high - mean).ravel())[0, 1]) < 0.1  # and are others


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
@pytest.mark.parametrize(
    ("words", "options"),
    [([], {}), (["--stripes", "x"], {"stripes": "x"}), (["--neighbours", "T"], {"neighbours": "T"}), (["again"], {})],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_python_learns_from_noisy_images_as_the_shell_does(
    words: list[str], options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("noisy", "again"):
        Path(folder).mkdir()
        for seed in range(2):
            frames = np.stack([np.asarray(under_noise(truth((40, 48)), seed + 9 * t)) for t in range(3)])
            vs.save_image(f"{folder}/{seed}.ome.tif", vs.Image(frames, "TYX"))
    layers = ["--base", "4", "--depth", "1", "--members", "1", "--epochs", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main(["train", "noisy", *words, "--task", "noisy", "--out", "shell", *layers])
    assert not end.value.code
    again = "again" if words == ["again"] else None
    material = vs.read_noisy("noisy", again, **options)  # type: ignore[arg-type]
    python = vs.train(vs.Recipe(axes="YX", base=4, depth=1), material, epochs=1, **QUICK)
    shell = vs.load("shell")
    assert python.recipe == shell.recipe
    assert python.facts.training == shell.facts.training
    pairs = zip(python.members[0].parameters(), shell.members[0].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_does_not_go_together_is_refused() -> None:
    image = under_noise(truth((3, 32, 32)), 0)
    with pytest.raises(TrainingError, match=r"three ways to learn from noisy images\. Choose one"):
        noisy_images([image], neighbours="T", stripes="X")
    with pytest.raises(TrainingError, match="--stripes is X or Y, not Z"):
        noisy_images([image], stripes="Z")
    with pytest.raises(DataError, match="--neighbours Z needs at least 3 entries along Z, but 0 has 1"):
        noisy_images([image], neighbours="Z")
    with pytest.raises(TrainingError, match="Noisy images teach to denoise only"):
        vs.train(vs.Recipe(axes="YX", upsample=(2, 1)), noisy_images([image]), epochs=1, **QUICK)
    with pytest.raises(TrainingError, match="Noisy images are checked with some of themselves"):
        vs.train(SMALL, noisy_images([image]), Pairs([Pair(image, image)]), epochs=1, **QUICK)


def test_noise2void_is_a_method_like_others() -> None:
    new = truth((64, 64), 5)
    made = noise2void(np.asarray(under_noise(new, 5)), minutes=0.05)
    assert (made.shape, made.dtype) == (new.shape, np.float32)
    assert np.square(made - new).mean() < 25**2 / 2


def test_compare_knows_it_by_name_beside_filters_and_not_unasked() -> None:
    pairs = [Pair(under_noise(truth((64, 64)), 0), vs.Image(truth((64, 64)), "YX"), "a")]
    planned = prepare(pairs, methods="median, noise2void").planned
    assert sorted(one.method.name for one in planned) == ["median", "noise2void"]
    assert [one.method.name for one in prepare(pairs, methods="noise2void").planned] == ["noise2void"]
    assert "noise2void" not in [one.method.name for one in prepare(pairs).planned]
