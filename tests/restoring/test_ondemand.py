"""Restored lazily, every image is what it would be in memory, computed where it is read and no more than once."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.calibrated import CENTRAL, CUMULATIVE
from veriscope.errors import DataError, DeviceError, ModelError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.writing import save_image
from veriscope.networks import build, devices
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import UNet
from veriscope.normalize import Normalization
from veriscope.restoring.ondemand import Computed, OnDemand
from veriscope.restoring.prepared import plan
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.restore import restore

Make = Callable[..., Any]
FACTS = {
    "low": {"percentiles": {"2.0": [100.0], "99.8": [300.0]}},
    "high": {"percentiles": {"2.0": [1000.0, 0.0], "99.8": [3000.0, 10.0]}},
}
_LEVEL = {
    "log_scale": [0.0],
    "log_factor": [0.5],
    "slope": [[0.3], [0.2]],
    "centre": [-1.0, -1.0],
    "seen": [[-3, -3], [0, 0]],
}
WIDER = {  # a calibration that widens every distribution, more in noisy images
    "calibration": {
        "levels": [_LEVEL],
        "central": (CENTRAL**1.2).tolist(),
        "cumulative": CUMULATIVE.tolist(),
        "guaranteed": CENTRAL.tolist(),
        "pixels": 10_000,
        "images": 5,
    },
    "expected": {"log_ratio": 0.0, "half_width": 0.2},
}
IMAGES: dict[str, Callable[[Restoration], Image]] = {
    "mean": lambda restored: restored.mean,
    "scale": lambda restored: restored.scale,
    "lower": lambda restored: restored.interval(0.9)[0],
    "upper": lambda restored: restored.interval(0.9)[1],
    "quantile": lambda restored: restored.quantile(0.2),
    "probability": lambda restored: restored.probability(0.3),
    "sample": lambda restored: restored.sample(5),
    "entropy": lambda restored: restored.entropy(),
    "disagreement": lambda restored: restored.disagreement(),
}


def both(image: Image, model: Ensemble, **choices: Any) -> tuple[Restoration, Restoration]:
    return restore(image, model, lazy=False, **choices), restore(image, model, lazy=True, **choices)


def source(restored: Restoration) -> OnDemand:
    """What computes the tiles of a lazy restoration."""
    assert isinstance(restored.means, Computed)
    return restored.means.source


def assert_same(held: Any, lazy: Any) -> None:
    held, lazy = np.asarray(held), np.asarray(lazy)
    assert (held.shape, held.dtype) == (lazy.shape, lazy.dtype)
    assert_allclose(lazy, held, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(held).max(initial=0))))


# What it gives


@pytest.mark.parametrize("what", IMAGES)
@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_every_image_is_the_one_in_memory(make_ensemble: Make, noise: Make, axes: str, what: str) -> None:
    shape = {"YX": (3, 21, 30), "ZYX": (2, 6, 13, 18)}[axes]
    image = Image(noise(shape), "T" + axes, voxel_size=(0.5,) * len(axes), time_step=2.0, name="cells")
    held, lazy = (IMAGES[what](one) for one in both(image, make_ensemble(axes, members=3), tile=8))
    assert lazy.is_lazy
    assert not held.is_lazy
    assert (lazy.axes, lazy.shape, lazy.dtype) == (held.axes, held.shape, np.float32)
    assert (lazy.voxel_size, lazy.time_step, lazy.name) == (held.voxel_size, 2.0, "cells")
    assert_same(held, lazy)


def test_members_are_lazy_too_and_exactly_those_in_memory(ensemble: Ensemble, noise: Make) -> None:
    held, lazy = both(Image(noise((2, 21, 30)), "TYX"), ensemble, tile=8)
    assert (held.is_lazy, lazy.is_lazy) == (False, True)
    for kept, computed in zip(held.members, lazy.members, strict=True):
        assert_array_equal(np.asarray(computed), np.asarray(kept))
        assert_array_equal(computed[1, :, 5:9], kept[1, :, 5:9])  # type: ignore[index]
        assert_array_equal(np.stack(list(computed)), np.asarray(kept))  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Recipe, str, tuple[int, ...], Any, str]:
    axes = draw(st.sampled_from(["YX", "YX", "ZYX"]))
    channels = draw(st.integers(1, 2))
    recipe = Recipe(
        axes=axes, depth=1, base=2, channels_in=channels, channels_out=draw(st.integers(1, 2)),
        probabilistic=draw(st.integers(0, 3)) > 0,
    )  # fmt: skip
    letters = draw(st.permutations(draw(st.sampled_from(["", "T", "S", "ST"])) + "C" * (channels > 1) + axes))
    longest = {"T": 3, "S": 2, "Z": 9}
    shape = tuple(channels if letter == "C" else draw(st.integers(1, longest.get(letter, 30))) for letter in letters)
    what = draw(st.sampled_from([*IMAGES] if recipe.probabilistic else ["mean"]))
    return recipe, "".join(letters), shape, draw(st.integers(2, 12)), what


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), data=st.data())
def test_any_region_of_any_image_is_that_of_the_whole(case: Any, data: st.DataObject) -> None:
    recipe, axes, shape, tile, what = case
    torch.manual_seed(3)
    model = Ensemble(recipe, tuple(build(recipe) for _ in range(2)))
    image = Image(np.random.default_rng(0).random(shape, np.float32), axes)
    choices: dict[str, Any] = {"tile": tile, "normalize": Normalization((0.0,), (1.0,)), "undo": False}
    held, lazy = (IMAGES[what](one) for one in both(image, model, **choices))
    whole = np.asarray(held)
    for _ in range(3):
        index = tuple(
            data.draw(st.one_of(st.slices(size).filter(lambda part: (part.step or 1) > 0), st.integers(0, size - 1)))
            for size in whole.shape
        )
        assert_same(whole[index], lazy.array[index])
    turned = "".join(data.draw(st.permutations(held.axes)))
    assert_same(held.moved(turned), lazy.moved(turned))


def test_every_setting_of_restore_means_the_same(make_ensemble: Make, noise: Make) -> None:
    series = Image(noise((3, 2, 18, 20), "uint16") * np.array([1, 5, 9], "uint16")[:, None, None, None], "TCYX")
    plain = make_ensemble(facts=FACTS | WIDER)
    wider = make_ensemble(channels_out=2, facts=FACTS)
    settings: list[tuple[Ensemble, dict[str, Any]]] = [
        (plain, {"channel": 1}),
        (plain, {"channel": 0, "normalize": "frame", "calibrated": True}),
        (plain, {"channel": 0, "normalize": "model", "undo": False}),
        (wider, {"channel": 1, "normalize": Normalization((50.0,), (900.0,))}),
        (make_ensemble(channels_in=2, channels_out=2), {}),
    ]
    for model, choices in settings:
        for held, lazy in zip(*(one.interval() for one in both(series, model, tile=10, **choices)), strict=True):
            assert held.axes == lazy.axes
            assert_same(held, lazy)
    stack = Image(noise((3, 18, 20)), "ZYX")
    held, lazy = (one.mean for one in both(stack, plain, planes=True, normalize="frame", tile=10))
    assert_same(held, lazy)


def test_samples_of_regions_are_regions_of_the_sample(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((2, 40, 44)), "TYX")
    held, lazy = both(image, ensemble, tile=16)
    drawn = held.sample(9)
    assert_array_equal(np.asarray(lazy.sample(9)), np.asarray(drawn))
    assert_array_equal(lazy.sample(9).read(1, slice(13, 35), slice(7, 21)), drawn.read(1, slice(13, 35), slice(7, 21)))
    assert not np.array_equal(drawn.read(0), drawn.read(1))


def test_a_restoration_can_be_restored_again(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((30, 34)), "YX")
    held = restore(restore(image, ensemble, tile=8).mean, ensemble, tile=12)
    lazy = restore(restore(image, ensemble, tile=8, lazy=True).mean, ensemble, tile=12, lazy=True)
    assert_allclose(np.asarray(lazy.mean), np.asarray(held.mean), rtol=1e-4, atol=1e-4)


# When it computes


def test_nothing_is_read_or_computed_before_something_is_asked_for(ensemble: Ensemble, noise: Make, lazy: Make) -> None:
    image, behind = lazy(noise((3, 40, 40)), "TYX")
    restored = restore(image, ensemble, tile=16, lazy=True)
    for make in IMAGES.values():
        shown = make(restored)
        shown.describe()
        shown.moved("XYT").region(T=1)
    assert (behind.largest, source(restored).computed) == (0, 0)
    assert restored.mean.describe()["pixels"] == "computed when read"


def test_only_the_tiles_that_are_touched_are_computed(ensemble: Ensemble, noise: Make) -> None:
    image = Image(noise((3, 64, 64)), "TYX")
    restored = restore(image, ensemble, tile=16, lazy=True)
    assert restored.mean.cuts == ((0, 1, 2), (0, 16, 32, 48), (0, 16, 32, 48))
    restored.mean.read(1, slice(3, 16), slice(20, 30))
    assert source(restored).computed == 1
    restored.scale.read(1, slice(15, 17), slice(20, 30))
    assert source(restored).computed == 2
    restored.mean.read(slice(0, 3, 2), slice(0, 64, 40), 0)  # rows 0 and 40 of the first and the last frame
    assert source(restored).computed == 2 + 4
    restored.mean.read(slice(0, 0))
    assert source(restored).computed == 6


def test_neighbouring_reads_and_other_images_of_a_tile_cost_nothing(ensemble: Ensemble, noise: Make) -> None:
    restored = restore(Image(noise((64, 64)), "YX"), ensemble, tile=32, lazy=True)
    for row in range(0, 32, 4):
        restored.mean.read(slice(row, row + 4), slice(0, 32))
    for make in IMAGES.values():
        make(restored).read(slice(0, 32), slice(0, 32))
    assert source(restored).computed == 1


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("what", ["mean", "lower"])
def test_saving_computes_every_tile_once(
    ensemble: Ensemble, noise: Make, tmp_path: Path, suffix: str, what: str
) -> None:
    image = Image(noise((2, 70, 90)), "TYX", voxel_size=(0.1, 0.1))
    held, lazy = both(image, ensemble, tile=16)
    source(lazy).room = 0  # no more than the tile at hand is kept
    save_image(tmp_path / f"out{suffix}", IMAGES[what](lazy))
    assert source(lazy).computed == 2 * 5 * 6
    assert_same(IMAGES[what](held), read_image(tmp_path / f"out{suffix}"))


def test_also_views_compute_every_tile_once(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    image = Image(noise((2, 10, 30, 26)), "TZYX")
    held, lazy = both(image, make_ensemble("ZYX"), tile=(4, 8, 8))
    source(lazy).room = 0
    part = {"Z": slice(3, 9), "Y": slice(5, 22, 2), "T": 1}
    seen = lazy.mean.region(**part).moved("XYZ")
    assert seen.cuts == ((0, 8, 16, 24), (0, 2, 6), (0, 1, 5))
    save_image(tmp_path / "part.ome.tif", seen)
    assert source(lazy).computed == 4 * 3 * 3
    assert_same(held.mean.region(**part), read_image(tmp_path / "part.ome.tif").moved("ZYX"))
    for block in lazy.scale.blocks("CTZYX", limit_bytes=1000):
        assert block.nbytes <= 1000
    assert source(lazy).computed == 36 + 2 * 3 * 4 * 4


def test_no_more_is_kept_than_there_is_room_for(ensemble: Ensemble, noise: Make) -> None:
    restored = restore(Image(noise((64, 64)), "YX"), ensemble, tile=16, lazy=True)
    tile = 2 * 2 * 16 * 16 * 4  # means and scales of both members
    for room, most in ((0, 1), (tile, 1), (3 * tile, 3), (3 * tile + 100, 3)):
        source(restored).room = room
        for row in range(0, 64, 5):
            restored.mean.read(row)
            assert 0 < source(restored).kept_bytes <= most * tile
    before = source(restored).computed
    restored.mean.read(60, slice(16, 64))  # the three tiles used last
    assert source(restored).computed == before


def test_saving_holds_a_few_tiles_whatever_the_size_of_the_image(
    ensemble: Ensemble, noise: Make, lazy: Make, tmp_path: Path
) -> None:
    image, _ = lazy(noise((16, 256, 256)), "TYX")
    restored = restore(image, ensemble, tile=64, normalize=Normalization((0.0,), (1.0,)), lazy=True)
    tile = 2 * 2 * 64 * 64 * 4
    source(restored).room = 4 * tile
    save_image(tmp_path / "first.ome.tif", image.region(T=0, Y=slice(0, 8)))  # loads what is needed
    tracemalloc.start()  # of Python and NumPy; what networks take is in the plan
    save_image(tmp_path / "out.ome.tif", restored.interval(0.9)[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source(restored).computed == 256
    assert peak < 32 * tile  # of 256


def test_a_quarter_of_the_memory_holds_tiles(ensemble: Ensemble, noise: Make) -> None:
    restored = restore(Image(noise((64, 64)), "YX"), ensemble, memory="100MB", lazy=True)
    assert source(restored).room == 25 * 10**6


def test_several_threads_may_read(ensemble: Ensemble, noise: Make) -> None:
    held, lazy = both(Image(noise((48, 48)), "YX"), ensemble, tile=16)
    whole, image = np.asarray(held.mean), lazy.mean
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(image.read, range(48)))
    assert_same(whole, np.stack(rows))
    assert source(lazy).computed == 9


# Memory


def short_by(size: int, monkeypatch: pytest.MonkeyPatch, image: Image, model: Ensemble) -> None:
    """Let the free memory lack so many bytes of what predictions and networks take together."""
    needed = image.array.size * len(model) * 8 + plan(image, model, memory="100MB", device="cpu").memory
    monkeypatch.setattr(devices, "free_memory", lambda device: needed - size)


@pytest.mark.parametrize(("short", "is_lazy"), [(1, True), (0, False)])
def test_it_is_lazy_where_predictions_do_not_fit_beside_the_networks(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch, short: int, is_lazy: bool
) -> None:
    image = Image(noise((64, 64)), "YX")
    expected = restore(image, ensemble, lazy=False)
    short_by(short, monkeypatch, image, ensemble)
    restored = restore(image, ensemble, memory="100MB", device="cpu")
    assert restored.is_lazy == is_lazy
    assert_same(expected.mean, restored.mean)


def test_memory_too_small_for_any_tile_is_said_at_once(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
    with pytest.raises(DeviceError, match="smallest tile of this network needs"):
        restore(Image(noise((64, 64)), "YX"), ensemble, lazy=True)


def test_tiles_that_had_to_shrink_stay_small_and_are_put_together(
    ensemble: Ensemble, noise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(noise((96, 96)), "YX")
    held, lazy = both(image, ensemble, tile=48, precision="float32")
    forward, failed = UNet.forward, []

    def short_of_memory(self: UNet, x: torch.Tensor) -> torch.Tensor:
        if x[0, 0].numel() > 40 * 40:
            failed.append(tuple(x.shape[2:]))
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes.")
        return forward(self, x)

    monkeypatch.setattr(UNet, "forward", short_of_memory)
    for corner in ((0, 0), (48, 0), (0, 48), (48, 48)):
        span = [slice(start, start + 48) for start in corner]
        assert_same(held.mean.read(*span), lazy.mean.read(*span))
    assert source(lazy).computed == 4
    assert len(failed) == 2  # by halves twice, on the first tile


# What is refused, and when


def test_without_scales_only_the_mean_is_known(make_ensemble: Make, noise: Make) -> None:
    held, lazy = both(Image(noise((20, 20)), "YX"), make_ensemble(probabilistic=False), tile=8)
    assert lazy.members[1] is None
    assert_same(held.mean, lazy.mean)
    for what in [*IMAGES][1:]:
        with pytest.raises(ModelError, match="probabilistic=False"):
            IMAGES[what](lazy)


def test_senseless_settings_are_refused_before_anything_is_computed(ensemble: Ensemble, noise: Make) -> None:
    lazy = restore(Image(noise((20, 20)), "YX"), ensemble, lazy=True)
    for ask in (lambda: lazy.interval(1.0), lambda: lazy.quantile(0.0)):
        with pytest.raises(DataError, match="between 0 and 1"):
            ask()
    with pytest.raises(DataError, match="eps must be 0 or more"):
        lazy.probability(-1.0)
    assert source(lazy).computed == 0


def test_bad_pixels_are_found_where_they_are_read(ensemble: Ensemble, noise: Make) -> None:
    pixels = noise((64, 64))
    pixels[60, 60] = np.nan
    lazy = restore(Image(pixels, "YX"), ensemble, tile=16, normalize=Normalization((0.0,), (1.0,)), lazy=True)
    good = lazy.mean.read(slice(0, 16))
    with pytest.raises(DataError, match="NaN or infinite"):
        lazy.mean.read(slice(48, 64))
    assert_array_equal(lazy.mean.read(slice(0, 16)), good)  # and goes on with the rest
    with pytest.raises(DataError, match="constant"):
        np.asarray(restore(Image(np.full((20, 20), 7), "YX"), ensemble, lazy=True).mean)


def test_a_failed_save_leaves_nothing_behind(ensemble: Ensemble, noise: Make, tmp_path: Path) -> None:
    pixels = noise((64, 64))
    pixels[60, 60] = np.nan
    lazy = restore(Image(pixels, "YX"), ensemble, tile=16, normalize=Normalization((0.0,), (1.0,)), lazy=True)
    with pytest.raises(DataError, match="NaN or infinite"):
        save_image(tmp_path / "out.tif", lazy.mean)
    assert list(tmp_path.iterdir()) == []


def test_the_warning_about_grey_values_comes_at_once(make_ensemble: Make, noise: Make) -> None:
    with pytest.warns(UserWarning, match="stays normalised"):
        lazy = restore(Image(noise((20, 20)), "YX"), make_ensemble(channels_out=2), lazy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(lazy.mean).shape == (2, 20, 20)
