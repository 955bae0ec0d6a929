"""A tuned method is as good as trying everything, and what was tuned carries over to other images."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope.classical import tune
from veriscope.classical.denoise import NON_LOCAL_MEANS, noise_sigma, non_local_means
from veriscope.classical.method import Method
from veriscope.classical.tune import apply, best, find, usual
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.judging.quality import nrmse

QUICK = replace(NON_LOCAL_MEANS, grid={**NON_LOCAL_MEANS.grid, "patch": (3,), "distance": (2,)})


def blobs(shape: tuple[int, ...] = (40, 40), sigma: float = 0.2, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    clean = np.prod([np.sin(axis / 3) for axis in grid], axis=0).clip(0) + 0.1
    return rng.normal(clean, sigma), clean


def test_no_setting_of_the_grid_is_better() -> None:
    low, truth = blobs()
    found = best(NON_LOCAL_MEANS, low, truth)
    sigma = found.settings[0].sigma
    for strength, patch, distance in itertools.product(*NON_LOCAL_MEANS.grid.values()):
        tried = nrmse(truth, non_local_means(low, strength * sigma, int(patch), int(distance)))
        assert found.nrmse <= tried * 1.01  # h is refined to 8 %, not further
    assert found.nrmse < 0.8 * nrmse(truth, low)


def test_the_score_and_the_image_belong_to_the_settings() -> None:
    low, truth = blobs()
    image, (settings,), score = best(NON_LOCAL_MEANS, low, truth)
    again = non_local_means(low, **settings.parameters)  # type: ignore[arg-type]
    assert (image == again).all()
    assert_allclose(score, nrmse(truth, again), rtol=1e-6)
    assert_allclose(settings.parameters["h"], settings.choice["h"] * settings.sigma)
    told = f"h {settings.parameters['h']:.3g} ({settings.choice['h']:.2f} sigma), patch {settings.choice['patch']}"
    assert str(settings).startswith(told)


def planted(size: int, weight: float) -> Method:
    """A method that makes the mean of all rows, and more of something else the further it is from these parameters."""

    def run(image: Any, weight_: float, size_: int) -> Any:
        off = abs(np.log(weight_ / weight)) + abs(size_ - size)
        rows = np.arange(image.shape[0])[:, None] / image.shape[0]
        return (image.mean(axis=0) + 0.03 * off * np.sin(20 * rows)).astype(np.float32)

    return Method(
        "fake",
        "a fake",
        "restore",
        run,
        usual={"size_": 2, "weight_": 1.0},
        grid={"size_": (1, 2, 3), "weight_": (0.1, 0.3, 1.0)},
        climbs="weight_",
    )


@pytest.mark.parametrize("weight", [0.004, 0.1, 0.5, 30])
@pytest.mark.parametrize("size", [1, 3])
def test_a_planted_optimum_is_found_even_outside_the_grid(weight: float, size: int) -> None:
    low = blobs()[0]
    truth = np.broadcast_to(low.mean(axis=0), low.shape)
    found = best(planted(size, weight), low, truth)
    assert found.settings[0].choice["size_"] == size
    assert abs(np.log(found.settings[0].choice["weight_"] / weight)) < np.log(1.35) / 2 + 0.1
    assert found.settings[0].parameters == found.settings[0].choice


def test_the_search_ends_where_more_changes_nothing() -> None:
    asked: list[float] = []

    def error(h: float) -> float:
        asked.append(h)
        return 1 + 1e-6 / h  # less and less, for ever

    tune._climb(error, [1.0, 2.0], 1.35)
    assert len(asked) == len(set(asked)) == 2 + tune.PATIENCE


def test_without_a_parameter_that_climbs_the_grid_is_all_there_is() -> None:
    low, truth = blobs()
    tried = []

    def run(image: Any, a: float, b: float) -> Any:
        tried.append((a, b))
        return (np.asarray(truth) + abs(a - 2) * image + abs(b - 5) * image**2).astype(np.float32)

    method = Method("fake", "a fake", "restore", run, grid={"a": (1, 2, 3), "b": (4, 5)})
    (settings,) = find(method, low, truth)
    assert settings.choice == {"a": 2, "b": 5}
    assert sorted(tried) == sorted(itertools.product((1, 2, 3), (4, 5)))  # small images: everything once
    (nothing,) = find(Method("fake", "a fake", "restore", lambda image: image), low, truth)
    assert (nothing.choice, str(nothing)) == ({}, "nothing to set")


def test_tuned_is_never_worse_than_usual() -> None:
    for seed in range(3):
        low, truth = blobs(sigma=0.1 * 3**seed, seed=seed)
        untuned = apply(NON_LOCAL_MEANS, low, usual(NON_LOCAL_MEANS, low))
        assert best(NON_LOCAL_MEANS, low, truth).nrmse <= nrmse(truth, untuned)


def test_a_large_stack_is_searched_in_its_middle() -> None:
    seen: list[tuple[int, ...]] = []

    def watched(image: Any, **_: float) -> Any:
        seen.append(image.shape)
        return image.astype(np.float32)

    best(replace(NON_LOCAL_MEANS, run=watched), *blobs((20, 60, 200)))
    assert set(seen) == {(20, 36, 36), (20, 60, 200)}
    middle = (slice(15, 45), slice(113, 143), slice(113, 143))
    assert tune._central((60, 256, 256), (60, 256, 256), 30**3) == (middle, middle)


def test_each_channel_gets_its_own_settings() -> None:
    pairs = [blobs(sigma=sigma) for sigma in (0.05, 0.6)]
    low, truth = (Image(np.stack([pair[k] for pair in pairs]), "CYX", (0.1, 0.1)) for k in (0, 1))
    found = best(QUICK, low, truth)
    assert found.image.axes == "CYX"
    assert found.image.voxel_size == (0.1, 0.1)
    assert found.settings[0].parameters["h"] < found.settings[1].parameters["h"]
    assert_allclose(found.nrmse, nrmse(truth, found.image), rtol=1e-6)
    with pytest.raises(DataError, match="2 channels and 1 settings"):
        apply(QUICK, low, found.settings[:1])


def test_what_was_found_on_one_image_counts_noise_on_another() -> None:
    low, truth = blobs()
    settings = find(QUICK, low, truth)
    h = settings[0].choice["h"] * noise_sigma(7 * low)
    assert (apply(QUICK, 7 * low, settings) == non_local_means(7 * low, h, 3, 2)).all()
    movie = Image(np.stack([low, 7 * low, np.ones_like(low)]), "TYX")
    frames = np.asarray(apply(QUICK, movie, settings))
    assert (frames[1] == apply(QUICK, 7 * low, settings)).all()
    assert (frames[2] == 1).all()  # a frame without light has no noise to remove


def test_a_stack_of_one_plane_is_a_plane() -> None:
    low, truth = blobs()
    flat = best(QUICK, low, truth)
    for wrap in (lambda one: one[None], lambda one: Image(one[None], "ZYX", (2.0, 0.1, 0.1))):
        found = best(QUICK, wrap(low), wrap(truth))
        assert found.settings == flat.settings
        assert found.image.shape == (1, 40, 40)
        assert (np.asarray(found.image)[0] == flat.image).all()
    assert found.image.voxel_size == (2.0, 0.1, 0.1)


def brightest(stack: Any, above: float) -> Any:
    """A projection: the mean of what is above a share of the maximum."""
    pixels = np.asarray(stack)
    chosen = pixels >= above * pixels.max(axis=0)
    flat = ((pixels * chosen).sum(axis=0) / chosen.sum(axis=0)).astype(np.float32)
    return stack.with_array(flat, "YX") if hasattr(stack, "axes") else flat


def test_a_projection_is_tuned_on_the_middle_and_all_of_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tune.SEARCH, 2, 100)
    seen: list[tuple[int, ...]] = []

    def run(stack: Any, above: float) -> Any:
        seen.append(stack.shape)
        return brightest(stack, above)

    method = Method("some", "some of it", "project", run, grid={"above": (0.5, 0.9, 1.0)})
    stack = np.random.default_rng(0).random((5, 30, 40)) + 0.1
    image = Image(np.stack([stack, stack]), "CZYX", (1.0, 0.2, 0.3))
    for low in (stack, image):
        truth = brightest(stack, 0.9)
        found = best(method, low, truth if low is stack else Image(np.stack([truth, truth]), "CYX"))
        assert [settings.choice["above"] for settings in found.settings] == [0.9] * (1 if low is stack else 2)
        assert_allclose(np.asarray(found.image), np.broadcast_to(truth, found.image.shape))
        assert set(seen) == {(5, 10, 10), (5, 30, 40)}
    assert (found.image.axes, found.image.voxel_size) == ("CYX", (0.2, 0.3))
    plane = apply(method, Image(stack[:1], "ZYX"), usual(replace(method, usual={"above": 1}), Image(stack[:1], "ZYX")))
    assert plane.axes == "YX"
    with pytest.raises(DataError, match=r"same shape, but for Z.*\(5, 30, 40\) and \(29, 40\)"):
        best(method, stack, truth[1:])


def test_depth_may_become_longer() -> None:
    def longer(image: Any, times: int) -> Any:
        pixels = np.repeat(np.asarray(image), int(times), axis=0).astype(np.float32)
        if not hasattr(image, "axes"):
            return pixels
        return Image(pixels, image.axes, (image.voxel_size[0] / times, *image.voxel_size[1:]))

    method = Method("repeat", "repetition", "isotropic", longer, grid={"times": (4,)})
    low = np.random.default_rng(0).random((3, 8, 9))
    found = best(method, low, np.repeat(low, 4, axis=0))
    assert found.nrmse < 1e-6
    image = best(method, Image(low, "ZYX", (4.0, 1, 1)), Image(np.repeat(low, 4, axis=0), "ZYX")).image
    assert (image.shape, image.voxel_size) == ((12, 8, 9), (1.0, 1.0, 1.0))
    assert tune._central((50, 300, 300), (200, 300, 300), 1 << 18)[0] == (slice(0, 50), *[slice(132, 168)] * 2)


def test_bad_input_is_refused() -> None:
    low, truth = blobs()
    with pytest.raises(DataError, match="same shape"):
        best(NON_LOCAL_MEANS, low, truth[1:])
    with pytest.raises(DataError, match="image holds NaN"):
        best(NON_LOCAL_MEANS, low * np.nan, truth)
    with pytest.raises(DataError, match="truth holds NaN"):
        best(NON_LOCAL_MEANS, low, truth * np.nan)
    with pytest.raises(DataError, match="has none between"):
        best(NON_LOCAL_MEANS, np.ones((8, 8)), truth[:8, :8])
    with pytest.raises(DataError, match="1 dimensions"):
        best(NON_LOCAL_MEANS, low[0], truth[0])
    with pytest.raises(DataError, match="which is not installed"):
        find(replace(NON_LOCAL_MEANS, module="no_such_module"), low, truth)
