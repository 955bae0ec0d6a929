"""Every method on every image: figures are what `quality` says, times belong to calls, nothing fails in silence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from veriscope.calibrated import CENTRAL, CUMULATIVE, Calibration, Level
from veriscope.classical import tune
from veriscope.classical.method import Method, Task
from veriscope.classical.methods import for_task, from_words
from veriscope.comparing import compare as comparing
from veriscope.comparing import plan, run
from veriscope.comparing.compare import compare
from veriscope.comparing.comparison import Comparison, Result
from veriscope.comparing.judge import judge
from veriscope.comparing.plan import prepare
from veriscope.comparing.run import timed
from veriscope.errors import DataError, ModelError, OutputError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging import quality
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.simulate.psf import gaussian


def smooth(image: Any, sigma: float) -> Any:
    """Blurs. More is said here."""
    return gaussian_filter(np.asarray(image, np.float32), sigma)


SMOOTH = Method("smooth", "smooth", "restore", smooth, usual={"sigma": 1.0}, grid={"sigma": (0.5, 1.0, 2.0, 3.0)})
DOUBLE = Method("double", "double", "restore", lambda image: 2 * np.asarray(image, np.float32), speed=(1e-4, 1e-4))


def pair(seed: int = 0, name: str = "field", axes: str = "YX", shape: tuple[int, ...] = (72, 80)) -> Pair:
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (2, 2))
    high = (1000 * field + 500).astype(np.float32)
    low = high + rng.normal(0, 100, shape).astype(np.float32)
    return Pair(Image(low, axes, name=name), Image(high, axes, name=name), name)


def model(**choices: Any) -> Ensemble:
    torch.manual_seed(0)
    recipe = Recipe(**{"axes": "YX", "depth": 1, "base": 2, **choices})
    return Ensemble(recipe, tuple(build(recipe).eval() for _ in range(2)), {"history": [], "training": {"seed": 7}})


@pytest.fixture(autouse=True)
def one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TIMES", 1)


def test_lines_are_what_quality_says_of_the_tuned_method_and_judge_of_the_network() -> None:
    pairs = [pair(1, "one"), pair(2, "two")]
    found = compare(pairs, model(), [SMOOTH])
    assert found.methods() == ("input", "smooth", "restoration")
    for one in pairs:
        (line,) = [line for line in found.lines if (line.image, line.method) == (one.name, "smooth")]
        best = tune.best(SMOOTH, one.low, one.high)
        expected = quality.quality(one.high, best.image)
        assert_allclose([line.nrmse, line.psnr, line.ssim], [expected.nrmse, expected.psnr, expected.ssim])
        assert line.settings == str(best.settings[0])
        assert line.voxels == 72 * 80
        assert line.tuning is not None
    judged = judge(model(), pairs)
    assert_allclose(found.of("restoration").nrmse[0], judged.of("restoration").nrmse)
    rows = {row.image: row for row in judged.rows if row.method == "restoration"}
    lines = {line.image: line for line in found.lines if line.method == "restoration"}
    assert [lines[name].coverage for name in rows] == [row.coverage for row in rows.values()]


def test_the_spread_is_that_over_images_and_wins_are_counted() -> None:
    lines = [
        Result(image, method, error, 20, 0.5, seconds=seconds, voxels=voxels)
        for method, errors, seconds in (("smooth", (0.1, 0.2, 0.3), 2.0), ("restoration", (0.05, 0.3, 0.1), 0.5))
        for image, error, voxels in zip("abc", errors, (10**6, 10**6, 4 * 10**6), strict=True)
    ]
    one = Comparison(tuple(lines), networks=2).of("smooth")
    assert_allclose(one.nrmse, (0.2, 0.1))
    assert (one.closer, one.count) == (2, 3)
    assert_allclose([one.speed, one.times], [1.0, 4.0])  # 6 Mvoxel in 6 s; the network needs a quarter
    assert_allclose(one.seconds, 6.0)


def test_channels_share_the_time_of_their_image_and_have_their_own_settings() -> None:
    both = pair(3, axes="CYX", shape=(2, 40, 44))
    low = both.low.with_array(np.asarray(both.low) * np.array([[[1]], [[3]]], np.float32))
    found = compare([replace(both, low=low)], None, [SMOOTH])
    lines = [line for line in found.lines if line.method == "smooth"]
    assert [line.channel for line in lines] == [0, 1]
    assert lines[0].seconds == lines[1].seconds
    assert found.of("smooth").seconds == lines[0].seconds
    assert str(found).startswith("Mean and spread over 1 image with 2 channels, whole images\n")


def test_without_tuning_the_usual_parameters_are_taken_and_nothing_looks_at_the_truth() -> None:
    found = compare([pair()], None, [SMOOTH], tune=False)
    line = next(line for line in found.lines if line.method == "smooth")
    assert (line.settings, line.tuning) == ("sigma 1", None)
    assert_allclose(line.nrmse, quality.nrmse(pair().high, smooth(pair().low, 1.0)))
    assert "nothing was tuned" in str(found)


def test_settings_from_another_image_are_those_found_there() -> None:
    other = pair(9, "other")
    found = compare([pair(1)], None, [SMOOTH], tune_on=other)
    line = next(line for line in found.lines if line.method == "smooth")
    (expected,) = tune.find(SMOOTH, other.low, other.high)
    assert line.settings == str(expected)
    assert "tuned on one image for all, other" in str(found)


def test_a_slow_method_runs_on_a_crop_where_all_others_are_judged_again() -> None:
    told: list[str] = []
    one = pair(shape=(112, 128))
    found = compare([one], model(), [SMOOTH, DOUBLE], minutes=1.0, tell=told.append)
    assert found.regions == ("whole images", "central 64 x 64 px")
    assert found.methods() == ("input", "smooth", "restoration")
    assert found.methods("central 64 x 64 px") == ("input", "smooth", "double", "restoration")
    assert any("double would take about 2 min" in words and "64 x 64" in words for words in told)
    centre = {"Y": slice(24, 88), "X": slice(32, 96)}
    inside = found.of("double", "central 64 x 64 px")
    assert_allclose(inside.nrmse[0], quality.nrmse(one.high.region(**centre), one.low.region(**centre)), rtol=1e-5)
    made = tune.best(SMOOTH, one.low, one.high).image
    expected = quality.nrmse(one.high.region(**centre), Image(np.asarray(made), "YX").region(**centre))
    assert_allclose(found.of("smooth", "central 64 x 64 px").nrmse[0], expected, rtol=1e-6)
    assert set(found.pictures[0].planes) == {"input", "smooth", "double", "restoration", "truth"}
    assert found.pictures[0].scale is not None


def test_a_calibrated_model_is_judged_within_a_crop_too() -> None:
    level = Level(*(np.array(one) for one in ([0.0], [np.log(0.2)], [[0.0], [0.0]], [0.0, 0.0], np.zeros((2, 2)))))
    measured = Calibration((level,), CENTRAL, CUMULATIVE, np.ones(len(CENTRAL))).to_json()
    plain = model()
    narrow = replace(plain, facts=plain.facts.change(calibration={**measured, "ece": {}}))
    lines = [compare([pair(shape=(112, 128))], one, [DOUBLE], minutes=1.0).lines[-1] for one in (plain, narrow)]
    assert {(line.method, line.region) for line in lines} == {("restoration", "central 64 x 64 px")}
    covered, narrower = (line.coverage for line in lines)
    assert covered is not None
    assert narrower is not None
    assert 0 < narrower < covered


def test_where_all_methods_are_limited_the_largest_error_is_that_in_the_crop() -> None:
    found = compare([pair(shape=(112, 128))], None, [DOUBLE], minutes=1.0)
    (failure,) = found.failures
    assert failure.method == "double"
    assert max(failure.place) < 64


def test_a_margin_around_the_crop_spares_it_the_border() -> None:
    slow = replace(SMOOTH, grid={}, speed=(1e-4, 1e-4), usual={"sigma": 1.0})
    one = pair(shape=(112, 128))
    found = compare([one], None, [slow, replace(DOUBLE, speed=(1, 1))], minutes=1.0)
    centre = (slice(24, 88), slice(32, 96))
    expected = quality.nrmse(np.asarray(one.high)[centre], smooth(one.low, 1.0)[centre])
    assert_allclose(found.of("smooth", "central 64 x 64 px").nrmse[0], expected, rtol=1e-4)


def test_crops_of_different_sizes_are_nested_and_the_smallest_holds_all() -> None:
    medium = replace(DOUBLE, name="medium", title="medium", speed=(1.6e-4, 1.6e-4))
    found = compare([pair(shape=(112, 128))], None, [SMOOTH, DOUBLE, medium], minutes=1.0)
    assert found.regions == ("whole images", "central 96 x 96 px", "central 64 x 64 px")
    assert set(found.methods(found.regions[1])) == {"input", "smooth", "medium"}
    assert set(found.methods(found.regions[2])) == {"input", "smooth", "medium", "double"}
    nrmse = [found.of(method, found.regions[2]).nrmse[0] for method in ("double", "medium")]
    assert_allclose(*nrmse)


def test_everything_can_be_cropped() -> None:
    one = pair()
    found = compare([one], model(), [SMOOTH], crop=32)
    assert found.regions == ("central 32 x 32 px",)
    inside = {"Y": slice(20, 52), "X": slice(24, 56)}
    assert_allclose(found.of("input").nrmse[0], quality.nrmse(one.high.region(**inside), one.low.region(**inside)))
    assert {line.voxels for line in found.lines if line.seconds is not None} == {32 * 32}


def test_a_method_that_fails_leaves_the_others_and_is_told() -> None:
    def broken(image: Any) -> Any:
        raise RuntimeError("no such luck")

    told: list[str] = []
    found = compare([pair()], model(), [Method("bad", "bad", "restore", broken), SMOOTH], tell=told.append)
    assert found.methods() == ("input", "smooth", "restoration")
    assert told == ["bad failed on field: no such luck"]
    assert "bad failed on field: no such luck" in str(found)


def test_a_missing_library_is_refused_when_asked_for_and_left_out_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(SMOOTH, name="far", title="far", module="no_such_module", extra="far", library="far-away")
    with pytest.raises(DataError, match=r"far needs the package far-away"):
        compare([pair()], None, [absent])
    monkeypatch.setattr(plan.methods_of, "for_task", lambda *_: (absent, SMOOTH))
    found = compare([pair()], None)
    assert found.methods() == ("input", "smooth")
    assert any(note.startswith("far is left out: ") and "pip install" in note for note in found.notes)


def test_by_default_what_is_not_for_these_images_stays_away() -> None:
    planned = [one.method.name for one in prepare([pair()]).planned]
    assert "nlm" in planned
    assert "bm4d" not in planned


def test_stacks_that_are_projected_have_the_maximum_as_input() -> None:
    rng = np.random.default_rng(0)
    high = (gaussian_filter(rng.normal(size=(48, 48)), 2) * 1000 + 500).astype(np.float32)
    low = np.stack([0.2 * high, high, 0.2 * high]) + rng.normal(0, 30, (3, 48, 48)).astype(np.float32)
    one = Pair(Image(low.astype(np.float32), "ZYX"), Image(high, "YX"), "wing")
    found = compare([one], None, "max+nlm")
    assert found.methods() == ("input (maximum)", "maximum, non-local means")
    assert_allclose(found.of("input (maximum)").nrmse[0], quality.nrmse(high, low.max(axis=0)), rtol=1e-6)
    assert next(line for line in found.lines if line.seconds is not None).voxels == 3 * 48 * 48


def test_what_was_kept_is_not_made_again_unless_something_changed(tmp_path: Path) -> None:
    calls: list[float] = []

    def counted(image: Any, sigma: float) -> Any:
        calls.append(sigma)
        return smooth(image, sigma)

    method = replace(SMOOTH, run=counted)
    first = compare([pair(1, "a/b")], model(), [method], out=tmp_path / "kept")
    warm_up = 1
    made = len(calls)
    again = compare([pair(1, "a/b")], model(), [method], out=tmp_path / "kept")
    assert len(calls) == made + warm_up
    line, same = (next(x for x in found.lines if x.method == "smooth") for found in (first, again))
    assert line == same
    assert (tmp_path / "kept/smooth/a/b.ome.tif").exists()
    assert (tmp_path / "kept/restoration/a/b.ome.tif").exists()
    assert json.loads((tmp_path / "kept/comparison.json").read_text())["overall"]
    calls.clear()
    compare([pair(2, "a/b")], model(), [method], out=tmp_path / "kept")  # another image of the same name
    assert len(calls) > warm_up


def test_an_interrupted_comparison_goes_on(tmp_path: Path) -> None:
    def stops(image: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([pair()], None, [SMOOTH, Method("stop", "stop", "restore", stops)], out=tmp_path / "kept")
    # the warm-up of `stop` comes first of all; nothing was finished, and the folder is still ours
    found = compare([pair()], None, [SMOOTH], out=tmp_path / "kept")
    assert found.methods() == ("input", "smooth")


def test_a_folder_of_other_things_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="no comparison wrote"):
        compare([pair()], None, [SMOOTH], out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_progress_ends_where_all_is_done_and_never_goes_back() -> None:
    heard: list[tuple[float, float, str]] = []
    compare([pair(1, "a"), pair(2, "b")], model(), [SMOOTH], progress=lambda *words: heard.append(words))
    done = [one[0] for one in heard]
    assert done == sorted(done)
    assert all(0 <= one[0] <= one[1] for one in heard)
    assert [one[2] for one in heard][-1] == "restoration: b"


def test_what_cannot_be_compared_is_refused_before_anything_runs() -> None:
    channels = pair(axes="CYX", shape=(2, 32, 32))
    for given, says in (
        ({"pairs": []}, "nothing to compare"),
        ({"pairs": [pair()], "methods": [DOUBLE, DOUBLE]}, "Two methods would be called 'double'"),
        ({"pairs": [pair()], "methods": [replace(DOUBLE, title="restoration")]}, "would be called 'restoration'"),
        ({"pairs": [pair()], "methods": [replace(DOUBLE, task="project")]}, "projects stacks to planes, but"),
        (
            {"pairs": [pair()], "methods": [replace(DOUBLE, dimensions=(3,))]},
            "works on stacks, but these are planes",
        ),
        ({"pairs": [pair()], "tune_on": channels, "methods": [SMOOTH]}, "has 2 channels, but 'field' has 1"),
        ({"pairs": [channels], "model": model(), "methods": [SMOOTH]}, "the model takes 1"),
        ({"pairs": [pair()], "crop": 100, "methods": [SMOOTH]}, "72 x 80 pixels, less than the crop of 100"),
        ({"pairs": [pair()], "crop": 8, "methods": [SMOOTH]}, "crop of 8 pixels is too small"),
    ):
        with pytest.raises(DataError, match=says):
            prepare(**given)  # type: ignore[arg-type]
    wing = Pair(Image(np.zeros((3, 16, 16), np.float32), "ZYX"), Image(np.zeros((16, 16), np.float32), "YX"), "wing")
    with pytest.raises(ModelError, match="does not project"):
        prepare([wing], model(axes="ZYX"))


def test_brief_calls_are_timed_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TIMES", 3)
    calls: list[int] = []
    result, seconds = timed(lambda: calls.append(1) or "made")
    assert (result, len(calls)) == ("made", 3)
    assert seconds >= 0


def test_tables_can_be_copied() -> None:
    found = compare([pair(1, "one, two"), pair(2, "x_y")], model(), [SMOOTH])
    rows = list(csv.DictReader(io.StringIO(found.table("csv"))))
    assert len(rows) == len(found.lines)
    assert rows[0]["image"] == "one, two"
    assert [row["method"] for row in rows[:3]] == ["input", "smooth", "restoration"]
    assert_allclose(float(rows[1]["nrmse"]), found.lines[1].nrmse)
    lines = found.table("markdown").splitlines()
    assert lines[2].startswith("| method | NRMSE |")
    assert len({line.count("|") for line in lines[2:]}) == 1
    latex = found.table("latex")
    assert "$\\pm$" in latex
    assert latex.count(r"\\") == 4
    with pytest.raises(DataError, match="not 'xls'"):
        found.table("xls")


def test_everything_is_plain_json() -> None:
    found = compare([pair()], model(), [SMOOTH])
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["overall"][0]["nrmse"][1] is None  # one image has no spread
    assert plain["methods"][0]["does"] == "Blurs"
    assert plain["largest_relative_errors"][0]["method"] == "restoration"


def test_each_condition_has_means_of_its_own_and_a_picture() -> None:
    names = [f"{condition}/{field}" for condition in ("dim", "dimmer") for field in "ab"]
    found = compare([pair(seed, name) for seed, name in enumerate(names)], None, [SMOOTH], pictures=2)
    assert found.conditions == {"dim": ("dim/a", "dim/b"), "dimmer": ("dimmer/a", "dimmer/b")}
    part = found.only(found.conditions["dimmer"])
    own = [line.nrmse for line in found.lines if line.image in names[2:] and line.method == "smooth"]
    assert_allclose(part.of("smooth").nrmse, (np.mean(own), np.std(own, ddof=1)))
    assert "Mean and spread over 2 images, whole images, dimmer\n" in str(found)
    assert_allclose(found.to_json()["conditions"]["dimmer"][1]["nrmse"], part.of("smooth").nrmse)
    assert [one.name.split("/")[0] for one in found.pictures] == ["dim", "dimmer"]
    assert compare([pair(1, "dim/a"), pair(2, "b")], None, [SMOOTH]).conditions == {}


@pytest.mark.parametrize(("which", "wrong"), [("low", np.nan), ("high", np.inf), ("high", None)])
def test_an_image_that_cannot_be_judged_is_named_before_anything_runs(which: str, wrong: float | None) -> None:
    def never(image: Any) -> Any:
        raise AssertionError

    image = getattr(pair(), which)
    pixels = np.full(image.shape, 7, np.float32) if wrong is None else np.asarray(image).copy()
    if wrong is not None:
        pixels[2, 2] = wrong
    pairs = [pair(1, "fine"), replace(pair(2, "bad"), **{which: image.with_array(pixels)})]
    told: list[str] = []
    with pytest.raises(DataError, match="'bad'"):
        compare(pairs, None, [Method("never", "never", "restore", never)], tell=told.append)
    assert told == []
    if wrong is not None:  # what is not compared does no harm
        assert compare(pairs, None, [SMOOTH], crop=16).methods() == ("input", "smooth")


def test_what_was_deconvolved_with_another_psf_or_background_is_made_again(tmp_path: Path) -> None:
    calls: list[float] = []
    method = Method("count", "count", "restore", lambda image: calls.append(1) or np.asarray(image, np.float32))
    psf = gaussian(na=1.1, wavelength=0.5, index=1.33, voxel_size=(0.3, 0.1, 0.1))
    other = gaussian(na=0.8, wavelength=0.5, index=1.33, voxel_size=(0.3, 0.1, 0.1))
    made = []
    for choice in ({"psf": psf}, {"psf": psf}, {"psf": other}, {"psf": other, "background": 9.0}):
        calls.clear()
        compare([pair()], None, [method], out=tmp_path / "kept", **choice)  # type: ignore[arg-type]
        made.append(len(calls) > 1)  # the first is the warm-up
    assert made == [True, False, True, True]


def test_a_psf_that_no_method_needs_is_told() -> None:
    psf = gaussian(na=1.1, wavelength=0.5, index=1.33, voxel_size=(0.1, 0.1, 0.1))
    assert any("PSF is not used" in note for note in prepare([pair()], None, "lowpass", psf=psf).notes)
    assert prepare([pair()], None, "lowpass").notes == ()


def test_every_method_of_ours_says_what_it_does() -> None:
    psf = gaussian(na=1.1, wavelength=0.5, index=1.33, voxel_size=(0.1, 0.1, 0.1))
    tasks: tuple[Task, ...] = ("restore", "project", "isotropic")
    for method in [method for task in tasks for method in for_task(task, psf, 3.0)] + [
        from_words("gat+nlm", "restore")
    ]:
        assert len(comparing._purpose(method)) > 20, method.name


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no such thing")


def test_where_every_method_fails_that_is_said() -> None:
    stacks = pair(axes="ZYX", shape=(6, 24, 28))
    flat = replace(stacks, high=Image(np.asarray(stacks.high).max(axis=0), "YX", name="field"))
    methods = [replace(method, run=broken) for method in for_task("project") if method.name == "max"]
    with pytest.raises(DataError, match=r"every method failed.*failed on field: no such thing"):
        compare([flat], None, methods)


def test_a_clock_that_has_not_ticked_gives_no_speed() -> None:
    result = Result("a", "smooth", 0.1, 20.0, 0.5, seconds=0.0, voxels=100)
    assert result.speed is None
    found = Comparison((result, Result("a", "restoration", 0.2, 20.0, 0.5, seconds=0.0, voxels=100)), networks=1)
    assert (found.of("smooth").speed, found.of("smooth").times) == (None, None)
    assert "mvoxels_per_second" in found.table("csv")
    assert str(found).count("-") > 2


def test_an_empty_comparison_has_no_methods_and_prints_nothing_false() -> None:
    empty = Comparison(())
    assert (empty.methods(), empty.images, empty.best_other) == ((), (), None)
    assert json.dumps(empty.to_json())


def test_keywords_that_nobody_knows_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'tiles'"):
        compare([pair()], None, [SMOOTH], tiles=8)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'undo'"):
        judge(model(), [pair()], undo=True)  # type: ignore[call-arg]
