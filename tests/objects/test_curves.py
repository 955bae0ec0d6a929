"""Scores against the threshold: the clean image is easier to segment than the noisy one, and the table says so."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.objects import curves as c
from veriscope.objects import overlaps as objects
from veriscope.objects import segment
from veriscope.reporting.charts import threshold_chart, write_chart


def field() -> tuple[Any, Any]:
    """Nine squares of different brightness, and their labels."""
    truth = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((8, 8), int), 4))
    return np.where(truth > 0, 40 + 6 * truth, 0).astype(float), truth


CLEAN, TRUTH = field()
NOISY = CLEAN + np.random.default_rng(0).normal(0, 25, CLEAN.shape)


def test_the_same_scores_as_one_threshold_at_a_time() -> None:
    curves = c.against_threshold({"noisy": NOISY, "clean": CLEAN}, TRUTH, 9, min_size=5)
    for name, image in (("noisy", NOISY), ("clean", CLEAN)):
        alone = [objects.scores(TRUTH, segment.components(image, t, 5)) for t in segment.thresholds(image, 9)]
        assert str(curves.scores[name]) == str(alone)  # as text, for NaN is not even equal to itself
        assert_array_equal(curves.values(name, "seg"), [one.seg for one in alone])
        assert_array_equal(curves.thresholds[name], segment.thresholds(image, 9))


def test_the_clean_image_wins_over_a_wider_range() -> None:
    curves = c.against_threshold({"noisy": NOISY, "clean": CLEAN}, TRUTH, 19)
    assert curves.best("clean").scores.seg == 1
    assert curves.best("noisy").scores.seg < 0.95
    assert (curves.values("clean", "seg") > 0.9).sum() > (curves.values("noisy", "seg") > 0.9).sum()


def test_the_best_error_is_the_lowest() -> None:
    curves = c.against_threshold({"noisy": NOISY}, TRUTH, 19)
    assert curves.best("noisy", "error").scores.error == curves.values("noisy", "error").min()
    assert curves.best("noisy", "seg").scores.seg == curves.values("noisy", "seg").max()
    best = curves.best("noisy")
    assert_allclose(segment.thresholds(NOISY, 19)[round(best.fraction * 20) - 1], best.threshold)


def test_gain_and_offset_leave_the_curves_as_they_are() -> None:
    curves = c.against_threshold({"one": NOISY, "other": 3 * NOISY + 100}, TRUTH, 7)
    assert curves.scores["one"] == curves.scores["other"]


def test_any_way_to_segment_will_do() -> None:
    def perfect(image: Any, threshold: float) -> Any:
        return TRUTH * (threshold > 30)

    found = c.against_threshold({"x": CLEAN}, TRUTH, 5, segment=perfect)
    assert set(found.values("x", "seg")) == {0, 1}


def test_the_table_names_every_image_with_its_best() -> None:
    curves = c.against_threshold({"noisy": NOISY, "clean": CLEAN}, TRUTH, 9)
    lines = str(curves).splitlines()
    assert len(lines) == 4
    assert "IoU 0.5" in lines[0]
    assert lines[3].split()[0] == "clean"
    assert lines[3].split()[3:] == ["9", "of", "9", "1.000", "0.000", "1.000"]
    assert len(curves.every_score().rows) == 2 * 9


def test_the_chart_has_a_line_for_each(tmp_path: Path) -> None:
    figure = threshold_chart(c.against_threshold({"noisy": NOISY, "clean <1>": CLEAN}, TRUTH, 9))
    text = write_chart(tmp_path / "curves.svg", figure).read_text()
    ET.fromstring(text)
    for word in ("SEG", "ERROR", "average precision", "noisy", "clean &lt;1&gt;", "range"):
        assert word in text


def test_images_with_axes() -> None:
    one = c.against_threshold({"x": Image(CLEAN, "YX")}, Image(TRUTH, "YX"), 5)
    assert one.scores["x"] == c.against_threshold({"x": CLEAN}, TRUTH, 5).scores["x"]


def test_smoothing_real_nuclei_in_noise_helps(shared_data: Path) -> None:
    image = tifffile.imread(shared_data / "seg_stardist" / "img2d.tif")[:256, :256].astype(float)
    truth = tifffile.imread(shared_data / "seg_stardist" / "mask2d.tif")[:256, :256]
    noisy = np.random.default_rng(0).poisson(image / np.median(image))  # about one photon a pixel
    smooth = ndimage.gaussian_filter(noisy.astype(float), 2)
    curves = c.against_threshold({"noisy": noisy, "smooth": smooth}, truth, 25, min_size=20)
    for score, sign in (("seg", 1), ("average_precision", 1), ("error", -1)):
        noisy_best, smooth_best = (getattr(curves.best(name, score).scores, score) for name in curves.scores)
        assert sign * smooth_best > sign * noisy_best + 0.05


@pytest.mark.parametrize(
    ("images", "truth", "says"),
    [
        ({}, TRUTH, "no images"),
        ({"x": CLEAN[:4]}, TRUTH, "same shape"),
        ({"x": CLEAN}, TRUTH * 0, "no objects.*x to find"),
        ({"x": CLEAN}, TRUTH.astype(float), "The ground truth is not a label image"),
    ],
)
def test_what_cannot_be_compared_is_refused(images: Any, truth: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        c.against_threshold(images, truth, 5)
