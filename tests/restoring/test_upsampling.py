"""Models that make pixels finer: low is interpolated to the grid of high, in training, restoring and judging alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.comparing.judge import judge
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs, factors_between, on_grid_of
from veriscope.images.resampling import resampled
from veriscope.networks.model import Ensemble
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file

Make = Callable[..., Any]


def unchanging(ensemble: Ensemble) -> Ensemble:
    """Networks that hand their input on."""
    with torch.no_grad():
        for member in ensemble.members:
            member.mean.weight.zero_()  # type: ignore[union-attr]
    return ensemble


@pytest.mark.parametrize(("axes", "factors"), [("ZYX", (4, 1, 1)), ("YX", (2, 2)), ("ZYX", (1, 2, 2.5))])
def test_an_image_is_interpolated_before_the_networks_see_it(
    make_ensemble: Make, noise: Make, axes: str, factors: tuple[float, ...]
) -> None:
    ensemble = unchanging(make_ensemble(axes, upsample=factors))
    image = Image(noise((6, 12, 10)[-len(axes) :], "uint16"), axes, (0.4, 0.1, 0.1)[-len(axes) :])
    finer = resampled(image, dict(zip(axes, factors, strict=True)))
    restored = restore(image, ensemble).mean
    assert restored.voxel_size == finer.voxel_size
    np.testing.assert_allclose(np.asarray(restored), np.asarray(finer), rtol=1e-4)


def test_tiles_leave_no_trace(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    ensemble = make_ensemble("ZYX", upsample=(3, 1, 2))
    image = Image(noise((5, 14, 11)), "ZYX")
    whole = np.asarray(restore(image, ensemble).mean)
    assert whole.shape == (15, 14, 22)
    restore_to_file(image, ensemble, tmp_path / "a.tif", tile=6)
    np.testing.assert_allclose(np.asarray(vs.read_image(tmp_path / "a.tif")), whole, rtol=0, atol=1e-5)


def test_pairs_are_brought_to_the_grid_of_high(tmp_path: Path) -> None:
    fine = np.random.default_rng(0).integers(0, 999, (12, 8, 9)).astype(np.uint16)
    for kind, array in (("fine", fine), ("coarse", fine[::4])):
        (tmp_path / kind).mkdir()
        vs.save_image(tmp_path / kind / "a.ome.tif", Image(array, "ZYX", (0.4 if kind == "coarse" else 0.1, 0.1, 0.1)))
    (pair,) = vs.read_pairs(tmp_path / "coarse", tmp_path / "fine", finer={"Z": 4})
    assert (pair.low.shape, pair.low.is_lazy, pair.turns) == ((12, 8, 9), True, True)
    np.testing.assert_allclose(pair.low.voxel_size, (0.1, 0.1, 0.1), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(pair.low)[::4], fine[::4])
    with pytest.raises(DataError, match="differ in size"):
        vs.read_pairs(tmp_path / "coarse", tmp_path / "fine")


def test_what_is_finer_along_one_lateral_axis_only_is_not_turned(tmp_path: Path) -> None:
    for kind, width in (("fine", 16), ("coarse", 8)):
        vs.save_image(tmp_path / f"{kind}.ome.tif", Image(np.random.default_rng(0).random((16, width)), "YX"))
    (pair,) = vs.read_pairs(tmp_path / "coarse.ome.tif", tmp_path / "fine.ome.tif", finer={"X": 2})
    assert not pair.turns


@pytest.mark.parametrize(("planes", "fits"), [(29, True), (30, True), (32, True), (35, True), (28, False), (36, False)])
def test_sizes_agree_with_a_factor_up_to_less_than_one_coarse_pixel(planes: int, fits: bool) -> None:
    low, high = (Image(np.zeros((n, 4, 4)), "ZYX") for n in (8, planes))
    if fits:
        assert on_grid_of(high, low, {"Z": 4}).shape == (planes, 4, 4)
        return
    with pytest.raises(DataError, match=f"4 times as many pixels along Z as low, about 32, but has {planes}"):
        on_grid_of(high, low, {"Z": 4}, "a")


def test_whole_ratios_of_sizes_tell_the_factors() -> None:
    high = Image(np.zeros((12, 8, 8)), "ZYX")
    assert factors_between(Image(np.zeros((3, 8, 4)), "ZYX"), high) == {"Z": 4, "X": 2}
    for shape in ((5, 8, 8), (12, 8, 8), (24, 8, 8)):
        with pytest.raises(DataError, match="do not show how much finer high is"):
            factors_between(Image(np.zeros(shape), "ZYX"), high, "a")


def test_the_interpolated_input_is_what_a_restoration_is_judged_beside(make_ensemble: Make, noise: Make) -> None:
    high = Image(noise((12, 16, 16)), "ZYX")
    low = on_grid_of(high, Image(np.asarray(high)[::4], "ZYX"), {"Z": 4})
    judged = judge(unchanging(make_ensemble("ZYX", upsample=(4, 1, 1))), Pairs([Pair(low, high, "a")]))
    assert judged.methods == ("input, interpolated", "restoration")
    assert judged.of("restoration").nrmse == pytest.approx(judged.of("input, interpolated").nrmse, rel=1e-4)
    assert judged.input is not None
