"""Judging a model on pairs: the rows are what `quality` says, image by image."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from veriscope.calibrated import CENTRAL, CUMULATIVE, Calibration, Level
from veriscope.comparing.judge import Judgement, Score, judge
from veriscope.errors import DataError
from veriscope.expected import Expectation
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging import quality
from veriscope.judging.calibration import coverage
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.restoring.restore import restore


def scene(shape: tuple[int, ...], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (2, 2))
    return (1000 * smooth + 500).astype(np.float32)


def pair(axes: str = "YX", shape: tuple[int, ...] = (40, 44), seed: int = 0, name: str = "field") -> Pair:
    high = scene(shape, seed)
    low = high + np.random.default_rng(seed + 100).normal(0, 100, shape).astype(np.float32)
    voxels = (0.3, 0.1, 0.1)[-sum(axis in "ZYX" for axis in axes) :]
    return Pair(Image(low, axes, voxels, name=name), Image(high, axes, voxels, name=name), name)


def model(members: int = 2, **choices: Any) -> Ensemble:
    torch.manual_seed(0)
    recipe = Recipe(**{"axes": "YX", "depth": 1, "base": 4, **choices})
    return Ensemble(
        recipe, tuple(build(recipe).eval() for _ in range(members)), {"history": [], "training": {"seed": 7}}
    )


def test_rows_are_what_quality_says() -> None:
    ensemble, pairs = model(), [pair(seed=1, name="one"), pair(seed=2, name="two")]
    judged = judge(ensemble, pairs)
    assert [(row.image, row.method) for row in judged.rows] == [
        ("one", "input"),
        ("one", "restoration"),
        ("two", "input"),
        ("two", "restoration"),
    ]
    for row, one in zip(judged.rows[1::2], pairs, strict=True):
        found = quality.quality(one.high, restore(one.low, ensemble).mean)
        assert_allclose([row.nrmse, row.psnr, row.ssim], [found.nrmse, found.psnr, found.ssim], rtol=1e-4)
    before = quality.quality(pairs[0].high, pairs[0].low)
    assert (judged.rows[0].nrmse, judged.rows[0].ssim) == (before.nrmse, before.ssim)
    assert_allclose(judged.of("input").psnr, np.mean([row.psnr for row in judged.rows[::2]]))


def narrowing(factor: float) -> dict[str, Any]:
    """A calibration that makes every distribution narrower by `factor`, and an error expected to be as predicted."""
    level = Level(
        *(np.array(values) for values in ([0.0], [np.log(factor)], [[0.0], [0.0]], [0.0, 0.0], np.zeros((2, 2))))
    )
    made = Calibration((level,), CENTRAL, CUMULATIVE, np.ones(len(CENTRAL)))
    return {"calibration": {**made.to_json(), "ece": {}}, "expected": Expectation(0.0, 0.1).to_json()}


def test_what_is_calibrated_is_judged_beside_what_is_predicted() -> None:
    ensemble = model()
    ensemble = replace(ensemble, facts=ensemble.facts.change(**narrowing(0.2)))
    plain, narrow = judge(ensemble, [pair()], calibrated=False), judge(ensemble, [pair()])
    assert plain.trust is not None
    assert narrow.trust is not None
    assert plain.trust.calibrated is None
    assert narrow.of("restoration").nrmse == plain.of("restoration").nrmse
    assert narrow.trust.coverage == plain.trust.coverage
    assert all(b < a for a, b in zip(plain.trust.coverage[2], narrow.trust.best.coverage[2], strict=True))
    assert narrow.facts["Judged"]["scales"] == "calibrated"
    assert "calibrated  " in str(narrow)
    assert narrow.to_json()["trust"]["calibrated"]["by_members"].keys() == {2}


def test_the_expected_error_stands_beside_the_found_one() -> None:
    ensemble = model()
    ensemble = replace(ensemble, facts=ensemble.facts.change(**narrowing(1.0)))
    judged = judge(ensemble, [pair(), pair()])
    first = judged.rows[1].expected
    assert first is not None
    assert restore(pair().low, ensemble).expected == first
    assert judged.of("restoration").expected == first
    assert judged.rows[0].expected is None
    assert f"{first.nrmse:.4f} ({first.low:.4f}-{first.high:.4f})" in str(judged)


def test_coverage_is_that_of_the_matched_band() -> None:
    ensemble, one = model(), pair()
    row = judge(ensemble, [one]).rows[1]
    restored = restore(one.low, ensemble)
    y = quality.normalize_truth(one.high)
    a, b = quality.affine_match(y, np.asarray(restored.mean, np.float64))
    assert restored.scales is not None
    assert_allclose(row.coverage, coverage(a * restored.means + b, abs(a) * restored.scales, y), atol=2e-3)
    assert judge(ensemble, [one]).rows[0].coverage is None


def test_trust_is_that_of_all_images_together() -> None:
    pairs = [pair(seed=1, name="one"), pair(seed=2, name="two")]
    judged = judge(model(members=3), pairs)
    assert judged.trust is not None
    assert (judged.trust.members, judged.trust.pixels) == (3, 2 * 40 * 44)
    alone = [judge(model(members=3), [one]).trust for one in pairs]
    expected = np.mean([one.log_likelihood[3] for one in alone if one is not None])
    assert_allclose(judged.trust.log_likelihood[3], expected)
    assert str(judged.trust) in str(judged)
    assert judged.to_json()["trust"]["by_members"][2]["ece"]


def test_a_network_without_scales_has_no_coverage() -> None:
    judged = judge(model(probabilistic=False), [pair()])
    assert [row.coverage for row in judged.rows] == [None, None]
    assert judged.pictures[0].scale is None
    assert "band" not in str(judged)


def test_channels_get_rows_and_frames_are_averaged() -> None:
    ensemble = model(channels_in=2, channels_out=2)
    one = pair("TCYX", (3, 2, 32, 32))
    judged = judge(ensemble, [one])
    assert [(row.method, row.channel) for row in judged.rows] == [
        ("input", 0),
        ("restoration", 0),
        ("input", 1),
        ("restoration", 1),
    ]
    high, low = np.asarray(one.high), np.asarray(one.low)
    assert_allclose(judged.rows[2].ssim, np.mean([quality.ssim(high[t, 1], low[t, 1]) for t in range(3)]))
    assert [picture.name for picture in judged.pictures] == ["field, channel 0", "field, channel 1"]
    assert "field, channel 1" in str(judged)


def test_stacks_are_judged_as_volumes_and_shown_as_planes() -> None:
    judged = judge(model(axes="ZYX"), [pair("ZYX", (9, 30, 34))])
    picture = judged.pictures[0]
    assert picture.where.endswith("of 9")
    assert picture.planes["truth"].shape == (30, 34)
    assert picture.cuts["restoration"].shape == (9, 34)
    assert picture.pixel == (0.3, 0.1, 0.1)


def test_an_input_with_other_channels_is_not_compared() -> None:
    one = pair()
    two = Pair(Image(np.stack([np.asarray(one.low)] * 2), "CYX"), one.high, "field")
    judged = judge(model(channels_in=2), [two])
    assert judged.methods == ("restoration",)


def test_other_methods_come_as_functions_or_as_images() -> None:
    pairs = [pair(seed=1, name="one"), pair(seed=2, name="two")]
    smooth = [one.low.with_array(gaussian_filter(np.asarray(one.low), 1)) for one in pairs]
    done: list[tuple[int, int]] = []
    judged = judge(
        model(),
        pairs,
        others={"perfect": lambda one: one.high, "smooth": smooth},
        pictures=1,
        progress=lambda *numbers: done.append(numbers),
    )
    assert judged.methods == ("input", "perfect", "smooth", "restoration")
    assert judged.of("perfect").ssim > 0.9999
    assert judged.of("smooth").ssim > judged.of("input").ssim
    assert len(judged.pictures) == 1
    assert done == [(1, 2), (2, 2)]


def test_printing_gives_a_table_and_the_settings() -> None:
    rows = (
        Score("a", "input", 0.1, 20, 0.5),
        Score("a", "restoration", 0.05, 26.02, 0.75, 0.912),
        Score("b", "input", 0.2, 13.98, 0.25),
        Score("b", "restoration", 0.1, 20, 0.5, 0.888),
    )
    text = str(Judgement(rows)).split("\n\n")
    assert text[0].split() == ["image", "method", "NRMSE", "PSNR", "SSIM", "in", "90%", "band"]
    assert text[1].split("\n")[1].split() == ["restoration", "0.0500", "26.02", "0.750", "91.2%"]
    assert text[3].split("\n")[0].split() == ["mean", "of", "2", "input", "0.1500", "16.99", "0.375"]
    assert text[3].split("\n")[1].split()[-1] == "90.0%"
    assert " ".join(text[4].split()) == quality.SETTINGS


def test_plain_values_survive_json() -> None:
    judged = judge(model(), [pair()], others={"perfect": lambda one: one.high})
    again = json.loads(json.dumps(judged.to_json(), allow_nan=False))
    assert [row["method"] for row in again["rows"]] == ["input", "perfect", "restoration"]
    assert again["rows"][0]["nrmse"] == judged.rows[0].nrmse
    assert again["facts"]["Network"]["depth"] == 1
    assert again["facts"]["Training"]["seed"] == 7
    assert "skimage" in again["settings"] or "scikit-image" in again["settings"]
    endless = Judgement((Score("a", "input", 0.0, float("inf"), 1.0),))
    assert endless.to_json()["rows"][0]["psnr"] is None


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="no pairs"):
        judge(model(), [])
    with pytest.raises(DataError, match="'smooth' has 0 images for 1 pairs"):
        judge(model(), [pair()], others={"smooth": []})
    with pytest.raises(DataError, match="'input' is the name"):
        judge(model(), [pair()], others={"input": lambda one: one.low})
    with pytest.raises(DataError, match="'magic' was not judged"):
        judge(model(), [pair()]).of("magic")


@pytest.mark.parametrize(("axes", "turned"), [("YX", "XY"), ("ZYX", "YXZ")])
def test_the_order_of_the_axes_changes_nothing(axes: str, turned: str) -> None:
    ensemble, plain = model(axes=axes), pair(axes, (8, 24, 28)[-len(axes) :])
    other = Pair(plain.low.moved(turned), plain.high.moved(turned), plain.name)
    expected, found = (judge(ensemble, [one]) for one in (plain, other))
    assert_allclose([row.nrmse for row in found.rows], [row.nrmse for row in expected.rows], rtol=1e-5)
    assert expected.trust is not None
    assert found.trust is not None
    assert_allclose(found.trust.log_likelihood[2], expected.trust.log_likelihood[2], rtol=1e-4)
    assert found.rows[1].coverage == pytest.approx(expected.rows[1].coverage, abs=1e-3)
    assert found.pictures[0].planes.keys() == expected.pictures[0].planes.keys()
    for method, plane in expected.pictures[0].planes.items():
        assert_allclose(found.pictures[0].planes[method], plane, atol=1e-4)
