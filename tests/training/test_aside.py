from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.calibrated import Calibration, Sample, fit
from veriscope.errors import VeriscopeWarning
from veriscope.familiarity import Familiar, verdict
from veriscope.images.pairing import Pair, Pairs
from veriscope.judging.calibration import EPS
from veriscope.looking import look
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.patches.patches import Section
from veriscope.restoring.settling import stored_calibration
from veriscope.tiling import windows
from veriscope.training.aside import _mixed, _pieces, _spans, _textures, measured, window_of
from veriscope.training.axial import Axial, narrowed

RECIPE = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, precision="float32")


def images(count: int, seed: int = 0, size: int = 100) -> Pairs:
    from scipy.ndimage import gaussian_filter

    made = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        high = (gaussian_filter(rng.random((size, size - 8)), 2) * 9000).astype(np.float32)
        low = rng.poisson(high / 10).astype(np.uint16)
        made.append(Pair(vs.Image(low, "YX"), vs.Image(high, "YX"), f"{seed}.{number}"))
    return Pairs(made)


def patches(pairs: Pairs) -> Any:
    return vs.cut_patches(pairs, (16, 16), foreground=None, normalize="matched")


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return vs.train(RECIPE, patches(images(6)), patches(images(4, 1)), members=2, epochs=6, progress=False)


class TruthAround:
    """Truth drawn around what untrained networks say, with errors `times` as large as they say."""

    axes = "YX"
    shape = (64, 64)
    count = 6

    def __init__(self, network: Any, times: float) -> None:
        self.network, self.times = network, times

    def __len__(self) -> int:
        return self.count

    def check_batch(self, indices: Any) -> Any:
        rng = np.random.default_rng(list(indices))
        low = rng.normal(0.5, 0.2, (len(indices), 1, *self.shape)).astype(np.float32)
        with torch.inference_mode():
            mean, scale = self.network(torch.from_numpy(low)).numpy().transpose(1, 0, 2, 3)[:, :, None]
        return low, (mean + self.times * scale * rng.laplace(size=mean.shape)).astype(np.float32)


@pytest.mark.parametrize("times", [0.4, 1.0, 3.0])
def test_the_factor_that_is_missing_is_found(times: float) -> None:
    torch.manual_seed(0)
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(32, 32))
    network = build(recipe).eval()
    source: Any = TruthAround(network, times)
    known = measured(Ensemble(recipe, (network,)), source, source, 2**20)
    right = Calibration.from_json(known["calibration"])
    factor = right.levels[0].factor(np.exp(right.levels[0].log_scale).astype(np.float32))
    np.testing.assert_allclose(factor, times, rtol=0.15)
    assert list(known["calibration"]["ece"]) == [f"{eps:g}" for eps in EPS]
    for before, after in known["calibration"]["ece"].values():
        assert after < 0.04
        assert times == 1 or after <= before + 0.005


def test_images_without_a_truth_are_trusted_less_where_the_networks_lie_farther_apart() -> None:
    torch.manual_seed(0)
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(32, 32))
    members = build(recipe).eval(), build(recipe).eval()
    source: Any = TruthAround(members[0], 1.0)
    rng = np.random.default_rng(1)
    alike, bright = (rng.normal(0.5, by, (2, 1, 64, 64)).astype(np.float32) for by in (0.2, 2.0))

    def apart(images: Any) -> float:
        with torch.inference_mode():
            means, scales = torch.stack([one(torch.from_numpy(images)) for one in members]).unbind(2)
        return float(means.std(0).mean() / scales.mean())

    def found(sections: Any = None, crossings: Any = ({}, {})) -> tuple[Any, float]:
        made = [] if sections is None else [Section(*one) for one in zip(sections, crossings, strict=True)]
        source.sections = None if sections is None else lambda: iter(made)
        known = measured(Ensemble(recipe, members), source, source, 2**20)
        return Calibration.from_json(known["calibration"]).levels[0].log_factor, known["expected"]["log_ratio"]

    def level(sections: Any = None) -> Any:
        return found(sections)[0]

    usual = level()
    np.testing.assert_allclose(level(alike), usual, atol=0.02)
    np.testing.assert_allclose(level(bright) - usual, np.log(apart(bright) / apart(alike)), atol=0.02)
    assert apart(bright) > 1.3 * apart(alike)

    (apart_level, usual_ratio), (met_level, ratio) = found(alike), found(alike, ({10: (0, 5, 5)}, {20: (0, 5, 5)}))
    less = apart_level - met_level
    assert less.min() > 0.05  # the two columns differ, and stand for one
    np.testing.assert_allclose(less, less[0], atol=1e-5)
    assert ratio - usual_ratio == pytest.approx(less[0], abs=1e-5)  # the expected error keeps a reserve


