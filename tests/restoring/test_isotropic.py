"""Isotropic restoring: a stack made finer along Z, its xz and its yz slices restored, and the two averaged (SI 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from veriscope.errors import ModelError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.resampling import resampled
from veriscope.networks.model import Ensemble
from veriscope.networks.unet import UNet
from veriscope.normalize import Normalization
from veriscope.restoring.prepared import plan
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file

AS_IT_IS = Normalization((0.0,), (1.0,))
Make = Callable[..., Any]


@pytest.fixture
def make(make_ensemble: Make) -> Make:
    """An untrained ensemble for isotropic stacks."""

    def of(factor: float = 3, **choices: Any) -> Ensemble:
        ensemble: Ensemble = make_ensemble("YX", task="isotropic", upsample=(factor, 1, 1), **choices)
        return ensemble

    return of


def slice_by_slice(ensemble: Ensemble, stack: NDArray[Any]) -> NDArray[np.float32]:
    """The answers (2 M, channels, Z, Y, X) to a fine stack (C, Z, Y, X), one slice after the other, the plain way."""

    def plane(network: Any, image: NDArray[Any]) -> NDArray[Any]:
        ends = [(0, -length % step) for length, step in zip(image.shape[1:], ensemble.recipe.step, strict=True)]
        wide = torch.from_numpy(np.pad(image, [(0, 0), *ends], mode="reflect"))[None]
        with torch.inference_mode():
            answer: NDArray[Any] = network(wide)[0].numpy()
        return answer[:, : image.shape[1], : image.shape[2]]

    along_x = [np.stack([plane(m, stack[:, :, y]) for y in range(stack.shape[2])], 2) for m in ensemble.members]
    along_y = [np.stack([plane(m, stack[..., x]) for x in range(stack.shape[3])], 3) for m in ensemble.members]
    return np.stack([*along_x, *along_y])


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 20)),
    factor=st.floats(1, 5),
    tile=st.one_of(st.none(), st.integers(2, 12)),
    channels=st.integers(1, 2),
    probabilistic=st.booleans(),
)
def test_tiles_agree_with_slices_restored_one_by_one(
    make: Make, shape: tuple[int, ...], factor: float, tile: int | None, channels: int, probabilistic: bool
) -> None:
    ensemble = make(factor, channels_in=channels, channels_out=channels, probabilistic=probabilistic)
    pixels = np.random.default_rng(0).random((channels, *shape), np.float32)
    finer = np.asarray(resampled(Image(pixels, "CZYX"), {"Z": factor}))
    expected = slice_by_slice(ensemble, finer)
    restored = restore(Image(pixels, "CZYX"), ensemble, tile=tile, normalize=AS_IT_IS, undo=False)
    means, scales = restored.members
    assert means.shape == (4, *finer.shape)
    close = 1e-5 * max(1.0, float(np.ptp(expected)))
    np.testing.assert_allclose(means, expected[:, :channels], rtol=0, atol=close)
    np.testing.assert_allclose(np.asarray(restored.mean), expected[:, :channels].mean(0), rtol=0, atol=close)
    if probabilistic:
        np.testing.assert_allclose(scales, expected[:, channels:], rtol=0, atol=close)


def test_the_result_has_isotropic_voxels_and_its_time_points(make: Make, noise: Make) -> None:
    image = Image(noise((2, 5, 9, 8), "uint16"), "TZYX", (0.5, 0.1, 0.1), time_step=2.0, name="worm")
    restored = restore(image, make(5))
    assert (restored.mean.axes, restored.mean.shape, restored.mean.voxel_size) == ("TZYX", (2, 25, 9, 8), (0.1,) * 3)
    assert (restored.mean.time_step, restored.mean.name) == (2.0, "worm")


def test_exchanging_x_and_y_exchanges_them_in_the_result(make: Make, noise: Make) -> None:
    pixels, ensemble = noise((5, 16, 11)), make(3)
    there = np.asarray(restore(Image(pixels, "ZYX"), ensemble).mean)
    turned = np.asarray(restore(Image(pixels.swapaxes(1, 2), "ZYX"), ensemble).mean)
    np.testing.assert_allclose(turned.swapaxes(1, 2), there, rtol=0, atol=1e-6)


def test_lazily_and_to_a_file_it_is_the_same(make: Make, noise: Make, tmp_path: Path) -> None:
    image, ensemble = Image(noise((5, 16, 14)), "ZYX", (0.3, 0.1, 0.1)), make(3)
    whole = restore(image, ensemble)
    lazily = restore(image, ensemble, tile=8, lazy=True)
    np.testing.assert_allclose(np.asarray(lazily.mean), np.asarray(whole.mean), rtol=0, atol=1e-5)
    np.testing.assert_allclose(lazily.scale.read(3), np.asarray(whole.scale)[3], rtol=0, atol=1e-5)
    report = restore_to_file(image, ensemble, tmp_path / "a.ome.tif", scale=tmp_path / "s.ome.tif", tile=8)
    written = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_allclose(np.asarray(written), np.asarray(whole.mean), rtol=0, atol=1e-5)
    np.testing.assert_allclose(written.voxel_size, (0.1, 0.1, 0.1), rtol=1e-6)
    assert report.tiles == plan(image, ensemble, tile=8).tiles == 2 * 2 * 2


def test_only_as_much_of_the_stack_is_read_as_a_tile_needs(make: Make, noise: Make, lazy: Make, tmp_path: Path) -> None:
    image, behind = lazy(noise((6, 64, 64), "uint16"), "ZYX")
    restore_to_file(image, make(3), tmp_path / "a.tif", tile=(18, 8, 8), normalize=AS_IT_IS)
    assert behind.largest <= 6 * 24 * 24


def test_slices_in_the_halo_are_not_computed(make: Make, noise: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = UNet.forward

    def counting(self: UNet, image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return real(self, image)

    monkeypatch.setattr(UNet, "forward", counting)
    image, ensemble = Image(noise((4, 48, 48)), "ZYX"), make(2, members=1)
    plan(image, ensemble)  # has measured what the network needs
    seen.clear()
    restore(image, ensemble, tile=(8, 16, 16), normalize=AS_IT_IS)
    assert sum(seen) == 2 * 9 * 16  # two directions, nine tiles, sixteen slices


def test_the_two_directions_disagree_where_only_one_can_see(make: Make, noise: Make) -> None:
    restored = restore(Image(noise((4, 16, 16)), "ZYX"), make(2, members=1))
    assert restored.disagreement().shape == (8, 16, 16)
    members, mixture = restored.members[1], np.asarray(restored.scale)
    assert members is not None
    assert (mixture >= np.asarray(members).min(0) * 0.999).all()  # no gain is claimed from averaging


def test_an_ensemble_is_put_into_space_once(make: Make, ensemble: Ensemble) -> None:
    once = make(4).in_space()
    assert (len(once), once.halo, once.step, once.recipe.axes) == (4, (8, 8, 8), (2, 2, 2), "YX")
    assert once.in_space() is once
    assert ensemble.in_space() is ensemble


def test_a_network_that_changes_nothing_leaves_an_isotropic_stack_as_it_is(make: Make, noise: Make) -> None:
    ensemble = make(1)
    with torch.no_grad():
        for member in ensemble.members:
            member.mean.weight.zero_()
    image = Image(noise((6, 12, 10), "uint16"), "ZYX")
    np.testing.assert_allclose(np.asarray(restore(image, ensemble).mean), np.asarray(image), rtol=1e-5)


def test_less_memory_makes_smaller_tiles(make: Make, noise: Make) -> None:
    image = Image(noise((20, 200, 200)), "ZYX")
    ensemble = make(5, base=8)
    much, little = (plan(image, ensemble, memory=memory) for memory in ("4GB", "300MB"))
    assert np.prod(little.core) < np.prod(much.core)
    assert little.memory <= little.allowed
    assert much.overhead < 0.1


def test_images_that_do_not_fit_are_refused(make: Make, noise: Make) -> None:
    with pytest.raises(ModelError, match=r"restores stacks \(ZYX\), but the image has the axes YX"):
        restore(Image(noise((8, 8)), "YX"), make())
    with pytest.raises(ModelError, match="trained on images with 1 channel, but this image has 2 channels"):
        restore(Image(noise((2, 3, 8, 8)), "CZYX"), make())


def test_voxels_in_another_ratio_than_in_training_are_told(make: Make, noise: Make) -> None:
    image = Image(noise((3, 8, 8)), "ZYX", (0.3, 0.1, 0.1))
    with pytest.warns(VeriscopeWarning, match=r"3 times as long along Z as along X.*interpolates by 5"):
        restore(image, make(5))
    restore(image, make(2.9))  # within 5 %
