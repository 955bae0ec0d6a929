"""A movie of samples: it flickers where the networks are unsure, and is written whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from veriscope.comparing.judge import judge
from veriscope.comparing.picture import LARGEST, one_plane, picture
from veriscope.errors import AxesError, DataError, ModelError, OutputError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.images.reading import read_image
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.reporting import movie
from veriscope.reporting.movie import check_target, samples, write_movie
from veriscope.reporting.report import SAMPLES, render
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.restore import restore

SURE, UNSURE = 0.5, 50.0


def half_sure(shape: tuple[int, int] = (40, 60), members: int = 2) -> Restoration:
    """Two members that agree on a ramp from 1000 to 2000; sure of its left half, unsure of its right one."""
    ramp = np.linspace(1000, 2000, shape[1]) * np.ones(shape)
    scale = np.where(np.arange(shape[1]) < shape[1] // 2, SURE, UNSURE) * np.ones(shape)
    means, scales = (np.stack([one] * members).astype(np.float32) for one in (ramp, scale))
    return Restoration(means, scales, "YX", (0.2, 0.1), name="ramp")


def stack() -> Restoration:
    """TCZYX where every mean is the number of its own plane, and one plane alone has contrast."""
    means = np.arange(2 * 3 * 4).reshape(1, 2, 3, 4, 1, 1) * np.ones((2, 1, 1, 1, 8, 10)) * 100
    means[:, 1, 2, 3, :4] += 50
    scales = np.ones_like(means)
    return Restoration(*(one.astype(np.float32) for one in (means, scales)), "TCZYX", (0.5, 0.2, 0.1), 3.0)


def trained(**choices: Any) -> Ensemble:
    torch.manual_seed(0)
    recipe = Recipe(**{"axes": "YX", "depth": 1, "base": 4, **choices})
    return Ensemble(recipe, tuple(build(recipe).eval() for _ in range(2)), {"history": [], "training": {}})


def pair(axes: str = "YX", shape: tuple[int, ...] = (40, 44)) -> Pair:
    rng = np.random.default_rng(3)
    high = 1000 * gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (2, 2)) + 5000
    voxels = (0.3, 0.1, 0.1)[-sum(axis in "ZYX" for axis in axes) :]
    return Pair(*(Image(one, axes, voxels) for one in (high + rng.normal(0, 100, shape), high)), "field")


# -- what is drawn ----------------------------------------------------------------------------------


def test_the_picture_flickers_where_the_scale_is_large_and_hardly_where_it_is_small() -> None:
    drawn = np.asarray(samples(half_sure(), 20))
    flicker = drawn.std(axis=0)
    assert flicker[:, :30].max() < 4 * SURE
    assert_allclose(flicker[:, :30].mean(), np.sqrt(2) * SURE, rtol=0.1)
    assert_allclose(flicker[:, 30:].mean(), np.sqrt(2) * UNSURE, rtol=0.1)
    assert all((one != other).mean() > 0.99 for one, other in pairwise(drawn))


def test_where_members_contradict_each_other_both_are_shown() -> None:
    means = np.stack([np.full((30, 30), 100.0), np.full((30, 30), 900.0)]).astype(np.float32)
    drawn = np.asarray(samples(Restoration(means, np.ones_like(means), "YX"), 10))
    assert 0.45 < (drawn < 500).mean() < 0.55
    assert (np.minimum(abs(drawn - 100), abs(drawn - 900)) < 15).all()


def test_the_mean_of_many_frames_approaches_the_restoration() -> None:
    given = half_sure()
    errors = [abs(np.asarray(samples(given, n)).mean(axis=0) - np.asarray(given.mean)).mean() for n in (10, 160)]
    assert errors[1] < errors[0] / 3  # a quarter is expected: the square root of 16


def test_the_same_movie_is_drawn_in_every_run_and_longer_ones_begin_alike() -> None:
    assert_array_equal(samples(half_sure(), 3), samples(half_sure(), 5).region(T=slice(0, 3)))


def test_a_plane_is_that_of_the_places_given_or_the_one_with_most_structure() -> None:
    chosen = one_plane(stack(), {"T": 1, "C": 1, "Z": 2})
    assert (chosen.axes, chosen.voxel_size, chosen.means.shape) == ("YX", (0.2, 0.1), (2, 8, 10))
    assert (chosen.means == 100 * (12 + 4 + 2)).all()
    assert np.ptp(one_plane(stack(), {"T": 1, "C": 2}).means) == 50
    assert (one_plane(stack()).means == 0).all()


def test_a_plane_has_rows_and_columns_whatever_the_order_of_axes() -> None:
    given = half_sure()
    turned = Restoration(
        np.asarray(given.means).swapaxes(1, 2), np.asarray(given.scales).swapaxes(1, 2), "XY", (0.1, 0.2)
    )
    assert_array_equal(one_plane(turned).means, given.means)
    assert one_plane(turned).voxel_size == given.voxel_size


def test_a_restoration_computed_on_demand_gives_the_same_movie() -> None:
    ensemble, low = trained(axes="ZYX"), pair("ZYX", (9, 24, 32)).low
    held, lazy = (restore(low, ensemble, tile=8, lazy=lazy) for lazy in (False, True))
    assert lazy.is_lazy
    assert_array_equal(samples(held, 2), samples(lazy, 2))


def test_places_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match=r"Z 4 is not in the restoration\. Choose from 0 to 3"):
        one_plane(stack(), {"Z": 4})
    with pytest.raises(AxesError, match=r"no choice of Z.*nothing"):
        one_plane(half_sure(), {"Z": 0})
    with pytest.raises(DataError, match="0 frames"):
        samples(half_sure(), 0)


# -- files ------------------------------------------------------------------------------------------


def test_a_tif_holds_intensities_with_axes_and_voxel_size(tmp_path: Path) -> None:
    for name in ("samples.tif", "samples.ome.tif"):
        image = read_image(write_movie(tmp_path / name, half_sure(), 7))
        assert (image.axes, image.shape, image.dtype) == ("TYX", (7, 40, 60), np.float32)
        assert_allclose(image.voxel_size, (0.2, 0.1), rtol=1e-5)
        assert_array_equal(image, samples(half_sure(), 7))
    with tifffile.TiffFile(tmp_path / "samples.tif") as file:
        assert file.is_imagej


def test_a_gif_loops_for_ever_and_shows_every_frame_at_one_contrast(tmp_path: Path) -> None:
    given = half_sure()
    with Pillow.open(write_movie(tmp_path / "samples.gif", given, 6)) as file:
        assert (file.n_frames, file.info["loop"], file.info["duration"], file.size) == (6, 0, 120, (60, 40))
        shown = []
        for number in range(6):
            file.seek(number)
            shown.append(np.asarray(file.convert("L"), float))
    low, high = np.percentile(np.asarray(given.mean), (0.1, 99.9))
    expected = 255 * ((np.asarray(samples(given, 6)) - low) / (high - low)).clip(0, 1)
    assert_allclose(shown, expected, atol=0.51)


@pytest.mark.parametrize("shape", [(40, 60), (41, 61)])
def test_an_mp4_has_even_sides_and_the_greys_of_the_gif(shape: tuple[int, int], tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    given = half_sure(shape)
    path = write_movie(tmp_path / "samples.mp4", given, 6)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == movie.RATE
        assert container.streams.video[0].codec_context.name == "h264"
        shown = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(float)
    assert shown.shape == (6, shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    low, high = np.percentile(np.asarray(given.mean), (0.1, 99.9))
    expected = 255 * ((np.asarray(samples(given, 6)) - low) / (high - low)).clip(0, 1)
    assert abs(shown[:, : shape[0], : shape[1]] - expected).mean() < 5  # H.264 loses a little
    assert abs(shown[:, 39, :30] - shown[:, -1, :30]).mean() < 5


def test_without_its_package_an_mp4_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie, "find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r'pip install "veriscope\[movie\]".*\.gif'):
        write_movie(tmp_path / "samples.mp4", half_sure())
    check_target(tmp_path / "samples.gif")
    assert list(tmp_path.iterdir()) == []


def test_an_ffmpeg_without_h264_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(movie, "CODECS", ("libmagic",))
    with pytest.raises(OutputError, match="needs FFmpeg with libmagic"):
        write_movie(tmp_path / "samples.mp4", half_sure())
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_refuses_is_told(tmp_path: Path) -> None:
    pytest.importorskip("av")
    wide = half_sure((2, 20_000))  # H.264 ends at 16384
    with pytest.raises(OutputError, match=r"2 x 20000 pixels cannot be made.*\.gif"):
        write_movie(tmp_path / "samples.mp4", wide, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["tif", "gif"])
def test_a_movie_is_not_replaced_unasked(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"samples.{kind}"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        write_movie(path, half_sure(), 2)
    assert path.read_text() == "mine"
    write_movie(path, half_sure(), 2, overwrite=True)
    assert path.stat().st_size > 1000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bad_targets_are_found_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movie, "samples", lambda *_: pytest.fail("drawn too early"))
    (tmp_path / "folder.gif").mkdir()
    for name, said in (
        ("samples.avi", r"samples.avi is written as .*\.gif or \.mp4"),
        ("samples", "is written as"),
        ("there/samples.gif", "no folder .*there"),
        ("folder.gif", "exists already"),
    ):
        with pytest.raises(OutputError, match=said):
            write_movie(tmp_path / name, half_sure())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="not writable"):
        write_movie(tmp_path / "samples.gif", half_sure())


def test_networks_without_scales_have_nothing_to_draw_from(tmp_path: Path) -> None:
    for name in ("samples.gif", "samples.tif"):
        with pytest.raises(ModelError, match="predicts no uncertainty"):
            write_movie(tmp_path / name, dataclasses.replace(half_sure(), scales=None))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "samples.gif").write_text("mine")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"disk is full \(No space left on device\): .*samples.gif"):
        write_movie(tmp_path / "samples.gif", half_sure(), 2, overwrite=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_movie(tmp_path / "samples.gif", half_sure(), 2)
    assert list(tmp_path.iterdir()) == []


# -- judged and reported ----------------------------------------------------------------------------


@pytest.mark.parametrize(("axes", "shape"), [("YX", (40, 44)), ("ZYX", (9, 24, 32))])
def test_judging_keeps_the_plane_of_the_picture_whole_and_in_grey_values(axes: str, shape: tuple[int, ...]) -> None:
    ensemble, one = trained(axes=axes), pair(axes, shape)
    judged, without = judge(ensemble, [one], keep_plane=True), judge(ensemble, [one])
    assert without.plane is None
    assert judged.plane is not None
    assert (judged.plane.axes, judged.plane.voxel_size) == ("YX", (0.1, 0.1))
    assert judged.plane.means.shape == (2, *shape[-2:])
    mean = np.asarray(restore(one.low, ensemble).mean)
    if axes == "ZYX":
        place = re.match(r"plane (\d) of 9", judged.pictures[0].where)
        assert place is not None
        mean = mean[int(place[1]) - 1]
    assert_array_equal(judged.plane.mean, mean)
    for row, other in zip(judged.rows, without.rows, strict=True):
        assert_allclose([row.nrmse, row.ssim, row.psnr], [other.nrmse, other.ssim, other.psnr], rtol=1e-4)


def animation(text: str) -> Any:
    """The frames (T, Y, X) that a page shows in a loop, and how often: 0 for ever."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert len(found) == 1
    with Pillow.open(io.BytesIO(base64.b64decode(found[0]))) as file:
        frames = []
        for number in range(file.n_frames):
            file.seek(number)
            frames.append(np.asarray(file.convert("L"), float))
        return np.stack(frames), file.info["loop"]