def test_the_first_images_that_are_looked_at_are_of_all_kinds() -> None:
    """Where there is no time for all: pairs often come in order, one kind after the other."""
    aside, learned = ([cast(Any, None)] * count for count in (20, 200))
    order = [number for number, _ in _mixed(aside, learned)]
    assert sorted(order) == list(range(220))
    assert set(order[:20]) == set(range(20))
    some = np.array(order[20:64])
    for kind in range(4):
        assert ((some - 20) // 50 == kind).sum() >= 4


def test_stacks_to_be_restored_slice_by_slice_are_known_by_their_own_sections() -> None:
    """Interpolated planes leave stripes that no degraded plane has: a stack that was learned from is no surprise."""
    torch.manual_seed(0)
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(32, 32))
    network = build(recipe).eval()
    source: Any = TruthAround(network, 1.0)
    rng = np.random.default_rng(1)
    striped = [np.repeat(rng.normal(0.5, 0.2, (1, 16, 64)), 4, axis=1).astype(np.float32) for _ in range(12)]
    levels = []
    for sections in (None, lambda: (Section(one, {}) for one in striped[:-1])):
        source.sections = sections
        known = Familiar.from_json(measured(Ensemble(recipe, (network,)), source, source, 2**20)["familiar"])
        with torch.inference_mode():
            means, scales = network(torch.from_numpy(striped[-1])[None]).numpy().transpose(1, 0, 2, 3)[:, :, None]
        levels.append(verdict(known, look(striped[-1], means, scales, known.window).rows, None).level)
    assert levels == [2, 0]


def test_textures_are_asked_of_all_images_before_more_of_any(ensemble: Ensemble) -> None:
    aside, learned = (patches(images(*which)).fields() for which in ((4, 1), (6, 0)))
    found = _textures(ensemble, aside, learned, (8, 8), None)
    assert sorted(one.image for one in found if one.size == 0) == list(range(10))
    assert [sum(one.size == size for one in found) for size in (1, 2)] == [6 * 10, 0]  # no crop is smaller
    assert {one.image for one in found[:20]} == set(range(10))


@pytest.mark.parametrize("alike", [0.2, 0.9])
def test_two_directions_together_are_expected_to_err_as_much_less_as_they_do(alike: float) -> None:
    rng = np.random.default_rng(0)
    shared, own = np.sqrt(alike), np.sqrt(1 - alike)

    def both(count: int) -> Any:
        truth = rng.random((1, count)).astype(np.float32)
        errors = shared * rng.normal(size=(1, count)) + own * rng.normal(size=(2, count))
        means = (truth + 0.1 * errors).astype(np.float32)
        return truth[0], means[:1], means[1:], np.full((1, count), 0.1, np.float32)

    truth, one, _, scales = both(50_000)
    texture, window = np.full(2, np.nan), np.zeros(len(truth), np.intp)
    right = fit([[Sample(one, scales, truth, window, texture)]])
    assert right is not None
    truth, one, other, scales = both(50_000)
    lines = [((one[:, None], scales[:, None]), (other[:, None], scales[:, None]))]
    means, wide = np.concatenate([one, other]), np.concatenate([scales, scales])
    found = float(np.sqrt(np.square(means.mean(0) - truth).mean()))
    for joined, most in ((narrowed(right, Axial([], lines, []))[0], 0.03), (right, np.inf)):
        factor = joined.levels[0].factor(scales[0])
        expected = float(np.sqrt(np.square(joined.root_mean_square(means, wide, factor)).mean()))
        assert abs(np.log(expected / found)) < most
        assert found < expected or joined is not right  # without it they seem to err more than they do


def test_pieces_are_what_restoring_makes_of_the_same_crop(ensemble: Ensemble) -> None:
    """The calibration is measured as a user restores: own percentiles, the same networks."""
    (pair,) = images(1, 7)
    source = patches(Pairs([pair]))
    seen = list(_pieces(ensemble, source.fields(), [], 2**20, None))
    assert {one.size for one in seen} == {0, 1}
    sides = [one.given.shape[1:] for one in seen]
    assert sides == sorted(sides, reverse=True)
    whole = seen[0]
    restored = vs.restore(pair.low.region(X=slice(0, 92)), ensemble, undo=False, calibrated=False)
    np.testing.assert_allclose(whole.means[:, 0], np.asarray(restored.means), atol=1e-4)
    for one in seen:
        low, high = np.percentile(one.given, [2, 99.8])
        assert (low, high) == pytest.approx((0, 1), abs=1e-4)


def test_what_was_measured_is_kept_with_the_model_and_used(ensemble: Ensemble, tmp_path: Path) -> None:
    vs.save(ensemble, tmp_path / "model")
    again = vs.load(tmp_path / "model")
    assert again.facts == ensemble.facts
    right = stored_calibration(again)
    assert right is not None
    assert right.images == 10
    low = images(1, 9)[0].low
    plain, put = (vs.restore(low, again, calibrated=way) for way in (False, True))
    np.testing.assert_array_equal(np.asarray(plain.mean), np.asarray(put.mean))
    np.testing.assert_array_equal(plain.means, put.means)
    assert (plain.is_calibrated, put.is_calibrated) == (False, True)
    assert put.widening is not None
    wide = put.widening * np.asarray(plain.scale) * right._moments[0]
    np.testing.assert_allclose(np.asarray(put.scale), wide, rtol=1e-4)
    assert np.abs(np.asarray(put.interval(0.9)[0]) - np.asarray(plain.interval(0.9)[0])).max() > 0


