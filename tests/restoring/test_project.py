"""Restoring with networks that project: stacks become planes, in tiles that leave no trace, with a height."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from veriscope.errors import DataError, ModelError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Projection
from veriscope.normalize import Normalization
from veriscope.restoring.plan import need
from veriscope.restoring.prepared import finders, plan
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file

AS_IT_IS = Normalization((0.0,), (1.0,))
Make = Callable[..., Ensemble]


@pytest.fixture
def projecting(make_ensemble: Make) -> Make:
    def make(**choices: Any) -> Ensemble:
        return make_ensemble("ZYX", **{"task": "project", "patch": (16, 16), **choices})

    return make


def whole(ensemble: Ensemble, stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """The answers (M, channels, Y, X) of the networks to (C, Z, Y, X), continued by reflection at the far ends."""
    ends = [(0, -length % step) for length, step in zip(stack.shape[2:], ensemble.step, strict=True)]
    continued = np.pad(stack, [(0, 0), (0, 0), *ends], mode="reflect")
    with torch.inference_mode():
        answers = [member(torch.from_numpy(continued)[None])[0].numpy() for member in ensemble.members]
    return np.stack(answers)[..., : stack.shape[2], : stack.shape[3]]


def far_sighted(ensemble: Ensemble) -> Ensemble:
    """The ensemble with weights that let everything through, and finders that care for what is far away."""
    for member in ensemble.members:
        assert isinstance(member, Projection)
        with torch.no_grad():
            for weights in member.surface.parameters():
                weights.abs_()
            weight = member.surface.logits.weight
            weight *= torch.linspace(-1, 1, weight.shape[2]).reshape(-1, 1, 1)  # more above than below is not the same
            stack = torch.rand(1, member.recipe.channels_in, 4, 32, 32)
            weight *= 5 / member.surface.scores(stack).std()
    return ensemble


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["paper", "compact"]),
    channels=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    probabilistic=st.booleans(),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 90), st.integers(1, 70)),
    tile=st.one_of(st.integers(1, 48), st.tuples(st.integers(1, 48), st.integers(1, 48))),
    seed=st.integers(0, 2**16),
)
def test_tiles_agree_with_the_whole(
    kind: str,
    channels: tuple[int, int],
    probabilistic: bool,
    shape: tuple[int, int, int],
    tile: Any,
    seed: int,
    projecting: Make,
) -> None:
    c_in, n = channels
    ensemble = far_sighted(projecting(projection=kind, channels_in=c_in, channels_out=n, probabilistic=probabilistic))
    stack = np.random.default_rng(seed).random((c_in, *shape), np.float32)
    answers = whole(ensemble, stack)
    heights = whole(finders(ensemble), stack)

    tiled = restore(Image(stack, "CZYX"), ensemble, tile=tile, normalize=AS_IT_IS, undo=False)

    means, scales = tiled.members
    assert tiled.axes == "CYX"
    close = 1e-5 * max(1.0, float(np.ptp(answers[:, :n])))
    assert_allclose(means, answers[:, :n], rtol=0, atol=close)
    if probabilistic:
        assert scales is not None
        assert_allclose(scales, answers[:, n:], rtol=0, atol=close)
    else:
        assert scales is None
    assert_allclose(tiled.height, heights[:, 0].mean(0), rtol=0, atol=1e-4)
    spread = np.sqrt(np.square(heights[:, 1]).mean(0) + heights[:, 0].var(0))
    assert_allclose(tiled.height_spread, spread, rtol=0, atol=1e-3)


def test_a_smaller_halo_would_not_do(projecting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above would notice: with one step less, and weights that let everything through, tiles differ."""
    ensemble = far_sighted(projecting(members=1))
    stack = np.random.default_rng(0).random((1, 3, 160, 32), np.float32)
    answers = whole(ensemble, stack)[:, :1]

    def difference() -> float:
        tiled = restore(Image(stack, "CZYX"), ensemble, tile=16, normalize=AS_IT_IS, undo=False)
        return float(np.abs(tiled.members[0] - answers).max() / np.ptp(answers))

    assert difference() < 1e-5
    monkeypatch.setattr(Ensemble, "halo", (16, 16))
    assert difference() > 1e-5


def test_axes_voxel_size_and_time_are_kept_without_z(projecting: Make, noise: Callable[..., Any]) -> None:
    image = Image(noise((2, 5, 20, 24), "uint16"), "TZYX", (2.0, 0.3, 0.1), time_step=4.0, name="wing")
    for lazy in (False, True):
        restored = restore(image, projecting(), undo=False, lazy=lazy)
        for made in (restored.mean, restored.scale, restored.height, restored.height_spread):
            assert (made.axes, made.shape, made.voxel_size) == ("TYX", (2, 20, 24), (0.3, 0.1))
            assert (made.time_step, made.name, made.dtype, made.is_lazy) == (4.0, "wing", np.float32, lazy)


