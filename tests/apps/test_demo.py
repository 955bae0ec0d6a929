"""The demo, with few voxels and a tiny network, so that its whole way is walked in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veriscope as vs
from veriscope.apps import demo
from veriscope.reproducing import experiments

TINY = {"base": 2, "depth": 1, "patch": (4, 16, 16), "batch": 2}


@pytest.fixture
def small_nuclei(monkeypatch: pytest.MonkeyPatch) -> vs.Image:
    """A stack of blobs in place of the nuclei, at the size of the demo's parts divided by 8."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.random.default_rng(0).random((10, 48, 48)), 1.5)
    pixels = (60000 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint16)
    image = vs.Image(pixels, "ZYX", (0.29, 0.26, 0.26), name="nuclei")
    monkeypatch.setattr(demo, "nuclei", lambda: image)
    monkeypatch.setattr(demo, "BORDER", 24)
    monkeypatch.setattr(demo, "JUDGED", slice(16, 32))
    monkeypatch.setattr(demo, "ASIDE", (slice(0, 16), slice(32, 48)))
    monkeypatch.setattr(demo, "START", None)
    monkeypatch.setattr(demo, "PHOTONS", (5.0, 50.0))
    monkeypatch.setattr(experiments, "SMALL", {"ZYX": TINY, "YX": {**TINY, "patch": (16, 16)}})
    return image


def test_the_demo_trains_restores_judges_and_reports(
    small_nuclei: vs.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, veriscope: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = veriscope("demo", "--minutes", 0.03)
    assert answer.code == 0, answer.err
    for words in ("5 photons", "50 photons", "non-local means", "restoration", "NRMSE", "SSIM", "never seen"):
        assert words in answer.out
    report = tmp_path / "demo-results" / "report.html"
    assert str(report) in answer.out.replace("\n", "")
    assert "<html" in report.read_text(encoding="utf-8").lower()
    assert len(vs.load("demo-results/model")) == 2
    for name in ("low", "high", "non-local-means", "restored", "restored.scale"):
        image = vs.read_image(f"demo-results/5-photons/{name}.ome.tif")
        assert image.axes == "ZYX"
        assert image.voxel_size == pytest.approx((0.29, 0.26, 0.26))
    # A second demo replaces the results of the first.
    assert veriscope("demo", "--minutes", 0.02, "--members", 1).code == 0
    assert len(vs.load("demo-results/model")) == 1


def test_what_is_judged_was_never_learnt_from(small_nuclei: vs.Image) -> None:
    data = demo._nuclei(seed=0)
    whole = np.asarray(small_nuclei)
    np.testing.assert_array_equal(data.training[0].high, whole[:, :, :24])
    np.testing.assert_array_equal(data.checking[0].high, whole[:, :16, 24:])
    np.testing.assert_array_equal(data.checking[1].high, whole[:, 32:, 24:])
    np.testing.assert_array_equal(data.tests[0].high, whole[:, 16:32, 24:])


def test_own_pairs_take_the_place_of_the_nuclei(desk: Path, monkeypatch: pytest.MonkeyPatch, veriscope: Any) -> None:
    monkeypatch.setattr(experiments, "SMALL", {"YX": {**TINY, "patch": (128, 128)}})
    answer = veriscope("demo", "--low", "low", "--high", "high", "--axes", "YX", "--minutes", 0.02, "--out", "mine")
    assert answer.code == 0, answer.err
    assert "patches are 48 x 40" in answer.err
    assert "4 in low and high" in answer.out
    assert Path("mine/report.html").exists()


def test_a_folder_that_the_demo_did_not_make_is_left_alone(desk: Path, small_nuclei: vs.Image, veriscope: Any) -> None:
    answer = veriscope("demo", "--out", "low", "--minutes", 0.02)
    assert answer.code == 2
    assert "not made by veriscope demo" in answer.err
    assert len(list(Path("low").iterdir())) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--low", "low"], "--low and --high belong together"),
        (["--axes", "ZYX"], "--axes are those of your own images"),
        (["--minutes", "0"], "--minutes 0"),
        (["--low", "low", "--high", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], said: str, desk: Path, veriscope: Any) -> None:
    answer = veriscope("demo", *words)
    assert answer.code == 2
    assert said in answer.err
    assert not Path("demo-results").exists()


def test_the_nuclei_come_with_veriscope() -> None:
    image = demo.nuclei()
    assert (image.axes, image.shape, image.voxel_size) == ("ZYX", (60, 256, 256), (0.29, 0.26, 0.26))
    assert np.ptp(np.asarray(image)) == 255