def test_intervals_hold_what_they_promise_on_new_images(ensemble: Ensemble) -> None:
    held: dict[bool, list[float]] = {True: [], False: []}
    for pair in images(6, 20):
        truth = np.asarray(pair.high, np.float64)
        for way, found in held.items():
            restored = vs.restore(pair.low, ensemble, calibrated=way)
            mean = np.asarray(restored.mean, np.float64)
            slope, offset = np.polyfit(truth.ravel(), mean.ravel(), 1)
            lower, upper = (np.asarray(one) for one in restored.interval(0.5))
            found.append(float(np.mean((lower <= slope * truth + offset) & (slope * truth + offset <= upper))))
    assert abs(np.mean(held[True]) - 0.5) < 0.06


def test_the_error_of_new_images_is_the_expected_one(ensemble: Ensemble) -> None:
    from veriscope.judging.quality import nrmse

    near = []
    for pair in images(8, 30):
        restored = vs.restore(pair.low, ensemble)
        assert restored.expected is not None
        found = nrmse(pair.high, restored.mean)
        near.append(abs(restored.expected.nrmse / found - 1) < 0.2)
        assert restored.expected.low < restored.expected.nrmse < restored.expected.high
    assert np.mean(near) >= 0.9


def test_models_that_predict_no_scales_are_not_calibrated(blobs: Any) -> None:
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, probabilistic=False)
    ensemble = vs.train(recipe, blobs(), blobs(), members=1, epochs=1)
    assert "calibration" not in ensemble.facts.measured
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # noise alone is not what it was trained on
        restored = vs.restore(vs.Image(np.random.default_rng(0).random((20, 24)), "YX"), ensemble)
    assert restored.expected is None
    assert not restored.is_calibrated


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
def test_with_too_few_pixels_the_networks_word_stands(blobs: Any) -> None:
    few = blobs(count=3)
    ensemble = vs.train(RECIPE, few, few, members=1, epochs=1)
    assert ensemble.facts.measured["calibration"] is None
    image = vs.Image(np.random.default_rng(0).random((20, 24)), "YX")
    assert not vs.restore(image, ensemble).is_calibrated


def test_crops_lie_within_the_image_and_shrink_by_a_quarter() -> None:
    found = list(_spans((500, 300), 1, (4, 4), np.random.default_rng(0)))
    areas: dict[int, set[int]] = {}
    for size, span in found:
        assert all(0 <= part.start < part.stop <= length for part, length in zip(span, (500, 300), strict=True))
        areas.setdefault(size, set()).add(int(np.prod([part.stop - part.start for part in span])))
    assert [len(one) for one in areas.values()] == [1, 1, 1]
    sizes = [one.pop() for one in areas.values()]
    assert sizes[0] / sizes[1] == pytest.approx(4, rel=0.1)
    assert len(found) == 7


def test_windows_are_half_a_patch_or_less() -> None:
    assert window_of((64, 64)) == (32, 32)
    assert window_of((16, 64, 64)) == (4, 16, 16)
    assert len(windows((64, 64), window_of((64, 64)))) == 4


def test_crops_of_more_images_are_seen_than_whole_ones(ensemble: Ensemble) -> None:
    fields = patches(images(12, 3)).fields()
    seen = list(_pieces(ensemble, fields, [], 90_000, None))
    whole, any_size = ({one.image for one in seen if one.size == size} for size in (0, 1))
    assert whole < any_size


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
def test_an_image_out_of_focus_is_noticed_under_its_usual_noise() -> None:
    from scipy.ndimage import gaussian_filter

    recipe = RECIPE.change(base=16, depth=2)
    ensemble = vs.train(recipe, patches(images(24)), patches(images(6, 1)), members=1, epochs=2, progress=False)
    known = ensemble.facts.familiar
    assert known is not None
    assert known.changes is not None
    levels: dict[str, list[int]] = {"usual": [], "blurred": []}
    for pair in images(6, 7):
        light = np.asarray(pair.high) / 10
        rng = np.random.default_rng(5)
        for name, seen in (("usual", light), ("blurred", gaussian_filter(light, 4))):
            image = vs.Image(rng.poisson(seen).astype(np.uint16), "YX")
            found = vs.restore(image, ensemble, lazy=False).verdict
            assert found is not None
            levels[name].append(found.level)
            if name == "blurred":
                assert any("out of focus" in reason for reason in found.reasons), found
    assert levels["usual"] == [0] * 6
    assert min(levels["blurred"]) > 0
