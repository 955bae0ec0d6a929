"""restore: any image that fits the model, normalised as the user says, back in its own grey values and axes."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from veriscope.errors import DataError, DeviceError, ModelError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.networks import devices
from veriscope.networks.model import Ensemble
from veriscope.networks.unet import UNet
from veriscope.normalize import Normalization
from veriscope.restoring.prepared import plan
from veriscope.restoring.restore import Restoration, restore, restore_to_explore

Make = Callable[..., Any]
LOW = {"percentiles": {"2.0": [100.0], "99.8": [300.0]}}
HIGH = {"percentiles": {"2.0": [1000.0, 0.0], "99.8": [3000.0, 10.0]}}


def means(restored: Restoration) -> np.ndarray[Any, Any]:
    return restored.members[0]


def test_axes_voxel_size_time_step_and_name_come_back(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((3, 9, 7), "uint16"), "TYX", voxel_size=(0.2, 0.1), time_step=1.5, name="cells")
    restored = restore(image, ensemble)
    assert means(restored).shape == (2, 3, 9, 7)
    for result in (restored.mean, restored.scale, *restored.interval(0.9)):
        assert (result.axes, result.shape, result.dtype) == ("TYX", (3, 9, 7), np.float32)
        assert (result.voxel_size, result.time_step, result.name) == ((0.2, 0.1), 1.5, "cells")


@pytest.mark.parametrize("axes", ["XYT", "YXT", "TYX", "XTY"])
def test_the_order_of_the_axes_does_not_matter(ensemble: Ensemble, noise: Make, axes: str) -> None:
    image = Image(noise((3, 12, 10)), "TYX")
    turned = restore(image.moved(axes), ensemble)
    assert turned.mean.axes == axes
    np.testing.assert_allclose(
        np.asarray(turned.mean.moved("TYX")), np.asarray(restore(image, ensemble).mean), rtol=1e-5, atol=1e-6
    )


def test_several_channels_out_get_an_axis(make_ensemble: Make, noise: Make) -> None:
    model = make_ensemble(channels_out=2, facts={"high": HIGH})
    restored = restore(Image(noise((3, 8, 8)), "TYX"), model)
    assert (restored.mean.axes, restored.mean.shape) == ("TCYX", (3, 2, 8, 8))


def test_channels_are_restored_together_as_trained(make_ensemble: Make, noise: Make) -> None:
    model = make_ensemble(channels_in=2, channels_out=2)
    image = Image(noise((8, 8, 2)), "YXC")
    restored = restore(image, model, normalize=Normalization((0.0,), (1.0,)))
    assert (restored.mean.axes, restored.mean.shape) == ("YXC", (8, 8, 2))
    answer, _ = model.predict(torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())[None])
    np.testing.assert_allclose(means(restored), answer[:, 0].numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


def test_one_channel_can_be_picked(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((2, 8, 8)), "CYX")
    picked = restore(image, ensemble, channel=1)
    alone = restore(image.region(C=1), ensemble)
    assert (picked.mean.axes, picked.mean.shape) == ("CYX", (1, 8, 8))
    np.testing.assert_array_equal(np.asarray(picked.mean)[0], np.asarray(alone.mean))


def test_a_stack_can_be_restored_plane_by_plane(ensemble: Ensemble, noise: Make) -> None:
    stack = Image(noise((3, 8, 8)), "ZYX", voxel_size=(1, 0.5, 0.5))
    restored = restore(stack, ensemble, planes=True, normalize="frame")
    assert restored.mean.voxel_size == (1, 0.5, 0.5)
    for z in range(3):
        alone = restore(stack.region(Z=z), ensemble)
        np.testing.assert_allclose(np.asarray(restored.mean)[z], np.asarray(alone.mean), rtol=1e-6)


# Normalisation


def series(noise: Make) -> Image:
    """Two time points, the second ten times as bright."""
    return Image(noise((2, 20, 20)) * np.array([1, 10], np.float32)[:, None, None], "TYX")


def test_every_frame_on_its_own(ensemble: Ensemble, noise: Make) -> None:
    image = series(noise)
    restored = restore(image, ensemble, normalize="frame")
    for t in range(2):
        alone = restore(image.region(T=t), ensemble)
        np.testing.assert_allclose(np.asarray(restored.mean)[t], np.asarray(alone.mean), rtol=1e-6)


def test_all_time_points_together_but_every_sample_on_its_own(ensemble: Ensemble, noise: Make) -> None:
    image = series(noise)
    low, high = np.percentile(np.asarray(image), [2, 99.8])
    together = restore(image, ensemble)
    given = restore(image, ensemble, normalize=Normalization((low,), (high,)))
    np.testing.assert_allclose(np.asarray(together.mean), np.asarray(given.mean), rtol=1e-5, atol=1e-4)
    samples = restore(Image(np.asarray(image), "SYX"), ensemble)
    frames = restore(image, ensemble, normalize="frame")
    np.testing.assert_array_equal(np.asarray(samples.mean), np.asarray(frames.mean))
    assert not np.allclose(np.asarray(samples.mean), np.asarray(together.mean), rtol=1e-3)


def test_percentiles_stored_with_the_model(make_ensemble: Make, noise: Make) -> None:
    image = Image(noise((8, 8), "uint16"), "YX")
    stored = restore(image, make_ensemble(facts={"low": LOW}), normalize="model")
    given = restore(image, make_ensemble(), normalize=Normalization((100.0,), (300.0,)))
    np.testing.assert_array_equal(np.asarray(stored.mean), np.asarray(given.mean))
    flat = restore(Image(np.full((8, 8), 150.0), "YX"), make_ensemble(facts={"low": LOW}), normalize="model")
    assert np.isfinite(np.asarray(flat.mean)).all()


@pytest.mark.parametrize("facts", [{}, {"low": {}}, {"low": {"percentiles": {"2.0": [3.0]}}}, {"low": None}])
def test_a_model_that_does_not_know_its_percentiles(make_ensemble: Make, noise: Make, facts: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Normalise by the image"):
        restore(Image(noise((8, 8)), "YX"), make_ensemble(facts=facts), normalize="model")


@pytest.mark.parametrize("choice", ["image", "frame", "model"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_counted_and_refused(make_ensemble: Make, noise: Make, choice: Any, bad: float) -> None:
    pixels = noise((20, 20))
    pixels[3, 4] = pixels[5, 6] = pixels[7, 8] = bad
    with pytest.raises(DataError, match=r"3 of 400 values .* NaN or infinite"):
        restore(Image(pixels, "YX"), make_ensemble(facts={"low": LOW}), normalize=choice)


def test_constant_images_are_refused(ensemble: Ensemble) -> None:
    with pytest.raises(DataError, match="constant"):
        restore(Image(np.full((20, 20), 7, np.uint16), "YX"), ensemble)


def test_other_words_for_the_normalisation(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((8, 8)), "YX")
    with pytest.raises(DataError, match=r"'series' is not known\. Choose image, frame or model"):
        restore(image, ensemble, normalize="series")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="for 2 channels, but 1 are restored"):
        restore(image, ensemble, normalize=Normalization((0.0, 0.0), (1.0, 1.0)))


# Back to grey values


def test_the_way_back_is_that_of_the_input(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((20, 20), "uint16"), "YX")
    low, high = np.percentile(np.asarray(image), [2, 99.8])
    grey, units = restore(image, ensemble), restore(image, ensemble, undo=False)
    np.testing.assert_allclose(np.asarray(grey.mean), np.asarray(units.mean) * (high - low) + low, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(grey.scale), np.asarray(units.scale) * (high - low), rtol=1e-5)


def test_the_way_back_is_that_of_the_truth_where_channels_differ(make_ensemble: Make, noise: Make) -> None:
    image = Image(noise((8, 8)), "YX")
    model = make_ensemble(channels_out=2, facts={"high": HIGH})
    grey, units = np.asarray(restore(image, model).mean), np.asarray(restore(image, model, undo=False).mean)
    np.testing.assert_allclose(grey[0], units[0] * 2000 + 1000, rtol=1e-5)
    np.testing.assert_allclose(grey[1], units[1] * 10, rtol=1e-5)


def test_without_a_way_back_it_says_so_and_stays_normalised(make_ensemble: Make, noise: Make) -> None:
    image = Image(noise((8, 8)), "YX")
    model = make_ensemble(channels_out=2)
    with pytest.warns(VeriscopeWarning, match="stays normalised: it has 2 channels, the input 1"):
        restored = restore(image, model)
    np.testing.assert_array_equal(np.asarray(restored.mean), np.asarray(restore(image, model, undo=False).mean))


# Tiles, memory, devices


@pytest.mark.parametrize("tile", [0, -8, (8, 0), (8,), (8, 8, 8), 2.5, "8"])
def test_tiles_that_make_no_sense(ensemble: Ensemble, noise: Make, tile: Any) -> None:
    with pytest.raises(DataError, match=r"positive number of pixels.*" + re.escape(str(tile))):
        restore(Image(noise((8, 8)), "YX"), ensemble, tile=tile)


def test_too_little_memory_names_the_least(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((64, 64)), "YX")
    with pytest.raises(DeviceError, match="smallest tile of this network needs") as caught:
        restore(image, ensemble, memory="1MB")
    least = re.search(r"memory='(\w+\.?\w*)'", str(caught.value))
    assert least is not None
    restore(image, ensemble, memory=least[1])


def test_less_memory_means_smaller_tiles_and_the_same_result(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((600, 500), "uint8"), "YX")
    rich, poor = plan(image, ensemble, memory="4GB"), plan(image, ensemble, memory="90MB")
    assert (rich.tiles, rich.overhead) == (1, 0)
    assert poor.tiles > 1
    assert poor.memory <= poor.allowed == 90 * 10**6
    lean = restore(image, ensemble, memory="90MB")
    np.testing.assert_allclose(np.asarray(lean.mean), np.asarray(restore(image, ensemble).mean), rtol=0, atol=1e-3)


def test_progress_counts_every_voxel_once(ensemble: Ensemble, noise: Make) -> None:
    seen: list[tuple[int, int]] = []
    restore(Image(noise((2, 21, 30)), "TYX"), ensemble, tile=8, progress=lambda *counts: seen.append(counts))
    assert len(seen) == 2 * 3 * 4
    assert seen[-1] == (2 * 21 * 30, 2 * 21 * 30)
    assert all(a < b for (a, _), (b, _) in pairwise(seen))


def test_lazy_images_are_read_in_tiles(ensemble: Ensemble, noise: Make, lazy: Make) -> None:
    pixels = noise((4, 100, 100))
    image, behind = lazy(pixels, "TYX")
    restored = restore(image, ensemble, tile=32, normalize=Normalization((0.0,), (1.0,)))
    assert behind.largest <= (32 + 16) ** 2
    given = restore(Image(pixels, "TYX"), ensemble, normalize=Normalization((0.0,), (1.0,)))
    np.testing.assert_allclose(np.asarray(restored.mean), np.asarray(given.mean), rtol=1e-5, atol=1e-6)


def test_tiles_shrink_when_memory_runs_out(ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(noise((64, 96)), "YX")
    expected = restore(image, ensemble)
    forward, sizes = UNet.forward, []

    def short_of_memory(self: UNet, x: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(x.shape[2:]))
        if x[0, 0].numel() > 40 * 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes.")
        return forward(self, x)

    made = plan(image, ensemble)
    monkeypatch.setattr(UNet, "forward", short_of_memory)
    monkeypatch.setattr("veriscope.restoring.prepared.plan_frames", lambda *_: made)  # planned before memory was short
    seen: list[int] = []
    restored = restore(image, ensemble, progress=lambda done, _: seen.append(done))
    np.testing.assert_allclose(np.asarray(restored.mean), np.asarray(expected.mean), rtol=1e-5, atol=1e-6)
    assert sizes[0] == (64, 96)
    assert seen[-1] == 64 * 96
    assert len([size for size in sizes if np.prod(size) > 1600]) < 6  # what was too large once is not tried again


def test_memory_that_never_suffices_ends_in_one_message(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(noise((32, 32)), "YX")
    made = plan(image, ensemble)

    def never(self: UNet, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(UNet, "forward", never)
    monkeypatch.setattr("veriscope.restoring.prepared.plan_frames", lambda *_: made)
    with pytest.raises(DeviceError, match=r"even for the smallest tile, .*CUDA out of memory.*Close other programs"):
        restore(image, ensemble)


def test_other_errors_are_not_taken_for_missing_memory(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(noise((32, 32)), "YX")
    made = plan(image, ensemble)

    def broken(self: UNet, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(UNet, "forward", broken)
    monkeypatch.setattr("veriscope.restoring.prepared.plan_frames", lambda *_: made)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        restore(image, ensemble)


def test_results_that_do_not_fit_into_memory_point_to_files(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    with pytest.raises(DeviceError, match=r"Remove lazy=False, or restore it to a file"):
        restore(Image(noise((32, 32)), "YX"), ensemble, lazy=False)


def test_the_users_networks_are_left_as_they_are(ensemble: Ensemble, noise: Make) -> None:
    weights = ensemble.members[0].down[0][1].weight
    before = (weights.stride(), weights.dtype, ensemble.members[0].training)
    restore(Image(noise((8, 8)), "YX"), ensemble)
    assert (weights.stride(), weights.dtype, ensemble.members[0].training) == before


def test_the_plan_tells_what_will_be_done(ensemble: Ensemble) -> None:
    made = plan(Image(np.zeros((3, 65, 64), np.uint8), "TYX"), ensemble, tile=32, device="cpu")
    assert (made.frames, made.shape, made.core, made.halo, made.tiles) == (3, (66, 64), (32, 32), (8, 8), 18)
    # reads along Y: 40 + 42 + 10, along X: 40 + 40
    assert made.overhead == pytest.approx(92 * 80 / (65 * 64) - 1)
    assert "18 of 32 x 32 pixels, halo 8 x 8" in str(made)
    assert "77 % more voxels" in str(made)


# Everything kept


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_explored_is_what_is_restored_and_parts_know_the_same(
    ensemble: Ensemble, noise: Make, tmp_path: Path, on_disk: bool
) -> None:
    image = Image(noise((3, 20, 18), "uint16"), "TYX", (0.2, 0.1))
    wanted, seen = restore(image, ensemble), []
    restored = restore_to_explore(image, ensemble, tmp_path if on_disk else None, lambda done, all: seen.append(done))
    assert (sum(file.stat().st_size for file in tmp_path.iterdir()) > 0) is on_disk
    assert seen[-1] == 3 * 20 * 18
    part = (slice(1, 3), slice(2, 9), slice(0, 18))
    for name, arguments in (("mean", ()), ("scale", ()), ("interval", (0.9,)), ("probability", (5.0,))):
        pairs = zip(wanted.output(name, *arguments), restored.output(name, *arguments), strict=True)
        inside = restored.part(part).output(name, *arguments)
        for (one, other), piece in zip(pairs, inside, strict=True):
            np.testing.assert_array_equal(np.asarray(other), np.asarray(one))
            np.testing.assert_array_equal(np.asarray(piece), np.asarray(one)[part])
            assert other.voxel_size == (0.2, 0.1)
    with pytest.raises(ModelError, match="trust_mask cannot be given"):
        _ = restored.trust_mask