def test_the_report_shows_samples_of_the_first_picture_in_a_loop() -> None:
    judged = judge(trained(), [pair(), pair()])
    frames, loop = animation(render(judged))
    assert (frames.shape, loop) == ((SAMPLES, 40, 44), 0)
    restored = 255 * judged.pictures[0].planes["restoration"].clip(0, 1)
    drawn = judged.pictures[0].members
    assert drawn is not None
    assert_allclose(drawn[0].mean(axis=0), judged.pictures[0].planes["restoration"], atol=1e-4)
    assert np.corrcoef(frames.mean(axis=0).ravel(), restored.ravel())[0, 1] > 0.5


def test_samples_in_the_report_have_the_contrast_of_its_panels_and_flicker_where_unsure() -> None:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.normal(size=(64, 64)), 4)
    truth = (truth - truth.min()) / np.ptp(truth) * 4000
    scales = np.where(np.arange(64) < 32, 0.5, 400) * np.ones((1, 64, 64))
    shown = picture("halves", {"restoration": truth}, truth, (truth[None], scales), {}, 0.9)
    frames, _ = animation(render(dataclasses.replace(judge(trained(), [pair()]), pictures=(shown,))))
    flicker = frames.std(axis=0)
    assert_allclose(frames.mean(axis=0)[:, :28], 255 * shown.planes["truth"][:, :28].clip(0, 1), atol=8)
    assert flicker[:, 36:].mean() > 8 * flicker[:, :28].mean()


def test_who_wants_nothing_to_move_sees_the_first_sample() -> None:
    text = render(judge(trained(), [pair()]))
    still = re.search(r'<source media="([^"]+)" srcset="data:image/png;base64,([^"]+)"', text)
    assert still is not None
    assert "(prefers-reduced-motion: reduce)" in still[1]
    with Pillow.open(io.BytesIO(base64.b64decode(still[2]))) as file:
        assert abs(np.asarray(file, float) - animation(text)[0][0]).mean() < 8


def test_a_report_without_scales_has_no_samples() -> None:
    text = render(judge(trained(probabilistic=False), [pair()]))
    assert "data:image/webp" not in text
    assert "samples" not in text.split("</style>")[1]


def test_the_animation_stays_below_a_megabyte_even_for_noise() -> None:
    noise = np.random.default_rng(0).laplace(0.5, 0.3, (SAMPLES, LARGEST, LARGEST))
    assert len(movie.webp(movie.grey(noise, 0, 1))) < 1e6