def test_heights_lie_in_the_stack_and_have_no_channels(projecting: Make, noise: Callable[..., Any]) -> None:
    restored = restore(
        Image(noise((4, 2, 20, 24)), "ZCYX"), projecting(channels_in=2, channels_out=2), undo=False, lazy=False
    )
    assert (restored.mean.axes, restored.height.axes) == ("CYX", "YX")
    height, spread = np.asarray(restored.height), np.asarray(restored.height_spread)
    assert (height >= 0).all()
    assert (height <= 3).all()
    assert (spread > 0).all()
    assert (spread <= 1.5 + 1e-5).all()  # half of the planes, at most


def test_lazy_restorations_are_those_in_memory(projecting: Make, noise: Callable[..., Any]) -> None:
    image, ensemble = Image(noise((2, 4, 40, 50)), "TZYX"), projecting()
    ready, waiting = (restore(image, ensemble, tile=16, undo=False, lazy=lazy) for lazy in (False, True))
    assert waiting.is_lazy
    for ours, theirs in ((ready.mean, waiting.mean), (ready.height, waiting.height)):
        assert_allclose(theirs, ours, atol=1e-5)
        assert_allclose(theirs.read(1, slice(5, 33)), np.asarray(ours)[1, 5:33], atol=1e-5)


def pointing(ensemble: Ensemble) -> Ensemble:
    """The ensemble with finders that take the brightest plane for the surface."""
    for member in ensemble.members:
        assert isinstance(member, Projection)
        with torch.no_grad():
            for name, weights in member.surface.named_parameters():
                weights.zero_()
                if name.endswith("weight"):
                    middle = [n // 2 for n in weights.shape[2:]]
                    weights[(0, 0, *middle)] = 200.0 if name.startswith("logits") else 1.0
    return ensemble


def test_the_height_of_a_surface_is_found(projecting: Make) -> None:
    """Steps of 32 pixels, each in a plane of its own: 1, 4, 2; pooling sees 16."""
    steps = np.repeat([1, 4, 2], 32)
    stack = np.zeros((6, 32, 96), np.float32)
    stack[steps, :, np.arange(96)] = 1
    restored = restore(Image(stack, "ZYX"), pointing(projecting()), normalize=AS_IT_IS, undo=False)
    assert_allclose(restored.height, np.broadcast_to(steps, (32, 96)), atol=1e-3)
    assert float(np.max(restored.height_spread)) < 1e-2


def test_members_that_find_other_surfaces_make_the_spread() -> None:
    from veriscope.restoring.outputs import height_and_spread

    heights = np.array([1.0, 5.0], np.float32).reshape(2, 1, 1)
    height, spread = height_and_spread(heights, np.full((2, 1, 1), 1.5, np.float32))
    assert_array_equal(height, [[3.0]])
    assert_allclose(spread, [[np.sqrt(1.5**2 + 2.0**2)]])


def test_grey_values_are_those_of_the_truth_in_training(projecting: Make, noise: Callable[..., Any]) -> None:
    stored = {"percentiles": {"2.0": [100.0], "99.8": [300.0]}}
    image = Image(noise((4, 20, 24), "uint16"), "ZYX")
    ensemble = projecting(facts={"high": stored})
    unit, grey = (restore(image, ensemble, undo=undo) for undo in (False, True))
    assert_allclose(grey.mean, 100 + 200 * np.asarray(unit.mean), rtol=1e-4)
    assert_allclose(grey.scale, 200 * np.asarray(unit.scale), rtol=1e-4)
    with pytest.warns(VeriscopeWarning, match="stays normalised: it is the projection of a stack"):
        restore(image, projecting())


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_files_hold_what_restore_gives(
    suffix: str, tmp_path: Path, projecting: Make, noise: Callable[..., Any]
) -> None:
    image = Image(noise((2, 5, 2, 40, 50), "uint16"), "TZCYX", (2.0, 0.3, 0.1))
    ensemble = projecting(channels_in=2, channels_out=2)
    paths = {name: tmp_path / f"{name}{suffix}" for name in ("mean", "scale", "height", "spread")}
    told: list[tuple[int, int]] = []
    report = restore_to_file(
        image,
        ensemble,
        paths["mean"],
        scale=paths["scale"],
        height=(paths["height"], paths["spread"]),
        tile=16,
        undo=False,
        progress=lambda done, total: told.append((done, total)),
    )
    restored = restore(image, ensemble, undo=False)
    expected = (restored.mean, restored.scale, restored.height, restored.height_spread)
    for path, made in zip(paths.values(), expected, strict=True):
        written = read_image(path)
        assert written.voxel_size == pytest.approx((0.3, 0.1))
        assert_allclose(written.moved(made.axes), made, atol=2e-4)
    assert [output.kind for output in report.outputs] == ["mean", "scale", "height", "height-spread"]
    assert told[-1] == (2 * 2 * 40 * 50, 2 * 2 * 40 * 50)


def test_heights_stay_float32_and_nothing_is_left_after_an_error(
    tmp_path: Path, projecting: Make, noise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {"percentiles": {"2.0": [100.0], "99.8": [300.0]}}
    image, ensemble = Image(noise((4, 20, 24), "uint16"), "ZYX"), projecting(facts={"high": stored})
    both = (tmp_path / "h.tif", tmp_path / "s.tif")
    restore_to_file(image, ensemble, tmp_path / "mean.tif", dtype="uint16", height=both)
    assert [read_image(path).dtype for path in (tmp_path / "mean.tif", *both)] == [np.uint16, np.float32, np.float32]

    def broken(*_: object) -> None:
        raise RuntimeError("no heights")

    monkeypatch.setattr("veriscope.networks.projection.Surface.height", broken)
    with pytest.raises(RuntimeError, match="no heights"):
        restore_to_file(image, ensemble, tmp_path / "again.tif", height=(tmp_path / "a.tif", tmp_path / "b.tif"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.tif", "mean.tif", "s.tif"]


def test_the_plan_counts_pixels_and_knows_that_deep_stacks_need_more(projecting: Make) -> None:
    ensemble = projecting()
    shallow, deep = (plan(Image(np.zeros((depth, 512, 512), np.uint8), "ZYX"), ensemble, tile=64) for depth in (4, 64))
    assert (deep.shape, deep.core, deep.step, deep.halo) == ((512, 512), (64, 64), (16, 16), ensemble.halo)
    assert deep.voxels == 512 * 512
    assert deep.memory > 3 * shallow.memory  # with what both hold whatever the tile
    limited = plan(Image(np.zeros((64, 512, 512), np.uint8), "ZYX"), ensemble, memory=deep.memory)
    assert limited.memory <= deep.memory
    assert limited.tiles > 1
    assert need(ensemble.recipe, depth=64).bytes > 12 * need(ensemble.recipe, depth=4).bytes


def test_time_points_may_be_read_from_disk_a_tile_at_a_time(
    projecting: Make, noise: Callable[..., Any], lazy: Callable[..., Any]
) -> None:
    image, behind = lazy(noise((3, 4, 256, 32), "uint16"), "TZYX")
    ensemble = projecting(members=1)
    restore(image, ensemble, tile=16, undo=False, normalize=Normalization((0.0,), (1000.0,)))
    assert behind.largest <= 4 * (16 + 2 * 112) * 32


@pytest.mark.parametrize(
    ("shape", "axes", "options", "kind", "message"),
    [
        ((20, 24), "YX", {}, ModelError, r"projects stacks \(ZYX\), but the image has the axes YX"),
        ((5, 20, 24), "ZYX", {"planes": True}, ModelError, r"projects whole stacks \(ZYX\), not plane by plane"),
        ((5, 2, 20, 24), "ZCYX", {}, ModelError, "trained on images with 1 channel, but this image has 2"),
        ((5, 20, 24), "ZYX", {"tile": (5, 16, 16)}, DataError, "one for each of the axes YX"),
    ],
)
def test_what_cannot_be_projected_is_told(
    shape: tuple[int, ...], axes: str, options: dict[str, Any], kind: type[Exception], message: str, projecting: Make
) -> None:
    with pytest.raises(kind, match=message):
        restore(Image(np.ones(shape), axes), projecting(), **options)


def test_models_that_do_not_project_have_no_height(
    ensemble: Ensemble, noise: Callable[..., Any], tmp_path: Path
) -> None:
    image = Image(noise((20, 24)), "YX")
    with pytest.raises(ModelError, match="no height: its model does not project"):
        _ = restore(image, ensemble).height
    with pytest.raises(ModelError, match="does not project stacks to planes, so height cannot be given"):
        restore_to_file(image, ensemble, tmp_path / "a.tif", height=(tmp_path / "h.tif", tmp_path / "s.tif"))
    assert not list(tmp_path.iterdir())


def test_the_voxel_size_of_training_is_compared_along_all_axes(projecting: Make, noise: Callable[..., Any]) -> None:
    from veriscope.restoring.frames import frames
    from veriscope.restoring.watching import warnings_about

    ensemble = projecting(facts={"voxel_size": [1.0, 0.2, 0.2]})
    with warnings.catch_warnings():
        for sizes, count in (((1.0, 0.2, 0.2), 0), ((2.0, 0.2, 0.2), 1), ((1.0, 0.4, 0.4), 1)):
            parts = frames(Image(noise((4, 20, 24)), "ZYX", sizes), ensemble.recipe)
            assert len(warnings_about(parts, ensemble, None)) == count
